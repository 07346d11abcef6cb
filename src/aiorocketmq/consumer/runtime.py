"""A running push consumer: it joins subscriptions, queues, pulls, workers and offsets (Java: `DefaultMQPushConsumerImpl`).

`PushConsumer` is the face towards users; this is what lives between `start()` and `stop()`, and what the client instance sees.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiorocketmq.client.pull import PullApi, PullOptions
from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.concurrently import ConcurrentService
from aiorocketmq.consumer.group_check import CHECK_INTERVAL, FIRST_CHECK, GroupCheck
from aiorocketmq.consumer.offset_store import (
    LocalFileOffsetStore,
    OffsetStore,
    RemoteBrokerOffsetStore,
    address_finder,
    local_offset_directory,
)
from aiorocketmq.consumer.orderly import OrderlyService
from aiorocketmq.consumer.puller import FlowControl, QueuePuller, Thresholds
from aiorocketmq.consumer.rebalance import FIRST_LOCK, LOCK_INTERVAL, Rebalancer
from aiorocketmq.consumer.running_info import properties_of, queue_info, stacks
from aiorocketmq.consumer.send_back import SendBack
from aiorocketmq.consumer.settings import PushSettings
from aiorocketmq.errors import ClientClosedError, NoNameServerError, RemotingError, RocketMQError
from aiorocketmq.model.enums import ConsumeType, MessageModel, StartFrom
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.bodies_client import ConsumerRunningInfo

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.client.stats import ConsumeCounters
    from aiorocketmq.consumer.service import ConsumeService
    from aiorocketmq.consumer.subscriptions import Subscriptions

OVERDUE_CHECKS: Final = 4
"""Looks for overdue listeners within one consume time-out."""
LEAVE_MIN: Final = 1.0
LEAVE_MAX: Final = 5.0
"""Bounds in seconds of the time for saving offsets and giving locks back at a stop, after the listeners have ended."""
MISSING_ROUTE_FIRST: Final = 1.0
MISSING_ROUTE_MAX: Final = 8.0
"""Bounds in seconds of the growing wait between two queries for the route of a topic that does not exist yet, its retry topic above all."""

logger = logging.getLogger("aiorocketmq.consumer")


@dataclass(slots=True)
class MissingRoute:
    """When the route of a topic is asked for next. Mutable."""

    due: float
    wait: float


class PushRuntime:
    """One consumer on an instance; implements `client.ports.ConsumerPort` and `consumer.puller.PullOwner`.

    Args:
        instance: The client instance.
        settings: The consumer's settings.
        subscriptions: Shared with the `PushConsumer`.
        made_at: When the consumer was made, seconds since the epoch.

    Attributes:
        flow_control: How often pulls were held back.
        joined: True once queues may be taken over.
        greeted: True once the brokers have answered the first heartbeat: a round before would find that they do not know the group.
        stopping: True once no queue may be taken over or given up any more.
        suspended: True between `suspend()` and `resume()`.
    """

    def __init__(self, instance: ClientInstance, settings: PushSettings, subscriptions: Subscriptions, *, made_at: float) -> None:
        self.instance = instance
        self.settings = settings
        self.subscriptions_table = subscriptions
        self.scheduler = Scheduler(f"consumer {settings.group}")
        self.pull_service = instance.pull
        self.pull_log = StateLog(logger)
        self.flow_control = FlowControl()
        self.suspended = False
        self.joined = False
        self.greeted = False
        self.stopping = False
        self.error_delay = instance.config.pull_time_delay_when_exception
        self.store = self._make_store()
        self.send_back = self._make_send_back()
        self.service = self._make_service()
        self.rebalancer = Rebalancer(
            instance,
            settings,
            self.store,
            self.scheduler,
            start_time_ms=settings.start_time_ms(made_at),
            expect=self._divide_thresholds,
            adopt=self._adopt,
            abandon=self._abandon,
            changed=self._queues_changed,
            locked=self._locked,
            in_hand=self.service.in_hand,
        )
        self.group_check = GroupCheck(instance, settings.group)
        self._made_at = made_at
        self._pulls = PullApi(
            instance.remoting,
            instance.routes,
            self.scheduler,
            instance.find_broker_address_in_subscribe,
            PullOptions(
                settings.group,
                settings.pull_batch_size,
                settings.pull_batch_size_in_bytes,
                settings.post_subscription_when_pull,
                settings.connect_broker_by_user,
                settings.default_broker_id,
                instance.config.max_decompressed_length,
            ),
            instance.config.serialize_type,
        )
        self._thresholds: dict[str, Thresholds] = {}
        self._registered = False
        self._relocking: set[MessageQueue] = set()
        self._beating = False
        self._missing: dict[str, MissingRoute] = {}

    def _make_store(self) -> OffsetStore:
        settings, instance = self.settings, self.instance
        if settings.offset_store is not None:
            return settings.offset_store
        if settings.broadcasting:
            return LocalFileOffsetStore(local_offset_directory(settings.local_offset_store_dir, instance.client_id, settings.group))

        def find(broker_name: str) -> str | None:
            found = instance.find_broker_address_in_subscribe(broker_name, 0)
            return found.address if found is not None else None

        def link_to(queue: MessageQueue) -> object | None:
            address = find(queue.broker_name)
            return instance.remoting.channel(address) if address is not None else None

        return RemoteBrokerOffsetStore(settings.group, instance.broker_api, address_finder(find, instance.routes.update), link_to=link_to)

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
            try_again=lambda process_queue, message: self._concurrent.try_again(process_queue, message),
        )

    def _make_service(self) -> ConsumeService:
        if self.settings.ordered:
            return OrderlyService(self.settings, self.subscriptions_table, self.scheduler, self.send_back, self.lock_lost)
        self._concurrent = ConcurrentService(self.settings, self.subscriptions_table, self.scheduler, self.send_back)
        return self._concurrent

    # --- life -------------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the instance and begin to consume; the instance runs. After a failure `stop()` undoes what was begun.

        Raises:
            NoNameServerError: No name server answers.
            GroupAlreadyRegisteredError: The group has a consumer on this instance.
            RocketMQError: The offsets cannot be loaded.
        """
        await self.store.load()
        await self.instance.register_consumer(self)
        self._registered = True
        await self._fetch_routes()
        timeout = self.settings.consume_timeout
        self.scheduler.every("overdue listeners", min(timeout / OVERDUE_CHECKS, 60.0), self.service.check_overdue)
        if self.settings.ordered and not self.settings.broadcasting:
            self.scheduler.every("renew locks", LOCK_INTERVAL, self.rebalancer.renew_locks, first=FIRST_LOCK)
        self.scheduler.every(
            "compare subscriptions", CHECK_INTERVAL, lambda: self.group_check.run(self.subscriptions_table.all), first=FIRST_CHECK
        )
        self.scheduler.every("missing routes", MISSING_ROUTE_FIRST, self._ask_for_missing_routes)
        # From here on: a broker's notice that the group has a new member may overtake its answer to the heartbeat.
        self.joined = True
        await self.instance.heartbeat.send_all(full=True)
        self.greeted = True
        self.instance.rebalance.wake()

    def _ask_for_missing_routes(self) -> None:
        missing = set(self.subscriptions_table.topics).difference(self.instance.routes.topics())
        for topic in self._missing.keys() - missing:
            del self._missing[topic]
        now = asyncio.get_running_loop().time()
        for topic in sorted(missing):
            query = self._missing.setdefault(topic, MissingRoute(now, MISSING_ROUTE_FIRST))
            if now >= query.due:
                query.due = now + query.wait
                query.wait = min(query.wait * 2, MISSING_ROUTE_MAX)
                self.instance.routes.refresh_soon(topic)

    async def _fetch_routes(self) -> None:
        """Get the routes of all topics; a topic that does not exist yet is waited for, a name server that does not answer is an error."""
        for topic in self.subscriptions_table.topics:
            try:
                await self.instance.routes.fetch(topic)
            except (RemotingError, NoNameServerError) as error:
                raise NoNameServerError(
                    f"no name server answered when consumer group {self.group!r} started: {error.message}",
                    hint="check the address, and that the name server runs",
                    cause=error,
                ) from None
            except RocketMQError as error:
                level = logging.INFO if topic == self.subscriptions_table.retry_topic else logging.WARNING
                logger.log(level, "topic %s cannot be consumed yet, its route is asked for again and again: %s", topic, error)

    async def stop(self, force: asyncio.Event) -> None:
        """Stop pulling, let the running listeners end, save offsets, unlock, leave the group. Never raises for a broker that is gone.

        Args:
            force: Set, it ends the wait for listeners.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + self.settings.await_termination_when_shutdown
        self.stopping = self.rebalancer.closing = True
        for assigned in list(self.rebalancer.assigned.values()):
            assigned.puller.stop()
        await self._drain(force)
        for assigned in list(self.rebalancer.assigned.values()):
            self.service.dropped(assigned)
        # A broker that does not answer must not hold up the stop for longer than the listeners were allowed to, and a moment.
        patience = LEAVE_MIN if force.is_set() else min(max(until + LEAVE_MIN - clock(), LEAVE_MIN), LEAVE_MAX)
        try:
            async with asyncio.timeout(patience):
                await self.rebalancer.leave()
        except TimeoutError:
            logger.warning("group %s left without having saved all offsets: a broker did not answer within %.1f s", self.group, patience)
        finally:
            self._report_stats()
            await self.service.close()
            if self._registered:
                await self.instance.unregister_consumer(self.group)
            await self.scheduler.stop()

    async def _drain(self, force: asyncio.Event) -> None:
        limit = self.settings.await_termination_when_shutdown
        drained = self.scheduler.spawn("drain", self.service.drain())
        forced = self.scheduler.spawn("force", force.wait())
        await asyncio.wait([drained, forced], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if not drained.done():
            logger.warning("group %s stops although listeners are running; their messages will come again", self.group)
        for task in (drained, forced):
            task.cancel()
        await asyncio.wait([drained, forced])

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
        return await self.rebalancer.rebalance(self.subscriptions_table.topics)

    async def persist_offsets(self) -> None:
        """See `ConsumerPort.persist_offsets`."""
        self._report_stats()
        await self.rebalancer.persist()

    def adjust_workers(self) -> None:
        """See `ConsumerPort.adjust_workers`."""
        if not self.stopping:
            self.service.adjust()

    def running_info(self, jstack: bool) -> ConsumerRunningInfo:
        """See `ConsumerPort.running_info`."""
        self._report_stats()
        topics = self.subscriptions_table.topics
        return ConsumerRunningInfo(
            properties=properties_of(self.settings, workers=self.service.workers, made_at=self._made_at),
            subscription_set=list(self.subscriptions_table.all),
            mq_table={queue: queue_info(assigned, ordered=self.settings.ordered) for queue, assigned in self.rebalancer.assigned.items()},
            status_table={topic: self.instance.stats.consume_status(self.group, topic) for topic in topics},
            jstack=stacks() if jstack else None,
        )

    # --- what pull loops and services ask for -----------------------------------------------------------------------------------

    def subscription(self, topic: str) -> SubscriptionData | None:
        """The filter of a topic."""
        return self.subscriptions_table.get(topic)

    def thresholds(self, topic: str) -> Thresholds:
        """See `PullOwner.thresholds`; the object is kept up to date."""
        known = self._thresholds.get(topic)
        if known is None:
            known = self._thresholds[topic] = Thresholds(
                self.settings.pull_threshold_for_queue, self.settings.pull_threshold_size_for_queue
            )
        return known

    def pull_counters(self, topic: str) -> ConsumeCounters:
        """See `PullOwner.pull_counters`."""
        return self.instance.stats.counters(self.group, topic)

    def offset_illegal(self, assigned: AssignedQueue, offset: int) -> None:
        """See `PullOwner.offset_illegal`."""
        self._spawn("correct offset", self.rebalancer.correct_offset(assigned, offset))

    def subscription_unknown(self) -> None:
        """See `PullOwner.subscription_unknown`; one heartbeat for all queues that ask at the same time."""
        if not self._beating:
            self._beating = True
            self._spawn("heartbeat", self._beat())

    async def _beat(self) -> None:
        try:
            await self.instance.heartbeat.send_all(full=True)
        finally:
            self._beating = False

    def lock_lost(self, assigned: AssignedQueue) -> None:
        """See `PullOwner.lock_lost`; one request per queue at a time."""
        if assigned.queue not in self._relocking:
            self._relocking.add(assigned.queue)
            self._spawn("lock", self._relock(assigned.queue))

    async def _relock(self, queue: MessageQueue) -> None:
        try:
            await self.rebalancer.renew_locks([queue])
        finally:
            self._relocking.discard(queue)

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            self.scheduler.spawn(name, work)
        except ClientClosedError:
            logger.debug("%s of group %s is not begun: the consumer has stopped", name, self.group)

    # --- what the rebalancer tells ----------------------------------------------------------------------------------------------

    def _adopt(self, assigned: AssignedQueue) -> None:
        assigned.puller = QueuePuller(self, assigned, self._pulls)
        assigned.puller.start()

    def _abandon(self, assigned: AssignedQueue) -> None:
        assigned.puller.stop()
        self.service.dropped(assigned)

    def _locked(self, assigned: AssignedQueue) -> None:
        if isinstance(self.service, OrderlyService) and assigned.messages.count > assigned.messages.taken:
            self.service.wake(assigned)

    def _queues_changed(self, topic: str, queues: frozenset[MessageQueue], owned: frozenset[MessageQueue]) -> None:
        self._divide_thresholds(topic, len(owned))
        listener = self.settings.message_queue_listener
        if listener is None:
            return
        try:
            listener(topic, queues, owned)
        except Exception:
            logger.exception("message_queue_listener of group %s failed for topic %s", self.group, topic)

    def _divide_thresholds(self, topic: str, owned: int) -> None:
        limits, settings = self.thresholds(topic), self.settings
        if owned and settings.pull_threshold_for_topic > 0:
            limits.count = max(1, settings.pull_threshold_for_topic // owned)
        if owned and settings.pull_threshold_size_for_topic > 0:
            limits.size = max(1, settings.pull_threshold_size_for_topic // owned)

    # --- while it runs ----------------------------------------------------------------------------------------------------------

    def suspend(self) -> None:
        """Pull no more; what was pulled is still consumed."""
        self.suspended = True

    def resume(self) -> None:
        """Pull again, at once."""
        self.suspended = False
        for assigned in list(self.rebalancer.assigned.values()):
            assigned.puller.pull()
        self.instance.rebalance.wake()

    async def subscription_changed(self, topic: str) -> None:
        """A topic was added, changed or removed: tell the brokers at once and share the queues out."""
        if self.subscriptions_table.get(topic) is not None:
            await self.instance.routes.update(topic)
        else:
            # Not left to the next round: what the queues hold belongs to a listener that is gone.
            await self.rebalancer.drop_topic(topic)
        await self.instance.heartbeat.send_all(full=True)
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
