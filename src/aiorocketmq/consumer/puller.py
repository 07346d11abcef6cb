"""The pull loop of one queue: when to ask, when to hold back, what to do with the answer (Java: `DefaultMQPushConsumerImpl`).

It is a state machine of callbacks: either a pull is in flight, or the pull service will call `pull()` later, or the queue is done. The
next pull leaves before the messages of a large answer are decoded; a small answer is handed to the listeners first. Features F8-F14,
F17, F31-F36, bars P3 and P8.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from aiorocketmq.client.pull import DelayedPull, PullAnswer, PullApi, PullService
from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.errors import BrokerError, ProtocolError, RocketMQError, SubscriptionError
from aiorocketmq.model.enums import PullStatus
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.parsing import number_or_none
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.command import RemotingCommand

if TYPE_CHECKING:
    from aiorocketmq.client.statelog import StateLog
    from aiorocketmq.client.stats import ConsumeCounters
    from aiorocketmq.consumer.service import ConsumeService
    from aiorocketmq.consumer.settings import ConsumerSettings

FLOW_CONTROL_DELAY: Final = 0.05
"""Before looking again whether a full queue has room."""
BROKER_FLOW_CONTROL_DELAY: Final = 0.02
"""Before asking again a broker that holds pulls back (FLOW_CONTROL); one that sheds load (SYSTEM_BUSY) gets the delay of other errors."""
UNSUBSCRIBED_DELAY: Final = 1.0
"""Before looking again whether a topic without subscription has one."""
SUSPENDED_DELAY: Final = 1.0
"""Before looking again whether a suspended consumer goes on."""
LOCK_DELAY: Final = 1.0
"""Before looking again whether a queue of an ordered consumer is locked."""
QUICK_ANSWER: Final = 0.02
EMPTY_ANSWER_DELAY: Final = 0.1
"""A broker that says "nothing new" within 20 ms does not hold requests; it is asked again after 0.1 s."""
SMALL_ANSWER: Final = 4096
"""Bytes of messages up to which they are handed out at once; above, the next pull leaves first, so that the broker works meanwhile."""
HELD_AFTER: Final = 0.5
"""Seconds after which a pull without an answer is one that the broker holds: errors come at once."""
DAMAGED_TRIES: Final = 3
DAMAGED_DELAY: Final = 1.0

OFFSET_RESET: Final = "OFFSET_RESET"
"""What brokers of 5.x remark when a group's offset was reset."""

logger = logging.getLogger("aiorocketmq.consumer")


@dataclass(slots=True)
class FlowControl:
    """How often a pull was held back. Mutable: it counts.

    Attributes:
        by_count: Because of too many unfinished messages, of the queue or of all.
        by_size: Because of too many bytes.
        by_span: Because the offsets of the unfinished messages are too far apart.
    """

    by_count: int = 0
    by_size: int = 0
    by_span: int = 0


@dataclass(slots=True)
class Thresholds:
    """Limits for each queue of a topic. Mutable: with limits for the whole topic they depend on the number of owned queues (F11)."""

    count: int
    size: int


class PullOwner(Protocol):
    """What the pull loops of a consumer share."""

    settings: ConsumerSettings
    service: ConsumeService
    pull_service: PullService
    flow_control: FlowControl
    pull_log: StateLog
    suspended: bool
    error_delay: float

    def subscription(self, topic: str) -> SubscriptionData | None:
        """The filter of a topic, None when it was unsubscribed."""
        ...

    def thresholds(self, topic: str) -> Thresholds:
        """Limits of a topic's queues now."""
        ...

    def pull_counters(self, topic: str) -> ConsumeCounters:
        """Where pulls are counted."""
        ...

    def offset_illegal(self, assigned: AssignedQueue, offset: int, *, deleted: bool) -> None:
        """The broker has nothing at the offset asked for, which is below its lowest one with `deleted`; go on at `offset` instead (F33)."""
        ...

    def offset_reset(self, queue: MessageQueue, offset: int) -> None:
        """The group has to go on elsewhere with a queue that may have begun anew here since its last pull."""
        ...

    def subscription_unknown(self) -> None:
        """A broker does not know the group, or not its newest subscription: it needs a heartbeat."""
        ...

    def lock_lost(self) -> None:
        """The lock of an ordered queue has run out."""
        ...


