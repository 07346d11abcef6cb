"""A client against peers that do what no sane server does, in any order: only errors of ours come out, every call ends, nothing stays.

The scripts are drawn by hypothesis and run on the in-memory network in virtual time, so a sequence of minutes takes milliseconds.
`AIOROCKETMQ_HOSTILE` gives another number of sequences, for a long run.
"""

from __future__ import annotations

import asyncio
import logging
import os
import struct
from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aiorocketmq.errors import RocketMQError
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.frame import encode
from aiorocketmq.remoting.client import MAX_HELD_REPLIES, RemotingClient
from tests.support.memory_transport import MemoryNetwork, PeerConnection, ScriptedPeer
from tests.support.virtual_loop import run_virtual
from tests.unit.remoting.harness import PEER, started

SEQUENCES = int(os.environ.get("AIOROCKETMQ_HOSTILE", "500"))
AT_ONCE, LATER, NEVER_ANSWERED = 40, 41, 42
"""Codes of requests that the client answers at once, by a task, and not at all."""
MAX_FRAME = 1 << 20

Step = tuple[Any, ...]

FOREIGN = [
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    bytes.fromhex("16030100c8010000c40303") + bytes(190),  # a TLS hello
    bytes.fromhex("000012040000000000") + bytes(18),
    b"SSH-2.0-OpenSSH_9.6\r\n",
]
HEADERS = [
    b"{}", b"[]", b"null", b"", b"{", b'{"code":"x"}', b'{"code":1e400}', b'{"code":99999999999,"flag":1}',
    b'{"code":0,"flag":1,"extFields":[]}',
    b'{"code":0,"flag":1,"extFields":{"a":{}}}', b'{"code":0,"flag":3,"opaque":-1}', b'{"code":0,"flag":1,"opaque":2147483648}',
    b'{"code":' + b"9" * 5000 + b"}", b"[" * 20_000, b'{"a":' * 20_000, b"\xff" * 40, b'{"code":0,"flag":1,"remark":"\\ud800"}',
    b'{"code":-5,"language":[1],"extFields":{"\\udfff":null}}',
]  # fmt: skip
small = st.integers(0, 7)
numbers = st.one_of(
    st.integers(-(1 << 31), (1 << 31) - 1), st.sampled_from([0, 3, 4, 5, MAX_FRAME, MAX_FRAME + 1, 1 << 24, (1 << 31) - 1, -1])
)
mangled = st.one_of(
    st.just(("whole",)),
    st.tuples(st.just("cut"), st.integers(0, 400)),
    st.tuples(st.just("split"), st.lists(st.integers(0, 400), max_size=4)),
    st.tuples(st.just("flip"), st.integers(0, 400), st.integers(1, 255)),
    st.just(("twice",)),
)
of_client = st.one_of(
    st.tuples(st.just("invoke"), st.sampled_from([0.05, 0.5, 3.0, 60.0]), st.sampled_from([0, 100, 60_000])),
    st.tuples(st.just("oneway"), st.sampled_from([0.5, 3.0]), st.sampled_from([0, 400_000])),
    st.tuples(st.just("connect"), st.sampled_from([0.05, None])),
    st.tuples(st.just("cancel"), small),
    st.just(("close_channel",)),
    st.just(("retire",)),
)
of_peer = st.one_of(
    st.tuples(st.just("answer"), small, mangled),
    st.tuples(st.just("answer"), small, mangled),
    st.tuples(st.just("go_away"), small),
    st.tuples(st.just("bytes"), st.binary(max_size=64)),
    st.tuples(st.just("prefix"), numbers, numbers),
    st.tuples(st.just("header"), st.sampled_from(HEADERS), st.sampled_from([0, 1])),
    st.tuples(st.just("foreign"), st.sampled_from(FOREIGN)),
    st.tuples(st.just("ask"), st.sampled_from([AT_ONCE, LATER, NEVER_ANSWERED, 9999]), st.booleans(), st.sampled_from([1, 30, 300])),
    st.just(("overrun",)),
    st.tuples(st.just("unasked"), st.sampled_from([1, 500])),
    st.tuples(st.just("read"), st.booleans()),
    st.just(("close",)),
    st.just(("reset",)),
    st.tuples(st.just("refuse"), st.booleans()),
    st.tuples(st.just("dark"), st.booleans()),
)
pauses = st.tuples(st.just("wait"), st.sampled_from([0.0, 0.001, 0.06, 0.4, 1.1, 3.5, 31.0, 130.0]))
scripts = st.lists(st.one_of(of_client, of_peer, of_peer, pauses), min_size=1, max_size=40)


