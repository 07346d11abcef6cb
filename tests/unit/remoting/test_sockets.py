"""The client end on real loopback sockets, against servers that are hostile, silent, or speak something else."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from aiorocketmq.errors import (
    ConnectError,
    ConnectionLostError,
    NoNameServerError,
    RemotingError,
    RequestTimeoutError,
    WrongProtocolError,
)
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.frame import encode
from aiorocketmq.remoting import transport
from aiorocketmq.remoting.client import RemotingClient
from aiorocketmq.remoting.server import RemotingServer
from tests.support.waiting import eventually
from tests.unit.remoting.harness import started

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_server(handle: Handler) -> AsyncIterator[str]:
    """A server of plain streams; yields its address."""

    serving: set[asyncio.Task[None]] = set()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left
        finally:
            serving.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await asyncio.sleep(0.01)  # what has connected while the loop stood still gets its handler
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving)
        await server.wait_closed()
        await asyncio.sleep(0)  # a transport that was aborted closes its socket in the next tick


@pytest.fixture
async def client() -> AsyncIterator[RemotingClient]:
    made = await started()
    yield made
    await made.close()


def after_request(answer: bytes, *, then_close: bool) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(answer)
        await writer.drain()
        if not then_close:
            await reader.read()
        else:
            writer.close()
            await writer.wait_closed()

    return handle


FOREIGN = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "TLS": bytes.fromhex("15030100020246"),
    "HTTP/2 or gRPC": bytes.fromhex("000012040000000000") + bytes(18),
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "Redis": b"-ERR unknown command\r\n",
}


@pytest.mark.parametrize(("name", "answer"), FOREIGN.items(), ids=FOREIGN.keys())
async def test_a_port_of_another_protocol_is_named(client: RemotingClient, name: str, answer: bytes) -> None:
    async with raw_server(after_request(answer, then_close=True)) as address:
        with pytest.raises(WrongProtocolError) as failed:
            await client.invoke(address, RemotingCommand.request(105), 3.0)
        assert name in str(failed.value)
        assert address in str(failed.value)
        assert failed.value.hint


@pytest.mark.parametrize(
    "answer",
    [
        struct.pack(">II", total & 0xFFFFFFFF, mark)
        for total, mark in [(0x7FFFFFFF, 20), (0x80000000, 20), (0, 0), (3, 0), (100, 0xFFFFFF), (100, 2 << 24 | 50)]
    ],
    ids=["giant", "negative", "zero", "tiny", "header", "encoding"],
)
@pytest.mark.feature("O13")
async def test_illegal_lengths_are_refused_from_the_first_eight_bytes(client: RemotingClient, answer: bytes) -> None:
    async with raw_server(after_request(answer, then_close=False)) as address:
        with pytest.raises((ConnectionLostError, WrongProtocolError)) as failed:
            await client.invoke(address, RemotingCommand.request(105), 5.0)
        assert address in str(failed.value)
        assert client.counters.protocol_errors == 1
        assert client.channel(address) is None


async def test_a_server_that_hangs_up_at_once_gives_a_hint(client: RemotingClient) -> None:
    async with raw_server(after_request(b"", then_close=True)) as address:
        with pytest.raises(ConnectionLostError, match="may expect TLS") as failed:
            await client.invoke(address, RemotingCommand.request(105), 3.0)
        assert failed.value.maybe_sent


async def test_a_name_server_that_hangs_up_gives_the_same_hint() -> None:
    async with raw_server(after_request(b"", then_close=True)) as address:
        client = await started(name_servers=address)
        try:
            with pytest.raises(NoNameServerError, match="may expect TLS"):
                await client.invoke(None, RemotingCommand.request(105), 3.0)
        finally:
            await client.close()


@pytest.mark.feature("O8", "O9")
async def test_a_silent_black_hole_costs_the_time_out_and_the_connection(client: RemotingClient) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.append(True)

    closed: list[bool] = []
    async with raw_server(swallow) as address:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(RequestTimeoutError) as failed:
            await client.invoke(address, RemotingCommand.request(105), 1.2)
        assert 1.2 <= loop.time() - began < 5
        assert failed.value.maybe_sent
        assert client.channel(address) is None
        await eventually(lambda: closed)


@pytest.mark.feature("O11")
async def test_a_peer_that_closes_with_a_hundred_in_flight_fails_all_at_once(client: RemotingClient) -> None:
    async def close_when_full(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiver = FrameReceiver()
        got = 0
        while got < 100:
            got += len(receiver.feed(await reader.read(65536)))

    async with raw_server(close_when_full) as address:
        await client.connect(address)
        calls = [asyncio.ensure_future(client.invoke(address, RemotingCommand.request(1), 60.0)) for _ in range(100)]
        done, pending = await asyncio.wait(calls, timeout=10)
        assert not pending
        for call in done:
            error = call.exception()
            assert isinstance(error, ConnectionLostError)
            assert error.maybe_sent


async def test_a_reader_slower_than_the_sender_loses_nothing(client: RemotingClient) -> None:
    async def read_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiver = FrameReceiver(1 << 24)
        for _ in range(10_000):
            chunk = await reader.read(256 * 1024)
            if not chunk:
                return
            for request in receiver.feed(chunk):
                writer.write(encode(RemotingCommand.response(request, remark=str(len(request.body)))))
            await asyncio.sleep(0.001)

    async with raw_server(read_slowly) as address:
        channel = await client.connect(address)
        calls = [asyncio.ensure_future(client.invoke(address, RemotingCommand.request(1, body=bytes(500_000)), 60.0)) for _ in range(60)]
        await eventually(lambda: not channel.writable or channel.pending == 0, interval=0)
        late = await client.invoke(address, RemotingCommand.request(1, body=b"x"), 60.0)
        assert late.remark == "1"
        assert {(await call).remark for call in calls} == {"500000"}


@pytest.mark.feature("O6")
async def test_ten_thousand_random_cancels_on_real_sockets_never_cross_answers(client: RemotingClient) -> None:
    rng = random.Random(7)

    async def late_echo(request: RemotingCommand, channel: object) -> RemotingCommand:
        await asyncio.sleep(rng.random() * 0.01)
        return RemotingCommand.response(request, body=request.body)

    server = RemotingServer(processors={1: late_echo})
    await server.start()
    channel = await client.connect(server.address)
    wrong = cancelled = 0

    async def call(number: int) -> None:
        nonlocal wrong
        body = str(number).encode()
        answer = await client.invoke(server.address, RemotingCommand.request(1, body=body), 30.0)
        wrong += answer.body != body

    for start in range(0, 10_000, 500):
        tasks = [asyncio.ensure_future(call(start + number)) for number in range(500)]
        for task in tasks:
            if rng.random() < 0.5:
                asyncio.get_running_loop().call_later(rng.random() * 0.02, task.cancel)
        await asyncio.wait(tasks)
        cancelled += sum(task.cancelled() for task in tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()
    assert wrong == 0
    assert cancelled > 500
    await eventually(lambda: channel.pending == 0)
    assert client.channel(server.address) is channel
    await server.stop()


async def test_refused_and_unresolvable_addresses(client: RemotingClient) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ConnectError, match=f"{address} refused the connection") as refused:
        await client.invoke(address, RemotingCommand.request(105), 3.0)
    assert not refused.value.maybe_sent
    for host in ("no-such-host.invalid", "x" * 70 + ".invalid", "a..b"):
        with pytest.raises(ConnectError, match=r"cannot be resolved|resolving the name") as unknown:
            await client.invoke(f"{host}:9876", RemotingCommand.request(105), 3.0)
        assert host in str(unknown.value)
    with pytest.raises(ConnectError, match="is not an address"):
        await client.invoke("nul\0:9876", RemotingCommand.request(105), 3.0)


@pytest.mark.feature("L9")
async def test_of_two_addresses_that_answer_at_the_same_time_one_is_kept_and_the_other_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = asyncio.Event()
    sockets: list[socket.socket] = []

    async def connected(*_: object) -> socket.socket:
        sock = socket.socket()
        sockets.append(sock)
        await answered.wait()
        return sock

    monkeypatch.setattr(transport, "_connect", connected)
    monkeypatch.setattr(transport, "_NEXT_ADDRESS", 0.001)
    addresses = [(socket.AF_INET, (f"127.0.0.{number}", 9)) for number in (1, 2)]
    dialling = asyncio.ensure_future(transport._dial(asyncio.get_running_loop(), addresses))
    await eventually(lambda: len(sockets) == 2)
    answered.set()
    winner = await dialling
    assert [sock is winner for sock in sockets] == [sock.fileno() >= 0 for sock in sockets]
    winner.close()


@pytest.mark.feature("L9")
async def test_a_name_is_resolved_again_at_each_connect(client: RemotingClient, monkeypatch: pytest.MonkeyPatch) -> None:
    servers: dict[str, RemotingServer] = {}
    for host in ("127.0.0.1", "127.0.0.2"):
        server = RemotingServer(host, next(iter(servers.values())).port if servers else 0)
        server.register_processor(1, lambda request, channel, host=host: RemotingCommand.response(request, remark=host))  # type: ignore[misc]
        await server.start()
        servers[host] = server
    port = servers["127.0.0.1"].port
    now = ["127.0.0.1"]

    async def resolve(host: str, port: int, **_: object) -> list[object]:
        assert host == "ns.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in now]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)

    async def ask() -> str | None:
        return (await client.invoke(f"ns.example:{port}", RemotingCommand.request(1), 3.0)).remark

    assert await ask() == "127.0.0.1"
    now[0] = "127.0.0.2"
    assert await ask() == "127.0.0.1"  # a good connection stays
    await servers["127.0.0.1"].stop()
    await eventually(lambda: client.channel(f"ns.example:{port}") is None)
    assert await ask() == "127.0.0.2"
    client.close_channel(f"ns.example:{port}")
    now[:] = ["127.0.0.1", "127.0.0.2"]
    assert await ask() == "127.0.0.2"  # the first address is dead, the second one answers
    await servers["127.0.0.2"].stop()


class Dialled:
    """What is dialled through the loop: dark addresses never answer, others refuse at once or take as long as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
        self.loop = asyncio.get_running_loop()
        self.connect = self.loop.sock_connect
        self.times: dict[str, float] = {}
        self.sockets: list[socket.socket] = []
        self.delays: dict[str, float | None] = {}
        self.addresses = addresses
        monkeypatch.setattr(self.loop, "getaddrinfo", self.resolve)
        monkeypatch.setattr(self.loop, "sock_connect", self.dial)

    async def resolve(self, host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]

    async def dial(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self.times[address[0]] = self.loop.time()
        self.sockets.append(sock)
        delay = self.delays.get(address[0], 0.0)
        if delay is None:
            await self.loop.create_future()
        await asyncio.sleep(delay or 0)
        await self.connect(sock, address)


@pytest.mark.feature("L9")
@pytest.mark.parametrize("dark", [1, 3, 9, 20])
async def test_dark_addresses_of_a_name_do_not_hide_the_one_that_answers(
    client: RemotingClient, monkeypatch: pytest.MonkeyPatch, dark: int
) -> None:
    server = RemotingServer("127.0.0.1", processors={1: lambda request, channel: RemotingCommand.response(request)})
    await server.start()
    addresses = [f"127.0.1.{number}" for number in range(dark)]
    dialled = Dialled(monkeypatch, [*addresses, "127.0.0.1"])
    dialled.delays = dict.fromkeys(addresses)
    assert (await client.invoke(f"ns.example:{server.port}", RemotingCommand.request(1), 3.0)).code == 0
    await eventually(lambda: sum(sock.fileno() >= 0 for sock in dialled.sockets) <= 1)  # asyncio's transport has a socket of its own
    await server.stop()


@pytest.mark.feature("L9")
async def test_a_slow_address_may_still_win_and_refusals_do_not_wait(client: RemotingClient, monkeypatch: pytest.MonkeyPatch) -> None:
    server = RemotingServer("127.0.0.1", processors={1: lambda request, channel: RemotingCommand.response(request)})
    await server.start()
    dialled = Dialled(monkeypatch, ["127.0.0.1", "127.0.1.1", "127.0.1.2", "127.0.1.3"])
    dialled.delays = {"127.0.0.1": 0.6, "127.0.1.3": None}
    assert (await client.invoke(f"ns.example:{server.port}", RemotingCommand.request(1), 3.0)).code == 0
    assert dialled.times["127.0.1.2"] - dialled.times["127.0.1.1"] < dialled.times["127.0.1.1"] - dialled.times["127.0.0.1"]
    await server.stop()


@pytest.mark.feature("L9")
async def test_a_connect_that_is_cut_off_leaves_no_socket(client: RemotingClient, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [f"127.0.1.{number}" for number in range(5)]
    dialled = Dialled(monkeypatch, addresses)
    dialled.delays = dict.fromkeys(addresses)
    with pytest.raises(ConnectError, match="opening the TCP connection"):
        await client.connect("ns.example:9", 0.4)
    await client.close()
    await eventually(lambda: len(dialled.sockets) > 1 and all(sock.fileno() < 0 for sock in dialled.sockets))


@pytest.mark.feature("L9")
async def test_a_name_whose_addresses_all_refuse(client: RemotingClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    Dialled(monkeypatch, ["127.0.0.1", "127.0.1.1", "127.0.1.2"])
    with pytest.raises(ConnectError, match="refused the connection"):
        await client.connect(f"ns.example:{port}")


async def test_a_name_that_does_not_resolve_in_time_is_named_as_that_phase(client: RemotingClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(host: str, port: int, **_: object) -> list[object]:
        await asyncio.get_running_loop().create_future()
        return []

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    with pytest.raises(ConnectError, match=r"ns\.example:9876 within 0\.2 s \(resolving the name\)"):
        await client.connect("ns.example:9876", 0.2)


async def test_ipv6_loopback(client: RemotingClient) -> None:
    server = RemotingServer("::1", processors={1: lambda request, channel: RemotingCommand.response(request, remark=channel.address)})
    try:
        await server.start()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    assert server.address == f"[::1]:{server.port}"
    answer = await client.invoke(server.address, RemotingCommand.request(1), 3.0)
    assert (answer.remark or "").startswith("[::1]:")
    await server.stop()


async def test_a_full_accept_queue_ends_with_the_connect_time_out() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    client = await started(connect_timeout=0.5)
    try:
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        with pytest.raises(RemotingError, match=r"opening the TCP connection|in time|refused"):
            await client.invoke(f"127.0.0.1:{listener.getsockname()[1]}", RemotingCommand.request(1), 2.0)
    finally:
        await client.close()
        for filler in fillers:
            filler.close()
        listener.close()
