"""A blocking connection beside a channel, for a thread that waits for its answers itself (no Java twin).

A request that a thread hands to the event loop costs two switches between threads, under one interpreter lock; on a link of its own it
costs none. A link carries one request at a time, of the one thread that took it. Its channel stands for the peer: heartbeats, requests of
the peer and everything out of the ordinary go there, and a link is good only as long as its channel is.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import deque
from typing import Final

from aiorocketmq.errors import ConnectionLostError, ProtocolError, RemotingError, RequestTimeoutError
from aiorocketmq.protocol.command import RESPONSE_FLAG, RemotingCommand
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.remoting.channel import Channel

_RECEIVE: Final = 64 * 1024
_TRUSTED: Final = 1.0
"""Seconds without use after which a link is looked at before it is used: the peer may have closed it."""
_LONGEST: Final = 86_400.0
"""Seconds of one wait: `poll()` takes no more than 2^31 milliseconds."""
_POLLS: Final = hasattr(select, "poll")


class Link:
    """One blocking connection to the peer of a channel, with TLS if that has it.

    Args:
        channel: Its channel.
        deadline: Until when it must be connected, by `time.monotonic()`.

    Attributes:
        channel: The same.
        used_at: When it was last used, by `time.monotonic()`.

    Raises:
        OSError: It cannot be connected.
    """

    __slots__ = ("_broken", "_reading", "_receiver", "_secured", "_socket", "channel", "used_at")

    def __init__(self, channel: Channel, deadline: float) -> None:
        self.channel = channel
        self.used_at = time.monotonic()
        self._broken = False
        self._receiver = FrameReceiver(channel.max_frame)
        peer = channel.peer
        if peer is None:
            raise OSError(f"the connection to {channel.address} is no socket")
        # Where the channel is connected to: no name is resolved again, and both ends are the same processes.
        self._socket = socket.create_connection(peer.address, _left(deadline))
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if peer.context is not None:
                self._socket.settimeout(_left(deadline))
                self._socket = peer.context.wrap_socket(self._socket, server_hostname=peer.server_hostname)
            # With a time-out the socket would be polled before every call; an answer has to be waited for, the sending of a request not.
            self._socket.settimeout(0.0)
            self._secured = self._socket if isinstance(self._socket, ssl.SSLSocket) else None
            self._reading = _Poller(self._socket, writing=False)
        except BaseException:
            self._socket.close()
            raise

    def is_good(self, now: float) -> bool:
        """False when it cannot be used any more; `now` is the time of `time.monotonic()`."""
        if self._broken or self.channel.closed:
            return False
        return now - self.used_at < _TRUSTED or self._is_quiet()

    def _is_quiet(self) -> bool:
        # Between two requests the peer has nothing to say: what can be read is the end of the connection.
        try:
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

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
            begun = sent > 0
            if sent < len(frame):
                rest, writing = memoryview(frame)[sent:], _Poller(self._socket, writing=True)
                while rest:
                    writing.wait(_left(deadline))
                    sent = self._send(rest)
                    begun = begun or sent > 0
                    rest = rest[sent:]
            return self._receive(opaque, deadline)
        except RemotingError:
            self.close()
            raise
        except ProtocolError as error:
            self.close()
            raise self._lost(f"was closed because of what it sent: {error.message}", error, maybe_sent=True) from None
        except TimeoutError:
            self.close()
            raise self._overdue(maybe_sent=begun) from None
        except OSError as error:
            self.close()
            raise self._lost(f"was lost: {error}", error, maybe_sent=begun) from None
        except BaseException:
            self.close()
            raise

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):  # the peer has read nothing for long: all buffers are full
            return 0

    def _receive(self, opaque: int, deadline: float) -> RemotingCommand:
        receiver, secured = self._receiver, self._secured
        while True:
            if secured is None or not secured.pending():
                self._reading.wait(_left(deadline))
            try:
                data = self._socket.recv(_RECEIVE)
            except (BlockingIOError, ssl.SSLWantReadError):  # no answer yet, or nothing but a half of a TLS record
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
                    self.used_at = time.monotonic()
                    return command
            if failure is not None:
                raise failure

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
            # Not by the method of a TLS socket, which would take the encryption away under the other thread's feet.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself

    def close(self) -> None:
        """Close the socket; the link is no good any more. Idempotent, for any thread."""
        self._broken = True
        self._socket.close()


class _Poller:
    """Waits until one socket can be read, or written."""

    __slots__ = ("_poll", "_socket", "_writing")

    def __init__(self, sock: socket.socket, *, writing: bool) -> None:
        self._socket = sock
        self._writing = writing
        self._poll = select.poll() if _POLLS else None
        if self._poll is not None:
            self._poll.register(sock, select.POLLOUT if writing else select.POLLIN)

    def wait(self, seconds: float) -> None:
        """Wait so long at most; what has come then, the socket tells."""
        if self._poll is not None:
            self._poll.poll(int(seconds * 1000) + 1)  # rounded up: what comes in the last millisecond is still in time
        else:  # Windows
            select.select([] if self._writing else [self._socket], [self._socket] if self._writing else [], [], seconds)


def _left(deadline: float) -> float:
    """Seconds until a deadline, for one wait."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return min(left, _LONGEST)