def frame(header: bytes, kind: int = 0, body: bytes = b"") -> bytes:
    return struct.pack(">iI", 4 + len(header) + len(body), kind << 24 | len(header)) + header + body


class Play:
    """One client, one peer, and the calls under way."""

    def __init__(self, client: RemotingClient, peer: ScriptedPeer) -> None:
        self.client = client
        self.peer = peer
        self.loop = asyncio.get_running_loop()
        self.calls: list[tuple[asyncio.Future[Any], float]] = []
        self.late: list[float] = []
        self.trouble: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda loop, context: self.trouble.append(context))
        client.register_processor(AT_ONCE, lambda request, channel: RemotingCommand.response(request, body=bytes(500)))
        client.register_processor(LATER, self.later)
        client.register_processor(NEVER_ANSWERED, lambda request, channel: None)

    async def later(self, request: RemotingCommand, channel: object) -> RemotingCommand:
        await asyncio.sleep(0.05)
        return RemotingCommand.response(request)

    async def run(self, script: list[Step]) -> None:
        for name, *arguments in script:
            getattr(self, name)(*arguments) if name != "wait" else await asyncio.sleep(arguments[0])
            await asyncio.sleep(0)
            self.check_bounds()
        if self.calls:
            async with asyncio.timeout(61):
                await asyncio.wait([call for call, _ in self.calls])
        async with asyncio.timeout(2.5):
            await self.client.close()
        self.check_outcomes()
        await asyncio.sleep(0.1)
        self.check_rest()

    # What the client does.

    def call(self, work: Awaitable[Any], timeout: float) -> None:
        call = asyncio.ensure_future(work)
        deadline = self.loop.time() + timeout + 0.1
        call.add_done_callback(lambda _: self.late.append(self.loop.time() - deadline) if self.loop.time() > deadline else None)
        self.calls.append((call, deadline))

    def invoke(self, timeout: float, size: int) -> None:
        self.call(self.client.invoke(PEER, RemotingCommand.request(1, body=bytes(size)), timeout), timeout)

    def oneway(self, timeout: float, size: int) -> None:
        self.call(self.client.invoke_oneway(PEER, RemotingCommand.request(2, body=bytes(size)), timeout), timeout)

    def connect(self, timeout: float | None) -> None:
        self.call(self.client.connect(PEER, timeout), 3.0)

    def cancel(self, number: int) -> None:
        if self.calls:
            self.calls[number % len(self.calls)][0].cancel()

    def close_channel(self) -> None:
        self.client.close_channel(PEER)

    def retire(self) -> None:
        channel = self.client.channel(PEER)
        if channel is not None:
            self.client.retire_channel(PEER, channel)

    # What the peer does.

    def write(self, data: bytes) -> None:
        for connection in self.peer.connections:
            connection.write(data)

    def answer(self, number: int, mangle: Step, code: int = 0) -> None:
        if not self.peer.requests:
            return
        request = self.peer.requests[-1 - number % len(self.peer.requests)]
        data = encode(RemotingCommand.response(request.command, code, header={"a": "b"}, body=bytes(80)))
        target: PeerConnection = request.connection
        match mangle:
            case ("cut", place):
                target.write(data[: place % len(data)])
            case ("split", places):
                last = 0
                for place in sorted({place % len(data) for place in places}):
                    self.loop.call_later(0.01 * place, target.write, data[last:place])
                    last = place
                self.loop.call_later(5.0, target.write, data[last:])
            case ("flip", place, bits):
                wrong = bytearray(data)
                wrong[place % len(data)] ^= bits
                target.write(bytes(wrong))
            case ("twice",):
                target.write(data + data)
            case _:
                target.write(data)

    def go_away(self, number: int) -> None:
        self.answer(number, ("whole",), 1500)

    def bytes(self, data: bytes) -> None:
        self.write(data)

    def prefix(self, total: int, mark: int) -> None:
        self.write(struct.pack(">ii", total, mark))

    def header(self, header: bytes, kind: int) -> None:
        self.write(frame(header, kind))

    def foreign(self, data: bytes) -> None:
        self.write(data)

    def ask(self, code: int, oneway: bool, count: int) -> None:
        self.write(b"".join(encode(RemotingCommand(code, opaque=number, flag=2 * oneway)) for number in range(count)))

    def overrun(self) -> None:
        self.read(False)
        self.ask(AT_ONCE, False, 9000)

    def unasked(self, count: int) -> None:
        self.write(b"".join(encode(RemotingCommand(0, opaque=-number, flag=1, body=bytes(20))) for number in range(count)))

    def read(self, reading: bool) -> None:
        for connection in self.peer.connections:
            if connection.transport is not None:
                connection.transport.resume_reading() if reading else connection.transport.pause_reading()

    def close(self) -> None:
        self.peer.close()

    def reset(self) -> None:
        self.peer.drop()

    def refuse(self, on: bool) -> None:
        self.peer.refuse = on

    def dark(self, on: bool) -> None:
        self.peer.black_hole = on

    # What holds.

    def check_bounds(self) -> None:
        for channel in self.client._channels.values():
            assert channel._receiver.pending <= MAX_FRAME + 4
            held = sum(len(part) for opaque, parts in channel._held.items() if opaque < 0 for part in parts)
            assert held <= MAX_HELD_REPLIES + 400_100 * len(self.calls)  # answers, and one-way requests of this side

    def check_outcomes(self) -> None:
        assert self.late == []
        for call, _ in self.calls:
            if not call.cancelled() and (error := call.exception()) is not None:
                assert isinstance(error, RocketMQError), repr(error)

    def check_rest(self) -> None:
        client = self.client
        assert self.trouble == []
        assert (client.in_flight, client._oneway.used) == (0, 0)
        assert not client._channels and not client._attempts and not client._retired
        me = asyncio.current_task()
        assert [task for task in asyncio.all_tasks() if task is not me] == []
        timers = [timer for timer in self.loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        assert [timer for timer in timers if "answer" not in repr(timer) and "write" not in repr(timer)] == []


class Errors(logging.Handler):
    """Collects what the library logs as its own error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def play(script: list[Step]) -> None:
    async def main() -> None:
        network = MemoryNetwork()
        peer = ScriptedPeer(network, PEER)
        peer.silent = True
        client = await started(network, frame_max_length=MAX_FRAME)
        await client.connect(PEER)  # most of what a peer can do needs a connection
        await Play(client, peer).run(script)

    errors = Errors()
    logger = logging.getLogger("aiorocketmq")
    logger.addHandler(errors)
    try:
        run_virtual(main())
    finally:
        logger.removeHandler(errors)
    assert errors.texts == []


@pytest.mark.feature("O6", "O9", "O13")
@settings(
    max_examples=SEQUENCES,
    deadline=None,
    derandomize="AIOROCKETMQ_HOSTILE" not in os.environ,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
@given(scripts)
def test_a_hostile_peer_gets_nothing_but_our_errors_out_of_a_client(script: list[Step]) -> None:
    play(script)
