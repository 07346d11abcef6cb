"""The test harness itself: virtual time is exact, deadlocks are seen, the in-memory transport behaves as a transport."""

from __future__ import annotations

import asyncio
import time

import pytest

from aiorocketmq.protocol.command import RemotingCommand
from tests.support import virtual_loop
from tests.support.memory_transport import MemoryNetwork, PeerConnection, ScriptedPeer, join
from tests.support.virtual_loop import DeadlockError, run_virtual, virtual_time
from tests.unit.remoting.harness import PEER, started


def test_hours_pass_in_no_time_and_exactly() -> None:
    async def every(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(seconds)
            moments.append(loop.time())

    async def run() -> float:
        task = asyncio.ensure_future(every(30.0))
        await asyncio.sleep(7215)
        task.cancel()
        return asyncio.get_running_loop().time()

    moments: list[float] = []
    began = time.monotonic()
    assert run_virtual(run()) == 7215.0
    assert moments == [30.0 * number for number in range(1, 241)]
    assert time.monotonic() - began < 60


@virtual_time
async def test_threads_hold_the_clock() -> None:
    loop = asyncio.get_running_loop()
    timer = loop.call_later(10, lambda: None)
    assert await asyncio.to_thread(lambda: time.sleep(0.05) or "done") == "done"  # type: ignore[func-returns-value]
    assert loop.time() == 0.0
    timer.cancel()


@pytest.mark.untidy("a task is alive at the end", why="its end is what the test is about")
def test_a_test_that_can_never_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr("tests.support.virtual_loop._REAL_PATIENCE", 0.05)
    with pytest.raises(DeadlockError):
        run_virtual(hang())


class Recorder(asyncio.Protocol):
    def __init__(self) -> None:
        self.events: list[object] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.events.append(data)

    def eof_received(self) -> None:
        self.events.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(("lost", type(exc).__name__))

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")


@virtual_time
async def test_close_delivers_what_was_written_and_reset_does_not() -> None:
    near, far = Recorder(), Recorder()
    transport = join(near, far, "c:1", "s:2")
    assert transport.get_extra_info("peername") == ("s", 2)
    transport.write(b"a")
    transport.writelines([b"b", b"c"])
    transport.close()
    await asyncio.sleep(1)
    assert far.events == ["made", b"abc", "eof", ("lost", "NoneType")]
    assert near.events == ["made", ("lost", "NoneType")]

    near, far = Recorder(), Recorder()
    transport = join(near, far, "c:1", "s:2")
    transport.reset()
    transport.write(b"lost")
    await asyncio.sleep(1)
    assert far.events == ["made", ("lost", "ConnectionResetError")]


@virtual_time
async def test_a_reader_that_pauses_makes_the_writer_pause() -> None:
    near, far = Recorder(), Recorder()
    transport = join(near, far, "c:1", "s:2")
    transport.other.pause_reading()
    transport.write(bytes(100_000))
    await asyncio.sleep(1)
    assert near.events == ["made", "pause"]
    assert transport.get_write_buffer_size() == 100_000
    transport.other.resume_reading()
    await asyncio.sleep(1)
    assert near.events == ["made", "pause", "resume"]
    assert far.events == ["made", bytes(100_000)]


@virtual_time
async def test_latency_delays_each_direction() -> None:
    network = MemoryNetwork()
    peer = ScriptedPeer(network, PEER)
    peer.latency = 0.25
    peer.answer(1)
    client = await started(network)
    await client.invoke(PEER, RemotingCommand.request(1), 3.0)
    assert network.dialled == [(0.0, PEER)]
    assert peer.times(1) == [0.5]
    assert asyncio.get_running_loop().time() == 0.75
    await client.close()


@virtual_time
async def test_a_peer_answers_later_pushes_and_counts() -> None:
    async def later(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        await asyncio.sleep(2)
        return RemotingCommand.response(request, remark="later")

    network = MemoryNetwork()
    peer = ScriptedPeer(network, PEER)
    peer.on(1, later)
    client = await started(network)
    client.register_processor(40, lambda request, channel: RemotingCommand.response(request, remark="pushed"))
    assert (await client.invoke(PEER, RemotingCommand.request(1), 3.0)).remark == "later"
    assert [answer.remark for answer in await peer.push(40)] == ["pushed"]
    assert [got.command.remark for got in peer.responses] == ["pushed"]
    peer.push_oneway(40)
    peer.close()
    await asyncio.sleep(1)
    assert peer.connections == []
    assert peer.accepted == 1
    await client.close()


@virtual_time
async def test_timers_that_are_very_far_away_come_on_virtual_time_too() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1e9):
            await asyncio.get_running_loop().create_future()
    assert asyncio.get_running_loop().time() == pytest.approx(1e9)


@pytest.mark.untidy("a task is alive at the end", why="its end is what the test is about")
def test_a_test_that_waits_while_timers_go_on_and_on_is_a_deadlock_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tick() -> None:
        for _ in range(1000):
            await asyncio.sleep(30)

    async def wait() -> None:
        ticking = asyncio.ensure_future(tick())
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ticking.cancel()

    monkeypatch.setattr(virtual_loop, "_MOST_JUMPS", 100)
    with pytest.raises(DeadlockError, match="at 3000 s"):
        run_virtual(wait())
