"""The sending half of a channel (Java: Netty's outbound buffer and its writability). Feature O14.

Frames that are sent in one tick of the loop leave in one write. While the transport's buffer is full they are held back here, each under
the opaque of its request, so that one that is given up or times out meanwhile is certainly never sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from aiorocketmq.errors import ConnectionLostError, fresh
from aiorocketmq.remoting.transport import close_orphan

_HIGH_WATER: Final = 1024 * 1024
_LOW_WATER: Final = 256 * 1024
# Above this size a frame is not joined with others: that would copy it once more.
_LARGE_FRAME: Final = 64 * 1024
# How long a closing connection may take to get rid of what is still to be written.
_LINGER: Final = 1.0
# How exactly the times of writes are remembered, and for how many of these intervals.
_MARK_INTERVAL: Final = 0.1
_MARKS: Final = 16


class FrameWriter:
    """A connection that frames can be sent on: an `asyncio.Protocol` by its methods. Mutable and slotted: the hot path of `Channel`.

    Attributes:
        address: `host:port` of the peer.
        closed: True as soon as nothing can be sent any more.
        meant_to_close: True once this side has closed it, for want of use or for a newer one.
    """

    # fmt: off
    __slots__ = (
        "_close_waiters", "_corked", "_drain_waiters", "_error", "_flushes", "_held", "_last_write", "_linger", "_loop", "_marks",
        "_next_held", "_next_mark", "_out", "_paused", "_transport", "address", "closed", "meant_to_close",
    )
    # fmt: on

    def __init__(self, address: str) -> None:
        self.address = address
        self.closed = False
        self.meant_to_close = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._error = ConnectionLostError(f"there is no connection to {address} yet", address=address, maybe_sent=False)
        # `_out` leaves at the end of the tick. While `_corked`, somebody will flush it without being asked.
        self._out: list[bytes] = []
        self._corked = False
        self._flushes = 0
        self._last_write = self._loop.time()
        # Some of the last writes, at least an interval apart: their number and time.
        self._marks: deque[tuple[int, float]] = deque(maxlen=_MARKS)
        self._next_mark = 0.0
        # `_held` waits while the transport is full: by opaque, or by a negative number for frames that no answer is awaited for.
        self._paused = False
        self._held: dict[int, list[bytes]] = {}
        self._next_held = -1
        self._drain_waiters: list[asyncio.Future[None]] = []
        self._linger: asyncio.TimerHandle | None = None
        self._close_waiters: list[asyncio.Future[None]] = []

    @property
    def file_number(self) -> int:
        """Number of the socket among the files of the process; -1 without a socket."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        return int(sock.fileno()) if sock is not None else -1

    @property
    def writable(self) -> bool:
        """False while the transport's buffer is full: `await drain()` before sending more."""
        return not self._paused and not self.closed

    def send(self, *frame: bytes) -> None:
        """Send a frame, whole or in parts, that no answer is awaited for; it leaves at the end of this tick of the loop.

        On a closed channel nothing happens.
        """
        if self.closed:
            return
        if self._paused:
            # Opaques of the wire may be negative too, but those of our own requests never are.
            self._held[self._next_held] = list(frame)
            self._next_held -= 1
            return
        if not self._out and not self._corked:
            self._loop.call_soon(self._flush)
        self._out += frame

    async def drain(self) -> None:
        """Wait until the channel is writable. Cancelling is safe.

        Raises:
            ConnectionLostError: The channel is closed, or was while waiting; nothing was sent.
        """
        while self._paused and not self.closed:
            await self._wait_in(self._drain_waiters)
        if self.closed:
            raise self._lost_error(maybe_sent=False)

    async def wait_closed(self) -> None:
        """Wait until the socket is closed. Cancelling is safe."""
        if self._transport is not None:
            await self._wait_in(self._close_waiters)

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert hasattr(transport, "set_write_buffer_limits")
        transport.set_write_buffer_limits(high=_HIGH_WATER, low=_LOW_WATER)
        self._last_write = self._loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._linger is not None:
            self._linger.cancel()
        _wake(self._close_waiters)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        held, self._held = self._held, {}
        for frame in held.values():
            self.send(*frame)
        _wake(self._drain_waiters)

    # For the other half.

    def _flush(self) -> None:
        out = self._out
        transport = self._transport
        if not out or self.closed or transport is None:
            return
        self._out = []
        self._flushes += 1
        self._last_write = now = self._loop.time()
        if now >= self._next_mark:
            self._next_mark = now + _MARK_INTERVAL
            self._marks.append((self._flushes, now))
        if len(out) == 1:
            transport.write(out[0])
        elif max(map(len, out)) >= _LARGE_FRAME:
            transport.writelines(out)
            if not self._paused and transport.get_write_buffer_size() > _HIGH_WATER:
                # Python 3.12 and 3.13 do not look at the limits in writelines(); setting them does.
                transport.set_write_buffer_limits(high=_HIGH_WATER, low=_LOW_WATER)
        else:
            transport.write(b"".join(out))

    def _written_at(self, flushes: int) -> float:
        """When something left that was handed over after so many writes; at most an interval too early, and too late for old writes."""
        found = self._marks[0][1] if self._marks else self._last_write
        for number, at in self._marks:
            if number > flushes + 1:
                break
            found = at
        return found

    @property
    def loss(self) -> str:
        """How a closed connection ended, in words."""
        return self._error.message

    def _lost_error(self, *, maybe_sent: bool) -> ConnectionLostError:
        """A fresh error for each waiter: raised in many places, one instance would collect all their tracebacks."""
        return fresh(self._error, maybe_sent=maybe_sent)

    def _stop_writing(self, error: ConnectionLostError) -> None:
        """Forget what is not written yet."""
        self.closed = True
        self._error = error
        self._out = []
        self._held = {}
        _wake(self._drain_waiters)

    def drop(self) -> None:
        """Close the socket when the event loop is closed, and its transport could do nothing any more."""
        transport, self._transport = self._transport, None
        self.closed = True
        if transport is not None:
            close_orphan(transport)

    def _close_transport(self, transport: asyncio.Transport) -> None:
        """Close once everything is written; a peer that does not read, or answer the TLS farewell, must not keep the socket for long."""
        transport.close()
        if transport.get_write_buffer_size() or transport.get_extra_info("sslcontext"):
            self._linger = self._loop.call_later(_LINGER, transport.abort)

    async def _wait_in(self, waiters: list[asyncio.Future[None]]) -> None:
        waiter = self._loop.create_future()
        waiters.append(waiter)
        await waiter


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()
