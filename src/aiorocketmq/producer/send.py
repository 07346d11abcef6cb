"""One send from its first byte to its result (Java: `DefaultMQProducerImpl.sendDefaultImpl`, `MQClientAPIImpl.onExceptionImpl`).

A `SendOperation` is a slotted state machine driven by callbacks: it is the channel's `ResponseWaiter` itself, so that a send in the good
case costs one object and one future, no task and no timer. Everything that happens when something is missing or goes wrong is kept in a
`Trouble` that only unlucky operations own. Features A22, A24, B1, B2, B8-B11; reliability P1, P2, P5.

The life of an operation:

    dispatch ──> on the wire ──> answer ───────────────> result
       │  ▲          │              │ refused, retriable
       │  │          ▼              ▼
       │  └──── try failed ──> (back-off) ──> no try or time left ──> SendError / SendTimeoutError
       ▼
    parked until the route or the connection is there
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aiorocketmq.core.route_table import TopicPublishInfo
from aiorocketmq.errors import (
    BrokerError,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    RemotingError,
    RequestTimeoutError,
    RocketMQError,
    RouteError,
    SendError,
    TooManyRequestsError,
    broker_error,
    fresh,
    send_error_kind,
)
from aiorocketmq.model.enums import SendStatus
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer.attempts import REFUSALS, STATUS_BY_CODE, SendPolicy, Trouble, back_off
from aiorocketmq.producer.reply import Reply
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.templates import SendTemplate
from aiorocketmq.remoting.channel import Channel, wrong_protocol_of

_SEND_OK: Final = SendStatus.SEND_OK  # looked up once: that takes 0.1 microseconds in Python 3.11
_BROKER_UNREACHABLE_HINT: Final = (
    "the address was told by the name server: check that the broker runs and that this host can reach it; brokerIP1 in the broker's "
    "configuration changes the address it tells"
)


@dataclass(slots=True)
class Lane:
    """The short way to a broker: all that a send of the usual kind needs. Good until its channel closes or the route changes."""

    address: str
    channel: Channel
    template: SendTemplate


class TopicTarget:
    """What the producer knows of one topic. Mutable.

    Attributes:
        topic: Its name, checked.
        publish: The queues to write to, or None while not known.
        brokers: Names of the brokers of these queues, each once.
        lanes: Short ways by broker name.
        templates, oneway_templates: Prepared frames by broker name.
        waiting: Operations parked until the route is known, in their order.
        pausing: Operations that pause before their next try.
        task: Looks for the route, or None.
        known: A route was known once.
    """

    __slots__ = ("brokers", "known", "lanes", "oneway_templates", "pausing", "publish", "task", "templates", "topic", "waiting")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.publish: TopicPublishInfo | None = None
        self.brokers: tuple[str, ...] = ()
        self.lanes: dict[str, Lane] = {}
        self.templates: dict[str, SendTemplate] = {}
        self.oneway_templates: dict[str, SendTemplate] = {}
        self.waiting: dict[SendOperation, None] = {}
        self.pausing: dict[SendOperation, None] = {}
        self.task: asyncio.Task[None] | None = None
        self.known = False

    def put(self, publish: TopicPublishInfo | None) -> None:
        """Take over a route; one without a writable queue counts as none."""
        if publish is not None and not publish.queues:
            publish = None
        self.publish = publish
        self.lanes.clear()
        self.brokers = tuple(dict.fromkeys([queue.broker_name for queue in publish.queues])) if publish is not None else ()
        self.known = self.known or publish is not None


class Dispatcher(Protocol):
    """What an operation needs of its producer; see `aiorocketmq.producer.dispatcher`."""

    loop: asyncio.AbstractEventLoop
    closed: bool

    def dispatch(self, operation: SendOperation) -> None: ...
    def frame(self, operation: SendOperation) -> bytes: ...
    def answered(self, operation: SendOperation, response: RemotingCommand) -> None: ...
    def release(self, size: int, /) -> None: ...
    def go_away(self, operation: SendOperation) -> None: ...


class SendOperation:
    """One message, or one batch, on its way. Hot: mutable slots, made once per send.

    Attributes:
        dispatcher: The producer's dispatcher.
        target: What the producer knows of the message's topic.
        policy: The kind of send.
        reply: Takes the result of the whole send; None for a one-way message that was handed over.
        message_id: Unique id, for a batch the ids joined by commas.
        body: Body as it goes over the wire.
        properties: Property text of the wire.
        sys_flag, flag, born_timestamp: Fields of the header.
        batch: The body holds several messages.
        size: Bytes counted in the window.
        started, deadline: Times of the loop's clock.
        select: Chooses the queue once, when the route is known; None afterwards.
        pinned: The queue is fixed, whatever happens.
        plain: A single message of the usual kind, to any queue, without trouble so far: it may take a `Lane`.
        queue, address, channel, opaque: The try that is on the wire, or was last.
        sent_at: When that try began.
        place: Where the operation is parked, or None.
        timer: Timer of a parked or backing-off operation.
        ready: False while the body is being compressed.
        tries: How often the message was put on the wire.
        trouble: None as long as everything went well.
        request: The request as a command, only when hooks look at it.
        closed: The operation has ended, and its room in the window is given back.
    """

    __slots__ = (
        "address", "batch", "body", "born_timestamp", "channel", "closed", "deadline", "dispatcher", "flag", "message_id", "opaque",
        "pinned", "place", "plain", "policy", "properties", "queue", "ready", "reply", "request", "select", "sent_at", "size", "started",
        "sys_flag", "target", "timer", "tries", "trouble",
    )  # fmt: skip

    def __init__(
        self,
        dispatcher: Dispatcher,
        target: TopicTarget,
        policy: SendPolicy,
        reply: Reply,
        message_id: str,
        body: bytes,
        properties: str,
        sys_flag: int,
        flag: int,
        born_timestamp: int,
        started: float,
        deadline: float,
        size: int,
    ) -> None:
        self.dispatcher = dispatcher
        self.target = target
        self.policy = policy
        self.reply = reply
        self.message_id = message_id
        self.body = body
        self.properties = properties
        self.sys_flag = sys_flag
        self.flag = flag
        self.born_timestamp = born_timestamp
        self.batch = False
        self.size = size
        self.started = started
        self.deadline = deadline
        self.select: Callable[[Sequence[MessageQueue]], MessageQueue] | None = None
        self.pinned = False
        self.plain = policy.plain
        self.queue: MessageQueue | None = None
        self.address = ""
        self.channel: Channel | None = None
        self.opaque = 0
        self.sent_at = 0.0
        self.place: dict[SendOperation, None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.ready = True
        self.tries = 0
        self.trouble: Trouble | None = None
        self.request: RemotingCommand | None = None
        self.closed = False

    # -- on the wire -------------------------------------------------------------------------------------------------------------------

    def transmit(self, channel: Channel, opaque: int) -> None:
        """Put the message on a connected channel; `queue` and `address` are set."""
        self.tries += 1
        self.opaque = opaque
        policy = self.policy
        dispatcher = self.dispatcher
        try:
            frame = dispatcher.frame(self)
        except Exception as error:  # noqa: BLE001 - hooks are the user's code: their error goes to the caller of the send
            self.fail_as_is(error)
            return
        deadline = self.deadline
        if self.trouble is None and policy.per_try is None:
            self.sent_at = self.started
        else:
            self.sent_at = dispatcher.loop.time()
            if policy.per_try is not None:
                deadline = min(deadline, self.sent_at + policy.per_try)
        if policy.oneway:
            channel.send(frame)
            self._finish(None)
        else:
            self.channel = channel
            channel.submit(opaque, frame, self, deadline)

    def transmit_plain(self, lane: Lane, queue: MessageQueue, opaque: int) -> None:
        """The same for the usual kind of send. Hot: one message is one call of this."""
        try:
            frame = self.plain_frame(lane, queue, opaque)
        except ProtocolError as error:
            self.fail_as_is(error)
            return
        lane.channel.submit(opaque, frame, self, self.deadline)

    def plain_frame(self, lane: Lane, queue: MessageQueue, opaque: int) -> bytes:
        """Begin the first try of the usual kind of send: the request as bytes, for the caller to put on the wire.

        Raises:
            ProtocolError: The properties are too long for a frame.
        """
        self.queue = queue
        self.address = lane.address
        self.channel = lane.channel
        self.opaque = opaque
        self.tries = 1
        self.sent_at = self.started
        return lane.template.frame(opaque, queue.queue_id, self.sys_flag, self.born_timestamp, self.flag, self.properties, self.body, False)

    def on_response(self, response: RemotingCommand) -> None:
        """The broker's answer (called once by the channel)."""
        if self.request is not None:
            self.dispatcher.answered(self, response)
        status = STATUS_BY_CODE.get(response.code)
        if status is None:
            self._refused(response)
            return
        try:
            result = self.result_of(response, status)
        except (KeyError, ValueError) as error:
            self._try_failed(ProtocolError(f"the answer {response.ext_fields!r} to a send has no usable field {error}"), doubt=True)
            return
        if status is _SEND_OK or not self.policy.resend_not_ok:
            self._finish(result)
        else:
            self._stored_but(result)

    def result_of(self, response: RemotingCommand, status: SendStatus) -> SendResult:
        """Read the answer to a message that was stored.

        Raises:
            KeyError, ValueError: It lacks a field, or has one that is no number.
        """
        fields = response.ext_fields
        queue = self.queue
        assert queue is not None  # set before every try
        queue_id = int(fields["queueId"])
        if queue_id != queue.queue_id:
            queue = MessageQueue(self.target.topic, queue.broker_name, queue_id)
        return SendResult(
            status,
            fields.get("batchUniqId") or self.message_id,
            fields["msgId"],
            queue,
            int(fields["queueOffset"]),
            fields.get("transactionId"),
            fields.get("recallHandle"),
            fields.get("MSG_REGION"),
            fields.get("TRACE_ON") != "false",
        )

    def on_error(self, error: RemotingError) -> None:
        """The channel was lost, or the try took too long (called once by the channel)."""
        if isinstance(error, ConnectionLostError) and not error.maybe_sent:
            self.tries -= 1  # nothing has left: like waiting for the connection, that is no try
        self._try_failed(wrong_protocol_of(error) or error, doubt=error.maybe_sent)

    # -- after a failed try ------------------------------------------------------------------------------------------------------------

    def troubled(self) -> Trouble:
        """The trouble of this operation, made on first use."""
        trouble = self.trouble
        if trouble is None:
            trouble = self.trouble = Trouble()
            self.plain = False
        return trouble

    def _stored_but(self, result: SendResult) -> None:
        # The message is stored; another broker shall store it better. If none can, this result stands.
        trouble = self.troubled()
        trouble.stored = result
        trouble.doubt = True
        self._try_failed(BrokerError(f"status {result.status.name}", code=result.status.value, broker=result.queue.broker_name), doubt=True)

    def _refused(self, response: RemotingCommand) -> None:
        assert self.queue is not None
        if response.code == ResponseCode.GO_AWAY and not self.troubled().went_away:
            # The broker shuts down and has not looked at the message: once, this is no try at all (Java: `NettyRemotingClient`).
            self.troubled().went_away = True
            self.tries -= 1
            self.dispatcher.go_away(self)
            return
        error = broker_error(response.code, response.remark, broker=self.queue.broker_name, topic=self.target.topic)
        self._try_failed(error, doubt=response.code not in REFUSALS)

    def _try_failed(self, error: RocketMQError, *, doubt: bool) -> None:
        trouble = self.troubled()
        now = self.dispatcher.loop.time()
        broker = self.queue.broker_name if self.queue is not None else ""
        # The loop may have read its clock before a blocking caller read its own.
        trouble.note(broker, self.address, error, max(0.0, now - self.sent_at))
        trouble.tried.add(broker)
        if doubt:
            trouble.doubt = True
        if self.reply.done():
            self.close()
        elif now >= self.deadline or (isinstance(error, RequestTimeoutError) and self.policy.per_try is None):
            self.time_out(f"waiting for the answer of {broker}")
        elif self.tries >= self.policy.tries or not self._may_try_again(error):
            self.fail(error)
        else:
            self._try_again(trouble, error, now)

    def _may_try_again(self, error: RocketMQError) -> bool:
        if self.dispatcher.closed or isinstance(error, TooManyRequestsError):
            return False
        if isinstance(error, BrokerError):
            return error.code in self.policy.codes or error.code in STATUS_BY_CODE
        return error.retriable

    def _try_again(self, trouble: Trouble, error: RocketMQError, now: float) -> None:
        # The first lost connection may just have been an old one.
        if self.has_untried or (not isinstance(error, BrokerError) and not trouble.failures):
            trouble.failures += 1
            self.dispatcher.dispatch(self)
            return
        trouble.failures += 1
        delay = back_off(trouble.failures + 1)
        if now + delay >= self.deadline:
            self.fail(error)
            return
        self.pause(now + delay, "waiting before the next try")

    @property
    def movable(self) -> bool:
        """True when the message may go to another broker, and the topic has one."""
        return not self.pinned and len(self.target.brokers) > 1

    @property
    def has_untried(self) -> bool:
        """True when the message may go to a broker that has not failed it yet."""
        tried = self.troubled().tried
        return not self.pinned and any(name not in tried for name in self.target.brokers)

    def resume(self) -> None:
        """Go on after a pause."""
        self.unpark()
        if self.reply.done():
            self.close()
        elif self.dispatcher.closed:
            self.fail(self.troubled().error)
        elif self.dispatcher.loop.time() >= self.deadline:
            self.time_out(self.troubled().phase)
        else:
            self.dispatcher.dispatch(self)

    # -- parked ------------------------------------------------------------------------------------------------------------------------

    def park(self, place: dict[SendOperation, None], phase: str, when: float | None = None, then: Callable[[], None] | None = None) -> None:
        """Wait in `place` until somebody takes the operation out, or until its deadline (or `when`: then `then` is called)."""
        place[self] = None
        self.place = place
        if when is None or when >= self.deadline or then is None:
            self.arm(self.deadline, self._expire, phase)
        else:
            self.arm(when, then, phase)

    def pause(self, when: float, phase: str) -> None:
        """Go on at `when`, which is at most the deadline."""
        self.park(self.target.pausing, phase, when, self.resume)

    def unpark(self) -> None:
        """Leave the place where the operation waits, and its timer."""
        if self.place is not None:
            self.place.pop(self, None)
            self.place = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def arm(self, when: float, callback: Callable[[], None], phase: str) -> None:
        """Set the operation's timer and remember what it waits for.

        Parked operations have timers of their own: they are at most as many as the window allows, and only in a fault.
        """
        self.troubled().phase = phase
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.dispatcher.loop.call_at(when, callback)

    def _expire(self) -> None:
        self.timer = None
        self.time_out(self.troubled().phase)

    # -- the end -----------------------------------------------------------------------------------------------------------------------

    def _finish(self, result: SendResult | None) -> None:
        self.closed = True
        self.dispatcher.release(self.size)
        reply = self.reply
        if not reply.done():
            reply.set_result(result)

    def close(self) -> None:
        """End without a result: the caller is gone."""
        self.closed = True
        self.unpark()
        self.dispatcher.release(self.size)

    def cancel(self) -> None:
        """The caller was cancelled: give everything back at once, also the place in the channel's table."""
        if self.closed:
            return
        if self.channel is not None:
            self.channel.forget(self.opaque)
        self.close()

    def fail_as_is(self, error: Exception) -> None:
        """End with an error of the user's own code (selector, hook), unless an earlier try left doubt that must be told."""
        if not self.troubled().doubt:
            self._end(error)
        elif isinstance(error, RocketMQError):
            self.fail(error)
        else:
            self.fail(RocketMQError(f"{type(error).__name__}: {error}"))

    def fail(self, error: RocketMQError | None) -> None:
        """End with an error; a `RouteError` before the first try goes to the caller as it is."""
        trouble = self.troubled()
        if trouble.stored is not None:
            self.unpark()
            self._finish(trouble.stored)
        elif isinstance(error, RouteError) and not self.tries:
            self._no_way(error)
        else:
            took = max(0.0, self.dispatcher.loop.time() - self.started)
            why = f": {error.message}" if error is not None else ""
            text = f"a message for topic {self.target.topic!r} could not be sent, {self.tries} tries in {took:.3f} s{why}"
            self._end(self._send_error(text, error, timed_out=False))

    def _no_way(self, error: RouteError) -> None:
        # A copy: all operations that waited for the route get this error, and one instance would collect the tracebacks of all.
        self._end(fresh(error))

    def time_out(self, phase: str) -> None:
        """End because the deadline has passed."""
        trouble = self.troubled()
        if trouble.stored is not None:
            self.unpark()
            self._finish(trouble.stored)
            return
        error = trouble.error
        if isinstance(error, RouteError) and not any(attempt.broker for attempt in trouble.attempts):
            self._no_way(error)
            return
        topic, timeout = self.target.topic, self.deadline - self.started
        text = f"a message for topic {topic!r} was not confirmed within {timeout:.3f} s, the time ran out {phase}"
        if trouble.attempts:
            text += "; " + "; ".join(map(str, trouble.attempts))
        self._end(self._send_error(text, error, timed_out=True))

    def _send_error(self, text: str, error: RocketMQError | None, *, timed_out: bool) -> SendError:
        trouble = self.troubled()
        kind = send_error_kind(error, maybe_stored=trouble.doubt, timed_out=timed_out)
        hint = _BROKER_UNREACHABLE_HINT if isinstance(error, ConnectError) else error.hint if error is not None else None
        return kind(
            text,
            topic=self.target.topic,
            attempts=tuple(map(str, trouble.attempts)),
            maybe_stored=trouble.doubt,
            code=error.code if isinstance(error, BrokerError) else None,
            broker=self.queue.broker_name if self.queue is not None else "",
            retriable=error is None or error.retriable or timed_out,
            hint=hint,
            cause=error,
        )

    def _end(self, error: BaseException) -> None:
        self.closed = True
        self.unpark()
        self.dispatcher.release(self.size)
        if not self.reply.done():
            self.reply.set_exception(error)
