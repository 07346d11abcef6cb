"""Blocking connections beside a channel, on real loopback sockets; the peers are asyncio servers, the links run in threads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trustme

from aiorocketmq.config import TLS
from aiorocketmq.errors import ConnectionLostError, RequestTimeoutError, WrongProtocolError
from aiorocketmq.protocol.command import RemotingCommand, next_opaque
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.frame import encode
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.remoting.link import Link, Links
from aiorocketmq.remoting.server import RemotingServer
from tests.support.waiting import eventually
from tests.unit.remoting.harness import started
from tests.unit.remoting.test_sockets import Handler, raw_server

CODE = 1


def soon() -> float:
    return time.monotonic() + 3.0


@contextlib.asynccontextmanager
async def beside(handle: Handler) -> AsyncIterator[Channel]:
    """A channel to a server that leaves it alone, and treats all connections after it as told."""
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        if served == 1:
            await reader.read()
        else:
            await handle(reader, writer)

    async with raw_server(serve) as address:
        client = await started()
        try:
            yield await client.connect(address)
        finally:
            await client.close()


@contextlib.asynccontextmanager
async def linked(handle: Handler) -> AsyncIterator[Link]:
    """A link to such a server."""
    async with beside(handle) as channel:
        link = await asyncio.to_thread(Link, channel, soon())
        try:
            yield link
        finally:
            link.close()


async def ask(link: Link, body: bytes = b"", timeout: float = 10.0) -> RemotingCommand:
    opaque = next_opaque()
    frame = encode(RemotingCommand(CODE, opaque=opaque, body=body))
    return await asyncio.to_thread(link.exchange, opaque, frame, time.monotonic() + timeout)


def answering(send: Callable[[asyncio.StreamWriter, RemotingCommand], Awaitable[None]]) -> Handler:
    """Calls `send` for every request that comes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiver = FrameReceiver(1 << 26)
        while data := await reader.read(1 << 16):
            for request in receiver.feed(data):
                await send(writer, request)

    return handle


def answer_to(request: RemotingCommand, body: bytes | None = None) -> bytes:
    return encode(RemotingCommand.response(request, body=request.body if body is None else body))


@answering
async def echo(writer: asyncio.StreamWriter, request: RemotingCommand) -> None:
    writer.write(answer_to(request))


@answering
async def silent(writer: asyncio.StreamWriter, request: RemotingCommand) -> None:
    pass


async def test_an_answer_in_one_piece_and_the_next_on_the_same_connection() -> None:
    async with linked(echo) as link:
        for body in (b"one", b"two", b""):
            assert (await ask(link, body)).body == body
        assert link.is_good(time.monotonic())


async def test_an_answer_that_comes_byte_by_byte() -> None:
    @answering
    async def dribble(writer: asyncio.StreamWriter, request: RemotingCommand) -> None:
        for byte in answer_to(request):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.0005)

    async with linked(dribble) as link:
        assert (await ask(link, b"slow")).body == b"slow"


async def test_a_request_and_an_answer_larger_than_all_buffers() -> None:
    body = bytes(range(256)) * (12 << 12)  # 12 MiB
    async with linked(echo) as link:
        assert (await ask(link, body)).body == body


async def test_requests_of_the_peer_and_answers_to_others_are_passed_over() -> None:
    @answering
    async def chatty(writer: asyncio.StreamWriter, request: RemotingCommand) -> None:
        other = RemotingCommand.response(request, body=b"another's")
        other.opaque = request.opaque + 1
        asked = RemotingCommand(40, opaque=request.opaque, body=b"a request of the peer, by chance of the same number")
        writer.write(encode(asked) + encode(other) + answer_to(request, b"mine") + encode(other))

    async with linked(chatty) as link:
        for _ in range(2):
            assert (await ask(link)).body == b"mine"


async def test_a_peer_that_closes_before_the_request() -> None:
    connected = asyncio.Event()

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await connected.wait()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with linked(close) as link:
        connected.set()
        await eventually(lambda: not link.is_good(time.monotonic() + 60))
        with pytest.raises(ConnectionLostError, match=link.channel.address) as failed:
            await ask(link)
        # It was reset, and the socket said so before it took a byte.
        assert not failed.value.maybe_sent
        assert failed.value.address == link.channel.address
        assert not link.is_good(time.monotonic())


async def test_a_peer_that_closes_after_the_request() -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)

    async with linked(close) as link:
        with pytest.raises(ConnectionLostError, match=r"was closed by the peer|was lost") as failed:
            await ask(link)
        assert failed.value.maybe_sent
        assert not link.is_good(time.monotonic())


async def test_a_peer_that_closes_in_the_middle_of_its_answer() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        [request] = FrameReceiver().feed(await reader.read(1 << 16))
        writer.write(answer_to(request)[:-3])
        writer.close()
        await writer.wait_closed()

    async with linked(half) as link:
        with pytest.raises(ConnectionLostError, match="in the middle of a frame") as failed:
            await ask(link)
        assert failed.value.maybe_sent


