"""Gathers single sends into batches (Java: `ProduceAccumulator`, `DefaultMQProducer.canBatch`). Feature B18.

Messages of one key (topic, fixed queue, `wait_store_ok`, tag, kind of send) leave together as one request when the next one would not fit
any more, when the first one has waited long enough, when nobody can add to them, or when the producer stops. A key has one timer, and a
batch is one `SendOperation`: per message there is one `Gathered` and the caller's `Reply`, nothing else.

    take ──> (room in the window) ──> add ──> batch of the key ──> leave ──> one SendOperation ──> a result for every message
      │                                │                             └─ only one message in it ─┐
      └─ None: never in a batch        └─ too large, or too much is held ─> the batch leaves, ──┴─> goes alone

Hot: `take()`, `add()` and the splitting of results run once per message. What can be done for a whole batch is done when it leaves: the
ids of its messages are made there, and the properties that all of them have are encoded once.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from operator import attrgetter
from typing import Final, TypeAlias, TypeVar

from aiorocketmq.errors import RocketMQError, RouteError, SendTimeoutError, WindowFullError
from aiorocketmq.model import properties as props
from aiorocketmq.model.message import Message
from aiorocketmq.model.names import is_dlq_topic, is_retry_topic
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer.attempts import SendPolicy
from aiorocketmq.producer.batch import encode_text
from aiorocketmq.producer.dispatcher import SendDispatcher
from aiorocketmq.producer.prepare import COMPRESS_IN_THREAD
from aiorocketmq.producer.reply import Reply
from aiorocketmq.producer.selectors import QueueSelector, SelectByHash, checked
from aiorocketmq.producer.send import SendOperation, TopicTarget
from aiorocketmq.producer.settings import duration
from aiorocketmq.protocol.compression import ZLIB_FLAGS, compress
from aiorocketmq.protocol.message_codec import encode_batch
from aiorocketmq.protocol.message_id import UniqueIdGenerator

RECORD_OVERHEAD: Final = 22
"""Bytes of a message in a batch besides its body and its properties."""
TOLERANCE: Final = 0.001
"""Deadlines of one batch that differ by less than this count as the same, so that a full batch needs no timer of its own."""
FLAG_MIN: Final = -0x80000000
FLAG_MAX: Final = 0x7FFFFFFF
PLAIN_TAG: Final = 255
"""Characters of a tag up to which it needs no look at its encoded form, when they are ASCII."""

_ID_FIELD: Final = f"{props.UNIQ_KEY}\x01"

ErrorT = TypeVar("ErrorT", bound=BaseException)

Key: TypeAlias = tuple[str, MessageQueue | None, bool, str | None, int]
"""Topic, fixed queue, `wait_store_ok`, tag, and the identity of the policy: what the messages of a batch have in common."""


class _Nobody:
    """The reply of a message whose caller has gone."""

    def done(self) -> bool:
        return True

    def set_result(self, result: SendResult | None, /) -> None:
        raise AssertionError("there is nobody to tell a result to")

    def set_exception(self, error: BaseException, /) -> None:
        raise AssertionError("there is nobody to tell an error to")


_NOBODY: Final = _Nobody()


class Gathered:
    """One message on its way into a batch. Hot: slots, made once per message.

    Attributes:
        reply: Takes the outcome of this message.
        target: What the producer knows of its topic.
        policy: The kind of send.
        key: What it has in common with the other messages of its batch.
        body: Its body, not compressed.
        rest: Property text of the wire, in UTF-8, from the end of its id on; None when it has only those properties that its key tells.
        flag: The sender's number.
        started, deadline: Times of the loop's clock: its own send call, and the end of its own time.
        size: Bytes counted in the window.
        record: Bytes in a batch.
        alone: Its own send, when it went alone.
    """

    __slots__ = ("alone", "body", "deadline", "flag", "key", "policy", "record", "reply", "rest", "size", "started", "target")

    def __init__(
        self,
        reply: Reply,
        target: TopicTarget,
        policy: SendPolicy,
        key: Key,
        body: bytes,
        rest: bytes | None,
        flag: int,
        started: float,
        deadline: float,
        size: int,
        record: int,
    ) -> None:
        self.reply = reply
        self.target = target
        self.policy = policy
        self.key = key
        self.body = body
        self.rest = rest
        self.flag = flag
        self.started = started
        self.deadline = deadline
        self.size = size
        self.record = record
        self.alone: SendOperation | None = None

    def cancel(self) -> None:
        """The caller is gone: the message does not leave with its batch, unless that has left already."""
        self.reply = _NOBODY
        if self.alone is not None:
            self.alone.cancel()


class Batch:
    """The messages of one key, from the first that comes to the answer for all; towards its `SendOperation` it is the `Reply`.

    The operation owns the room of the first message in the window, the batch gives back that of the others.

    Attributes:
        key: What the messages have in common.
        messages: They, in the order in which they came; once the batch has left, those in it.
        ids: Their ids, once the batch has left.
        size: Bytes of the encoded batch.
        due: When it leaves at the latest, by the loop's clock.
        timer: Until it leaves, the timer for that; then one for messages whose time ends before that of the operation, or None.
        operation: The send of the batch, once it has left.
    """

    __slots__ = ("_accumulator", "_open", "due", "ids", "key", "messages", "operation", "size", "timer")

    def __init__(self, accumulator: Accumulator, key: Key, due: float, timer: asyncio.TimerHandle) -> None:
        self._accumulator = accumulator
        self._open = True
        self.key = key
        self.messages: list[Gathered] = []
        self.ids: list[str] = []
        self.size = 0
        self.due = due
        self.timer: asyncio.TimerHandle | None = timer
        self.operation: SendOperation | None = None

    # -- the outcome -------------------------------------------------------------------------------------------------------------------

    def done(self) -> bool:
        """True when nobody waits for any of the messages any more."""
        for message in self.messages:
            if not message.reply.done():
                return False
        self._close()  # the operation ends without another word
        return True

    def set_result(self, result: SendResult | None, /) -> None:
        """Give every message its part of the result (Java: `splitSendResults`)."""
        assert result is not None  # batches are never one-way
        self._close()
        messages = self.messages
        offset_ids = result.offset_message_id.split(",")
        if len(offset_ids) != len(messages):
            offset_ids = [result.offset_message_id] * len(messages)
        status, queue, offset = result.status, result.queue, result.queue_offset
        transaction_id, region_id, trace_on = result.transaction_id, result.region_id, result.trace_on
        for message, message_id, offset_id in zip(messages, self.ids, offset_ids, strict=True):
            reply = message.reply
            if not reply.done():
                reply.set_result(SendResult(status, message_id, offset_id, queue, offset, transaction_id, None, region_id, trace_on))
            offset += 1

    def set_exception(self, error: BaseException, /) -> None:
        """Give every message an error of its own: one instance would collect the tracebacks of all who raise it."""
        self._close()
        for message in self.messages:
            if not message.reply.done():
                message.reply.set_exception(_own(error))

    def _close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._stop_timer()
        accumulator = self._accumulator
        accumulator.held -= self.size
        release = accumulator.window.release
        for message in self.messages[1:]:
            release(message.size)

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    # -- deadlines that differ ---------------------------------------------------------------------------------------------------------

    def watch(self, operation: SendOperation) -> None:
        """Remember the operation, and end each message at its own deadline where that comes before the operation's."""
        self.operation = operation
        if self._open:
            self._arm(min([message.deadline for message in self.messages]))

    def _arm(self, soonest: float) -> None:
        assert self.operation is not None  # the batch has left
        if soonest < self.operation.deadline - TOLERANCE:
            self.timer = self._accumulator.loop.call_at(soonest, self._expire)

    def _expire(self) -> None:
        self.timer = None
        operation = self.operation
        assert operation is not None  # the batch has left
        stored = operation.trouble.stored if operation.trouble is not None else None
        if stored is not None:
            self.set_result(stored)
            return
        now = self._accumulator.loop.time() + TOLERANCE
        waiting = [message for message in self.messages if not message.reply.done()]
        later = [message.deadline for message in waiting if message.deadline > now]
        if later:
            self._arm(min(later))
        for message in waiting:
            if message.deadline <= now:
                message.reply.set_exception(_overdue(message, operation))


