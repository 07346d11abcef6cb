"""One send from its first byte to its result (Java: `DefaultMQProducerImpl.sendDefaultImpl`, `MQClientAPIImpl.onExceptionImpl`).

A `SendOperation` is a slotted state machine driven by callbacks: it is the channel's `ResponseWaiter` itself, so that a send in the good
case costs one object and one future, no task and no timer. Everything that happens when something is missing or goes wrong is kept in a
`Trouble` that only unlucky operations own. Features A22, A24, B1, B2, B8-B11; reliability P1, P2, P5.

The life of an operation, in the words of `SendState`:

    MADE ──(room in the window)──> MOVING ──> SENT ── stored ──────────────────────> ENDED
                                   │  ▲  ▲     │  refused, lost, no answer             ▲
              something is missing │  │  └─────┘  while tries and time are left         │
                                   ▼  │                                                │
                                  PARKED ── the time is up, stopped, given up ─────────┘

`end()` is the only way to ENDED, from every state and whatever was raised: it leaves the place where the operation waits, gives its room
in the window back, and tells the outcome to whoever is still there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from aiorocketmq.core.route_table import TopicPublishInfo
from aiorocketmq.errors import (
    AccessError,
    BrokerError,
    ConnectionLostError,
    ProtocolError,
    RemotingError,
    RequestTimeoutError,
    RocketMQError,
    TooManyRequestsError,
    broker_error,
)
from aiorocketmq.model.enums import SendStatus
from aiorocketmq.model.namespace import Namespace
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer.attempts import REFUSALS, STATUS_BY_CODE, SendPolicy, Trouble, back_off, names_no_queue
from aiorocketmq.producer.failures import RecentFailures, send_failed, send_timed_out
from aiorocketmq.producer.reply import Reply, given_up, tell_error
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.templates import SendTemplate
from aiorocketmq.remoting.channel import Channel, wrong_protocol_of
from aiorocketmq.wording import reason, shown


class SendState(Enum):
    """Where in its life a send is."""

    MADE = "made"
    """Nothing is held, nothing was done."""
    MOVING = "moving"
    """It has its room in the window, and somebody is just finding its way."""
    PARKED = "parked"
    """It waits in a place, with a timer: for a route, a connection, its next try."""
    SENT = "sent"
    """A request is on the wire: the channel will answer, or say why not."""
    ENDED = "ended"
    """The outcome is told, the room is given back, and nothing refers to it any more."""


# Looked up once: that takes 0.1 microseconds in Python 3.11.
_MADE: Final = SendState.MADE
_MOVING: Final = SendState.MOVING
_PARKED: Final = SendState.PARKED
_SENT: Final = SendState.SENT
_ENDED: Final = SendState.ENDED
_SEND_OK: Final = SendStatus.SEND_OK


@dataclass(slots=True)
class Lane:
    """The short way to a broker: all that a send of the usual kind needs. Good until its channel closes or the route changes."""

    address: str
    channel: Channel
    template: SendTemplate


_NO_NAMESPACE: Final = Namespace()


class TopicTarget:
    """What the producer knows of one topic. Mutable.

    Attributes:
        topic: Its name, checked.
        namespace: The namespace that it belongs to.
        publish: The queues to write to, or None while not known.
        brokers: Names of the brokers of these queues, each once.
        lanes: Short ways by broker name.
        templates, oneway_templates: Prepared frames by broker name.
        waiting: Operations parked until the route is known, in their order.
        misled: Operations parked until the route is fresh, because a broker refused a queue of the old one.
        pausing: Operations that pause before their next try, or wait for the version of a broker.
        task: Looks for the route, or None.
        renewal: Makes the route fresh, or None.
        served_by: Names of the brokers that served the topic when its route was known last.
    """

    __slots__ = (
        "brokers", "lanes", "misled", "namespace", "oneway_templates", "pausing", "publish", "renewal", "served_by", "task", "templates",
        "topic", "waiting",
    )  # fmt: skip

    def __init__(self, topic: str, namespace: Namespace = _NO_NAMESPACE) -> None:
        self.topic = topic
        self.namespace = namespace
        self.publish: TopicPublishInfo | None = None
        self.brokers: tuple[str, ...] = ()
        self.lanes: dict[str, Lane] = {}
        self.templates: dict[str, SendTemplate] = {}
        self.oneway_templates: dict[str, SendTemplate] = {}
        self.waiting: dict[SendOperation, None] = {}
        self.misled: dict[SendOperation, None] = {}
        self.pausing: dict[SendOperation, None] = {}
        self.task: asyncio.Task[None] | None = None
        self.renewal: asyncio.Task[None] | None = None
        self.served_by: tuple[str, ...] = ()

    def put(self, publish: TopicPublishInfo | None) -> None:
        """Take over a route; one without a writable queue counts as none."""
        if publish is not None and not publish.queues:
            publish = None
        self.publish = publish
        self.lanes.clear()
        self.brokers = tuple(dict.fromkeys([publish.broker_of(queue) for queue in publish.queues])) if publish is not None else ()
        self.served_by = self.brokers or self.served_by

    def broker_of(self, queue: MessageQueue) -> str:
        """Name of the broker that has a queue."""
        return self.publish.broker_of(queue) if self.publish is not None else queue.broker_name

    def refusal(self, response: RemotingCommand, broker: str) -> BrokerError:
        """The error of an answer that refuses a message, with the names that the user knows."""
        return broker_error(response.code, self.namespace.unwrap_text(response.remark), broker=broker, topic=self.topic)

    @property
    def known(self) -> bool:
        """A route was known once."""
        return bool(self.served_by)

    @property
    def places(self) -> tuple[dict[SendOperation, None], ...]:
        """Where operations for this topic may be parked, those for connections left out."""
        return self.waiting, self.misled, self.pausing


class Sender(Protocol):
    """What an operation needs of its producer; see `aiorocketmq.producer.dispatcher`."""

    loop: asyncio.AbstractEventLoop
    closed: bool
    failures: RecentFailures

    def dispatch(self, operation: SendOperation) -> None: ...
    def send_on(self, operation: SendOperation, channel: Channel) -> None: ...
    def frame(self, operation: SendOperation) -> bytes: ...
    def answered(self, operation: SendOperation, response: RemotingCommand) -> None: ...
    def watch(self, operation: SendOperation, error: RocketMQError | None) -> None: ...
    def release(self, size: int, count: int, /) -> None: ...
    def go_away(self, operation: SendOperation) -> None: ...
    def renew_route(self, operation: SendOperation) -> None: ...


class SendOperation:
    """One message, or one batch, on its way. Hot: mutable slots, made once per send.

    Attributes:
        state: Where in its life it is.
        dispatcher: The producer's dispatcher.
        target: What the producer knows of the message's topic.
        policy: The kind of send.
        reply: Takes the result of the whole send; None for a one-way message that was handed over.
        message_id: Unique id, for a batch the ids joined by commas.
        body: Body as it goes over the wire.
        properties: Property text of the wire.
        sys_flag, flag, born_timestamp: Fields of the header.
        batch: The body holds several messages.
        size, count: Bytes and messages counted in the window.
        started, deadline: Times of the loop's clock.
        select: Chooses the queue, when the route is known and once more when it had changed; None for any queue.
        pinned: The queue is fixed: by the caller, or because `select` has chosen it.
        plain: A single message of the usual kind, to any queue, without trouble so far: it may take a `Lane`.
        timed: The message has a delay by time or a priority, which not every broker knows.
        queue, address, channel, opaque: The try that is on the wire, or was last.
        sent_at: When that try began.
        place: Where the operation is parked, or None.
        timer: Timer of a parked operation.
        ready: False while the body is being compressed.
        tries: How often the message was put on the wire.
        trouble: None as long as everything went well.
        request: The request as a command, only when hooks look at it.
    """

    __slots__ = (
        "address", "batch", "body", "born_timestamp", "channel", "count", "deadline", "dispatcher", "flag", "message_id", "opaque",
        "pinned", "place", "plain", "policy", "properties", "queue", "ready", "reply", "request", "select", "sent_at", "size", "started",
        "state", "sys_flag", "target", "timed", "timer", "tries", "trouble",
    )  # fmt: skip

    def __init__(
        self,
        dispatcher: Sender,
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
        self.state = _MADE
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
        self.count = 1
        self.started = started
        self.deadline = deadline
        self.select: Callable[[Sequence[MessageQueue]], MessageQueue] | None = None
        self.pinned = False
        self.plain = policy.plain
        self.timed = False
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

    # -- on the wire -------------------------------------------------------------------------------------------------------------------

    def transmit(self, channel: Channel, opaque: int) -> None:
        """Put the message on a connected channel; `queue` and `address` are set."""
        self.opaque = opaque
        policy = self.policy
        frame = self.dispatcher.frame(self)
        self.tries += 1
        deadline = self.deadline
        if self.trouble is None and policy.per_try is None:
            self.sent_at = self.started
        else:
            self.sent_at = self.dispatcher.loop.time()
            if policy.per_try is not None:
                deadline = min(deadline, self.sent_at + policy.per_try)
        if policy.oneway:
            channel.send(frame)
            self.end()
        else:
            self.channel = channel
            self.state = _SENT
            channel.submit(opaque, frame, self, deadline)

    def transmit_plain(self, lane: Lane, queue: MessageQueue, opaque: int) -> None:
        """The same for the usual kind of send. Hot: one message is one call of this."""
        lane.channel.submit(opaque, self.plain_frame(lane, queue, opaque), self, self.deadline)

    def plain_frame(self, lane: Lane, queue: MessageQueue, opaque: int) -> bytes:
        """Begin the first try of the usual kind of send: the request as bytes, for the caller to put on the wire.

        Raises:
            ProtocolError: The properties are too long for a frame.
        """
        self.queue = queue
        self.address = lane.address
        self.channel = lane.channel
        self.opaque = opaque
        self.sent_at = self.started
        frame = lane.template.frame(
            opaque, queue.queue_id, self.sys_flag, self.born_timestamp, self.flag, self.properties, self.body, False
        )
        self.tries = 1
        self.state = _SENT
        return frame

    def on_response(self, response: RemotingCommand) -> None:
        """The broker's answer (called once by the channel)."""
        if self.state is not _SENT:
            return
        self.state = _MOVING
        try:
            if self.request is not None:
                self.dispatcher.answered(self, response)
            status = STATUS_BY_CODE.get(response.code)
            if status is None:
                self._refused(response)
                return
            try:
                result = self.result_of(response, status)
            except (KeyError, ValueError) as error:
                self._try_failed(_unusable(response, error), doubt=True)
                return
            if not self.plain and self.policy.watched:
                self.dispatcher.watch(self, None)
            if status is _SEND_OK or not self.policy.resend_not_ok:
                self.end(result)
            else:
                self._stored_but(result)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets it, and the room is given back
            self.troubled().doubt = True
            self.break_off(error)

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
        if self.state is not _SENT:
            return
        self.state = _MOVING
        try:
            if isinstance(error, ConnectionLostError) and not error.maybe_sent:
                self.tries -= 1  # nothing has left: like waiting for the connection, that is no try
            self._try_failed(wrong_protocol_of(error) or error, doubt=error.maybe_sent)
        except BaseException as broken:  # noqa: BLE001 - as in `on_response()`
            self.troubled().doubt = True
            self.break_off(broken)

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
        self._try_failed(BrokerError(f"status {result.status.name}", code=result.status.value, broker=self.broker_name), doubt=True)

    def _refused(self, response: RemotingCommand) -> None:
        assert self.queue is not None
        if response.code == ResponseCode.GO_AWAY and not self.troubled().went_away:
            # The broker shuts down and has not looked at the message: once, this is no try at all (Java: `NettyRemotingClient`).
            self.troubled().went_away = True
            self.tries -= 1
            self.dispatcher.go_away(self)
            return
        error = self.target.refusal(response, self.broker_name)
        if not names_no_queue(error):
            self._try_failed(error, doubt=response.code not in REFUSALS and not isinstance(error, AccessError))
        else:
            self.queue_gone(error)

    def queue_gone(self, error: BrokerError) -> None:
        """Go on after a try that was refused because the broker does not have its queue (any more)."""
        if self.pinned and self.select is None and error.code != ResponseCode.NOT_LEADER_FOR_QUEUE:
            error.hint = "the topic has fewer queues now: ask fetch_publish_message_queues() again"
            self._try_failed(error, doubt=False)
        else:
            self._misled(error)

    def _misled(self, error: BrokerError) -> None:
        # The topic has fewer queues than its route says, or they moved. Nothing was stored, so this is no try either; a fresh route helps.
        trouble = self.troubled()
        self.tries -= 1
        trouble.note(error.broker, self.address, error, max(0.0, self.dispatcher.loop.time() - self.sent_at))
        trouble.misled += 1
        self.pinned = self.pinned and error.code == ResponseCode.NOT_LEADER_FOR_QUEUE  # else `select` chooses again
        if self.reply.done():
            self.end()
        elif self.dispatcher.closed:
            self.fail(error)
        else:
            self.dispatcher.renew_route(self)

    def _try_failed(self, error: RocketMQError, *, doubt: bool) -> None:
        trouble = self.troubled()
        now = self.dispatcher.loop.time()
        broker = self.broker_name
        # The loop may have read its clock before a blocking caller read its own.
        trouble.note(broker, self.address, error, max(0.0, now - self.sent_at))
        trouble.tried.add(broker)
        self.dispatcher.watch(self, error)
        if doubt:
            trouble.doubt = True
        if self.reply.done():
            self.end()
        elif now >= self.deadline or (isinstance(error, RequestTimeoutError) and self.policy.per_try is None):
            self.time_out(f"waiting for the answer of {broker}")
        elif self.tries >= self.policy.tries or not self._may_try_again(error):
            self.fail(error)
        else:
            self._try_again(trouble, error, now)

    def _may_try_again(self, error: RocketMQError) -> bool:
        if self.dispatcher.closed or isinstance(error, TooManyRequestsError | AccessError):  # all brokers ask for the same credentials
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
    def broker_name(self) -> str:
        """Broker of the try that is on the wire, or was last; "" before the first."""
        return self.target.broker_of(self.queue) if self.queue is not None else ""

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
        """Go on after a pause, or after what was waited for has come."""
        self.unpark()
        if self.reply.done():
            self.end()
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
        self.state = _PARKED
        self.troubled().phase = phase
        # Parked operations have timers of their own: they are at most as many as the window allows, and only in a fault.
        if when is None or when >= self.deadline or then is None:
            self.timer = self.dispatcher.loop.call_at(self.deadline, self.time_out, phase)
        else:
            self.timer = self.dispatcher.loop.call_at(when, then)

    def pause(self, when: float, phase: str) -> None:
        """Go on at `when`, which is at most the deadline."""
        self.park(self.target.pausing, phase, when, self.resume)

    def unpark(self) -> None:
        """Leave the place where the operation waits, and its timer."""
        if self.place is not None:
            self.place.pop(self, None)
            self.place = None
            self.state = _MOVING
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    # -- the end -----------------------------------------------------------------------------------------------------------------------

    def end(self, result: SendResult | None = None, error: BaseException | None = None) -> None:
        """The one way out, once: leave where it waits, give the room back, and tell the outcome to whoever still waits for it."""
        state = self.state
        if state is _ENDED:
            return
        if state is _PARKED:
            self.unpark()
        elif state is _SENT and self.channel is not None:
            self.channel.forget(self.opaque)
        self.state = _ENDED
        if state is not _MADE:
            self.dispatcher.release(self.size, self.count)
        reply = self.reply
        if not reply.done():
            if error is None:
                reply.set_result(result)
            else:
                tell_error(reply, error)

    def cancel(self) -> None:
        """The caller is gone: give everything back at once."""
        self.reply = given_up(self.reply)
        self.end()

    def break_off(self, error: BaseException) -> None:
        """End with what was raised on the way: by a selector or hook of the user's, or by a fault of ours.

        An earlier try may have stored the message, or left doubt that must be told.
        """
        trouble = self.troubled()
        if self.state is _SENT:
            trouble.doubt = True
        if trouble.stored is not None:
            self.end(trouble.stored)
        elif not trouble.doubt:
            self.end(error=error)
        else:
            self.fail(error if isinstance(error, RocketMQError) else RocketMQError(reason(error)))

    def fail(self, error: RocketMQError | None) -> None:
        """End because no try is left, or none makes sense."""
        trouble = self.troubled()
        if trouble.stored is not None:
            self.end(trouble.stored)
            return
        took = max(0.0, self.dispatcher.loop.time() - self.started)
        self.end(error=self.dispatcher.failures.note(send_failed(self.target.topic, self.broker_name, self.tries, took, trouble, error)))

    def time_out(self, phase: str) -> None:
        """End because the deadline has passed."""
        trouble = self.troubled()
        if trouble.stored is not None:
            self.end(trouble.stored)
            return
        timeout, unsent = self.deadline - self.started, not self.tries
        topic, broker, doubt = self.target.topic, self.broker_name, trouble.doubt
        self.end(error=self.dispatcher.failures.note(send_timed_out(topic, broker, timeout, phase, trouble, unsent=unsent, doubt=doubt)))

    def cut_off(self, error: RocketMQError) -> None:
        """End because the producer stops and will not wait for the answer."""
        if self.state is _SENT:
            trouble = self.troubled()
            trouble.doubt = True
            trouble.note(self.broker_name, self.address, error, max(0.0, self.dispatcher.loop.time() - self.sent_at))
        else:
            error = self.troubled().error or error
        self.fail(error)


def _unusable(response: RemotingCommand, error: Exception) -> ProtocolError:
    return ProtocolError(f"the answer {shown(response.ext_fields)} to a send has no usable field {error}")
