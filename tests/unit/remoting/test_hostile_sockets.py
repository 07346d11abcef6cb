"""A client against hostile servers on real sockets: how long its loop stands still, how much it keeps, and what comes out of it.

Times are compared with a probe: a bare protocol that parses the same bytes with nothing but `json.loads`, on the same loop in the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import threading
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from aiorocketmq.errors import ConnectionLostError, RocketMQError, WrongProtocolError
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.frame import encode
from aiorocketmq.remoting.client import RemotingClient
from tests.support.waiting import eventually
from tests.unit.remoting.harness import started

Attack = Callable[[socket.socket], None]
SLOWER_THAN_THE_PROBE = 10
"""A frame that nobody asked for is told to a counter and a log, or answered; bare parsing of it takes a few microseconds."""
KEPT_FROM_THE_PROCESSOR = 0.25
"""What a busy machine may do to one of the two and not to the other, in seconds."""


class HostileServer:
    """Accepts connections and lets `attack` loose on each, in threads: they are not the client's loop."""

    def __init__(self, attack: Attack) -> None:
        self._attack = attack
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="hostile", daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), name="hostile", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self._attack(connection)
            connection.shutdown(socket.SHUT_WR)
        connection.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)


@contextlib.contextmanager
def hostile(attack: Attack) -> Iterator[str]:
    server = HostileServer(attack)
    try:
        yield server.address
    finally:
        server.close()


