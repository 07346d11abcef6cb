"""Secrets are shown nowhere: not in a log at its most talkative, not in a repr of any object of ours, not in an error or its pickle, not
in the arguments or the output of a command."""

from __future__ import annotations

import asyncio
import base64
import gc
import logging
import os
import pickle
import secrets
import subprocess
import sys
import traceback
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.server import LocalCluster, ServerTLS
from tests.support.certificates import Authority

SECRET = f"canary/{secrets.token_hex(8)}+key"
TOKEN = f"canary/{secrets.token_hex(8)}+token"
PASSWORD = f"canary/{secrets.token_hex(8)}+password"
NEW = f"canary/{secrets.token_hex(8)}+new"
KEYS = rmq.Credentials("admin", SECRET, TOKEN)


def forms() -> Iterator[str]:
    """The secrets as they are, and as encodings would show them."""
    for secret in (SECRET, TOKEN, PASSWORD, NEW):
        yield secret
        yield urllib.parse.quote(secret, safe="")
        yield base64.b64encode(secret.encode()).decode().rstrip("=")
        yield secret.encode().hex()


def shows(text: str) -> list[str]:
    """The secrets that a text shows."""
    return [form for form in forms() if form in text]


def check(error: BaseException) -> None:
    """Whatever can be seen of an error shows none."""
    seen: BaseException | None = error
    while seen is not None:
        told = "".join(traceback.format_exception(seen)) + repr(seen) + str(seen) + repr(vars(seen))
        assert shows(told) == []
        assert shows(pickle.dumps(seen).decode("latin-1")) == []
        seen = getattr(seen, "cause", None)


async def provide() -> rmq.Credentials:
    return KEYS


async def fail() -> rmq.Credentials:
    raise PermissionError(f"no token for {SECRET}")


@pytest.mark.feature("M2", "P9")
async def test_no_secret_is_shown_by_a_working_or_failing_client_or_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1", password=PASSWORD)
    users = [{"name": "admin", "password": SECRET, "type": "Super"}, {"name": "user", "password": SECRET}]
    tls = rmq.TLS(ca_file=authority.file, cert_file=certificate, key_file=key, key_password=PASSWORD)
    secured = ServerTLS(certificate, key, key_password=PASSWORD)
    async with LocalCluster(acl={"users": users}, tls=secured, data_dir=tmp_path / "data") as cluster:
        common: dict[str, Any] = {"tls": tls, "name_servers": cluster.name_servers}
        await cluster.create_topic("canary")
        consumer = rmq.PushConsumer(group="canary", credentials=KEYS, start_from=rmq.StartFrom.FIRST, **common)
        got = asyncio.Event()
        consumer.listen("canary")(lambda message: got.set())
        async with consumer, rmq.Producer(group="p", credentials=provide, **common) as producer:
            await producer.send(rmq.Message("canary", b"x"))
            await asyncio.wait_for(got.wait(), 30.0)
            async with rmq.AdminClient(credentials=KEYS, **common) as admin:
                await admin.acl.users.create("more", NEW)
                await admin.acl.users.update("more", password=SECRET)
                with pytest.raises(rmq.NoPermissionError) as failed:
                    await admin.acl.users.create("more", NEW)
                check(failed.value)
                assert shows(repr(await admin.acl.users.list())) == []
            for wrong in (rmq.Credentials("admin", NEW), rmq.Credentials("nobody", SECRET), rmq.Credentials("user", SECRET)):
                async with rmq.Producer(group="wrong", credentials=wrong, **common) as other:
                    with pytest.raises(rmq.SendDeniedError) as denied:
                        await other.send(rmq.Message("canary", b"x"))
                check(denied.value)
            # Every object of ours that lives now, on the client's end and on the server's.
            ours = [thing for thing in gc.get_objects() if str(type(thing).__module__).startswith("aiorocketmq")]
            assert len(ours) > 500
            assert [type(thing).__name__ for thing in ours if shows(repr(thing))] == []
        with pytest.raises(rmq.CredentialsError) as without:
            await rmq.Producer(group="p", credentials=fail, **common).start()
        assert shows(repr(without.value) + str(without.value)) == []
    assert len(caplog.records) > 10
    assert shows(caplog.text + "".join(repr(record.args) for record in caplog.records)) == []


@pytest.mark.feature("M2", "P9")
@pytest.mark.parametrize(
    "make",
    [
        lambda: rmq.Credentials("admin", f"{SECRET}\n"),
        lambda: rmq.Credentials(None, SECRET),
        lambda: rmq.ClientConfig(credentials=SECRET),  # type: ignore[arg-type]
        lambda: rmq.ClientConfig.from_url(f"rocketmq://admin:{SECRET}@127.0.0.1:9876"),
        lambda: pickle.dumps(KEYS),
        lambda: pickle.dumps(rmq.ClientConfig(credentials=KEYS)),
        lambda: pickle.dumps(rmq.TLS(cert_file="c.pem", key_password=PASSWORD)),
        lambda: rmq.TLS(cert_file="missing.pem", key_password=PASSWORD).make_context(),
        lambda: LocalCluster(acl={"users": [{"name": "a", "password": SECRET, "more": 1}]}),
        lambda: LocalCluster(acl={"users": [{"name": "a", "password": [SECRET]}]}),
    ],
)
def test_no_secret_is_shown_by_what_is_refused(make: Any) -> None:
    with pytest.raises(rmq.ConfigError) as failed:
        make()
    check(failed.value)


@pytest.mark.feature("M2")
async def test_commands_take_keys_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"AccessKey=admin\nSecretKey={SECRET}\n")
    async with LocalCluster(acl={"users": [{"name": "admin", "password": SECRET, "type": "Super"}]}) as cluster:
        await cluster.create_topic("canary")
        command = [sys.executable, "-m", "aiorocketmq", "produce", "canary", "--body", "x", "-vv", "-n", cluster.name_servers]
        environ = {"ROCKETMQ_ACCESS_KEY": "admin", "ROCKETMQ_SECRET_KEY": SECRET}
        runs: list[tuple[list[str], dict[str, str], int]] = [
            (command, environ, 0),
            ([*command, "--credentials", str(file)], {}, 0),
            (command, {}, 5),
            (command, {**environ, "ROCKETMQ_SECRET_KEY": NEW}, 5),
        ]
        for arguments, environment, code in runs:
            done = await asyncio.to_thread(
                subprocess.run, arguments, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == code, done.stderr
            assert shows(done.stdout + done.stderr + " ".join(arguments)) == []