async def test_garbage_ends_the_link_and_names_what_it_seems_to_be() -> None:
    @answering
    async def http(writer: asyncio.StreamWriter, request: RemotingCommand) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with linked(http) as link:
        with pytest.raises(ConnectionLostError, match="because of what it sent") as failed:
            await ask(link)
        assert failed.value.maybe_sent
        assert failed.value.hint
        assert isinstance(failed.value.cause, WrongProtocolError)
        assert not link.is_good(time.monotonic())


async def test_an_answer_counts_though_garbage_follows_it() -> None:
    @answering
    async def both(writer: asyncio.StreamWriter, request: RemotingCommand) -> None:
        writer.write(answer_to(request) + b"\xff" * 32)

    async with linked(both) as link:
        assert (await ask(link, b"stored")).body == b"stored"
        assert not link.is_good(time.monotonic())


@pytest.mark.feature("O8")
async def test_a_silent_peer_costs_the_time_out_and_the_link() -> None:
    async with linked(silent) as link:
        began = time.monotonic()
        with pytest.raises(RequestTimeoutError, match="no answer from") as failed:
            await ask(link, timeout=0.3)
        assert 0.3 <= time.monotonic() - began < 20
        assert failed.value.maybe_sent
        assert not link.is_good(time.monotonic())


async def test_a_deadline_that_has_passed_is_none_to_wait_for() -> None:
    async with linked(silent) as link:
        with pytest.raises(RequestTimeoutError):
            await ask(link, timeout=-1.0)


async def test_a_deadline_beyond_what_poll_takes() -> None:
    async with linked(echo) as link:
        assert (await ask(link, b"x", timeout=1e9)).body == b"x"


async def test_a_peer_that_does_not_read_costs_the_time_out() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(writer.transport, asyncio.ReadTransport)
        writer.transport.pause_reading()
        await asyncio.Event().wait()

    async with linked(deaf) as link:
        began = time.monotonic()
        with pytest.raises(RequestTimeoutError) as failed:
            await ask(link, bytes(64 << 20), timeout=0.5)
        assert 0.5 <= time.monotonic() - began < 5
        assert failed.value.maybe_sent


@pytest.mark.parametrize("first", [0, 5])
async def test_a_request_of_which_a_part_has_left_may_have_been_sent(first: int) -> None:
    """Whatever the first write has taken."""

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with linked(deaf) as link:

        class Slow:
            """The socket of the link, with buffers that take little at first, then a little more, and then nothing."""

            taken: ClassVar = [first, 7]

            def send(self, data: bytes | memoryview) -> int:
                if not self.taken or not (count := self.taken.pop(0)):
                    raise BlockingIOError
                return real.send(data[:count])

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

        real, link._socket = link._socket, Slow()  # type: ignore[assignment]
        with pytest.raises(RequestTimeoutError) as failed:
            await ask(link, bytes(1000), timeout=0.3)
        assert failed.value.maybe_sent


async def test_a_link_that_was_closed_while_idle_is_no_good() -> None:
    goodbye = asyncio.Event()

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await goodbye.wait()

    async with linked(leave) as link:
        later = time.monotonic() + 60
        assert link.is_good(later)
        goodbye.set()
        await eventually(lambda: not link.is_good(later))


async def test_a_link_is_as_good_as_its_channel() -> None:
    async with linked(echo) as link:
        assert link.is_good(time.monotonic())
        link.channel.close()
        assert not link.is_good(time.monotonic())


async def test_shut_ends_the_exchange_of_another_thread() -> None:
    async with linked(silent) as link:
        asking = asyncio.ensure_future(ask(link, timeout=30.0))
        await asyncio.sleep(0.1)
        link.shut()
        with pytest.raises(ConnectionLostError) as failed:
            await asking
        assert failed.value.maybe_sent
        link.shut()  # of no effect


