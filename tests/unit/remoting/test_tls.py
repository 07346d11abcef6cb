"""TLS on real loopback sockets: verified by default, each failure named, nothing sent before it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from aiorocketmq.config import TLS
from aiorocketmq.errors import ConfigError, ConnectionLostError, TLSError, WrongProtocolError
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.remoting.client import RemotingClient
from aiorocketmq.remoting.server import RemotingServer
from aiorocketmq.remoting.tls import handshake_error, handshake_timeout
from tests.unit.remoting.harness import records, started

ECHO = 1


def echo(request: RemotingCommand, channel: Channel) -> RemotingCommand:
    return RemotingCommand.response(request, body=request.body)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path: Path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    yield str(path)


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@contextlib.asynccontextmanager
async def running(context: ssl.SSLContext | None, **client_fields: Any) -> AsyncIterator[tuple[RemotingServer, RemotingClient]]:
    server = RemotingServer(processors={ECHO: echo}, ssl_context=context)
    await server.start()
    client = await started(**client_fields)
    try:
        yield server, client
    finally:
        await client.close()
        await server.stop()


def quiet_loop() -> None:
    """Failed handshakes on the server end are reported to the loop's handler; here they are expected."""
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)


@pytest.mark.feature("M4", "M5")
@pytest.mark.parametrize("size", [1, 1 << 20])
async def test_requests_travel_over_a_verified_connection(authority: trustme.CA, ca_file: str, size: int) -> None:
    async with running(server_context(authority, "127.0.0.1"), tls=TLS(ca_file=ca_file)) as (server, client):
        body = bytes(size)
        assert (await client.invoke(server.address, RemotingCommand.request(ECHO, body=body), 10.0)).body == body
        channel = client.channel(server.address)
        assert channel is not None
        assert channel._transport is not None
        assert channel._transport.get_extra_info("ssl_object").version().startswith("TLS")


@pytest.mark.feature("M5")
async def test_a_certificate_of_a_stranger_is_refused(authority: trustme.CA, ca_file: str) -> None:
    quiet_loop()
    async with running(server_context(trustme.CA(), "127.0.0.1"), tls=TLS(ca_file=ca_file)) as (server, client):
        with pytest.raises(TLSError, match=r"certificate of 127\.0\.0\.1:\d+ is refused.*issuer") as failed:
            await client.invoke(server.address, RemotingCommand.request(ECHO), 3.0)
        assert not failed.value.maybe_sent
        assert not failed.value.retriable
        assert server.counters.opened == 0


