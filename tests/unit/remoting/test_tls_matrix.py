"""Everything that can be wrong with a server's certificate is refused, each cause is told from the others, and nothing is sent before."""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.config import TLS, ServerTLS
from aiorocketmq.errors import ConfigError, ConnectionLostError, TLSError
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.server import RemotingServer
from tests.support.certificates import Authority, server_context
from tests.unit.remoting.harness import records, started
from tests.unit.remoting.test_tls import ECHO, quiet_loop, running

HOST = "127.0.0.1"
PASSWORD = "canary-of-the-password"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


async def ask(client: Any, server: RemotingServer) -> RemotingCommand:
    return await client.invoke(server.address, RemotingCommand.request(ECHO), 5.0)  # type: ignore[no-any-return]


async def refusal(context: ssl.SSLContext | None, tls: TLS) -> TLSError:
    """The error of a request to a server with this context; nothing of the request has reached it."""
    quiet_loop()
    async with running(context, tls=tls) as (server, client):
        with pytest.raises(TLSError) as failed:
            await ask(client, server)
        assert not failed.value.maybe_sent
        assert failed.value.retriable is (failed.value.reason == "closed")
        assert server.counters.opened == 0 or context is None
        assert pickle.loads(pickle.dumps(failed.value)).reason == failed.value.reason
        return failed.value


@pytest.mark.feature("M5")
@pytest.mark.parametrize(
    ("issued", "reason", "text", "hint"),
    [
        ({}, "wrong-host", "mismatch", "dial a name"),
        ({"expired": True}, "expired", "expired", "new certificate"),
        ({"early": True}, "not-yet-valid", "not yet valid", "clocks"),
        ({"self_signed": True}, "self-signed", "self.signed", "its own authority"),
        ({"weak": True}, "weak-key", "too weak|too small|KEY_TOO_SMALL", "longer key"),
        ({"revoked": True}, "revoked", "revoked", "taken it back"),
    ],
)
async def test_each_cause_is_told(authority: Authority, issued: dict[str, bool], reason: str, text: str, hint: str) -> None:
    files = authority.issue("broker.example" if reason == "wrong-host" else HOST, **issued)
    crl = authority.crl() if reason == "revoked" else None
    error = await refusal(server_context(files, lax=reason == "weak-key"), TLS(ca_file=authority.file, crl_file=crl))
    assert error.reason == reason
    assert hint in error.hint
    assert any(part in error.message.replace("-", ".") for part in text.split("|")), error.message


@pytest.mark.feature("M5")
async def test_an_authority_that_is_not_trusted(authority: Authority, stranger: Authority) -> None:
    error = await refusal(server_context(stranger.issue(HOST)), TLS(ca_file=authority.file))
    assert error.reason == "unknown-authority"
    assert "ca_file" in error.hint


