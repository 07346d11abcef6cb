"""A running push consumer: it joins subscriptions, queues, pulls, workers and offsets (Java: `DefaultMQPushConsumerImpl`).

`PushConsumer` is the face towards users; this is what lives between `start()` and `stop()`, and what the client instance sees.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.concurrently import ConcurrentService
from aiorocketmq.consumer.filter_check import check_filters
from aiorocketmq.consumer.group_check import CHECK_INTERVAL, FIRST_CHECK, GroupCheck
from aiorocketmq.consumer.lock_keeper import LockKeeper
from aiorocketmq.consumer.orderly import OrderlyService
from aiorocketmq.consumer.pulling import Pulls
from aiorocketmq.consumer.queue_locks import QueueLocks
from aiorocketmq.consumer.queues import GIVE_UP_WAIT, QueueTable, Reason
from aiorocketmq.consumer.rebalance import Rebalancer
from aiorocketmq.consumer.running_info import properties_of, queue_info, stacks
from aiorocketmq.consumer.saving import OffsetSaver
from aiorocketmq.consumer.send_back import SendBack
from aiorocketmq.consumer.start_offset import StartOffsets
from aiorocketmq.consumer.store_choice import store_of
from aiorocketmq.consumer.taking import TakeOver
from aiorocketmq.consumer.topic_routes import TopicRoutes
from aiorocketmq.core.hand_over import HandOver
from aiorocketmq.errors import fresh
from aiorocketmq.model.enums import ConsumeType, MessageModel, StartFrom
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.bodies_client import ConsumerRunningInfo

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.consumer.service import ConsumeService
    from aiorocketmq.consumer.settings import PushSettings
    from aiorocketmq.consumer.subscriptions import Subscriptions

OVERDUE_CHECKS: Final = 4
"""Looks for overdue listeners within one consume time-out."""
LEAVE_MIN: Final = 1.0
LEAVE_MAX: Final = 5.0
"""Bounds in seconds of the time for saving offsets at a stop, after the listeners have ended."""
CANCEL_PATIENCE: Final = 1.0
"""Seconds that a listener which has not ended in time gets after its cancellation; a forced stop gives it less."""
FORCED_PATIENCE: Final = 0.2
FIRST_ROUND: Final = 3.0
"""Seconds that a start, or a new subscription, waits until its queues are taken over: with `StartFrom.LAST` what is sent behind it has to
come. A broker that takes longer holds nobody up."""
NOTICE_TIME: Final = 0.1
"""Seconds in which brokers tell the other members of a newcomer."""

logger = logging.getLogger("aiorocketmq.consumer")


class PushRuntime:
    """One consumer on an instance; implements `client.ports.ConsumerPort`.

    Args:
        instance: The client instance.
        settings: The consumer's settings.
        subscriptions: Shared with the `PushConsumer`.
        made_at: When the consumer was made, seconds since the epoch.

    Attributes:
        loop: The event loop that it lives on.
        queues: The queues and where they are in their lives.
        service: Brings messages to listeners.
        pulls: Pulls the queues.
        send_back: Gives failed messages back; None in a broadcasting group.
        group_check: Looks for members with other subscriptions.
        joined: True once queues may be taken over.
        greeted: True once the brokers have answered the first heartbeat: a round before would find that they do not know the group.
        stopping: True once no queue may be taken over or given up any more.
    """

    def __init__(self, instance: ClientInstance, settings: PushSettings, subscriptions: Subscriptions, *, made_at: float) -> None:
        self.instance = instance
        self.loop = asyncio.get_running_loop()
        self.settings = settings
        self.subscriptions_table = subscriptions
        self.scheduler = scheduler = Scheduler(f"consumer {settings.group}")
        self.joined = False
        self.greeted = False
        self.stopping = False
        self._settled = asyncio.Event()
        self._settling: asyncio.Task[None] | None = None
        self.store = store_of(settings, instance)
        self.send_back = self._make_send_back()
        self.service: ConsumeService = self._make_service()
        locks = QueueLocks(instance, scheduler, settings.group) if settings.ordered and not settings.broadcasting else None
        saver = OffsetSaver(self.store, scheduler, settings.group)
        self.queues = table = QueueTable(scheduler, self.service, saver, locks, instance.rebalance.wake)
        self._locks = LockKeeper(table, scheduler) if locks is not None else None
        self.pulls = Pulls(
            instance, settings, subscriptions, scheduler, self.service, moved=self._moved, lock_lost=self.lock_lost
        )  # fmt: skip
        # What another member of this kind needs at most: the notice, the minimum interval of its rounds, the end of its listeners.
        hand_over = HandOver(0.0 if settings.ordered else NOTICE_TIME + instance.config.rebalance_min_interval + GIVE_UP_WAIT)
        self._routes = TopicRoutes(instance, subscriptions, settings.group)
        start_offsets = StartOffsets(
            instance, self.store, settings.start_from, settings.start_time_ms(made_at), settings.group, self._routes.unborn_at
        )
        ask_again = instance.rebalance.wake_later
        take_over = TakeOver(table, scheduler, hand_over, locks, start_offsets, adopt=self.pulls.adopt, ask_again=ask_again)
        self.rebalancer = Rebalancer(
            instance, settings, scheduler, table, hand_over, take_over,
            subscribed=self.subscribes, expect=self.pulls.divide_thresholds, changed=self._queues_changed,
        )  # fmt: skip
        self.group_check = GroupCheck(instance, settings.group)
        self._made_at = made_at
        self._registered = False
        self._stop_until: float | None = None

    def _make_send_back(self) -> SendBack | None:
        if self.settings.broadcasting:
            return None
        return SendBack(
            self.settings.group,
            self.instance.broker_api,
            self.instance.find_broker_address_in_publish,
            self.instance.inner_producer,
            self.scheduler,
            max_tries=self.settings.max_tries,
            unit_mode=self.unit_mode,
            try_again=self._try_again,
        )

    def _make_service(self) -> ConsumeService:
        if self.settings.ordered:
            return OrderlyService(self.settings, self.subscriptions_table, self.scheduler, self.send_back, self.lock_lost)
        return ConcurrentService(self.settings, self.subscriptions_table, self.scheduler, self.send_back)

    # --- what its parts tell each other -------------------------------------------------------------------------------------------

    def _try_again(self, assigned: AssignedQueue, message: ReceivedMessage) -> None:
        if isinstance(self.service, ConcurrentService):
            self.service.try_again(assigned, message)

    def lock_lost(self) -> None:
        """A queue has no valid lock."""
        if self._locks is not None:
            self._locks.lost()

    def _moved(self, assigned: AssignedQueue, offset: int) -> None:
        self.queues.release([assigned], Reason.MOVED, offset=offset)

    def _queues_changed(self, topic: str, queues: frozenset[MessageQueue], owned: frozenset[MessageQueue]) -> None:
        self.pulls.divide_thresholds(topic, len(owned))
        listener = self.settings.message_queue_listener
        if listener is None or topic == self.subscriptions_table.retry_topic:
            return
        try:
            listener(topic, queues, owned)
        except (Exception, asyncio.CancelledError, GeneratorExit):  # the user's code: nobody cancels it
            logger.exception("message_queue_listener of group %s failed for topic %s", self.group, topic)

    # --- life -------------------------------------------------------------------------------------------------------------------

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
        every = self.scheduler.every
        every("overdue listeners", min(self.settings.consume_timeout / OVERDUE_CHECKS, 60.0), self.service.check_overdue)
        if self._locks is not None:
            self._locks.start()
        every("compare subscriptions", CHECK_INTERVAL, lambda: self.group_check.run(self.subscriptions_table.all), first=FIRST_CHECK)
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
        """Stop pulling, let the running listeners end, save offsets, unlock, leave the group. Never raises for a broker that is gone.

        Args:
            force: Set, it ends the wait for listeners.
        """
        clock = asyncio.get_running_loop().time
        self.close()
        if self._stop_until is None:
            self._stop_until = clock() + self.settings.await_termination_when_shutdown
        until = self._stop_until
        try:
            if not self.scheduler.closed:  # else it was cut off in its last step
                await self._drain(force, until - clock())
                await self.service.close(FORCED_PATIENCE if force.is_set() else CANCEL_PATIENCE)
                # A broker that does not answer must not hold up the stop for longer than the listeners were allowed to, and a moment.
                patience = LEAVE_MIN if force.is_set() else min(max(until + LEAVE_MIN - clock(), LEAVE_MIN), LEAVE_MAX)
                await self.queues.finish(clock() + patience)
        except asyncio.CancelledError:
            raise  # by code outside of the library: it is done again
        except BaseException:
            await self._end()
            raise
        await self._end()

    async def _end(self) -> None:
        self._report_stats()
        if self._registered:
            await self.instance.unregister_consumer(self)
        self._routes.close()
        await self.scheduler.stop()

    async def _drain(self, force: asyncio.Event, limit: float) -> None:
        drained = self.scheduler.spawn("drain", self.service.drain())
        forced = self.scheduler.spawn("force", force.wait())
        await asyncio.wait([drained, forced], timeout=max(limit, 0.0), return_when=asyncio.FIRST_COMPLETED)
        if not drained.done():
            logger.warning("group %s stops although listeners are running; their messages will come again", self.group)
        for task in (drained, forced):
            task.cancel()
        await asyncio.wait([drained, forced])

    def in_listener(self) -> bool:
        """Whether the running task or thread is a worker of this consumer: a listener that waits for the stop would wait for itself."""
        return self.service.caller.is_worker()

    # --- ConsumerPort -----------------------------------------------------------------------------------------------------------

    @property
    def group(self) -> str:
        """The consumer group."""
        return self.settings.group

    @property
    def consume_type(self) -> ConsumeType:
        """Always CONSUME_PASSIVELY: the name that brokers know push consumers by."""
        return ConsumeType.CONSUME_PASSIVELY

    @property
    def message_model(self) -> MessageModel:
        return self.settings.message_model

    @property
    def start_from(self) -> StartFrom:
        return self.settings.start_from

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
        """A subscribed topic has other queues than before: share them out."""
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
        self._report_stats()
        await self.queues.persist()

    def adjust_workers(self) -> None:
        """See `ConsumerPort.adjust_workers`."""
        if not self.stopping:
            self.service.caller.adjust()

    def running_info(self, jstack: bool) -> ConsumerRunningInfo:
        """See `ConsumerPort.running_info`."""
        self._report_stats()
        topics = self.subscriptions_table.topics
        return ConsumerRunningInfo(
            properties=properties_of(self.settings, workers=self.service.caller.workers, made_at=self._made_at),
            subscription_set=list(self.subscriptions_table.all),
            mq_table={queue: queue_info(assigned, ordered=self.settings.ordered) for queue, assigned in self.queues.assigned.items()},
            status_table={topic: self.instance.stats.consume_status(self.group, topic) for topic in topics},
            jstack=stacks() if jstack else None,
        )

    # --- while it runs ----------------------------------------------------------------------------------------------------------

    def suspend(self) -> None:
        """Pull no more; what was pulled is still consumed."""
        self.pulls.suspend()

    def offsets(self, topic: str | None = None) -> dict[MessageQueue, int]:
        """What is consumed of the owned queues, of one topic or of all."""
        return self.queues.offsets(topic)

    def resume(self) -> None:
        """Pull again, at once."""
        self.pulls.resume(self.queues.assigned.values())
        self.instance.rebalance.wake()

    async def subscription_changed(self, topic: str) -> None:
        """A topic was added, changed or removed: tell the brokers at once and share the queues out.

        Raises:
            SubscriptionError: A broker cannot evaluate the new filter.
        """
        subscription = self.subscriptions_table.get(topic)
        if subscription is not None:
            await self._routes.fetch(topic)
            await check_filters(self.instance, self.group, [subscription])
        else:
            self._routes.forget(topic)
            # Not left to the next round: what the queues hold belongs to a listener that is gone.
            await self.rebalancer.drop_topic(topic)
        await self.instance.heartbeat.send_all(full=True)
        if subscription is not None:
            await self._take_over_now()
        else:
            self.instance.rebalance.wake()

    def _report_stats(self) -> None:
        """Hand what the listeners counted to the instance's statistics."""
        for listener in self.subscriptions_table.listeners:
            if not (listener.calls or listener.consumed or listener.failed):
                continue
            counters = self.instance.stats.counters(self.group, listener.topic)
            counters.ok += listener.consumed
            counters.failed += listener.failed
            counters.consume_calls += listener.calls
            counters.consume_ms += listener.busy_seconds * 1000
            listener.consumed = listener.failed = listener.calls = 0
            listener.busy_seconds = 0.0
