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

import pytest
import trustme

from aiorocketmq.config import TLS
from aiorocketmq.errors import ConnectionLostError, RequestTimeoutError, WrongProtocolError
from aiorocketmq.protocol.command import RemotingCommand, next_opaque
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.frame import encode
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.remoting.link import Link, LinkPool
from aiorocketmq.remoting.server import RemotingServer
from tests.support.waiting import eventually
from tests.unit.remoting.harness import started
from tests.unit.remoting.test_sockets import Handler, raw_server

CODE = 1


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
        link = await asyncio.to_thread(Link, channel, 3.0)
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


async def test_there_is_no_link_beside_a_tls_channel() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    server = RemotingServer(ssl_context=context)
    await server.start()
    client = await started(tls=TLS(insecure_skip_verify=True))
    channel = await client.connect(server.address)
    assert channel.peer is None
    with pytest.raises(OSError, match="no plain one"):
        await asyncio.to_thread(Link, channel, 3.0)
    await client.close()
    await server.stop()


async def test_a_plain_channel_knows_its_peer() -> None:
    async with beside(echo) as channel:
        assert channel.peer == ("127.0.0.1", int(channel.address.rpartition(":")[2]))


# -- the pool ------------------------------------------------------------------------------------------------------------------------------


def made(pool: LinkPool, channel: Channel) -> Link:
    link = pool.take(channel) or pool.make(channel, 3.0)
    assert link is not None
    return link


def is_open(link: Link) -> bool:
    return link._socket.fileno() >= 0


async def test_a_pool_makes_as_many_as_it_may_and_uses_them_again() -> None:
    async with beside(echo) as channel:
        pool = LinkPool(2)
        assert pool.take(channel) is None
        one, two = made(pool, channel), made(pool, channel)
        assert pool.busy == 2
        assert pool.make(channel, 3.0) is None
        pool.give(one)
        assert pool.busy == 1
        assert pool.take(channel) is one
        assert pool.take(channel) is None
        pool.give(one)
        pool.give(two)
        assert pool.take(channel) is two
        pool.give(two)
        pool.close(1.0)
        assert not is_open(one)
        assert not is_open(two)
        assert pool.busy == 0


async def test_a_broken_link_makes_room_for_another() -> None:
    async with beside(echo) as channel:
        pool = LinkPool(1)
        for _ in range(3):
            link = made(pool, channel)
            link.close()
            pool.give(link)
            assert pool.take(channel) is None
        link = made(pool, channel)
        link.channel.close()
        pool.give(link)
        assert not is_open(link)
        assert pool.make(channel, 3.0) is None
        pool.close(0.1)


async def test_a_link_that_the_peer_closed_is_not_taken() -> None:
    closed = asyncio.Event()

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closed.wait()

    async with beside(leave) as channel:
        pool = LinkPool(1)
        link = made(pool, channel)
        pool.give(link)
        closed.set()
        await eventually(lambda: not link.is_good(time.monotonic() + 60))
        link.used_at -= 60
        assert pool.take(channel) is None
        assert not is_open(link)
        assert pool.busy == 0
        pool.close(0.1)


async def test_dials_that_failed_count() -> None:
    client = await started()
    server = RemotingServer()
    await server.start()
    channel = await client.connect(server.address)
    channel.peer = ("127.0.0.1", 1)  # nobody listens there
    pool = LinkPool(2)
    assert pool.make(channel, 1.0) is None
    assert pool.make(channel, 1.0) is None
    channel.peer = ("127.0.0.1", server.port)
    assert pool.make(channel, 1.0) is None  # it could be had now, but is not tried for any more
    assert pool.busy == 0
    await client.close()
    await server.stop()
    assert not pool.sweep(0.0)


