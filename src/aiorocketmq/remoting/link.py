"""A blocking connection beside a channel, for threads that wait for their answers themselves (no Java twin).

A request that a thread hands to the event loop costs two switches between threads, under one interpreter lock; on a link of its own it
costs none. A link carries one request at a time and belongs to the thread that took it; who takes which is up to `LinkPool`. Its channel
stands for the peer: heartbeats, requests of the peer and everything out of the ordinary go there, and a link is good only as long as its
channel is.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from typing import Final

from aiorocketmq.errors import ConnectionLostError, ProtocolError, RemotingError, RequestTimeoutError
from aiorocketmq.protocol.command import RESPONSE_FLAG, RemotingCommand
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.remoting.channel import Channel

logger = logging.getLogger("aiorocketmq.remoting")

POSSIBLE: Final = hasattr(select, "poll")
"""False where sockets cannot be polled (Windows): there everything goes through the event loop."""
_RECEIVE: Final = 64 * 1024
_TRUSTED: Final = 1.0
"""Seconds without use after which a link is looked at before it is used: the peer may have closed it."""
_CLOSING_LOOK: Final = 0.002
"""Seconds between two looks at the links in use while they are closed."""


class Link:
    """One blocking connection to the peer of a channel.

    Args:
        channel: Its channel, without TLS.
        timeout: Seconds for connecting.

    Attributes:
        channel: The same.
        context: A place for the owner's own data, None at first.
        used_at: When it was last used, by `time.monotonic()`.

    Raises:
        OSError: It cannot be connected.
    """

    __slots__ = ("_poller", "_receiver", "_socket", "channel", "context", "used_at")

    def __init__(self, channel: Channel, timeout: float) -> None:
        self.channel = channel
        self.context: object = None
        self.used_at = time.monotonic()
        self._receiver = FrameReceiver(channel.max_frame)
        peer = channel.peer
        if peer is None:
            raise OSError(f"the connection to {channel.address} is no plain one")
        # Where the channel is connected to: no name is resolved again, and both ends are the same processes.
        self._socket = socket.create_connection(peer, timeout)
        # `settimeout()` would poll before every call; the answer to a request has to be polled for, its sending has not.
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poller = select.poll()
        self._poller.register(self._socket, select.POLLIN)

    def is_good(self, now: float) -> bool:
        """False when it cannot be used any more; `now` is the time of `time.monotonic()`."""
        if self.channel.closed:
            return False
        # Between two requests the peer has nothing to say: what can be read is the end of the connection.
        return now - self.used_at < _TRUSTED or not self._poller.poll(0)

    def exchange(self, opaque: int, frame: bytes, deadline: float) -> RemotingCommand:
        """Send a request and wait for its answer, whatever its code. After an error, or an interrupt, the link is closed.

        Args:
            opaque: Correlation id of the frame.
            frame: The whole encoded frame.
            deadline: Time of `time.monotonic()` until which to wait.

        Raises:
            RequestTimeoutError: The deadline passed.
            ConnectionLostError: The connection ended, or the peer sent what makes no sense; `maybe_sent` as always.
        """
        begun = False
        try:
            sent = self._send(frame)
            begun = True
            if sent < len(frame):
                self._send_rest(frame, sent, deadline)
            return self._receive(opaque, deadline)
        except RemotingError:
            self.close()
            raise
        except ProtocolError as error:
            self.close()
            raise self._lost(f"was closed because of what it sent: {error.message}", maybe_sent=True) from error
        except OSError as error:
            self.close()
            raise self._lost(f"was lost: {error}", maybe_sent=begun) from error
        except BaseException:
            self.close()
            raise

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:  # the peer has read nothing for long: its buffer and ours are full
            return 0

    def _receive(self, opaque: int, deadline: float) -> RemotingCommand:
        while True:
            now = time.monotonic()
            # Rounded up: what comes in the last millisecond is still in time.
            if now >= deadline or not self._poller.poll(int((deadline - now) * 1000) + 1):
                raise RequestTimeoutError(f"no answer from {self.channel.address} in time", address=self.channel.address, maybe_sent=True)
            data = self._socket.recv(_RECEIVE)
            if not data:
                raise self._lost("was closed by the peer", maybe_sent=True)
            for command in self._receiver.feed(data):
                if command.opaque == opaque and command.flag & RESPONSE_FLAG:
                    self.used_at = now
                    return command

    def _send_rest(self, frame: bytes, sent: int, deadline: float) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLOUT)
        rest = memoryview(frame)[sent:]
        while rest:
            now = time.monotonic()
            if now >= deadline or not poller.poll(int((deadline - now) * 1000) + 1):
                text = f"the request could not be sent to {self.channel.address} in time"
                raise RequestTimeoutError(text, address=self.channel.address, maybe_sent=len(rest) < len(frame))
            rest = rest[self._send(rest) :]

    def _lost(self, how: str, *, maybe_sent: bool) -> RemotingError:
        address = self.channel.address
        return ConnectionLostError(f"the connection to {address} {how}", address=address, maybe_sent=maybe_sent)

    def shut(self) -> None:
        """End the connection from another thread than the one that uses it, which then gets a `ConnectionLostError`."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._socket.close()