def _own(error: ErrorT) -> ErrorT:
    """A copy of one of the client's own errors; those of the user's code (hooks) may not be copyable."""
    if not isinstance(error, RocketMQError):
        return error
    kind = type(error)
    made = kind.__new__(kind, *error.args)  # not by its constructor: that wants the fields one by one
    made.__dict__.update(error.__dict__)
    made.__cause__ = error.__cause__
    return made


def _overdue(message: Gathered, operation: SendOperation) -> RocketMQError:
    """The error of a message whose time ends before that of its batch; `SendOperation.time_out()` says the same for the whole batch."""
    trouble = operation.trouble
    error = trouble.error if trouble is not None else None
    attempts = tuple(map(str, trouble.attempts)) if trouble is not None else ()
    if isinstance(error, RouteError) and not operation.tries:
        return _own(error)
    broker = operation.queue.broker_name if operation.queue is not None else ""
    parked = operation.place is not None
    phase = trouble.phase if trouble is not None and parked else f"waiting for the answer of {broker}"
    timed_out = SendTimeoutError(
        f"a message for topic {operation.target.topic!r} was not confirmed within {message.deadline - message.started:.3f} s, "
        f"the time ran out {phase}" + "".join(f"; {attempt}" for attempt in attempts),
        topic=operation.target.topic,
        attempts=attempts,
        maybe_stored=(trouble is not None and trouble.doubt) or (operation.tries > 0 and not parked),
        broker=broker,
        hint=error.hint if error is not None else None,
    )
    timed_out.__cause__ = error
    return timed_out


