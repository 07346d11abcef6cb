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
_TO_BEGIN: Final = 1.0
"""Seconds that a thread has between taking a link and its exchange before the link may count as lost."""
_TO_LEAVE: Final = 1.0
"""Seconds that threads have to give back the links that were shut under them."""
_LONGEST_POLL: Final = 60.0
"""Seconds: `poll()` takes no more than 2^31 milliseconds."""


class Link:
    """One blocking connection to the peer of a channel.

    Args:
        channel: Its channel, without TLS.
        timeout: Seconds for connecting.

    Attributes:
        channel: The same.
        context: A place for the owner's own data, None at first.
        used_at: When it was last used, by `time.monotonic()`.
        until: Until when whoever took it uses it at most; after that it was lost on the way, by an interrupt.

    Raises:
        OSError: It cannot be connected.
    """

    __slots__ = ("_broken", "_poller", "_receiver", "_socket", "channel", "context", "until", "used_at")

    def __init__(self, channel: Channel, timeout: float) -> None:
        self.channel = channel
        self.context: object = None
        self.used_at = time.monotonic()
        self.until = self.used_at + timeout + _TO_BEGIN
        self._broken = False
        self._receiver = FrameReceiver(channel.max_frame)
        peer = channel.peer
        if peer is None:
            raise OSError(f"the connection to {channel.address} is no plain one")
        # Where the channel is connected to: no name is resolved again, and both ends are the same processes.
        self._socket = socket.create_connection(peer, timeout)
        try:
            # `settimeout()` would poll before every call; the answer to a request has to be polled for, its sending has not.
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poller = select.poll()
            self._poller.register(self._socket, select.POLLIN)
        except BaseException:
            self._socket.close()
            raise

    def is_good(self, now: float) -> bool:
        """False when it cannot be used any more; `now` is the time of `time.monotonic()`."""
        if self._broken or self.channel.closed:
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
        self.until = deadline + _TO_BEGIN
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
            raise self._lost(f"was closed because of what it sent: {error.message}", error, maybe_sent=True) from None
        except OSError as error:
            self.close()
            raise self._lost(f"was lost: {error}", error, maybe_sent=begun) from None
        except BaseException:
            self.close()
            raise

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:  # the peer has read nothing for long: its buffer and ours are full
            return 0

    def _receive(self, opaque: int, deadline: float) -> RemotingCommand:
        receiver = self._receiver
        while True:
            now = time.monotonic()
            if not _wait(self._poller, now, deadline):
                raise self._overdue(maybe_sent=True)
            try:
                data = self._socket.recv(_RECEIVE)
            except BlockingIOError:  # there was nothing after all
                continue
            if not data:
                receiver.eof()
                raise self._lost("was closed by the peer", None, maybe_sent=True)
            failure: ProtocolError | None = None
            try:
                commands = receiver.feed(data)
            except ProtocolError as error:
                commands, failure = receiver.salvaged, error
                self.close()
            for command in commands:
                if command.opaque == opaque and command.flag & RESPONSE_FLAG:
                    self.used_at = now
                    return command
            if failure is not None:
                raise failure

    def _send_rest(self, frame: bytes, sent: int, deadline: float) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLOUT)
        rest = memoryview(frame)[sent:]
        while rest:
            if not _wait(poller, time.monotonic(), deadline):
                raise self._overdue(maybe_sent=len(rest) < len(frame))
            more = self._send(rest)
            rest = rest[more:]  # by a name: the compiled form evaluates what is between the brackets twice

    def _overdue(self, *, maybe_sent: bool) -> RemotingError:
        address = self.channel.address
        text = f"no answer from {address} in time" if maybe_sent else f"the request could not be sent to {address} in time"
        return RequestTimeoutError(text, address=address, maybe_sent=maybe_sent)

    def _lost(self, how: str, cause: Exception | None, *, maybe_sent: bool) -> RemotingError:
        address = self.channel.address
        hint = cause.hint if isinstance(cause, ProtocolError) else None
        return ConnectionLostError(f"the connection to {address} {how}", address=address, maybe_sent=maybe_sent, hint=hint, cause=cause)

    def shut(self) -> None:
        """End the connection from another thread than the one that uses it, which then gets a `ConnectionLostError`."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself

    def close(self) -> None:
        """Close the socket; the link is no good any more. Idempotent, for any thread."""
        self._broken = True
        self._socket.close()


def _wait(poller: select.poll, now: float, deadline: float) -> bool:
    """Wait until there is something to do; False when the deadline passed first."""
    while now < deadline:
        # Rounded up: what comes in the last millisecond is still in time.
        if poller.poll(int(min(deadline - now, _LONGEST_POLL) * 1000) + 1):
            return True
        now = time.monotonic()
    return False


class _Beside:
    """The links beside one channel.

    Attributes:
        links: All that are open, the idle ones and those in use.
        idle: Those that can be taken, the last used last.
        places: Links that are being connected, or could not be.
    """

    __slots__ = ("idle", "links", "places")

    def __init__(self) -> None:
        self.links: set[Link] = set()
        self.idle: list[Link] = []
        self.places = 0


class LinkPool:
    """The links of one producer: for each channel a few, taken and given back by any thread.

    A `KeyboardInterrupt` may come between any two steps of the main thread. So a link is kept in `_Beside.links` from its first moment to
    its last, and one that was taken and is not used within its time is closed by `sweep()`.

    Args:
        limit: Links beside one channel at most.

    Attributes:
        cut: True once links in use were shut: what they did is not to be tried again.
    """

    def __init__(self, limit: int) -> None:
        self.cut = False
        self._limit = limit
        # May be entered again: a signal handler may send while its thread is in here.
        self._lock = threading.RLock()
        self._closed = False
        self._beside: dict[Channel, _Beside] = {}
        self._busy: set[Link] = set()

    @property
    def busy(self) -> int:
        """Links that threads use now."""
        return len(self._busy)

    def take(self, channel: Channel) -> Link | None:
        """An idle link beside a channel for one exchange, or None. Give it back."""
        beside = self._beside.get(channel)
        if beside is None:
            return None
        idle = beside.idle
        while idle:
            try:
                link = idle.pop()
            except IndexError:  # another thread was faster
                break
            now = time.monotonic()
            link.until = now + _TO_BEGIN
            self._busy.add(link)
            # In this order: `close()` either finds the link in use, or is seen here.
            if not self._closed and link.is_good(now):
                return link
            self.drop(link)
        return None

    def make(self, channel: Channel, timeout: float) -> Link | None:
        """A new link beside a channel for one exchange; None when there are enough, or it cannot be connected within so many seconds."""
        with self._lock:
            beside = self._beside.get(channel)
            if beside is None:
                beside = _Beside()
            if self._closed or channel.closed or len(beside.links) + beside.places >= self._limit:
                return None
            self._beside[channel] = beside
            beside.places += 1
        try:
            link = Link(channel, timeout)
        except OSError as error:
            # It goes on counting: where no further connection can be had, none is tried for over and over.
            logger.debug("no link beside the connection to %s: %s", channel.address, error)
            return None
        except BaseException:
            beside.places -= 1
            raise
        with self._lock:
            beside.places -= 1
            beside.links.add(link)
            self._busy.add(link)
        if self._closed or channel.closed:
            self.drop(link)
            return None
        return link

    def give(self, link: Link) -> None:
        """Give a link back, whatever has become of it."""
        beside = self._beside.get(link.channel)
        if beside is None or self._closed or not link.is_good(link.used_at):  # as of then: its socket was looked at just now
            self.drop(link)
            return
        self._busy.discard(link)
        beside.idle.append(link)

    def drop(self, link: Link) -> None:
        """Close a link for good."""
        link.close()
        self._busy.discard(link)
        beside = self._beside.get(link.channel)
        if beside is not None:
            beside.links.discard(link)

    def sweep(self, unused_for: float) -> bool:
        """Close links that were not used for so many seconds, and those of closed channels; True when some may be left."""
        before = time.monotonic() - unused_for
        for channel, beside in list(self._beside.items()):
            idle = beside.idle
            for _ in range(len(idle)):
                try:
                    link = idle.pop(0)
                except IndexError:  # other threads took them
                    break
                if channel.closed or link.used_at < before:
                    self.drop(link)
                else:
                    idle.append(link)
            for link in beside.links - set(idle):
                if link.until < before:
                    self.drop(link)
            with self._lock:
                if channel.closed and not beside.links:
                    self._beside.pop(channel, None)
        return bool(self._beside)

    def close(self, timeout: float) -> None:
        """Close all links; those in use get `timeout` seconds to end by themselves. Blocks for as long."""
        self._closed = True
        try:
            self._await_busy(timeout)
            late = list(self._busy)
            self.cut = bool(late)
            for link in late:
                link.shut()
            self._await_busy(_TO_LEAVE)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close all links at once, when nobody can be using one. Does not wait."""
        self._closed = True
        with self._lock:
            links = [link for beside in self._beside.values() for link in beside.links]
            self._beside.clear()
        for link in links:
            self.drop(link)

    def _await_busy(self, timeout: float) -> None:
        now = time.monotonic()
        deadline = now + timeout
        while now < deadline and any(link.until > now for link in list(self._busy)):
            time.sleep(_CLOSING_LOOK)
            now = time.monotonic()