@pytest.mark.feature("M5")
async def test_a_certificate_for_another_name_is_refused_unless_told_otherwise(
    authority: trustme.CA, ca_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    quiet_loop()
    context = server_context(authority, "broker.example")
    async with running(context, tls=TLS(ca_file=ca_file)) as (server, client):
        with pytest.raises(TLSError, match="IP address mismatch"):
            await client.invoke(server.address, RemotingCommand.request(ECHO), 3.0)
    assert "host names" not in caplog.text
    async with running(context, tls=TLS(ca_file=ca_file, check_hostname=False)) as (server, client):
        assert (await client.invoke(server.address, RemotingCommand.request(ECHO), 3.0)).code == 0
    assert "does not compare host names" in caplog.text


async def test_skipping_verification_works_and_says_so(authority: trustme.CA, caplog: pytest.LogCaptureFixture) -> None:
    context = server_context(trustme.CA(), "elsewhere.example")
    with caplog.at_level(logging.WARNING, "aiorocketmq.remoting"):
        async with running(context, tls=TLS(insecure=True)) as (server, client):
            assert (await client.invoke(server.address, RemotingCommand.request(ECHO), 3.0)).code == 0
    assert [record.levelname for record in records(caplog)] == ["WARNING"]
    assert "does not verify" in caplog.text


@pytest.mark.feature("M5")
async def test_a_client_certificate_is_shown_when_the_server_wants_one(authority: trustme.CA, ca_file: str, tmp_path: Path) -> None:
    quiet_loop()
    context = server_context(authority, "127.0.0.1")
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    pem = tmp_path / "client.pem"
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(str(pem))
    async with running(context, tls=TLS(ca_file=ca_file, cert_file=str(pem))) as (server, client):
        assert (await client.invoke(server.address, RemotingCommand.request(ECHO), 3.0)).code == 0
    async with running(context, tls=TLS(ca_file=ca_file)) as (server, client):
        with pytest.raises((TLSError, ConnectionLostError), match="certificate"):  # TLS 1.3 tells the client only after its handshake
            await client.invoke(server.address, RemotingCommand.request(ECHO), 3.0)


async def test_a_tls_client_at_a_plain_port(ca_file: str) -> None:
    async with running(None, tls=TLS(ca_file=ca_file)) as (server, client):
        with pytest.raises(TLSError, match="may not speak TLS") as failed:
            await client.invoke(server.address, RemotingCommand.request(ECHO), 3.0)
        assert not failed.value.maybe_sent


@pytest.mark.parametrize("how", ["closed", "reset", "closed midway", "reset midway"])
async def test_a_handshake_that_is_broken_off_may_go_well_the_next_time(ca_file: str, how: str) -> None:
    """So does a server that stops or starts just then; one that refuses does not."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if "midway" in how:
            await reader.read(16)
        if "reset" in how:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(break_off, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = await started(name_servers=address, tls=TLS(ca_file=ca_file))
    for target in (address, None):
        with pytest.raises(TLSError, match="closed the connection during the TLS handshake") as failed:
            await client.invoke(target, RemotingCommand.request(ECHO), 3.0)
        assert failed.value.retriable and not failed.value.maybe_sent
    await client.close()
    server.close()
    await server.wait_closed()


def test_an_error_that_an_event_loop_made_itself_has_no_reason() -> None:
    assert not handshake_error("a:1", ssl.SSLError("made by hand")).retriable
    assert "made by hand" in str(handshake_error("a:1", ssl.SSLError("made by hand")))
    assert handshake_error("a:1", ssl.SSLEOFError("made by hand")).retriable and handshake_timeout("a:1", 3.0).retriable


async def test_a_plain_client_at_a_tls_port(authority: trustme.CA) -> None:
    quiet_loop()
    async with running(server_context(authority, "127.0.0.1")) as (server, client):
        with pytest.raises((WrongProtocolError, ConnectionLostError), match="TLS"):
            await client.invoke(server.address, RemotingCommand.request(ECHO), 3.0)


async def test_a_handshake_that_stalls_ends_with_the_time_out(ca_file: str) -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = await started(tls=TLS(ca_file=ca_file), connect_timeout=0.3)
    with pytest.raises(TLSError, match=rf"TLS handshake with {address} did not end within 0\.3 s"):
        await client.connect(address)
    await client.close()
    server.close()
    await server.wait_closed()


async def test_files_that_cannot_be_loaded_fail_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        await started(tls=TLS(ca_file=str(tmp_path / "missing.pem")))


@pytest.mark.feature("M5")
async def test_a_peer_that_does_not_say_farewell_holds_a_close_up_for_a_moment_only(authority: trustme.CA, ca_file: str) -> None:
    """It reads nothing more, as a process that was stopped."""
    accepted: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        beneath = writer.transport._ssl_protocol._transport  # type: ignore[attr-defined]
        beneath.pause_reading()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(authority, "127.0.0.1"))
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = await started(tls=TLS(ca_file=ca_file))
    await client.connect(address)
    await asyncio.sleep(0.1)
    began = asyncio.get_running_loop().time()
    await client.close()
    assert asyncio.get_running_loop().time() - began < 5, "asyncio itself would wait for 30 s"
    for writer in accepted:
        writer.transport.abort()
    server.close()
    await server.wait_closed()
