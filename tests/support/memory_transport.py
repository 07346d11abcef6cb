"""An in-memory network for tests: a `Connector`, transports that join two protocols, and a peer that plays name server or broker.

    network = MemoryNetwork()
    broker = ScriptedPeer(network, "broker-a:10911")
    broker.on(RequestCode.HEART_BEAT, lambda request, connection: RemotingCommand.response(request))
    client = RemotingClient(config, connector=network.connector)

The peer reads and writes real frames with the real codec. What it received is in `broker.requests`, each with the loop's time; on a
`VirtualTimeLoop` these times are exact. By default everything arrives in the next tick; `latency` delays it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiorocketmq.protocol.command import RESPONSE_FLAG, RemotingCommand, next_opaque
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.frame import encode
from aiorocketmq.remoting.transport import PHASE_TCP, ProtocolFactory

SCRIPTED = "scripted answer"
"""Name of the tasks of peers: an answer that nobody waits for any more is no fault."""
_CLIENT_HOST = "192.0.2.1"


def _socket_name(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class MemoryTransport(asyncio.Transport):
    """One end of an in-memory connection. What is written waits in `_buffer` while the other end does not read."""

    def __init__(self, protocol: asyncio.Protocol, local: str, remote: str, latency: float = 0.0) -> None:
        super().__init__({"sockname": _socket_name(local), "peername": _socket_name(remote)})
        self._loop = asyncio.get_running_loop()
        self.protocol = protocol
        self.other: MemoryTransport = self
        self.latency = latency
        self.writes: list[int] = []
        self._buffer = bytearray()
        self._high = 64 * 1024
        self._low = 16 * 1024
        self._pushing = False
        self._reading = True
        self._closing = False
        self._lost = False
        self._writing_paused = False

    # Reading side.

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self.other._schedule()

    def is_reading(self) -> bool:
        return self._reading

    # Writing side.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._lost or self._closing:
            return
        self.writes.append(len(data))
        self._buffer += data
        if len(self._buffer) > self._high and not self._writing_paused:
            self._writing_paused = True
            self.protocol.pause_writing()
        self._schedule()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def can_write_eof(self) -> bool:
        return False

    def _schedule(self) -> None:
        if not self._pushing and (self._buffer or self._closing):
            self._pushing = True
            self._loop.call_later(self.latency, self._push) if self.latency else self._loop.call_soon(self._push)

    def _push(self) -> None:
        self._pushing = False
        if self._lost or (self._buffer and not self.other._reading):
            return
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            if self._writing_paused:
                self._writing_paused = False
                self.protocol.resume_writing()
            if not self.other._lost:
                self.other.protocol.data_received(data)
        if self._closing and not self._buffer:
            self._end(None)

    # Closing.

    def is_closing(self) -> bool:
        return self._closing or self._lost

    def close(self) -> None:
        if not self._closing and not self._lost:
            self._closing = True
            self._schedule()

    def abort(self) -> None:
        self._loop.call_soon(self._end, None)

    def reset(self) -> None:
        """Break the connection as a TCP reset does: what is under way is lost, the other end sees an error."""
        self._loop.call_soon(self._end, ConnectionResetError(104, "Connection reset by peer"))

    def _end(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self.protocol.connection_lost(None)
        other = self.other
        if not other._lost:
            other._lost = other._closing = True
            if error is None:
                other.protocol.eof_received()
            other.protocol.connection_lost(error)


def join(
    client: asyncio.Protocol, server: asyncio.Protocol, client_address: str, server_address: str, latency: float = 0.0
) -> MemoryTransport:
    """Connect two protocols; returns the client's transport."""
    near = MemoryTransport(client, client_address, server_address, latency)
    far = MemoryTransport(server, server_address, client_address, latency)
    near.other, far.other = far, near
    server.connection_made(far)
    client.connection_made(near)
    return near


class MemoryNetwork:
    """All addresses that can be dialled in a test."""

    def __init__(self) -> None:
        self.peers: dict[str, ScriptedPeer] = {}
        self.dialled: list[tuple[float, str]] = []
        self._next_port = 40000

    async def connector(
        self,
        host: str,
        port: int,
        protocol_factory: ProtocolFactory,
        ssl_context: ssl.SSLContext | None,
        server_hostname: str | None,
        on_phase: Callable[[str], None],
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """The `Connector`: dial a peer of this network. TLS is not played."""
        loop = asyncio.get_running_loop()
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.dialled.append((loop.time(), address))
        on_phase(PHASE_TCP)
        peer = self.peers.get(address)
        if peer is not None and peer.black_hole:
            await loop.create_future()
        await asyncio.sleep(peer.latency if peer is not None else 0)
        if peer is None or peer.refuse:
            raise ConnectionRefusedError(111, "Connection refused")
        protocol = protocol_factory()
        self._next_port += 1
        connection = PeerConnection(peer)
        return join(protocol, connection, f"{_CLIENT_HOST}:{self._next_port}", address, peer.latency), protocol


@dataclass(slots=True)
class Received:
    """A frame that a peer received.

    Attributes:
        at: `loop.time()` of its arrival.
        command: The decoded frame.
        connection: The connection it came on.
    """

    at: float
    command: RemotingCommand
    connection: PeerConnection = field(repr=False)

    @property
    def code(self) -> int:
        return self.command.code


Handler = Callable[[RemotingCommand, "PeerConnection"], "RemotingCommand | Awaitable[RemotingCommand | None] | None"]


class PeerConnection(asyncio.Protocol):
    """The peer's end of one connection."""

    def __init__(self, peer: ScriptedPeer) -> None:
        self.peer = peer
        self.transport: MemoryTransport | None = None
        self.answers: dict[int, asyncio.Future[RemotingCommand]] = {}
        self._receiver = FrameReceiver()

    @property
    def open(self) -> bool:
        return self.transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, MemoryTransport)
        self.transport = transport
        self.peer.connections.append(self)
        self.peer.accepted += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.peer.connections.remove(self)
        for future in self.answers.values():
            future.cancel()

    def data_received(self, data: bytes) -> None:
        for command in self._receiver.feed(data):
            self.peer.received(command, self)

    def write(self, data: bytes) -> None:
        """Send raw bytes, legal or not."""
        if self.transport is not None:
            self.transport.write(data)

    def send(self, command: RemotingCommand) -> None:
        """Send a frame."""
        self.write(encode(command))

    async def request(self, command: RemotingCommand) -> RemotingCommand:
        """Send a request to the client and wait for its answer."""
        future: asyncio.Future[RemotingCommand] = asyncio.get_running_loop().create_future()
        self.answers[command.opaque] = future
        self.send(command)
        return await future

    def close(self) -> None:
        """Close after what is written has arrived."""
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """Break the connection at once."""
        if self.transport is not None:
            self.transport.reset()


