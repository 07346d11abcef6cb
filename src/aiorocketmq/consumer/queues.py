"""The queues of one consumer on their way through life, and the one way out of it (Java: `RebalanceImpl.processQueueTable`).

`consumer/assigned.py` draws the states. Queues come in as WAITING, `consumer/taking.py` makes them OWNED, and whatever ends one calls
`release()`: it lets the running listener end, saves, unlocks, and comes to an end whatever brokers, stores and listeners do. Features F30,
F32, F33, G2, G10, bar P3.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.consumer.assigned import FOREVER, AssignedQueue, QueueState
from aiorocketmq.consumer.queue_locks import BROKER_LOCK_TIME, LOCK_MAX_LIVE_TIME, QueueLocks
from aiorocketmq.consumer.saving import OffsetSaver
from aiorocketmq.errors import ClientClosedError
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from aiorocketmq.consumer.service import ConsumeService
    from aiorocketmq.core.process_queue import ProcessQueue

GIVE_UP_WAIT: Final = 0.5
GIVE_UP_LOOKS: Final = 50
"""Seconds that listeners get to end before a queue without lock is let go of, and how often that is looked at."""
PULL_SETTLE_TIME: Final = 0.05
"""Seconds in which a broker begins to serve a pull."""
SAVE_TIME: Final = 5.0
"""Seconds that saving the offsets of released queues may take."""
SLOW_RELEASE: Final = 20.0
"""A queue with a lock is released when its listener has ended; that it has not after so many seconds is logged."""

logger = logging.getLogger("aiorocketmq.consumer")


class Reason(Enum):
    """Why a queue is released."""

    GIVEN_UP = "it falls to another member, or its topic is not subscribed any more"
    MOVED = "the broker has nothing at its offset"
    OUTDATED = "another member may have had it"


class QueueTable:
    """The queues of one consumer that are not GONE.

    Args:
        scheduler: Makes the tasks.
        service: Has their messages in hand.
        saver: Saves their offsets.
        locks: Their locks; None where none are needed.
        ended: Called when a queue is GONE: it may be wanted again.
        make_messages: Makes the holder of the messages of a queue, from the queue, its first offset, and whether that may be committed.

    Attributes:
        waiting: Those that are WAITING.
        assigned: Those that are OWNED.
        releasing: Those that are RELEASING.
        closed: True once no queue can come in any more.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        service: ConsumeService,
        saver: OffsetSaver,
        locks: QueueLocks | None,
        ended: Callable[[], None],
        make_messages: Callable[[MessageQueue, int, bool], ProcessQueue],
    ) -> None:
        self.waiting: dict[MessageQueue, AssignedQueue] = {}
        self.assigned: dict[MessageQueue, AssignedQueue] = {}
        self.releasing: dict[MessageQueue, AssignedQueue] = {}
        self.closed = False
        self._by_topic: dict[str, dict[MessageQueue, AssignedQueue]] = {}
        self._scheduler = scheduler
        self._service = service
        self._saver = saver
        self._locks = locks
        self._ended = ended
        self._make_messages = make_messages
        self._unlock_at_end: list[MessageQueue] = []
        saver.follow(self._note)
        self._clock = asyncio.get_running_loop().time

    # --- the table --------------------------------------------------------------------------------------------------------------

    def owned_of(self, topic: str) -> Mapping[MessageQueue, AssignedQueue]:
        """The OWNED queues of a topic."""
        return self._by_topic.get(topic, {})

    @property
    def topics(self) -> set[str]:
        """Topics with a queue that is OWNED or WAITING."""
        return {queue.topic for queue in self.waiting} | self._by_topic.keys()

    def want(self, queue: MessageQueue) -> None:
        """The queue falls to this member: → WAITING, unless it is here already."""
        if not self.closed and queue not in self.assigned and queue not in self.waiting and queue not in self.releasing:
            self.waiting[queue] = AssignedQueue(queue, self._clock())

    def own(self, assigned: AssignedQueue, offset: int, *, commit_start: bool) -> None:
        """WAITING → OWNED."""
        queue, now = assigned.queue, self._clock()
        del self.waiting[queue]
        valid_until = FOREVER if self._locks is None else assigned.locked_at + LOCK_MAX_LIVE_TIME
        assigned.own(self._make_messages(queue, offset, commit_start), now, valid_until=valid_until)
        self.assigned[queue] = assigned
        self._by_topic.setdefault(queue.topic, {})[queue] = assigned

    def forget_offset(self, queue: MessageQueue) -> None:
        """What was known of the queue in an earlier life counts no more."""
        self._saver.forget(queue)

    def not_wanted(self, queues: Collection[AssignedQueue]) -> None:
        """WAITING → GONE: they fall to other members now, who may have the locks that this one has asked for already."""
        names = self._end_waiting(queues)
        if names and self._locks is not None:
            try:
                self._scheduler.spawn("unlock queues that are not wanted", self._locks.give_back(names))
            except ClientClosedError:
                logger.debug("queues are not unlocked: the consumer has stopped")

    def _end_waiting(self, queues: Collection[AssignedQueue]) -> list[MessageQueue]:
        """WAITING → GONE; gives back the queues that have to be unlocked."""
        for assigned in queues:
            self.waiting.pop(assigned.queue, None)
            assigned.end(self._clock())
        return [assigned.queue for assigned in queues if assigned.to_unlock]

    # --- the way out ------------------------------------------------------------------------------------------------------------

    def release(
        self, queues: Iterable[AssignedQueue], reason: Reason, *, offsets: Mapping[MessageQueue, int] | None = None
    ) -> list[asyncio.Task[None]]:
        """OWNED → RELEASING now, → GONE soon; queues that are not OWNED are left alone.

        Args:
            queues: The queues.
            reason: Decides whether they are saved and unlocked.
            offsets: With MOVED: where the group has to go on with each.

        Returns:
            The tasks at whose end they are GONE, one for each broker. Cancelling whoever waits for them changes nothing.
        """
        by_broker: dict[str, list[AssignedQueue]] = defaultdict(list)
        for assigned in [assigned for assigned in queues if self._begin(assigned)]:
            if reason is not Reason.GIVEN_UP:
                assigned.messages.drop()  # what the running listener answers counts no more
            if reason is Reason.MOVED and offsets is not None:
                self._saver.reset(assigned.queue, offsets[assigned.queue])
            by_broker[assigned.queue.broker_name].append(assigned)
        tasks = []
        for broker, own in by_broker.items():
            if (task := self._spawn_release(f"release queues of {broker}", own, self._release(own, reason))) is not None:
                tasks.append(task)
        return tasks

    def reset(self, offsets: Mapping[MessageQueue, int]) -> list[asyncio.Task[None]]:
        """The group has to go on elsewhere with some queues, whatever this member is just doing with them; others are left alone.

        Args:
            offsets: Where to.

        Returns:
            As `release()`: when they are over the offsets are saved.
        """
        for table in (self.waiting, self.releasing):
            for queue in offsets.keys() & table.keys():
                table[queue].reset_to = offsets[queue]
        for queue in offsets.keys() & self.releasing.keys():
            self.releasing[queue].messages.drop()
            self._saver.reset(queue, offsets[queue])
        return self.release([self.assigned[queue] for queue in offsets if queue in self.assigned], Reason.MOVED, offsets=offsets)

    def _spawn_release(self, name: str, queues: list[AssignedQueue], work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Do what a release takes; at its end, and be it one before its first step, what is in `queues` then is GONE."""
        try:
            task = self._scheduler.spawn(name, work)
        except ClientClosedError:  # the consumer has stopped meanwhile
            self._end(queues)
            return None
        task.add_done_callback(lambda _: self._end(queues))
        return task

    def _begin(self, assigned: AssignedQueue) -> bool:
        queue = assigned.queue
        if not assigned.begin_release(self._clock()):
            return False
        del self.assigned[queue]
        own = self._by_topic[queue.topic]
        del own[queue]
        if not own:
            del self._by_topic[queue.topic]
        self.releasing[queue] = assigned
        assigned.puller.stop()
        self._service.let_go(assigned)
        return True

    async def _release(self, queues: list[AssignedQueue], reason: Reason) -> None:
        await self._pulls_settled(queues)
        if self._locks is None:
            await self._quiet(queues)
        else:
            # Each has its own listener to wait for, and none waits for the listener of another one.
            for assigned in [assigned for assigned in queues if self._service.in_hand(assigned)]:
                queues.remove(assigned)
                self._spawn_release(f"release {assigned.queue}", [assigned], self._release_when_quiet(assigned, reason))
        await self._let_go(queues, reason)

    async def _release_when_quiet(self, assigned: AssignedQueue, reason: Reason) -> None:
        await self._out_of_service(assigned)
        await self._let_go([assigned], reason)

    async def _out_of_service(self, assigned: AssignedQueue) -> None:
        """Until its listener has ended nobody else may have a queue with a lock, however long that takes."""
        try:
            async with asyncio.timeout(SLOW_RELEASE):
                await assigned.out_of_service()
        except TimeoutError:
            text = "%s is to be released since %.0f s, but its listener still runs: it stays locked until the listener has ended"
            logger.warning(text, assigned.queue, SLOW_RELEASE)
            await assigned.out_of_service()

    async def _quiet(self, queues: Collection[AssignedQueue]) -> None:
        """The member that gets them reads our offsets in a moment: what is in hand should be part of them."""
        for _ in range(GIVE_UP_LOOKS):
            if not any(map(self._service.in_hand, queues)):
                break
            await asyncio.sleep(GIVE_UP_WAIT / GIVE_UP_LOOKS)

    async def _pulls_settled(self, queues: Collection[AssignedQueue]) -> None:
        """Brokers store the offset of a pull in another thread than one that is saved: give the last pulls a moment to be served."""
        last = max((assigned.puller.pulled_at for assigned in queues), default=0.0)
        await asyncio.sleep(max(0.0, last + PULL_SETTLE_TIME - self._clock()))

    async def _let_go(self, queues: Collection[AssignedQueue], reason: Reason) -> None:
        self._saver.note(queues)
        for assigned in queues:
            assigned.messages.drop()
        names = [assigned.queue for assigned in queues]
        resets: list[int] = []
        while reason is not Reason.OUTDATED and resets != (now := [assigned.reset_to for assigned in queues]):
            resets = now  # another one may come while the last one is saved
            await self._saver.persist(names, self._clock() + SAVE_TIME)
        if reason is not Reason.OUTDATED and self._locks is not None:  # with MOVED, too: the queue may fall to another member meanwhile
            for assigned in queues:
                assigned.to_unlock = False
            await self._locks.give_back(names)

    def _end(self, queues: Iterable[AssignedQueue]) -> None:
        for assigned in queues:
            if self.releasing.get(assigned.queue) is not assigned:
                continue
            del self.releasing[assigned.queue]
            assigned.end(self._clock())
            self._saver.forget(assigned.queue)
        self._ended()

    # --- saving, and the end of all ---------------------------------------------------------------------------------------------

    def _note(self, queue: MessageQueue) -> None:
        assigned = self.assigned.get(queue) or self.releasing.get(queue)
        if assigned is not None:
            self._saver.note([assigned])

    def note_offsets(self) -> list[MessageQueue]:
        """Tell the store what is consumed of all queues; gives back which they are."""
        living = [*self.assigned.values(), *self.releasing.values()]
        self._saver.note(living)
        return [assigned.queue for assigned in living]

    def offsets(self, topic: str | None) -> dict[MessageQueue, int]:
        """What is consumed of all queues, of one topic or of all."""
        self.note_offsets()
        return self._saver.store.clone_offset_table(topic)

    async def persist(self) -> None:
        """Save what is consumed of all queues, one-way; never raises."""
        await self._saver.persist_all(self.note_offsets(), self._clock() + SAVE_TIME)

    def close(self) -> None:
        """The consumer stops: → RELEASING for all, without a task; `finish()` follows when the listeners have had their time."""
        self.closed = True
        self._unlock_at_end += self._end_waiting(list(self.waiting.values()))
        for assigned in list(self.assigned.values()):
            self._begin(assigned)

    async def finish(self, deadline: float) -> None:
        """RELEASING → GONE for all: save and unlock, all brokers at the same time, whatever they do.

        A queue whose listener still runs keeps its lock, which runs out by itself: nobody else may have it yet.

        Args:
            deadline: Loop time at which the saving ends in any case.
        """
        queues = list(self.releasing.values())
        try:
            await self._pulls_settled(queues)
            self._saver.note(queues)
            held = {assigned.queue for assigned in queues if self._locks is not None and self._service.in_hand(assigned)}
            for assigned in queues:
                assigned.messages.drop()
            save = self._saver.persist_at_stop([assigned.queue for assigned in queues], deadline, lambda own: self._unlock(own, held))
            unwanted, self._unlock_at_end = self._unlock_at_end, []
            await self._scheduler.gather("leave queues", {"owned": save, "waiting": self._unlock(unwanted, held)})
            if held:
                logger.warning("%s stay locked until their locks run out: their listeners still run", ", ".join(map(str, held)))
        except asyncio.CancelledError:
            raise  # by code outside of the library: it is called again
        except BaseException:
            self._end(queues)
            raise
        self._end(queues)

    async def _unlock(self, queues: Collection[MessageQueue], held: Collection[MessageQueue]) -> None:
        if self._locks is not None:
            for queue in queues:
                if queue in self.releasing and queue not in held:
                    self.releasing[queue].to_unlock = False
            await self._locks.give_back([queue for queue in queues if queue not in held], oneway=False)

    # --- locks (ordered consumers) ----------------------------------------------------------------------------------------------

    async def renew_locks(self, only: Collection[AssignedQueue] | None = None) -> None:
        """Renew the locks of all queues, or of some; never raises.

        A queue that another member has, or may have had in between, is released without saving: what is known of it here is out of date.
        """
        assert self._locks is not None
        before = self._clock()
        asked = only or [*self.assigned.values(), *(each for each in self.releasing.values() if each.to_unlock)]
        queues = {assigned.queue: assigned for assigned in asked}
        granted, refused = await self._locks.take(queues)
        outdated = []
        for queue in granted:
            assigned = queues[queue]
            if assigned.state is QueueState.OWNED and before - assigned.locked_at > BROKER_LOCK_TIME:
                logger.warning("%s was not locked for %.0f s and is taken over anew", queue, before - assigned.locked_at)
                outdated.append(assigned)
                continue
            assigned.extend_lock(before, before + LOCK_MAX_LIVE_TIME)
            if assigned.state is QueueState.OWNED:
                self._service.wake(assigned)
        for queue in refused:
            if queues[queue].state is QueueState.OWNED:
                logger.warning("%s is locked by another member now", queue)
                outdated.append(queues[queue])
        self.release(outdated, Reason.OUTDATED)

    def unlocked(self) -> list[AssignedQueue]:
        """OWNED queues whose lock has run out."""
        now = self._clock()
        return [assigned for assigned in self.assigned.values() if now >= assigned.locked_until]
