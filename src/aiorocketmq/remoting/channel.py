"""One connection, client or server end (Java: Netty's `Channel` with `NettyRemotingAbstract`). Features O4, O6-O11, O13, O16.

The rules that keep a channel cheap and right:

* A response is paired with its request by `opaque`; whether a frame is a response at all is decided by flag bit 0 alone, because the
  peer numbers its own requests from its own counter.
* Frames that are submitted in one tick of the loop leave in one write; a request that is alone on the channel leaves at once.
* A request costs one entry in a dict: no task, no future, no timer. One timer per channel is armed for the earliest deadline, and found
  out of date, and re-armed, only when it fires.
* Every waiter is called exactly once: with the response, or with the reason why there will be none.
* An error never says that a request was not sent unless no byte of it was handed to the transport.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple, Protocol, cast

from aiorocketmq.errors import (
    ConnectionLostError,
    ProtocolError,
    RemotingError,
    RequestTimeoutError,
    TooManyRequestsError,
    WrongProtocolError,
)
from aiorocketmq.model.parsing import format_address
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.command import RESPONSE_FLAG, RemotingCommand
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.frame import encode_parts
from aiorocketmq.remoting.endpoint import ChannelSettings, Counters, SparseLog, UnfinishedFrames
from aiorocketmq.remoting.processing import Dispatcher
from aiorocketmq.remoting.watch import NEVER, LazyTimer, PartialFrame
from aiorocketmq.remoting.writing import FrameWriter

logger = logging.getLogger("aiorocketmq.remoting")

# Answers of this size together are written without waiting for the end of the tick.
_MUCH_TO_REPLY: Final = 1024 * 1024
# What an answer that is held back takes besides its bytes.
_HELD_OVERHEAD: Final = 512
# A channel is not called silent before it has been so for this long, however short the time-outs of its requests.
_MIN_SILENCE: Final = 1.0
# Deadlines are met to this precision; event loops may fire a little early.
_EARLY: Final = 0.001
# How often a channel that is to be closed looks whether its last request is answered.
_RETIRE_INTERVAL: Final = 0.2


class ResponseWaiter(Protocol):
    """Who wants an answer. Exactly one of the two methods is called, once, from the event loop; neither may raise or block."""

    def on_response(self, command: RemotingCommand) -> None:
        """Take the response."""

    def on_error(self, error: RemotingError) -> None:
        """Take the reason why there is no response; `error.maybe_sent` is False when the request certainly was not sent."""


Processor = Callable[[RemotingCommand, "Channel"], "RemotingCommand | Awaitable[RemotingCommand | None] | None"]
"""Answers a request of the peer. A plain result is sent in the same tick of the loop; None means no answer, or one that comes later
through `Channel.reply`; an awaitable runs as a supervised task."""


class InFlight:
    """Requests without an answer yet, over all channels of a client, against their limit (Java: `semaphoreAsync`). Feature O7.

    Not in `endpoint`, because this module is compiled and each request counts twice.
    """

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


class Endpoint:
    """What the channels of one client or one server share."""

    __slots__ = ("closing", "counters", "dispatcher", "in_flight", "on_lost", "on_open", "settings", "sparse_log", "unfinished")

    def __init__(
        self,
        settings: ChannelSettings,
        *,
        in_flight_limit: int,
        on_open: Callable[[Channel], None],
        on_lost: Callable[[Channel], None],
    ) -> None:
        self.settings = settings
        self.counters = Counters()
        self.closing: set[Channel] = set()  # channels that are closed, while their sockets are not yet gone
        self.in_flight = InFlight(in_flight_limit)
        self.sparse_log = SparseLog()
        self.dispatcher: Dispatcher[Channel] = Dispatcher(self.sparse_log, settings.turn)
        self.unfinished = UnfinishedFrames(settings.max_unfinished)
        self.on_open = on_open
        self.on_lost = on_lost


class Peer(NamedTuple):
    """What a channel is connected to: enough for one more connection to the same.

    Attributes:
        address: IP address and port.
        context: The TLS context, None for plain TCP.
        server_hostname: The name that the peer's certificate is checked against.
    """

    address: tuple[str, int]
    context: ssl.SSLContext | None
    server_hostname: str | None


_Entry = tuple[ResponseWaiter, float, int, int]  # waiter, deadline, and the channel's counts of writes and reads when it was submitted


class Channel(FrameWriter):
    """One connection and the requests that await an answer on it.

    Belongs to one event loop; no method may be called from another thread.

    Attributes:
        address: `host:port` of the peer: as it was dialled on a client, as it connected on a server.
        local_address: `host:port` of this end, "" before the connection stands.
        peer: What it is connected to; None before, and for what is no socket.
        closed: True as soon as nothing can be sent any more.
        dropped: Responses that nobody waited for.
        context: A place for the owner's own data, None at first.
    """

    # fmt: off
    __slots__ = (
        "_backlog", "_deaf", "_due_since", "_endpoint", "_held_replies", "_in_flight", "_last_read", "_partial", "_pending", "_reads",
        "_receiver", "_replied", "_replied_in", "_retired", "_timer", "context", "dropped", "local_address", "peer",
    )
    # fmt: on

    def __init__(self, endpoint: Endpoint, address: str = "") -> None:
        super().__init__(address)
        self.local_address = ""
        self.peer: Peer | None = None
        self.dropped = 0
        self.context: object = None
        self._endpoint = endpoint
        self._in_flight = endpoint.in_flight
        self._receiver = FrameReceiver(endpoint.settings.max_frame)
        self._pending: dict[int, _Entry] = {}
        # Requests of a peer that does not read its answers, and bytes of answers since the last write.
        self._backlog: list[RemotingCommand] = []
        self._replied = self._replied_in = 0
        self._held_replies = 0
        self._deaf = False
        # Watching. All times are of `loop.time()`.
        self._timer = LazyTimer(self._check, self._stalled)
        self._partial = PartialFrame(endpoint.settings.partial_frame_timeout)
        self._retired = False
        self._due_since = NEVER  # when the oldest request left that ran out of time after the last read
        self._reads = 0
        self._last_read = self._last_write

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open" if self._transport else "connecting"
        return f"<Channel {self.local_address} -> {self.address} {state}, {len(self._pending)} pending>"

    # ------------------------------------------------------------------------------------------------------------ sending

    @property
    def pending(self) -> int:
        """Requests that await an answer."""
        return len(self._pending)

    @property
    def max_frame(self) -> int:
        """Limit of a received frame in bytes, its own length field not counted."""
        return self._receiver.max_frame

    def submit(self, opaque: int, frame: bytes, waiter: ResponseWaiter, deadline: float) -> None:
        """Send a request and have `waiter` told of the answer.

        Args:
            opaque: Correlation id of the frame; must not be pending on this channel.
            frame: The whole encoded frame.
            waiter: Called exactly once; before this returns when the channel is closed or too many requests are in flight.
            deadline: Time of the loop's clock at which the waiter gets a `RequestTimeoutError`.

        Raises:
            ValueError: The opaque is pending already: the caller reused one.
        """
        in_flight = self._in_flight
        if self.closed or in_flight.used >= in_flight.limit:
            waiter.on_error(self._refusal())
            return
        pending = self._pending
        if opaque in pending:
            raise ValueError(f"opaque {opaque} is pending already on the connection to {self.address}")
        pending[opaque] = (waiter, deadline, self._flushes, self._reads)
        in_flight.used += 1
        if self._paused:
            self._held[opaque] = [frame]
        else:
            out = self._out
            out.append(frame)
            if not self._corked and len(out) == 1:
                if len(pending) == 1:
                    # A caller who sends one request at a time: another turn of the loop would only delay it.
                    self._flush()
                else:
                    self._loop.call_soon(self._flush)
        if deadline < self._timer.at:
            self._timer.arm(deadline)

    @property
    def quiet(self) -> float:
        """Seconds without a byte in either direction."""
        return self._loop.time() - max(self._last_read, self._last_write)

    def waiters(self) -> list[ResponseWaiter]:
        """Who awaits an answer."""
        return [entry[0] for entry in self._pending.values()]

    def forget(self, opaque: int) -> bool:
        """Give a pending request up: its waiter is not called any more, and a late answer is dropped.

        Returns:
            True when the request was pending.
        """
        if self._pending.pop(opaque, None) is None:
            return False
        self._in_flight.used -= 1
        self._held.pop(opaque, None)
        return True

    def reply(self, request: RemotingCommand, response: RemotingCommand) -> None:
        """Answer a request of the peer; nothing happens when it was one-way or the channel is closed."""
        if self.closed or request.is_oneway:
            return
        response.opaque = request.opaque
        response.flag |= RESPONSE_FLAG
        try:
            parts = encode_parts(response)
        except ProtocolError as error:
            logger.error("the answer to request code %d of %s cannot be encoded: %s", request.code, self.address, error)
            parts = encode_parts(RemotingCommand.response(request, ResponseCode.SYSTEM_ERROR, f"answer cannot be encoded: {error}"))
        if self._paused and not self._hold_reply(parts):
            return
        self.send(*parts)
        if self._replied_in != self._flushes:
            self._replied, self._replied_in = 0, self._flushes
        self._replied += len(response.body)
        if self._replied > _MUCH_TO_REPLY:
            # Many small requests may ask for much: learn now, not at the end of the tick, whether the peer takes the answers.
            self._flush()

    def _hold_reply(self, parts: list[bytes]) -> bool:
        """Count an answer that is held back for a peer that does not read; one that asks on and on is dropped."""
        self._held_replies += sum(map(len, parts)) + _HELD_OVERHEAD
        limit = self._endpoint.settings.max_held_replies
        if limit is None or self._held_replies <= limit:
            return True
        text = "closing the connection with %s: it sends requests and does not read the answers, which take more than %d bytes by now"
        self._endpoint.sparse_log.record(self._loop.time(), f"unread {self.address}", text, self.address, limit)
        self.abort(
            ConnectionLostError(
                f"the connection to {self.address} was closed: it sends requests and does not read the answers", address=self.address
            )
        )
        return False

    # ------------------------------------------------------------------------------------------------------------ closing

    def close(self, reason: str = "closed by this side") -> None:
        """Fail all pending requests now, send what is ready, then close. Does not wait, see `wait_closed`."""
        if self.closed:
            return
        self._flush()
        transport, self.meant_to_close = self._transport, True
        self._finish(ConnectionLostError(f"the connection to {self.address} was {reason}", address=self.address))
        if transport is not None:
            self._close_transport(transport)

    def abort(self, error: ConnectionLostError | None = None) -> None:
        """Fail all pending requests now and drop the connection without sending what is left."""
        transport = self._transport
        self._finish(error or ConnectionLostError(f"the connection to {self.address} was aborted", address=self.address))
        if transport is not None:
            transport.abort()

    def retire(self) -> None:
        """Close as soon as no request is pending; the owner gives the channel no new ones (after GO_AWAY)."""
        self._retired = True
        self._timer.arm(self._loop.time())

    # ------------------------------------------------------------------------------------------- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)  # uvloop's transports do not inherit from asyncio's
        self._transport = stream
        if self.closed:
            stream.abort()
            return
        super().connection_made(transport)
        self.local_address = _format_address(transport.get_extra_info("sockname"))
        if not self.address:
            self.address = _format_address(transport.get_extra_info("peername"))
        self.peer = _peer_of(transport)
        self._last_read = self._last_write
        self._timer.arm(self._last_read + self._endpoint.settings.idle_timeout)
        self._endpoint.counters.opened += 1
        self._endpoint.on_open(self)

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        self._reads += 1
        self._last_read = now = self._loop.time()
        self._due_since = NEVER
        receiver = self._receiver
        failure: ProtocolError | None = None
        try:
            commands = receiver.feed(data)
        except ProtocolError as error:
            commands, failure = receiver.salvaged, error
        # Whatever waiters and processors send while they handle this chunk leaves in one write at its end.
        self._corked = True
        try:
            self._dispatch(commands)
        finally:
            self._corked = False
            if self._out:
                self._flush()
        if self.closed:
            return
        if failure is not None:
            self._refuse_peer(failure)
        elif receiver.pending:
            self._partial.grew(now, len(data), fresh=bool(commands))
            self._timer.arm(self._partial.due)
            self._endpoint.unfinished.grew(self, receiver.pending, fresh=bool(commands))
        elif self._partial.due != NEVER:
            self._partial.complete()
            self._endpoint.unfinished.forget(self)

    def eof_received(self) -> bool:
        if self.closed:
            return False
        try:
            self._receiver.eof()
        except ProtocolError as error:
            self._refuse_peer(error)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed:
            secured = self.peer is not None and self.peer.context is not None
            self._finish(_loss(self.address, exc, mute=self._reads == 0 and self._flushes > 0, secured=secured))
        self._endpoint.closing.discard(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._steer_reading()

    def resume_writing(self) -> None:
        self._held_replies = 0
        super().resume_writing()
        backlog, self._backlog = self._backlog, []
        self._dispatch(backlog)
        self._steer_reading()

    # -------------------------------------------------------------------------------- called by the processing of requests

    def listen(self, willing: bool) -> None:
        """Read on, or read nothing more from a peer that asks for more than can be done now. For servers only."""
        self._deaf = not willing
        self._steer_reading()

    def keep(self, request: RemotingCommand) -> None:
        """Process a request once the peer reads its answers."""
        self._backlog.append(request)

    # ----------------------------------------------------------------------------------------------------------- internal

    def _steer_reading(self) -> None:
        if not self._endpoint.settings.pause_reading_when_full or self._transport is None or self.closed:
            return
        if self._deaf or self._paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _dispatch(self, commands: list[RemotingCommand]) -> None:
        pending = self._pending
        for command in commands:
            if command.flag & RESPONSE_FLAG:
                entry = pending.pop(command.opaque, None)
                if entry is None:
                    self._drop(command)
                    continue
                self._in_flight.used -= 1
                try:
                    entry[0].on_response(command)
                except Exception:
                    logger.exception("a response from %s could not be handled", self.address)
            elif self._paused and self._endpoint.settings.pause_reading_when_full:
                self._backlog.append(command)
            else:
                self._endpoint.dispatcher.process(command, self)

    def _drop(self, command: RemotingCommand) -> None:
        self.dropped += 1
        endpoint = self._endpoint
        endpoint.counters.dropped_responses += 1
        text = "dropped a response from %s that nobody waits for: opaque %d, code %d"
        endpoint.sparse_log.record(self._last_read, f"drop {self.address}", text, self.address, command.opaque, command.code)

    def _refuse_peer(self, failure: ProtocolError) -> None:
        """Drop a peer whose bytes make no sense; what follows them cannot be told apart any more."""
        endpoint = self._endpoint
        endpoint.counters.protocol_errors += 1
        host = self.address.rpartition(":")[0]
        endpoint.sparse_log.record(self._loop.time(), f"refuse {host}", "closing the connection with %s: %s", self.address, failure)
        error = ConnectionLostError(
            f"the connection to {self.address} was closed because of what it sent: {failure.message}",
            address=self.address,
            hint=failure.hint,
            cause=failure,
        )
        self.abort(error)

    def _finish(self, error: ConnectionLostError) -> None:
        """The one place where a channel becomes closed."""
        if self.closed:
            return
        held = self._held
        self._stop_writing(error)
        self._timer.stop()
        entries = dict(self._pending)
        self._pending.clear()  # the same dict: a loop over received responses may be under way
        self._backlog = []
        self._endpoint.unfinished.forget(self)
        self._receiver = FrameReceiver(self._receiver.max_frame)  # what the old one holds must not wait for the garbage collector
        self._in_flight.used -= len(entries)
        if self._transport is not None:
            self._endpoint.counters.lost += 1
            self._endpoint.closing.add(self)
            self._endpoint.on_lost(self)
        for opaque, (waiter, _, flushes, _) in entries.items():
            _tell(self.address, waiter, self._lost_error(maybe_sent=flushes < self._flushes and opaque not in held))

    def _refusal(self) -> RemotingError:
        return self._lost_error(maybe_sent=False) if self.closed else _too_many(self._in_flight.limit, self.address)

    # ----------------------------------------------------------------------------------------------------------- watching

    def _check(self, now: float) -> float:
        """Called by the timer: do what is due, and say when to look again."""
        if self.closed:
            return NEVER
        if self._partial.overdue(now):
            limit = self._endpoint.settings.partial_frame_timeout
            self._refuse_peer(ProtocolError(f"a frame was still incomplete after {limit:g} s"))
            return NEVER
        self._expire(now)
        if self._pending:
            next_look = min(entry[1] for entry in self._pending.values())
            if self._retired:
                next_look = min(next_look, now + _RETIRE_INTERVAL)
        elif self._retired:
            self.close("closed: the peer asked to use a new one")
            return NEVER
        else:
            next_look = self._check_idle(now)
        return min(next_look, self._partial.due)

    def _stalled(self, now: float, late: float) -> None:
        text = "the event loop stood still for about %.1f s; deadlines are checked again after a look at the sockets"
        self._endpoint.sparse_log.record(now, "stall", text, late)

    def _expire(self, now: float) -> None:
        """Fail the requests whose deadline has passed, and close the channel if it was silent all the while."""
        self._flush()  # a timer may come before the end of the tick; what is then said to be unsent must not leave after all
        expired = [item for item in self._pending.items() if item[1][1] <= now + _EARLY]
        silent = False
        for opaque, (waiter, _, flushes, reads) in expired:
            if self._pending.pop(opaque, None) is None:
                continue  # a waiter told before this one gave it up
            self._in_flight.used -= 1
            self._endpoint.counters.timeouts += 1
            maybe_sent = self._held.pop(opaque, None) is None and flushes < self._flushes
            if maybe_sent and reads == self._reads:
                # Only requests that are due count: what a peer may hold for long, such as a pull, says nothing about it.
                self._due_since = min(self._due_since, self._written_at(flushes))
                silent = now - self._due_since >= _MIN_SILENCE
            text = f"no answer from {self.address} in time" if maybe_sent else f"the request could not be sent to {self.address} in time"
            _tell(self.address, waiter, RequestTimeoutError(text, address=self.address, maybe_sent=maybe_sent))
        if silent and self._endpoint.settings.close_if_silent and not self.closed:
            length = now - self._due_since
            text = "closing the connection to %s: silent for %.1f s while a request timed out"
            self._endpoint.sparse_log.record(now, f"silent {self.address}", text, self.address, length)
            text = f"the connection to {self.address} was closed: silent for {length:.1f} s while a request timed out"
            self.abort(ConnectionLostError(text, address=self.address))

    def _check_idle(self, now: float) -> float:
        idle_timeout = self._endpoint.settings.idle_timeout
        due = max(self._last_read, self._last_write) + idle_timeout
        if due <= now + _EARLY and not self.closed:
            logger.debug("closing the connection with %s: idle for %g s", self.address, idle_timeout)
            self.close(f"closed: idle for {idle_timeout:g} s")
        return due


def _tell(address: str, waiter: ResponseWaiter, error: RemotingError) -> None:
    try:
        waiter.on_error(error)
    except Exception:
        logger.exception("a failure of %s could not be handled", address)


def _too_many(limit: int, address: str) -> TooManyRequestsError:
    return TooManyRequestsError(
        f"{limit} requests are in flight, as many as client_async_semaphore_value allows",
        address=address,
        maybe_sent=False,
        hint="wait for answers before sending more, or raise the limit",
    )


def _loss(address: str, exc: Exception | None, *, mute: bool, secured: bool) -> ConnectionLostError:
    """The end of a connection that this side did not want; `mute` when something was sent and nothing ever received."""
    hint = None
    if mute and secured:  # with TLS 1.3 a client has finished the handshake when the server looks at its certificate
        hint = "nothing was ever received from it: it may want a client certificate, or another one: see TLS(cert_file=, key_file=)"
    elif mute and not isinstance(exc, ssl.SSLError):
        hint = "nothing was ever received from it: if this goes on, the port may expect TLS, or not be that of a RocketMQ server"
    how = f"was lost: {exc}" if exc else "was closed by the peer"
    return ConnectionLostError(f"the connection to {address} {how}", address=address, hint=hint, cause=exc)


async def close_all(channels: Iterable[Channel], reason: str) -> None:
    """Close channels and wait until their sockets are gone; no peer can delay this for longer than a second."""
    closing = list(channels)
    for channel in closing:
        channel.close(reason)
    for channel in closing:
        await channel.wait_closed()


def wrong_protocol_of(error: RemotingError) -> WrongProtocolError | None:
    """The discovery that the peer speaks something else, when that is why a channel was lost; a fresh error that names the address."""
    cause = error.cause
    if not isinstance(cause, WrongProtocolError):
        return None
    return WrongProtocolError(f"{error.address}: {cause.message}", hint=cause.hint)


def _peer_of(transport: asyncio.BaseTransport) -> Peer | None:
    # Looked up once, on the loop: other threads read it, and a transport that is just being closed may refuse to tell.
    name = transport.get_extra_info("peername") if transport.get_extra_info("socket") is not None else None
    if not isinstance(name, tuple) or len(name) < 2:
        return None
    secured = transport.get_extra_info("ssl_object")
    if secured is None:
        return Peer((name[0], name[1]), None, None)
    return Peer((name[0], name[1]), secured.context, secured.server_hostname)


def _format_address(name: object) -> str:
    """`host:port` of a socket name; IPv6 in brackets, "" when the transport has none."""
    if not isinstance(name, tuple) or len(name) < 2:
        return ""
    return format_address(str(name[0]), int(name[1]))