class Accumulator:
    """Gathers the messages of one running producer. Belongs to its event loop.

    Args:
        dispatcher: Where the batches go; its settings say how much is gathered, and for how long.
        ids: Makes the message ids.

    Attributes:
        loop: The producer's event loop.
        window: Room for unanswered sends; every message takes its own.
        held: Bytes of the batches that are gathered or unanswered.
    """

    __slots__ = (
        "_any_id", "_batches", "_closed", "_compress_from", "_delay", "_dispatcher", "_ids", "_largest", "_limit", "_now", "_overhead",
        "_targets", "_timeout", "_total", "_waiting", "held", "loop", "window",
    )  # fmt: skip

    def __init__(self, dispatcher: SendDispatcher, ids: UniqueIdGenerator) -> None:
        settings = dispatcher.settings
        self.loop = dispatcher.loop
        self.window = dispatcher.window
        self.held = 0
        self._dispatcher = dispatcher
        self._targets = dispatcher.targets
        self._ids = ids
        self._now = dispatcher.loop.time
        self._any_id = ids.next_id(time.time_ns() // 1_000_000)  # all have the same length
        self._overhead = RECORD_OVERHEAD + len(_ID_FIELD) + len(self._any_id) + 1 + len(_common(True, None))
        self._timeout = settings.send_msg_timeout
        self._largest = settings.max_message_size
        self._compress_from = settings.compress_msg_body_over_howmuch
        self._delay = settings.batch_max_delay
        self._limit = min(settings.batch_max_bytes, settings.max_message_size)
        self._total = settings.total_batch_max_bytes
        self._batches: dict[Key, Batch] = {}
        self._waiting = 0
        self._closed = False

    # -- in ----------------------------------------------------------------------------------------------------------------------------

    def take(
        self,
        message: Message,
        policy: SendPolicy,
        timeout: float | timedelta | None,
        queue: MessageQueue | None,
        selector: QueueSelector | None,
        sharding_key: str | None,
        reply: Reply,
    ) -> Gathered | None:
        """Make a message ready to be added once it has its room in the window; arguments as of `Preparer.single()`.

        A selector is asked here when the route is known, so that messages for one queue can go together. Its error is the outcome.

        Returns:
            None for a message that cannot be in a batch, or not be sent at all: `Preparer.single()` knows what to do with it.

        Raises:
            InvalidMessageError: The message cannot be sent.
            ConfigError: The time-out is none.
        """
        if not isinstance(message, Message):
            return None
        topic, body, flag, tag, wait_store_ok = message.topic, message.body, message.flag, message.tag, message.wait_store_ok
        target = self._targets.get(topic)
        if target is None:
            return None  # the topic's first message goes alone: its name is checked, and the search for its route begins at once
        size = len(body)
        if (
            not 0 < size <= self._largest
            or type(body) is not bytes
            or (tag is not None and type(tag) is not str)
            or message.delay_level is not None
            or message.delay is not None
            or message.deliver_at is not None
            or (flag != 0 and not FLAG_MIN <= flag <= FLAG_MAX)
        ):
            return None
        rest = None
        record = self._overhead + size
        if (
            message.properties
            or message.keys
            or sharding_key is not None
            or message.sharding_key is not None
            or message.buyer_id is not None
            or not wait_store_ok
            or (tag is not None and not (len(tag) <= PLAIN_TAG and tag.isascii()))
        ):
            text = encode_text(message.wire_text(self._any_id, sharding_key))
            record = RECORD_OVERHEAD + size + len(text)
            rest = text[len(_ID_FIELD) + len(self._any_id) :]
        elif tag is not None:
            record += len(_common(True, "")) - len(_common(True, None)) + len(tag)
        now = self._now()
        deadline = now + (self._timeout if timeout is None else duration("timeout", timeout))
        if queue is not None or selector is not None or sharding_key is not None:
            found = _queue_now(message, target, queue, selector, sharding_key)
            if found is None:
                return None
            if not isinstance(found, MessageQueue):
                reply.set_exception(found)
                return _ENDED
            queue = found
        key = (topic, queue, wait_store_ok, tag, id(policy))
        return Gathered(reply, target, policy, key, body, rest, flag, now, deadline, size, record)

    def add_nowait(self, message: Gathered) -> None:
        """Take room in the window for a message that was just taken, and add it.

        Raises:
            WindowFullError: There is no room.
        """
        if message is _ENDED:
            return
        try:
            self.window.acquire_nowait(message.size)
        except WindowFullError:
            self._hurry()
            raise
        self.add(message, message.started)

    def add_at_once(self, message: Gathered) -> bool:
        """The same; False when there is no room."""
        if message is _ENDED:
            return True
        if not self.window.acquire_at_once(message.size):
            self._hurry()
            return False
        self.add(message, message.started)
        return True

    def add(self, message: Gathered, now: float) -> None:
        """Put a message that has its room in the window into the batch of its key. Never waits, never raises.

        Args:
            message: The message.
            now: The loop's clock.
        """
        size = message.record
        limit = self._limit
        batch = self._batches.get(message.key)
        if batch is not None and batch.size + size > limit:
            self._leave(batch)
            batch = None
        if size > limit or self.held >= self._total or self._closed:
            if batch is not None:
                self._leave(batch)
            self._send_alone(message)
            return
        # A message spends at most half of its time in here.
        due = (now + message.deadline) * 0.5
        if batch is None:
            topic = message.key[0]
            if is_retry_topic(topic) or is_dlq_topic(topic):  # brokers refuse batches there
                self._send_alone(message)
                return
            batch = self._open(message.key, min(due, now + self._delay))
        elif due < batch.due:
            self._hasten(batch, due)
        batch.messages.append(message)
        batch.size += size
        self.held += size
        self._waiting += 1
        if batch.size + size > limit:
            self._leave(batch)  # the next one, if it is like this one, would not fit

    def _open(self, key: Key, due: float) -> Batch:
        batch = self._batches[key] = Batch(self, key, due, self.loop.call_at(due, self._due, key))
        return batch

    def _hasten(self, batch: Batch, due: float) -> None:
        assert batch.timer is not None  # it has not left
        batch.timer.cancel()
        batch.due = due
        batch.timer = self.loop.call_at(due, self._due, batch.key)

    # -- out ---------------------------------------------------------------------------------------------------------------------------

    def _due(self, key: Key) -> None:
        self._leave(self._batches[key])

    def _hurry(self) -> None:
        # The window is full. When all that is in it waits here, nothing can come that is worth waiting for.
        if self._waiting == self.window.messages:
            self.flush()

    def flush(self) -> None:
        """Let all batches leave."""
        for batch in list(self._batches.values()):
            self._leave(batch)

    def close(self) -> None:
        """Let all batches leave; messages that come after this go alone."""
        self._closed = True
        self.flush()

    def _leave(self, batch: Batch) -> None:
        del self._batches[batch.key]
        self._waiting -= len(batch.messages)
        timer = batch.timer
        assert timer is not None  # it has not left
        timer.cancel()
        batch.timer = None
        messages = [message for message in batch.messages if not message.reply.done()]
        if len(messages) < len(batch.messages):
            self._drop_cancelled(batch)
        if len(messages) > 1:
            batch.messages = messages
            self._send(batch)
        else:
            self.held -= batch.size
            if messages:
                self._send_alone(messages[0])

    def _drop_cancelled(self, batch: Batch) -> None:
        for message in batch.messages:
            if message.reply.done():
                self.window.release(message.size)

    def _send(self, batch: Batch) -> None:
        messages = batch.messages
        first = messages[0]
        topic, queue, wait_store_ok, tag, _ = batch.key
        common = _common(wait_store_ok, tag)
        rest = b"\x02" + common.encode("utf-8", "surrogateescape")
        field = _ID_FIELD.encode()
        born_at = time.time_ns() // 1_000_000
        batch.ids = ids = self._ids.next_ids(born_at, len(messages))
        items = [
            (message.flag, message.body, field + message_id.encode() + (message.rest or rest))
            for message, message_id in zip(messages, ids, strict=True)
        ]
        latest = max(messages, key=_deadline)
        operation = SendOperation(
            self._dispatcher,
            self._dispatcher.target(topic),
            first.policy,
            batch,
            ",".join(ids),
            encode_batch(items),
            common,
            0,
            0,
            born_at,
            latest.started,
            latest.deadline,
            first.size,
        )
        operation.batch = True
        operation.plain = False
        self._begin(operation, queue)
        batch.watch(operation)

    def _send_alone(self, message: Gathered) -> None:
        topic, queue, wait_store_ok, tag, _ = message.key
        rest = "\x02" + _common(wait_store_ok, tag) if message.rest is None else message.rest.decode("utf-8", "surrogateescape")
        born_at = time.time_ns() // 1_000_000 - round((self._now() - message.started) * 1000)
        message_id = self._ids.next_id(born_at)
        body, sys_flag, size = message.body, 0, message.size
        large = size >= self._compress_from
        if large and size < COMPRESS_IN_THREAD:
            packed = compress(body, self._dispatcher.settings.compress_level)
            if len(packed) < size:
                body, sys_flag = packed, ZLIB_FLAGS
        operation = message.alone = SendOperation(
            self._dispatcher,
            self._dispatcher.target(topic),
            message.policy,
            message.reply,
            message_id,
            body,
            _ID_FIELD + message_id + rest,
            sys_flag,
            message.flag,
            born_at,
            message.started,
            message.deadline,
            size,
        )
        if large and size >= COMPRESS_IN_THREAD:
            operation.ready = operation.plain = False
        self._begin(operation, queue)

    def _begin(self, operation: SendOperation, queue: MessageQueue | None) -> None:
        if queue is not None:
            operation.queue = queue
            operation.pinned = True
            operation.plain = False
        self._dispatcher.begin(operation)


_deadline = attrgetter("deadline")
_ENDED: Final = Gathered(_NOBODY, TopicTarget(""), SendPolicy(1, frozenset()), ("", None, True, None, 0), b"", None, 0, 0.0, 0.0, 0, 0)
"""Stands for a message whose outcome is told already."""


def _common(wait_store_ok: bool, tag: str | None) -> str:
    """Property text of a batch: what is the same for all its messages."""
    text = f"{props.WAIT}\x01{'true' if wait_store_ok else 'false'}\x02"
    return text if tag is None else f"{text}{props.TAGS}\x01{tag}\x02"


def _queue_now(
    message: Message, target: TopicTarget, queue: MessageQueue | None, selector: QueueSelector | None, sharding_key: str | None
) -> MessageQueue | Exception | None:
    """The queue that a message is fixed to, or the error of its selector; None when the message has to go alone."""
    if queue is not None:
        usable = selector is None and sharding_key is None and isinstance(queue, MessageQueue) and queue.topic == message.topic
        return queue if usable else None
    publish = target.publish
    if publish is None or (selector is not None and sharding_key is not None):
        return None
    if selector is None:
        if not isinstance(sharding_key, str) or not sharding_key:
            return None
        selector = SelectByHash(sharding_key)
    try:
        return checked(selector, message)(publish.queues)
    except Exception as error:  # noqa: BLE001 - the user's own code: its error goes to the caller of the send
        return error