class QueuePuller:
    """The pull loop of one queue. Mutable, slotted, hot.

    Attributes:
        next_offset: Where the next pull begins.
        delayed: Owned by the pull service.
        active_at: Loop time at which a pull was last sent or held back on purpose.
        pulled_at: Loop time at which a pull was last sent, 0 before.
        failure: Why the queue is not pulled any more, or None.
        end: Offset that the next message of the queue gets, as the last answer told; -1 before.
        failing_since: Loop time since which pulls fail, when there is `trouble`.
    """

    __slots__ = (
        "_assigned", "_call", "_clock", "_counters", "_damaged_tries", "_failing", "_last_error", "_loop", "_owner", "_single_until",
        "_stopped", "_thresholds", "active_at", "delayed", "end", "failing_since", "failure", "next_offset", "pulled_at",
    )  # fmt: skip

    def __init__(self, owner: PullOwner, assigned: AssignedQueue, pulls: PullApi) -> None:
        self.next_offset = assigned.messages.next_offset
        self.delayed: DelayedPull | None = None
        self.active_at = 0.0
        self.pulled_at = 0.0
        self.failure: RocketMQError | None = None
        self.end = -1
        self.failing_since = 0.0
        self._last_error = ""
        self._owner = owner
        self._assigned = assigned
        self._call = pulls.call(assigned.queue, self)
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._counters = owner.pull_counters(assigned.queue.topic)
        self._thresholds = owner.thresholds(assigned.queue.topic)
        self._stopped = False
        self._single_until = -1
        self._damaged_tries = 0
        self._failing: str | None = None  # what the log knows the last failure as
        assigned.messages.on_low_water = self.pull

    def __str__(self) -> str:
        return str(self._assigned.queue)

    def start(self) -> None:
        """Begin to pull."""
        self._owner.pull_service.watch(self)
        self.pull()

    def stop(self) -> None:
        """Pull no more; the answer to the pull in flight is ignored, unless it says that the group's offset was reset."""
        self._stopped = True
        self._call.abandon(self._late)
        self._assigned.messages.on_low_water = None
        self._owner.pull_service.unwatch(self)

    def _late(self, answer: RemotingCommand) -> None:
        """A broker tells of a reset once, to whoever pulls the queue: the one that it was told has to see to it."""
        if answer.code == ResponseCode.PULL_OFFSET_MOVED and answer.remark == OFFSET_RESET and not self._call.logical:
            offset = number_or_none(answer.ext_fields.get("nextBeginOffset", ""), 0)
            if offset is not None:
                self._owner.offset_reset(self._assigned.queue, offset)

    def restart(self) -> None:
        """Give up the pull in flight, and pull anew (`PullTask`)."""
        self._call.cancel()
        self.pull()

    def follow(self) -> None:
        """The route has changed: where another broker has the queue now, pull there, and wait no longer for the answer of the old one."""
        if not self._stopped and self._call.moved:
            self.restart()

    def pull(self) -> None:
        """Send the next pull, or find out why not yet (`PullTask`)."""
        owner, call = self._owner, self._call
        if self._stopped or call.in_flight:
            return
        subscription = owner.subscription(self._assigned.queue.topic)
        self.active_at = now = self._clock()
        if subscription is None:
            self._later(UNSUBSCRIBED_DELAY)
            return
        if owner.suspended or self._assigned.paused:
            self._later(SUSPENDED_DELAY)
            return
        if self._held_back():
            self._later(FLOW_CONTROL_DELAY)
            return
        if now >= self._assigned.valid_until:
            owner.lock_lost()
            self._later(LOCK_DELAY)
            return
        self.delayed = None
        self.pulled_at = now
        call.send(
            self.next_offset,
            subscription,
            commit_offset=self._assigned.messages.commit_offset if owner.settings.commits_with_pulls else -1,
            max_messages=1 if self.next_offset < self._single_until else 0,
        )

    def _later(self, delay: float) -> None:
        self._owner.pull_service.pull_later(self, delay)

    def _held_back(self) -> bool:
        """Flow control; counts why (F10)."""
        messages, limits, counters = self._assigned.messages, self._thresholds, self._owner.flow_control
        if self._owner.service.full:
            counters.by_count += 1
            return True
        if messages.count > limits.count:
            counters.by_count += 1
            messages.low_water = limits.count // 2
            return True
        if messages.size > limits.size:
            counters.by_size += 1
            return True
        if messages.span > self._owner.settings.max_span:
            counters.by_span += 1
            return True
        return False

    # --- PullObserver -----------------------------------------------------------------------------------------------------------

    def on_pull_result(self, result: PullAnswer) -> None:
        """Act on an answer of the broker."""
        if self._stopped:
            return
        if self._failing is not None:
            self._works_again()
        self.end = result.max_offset
        status = result.status
        if status is PullStatus.OFFSET_ILLEGAL:
            self.stop()
            deleted = result.offset < result.min_offset == result.next_begin_offset
            self._owner.offset_illegal(self._assigned, result.next_begin_offset, deleted=deleted)
        elif status is PullStatus.FOUND:
            if result.next_begin_offset <= result.offset:
                text = f"the answer to a pull at offset {result.offset} goes on at offset {result.next_begin_offset}"
                self._damaged(result, ProtocolError(text))
                return
            self.next_offset = result.next_begin_offset
            if len(result.body) <= SMALL_ANSWER:
                # A message or a few: they reach their listeners before the next pull leaves. Those of an earlier answer are there already:
                # their turn of the loop came before this answer was read.
                self._take_in(result)
                return
            # What is asked for here leaves before the messages are decoded: the broker works while we do.
            self._loop.call_soon(self._take_in, result)
            if self._has_room_for_two(result):
                self.pull()
        else:
            self._nothing_found(result)

    def _has_room_for_two(self, result: PullAnswer) -> bool:
        """Room for the batch that is not decoded yet and for one more, by the strictest reading."""
        settings, messages, limits = self._owner.settings, self._assigned.messages, self._thresholds
        return (
            settings.pull_interval == 0
            and not self._owner.service.full
            and messages.count + settings.pull_batch_size <= limits.count
            and messages.size + len(result.body) <= limits.size
            and (messages.count == 0 or self.next_offset - messages.min_offset <= settings.max_span)
            and self._single_until < 0
        )

    def _nothing_found(self, result: PullAnswer) -> None:
        moved = result.next_begin_offset > self.next_offset
        if moved:
            self.next_offset = result.next_begin_offset
            self._assigned.messages.advance(self.next_offset)
        self._counters.pull(0, result.seconds * 1000)
        if not moved and result.seconds < QUICK_ANSWER:
            self._later(EMPTY_ANSWER_DELAY)
        else:
            self._go_on()

    def _take_in(self, result: PullAnswer) -> None:
        """Decode the messages of an answer and hand them to the listeners."""
        if self._stopped:
            return
        assigned = self._assigned
        subscription = self._owner.subscription(assigned.queue.topic)
        if subscription is None:
            # Nothing of the answer is lost: it is asked for again when there is a listener.
            self._call.cancel()
            self.next_offset = result.offset
            self._later(UNSUBSCRIBED_DELAY)
            return
        try:
            messages = self._call.decode(result, subscription)
        except ProtocolError as error:
            self._damaged(result, error)
            return
        self._damaged_tries = 0
        if result.next_begin_offset >= self._single_until:
            self._single_until = -1
        taken = assigned.messages.put(messages, result.next_begin_offset)
        self._counters.pull(len(messages), result.seconds * 1000)
        self._owner.service.submit(assigned, taken)
        if not self._call.in_flight and self.delayed is None:
            self._go_on()

    def _go_on(self) -> None:
        interval = self._owner.settings.pull_interval
        if interval:
            self._later(interval)
        else:
            self.pull()

    def _damaged(self, result: PullAnswer, error: ProtocolError) -> None:
        """An answer does not decode: try again, message by message; then stop the queue or skip the message, as the user wants."""
        self._call.cancel()
        self.delayed = None
        self.next_offset = result.offset
        self._single_until = max(self._single_until, result.next_begin_offset)
        self._damaged_tries += 1
        if self._damaged_tries <= DAMAGED_TRIES:
            logger.warning("the answer of %s at offset %d is damaged, try %d: %s", self, result.offset, self._damaged_tries, error)
            self._later(DAMAGED_DELAY)
            return
        self._damaged_tries = 0
        if self._owner.settings.skip_damaged_messages and result.next_begin_offset > result.offset:
            logger.error("the message of %s at offset %d is damaged and is skipped: %s", self, result.offset, error)
            self.next_offset = result.next_begin_offset
            self._assigned.messages.advance(self.next_offset)
            self._go_on()
            return
        logger.error("the message of %s at offset %d is damaged, the queue is not consumed any more: %s", self, result.offset, error)
        self.failure = error
        self.stop()

    def on_pull_error(self, error: RocketMQError) -> None:
        """A pull failed: try again after a while."""
        if self._stopped:
            return
        owner, queue = self._owner, self._assigned.queue
        held_back = isinstance(error, BrokerError) and error.code == ResponseCode.FLOW_CONTROL
        # A broker that refuses one topic may serve others: only what keeps it from answering at all is one cause for all of them.
        cause = f"{queue.broker_name} {queue.topic} {error.code}" if isinstance(error, BrokerError) else queue.broker_name
        if self._failing != cause:
            self._works_again()
            self._failing = cause
        if not self.trouble:
            self.failing_since = self._clock()
        self._last_error = error.message
        owner.pull_log.failed(cause, "pulls of group %s for topic %s from broker %s fail: %s", owner.settings.group, queue.topic,
                              queue.broker_name, error)  # fmt: skip
        if isinstance(error, SubscriptionError):
            owner.subscription_unknown()
        self._later(BROKER_FLOW_CONTROL_DELAY if held_back else owner.error_delay)

    def _works_again(self) -> None:
        if self._failing is not None:
            self._owner.pull_log.worked(self._failing, "pulls of %s work again", self._assigned.queue)
            self._failing = None
        self._last_error = ""

    @property
    def trouble(self) -> str:
        """Why pulls fail; "" when they do not. One that the broker has held for a while has not failed: nothing has come yet."""
        held = self._call.awaits_answer and self._clock() - self.pulled_at > HELD_AFTER
        return "" if held else self._last_error