class LinkPool:
    """The links of one producer: for each channel a few, taken and given back by any thread.

    Args:
        limit: Links beside one channel at most.
        timeout: Seconds for connecting one.
    """

    def __init__(self, limit: int, timeout: float) -> None:
        self._limit = limit
        self._timeout = timeout
        self._lock = threading.Lock()
        self._closed = False
        self._made: dict[Channel, int] = {}
        self._idle: dict[Channel, list[Link]] = {}
        self._busy: set[Link] = set()

    @property
    def busy(self) -> int:
        """Links that threads use now."""
        return len(self._busy)

    def take(self, channel: Channel) -> Link | None:
        """A link beside a channel for one exchange; None when all are taken, or none can be made. Give it back, or drop it."""
        idle = self._idle.get(channel)
        while idle:
            try:
                link = idle.pop()
            except IndexError:  # another thread was faster
                break
            self._busy.add(link)
            if link.is_good(time.monotonic()) and not self._closed:
                return link
            self.drop(link)
        return self._make(channel)

    def give(self, link: Link) -> None:
        """Give a good link back."""
        self._busy.discard(link)
        idle = self._idle.get(link.channel)
        if idle is None:  # swept, or closed
            link.close()
        else:
            idle.append(link)

    def drop(self, link: Link) -> None:
        """Give a link back that is no good any more."""
        link.close()
        self._busy.discard(link)
        with self._lock:
            if link.channel in self._made:
                self._made[link.channel] -= 1

    def _make(self, channel: Channel) -> Link | None:
        with self._lock:
            made = self._made.get(channel, 0)
            if self._closed or channel.closed or made >= self._limit:
                return None
            self._made[channel] = made + 1
            self._idle.setdefault(channel, [])
        try:
            link = Link(channel, self._timeout)
        except OSError as error:
            # It goes on counting: where no further connection can be had, none is tried for over and over.
            logger.debug("no link beside the connection to %s: %s", channel.address, error)
            return None
        self._busy.add(link)
        return link

    def sweep(self, unused_for: float) -> bool:
        """Close links that were not used for so many seconds, and those of closed channels; True when some are left."""
        before = time.monotonic() - unused_for
        for channel, idle in list(self._idle.items()):
            for _ in range(len(idle)):
                try:
                    link = idle.pop(0)
                except IndexError:
                    break
                if channel.closed or link.used_at < before:
                    self.drop(link)
                else:
                    idle.append(link)
            if channel.closed:
                with self._lock:
                    self._idle.pop(channel, None)
                    self._made.pop(channel, None)
        return bool(self._idle)

    def close(self, timeout: float) -> None:
        """Close all links; those in use get `timeout` seconds to end by themselves. Blocks for as long."""
        self._closed = True
        deadline = time.monotonic() + timeout
        while self._busy and time.monotonic() < deadline:
            time.sleep(_CLOSING_LOOK)
        for link in list(self._busy):
            link.shut()
        with self._lock:
            idle = [link for links in self._idle.values() for link in links]
            self._idle.clear()
            self._made.clear()
        for link in idle:
            link.close()
