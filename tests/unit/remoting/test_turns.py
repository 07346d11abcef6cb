"""A server shares its time and its memory among its peers: requests take turns, and unfinished frames have a limit in all."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable

import pytest

from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.frame import encode
from aiorocketmq.remoting import processing
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.remoting.server import RemotingServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.feature("O4", "O13")

WORK, PING, LATER = 1, 2, 3


class Peer:
    """A plain socket that speaks frames."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setblocking(False)
        self._receiver = FrameReceiver()

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def read(self, count: int) -> list[RemotingCommand]:
        """So many answers; fewer when the server hangs up."""
        found: list[RemotingCommand] = []
        while len(found) < count:
            data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._socket, 1 << 16), 20)
            if not data:
                break
            found += self._receiver.feed(data)
        return found

    def close(self) -> None:
        self._socket.close()


async def test_one_chunk_full_of_work_does_not_keep_others_waiting() -> None:
    done: list[str] = []

    def work(request: RemotingCommand, channel: Channel) -> RemotingCommand:
        time.sleep(processing.TURN / 4)
        done.append(channel.address)
        return RemotingCommand.response(request)

    server = RemotingServer(processors={WORK: work, PING: lambda request, channel: RemotingCommand.response(request)})
    greedy, other = Peer(await server.start()), Peer(server.port)
    await greedy.write(b"".join([encode(RemotingCommand.request(WORK)) for _ in range(400)]))
    await eventually(lambda: bool(done))
    await other.write(encode(RemotingCommand.request(PING)))
    assert len(await other.read(1)) == 1
    assert len(done) < 100, "it waited for all that the greedy one had asked for"
    answers = await greedy.read(400)
    assert [answer.opaque for answer in answers] == sorted(answer.opaque for answer in answers), "in order, and all of them"
    assert len(answers) == 400
    await greedy.write(encode(RemotingCommand.request(PING)))
    assert len(await greedy.read(1)) == 1, "it is read on once it has had its turns"
    greedy.close()
    other.close()
    await server.stop()


async def test_what_waits_for_its_turn_goes_with_its_connection() -> None:
    done: list[str] = []

    def work(request: RemotingCommand, channel: Channel) -> RemotingCommand:
        time.sleep(processing.TURN * 2)
        done.append(channel.address)
        return RemotingCommand.response(request)

    server = RemotingServer(processors={WORK: work})
    peer = Peer(await server.start())
    await peer.write(b"".join([encode(RemotingCommand.request(WORK)) for _ in range(1000)]))
    await eventually(lambda: bool(done))
    for channel in server.channels:
        channel.abort()
    count = len(done)
    await asyncio.sleep(0.1)
    assert len(done) <= count + 1
    peer.close()
    await server.stop()


async def test_unfinished_frames_have_a_limit_in_all_and_the_oldest_goes() -> None:
    server = RemotingServer(
        processors={PING: lambda request, channel: RemotingCommand.response(request, body=request.body)}, max_unfinished=1 << 20
    )
    port = await server.start()
    half = struct.pack(">iI", 4 + 12 + (1 << 20), 12) + b'{"code":310}' + bytes(300_000)
    hostile = []
    for _ in range(8):
        hostile.append(Peer(port))
        await hostile[-1].write(half)
        await eventually(lambda: server.counters.opened == len(hostile))
        await asyncio.sleep(0.02)
    await eventually(lambda: len(server.channels) <= 3)
    honest = Peer(port)
    await honest.write(encode(RemotingCommand.request(PING, body=bytes(700_000))))
    (answer,) = await honest.read(1)
    assert len(answer.body) == 700_000, "frames that are finished find room"
    assert await hostile[0].read(1) == [], "the oldest went first"
    for peer in (*hostile, honest):
        peer.close()
    await server.stop()


async def test_a_frame_that_is_whole_takes_no_room_any_more() -> None:
    server = RemotingServer(
        processors={PING: lambda request, channel: RemotingCommand.response(request, body=request.body)}, max_unfinished=1 << 20
    )
    port = await server.start()
    peers = [Peer(port) for _ in range(4)]
    for peer in peers:
        frame = encode(RemotingCommand.request(PING, body=bytes(800_000)))
        for half in (frame[:700_000], frame[700_000:]):
            await peer.write(half)
            await asyncio.sleep(0.02)
        (answer,) = await peer.read(1)
        assert len(answer.body) == 800_000
    for peer in peers:
        await peer.write(encode(RemotingCommand.request(PING, body=b"still here")))
        assert [answer.body for answer in await peer.read(1)] == [b"still here"], "nobody is closed for what was finished before"
        peer.close()
    await server.stop()


async def test_requests_that_take_long_have_a_limit() -> None:
    release = asyncio.Event()

    async def later(request: RemotingCommand) -> RemotingCommand:
        await release.wait()
        return RemotingCommand.response(request)

    def processor(request: RemotingCommand, channel: Channel) -> Awaitable[RemotingCommand | None]:
        return later(request)

    server = RemotingServer(processors={LATER: processor})
    peer = Peer(await server.start())
    await peer.write(b"".join([encode(RemotingCommand.request(LATER)) for _ in range(processing.MAX_TASKS + 10)]))
    assert {answer.code for answer in await peer.read(10)} == {ResponseCode.SYSTEM_BUSY}
    release.set()
    assert {answer.code for answer in await peer.read(processing.MAX_TASKS)} == {0}
    peer.close()
    await server.stop()