@pytest.mark.feature("M4")
async def test_a_link_beside_a_tls_channel_speaks_tls_and_checks_as_much(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    stranger.issue_cert("127.0.0.1").configure_cert(other)
    async with echoing(context) as server, echoing(other) as impostor:
        client = await started(tls=TLS(ca_file=tmp_path / "ca.pem"))
        channel = await client.connect(server.address)
        link = await asyncio.to_thread(Link, channel, soon())
        for size in (1, 100_000, 3_000_000):  # one record, several, and more than all buffers
            body = bytes(range(100)) * (size // 100)
            assert (await ask(link, body)).body == body
        assert link.is_good(time.monotonic() + 60)
        assert channel.peer is not None
        channel.peer = channel.peer._replace(address=("127.0.0.1", impostor.port))
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(Link, channel, soon())
        await server.stop(abort=True)
        await eventually(lambda: not link.is_good(time.monotonic() + 60))
        link.close()
        await client.close()


async def test_a_tls_handshake_that_does_not_go_on_is_given_up() -> None:
    async def read_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    context = TLS(insecure=True).make_context()
    async with beside(read_on) as channel:
        assert channel.peer is not None
        channel.peer = channel.peer._replace(context=context)
        began = time.monotonic()
        with pytest.raises(OSError):
            await asyncio.to_thread(Link, channel, began + 0.3)
        assert 0.3 <= time.monotonic() - began < 20


@contextlib.asynccontextmanager
async def echoing(context: ssl.SSLContext | None) -> AsyncIterator[RemotingServer]:
    server = RemotingServer(ssl_context=context)
    server.register_processor(CODE, lambda request, _: RemotingCommand.response(request, body=request.body))
    await server.start()
    try:
        yield server
    finally:
        await server.stop(abort=True)


async def test_a_plain_channel_knows_its_peer() -> None:
    async with beside(echo) as channel:
        assert channel.peer == (("127.0.0.1", int(channel.address.rpartition(":")[2])), None, None)


# -- all of a producer ---------------------------------------------------------------------------------------------------------------------


def made(links: Links, channel: Channel) -> Link:
    return links.take(channel) or links.connect(channel, soon())


def is_open(link: Link) -> bool:
    return link._socket.fileno() >= 0


async def test_links_are_used_again() -> None:
    async with beside(echo) as channel:
        links = Links()
        assert links.take(channel) is None
        one, two = made(links, channel), made(links, channel)
        links.give(one)
        assert links.take(channel) is one
        assert links.take(channel) is None
        links.give(one)
        links.give(two)
        assert links.take(channel) is two
        links.give(two)
        links.close()
        assert not is_open(one)
        assert not is_open(two)
        assert not links._all


async def test_a_broken_link_is_not_kept() -> None:
    async with beside(echo) as channel:
        links = Links()
        link = made(links, channel)
        link.close()
        links.give(link)
        assert links.take(channel) is None
        link = made(links, channel)
        channel.close()
        links.give(link)
        assert not is_open(link)
        assert not links._all


async def test_a_link_that_the_peer_closed_is_not_taken() -> None:
    closed = asyncio.Event()

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closed.wait()

    async with beside(leave) as channel:
        links = Links()
        link = made(links, channel)
        links.give(link)
        closed.set()
        await eventually(lambda: not link.is_good(time.monotonic() + 60))
        link.used_at -= 60
        assert links.take(channel) is None
        assert not is_open(link)
        links.close()


async def test_sweeping_closes_what_is_not_used() -> None:
    async with beside(echo) as channel:
        links = Links()
        old, young, used = made(links, channel), made(links, channel), made(links, channel)
        links.give(old)
        links.give(young)
        for link in (old, used):
            link.used_at -= 60.0
        links.sweep(30.0)
        assert not is_open(old)
        assert is_open(young)
        assert is_open(used)
        assert links.take(channel) is young
        links.give(young)
        channel.close()
        links.sweep(30.0)
        assert not is_open(young)
        assert not links._idle
        links.give(used)
        assert not is_open(used)


async def test_a_link_in_use_is_closed_when_it_is_given_back_after_the_end() -> None:
    async with beside(echo) as channel:
        links = Links()
        link = made(links, channel)
        links.close()
        assert (await ask(link, b"still")).body == b"still"
        links.give(link)
        assert not is_open(link)
        assert not links._idle
        assert not links._all


async def test_shutting_ends_the_links_in_use() -> None:
    async with beside(silent) as channel:
        links = Links()
        link = made(links, channel)
        asking = asyncio.ensure_future(ask(link, timeout=30.0))
        await asyncio.sleep(0.1)
        links.close()
        links.shut()
        with pytest.raises(ConnectionLostError) as failed:
            await asking
        assert failed.value.maybe_sent
        links.give(link)


async def test_abandoning_closes_all() -> None:
    async with beside(silent) as channel:
        links = Links()
        idle, used = made(links, channel), links.connect(channel, soon())
        links.give(idle)
        links.abandon()
        assert not is_open(idle)
        assert not is_open(used)
        assert not links._all


async def test_threads_that_use_links_while_they_are_closed_leave_none_open() -> None:
    async with beside(echo) as channel:
        for _ in range(20):
            links = Links()
            seen: set[Link] = set()
            go = threading.Event()

            def use(links: Links = links, seen: set[Link] = seen, go: threading.Event = go) -> None:
                go.wait(10)
                for _ in range(20):
                    link = made(links, channel)
                    seen.add(link)
                    links.give(link)

            users = [asyncio.ensure_future(asyncio.to_thread(use)) for _ in range(4)]
            await asyncio.sleep(0)
            go.set()
            links.close()
            await asyncio.gather(*users)
            assert not [link for link in seen if is_open(link)]