@pytest.mark.feature("M5")
async def test_versions_that_are_not_safe(authority: Authority) -> None:
    context = server_context(authority.issue(HOST), lax=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_server((HOST, 0)) as listening:  # asyncio closes without the alert that says why

        def serve() -> None:
            accepted, _ = listening.accept()
            with accepted, pytest.raises(ssl.SSLError):
                context.wrap_socket(accepted, server_side=True)

        serving = asyncio.create_task(asyncio.to_thread(serve))
        client = await started(tls=TLS(ca_file=authority.file))
        with pytest.raises(TLSError) as failed:
            await client.connect(f"{HOST}:{listening.getsockname()[1]}")
        await serving
        await client.close()
    assert failed.value.reason == "old-version"
    assert "1.2" in failed.value.hint


@pytest.mark.feature("M5")
async def test_a_port_without_tls_and_a_server_that_is_silent(authority: Authority) -> None:
    error = await refusal(None, TLS(ca_file=authority.file))
    assert error.reason in ("closed", "not-tls")
    release = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    server = await asyncio.start_server(stall, HOST, 0)
    client = await started(tls=TLS(ca_file=authority.file), connect_timeout=0.3)
    with pytest.raises(TLSError) as failed:
        await client.connect(f"{HOST}:{server.sockets[0].getsockname()[1]}")
    assert failed.value.reason == "timed-out"
    await client.close()
    release.set()
    server.close()
    await server.wait_closed()


@pytest.mark.feature("M5")
async def test_what_is_right_passes_with_a_list_of_revoked_ones(authority: Authority) -> None:
    context = server_context(authority.issue(HOST))
    async with running(context, tls=TLS(ca_file=authority.file, crl_file=authority.crl())) as (server, client):
        assert (await ask(client, server)).code == 0


@pytest.mark.feature("M5", "M6")
@pytest.mark.parametrize("password", [PASSWORD, lambda: PASSWORD], ids=["text", "function"])
async def test_a_client_certificate_with_an_encrypted_key(authority: Authority, password: Any) -> None:
    quiet_loop()
    context = server_context(authority.issue(HOST))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    certificate, key = authority.issue("client.example", password=PASSWORD)
    tls = TLS(ca_file=authority.file, cert_file=certificate, key_file=key, key_password=password)
    assert PASSWORD not in repr(tls)
    async with running(context, tls=tls) as (server, client):
        assert (await ask(client, server)).code == 0
    async with running(context, tls=TLS(ca_file=authority.file)) as (server, client):
        with pytest.raises((TLSError, ConnectionLostError), match=r"client certificate|cert_file"):
            await ask(client, server)


def fail() -> str:
    raise KeyError(PASSWORD)


@pytest.mark.feature("M6")
@pytest.mark.parametrize(
    ("password", "text"),
    [
        (None, "is encrypted"),
        ("wrong", "check key_password"),
        (lambda: "wrong", "check key_password"),
        (lambda: 7, "answered a int"),
        (fail, "raised KeyError"),
    ],
)
async def test_a_key_that_cannot_be_opened_fails_the_start(authority: Authority, password: Any, text: str) -> None:
    certificate, key = authority.issue("client.example", password=PASSWORD)
    with pytest.raises(ConfigError, match=text) as failed:
        await started(tls=TLS(ca_file=authority.file, cert_file=certificate, key_file=key, key_password=password))
    assert PASSWORD not in str(failed.value)


@pytest.mark.feature("M6")
def test_a_password_is_not_pickled(authority: Authority) -> None:
    def ask_the_vault() -> str:
        raise RuntimeError(f"wanted one line, got {PASSWORD}")

    certificate, key = authority.issue("client", password=PASSWORD)
    with pytest.raises(ConfigError, match="raised RuntimeError") as failed:
        TLS(cert_file=certificate, key_file=key, key_password=ask_the_vault).make_context()
    assert isinstance(failed.value.cause, RuntimeError)
    assert PASSWORD.encode() not in pickle.dumps(failed.value)
    with pytest.raises(ConfigError, match="not pickled"):
        pickle.dumps(TLS(cert_file="c.pem", key_password=PASSWORD))
    tls = TLS(ca_file="ca.pem", crl_file="crl.pem", check_hostname=False)
    assert pickle.loads(pickle.dumps(tls)) == tls


@pytest.mark.feature("M5")
async def test_files_that_change_are_read_again_for_the_next_connection(
    authority: Authority, stranger: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quiet_loop()
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.file.read_bytes())
    context = server_context(authority.issue(HOST))
    async with running(context, tls=TLS(ca_file=ca_file)) as (server, client):
        assert (await ask(client, server)).code == 0
        with caplog.at_level(logging.INFO, "aiorocketmq.remoting"):
            ca_file.write_bytes(stranger.file.read_bytes() + b"\n")
            client.close_channel(server.address)
            with pytest.raises(TLSError) as failed:
                await ask(client, server)
            assert failed.value.reason == "unknown-authority"
            ca_file.write_bytes(b"half a file")
            for _ in range(2):
                with pytest.raises(TLSError):
                    await ask(client, server)
            ca_file.write_bytes(authority.file.read_bytes() + b"\n\n")
            assert (await ask(client, server)).code == 0
        told = [record.getMessage() for record in records(caplog)]
        assert len([text for text in told if "certificates of before" in text]) == 1
        assert len([text for text in told if "were read again" in text]) == 2


@pytest.mark.feature("M4", "M5")
async def test_the_server_name_is_sent_and_checked(authority: Authority) -> None:
    """By SNI a server with many names chooses its certificate."""
    names: list[str | None] = []
    context = server_context(authority.issue("localhost"))
    context.sni_callback = lambda found, name, of: names.append(name)
    async with running(context, tls=TLS(ca_file=authority.file)) as (server, client):
        assert (await client.invoke(f"localhost:{server.port}", RemotingCommand.request(ECHO), 5.0)).code == 0
    assert names == ["localhost"]


@pytest.mark.feature("M5")
@pytest.mark.parametrize("given", [{"cert_file": ""}, {"cert_file": None}, {"cert_file": "c.pem", "key_file": " "}])
def test_server_files_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="is not a path"):
        ServerTLS(**given)
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        ServerTLS("missing.pem").make_contexts()
    with pytest.raises(ConfigError, match="key_password is a int"):
        ServerTLS("c.pem", key_password=7)  # type: ignore[arg-type]


@pytest.mark.feature("M4", "M5")
async def test_a_whole_name_with_its_dot_is_that_of_the_certificate(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """`broker.example.svc.cluster.local.`: the dot tells resolvers that nothing is to be put behind the name; certificates have none."""
    names: list[str | None] = []
    context = server_context(authority.issue("broker.test"))
    context.sni_callback = lambda found, name, of: names.append(name)
    async with running(context, tls=TLS(ca_file=authority.file)) as (server, client):
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
        asked: list[str] = []

        def resolve(host: str, *rest: Any, **more: Any) -> Any:
            asked.append(host)
            return found

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        for name in ("broker.test.", "broker.test"):
            assert (await client.invoke(f"{name}:{server.port}", RemotingCommand.request(ECHO), 5.0)).code == 0
        assert asked == ["broker.test.", "broker.test"]
        with pytest.raises(TLSError) as failed:
            await client.invoke(f"{'x' * 64}.test:{server.port}", RemotingCommand.request(ECHO), 5.0)
        assert failed.value.reason == "wrong-host"
        assert "no name that a certificate can carry" in failed.value.message
    assert names == ["broker.test", "broker.test"]
