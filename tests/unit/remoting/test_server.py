"""The server end on real loopback sockets: dispatch, life, requests to clients, and peers that misbehave."""

from __future__ import annotations

import asyncio
import logging
import os
import struct
from collections.abc import AsyncIterator

import pytest

from aiorocketmq.errors import ClientStateError, ConnectionLostError, RemotingError
from aiorocketmq.protocol.command import RemotingCommand, next_opaque
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.frame import encode
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.remoting.client import RemotingClient
from aiorocketmq.remoting.server import RemotingServer
from tests.support.waiting import eventually
from tests.unit.remoting.harness import Waiter, records, started

ECHO = 1


def echo(request: RemotingCommand, channel: Channel) -> RemotingCommand:
    return RemotingCommand.response(request, body=request.body)


@pytest.fixture
async def server() -> AsyncIterator[RemotingServer]:
    made = RemotingServer(processors={ECHO: echo}, partial_frame_timeout=0.3)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def client() -> AsyncIterator[RemotingClient]:
    made = await started()
    yield made
    await made.close()


async def talk(server: RemotingServer, *chunks: bytes) -> bytes:
    """Send raw bytes and read until the server closes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        for chunk in chunks:
            writer.write(chunk)
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()


async def test_it_listens_on_loopback_at_a_free_port(server: RemotingServer) -> None:
    assert server.host == "127.0.0.1"
    assert server.port > 0
    assert server.address == f"127.0.0.1:{server.port}"
    with pytest.raises(ClientStateError, match="listening already"):
        await server.start()


@pytest.mark.feature("O1", "O6")
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 65536, 1 << 20, (4 << 20) - 1])
async def test_bodies_of_any_size_come_back(server: RemotingServer, client: RemotingClient, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert (await client.invoke(server.address, RemotingCommand.request(ECHO, body=body), 10.0)).body == body


@pytest.mark.feature("O14")
async def test_sockets_send_at_once_and_have_no_keepalive(server: RemotingServer, client: RemotingClient) -> None:
    import socket

    channel = await client.connect(server.address)
    for end in (channel, server.channels[0]):
        assert end._transport is not None
        sock = end._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_processors_of_each_kind(server: RemotingServer, client: RemotingClient, caplog: pytest.LogCaptureFixture) -> None:
    async def later(request: RemotingCommand, channel: Channel) -> RemotingCommand:
        await asyncio.sleep(0)
        return RemotingCommand.response(request, remark="later")

    def held(request: RemotingCommand, channel: Channel) -> None:
        asyncio.get_running_loop().call_soon(channel.reply, request, RemotingCommand.response(request, remark="held"))

    def broken(request: RemotingCommand, channel: Channel) -> RemotingCommand:
        raise KeyError("k")

    async def broken_later(request: RemotingCommand, channel: Channel) -> RemotingCommand:
        raise RemotingError("refused")

    for code, processor in ((2, later), (3, held), (4, broken), (5, broken_later)):
        server.register_processor(code, processor)

    async def ask(code: int) -> tuple[int, str | None]:
        answer = await client.invoke(server.address, RemotingCommand.request(code), 3.0)
        return answer.code, answer.remark

    assert await ask(2) == (0, "later")
    assert await ask(3) == (0, "held")
    with caplog.at_level(logging.CRITICAL, "aiorocketmq.remoting"):
        assert await ask(4) == (1, "KeyError: 'k'")
        assert await ask(5) == (1, "RemotingError: refused")
    assert await ask(6) == (3, " request type 6 not supported")
    server.default_processor = echo
    assert (await ask(6))[0] == 0


async def test_oneway_requests_are_processed_and_never_answered(server: RemotingServer, client: RemotingClient) -> None:
    seen: list[int] = []
    server.register_processor(2, lambda request, channel: seen.append(request.opaque) or RemotingCommand.response(request))  # type: ignore[func-returns-value]
    await client.invoke_oneway(server.address, RemotingCommand.request(2), 3.0)
    await client.invoke_oneway(server.address, RemotingCommand.request(99), 3.0)
    await client.invoke(server.address, RemotingCommand.request(ECHO), 3.0)
    assert len(seen) == 1
    assert client.counters.dropped_responses == 0


@pytest.mark.feature("N2", "N5")
async def test_the_server_asks_its_clients(server: RemotingServer, client: RemotingClient) -> None:
    client.register_processor(307, lambda request, channel: RemotingCommand.response(request, body=b"info"))
    notices: list[int] = []
    client.register_processor(40, lambda request, channel: notices.append(request.code))
    await client.connect(server.address)
    channel = (await eventually(lambda: server.channels))[0]
    waiter = Waiter()
    request = RemotingCommand(307, opaque=next_opaque())
    channel.submit(request.opaque, encode(request), waiter, asyncio.get_running_loop().time() + 5)
    channel.send(encode(RemotingCommand.request(40, oneway=True)))
    await eventually(lambda: waiter.calls)
    assert waiter.response.body == b"info"
    await eventually(lambda: notices == [40])


async def test_listeners_and_channels_follow_the_connections(server: RemotingServer) -> None:
    class Listener:
        def on_connect(self, address: str, channel: Channel) -> None:
            events.append(("connect", address))

        def on_close(self, address: str, channel: Channel) -> None:
            events.append(("close", address))

    events: list[tuple[str, str]] = []
    server.add_channel_listener(Listener())
    client = await started()
    near = await client.connect(server.address)
    (channel,) = await eventually(lambda: server.channels)
    assert channel.address == near.local_address
    await client.close()
    await eventually(lambda: not server.channels)
    assert events == [("connect", near.local_address), ("close", near.local_address)]


@pytest.mark.parametrize("abort", [False, True])
async def test_stop_ends_everything_and_start_takes_the_same_port(client: RemotingClient, abort: bool) -> None:
    server = RemotingServer(processors={ECHO: echo, 2: lambda request, channel: None})
    port = await server.start()
    pending = asyncio.ensure_future(client.invoke(server.address, RemotingCommand.request(2), 30.0))
    await eventually(lambda: server.channels and client.in_flight)
    await asyncio.sleep(0)
    await server.stop(abort=abort)
    with pytest.raises(ConnectionLostError):
        await pending
    with pytest.raises(RemotingError):
        await client.invoke(server.address, RemotingCommand.request(ECHO), 3.0)
    assert await server.start() == port
    assert (await client.invoke(server.address, RemotingCommand.request(ECHO), 3.0)).code == 0
    await server.stop()
    await server.stop()
    assert server.channels == ()


async def test_stop_cancels_processors_that_are_still_running(client: RemotingClient) -> None:
    async def endless(request: RemotingCommand, channel: Channel) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    ended: list[bool] = []
    server = RemotingServer(processors={2: endless})
    await server.start()
    await client.invoke_oneway(server.address, RemotingCommand.request(2), 3.0)
    await eventually(lambda: server._endpoint.dispatcher.tasks)
    await server.stop()
    assert ended == [True]


def length_prefix(total: int, mark: int) -> bytes:
    return struct.pack(">II", total & 0xFFFFFFFF, mark)


HOSTILE = {
    "giant length": length_prefix(0x7FFFFFFF, 20),
    "negative length": length_prefix(0x80000000, 20),
    "one over the limit": length_prefix(16 * 1024 * 1024 + 1, 20),
    "zero length": length_prefix(0, 0),
    "tiny length": length_prefix(3, 0),
    "header longer than frame": length_prefix(100, 200),
    "longest header": length_prefix(100, 0xFFFFFF),
    "unknown encoding": length_prefix(100, 2 << 24 | 50),
    "last encoding": length_prefix(100, 255 << 24 | 50),
    "header is no JSON": length_prefix(54, 50) + b"x" * 50,
    "nothing but zeros": bytes(1024),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100f5010000f10303") + bytes(200),
    "noise": bytes((number * 131 + 7) % 256 for number in range(1 << 16)),
}


@pytest.mark.feature("O13")
@pytest.mark.parametrize("chunk", HOSTILE.values(), ids=HOSTILE.keys())
async def test_bad_bytes_close_that_connection_and_no_other(server: RemotingServer, client: RemotingClient, chunk: bytes) -> None:
    other = await client.connect(server.address)
    assert await talk(server, chunk) == b""
    assert (await client.invoke(server.address, RemotingCommand.request(ECHO, body=b"x"), 3.0)).body == b"x"
    assert client.channel(server.address) is other
    assert server.counters.protocol_errors == 1


async def test_what_came_before_the_bad_frame_is_still_answered(server: RemotingServer) -> None:
    good = encode(RemotingCommand(ECHO, opaque=5, body=b"x"))
    answer = await talk(server, good + length_prefix(3, 0))
    if answer:  # a reset may overtake it
        assert [(command.opaque, command.body) for command in FrameReceiver().feed(answer)] == [(5, b"x")]


async def test_the_log_of_bad_peers_does_not_flood(server: RemotingServer, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(30):
        await talk(server, b"GET / HTTP/1.1\r\n\r\n")
    assert server.counters.protocol_errors == 30
    assert len(records(caplog)) == 1
    assert "HTTP" in records(caplog)[0].getMessage()


async def test_half_a_frame_may_wait_only_so_long(server: RemotingServer) -> None:
    frame = encode(RemotingCommand(ECHO, opaque=5, body=b"x" * 100))
    for length in (1, 7, 8, 50, len(frame) - 1):
        assert await talk(server, frame[:length]) == b""
    assert server.counters.protocol_errors == 5


async def test_a_client_that_says_nothing_is_let_go() -> None:
    server = RemotingServer(idle_timeout=0.2)
    await server.start()
    assert await talk(server) == b""
    await server.stop()


async def test_frames_in_single_bytes_are_whole_again(server: RemotingServer) -> None:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    for byte in encode(RemotingCommand(ECHO, opaque=5, body=b"xyz")):
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    (answer,) = FrameReceiver().feed(await reader.read(4096))
    assert (answer.opaque, answer.flag, answer.body) == (5, 1, b"xyz")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_reads_nothing_is_served_nothing_more(server: RemotingServer, client: RemotingClient) -> None:
    served = 0

    def large(request: RemotingCommand, channel: Channel) -> RemotingCommand:
        nonlocal served
        served += 1
        return RemotingCommand.response(request, body=bytes(1 << 20))

    server.register_processor(2, large)
    reader, writer = await asyncio.open_connection(server.host, server.port, limit=1024)
    request = encode(RemotingCommand(2, opaque=1))
    writer.write(request * 2000)
    # The socket buffers take some answers, the server holds a few more, and then it stops reading this client.
    (channel,) = await eventually(lambda: server.channels)
    await eventually(lambda: not channel.writable)
    count = -1
    while served != count:
        count = served
        assert (await client.invoke(server.address, RemotingCommand.request(ECHO), 3.0)).code == 0
    assert served < 50
    # It goes on when the client reads.
    read = 0
    async with asyncio.timeout(30):
        while read < 20 << 20:
            read += len(await reader.read(1 << 20))
    writer.transport.abort()


async def test_an_answer_that_cannot_be_encoded_is_an_error_answer(
    server: RemotingServer, client: RemotingClient, caplog: pytest.LogCaptureFixture
) -> None:
    server.register_processor(2, lambda request, channel: RemotingCommand.response(request, header={"k": "v" * (1 << 24)}))
    with caplog.at_level(logging.CRITICAL, "aiorocketmq.remoting"):
        answer = await client.invoke(server.address, RemotingCommand.request(2), 10.0)
    assert answer.code == 1
    assert "cannot be encoded" in (answer.remark or "")


async def test_no_more_connections_are_taken_than_allowed(caplog: pytest.LogCaptureFixture) -> None:
    server = RemotingServer(processors={ECHO: echo}, max_connections=3)
    await server.start()
    streams = [await asyncio.open_connection(server.host, server.port) for _ in range(3)]
    await eventually(lambda: len(server.channels) == 3)
    for _ in range(5):
        assert await talk(server) == b""
    assert len(server.channels) == 3
    assert len([each for each in records(caplog) if "no more are taken" in each.getMessage()]) == 1
    streams.pop()[1].close()
    await eventually(lambda: len(server.channels) == 2)
    again = await started()
    assert (await again.invoke(server.address, RemotingCommand.request(ECHO, body=b"x"), 5)).body == b"x"
    await again.close()
    await server.stop()
    for _, writer in streams:
        writer.transport.abort()


async def test_files_are_left_to_open_when_very_many_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    free = os.open(os.devnull, os.O_RDONLY)  # files get the smallest number that is free
    os.close(free)
    limit = (free + 40) * 4 // 3
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit))
    server = RemotingServer(processors={ECHO: echo})
    await server.start()
    streams = [await asyncio.open_connection(server.host, server.port) for _ in range(60)]
    await eventually(lambda: server.counters.opened == 60)
    assert 0 < len(server.channels) < 30
    await server.stop()
    for _, writer in streams:
        writer.transport.abort()