class Links:
    """The links of one producer: taken by whichever thread needs one, and given back.

    Taking one out of a deque is one step, which no other thread and no signal can come between, and who took a link owns it. So there is no
    lock, and a link that an interrupted thread did not give back is closed when it is collected.

    Attributes:
        closed: No link is kept any more.
    """

    def __init__(self) -> None:
        self.closed = False
        self._all: set[Link] = set()
        self._idle: dict[Channel, deque[Link]] = {}

    def take(self, channel: Channel) -> Link | None:
        """An idle link beside a channel for one exchange, or None. Give it back."""
        idle = self._idle.get(channel)
        while idle:
            try:
                link = idle.pop()
            except IndexError:  # another thread was faster
                break
            if link.is_good(time.monotonic()):
                return link
            self.drop(link)
        return None

    def connect(self, channel: Channel, deadline: float) -> Link:
        """A new link beside a channel for one exchange. Give it back.

        Raises:
            OSError: It cannot be connected until `deadline`.
        """
        link = Link(channel, deadline)
        self._all.add(link)
        return link

    def give(self, link: Link) -> None:
        """Give a link back, whatever has become of it."""
        if self.closed or not link.is_good(link.used_at):  # as of then: its socket was looked at just now
            self.drop(link)
            return
        self._idle.setdefault(link.channel, deque()).append(link)
        if self.closed:
            self.close()  # which was called in between, and may have missed it

    def drop(self, link: Link) -> None:
        """Close a link for good."""
        link.close()
        self._all.discard(link)

    def shut(self) -> None:
        """End the links that are in use, under their threads."""
        for link in list(self._all):
            link.shut()

    def sweep(self, unused_for: float) -> None:
        """Close links that were not used for so many seconds, and those of closed channels."""
        before = time.monotonic() - unused_for
        for channel, idle in list(self._idle.items()):
            for _ in range(len(idle)):
                try:
                    link = idle.popleft()
                except IndexError:  # other threads took them
                    break
                if channel.closed or link.used_at < before:
                    self.drop(link)
                else:
                    idle.append(link)
            if channel.closed and not idle:
                self._idle.pop(channel, None)

    def close(self) -> None:
        """Close the links that nobody uses; the others are closed when they are given back."""
        self.closed = True
        for idle in list(self._idle.values()):
            while idle:
                try:
                    self.drop(idle.pop())
                except IndexError:  # its thread took it at the last moment, and will drop it
                    break
        self._idle.clear()

    def abandon(self) -> None:
        """Close all links at once, those in use included."""
        self.close()
        for link in list(self._all):
            self.drop(link)
