"""Messages on their way into a batch, and the batch: what becomes of each of them (Java: `MessageAccumulation`). Feature B18.

`aiorocketmq.producer.accumulator` says which messages leave together, and when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from aiorocketmq.errors import BrokerError, RocketMQError, fresh
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer.attempts import SendPolicy
from aiorocketmq.producer.failures import send_timed_out
from aiorocketmq.producer.reply import NOBODY, Reply, given_up, tell_error
from aiorocketmq.producer.send import SendOperation, SendState, TopicTarget

TOLERANCE: Final = 0.001
"""Deadlines of one batch that differ by less than this count as the same, so that a full batch needs no timer of its own."""

_ENDED: Final = SendState.ENDED

Key: TypeAlias = tuple[str, MessageQueue | None, bool, str | None, int]
"""Topic, fixed queue, `wait_store_ok`, tag, and the identity of the policy: what the messages of a batch have in common."""


class Holder(Protocol):
    """What a batch needs of its accumulator.

    Attributes:
        loop: The producer's event loop.
        held: Bytes of the batches that are gathered or unanswered.
    """

    loop: asyncio.AbstractEventLoop
    held: int

    def alone(self, message: Gathered, message_id: str, queue: MessageQueue | None, /) -> SendOperation:
        """The send of one message by itself."""
        ...


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
        self.reply = given_up(self.reply)
        if self.alone is not None:
            self.alone.cancel()


class Chosen(Gathered):
    """One whose queue was chosen by a key or a selector.

    Attributes:
        select: Chooses another one when that is no more.
    """

    __slots__ = ("select",)

    select: Callable[[Sequence[MessageQueue]], MessageQueue]


class Batch:
    """The messages of one key, from the first that comes to the answer for all; towards its `SendOperation` it is the `Reply`.

    Until it leaves, each message in it holds its own room in the window; then the operation holds that of all.

    Attributes:
        key: What the messages have in common.
        messages: They, in the order in which they came; once the batch has left, those in it.
        ids: Their ids, once the batch has left.
        size: Bytes of the encoded batch.
        due: When it leaves at the latest, by the loop's clock.
        timer: Until it leaves, the timer for that; then one for messages whose time ends before that of the operation, or None.
        operation: The send of the batch, while it is on its way.
    """

    __slots__ = ("_holder", "due", "ids", "key", "messages", "operation", "size", "timer")

    def __init__(self, holder: Holder, key: Key, due: float, timer: asyncio.TimerHandle) -> None:
        self._holder = holder
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
        return all(message.reply.done() for message in self.messages)

    def set_result(self, result: SendResult | None, /) -> None:
        """Give every message its part of the result (Java: `splitSendResults`)."""
        assert result is not None  # batches are never one-way
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
        for message in self.messages:
            if not message.reply.done():
                tell_error(message.reply, fresh(error))

    def left(self) -> None:
        """The operation ends, whatever its outcome is."""
        self.operation = None  # it refers to this batch: no cycle
        self._holder.held -= self.size
        self.stop_timer()

    def stop_timer(self) -> None:
        """Wait for no time any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def scatter(self, operation: SendOperation, error: BrokerError) -> None:
        """The queue that all messages have in common is no more: each goes its own way from here, with its room."""
        messages, ids, done = self.messages, self.ids, 0
        try:
            for message, message_id in zip(messages, ids, strict=True):
                done += 1
                if message.reply.done():
                    continue
                single = message.alone = self._holder.alone(message, message_id, operation.queue)
                operation.size -= message.size
                operation.count -= 1
                _follow(single, operation)
                single.queue_gone(fresh(error))
        finally:
            self.messages, self.ids = messages[done:], ids[done:]  # all, unless something was raised

    # -- deadlines that differ ---------------------------------------------------------------------------------------------------------

    def watch(self, operation: SendOperation) -> None:
        """Remember the operation, and end each message at its own deadline where that comes before the operation's."""
        self.operation = operation
        self._arm(min([message.deadline for message in self.messages]))

    def _arm(self, soonest: float) -> None:
        assert self.operation is not None  # the batch has left
        if soonest < self.operation.deadline - TOLERANCE:
            self.timer = self._holder.loop.call_at(soonest, self._expire)

    def _expire(self) -> None:
        self.timer = None
        operation = self.operation
        assert operation is not None  # the batch has left
        stored = operation.trouble.stored if operation.trouble is not None else None
        if stored is not None:
            operation.end(stored)
            return
        now = self._holder.loop.time() + TOLERANCE
        waiting = [message for message in self.messages if not message.reply.done()]
        later = [message.deadline for message in waiting if message.deadline > now]
        if later:
            self._arm(min(later))
        for message in waiting:
            if message.deadline <= now:
                message.reply.set_exception(_overdue(message, operation))


class GatheredOperation(SendOperation):
    """The send of a batch.

    Attributes:
        gathered: Told when it ends, also when nobody waits for any of the messages any more.
    """

    __slots__ = ("gathered",)

    gathered: Batch

    def queue_gone(self, error: BrokerError) -> None:
        if self.pinned:
            self.gathered.scatter(self, error)
            self.end()
        else:
            super().queue_gone(error)

    def end(self, result: SendResult | None = None, error: BaseException | None = None) -> None:
        if self.state is not _ENDED:
            self.gathered.left()
        super().end(result, error)


def _follow(single: SendOperation, operation: SendOperation) -> None:
    """Bring the send of one message to where that of its batch is; it has its room already."""
    single.state = operation.state
    single.queue, single.address, single.sent_at, single.tries = operation.queue, operation.address, operation.sent_at, operation.tries
    single.plain, single.ready = False, True
    if operation.trouble is not None:
        single.trouble = operation.trouble.copy()


def _overdue(message: Gathered, operation: SendOperation) -> RocketMQError:
    """The error of a message whose time ends before that of its batch; `SendOperation.time_out()` says the same for the whole batch."""
    trouble = operation.trouble
    parked = operation.state is SendState.PARKED
    broker = operation.broker_name
    phase = trouble.phase if trouble is not None and parked else f"waiting for the answer of {broker}"
    doubt = (trouble is not None and trouble.doubt) or (operation.tries > 0 and not parked)
    timeout, unsent = message.deadline - message.started, not operation.tries
    return send_timed_out(operation.target.topic, broker, timeout, phase, trouble, unsent=unsent, doubt=doubt)


TOLD: Final = Gathered(NOBODY, TopicTarget(""), SendPolicy(1, frozenset()), ("", None, True, None, 0), b"", None, 0, 0.0, 0.0, 0, 0)
"""Stands for a message whose outcome is told already."""
