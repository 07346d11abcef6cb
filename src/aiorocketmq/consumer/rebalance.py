"""Which queues this member owns: takes queues over, gives them up, keeps ordered ones locked (Java: `RebalanceImpl`, `RebalancePushImpl`).

A queue is taken over only when its start offset is certain (and, for ordered consumers, its lock is held): a failed offset query
means another round, never a guess. Features F15, F16, F30, F32, F33, F45, G2, G3, G9, G10.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiorocketmq.client.statelog import StateLog
from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.members import MemberLists, Members
from aiorocketmq.consumer.offset_store import OffsetStore, ReadOffset
from aiorocketmq.consumer.queue_locks import BROKER_LOCK_TIME, LOCK_MAX_LIVE_TIME, QueueLocks
from aiorocketmq.core.hand_over import HandOver
from aiorocketmq.errors import RocketMQError, broker_not_found
from aiorocketmq.model.enums import StartFrom
from aiorocketmq.model.names import is_retry_topic
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.consumer.settings import PushSettings
    from aiorocketmq.remoting.channel import Channel

TAKE_OVERS: Final = 16
"""Topics whose queues are taken over at the same time."""
LOCK_INTERVAL: Final = 20.0
FIRST_LOCK: Final = 1.0
LOCK_RETRY_DELAY: Final = 0.5
GIVE_UP_WAIT: Final = 0.5
GIVE_UP_LOOKS: Final = 50
"""Seconds that listeners get to end, before a queue that goes to another member is let go of."""
NOTICE_TIME: Final = 0.1
"""Seconds in which brokers tell the other members of a newcomer."""
PULL_SETTLE_TIME: Final = 0.05
"""Seconds in which a broker begins to serve a pull."""
LEAVE_WAIT: Final = 0.5
"""Seconds that a stop waits for the rebalance round under way."""
UNLOCK_DELAY: Final = 20.0
"""A queue given up while its listener runs is unlocked when the listener has ended; after so many seconds that is logged."""

logger = logging.getLogger("aiorocketmq.consumer")


@dataclass(frozen=True, slots=True)
class _Share:
    """What falls to this member of one topic."""

    topic: str
    queues: tuple[MessageQueue, ...]
    mine: set[MessageQueue]


class Rebalancer:
    """The queues of one consumer.

    Args:
        instance: Routes, members, locks, offsets.
        settings: The consumer's settings.
        store: Keeps offsets.
        scheduler: Makes tasks.
        start_time_ms: Where `StartFrom.TIMESTAMP` starts, milliseconds since the epoch.
        expect: Called with a topic and the number of queues that it will have here, before the first of them is taken over.
        adopt: Called with a queue that was taken over; starts to pull it.
        abandon: Called with a queue that is being given up; nothing is pulled from then on.
        changed: Called with a topic, its queues and the owned ones after a change.
        locked: Called with a queue of an ordered consumer whose lock is held again.
        in_hand: Tells whether a listener is running with messages of a queue.

    Attributes:
        assigned: The owned queues.
        releasing: Queues that are being given up: their listeners are ending, their offsets are being saved.
        closing: True once no queue may be taken over any more.
    """

    def __init__(
        self,
        instance: ClientInstance,
        settings: PushSettings,
        store: OffsetStore,
        scheduler: Scheduler,
        *,
        start_time_ms: int,
        expect: Callable[[str, int], None],
        adopt: Callable[[AssignedQueue], None],
        abandon: Callable[[AssignedQueue], None],
        changed: Callable[[str, frozenset[MessageQueue], frozenset[MessageQueue]], None],
        locked: Callable[[AssignedQueue], None],
        in_hand: Callable[[AssignedQueue], bool],
    ) -> None:
        self.assigned: dict[MessageQueue, AssignedQueue] = {}
        self.releasing: dict[MessageQueue, AssignedQueue] = {}
        self.closing = False
        self._instance = instance
        self._settings = settings
        self._store = store
        self._scheduler = scheduler
        self._start_time_ms = start_time_ms
        self._expect = expect
        self._adopt = adopt
        self._abandon = abandon
        self._changed = changed
        self._locked = locked
        self._in_hand = in_hand
        # What another member of this kind needs at most: the notice, the minimum interval of its rounds, the end of its listeners.
        wait = 0.0 if settings.ordered else NOTICE_TIME + instance.config.rebalance_min_interval + GIVE_UP_WAIT
        self._hand_over = HandOver(wait)
        self._by_topic: dict[str, dict[MessageQueue, AssignedQueue]] = {}
        self._members = MemberLists(instance, settings.group)
        self._connections: dict[tuple[str, str], Channel | None] = {}
        self._clock = asyncio.get_running_loop().time
        self._turn = asyncio.Lock()
        self._locks = QueueLocks(instance, settings.group)
        self._last_seen: dict[str, tuple[frozenset[MessageQueue], frozenset[MessageQueue]]] = {}
        self._needs_lock = settings.ordered and not settings.broadcasting
        self._log = StateLog(logger)

    # --- sharing out ------------------------------------------------------------------------------------------------------------

    async def rebalance(self, topics: Collection[str]) -> bool:
        """Fit the owned queues to the topics, their queues and the members of the group.

        Returns:
            True when nothing is left to do.
        """
        async with self._turn:
            self._members.begin_round()
            shares: list[_Share] = []
            balanced = True
            for topic in topics:
                queues = self._instance.routes.subscribe_queues(topic)
                if queues is None:
                    # Not known yet: the route refresh goes on asking. A topic that is gone keeps its queues, as its route may come back.
                    continue
                mine = set(queues) if self._settings.broadcasting else await self._share_of(topic, queues)
                if mine is None:
                    balanced = False
                else:
                    shares.append(_Share(topic, queues, mine))
            left = self._by_topic.keys() - set(topics)
            # All at once: the listeners of all of them get the same moment to end.
            gone = [assigned for share in shares for queue, assigned in self._owned(share.topic).items() if queue not in share.mine]
            gone += [assigned for topic in left for assigned in self._owned(topic).values()]
            await self._give_up(gone)
            for topic in left:
                self._tell_changed(topic, frozenset())
            return await self._take_shares(shares) and balanced

    async def drop_topic(self, topic: str) -> None:
        """Give up all queues of a topic that is not subscribed any more."""
        async with self._turn:
            await self._give_up(list(self._owned(topic).values()))
            self._tell_changed(topic, frozenset())

    async def _take_shares(self, shares: Iterable[_Share]) -> bool:
        growing: dict[str, _Share] = {}
        for share in shares:
            self._expect(share.topic, len(share.mine))
            if self.assigned.keys() >= share.mine:
                self._tell_changed(share.topic, frozenset(share.queues))
            else:
                growing[share.topic] = share
        turn = asyncio.Semaphore(TAKE_OVERS)

        async def take(share: _Share) -> bool:
            async with turn:
                balanced = await self._take_over([queue for queue in share.queues if queue in share.mine and queue not in self.assigned])
            self._tell_changed(share.topic, frozenset(share.queues))
            return balanced

        outcomes = await self._scheduler.gather("take over topic", {topic: take(share) for topic, share in growing.items()})
        for outcome in outcomes.values():
            if isinstance(outcome, Exception):
                raise outcome
        return all(outcomes.values())

    async def _share_of(self, topic: str, queues: tuple[MessageQueue, ...]) -> set[MessageQueue] | None:
        """The queues that fall to this member, or None when that cannot be told now."""
        client_id = self._instance.client_id
        members = await self._members.of(topic)
        if members is None:
            return None
        if client_id not in members.ids:
            if not members.greeted:
                # The broker does not know us (it was restarted, or we were silent too long): the others have shared out our queues, too.
                logger.warning("%s is not among the %d members of group %s: heartbeat", client_id, len(members.ids), self._settings.group)
                members = await self._members.greet(topic)
            return None if members is not None and client_id in members.ids else set()
        ordered_queues, ordered_members = sorted(queues), tuple(sorted(members.ids))

        def allocated(member: str, of_members: Sequence[str]) -> Collection[MessageQueue]:
            return self._settings.allocate.allocate(self._settings.group, member, ordered_queues, of_members)

        try:
            mine = set(allocated(client_id, ordered_members))
            reconnected = self._reconnected(topic, members)
            self._hand_over.plan(topic, queues, ordered_members, allocated, self._clock(), reconnected=reconnected)
        except Exception:
            logger.exception("allocation strategy %s failed for topic %s, the queues stay as they are", self._settings.allocate.name, topic)
            return None
        return mine

    def _reconnected(self, topic: str, members: Members) -> bool:
        """Whether the list came over another connection than the last one for this topic."""
        key = members.address, topic
        last = self._connections.get(key)
        self._connections[key] = members.connection
        return last is not None and last is not members.connection

    def _tell_changed(self, topic: str, queues: frozenset[MessageQueue]) -> None:
        owned = frozenset(self._owned(topic))
        if self._last_seen.get(topic, (frozenset(), frozenset())) != (queues, owned):
            if queues:
                self._last_seen[topic] = queues, owned
            else:
                self._last_seen.pop(topic, None)
            logger.info("group %s owns %d of %d queues of topic %s", self._settings.group, len(owned), len(queues), topic)
            self._changed(topic, queues, owned)

    def _owned(self, topic: str) -> Mapping[MessageQueue, AssignedQueue]:
        return self._by_topic.get(topic, {})

    def _own(self, assigned: AssignedQueue) -> None:
        self.assigned[assigned.queue] = assigned
        self._by_topic.setdefault(assigned.queue.topic, {})[assigned.queue] = assigned

    def _disown(self, queue: MessageQueue) -> None:
        if self.assigned.pop(queue, None) is None:
            return
        own = self._by_topic[queue.topic]
        del own[queue]
        if not own:
            del self._by_topic[queue.topic]

    # --- taking queues over -----------------------------------------------------------------------------------------------------

    async def _take_over(self, queues: list[MessageQueue]) -> bool:
        now = self._clock()
        early = self._hand_over.early(queues, now)
        if early:
            self._instance.rebalance.wake_later(min(early.values()) - now)
            queues = [queue for queue in queues if queue not in early]  # no round is of use to the others before that
        queues_free = [queue for queue in queues if queue not in self.releasing]
        locked_at = self._clock()
        wanted = (await self._locks.take(queues_free))[0] if self._needs_lock else set(queues_free)
        if len(wanted) < len(queues):
            self._instance.rebalance.wake_later(LOCK_RETRY_DELAY)
        by_broker: dict[str, list[MessageQueue]] = defaultdict(list)
        for queue in queues_free:
            if queue in wanted:
                by_broker[queue.broker_name].append(queue)
        if not by_broker:
            return len(wanted) == len(queues)
        outcomes = await self._scheduler.gather(
            "take over", {broker: self._take_over_of_broker(broker, own, locked_at) for broker, own in by_broker.items()}
        )
        for broker, outcome in outcomes.items():
            if isinstance(outcome, Exception) and not self.closing:
                logger.error("queues of broker %s cannot be taken over: %s", broker, outcome, exc_info=outcome)
        return len(wanted) == len(queues) and all(outcome is True for outcome in outcomes.values())

    async def _take_over_of_broker(self, broker: str, queues: list[MessageQueue], locked_at: float) -> bool:
        for queue in queues:
            self._store.remove_offset(queue)
            try:
                offset, by_rule = await self._start_offset(queue)
            except RocketMQError as error:
                self._log.failed(broker, "start offset of %s cannot be found out now, it is not consumed yet: %s", queue, error)
                return False
            if self.closing:
                return False
            locked_until = locked_at + LOCK_MAX_LIVE_TIME if self._needs_lock else float("inf")
            assigned = AssignedQueue(queue, offset, commit_start=by_rule and offset > 0, locked_until=locked_until)
            assigned.locked_at = locked_at
            self._own(assigned)
            logger.debug("%s is consumed from offset %d", queue, offset)
            self._adopt(assigned)
        self._log.worked(broker, "start offsets of broker %s can be found out again", broker)
        return True

    async def _start_offset(self, queue: MessageQueue) -> tuple[int, bool]:
        """Where to start (F15, F16), and whether that came from the rules for groups without an offset."""
        stored = await self._store.read_offset(queue, ReadOffset.READ_FROM_STORE)
        if stored >= 0:
            return stored, False
        if is_retry_topic(queue.topic):
            return 0, True  # whatever comes back belongs to messages that this group has seen
        address = self._broker_address(queue)
        api = self._instance.broker_api
        match self._settings.start_from:
            case StartFrom.LAST:
                return await api.max_offset(address, queue), True
            case StartFrom.FIRST:
                return await api.min_offset(address, queue), True
            case StartFrom.TIMESTAMP:
                return await api.search_offset(address, queue, self._start_time_ms), True

    def _broker_address(self, queue: MessageQueue) -> str:
        found = self._instance.find_broker_address_in_subscribe(queue.broker_name, 0)
        if found is None:
            raise broker_not_found(queue.broker_name, topic=queue.topic)
        return found.address

    # --- giving queues up -------------------------------------------------------------------------------------------------------

    async def _give_up(self, gone: Collection[AssignedQueue]) -> None:
        """Save the offsets of queues that another member gets, and let go of them."""
        for assigned in gone:
            self._abandon(assigned)
            self._disown(assigned.queue)
            self.releasing[assigned.queue] = assigned
        if self._needs_lock:
            for assigned in gone:
                # Its listener may be running: until it has ended, nobody else may have the queue.
                assigned.revoked = True
                self._scheduler.spawn(f"release {assigned.queue}", self._release(assigned))
        elif gone:
            await self._let_go(gone)

    async def _let_go(self, gone: Collection[AssignedQueue]) -> None:
        for assigned in gone:
            assigned.messages.closing = True
        await self._pulls_settled(gone)
        # The member that gets them reads our offsets in a moment: what is in hand should be part of them.
        for _ in range(GIVE_UP_LOOKS):
            await asyncio.sleep(GIVE_UP_WAIT / GIVE_UP_LOOKS)
            if not any(map(self._in_hand, gone)):
                break
        by_broker: dict[str, list[AssignedQueue]] = defaultdict(list)
        for assigned in gone:
            self._note_offset(assigned)
            assigned.messages.drop()
            by_broker[assigned.queue.broker_name].append(assigned)
        await self._scheduler.gather("save offsets", {broker: self._save(own) for broker, own in by_broker.items()})

    async def _pulls_settled(self, queues: Collection[AssignedQueue]) -> None:
        """Brokers store the offset of a pull in another thread than one that is saved: give the last pulls a moment to be served."""
        last = max((assigned.puller.pulled_at for assigned in queues), default=0.0)
        await asyncio.sleep(max(0.0, last + PULL_SETTLE_TIME - self._clock()))

    async def _save(self, gone: Iterable[AssignedQueue]) -> None:
        for assigned in gone:
            await self._store.persist(assigned.queue)
            self._store.remove_offset(assigned.queue)
            self.releasing.pop(assigned.queue, None)

    async def _release(self, assigned: AssignedQueue) -> None:
        """Wait for the listener, save, unlock: in this order no message is seen by two members, and none twice."""
        queue = assigned.queue
        try:
            waiting = self._scheduler.spawn(f"wait for {queue}", assigned.released())
            done, _ = await asyncio.wait([waiting], timeout=UNLOCK_DELAY)
            if not done:
                logger.warning("%s was given up %.0f s ago, but its listener still runs: it stays locked until then", queue, UNLOCK_DELAY)
                await waiting
            await self._pulls_settled([assigned])
            self._note_offset(assigned)
            assigned.messages.drop()
            await self._save([assigned])
            await self._locks.give_back([queue])
        finally:
            assigned.messages.drop()
            self.releasing.pop(queue, None)
        self._instance.rebalance.wake()  # it may have come back to this member meanwhile

    def _note_offset(self, assigned: AssignedQueue) -> None:
        offset = assigned.messages.commit_offset
        if offset >= 0:
            self._store.update_offset(assigned.queue, offset, increase_only=True)

    async def correct_offset(self, assigned: AssignedQueue, offset: int) -> None:
        """The broker has nothing at our offset: drop the queue, save the offset it names, and take the queue over anew (F33)."""
        async with self._turn:
            queue = assigned.queue
            if self.assigned.get(queue) is not assigned:
                return
            logger.warning("%s: the broker has nothing at offset %d, going on at %d", queue, assigned.puller.next_offset, offset)
            self._abandon(assigned)
            assigned.messages.drop()
            self._store.update_and_freeze_offset(queue, offset)
            await self._store.persist(queue)
            self._store.remove_offset(queue)
            self._disown(queue)
        self._instance.rebalance.wake()

    async def persist(self, *, confirm: bool = False) -> None:
        """Save what is consumed of all queues."""
        await self._store.persist_all(self._note_offsets(), confirm=confirm)

    def offsets(self, topic: str | None) -> dict[MessageQueue, int]:
        """What is consumed of the owned queues, of one topic or of all."""
        self._note_offsets()
        return self._store.clone_offset_table(topic)

    def _note_offsets(self) -> list[MessageQueue]:
        owned = {**self.assigned, **self.releasing}
        for assigned in owned.values():
            self._note_offset(assigned)
        return list(owned)

    # --- locks (ordered consumers) ----------------------------------------------------------------------------------------------

    async def renew_locks(self, only: Collection[MessageQueue] | None = None) -> None:
        """Renew the locks of all owned queues, or of some (every 20 s, and when one has run out)."""
        before = self._clock()
        owned = {**self.assigned, **self.releasing}
        granted, refused = await self._locks.take([queue for queue in owned if only is None or queue in only])
        for queue in granted:
            if not owned[queue].messages.dropped:
                await self._renewed(owned[queue], before)
        for queue in refused:
            if owned[queue].locked_until > before:
                logger.warning("%s is locked by another member now", queue)
                owned[queue].locked_until = before

    async def _renewed(self, assigned: AssignedQueue, before: float) -> None:
        if before - assigned.locked_at > BROKER_LOCK_TIME and not assigned.revoked:
            # Another member may have had it in between: what is cached here is out of date.
            logger.warning("%s was not locked for %.0f s and is taken over anew", assigned.queue, before - assigned.locked_at)
            async with self._turn:
                if self.assigned.get(assigned.queue) is assigned:
                    self._abandon(assigned)
                    assigned.messages.drop()
                    self._disown(assigned.queue)
                    self._store.remove_offset(assigned.queue)
            self._instance.rebalance.wake()
            return
        assigned.locked_at = before
        assigned.locked_until = before + LOCK_MAX_LIVE_TIME
        self._locked(assigned)

    async def leave(self) -> None:
        """The consumer stops: save everything for certain, and unlock."""
        self.closing = True
        with contextlib.suppress(TimeoutError):  # a round that waits for a broker takes nothing over any more
            async with asyncio.timeout(LEAVE_WAIT), self._turn:
                pass
        await self._pulls_settled(self.assigned.values())
        try:
            await self.persist(confirm=True)
        finally:
            for assigned in [*self.assigned.values(), *self.releasing.values()]:
                assigned.messages.drop()
            self.assigned.clear()
            self._by_topic.clear()
            self.releasing.clear()
        await self._locks.give_back_all()