class Standstill:
    """The longest time between two turns of the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self.longest = 0.0

    async def __aenter__(self) -> Standstill:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        last = self._loop.time()
        while True:
            await asyncio.sleep(0)
            now = self._loop.time()
            self.longest = max(self.longest, now - last)
            last = now


class Probe(asyncio.Protocol):
    """Parses the headers of all frames and does nothing with them."""

    def __init__(self) -> None:
        self.left = b""
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        data = self.left + data
        at = 0
        while len(data) - at >= 8:
            total, header = struct.unpack_from(">ii", data, at)
            if at + 4 + total > len(data):
                break
            json.loads(data[at + 8 : at + 8 + header])
            at += 4 + total
        self.left = data[at:]

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(None)


async def standstill_of_probe(attack: Attack) -> float:
    with hostile(attack) as address:
        host, port = address.split(":")
        async with Standstill() as watch:
            transport, probe = await asyncio.get_running_loop().create_connection(Probe, host, int(port))
            async with asyncio.timeout(60):
                await probe.lost
            transport.close()
    return watch.longest


def frames(kind: str) -> bytes:
    """Some thousand small frames; the client reads a quarter of a megabyte at once."""
    if kind == "answers":
        return b"".join(encode(RemotingCommand(0, opaque=-number, flag=1)) for number in range(5000))
    code, flag = (9999, 2) if kind == "one-way requests" else (9999, 0)
    return b"".join(encode(RemotingCommand(code, opaque=number, flag=flag)) for number in range(5000))


def flood(kind: str, times: int = 10) -> Attack:
    blob = frames(kind)

    def attack(connection: socket.socket) -> None:
        reader = threading.Thread(target=swallow, args=(connection,), daemon=True)
        reader.start()
        for _ in range(times):
            connection.sendall(blob)
        connection.shutdown(socket.SHUT_WR)
        reader.join(30)

    return attack


def swallow(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(1 << 16):
            pass


@pytest.mark.feature("O6", "O13")
@pytest.mark.parametrize("kind", ["answers", "one-way requests", "requests"])
async def test_a_flood_of_frames_lets_the_loop_turn(kind: str) -> None:
    probe = await standstill_of_probe(flood(kind))
    client = await started()
    with hostile(flood(kind)) as address:
        async with Standstill() as watch:
            await client.connect(address)
            while (channel := client.channel(address)) is not None:
                assert len(channel._held) < 20_000
                await asyncio.sleep(0.01)
    await client.close()
    assert watch.longest <= SLOWER_THAN_THE_PROBE * probe + KEPT_FROM_THE_PROCESSOR, f"{watch.longest:.3f} s, the probe {probe:.4f} s"


@pytest.mark.feature("O13")
async def test_the_largest_header_lets_the_loop_turn() -> None:
    entries = ",".join(f'"{number:06}":"1"' for number in range(80_000))
    header = f'{{"code":0,"flag":1,"extFields":{{{entries}}}}}'.encode()
    assert 1_000_000 < len(header) < 1 << 20
    data = struct.pack(">ii", 4 + len(header), len(header)) + header

    def attack(connection: socket.socket) -> None:
        for _ in range(5):
            connection.sendall(data)

    probe = await standstill_of_probe(attack)
    client = await started()
    with hostile(attack) as address:
        async with Standstill() as watch:
            await client.connect(address)
            await eventually(lambda: client.channel(address) is None, 60)
    assert client.counters.dropped_responses == 5
    await client.close()
    assert watch.longest <= SLOWER_THAN_THE_PROBE * probe + KEPT_FROM_THE_PROCESSOR, f"{watch.longest:.3f} s, the probe {probe:.4f} s"


def without_reading(connection: socket.socket) -> None:
    blob = b"".join(encode(RemotingCommand(40, opaque=number)) for number in range(1000))
    for _ in range(40):
        connection.sendall(blob)
    connection.settimeout(10)
    connection.recv(1)


def in_small_pieces(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(struct.pack(">ii", 8_000_000, 100))
    for _ in range(20_000):
        connection.sendall(b" ")


def all_at_once(connection: socket.socket) -> None:
    connection.sendall(struct.pack(">ii", 16 * 1024 * 1024, 100) + bytes(16 * 1024 * 1024 - 5))


def endless_answers(connection: socket.socket) -> None:
    blob = frames("answers")
    for _ in range(10):
        connection.sendall(blob)


@pytest.mark.feature("O13")
@pytest.mark.parametrize(
    ("attack", "megabytes"),
    [(without_reading, 10), (in_small_pieces, 2), (all_at_once, 34), (endless_answers, 4)],
    ids=["unread", "pieces", "frame", "answers"],
)
async def test_no_attack_takes_much_memory(attack: Attack, megabytes: int) -> None:
    client = await started(connect_timeout=10.0)
    client.register_processor(40, lambda request, channel: RemotingCommand.response(request, body=bytes(1000)))
    tracemalloc.start()
    try:
        with hostile(attack) as address:
            await client.connect(address)
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            await eventually(lambda: client.channel(address) is None, 60)
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await client.close()
    assert peak - before < megabytes << 20, f"{(peak - before) / (1 << 20):.1f} MiB"


def answering(change: Callable[[bytes], bytes]) -> Attack:
    """Answers each request with what `change` makes of the right answer, then closes."""

    def attack(connection: socket.socket) -> None:
        receiver = FrameReceiver()
        while data := connection.recv(4096):
            for request in receiver.feed(data):
                connection.sendall(change(encode(RemotingCommand.response(request, header={"name": "value"}, body=b"body"))))
                return

    return attack


@pytest.mark.feature("O6")
async def test_a_connection_closed_at_every_byte_of_the_answer() -> None:
    whole = len(encode(RemotingCommand(0, opaque=0x7FFFFFFF, flag=1, ext_fields={"name": "value"}, body=b"body")))
    client = await started()
    cuts = iter(range(whole + 10))
    answered = 0
    with hostile(answering(lambda answer: answer[: next(cuts)])) as address:
        for cut in range(whole + 1):
            try:
                response = await client.invoke(address, RemotingCommand.request(1), 5.0)
            except (ConnectionLostError, WrongProtocolError):
                continue
            answered += 1
            assert response.body == b"body" and cut >= whole - 10
    await client.close()
    assert answered >= 1 and client.in_flight == 0


@pytest.mark.feature("O13")
@pytest.mark.parametrize("seed", range(20))
async def test_random_damage_to_answers(seed: int) -> None:
    chance = random.Random(seed)

    def damage(answer: bytes) -> bytes:
        data = bytearray(answer)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        return bytes(data) + chance.randbytes(chance.choice([0, 0, 7, 5000]))

    client: RemotingClient = await started()
    with hostile(answering(damage)) as address:
        for _ in range(20):
            with contextlib.suppress(RocketMQError):
                await client.invoke(address, RemotingCommand.request(1), 1.0)
    await client.close()
    assert client.in_flight == 0
