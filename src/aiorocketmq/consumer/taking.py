"""Taking queues over: from WAITING to OWNED, each broker by itself (Java: `RebalanceImpl.updateProcessQueueTableInRebalance`).

A queue is taken over only when its start offset is certain and, for ordered consumers, its lock is held: a failed query means another try,
never a guess. A broker that refuses one queue is asked for the next; one that cannot be reached is left alone until the next round.
Features G2, G9, G10, F30.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from aiorocketmq.client.statelog import StateLog
from aiorocketmq.consumer.assigned import AssignedQueue, QueueState
from aiorocketmq.errors import BrokerError, ClientClosedError, ConfigError, RocketMQError

if TYPE_CHECKING:
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.consumer.queue_locks import QueueLocks
    from aiorocketmq.consumer.queues import QueueTable
    from aiorocketmq.core.hand_over import HandOver
    from aiorocketmq.model.queue import MessageQueue

QUERIES: Final = 16
"""Start offsets asked of one broker at the same time."""
LOCK_RETRY_DELAY: Final = 0.5
LONG_WAIT: Final = 3.0
"""Seconds after which a wait for another member's lock is no mere change of hands any more, and is logged."""

logger = logging.getLogger("aiorocketmq.consumer")


class FirstOffsets(Protocol):
    """Tells where queues begin (`StartOffsets`)."""

    async def of(self, queue: MessageQueue, *, added: bool) -> tuple[int, bool]:
        """The first offset, and whether it is to be committed although nothing was consumed; raises when it cannot be told now."""
        ...