class ScriptedPeer:
    """A name server or broker that does what the test says.

    Attributes:
        requests: All requests received, in order, with their times.
        responses: All responses received (to requests that the test pushed).
        connections: The open connections.
        accepted: Connections accepted so far.
        refuse: Refuse new connections.
        black_hole: Let connect attempts hang.
        silent: Accept requests (and record them) but answer nothing.
        latency: Seconds that connecting, and each direction, takes; for connections made later.
    """

    def __init__(self, network: MemoryNetwork, address: str) -> None:
        self.network = network
        self.address = address
        self.requests: list[Received] = []
        self.responses: list[Received] = []
        self.connections: list[PeerConnection] = []
        self.accepted = 0
        self.refuse = False
        self.black_hole = False
        self.silent = False
        self.latency = 0.0
        self._handlers: dict[int, Handler] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed: list[asyncio.Future[None]] = []
        network.peers[address] = self

    def on(self, code: int, handler: Handler) -> None:
        """Answer requests of `code` by what `handler(request, connection)` returns; None answers nothing."""
        self._handlers[code] = handler

    def answer(self, code: int, response_code: int = 0, remark: str | None = None, header: Any = None, body: bytes = b"") -> None:
        """Answer requests of `code` always the same."""
        self.on(code, lambda request, _: RemotingCommand.response(request, response_code, remark, header, body))

    def of(self, code: int) -> list[Received]:
        """The requests of one code."""
        return [request for request in self.requests if request.code == code]

    def times(self, code: int) -> list[float]:
        """When the requests of one code arrived."""
        return [request.at for request in self.of(code)]

    async def wait_for(self, code: int, count: int = 1) -> list[Received]:
        """Wait until `count` requests of `code` have come, since the peer was made."""
        while len(found := self.of(code)) < count:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._changed.append(future)
            await future
        return found

    async def push(self, code: int, header: Any = None, body: bytes = b"") -> list[RemotingCommand]:
        """Send a request to every connected client and wait for the answers."""
        connections = list(self.connections)
        commands = [RemotingCommand(code, opaque=next_opaque(), ext_fields=_ext(header), body=body) for _ in connections]
        return list(await asyncio.gather(*(c.request(command) for c, command in zip(connections, commands, strict=True))))

    def push_oneway(self, code: int, header: Any = None, body: bytes = b"") -> None:
        """Send a one-way request to every connected client."""
        for connection in list(self.connections):
            connection.send(RemotingCommand.request(code, header, body, oneway=True))

    def drop(self) -> None:
        """Break all connections with a reset; new ones are accepted unless `refuse` is set."""
        for connection in list(self.connections):
            connection.reset()

    def close(self) -> None:
        """Close all connections in an orderly way."""
        for connection in list(self.connections):
            connection.close()

    def received(self, command: RemotingCommand, connection: PeerConnection) -> None:
        """Called by a connection for each frame."""
        entry = Received(asyncio.get_running_loop().time(), command, connection)
        if command.flag & RESPONSE_FLAG:
            self.responses.append(entry)
            future = connection.answers.pop(command.opaque, None)
            if future is not None and not future.done():
                future.set_result(command)
            return
        self.requests.append(entry)
        changed, self._changed = self._changed, []
        for waiter in changed:
            if not waiter.done():
                waiter.set_result(None)
        if not self.silent:
            self._answer(command, connection)

    def _answer(self, request: RemotingCommand, connection: PeerConnection) -> None:
        handler = self._handlers.get(request.code)
        if handler is None:
            answer: Any = RemotingCommand.response(request, 3, f" request type {request.code} not supported")
        else:
            answer = handler(request, connection)
        if isinstance(answer, RemotingCommand):
            if not request.is_oneway:
                connection.send(answer)
        elif answer is not None:
            task = asyncio.get_running_loop().create_task(self._answer_later(answer, request, connection), name=SCRIPTED)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer_later(self, answer: Awaitable[RemotingCommand | None], request: RemotingCommand, connection: PeerConnection) -> None:
        response = await answer
        if response is not None and not request.is_oneway:
            connection.send(response)


def _ext(header: Any) -> dict[str, str]:
    return RemotingCommand.request(0, header).ext_fields