async def test_an_interrupted_dial_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupt(BaseException):
        pass

    def interrupted(*_: object) -> None:
        raise Interrupt

    async with beside(echo) as channel:
        pool = LinkPool(1)
        with monkeypatch.context() as patch:
            patch.setattr(socket, "create_connection", interrupted)
            with pytest.raises(Interrupt):
                pool.make(channel, 1.0)
        pool.give(made(pool, channel))
        pool.close(0.1)


async def test_sweeping_closes_what_is_not_used() -> None:
    async with beside(echo) as channel:
        pool = LinkPool(3)
        old, young, used = made(pool, channel), made(pool, channel), made(pool, channel)
        pool.give(old)
        pool.give(young)
        for link in (old, used):
            link.used_at -= 60.0
        assert pool.sweep(30.0)
        assert not is_open(old)
        assert is_open(young)
        assert is_open(used)
        assert pool.take(channel) is young
        pool.give(young)
        channel.close()
        assert pool.sweep(30.0)  # one is in use
        assert not is_open(young)
        pool.give(used)
        assert not is_open(used)
        assert not pool.sweep(30.0)


async def test_sweeping_finds_links_that_were_lost() -> None:
    async with beside(echo) as channel:
        pool = LinkPool(1)
        lost = made(pool, channel)  # as when an interrupt comes before it is used
        lost.until -= 60
        assert pool.sweep(30.0)
        assert not is_open(lost)
        assert pool.busy == 0
        pool.give(made(pool, channel))
        pool.close(0.1)


async def test_closing_waits_for_a_link_in_use() -> None:
    @answering
    async def late(writer: asyncio.StreamWriter, request: RemotingCommand) -> None:
        await asyncio.sleep(0.3)
        writer.write(answer_to(request))

    async with beside(late) as channel:
        pool = LinkPool(1)
        link = made(pool, channel)

        async def use() -> bytes:
            body = (await ask(link, b"in time")).body
            pool.give(link)
            return body

        using = asyncio.ensure_future(use())
        await asyncio.sleep(0.05)
        await asyncio.to_thread(pool.close, 10.0)
        assert await using == b"in time"
        assert not pool.cut
        assert not is_open(link)
        assert pool.take(channel) is None
        assert pool.make(channel, 1.0) is None


async def test_closing_ends_a_link_in_use_when_the_time_is_over() -> None:
    async with beside(silent) as channel:
        pool = LinkPool(1)
        link = made(pool, channel)

        async def use() -> None:
            try:
                await ask(link, timeout=30.0)
            finally:
                pool.give(link)

        using = asyncio.ensure_future(use())
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await asyncio.to_thread(pool.close, 0.2)
        assert 0.2 <= time.monotonic() - began < 5
        assert pool.cut
        with pytest.raises(ConnectionLostError):
            await using
        assert not is_open(link)
        assert pool.busy == 0


async def test_closing_does_not_wait_for_a_link_that_was_lost() -> None:
    async with beside(silent) as channel:
        pool = LinkPool(1)
        link = made(pool, channel)
        link.until = time.monotonic() - 1
        began = time.monotonic()
        await asyncio.to_thread(pool.close, 30.0)
        assert time.monotonic() - began < 5
        assert not is_open(link)


async def test_threads_that_use_a_pool_while_it_is_closed_leave_no_link_open() -> None:
    async with beside(echo) as channel:
        for _ in range(20):
            pool = LinkPool(4)
            links: set[Link] = set()
            go = threading.Event()

            def use(pool: LinkPool = pool, links: set[Link] = links, go: threading.Event = go) -> None:
                go.wait(10)
                for _ in range(20):
                    link = pool.take(channel) or pool.make(channel, 1.0)
                    if link is not None:
                        links.add(link)
                        pool.give(link)

            users = [asyncio.ensure_future(asyncio.to_thread(use)) for _ in range(4)]
            await asyncio.sleep(0)
            go.set()
            await asyncio.to_thread(pool.close, 1.0)
            await asyncio.gather(*users)
            assert not [link for link in links if is_open(link)]
            assert pool.busy == 0