class TakeOver:
    """Takes over the WAITING queues of a consumer.

    Args:
        table: The queues.
        scheduler: Makes the tasks, one for each broker at a time.
        hand_over: Which queues their last holder still has.
        locks: Locks them; None where no locks are needed.
        start_offsets: Where they begin.
        adopt: Called with a queue that became OWNED; starts to pull it.
        ask_again: Called with the seconds after which another round is of use.
        broker_of: Name of the broker that has a queue.
    """

    def __init__(
        self,
        table: QueueTable,
        scheduler: Scheduler,
        hand_over: HandOver,
        locks: QueueLocks | None,
        start_offsets: FirstOffsets,
        *,
        adopt: Callable[[AssignedQueue], None],
        ask_again: Callable[[float], None],
        broker_of: Callable[[MessageQueue], str],
    ) -> None:
        self._table = table
        self._scheduler = scheduler
        self._hand_over = hand_over
        self._locks = locks
        self._start_offsets = start_offsets
        self._adopt = adopt
        self._ask_again = ask_again
        self.broker_of = broker_of
        self._lanes: dict[str, asyncio.Task[bool]] = {}
        self._again: set[str] = set()
        self._added: set[MessageQueue] = set()
        self._clock = asyncio.get_running_loop().time
        self._log = StateLog(logger)

    @property
    def lanes(self) -> Collection[asyncio.Task[bool]]:
        """What is under way; what waits for a member or a lock is not."""
        return self._lanes.values()

    def added(self, queues: Collection[MessageQueue]) -> None:
        """Topics got these queues while they were consumed."""
        self._added.update(queues)

    def begin(self, brokers: Collection[str]) -> list[asyncio.Task[bool]]:
        """Try to take over what waits at some brokers.

        Returns:
            Tasks that tell whether nothing is left to wait for.
        """
        lanes = []
        for broker in brokers:
            lane = self._lanes.get(broker)
            if lane is None:
                try:
                    lane = self._scheduler.spawn(f"take over at {broker}", self._run(broker))
                except ClientClosedError:
                    continue
                self._lanes[broker] = lane
                lane.add_done_callback(partial(self._left, broker))  # whoever cancels it before its first step ends it, too
            else:
                self._again.add(broker)
            lanes.append(lane)
        return lanes

    async def _run(self, broker: str) -> bool:
        while True:
            self._again.discard(broker)
            done = await self._pass(broker)
            if broker not in self._again:
                # From here on a new lane is needed for what comes.
                self._lanes.pop(broker, None)
                return done

    def _left(self, broker: str, lane: asyncio.Task[bool]) -> None:
        if self._lanes.get(broker) is lane:
            self._again.discard(broker)
            del self._lanes[broker]

    async def _pass(self, broker: str) -> bool:
        queues = [assigned for queue, assigned in self._table.waiting.items() if self.broker_of(queue) == broker]
        now = self._clock()
        early = self._hand_over.early([assigned.queue for assigned in queues], now)
        if early:
            self._ask_again(min(early.values()) - now)  # no round is of use to these before that
            for assigned in queues:
                if assigned.queue in early:
                    assigned.waits_for = f"member {self._hand_over.holder(assigned.queue) or 'of the group'} to let go of it"
            queues = [assigned for assigned in queues if assigned.queue not in early]
        locked = await self._lock(queues)
        offsets = await self._own_all(broker, [assigned for assigned in queues if assigned in locked])
        return len(locked) == len(queues) and offsets

    async def _lock(self, queues: list[AssignedQueue]) -> Collection[AssignedQueue]:
        if self._locks is None or not queues:
            return queues
        before = self._clock()
        for assigned in queues:
            assigned.to_unlock = True
        granted, refused = await self._locks.take([assigned.queue for assigned in queues])
        locked = set()
        for assigned in queues:
            if assigned.queue in granted:
                assigned.extend_lock(before, before)
                locked.add(assigned)
            elif assigned.queue in refused:
                assigned.to_unlock = False
        # Another round, or the stop, has decided otherwise meanwhile.
        unwanted = {assigned for assigned in locked if assigned.state is QueueState.GONE}
        if unwanted:
            await self._locks.give_back([assigned.queue for assigned in unwanted if assigned.queue not in self._table.waiting])
        if len(locked) < len(queues):
            self._ask_again(LOCK_RETRY_DELAY)
        self._tell_refused([assigned for assigned in queues if assigned.queue in refused])
        return locked - unwanted

    def _tell_refused(self, queues: list[AssignedQueue]) -> None:
        """Say what is waited for; in the log when it takes longer than queues need to change hands."""
        long = []
        for assigned in queues:
            left = self._hand_over.left_by(assigned.queue)
            holder = f"{left}, which is not in the group any more: it runs out 60 s after its last renewal" if left else "another member"
            assigned.waits_for = f"the lock of {holder}"
            if self._clock() - assigned.since >= LONG_WAIT:
                long.append(assigned)
        if long:
            names = ", ".join(str(assigned.queue) for assigned in long)
            self._log.failed("lock", "for %.0f s not consumed: %s; waiting for %s", LONG_WAIT, names, long[0].waits_for)
        elif not any(assigned.waits_for for assigned in self._table.waiting.values()):
            self._log.worked("lock", "no queue waits for the lock of another member any more")

    async def _own_all(self, broker: str, queues: list[AssignedQueue]) -> bool:
        left = iter(queues)
        failed: list[AssignedQueue] = []
        if len(queues) == 1:
            await self._own_some(broker, left, failed)
        elif queues:
            works = {str(number): self._own_some(broker, left, failed) for number in range(min(QUERIES, len(queues)))}
            for outcome in (await self._scheduler.gather("start offsets", works)).values():
                if isinstance(outcome, Exception):
                    raise outcome
        if not failed:
            self._log.worked(broker, "start offsets of broker %s can be found out again", broker)
        return not failed

    async def _own_some(self, broker: str, left: Iterator[AssignedQueue], failed: list[AssignedQueue]) -> None:
        for assigned in left:
            queue = assigned.queue
            self._table.forget_offset(queue)
            try:
                offset, commit_start = await self._start_offsets.of(queue, added=queue in self._added)
            except Exception as error:  # noqa: BLE001 - the store may be the user's own
                failed.append(assigned)
                assigned.waits_for = f"its start offset: {error}"
                foreign = not isinstance(error, RocketMQError)
                text = "start offset of %s cannot be found out now, it is not consumed yet: %s"
                why = f"{type(error).__name__}: {error}" if foreign else error
                self._log.failed(broker, text, queue, why, exc_info=error if foreign else None)
                if foreign or isinstance(error, BrokerError | ConfigError):
                    continue  # it answers, and may know the next one
                for other in left:
                    failed.append(other)
                    other.waits_for = assigned.waits_for
                return
            if assigned.state is not QueueState.WAITING:
                continue
            self._added.discard(queue)
            if assigned.reset_to >= 0:
                offset, commit_start = assigned.reset_to, True
            self._table.own(assigned, offset, commit_start=commit_start)
            logger.debug("%s is consumed from offset %d", queue, offset)
            self._adopt(assigned)
