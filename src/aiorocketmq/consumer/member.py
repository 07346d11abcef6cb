"""A running member of a consumer group: subscriptions, queues, pulls and offsets (Java: `DefaultMQPushConsumerImpl`, `RebalanceImpl`).

What lives between the start and the stop of a consumer that pulls queues, and what the client instance sees of it. What happens to the
messages is the business of its `ConsumeService`, which each kind of consumer makes for itself.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Final

from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.filter_check import check_filters
from aiorocketmq.consumer.group_check import CHECK_INTERVAL, FIRST_CHECK, GroupCheck
from aiorocketmq.consumer.lock_keeper import LockKeeper
from aiorocketmq.consumer.progress import Progress
from aiorocketmq.consumer.pulling import Pulls
from aiorocketmq.consumer.queue_locks import QueueLocks
from aiorocketmq.consumer.queues import GIVE_UP_WAIT, QueueTable
from aiorocketmq.consumer.rebalance import Rebalancer
from aiorocketmq.consumer.saving import OffsetSaver
from aiorocketmq.consumer.start_offset import Committed, StartOffsets
from aiorocketmq.consumer.store_choice import store_of
from aiorocketmq.consumer.taking import FirstOffsets, TakeOver
from aiorocketmq.consumer.topic_routes import TopicRoutes
from aiorocketmq.core.hand_over import HandOver
from aiorocketmq.core.process_queue import ProcessQueue
from aiorocketmq.errors import ClientStateError, ConfigError, broker_not_found, fresh
from aiorocketmq.model.enums import ConsumeType, MessageModel, StartFrom
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from aiorocketmq.client.examine import Own
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.consumer.send_back import SendBack
    from aiorocketmq.consumer.service import ConsumeService
    from aiorocketmq.consumer.settings import ConsumerSettings
    from aiorocketmq.consumer.subscriptions import Subscriptions
    from aiorocketmq.model.received import ReceivedMessage
    from aiorocketmq.protocol.bodies_client import ConsumeMessageDirectlyResult, ConsumerRunningInfo

LEAVE_MIN: Final = 1.0
LEAVE_MAX: Final = 5.0
"""Bounds in seconds of the time for saving offsets at a stop, after the listeners have ended."""
FIRST_ROUND: Final = 3.0
"""Seconds that a start, or a new subscription, waits until its queues are taken over: with `StartFrom.LAST` what is sent behind it has to
come. A broker that takes longer holds nobody up."""
NOTICE_TIME: Final = 0.1
"""Seconds in which brokers tell the other members of a newcomer."""

logger = logging.getLogger("aiorocketmq.consumer")


class GroupMember(ABC):
    """One consumer on an instance; implements `client.ports.ConsumerPort`.

    Args:
        instance: The client instance.
        settings: The consumer's settings.
        subscriptions: Shared with the public consumer.
        made_at: When the consumer was made, seconds since the epoch.

    Attributes:
        loop: The event loop that it lives on.
        store: Keeps the offsets.
        saver: Saves them.
        service: What the messages are brought to.
        queues: The queues and where they are in their lives.
        pulls: Pulls the queues.
        group_check: Looks for members with other subscriptions.
        progress: Looks which queues move.
        joined: True once queues may be taken over.
        greeted: True once the brokers have answered the first heartbeat: a round before would find that they do not know the group.
        stopping: True once no queue may be taken over or given up any more.
    """

    service: ConsumeService
    consume_type: ClassVar[ConsumeType]
    """The name that brokers know this kind of consumer by."""

    def __init__(self, instance: ClientInstance, settings: ConsumerSettings, subscriptions: Subscriptions, *, made_at: float) -> None:
        self.instance = instance
        self.loop = asyncio.get_running_loop()
        self.subscriptions_table = subscriptions
        self.scheduler = scheduler = Scheduler(f"consumer {settings.group}")
        self.joined = self.greeted = self.stopping = False
        self._settings = settings
        self._settled = asyncio.Event()
        self._settling: asyncio.Task[None] | None = None
        self.store = store_of(settings, instance)
        self.service = self._make_service()
        locks = QueueLocks(instance, scheduler, settings.group) if settings.ordered and not settings.broadcasting else None
        self.saver = saver = OffsetSaver(self.store, scheduler, settings.group, instance.routes.broker_of)
        self.queues = table = QueueTable(scheduler, self.service, saver, locks, instance.rebalance.wake, self._make_messages)
        self._locks = LockKeeper(table, scheduler) if locks is not None else None
        self.pulls = Pulls(
            instance, settings, subscriptions, scheduler, self.service,
            moved=self._moved, reset=self.reset_offsets, lock_lost=self.lock_lost,
        )  # fmt: skip
        # What another member of this kind needs at most: the notice, the minimum interval of its rounds, the end of its listeners.
        hand_over = HandOver(0.0 if settings.ordered else NOTICE_TIME + instance.config.rebalance_min_interval + GIVE_UP_WAIT)
        self._routes = TopicRoutes(instance, subscriptions, settings.group)
        self._committed = Committed(instance, self.store, settings.group)
        start_offsets = self._make_start_offsets(made_at)
        self._take_over = take_over = TakeOver(
            table, scheduler, hand_over, locks, start_offsets,
            adopt=self._adopt, ask_again=instance.rebalance.wake_later, broker_of=instance.routes.broker_of,
        )  # fmt: skip
        self.rebalancer = Rebalancer(
            instance, settings, scheduler, table, hand_over, take_over,
            subscribed=self.subscribes, expect=self.pulls.divide_thresholds, changed=self._queues_changed, pop=self.pop,
        )  # fmt: skip
        self.group_check = GroupCheck(instance, settings.group)
        self.progress = Progress(table, settings.group, settings.stuck_after)
        self._logs = (*self.rebalancer.logs, saver.log, *((locks.log,) if locks is not None else ()))
        self._hand_backs: dict[str, SendBack] = {}
        self._made_at = made_at
        self._registered = False

    @abstractmethod
    def _make_service(self) -> ConsumeService:
        """What the messages are brought to; called once, when the scheduler and the store are there."""

    def _make_messages(self, queue: MessageQueue, offset: int, commit_start: bool) -> ProcessQueue:
        """What holds the messages of a queue that was taken over."""
        return ProcessQueue(queue, offset, commit_start=commit_start)

    def pop(self, topic: str, queues: frozenset[MessageQueue]) -> None:
        """Brokers want these queues of a topic, and no others, to be popped by this member: a broker's name with -1 is all its queues.

        Called in each round in which a broker has assigned the queues of the topic, before those to be pulled are taken over, and with
        none when that is over.
        """
        key = f"pop {topic}"
        if queues:
            text = "brokers want group %s to pop topic %s, which this consumer cannot: it gets nothing (mqadmin setConsumeMode -m PULL)"
            self.rebalancer.log.failed(key, text, self.group, topic)
        else:
            self.rebalancer.log.worked(key, "group %s has not to pop topic %s any more", self.group, topic)

    def _make_start_offsets(self, made_at: float) -> FirstOffsets:
        """What tells where queues begin that are taken over."""
        instance, settings = self.instance, self._settings
        return StartOffsets(instance, self._committed, settings.start_from, settings.start_time_ms(made_at), self._routes.unborn_at)

    def _adopt(self, assigned: AssignedQueue) -> None:
        """A queue was taken over."""
        self.pulls.adopt(assigned)

    @abstractmethod
    def _watch(self) -> None:
        """Begin what this kind of consumer does at regular intervals."""

    @abstractmethod
    def adjust_workers(self) -> None:
        """See `ConsumerPort.adjust_workers`."""

    def _properties(self) -> dict[str, str]:
        """What the running info of this kind of consumer says besides what that of all says."""
        return {}

    def consume_directly(self, message: ReceivedMessage) -> Awaitable[ConsumeMessageDirectlyResult] | None:
        """See `ConsumerPort.consume_directly`; those without listeners cannot."""
        return None

    # --- what its parts tell each other -------------------------------------------------------------------------------------------

    def lock_lost(self) -> None:
        """A queue has no valid lock."""
        if self._locks is not None:
            self._locks.lost()

    def _moved(self, assigned: AssignedQueue, offset: int, *, deleted: bool) -> None:
        """The broker has nothing at the offset that was asked for.

        Args:
            assigned: The queue.
            offset: Where it has to go on.
            deleted: What is below that was there and is not any more; else offsets were reset, or the broker has lost messages.
        """
        if not deleted:
            self.begin_anew({assigned.queue: offset})
            return
        # What was pulled before the broker deleted it, and what is in hand, is all that is left of it.
        assigned.messages.advance(offset)
        self.pulls.adopt(assigned)

    def begin_anew(self, offsets: Mapping[MessageQueue, int]) -> list[asyncio.Task[None]]:
        """Go on elsewhere with some of the queues; gives back what is over when that is saved."""
        return self.queues.reset(offsets)

    def _queues_changed(self, topic: str, queues: frozenset[MessageQueue], owned: frozenset[MessageQueue]) -> None:
        self.pulls.divide_thresholds(topic, len(owned))
        listener = self._settings.message_queue_listener
        if listener is None or topic == self.subscriptions_table.retry_topic:
            return
        try:
            listener(topic, queues, owned)
        except (Exception, asyncio.CancelledError, GeneratorExit):  # the user's code: nobody cancels it
            logger.exception("message_queue_listener of group %s failed for topic %s", self.group, topic)

    # --- life ---------------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the instance and begin to consume; the instance runs. After a failure `stop()` undoes what was begun.

        Raises:
            GroupAlreadyRegisteredError: The group has a consumer on this instance.
            SubscriptionError: A broker cannot evaluate a filter.
            AuthenticationError: No broker accepts the credentials.
            RocketMQError: The offsets cannot be loaded.
        """
        await self.store.load()
        await self.instance.register_consumer(self)
        self._registered = True
        await self._routes.fetch()
        await check_filters(self.instance, self.group, self.subscriptions_table.all)
        self._watch()
        if self._locks is not None:
            self._locks.start()
        self.scheduler.every("compare subscriptions", CHECK_INTERVAL, lambda: self.group_check.run(self.subscriptions()), first=FIRST_CHECK)
        self.scheduler.every("look for progress", self.progress.interval, self.progress.look)
        self._routes.watch(self.scheduler)
        # From here on: a broker's notice that the group has a new member may overtake its answer to the heartbeat.
        self.joined = True
        await self.instance.heartbeat.send_all(full=True)
        refusal = self.instance.heartbeat.refusal()
        if refusal is not None:
            raise fresh(refusal)
        self.greeted = True
        self.instance.rebalance.begin(self)

    async def settle(self) -> None:
        """Wait until the first round is over, as far as it does not take long; ends when the consumer is closed."""
        if self.stopping:
            return
        self._settling = self.scheduler.spawn("first queues", self._first_queues())
        await asyncio.wait([self._settling], timeout=FIRST_ROUND)

    async def _first_queues(self) -> None:
        await self._settled.wait()
        await self.rebalancer.settled()

    async def _take_over_now(self) -> None:
        """Take over what falls to this member without waiting for the next round; what takes long goes on by itself."""
        await asyncio.wait([self.scheduler.spawn("round of a new topic", self._extra_round())], timeout=FIRST_ROUND)

    async def _extra_round(self) -> None:
        balanced = False
        try:
            balanced = await self.rebalance()
            if not balanced:  # another round was under way, and had begun before
                await self.rebalancer.settled()
                balanced = await self.rebalance()
            await self.rebalancer.settled()
        finally:
            if not balanced:
                self.instance.rebalance.wake()

    def close(self) -> None:
        """From now on nothing is pulled and no call begins; `stop()` follows."""
        self.stopping = True
        if self._settling is not None:
            self._settling.cancel()
        self.queues.close()

    async def stop(self, force: asyncio.Event) -> None:
        """Stop pulling, let what has begun end, save offsets, unlock, leave the group. Never raises for a broker that is gone.

        Args:
            force: Set, it ends the wait for what has begun.
        """
        self.close()
        try:
            if not self.scheduler.closed:  # else it was cut off in its last step
                await self.queues.finish(await self._end_work(force))
        except asyncio.CancelledError:
            raise  # by code outside of the library: it is done again
        except BaseException:
            await self._end()
            raise
        await self._end()

    async def _end_work(self, force: asyncio.Event) -> float:
        """Let what has begun end; gives back the loop time at which the saving that follows ends in any case."""
        return asyncio.get_running_loop().time() + (LEAVE_MIN if force.is_set() else LEAVE_MAX)

    async def _end(self) -> None:
        if self._registered:
            await self.instance.unregister_consumer(self)
        self._routes.close()
        self._hand_backs.clear()
        await self.scheduler.stop()

    # --- ConsumerPort -----------------------------------------------------------------------------------------------------------

    @property
    def group(self) -> str:
        """The consumer group."""
        return self._settings.group

    @property
    def message_model(self) -> MessageModel:
        return self._settings.message_model

    @property
    def start_from(self) -> StartFrom:
        return self._settings.start_from

    @property
    def unit_mode(self) -> bool:
        return self.instance.config.unit_mode

    def subscriptions(self) -> Collection[SubscriptionData]:
        """All filters, the retry topic's included."""
        return self.subscriptions_table.all

    def subscribes(self, topic: str) -> bool:
        """See `ConsumerPort.subscribes`."""
        return self.subscriptions_table.get(topic) is not None

    def on_route_changed(self, topic: str, queues: tuple[MessageQueue, ...]) -> None:
        """A subscribed topic has other queues than before, or other brokers have them: share them out."""
        for assigned in list(self.queues.owned_of(topic).values()):
            assigned.puller.follow()
        if self.greeted:
            self.instance.rebalance.wake()

    async def rebalance(self) -> bool:
        """See `ConsumerPort.rebalance`; a consumer that stops keeps its queues until it has saved their offsets."""
        if not self.joined or self.stopping:
            return True
        complete = self.greeted  # a broker's notice may have begun it before the broker knew us
        balanced = False
        try:
            balanced = await self.rebalancer.rebalance(self.subscriptions_table.topics)
        finally:
            if balanced or complete:
                self._settled.set()
        return balanced

    async def persist_offsets(self) -> None:
        """See `ConsumerPort.persist_offsets`."""
        await self.queues.persist()

    def running_info(self, jstack: bool) -> ConsumerRunningInfo:
        """See `ConsumerPort.running_info`."""
        from aiorocketmq.consumer.running_info import info_of  # for those who ask

        own, owned, made_at = self._properties(), self.queues.assigned, self._made_at
        return info_of(self.instance, self._settings, self.subscriptions_table, owned, own, made_at=made_at, jstack=jstack)

    def reset_offsets(self, offsets: Mapping[MessageQueue, int]) -> None:
        """See `ConsumerPort.reset_offsets`."""
        if not self.stopping:
            self.begin_anew(offsets)

    def own_health(self) -> Own:
        """See `Watched._own_health`."""
        from aiorocketmq.client.examine import TROUBLE_AFTER, TROUBLE_FOR, Own  # for those who ask

        return Own(
            topics=self.subscriptions_table.topics,
            subscribed=True,
            queues=self.progress.queues(),
            conflicts=self.group_check.conflicts,
            suspended=self.pulls.suspended,
            troubles=[text for log in self._logs for text in log.troubles(older=TROUBLE_AFTER, within=TROUBLE_FOR)],
            records=self.scheduler.records.values(),
        )

    # --- while it runs ----------------------------------------------------------------------------------------------------------

    def suspend(self) -> None:
        """Pull no more; what was pulled is still consumed."""
        self.pulls.suspend()

    def offsets(self, topic: str | None = None) -> dict[MessageQueue, int]:
        """What is consumed of the owned queues, of one topic or of all."""
        return self.queues.offsets(topic)

    def owned(self, queue: MessageQueue) -> AssignedQueue:
        """A queue that is read here.

        Raises:
            ClientStateError: It is not.
        """
        assigned = self.queues.assigned.get(queue)
        if assigned is None:
            raise ClientStateError(f"{queue} is not assigned to this consumer", hint="`assigned` tells its queues; they may move")
        return assigned

    def pause(self, queues: Iterable[AssignedQueue]) -> None:
        """Pull nothing of some queues, and begin nothing of what was pulled."""
        for assigned in queues:
            assigned.pause()
            self.service.pause(assigned)

    def resume_queues(self, queues: Iterable[AssignedQueue]) -> None:
        """Go on with some queues."""
        going_on = list(queues)
        for assigned in going_on:
            assigned.resume()
        for assigned in going_on:
            self.service.resume(assigned)
            assigned.puller.pull()

    def resume(self) -> None:
        """Pull again, at once."""
        self.pulls.resume(self.queues.assigned.values())
        self.instance.rebalance.wake()

    async def subscription_changed(self, *topics: str) -> None:
        """Topics were added, changed or removed: tell the brokers at once and share the queues out.

        Raises:
            SubscriptionError: A broker cannot evaluate the new filter.
        """
        table = self.subscriptions_table
        subscriptions = [data for topic in topics if (data := table.get(topic)) is not None]
        for subscription in subscriptions:
            await self._routes.fetch(subscription.topic)
        if subscriptions:
            await check_filters(self.instance, self.group, subscriptions)
        for topic in topics:
            if table.get(topic) is None:
                self._routes.forget(topic)
                # Not left to the next round: what the queues hold belongs to a listener that is gone.
                await self.rebalancer.drop_topic(topic)
        await self.instance.heartbeat.send_all(full=True)
        if subscriptions:
            await self._take_over_now()
        else:
            self.instance.rebalance.wake()

    def topic_came(self, topic: str, since: int) -> None:
        """A topic is about to be subscribed that did not exist at a time, milliseconds since the epoch: it is read from then on."""
        self._routes.came(topic, since)

    async def check_exist(self, queues: Collection[MessageQueue]) -> None:
        """Look whether queues exist, as the name servers know them.

        Raises:
            ConfigError: One does not.
            RocketMQError: A route cannot be found out.
        """
        for topic in sorted({queue.topic for queue in queues}):
            known = (await self.instance.routes.fetch(topic)).subscribe  # not from the table: a topic without subscription is forgotten
            for queue in queues:
                if queue.topic == topic and queue not in known:
                    raise ConfigError(f"{queue} does not exist", hint=f"topic {topic!r} has {_listed(known)}")

    async def save(self, offsets: Mapping[MessageQueue, int]) -> None:
        """Save offsets for certain, as they are; raises as `OffsetSaver.commit()`."""
        try:
            await self.saver.commit(offsets)
        finally:
            self._committed.changed()

    async def committed(self, queue: MessageQueue) -> int | None:
        """The offset that is saved for the group, None when there is none.

        Raises:
            RocketMQError: It cannot be found out.
        """
        return await self._committed.of(queue)

    async def hand_back(self, message: ReceivedMessage, delay_level: int, max_tries: int, group: str) -> None:
        """Give a message back, for programs that do it by hand; see `ReturningConsumer.send_back`."""
        from aiorocketmq.consumer.send_back import SendBack  # for those who ask

        if group not in self._hand_backs:
            instance = self.instance
            self._hand_backs[group] = SendBack(
                group, instance.broker_api, instance.find_broker_address_in_publish, instance.inner_producer, self.scheduler,
                max_tries=max_tries, unit_mode=self.unit_mode,
            )  # fmt: skip
        await self._hand_backs[group].hand_back(message, delay_level)

    async def ends(self, queue: MessageQueue) -> tuple[int, int]:
        """The lowest offset that a queue holds, and the one that its next message will get.

        Raises:
            RocketMQError: The broker refused, or could not be reached.
        """
        address, api = await self.master_of(queue), self.instance.broker_api
        return await api.min_offset(address, queue), await api.max_offset(address, queue)

    async def master_of(self, queue: MessageQueue) -> str:
        """The address that offsets are asked at.

        Raises:
            BrokerNotFoundError: No route has the broker.
        """
        routes, find = self.instance.routes, self.instance.find_broker_address_in_subscribe
        found = find(routes.broker_of(queue), 0)
        if found is None:  # it is in no topic that is in use
            await routes.update(queue.topic)
            found = find(routes.broker_of(queue), 0)
        if found is None:
            raise broker_not_found(routes.broker_of(queue), topic=queue.topic)
        return found.address

    async def lag(self) -> dict[MessageQueue, int]:
        """How many messages the owned queues hold behind what is consumed; raises as `ends()`."""

        async def end_of(queue: MessageQueue) -> int:
            return await self.instance.broker_api.max_offset(await self.master_of(queue), queue)

        owned = self.queues.assigned
        found = await self.saver.of_each("lag", list(owned), end_of)
        return {queue: max(0, end - owned[queue].messages.consumed) for queue, end in found.items() if queue in owned}


def _listed(queues: Collection[MessageQueue]) -> str:
    brokers = Counter(queue.broker_name for queue in queues)
    if not brokers:
        return "no queue that can be read"
    return "; ".join(f"{count} queues at {broker}" for broker, count in sorted(brokers.items()))
