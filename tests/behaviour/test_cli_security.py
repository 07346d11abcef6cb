"""`aiorocketmq server` with access control and TLS, and commands that talk to it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import aiorocketmq as rmq
from tests.support.certificates import Authority

ACL = """
[[users]]
name = "admin"
password = "secret-of-admin"
type = "Super"
"""
COMMAND = (sys.executable, "-m", "aiorocketmq")


@pytest.mark.feature("M4", "M6", "M8")
@pytest.mark.timeout(120)
async def test_a_protected_server_and_a_command_that_may_talk_to_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1", password="password-of-the-key")
    acl = tmp_path / "acl.toml"
    acl.write_text(ACL)
    keys = tmp_path / "key"
    keys.write_text("AccessKey=admin\nSecretKey=secret-of-admin\n")
    options = [
        "--acl",
        str(acl),
        "--tls-cert",
        str(certificate),
        "--tls-key",
        str(key),
        "--port",
        "0",
        "--topic",
        "protected",
        "-o",
        "json",
    ]
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "server",
        *options,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "ROCKETMQ_TLS_KEY_PASSWORD": "password-of-the-key"},
    )
    try:
        assert process.stdout is not None
        servers = json.loads(await asyncio.wait_for(process.stdout.readline(), 60.0))["name_servers"]
        tls = rmq.TLS(ca_file=authority.file)
        credentials = rmq.CredentialsFile(keys)
        async with rmq.Producer(servers, group="p", credentials=credentials, tls=tls, send_msg_timeout=20.0) as producer:
            await producer.send(rmq.Message("protected", b"x"))
        async with rmq.Producer(servers, group="p", tls=tls, send_msg_timeout=20.0) as producer:
            with pytest.raises(rmq.SendDeniedError):
                await producer.send(rmq.Message("protected", b"x"))
        produce = [*COMMAND, "produce", "protected", "--body", "x", "-n", servers, "--tls-ca-file", str(authority.file)]
        for more, code in ((["--credentials", str(keys)], 0), ([], 5)):
            done = await asyncio.to_thread(subprocess.run, [*produce, *more], capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == code, done.stderr
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--tls-key", "key.pem"], "--tls-key is given without --tls-cert"),
        (["--tls-cert", "missing.pem"], "missing.pem"),
        (["--acl", "missing.toml"], "missing.toml"),
    ],
)
def test_options_that_cannot_work_are_one_line(options: list[str], text: str) -> None:
    done = subprocess.run([*COMMAND, "server", "--port", "0", *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
