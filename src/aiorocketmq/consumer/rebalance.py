"""Which queues fall to this member (Java: `RebalanceImpl.rebalanceByTopic`).

Topics on the same brokers are shared out together, each such set by itself: a broker that is slow to tell the members delays no topic of
another one, and a round waits a moment for what it has begun, and not longer. Features F45, G1-G3, G9, G11.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiorocketmq.client.statelog import StateLog
from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.members import Brokers, MemberLists, Members
from aiorocketmq.consumer.queues import QueueTable, Reason
from aiorocketmq.consumer.taking import TakeOver
from aiorocketmq.core.allocate import share_of
from aiorocketmq.core.hand_over import HandOver
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.consumer.assignment import Assignment, Assignments
    from aiorocketmq.consumer.settings import ConsumerSettings
    from aiorocketmq.remoting.channel import Channel

ROUND_WAIT: Final = 1.0
"""Seconds that a round waits for what it has begun; what takes longer goes on by itself, and the next round looks after it."""

logger = logging.getLogger("aiorocketmq.consumer")


@dataclass(frozen=True, slots=True)
class _Share:
    """What falls to this member of one topic.

    Attributes:
        topic: The topic.
        queues: All its queues.
        mine: Those to pull.
        popped: Those to pop; None when brokers were not asked.
    """

    topic: str
    queues: tuple[MessageQueue, ...]
    mine: set[MessageQueue]
    popped: frozenset[MessageQueue] | None = None


class Rebalancer:
    """Fits the queues of one consumer to its topics, their queues and the members of the group.

    Args:
        instance: Routes and members.
        settings: The consumer's settings.
        scheduler: Makes the tasks.
        table: The queues.
        hand_over: Which queues their last holder still has.
        take_over: Takes queues over.
        subscribed: Tells whether a topic is still subscribed.
        expect: Called with a topic and the number of queues that it will have here, before the first of them is taken over.
        changed: Called with a topic, its queues and the owned ones after a change.
        pop: Called with a topic and those of its queues that brokers want to be popped, where brokers share the queues out.
    """

    def __init__(
        self,
        instance: ClientInstance,
        settings: ConsumerSettings,
        scheduler: Scheduler,
        table: QueueTable,
        hand_over: HandOver,
        take_over: TakeOver,
        *,
        subscribed: Callable[[str], bool],
        expect: Callable[[str, int], None],
        changed: Callable[[str, frozenset[MessageQueue], frozenset[MessageQueue]], None],
        pop: Callable[[str, frozenset[MessageQueue]], None],
    ) -> None:
        self._instance = instance
        self._settings = settings
        self._scheduler = scheduler
        self._table = table
        self._hand_over = hand_over
        self._take_over = take_over
        self._subscribed = subscribed
        self._expect = expect
        self._changed = changed
        self._pop = pop
        self._assignments: Assignments | None = None
        if settings.asks_brokers:
            from aiorocketmq.consumer.assignment import Assignments  # for those who want it

            self._assignments = Assignments(instance, settings)
        self._members = MemberLists(instance, settings.group)
        self._connections: dict[tuple[str, str], Channel | None] = {}
        self._clock = asyncio.get_running_loop().time
        self._sections: dict[Brokers, asyncio.Task[bool]] = {}
        self._seen: dict[str, frozenset[MessageQueue]] = {}
        self._told: dict[str, tuple[frozenset[MessageQueue], frozenset[MessageQueue]]] = {}
        self.log = StateLog(logger)

    @property
    def logs(self) -> tuple[StateLog, ...]:
        """What fails and lasts: of the rounds, of the questions for members, of those for queues."""
        return self.log, self._members.log, *((self._assignments.log,) if self._assignments is not None else ())

    @property
    def assigned(self) -> dict[MessageQueue, AssignedQueue]:
        """The queues that this member owns."""
        return self._table.assigned

    @property
    def releasing(self) -> dict[MessageQueue, AssignedQueue]:
        """The queues that are being released."""
        return self._table.releasing

    def offsets(self, topic: str | None = None) -> dict[MessageQueue, int]:
        """What is consumed of the owned queues, of one topic or of all."""
        return self._table.offsets(topic)

    async def rebalance(self, topics: Collection[str]) -> bool:
        """One round.

        Returns:
            True when nothing is left to do.
        """
        ending = [task for topic in self._table.topics.difference(topics) for task in self._drop(topic)]
        by_brokers: dict[Brokers, list[str]] = {}
        for topic in topics:
            if self._instance.routes.subscribe_queues(topic) is not None:
                # Else: not known yet, the route refresh goes on asking. A topic that is gone keeps its queues, as its route may come back.
                by_brokers.setdefault(self._members.brokers(topic), []).append(topic)
        balanced = True
        begun: list[asyncio.Task[Any]] = list(ending)
        sections = []
        for brokers, own in by_brokers.items():
            if brokers in self._sections:
                balanced = False  # the round before still waits for it
                continue
            section = self._sections[brokers] = self._scheduler.spawn("share out", self._section(own), log_errors=False)
            # Not by the task itself: one that is cancelled before its first step would never do it.
            section.add_done_callback(partial(self._over, brokers))
            sections.append(section)
        begun += sections
        if begun:
            await asyncio.wait(begun, timeout=ROUND_WAIT)
        for section in sections:
            if not section.done():
                balanced = False
                section.add_done_callback(self._late)
            else:
                balanced = section.result() and balanced
        return balanced and all(task.done() for task in ending)

    def _over(self, brokers: Brokers, _: asyncio.Task[bool]) -> None:
        del self._sections[brokers]

    def _late(self, section: asyncio.Task[bool]) -> None:
        if not section.cancelled() and (error := section.exception()) is not None:
            self.log.failed("round", "a round of group %s failed: %s", self._settings.group, error, exc_info=error)
        self._instance.rebalance.wake()

    async def settled(self) -> None:
        """Wait until what rounds have begun is over; cancelling it stops nothing."""
        while begun := [*self._sections.values(), *self._take_over.lanes]:
            await asyncio.wait(begun)

    async def drop_topic(self, topic: str) -> None:
        """Release all queues of a topic that is not subscribed any more, and wait until they are gone; cancelling it stops nothing."""
        tasks = self._drop(topic)
        if tasks:
            await asyncio.wait(tasks)

    def _drop(self, topic: str) -> list[asyncio.Task[None]]:
        self._table.not_wanted([assigned for queue, assigned in self._table.waiting.items() if queue.topic == topic])
        tasks = self._table.release(list(self._table.owned_of(topic).values()), Reason.GIVEN_UP)
        self._hand_over.forget(topic)
        if self._assignments is not None:
            self._assignments.forget(topic)
            self._pop(topic, frozenset())
        self._seen.pop(topic, None)
        self.tell_changed(topic, frozenset())
        return tasks

    # --- the topics of some brokers -----------------------------------------------------------------------------------------------

    async def _section(self, topics: Sequence[str]) -> bool:
        balanced = True
        members = None if self._settings.broadcasting else await self._list_members(topics[0])
        told = await self._ask_brokers(topics, members)
        shares = []
        for topic in topics:
            queues = self._instance.routes.subscribe_queues(topic)
            if queues is None or not self._subscribed(topic):
                continue
            mine = set(queues) if self._settings.broadcasting else self._share_of(topic, queues, members)
            popped: frozenset[MessageQueue] | None = None
            if topic in told:
                assignment = told[topic]
                complete = assignment is not None and assignment.complete
                if assignment is not None and mine != assignment.pulled:
                    self._hand_over.forget(topic)  # nobody knows what the others have
                mine, popped = (None, None) if assignment is None else (assignment.pulled, assignment.popped)
                balanced = balanced and complete
            elif self._assignments is not None:
                popped = frozenset()
            if mine is None:
                balanced = False
            else:
                shares.append(_Share(topic, queues, mine, popped))
        return await self._fit(shares) and balanced

    async def _ask_brokers(self, topics: Sequence[str], members: Members | None) -> Mapping[str, Assignment | None]:
        """What brokers have assigned, of the topics that they share out; None: nothing that can be used now."""
        assignments = self._assignments
        if assignments is None:
            return {}
        near = members.address if members is not None else None  # best the broker that has told the members: it knows this one
        works = {topic: assignments.of(topic, near) for topic in topics}
        outcomes = await self._scheduler.gather("ask for queues", works)
        told: dict[str, Assignment | None] = {}
        for topic, outcome in outcomes.items():
            if isinstance(outcome, BaseException):
                raise outcome
            if not assignments.left_to_us(topic):
                told[topic] = outcome
        return told

    async def _list_members(self, topic: str) -> Members | None:
        """The members, this one among them as far as the broker can be brought to know it; None when they cannot be told now."""
        client_id = self._instance.client_id
        members = await self._members.of(topic)
        if members is not None and client_id not in members.ids:
            # The broker does not know us (it was restarted, or we were silent too long): the others have shared out our queues, too.
            logger.warning("%s is not among the %d members of group %s: heartbeat", client_id, len(members.ids), self._settings.group)
            members = await self._members.greet(topic)
        return members

    def _share_of(self, topic: str, queues: tuple[MessageQueue, ...], members: Members | None) -> set[MessageQueue] | None:
        """The queues that fall to this member, or None when that cannot be told now: they stay as they are."""
        if members is None:
            return None
        if self._instance.client_id not in members.ids:
            return set()
        ordered_queues, ordered_members = tuple(sorted(queues)), tuple(sorted(members.ids))
        strategy = self._settings.allocate

        def allocated(member: str, of_members: Sequence[str]) -> set[MessageQueue]:
            return share_of(strategy, self._settings.group, member, ordered_queues, tuple(of_members))

        key = f"strategy {topic}"
        try:
            mine = allocated(self._instance.client_id, ordered_members)
            reconnected = self._reconnected(topic, members)
            self._hand_over.plan(topic, queues, ordered_members, allocated, self._clock(), reconnected=reconnected)
        except (Exception, asyncio.CancelledError, GeneratorExit) as error:  # noqa: BLE001 - the user's own strategy: nobody cancels it
            text = "allocation strategy %s failed for topic %s, the queues stay as they are: %s: %s"
            self.log.failed(key, text, strategy.name, topic, type(error).__name__, error, exc_info=error)
            return None
        self.log.worked(key, "allocation strategy %s works again for topic %s", strategy.name, topic)
        return mine

    def _reconnected(self, topic: str, members: Members) -> bool:
        """Whether the list came over another connection than the last one for this topic."""
        key = members.address, topic
        last = self._connections.get(key)
        self._connections[key] = members.connection
        return last is not None and last is not members.connection

    async def _fit(self, shares: Iterable[_Share]) -> bool:
        """Release what falls to others, and take over what falls to us. All at once: listeners of all topics get the same moment to end."""
        table = self._table
        gone = [assigned for share in shares for queue, assigned in table.owned_of(share.topic).items() if queue not in share.mine]
        releases = table.release(gone, Reason.GIVEN_UP)
        mine = {share.topic: share.mine for share in shares}
        table.not_wanted([each for queue, each in table.waiting.items() if queue.topic in mine and queue not in mine[queue.topic]])
        for share in shares:
            if share.popped is not None:
                self._pop(share.topic, share.popped)
            self._expect(share.topic, len(share.mine))
            seen = self._seen.get(share.topic)
            self._seen[share.topic] = frozenset(share.queues)
            if seen is not None:
                self._take_over.added(share.mine.difference(seen))
            for queue in share.mine:
                table.want(queue)
        brokers = {self._take_over.broker_of(queue) for queue in table.waiting if queue.topic in mine}
        lanes = self._take_over.begin(brokers)
        tasks: list[asyncio.Task[Any]] = [*releases, *lanes]
        if tasks:
            await asyncio.wait(tasks, timeout=ROUND_WAIT)
        for share in shares:
            if self._subscribed(share.topic):
                self.tell_changed(share.topic, frozenset(share.queues))
        taken = all(lane.done() and not lane.cancelled() and lane.exception() is None and lane.result() for lane in lanes)
        return taken and all(release.done() for release in releases)

    def tell_changed(self, topic: str, queues: frozenset[MessageQueue]) -> None:
        """Tell whoever wants to know, if a topic has other queues than before, or others of them are owned."""
        owned = frozenset(self._table.owned_of(topic))
        if self._told.get(topic, (frozenset(), frozenset())) != (queues, owned):
            if queues:
                self._told[topic] = queues, owned
            else:
                self._told.pop(topic, None)
            logger.info("group %s owns %d of %d queues of topic %s", self._settings.group, len(owned), len(queues), topic)
            self._changed(topic, queues, owned)
