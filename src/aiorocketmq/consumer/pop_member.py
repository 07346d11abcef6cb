"""A running POP consumer: what lives between `start()` and `stop()`, and what the client instance sees of it (no Java twin).

It owns no queues: brokers give messages of any queue to whoever asks. So there is nothing to share out and no offset to save; the brokers
note what is acknowledged. Features H1-H5, H10, H13.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiorocketmq.client.pop_api import PopApi
from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.consumer.acking import Acker, Clocks
from aiorocketmq.consumer.filter_check import check_filters
from aiorocketmq.consumer.group_check import CHECK_INTERVAL, FIRST_CHECK, GroupCheck
from aiorocketmq.consumer.popping import Popping
from aiorocketmq.consumer.start_offset import Committed, StartOffsets
from aiorocketmq.consumer.store_choice import store_of
from aiorocketmq.consumer.topic_routes import TopicRoutes
from aiorocketmq.errors import ReceiptError, RocketMQError, fresh
from aiorocketmq.model.enums import ConsumeType, MessageModel, StartFrom
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.bodies_client import ConsumerRunningInfo

if TYPE_CHECKING:
    from aiorocketmq.client.examine import Own
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.consumer.settings import PopSettings
    from aiorocketmq.consumer.subscriptions import Subscriptions

SETTLE_TIME: Final = 1.0
"""Seconds for which a stop waits for what is on its way: answers that bring messages, and acknowledgements."""
GIVE_BACK_TIME: Final = 1.0
"""Seconds in which a stop gives back what was taken and given to nobody."""
BEGIN_AGAIN: Final = 1.0
"""Seconds between two tries to let a group begin at a broker."""

logger = logging.getLogger("aiorocketmq.consumer")


class PopMember:
    """One POP consumer on an instance; implements `client.ports.ConsumerPort`.

    Args:
        instance: The client instance.
        settings: The consumer's settings.
        subscriptions: Shared with the `PopConsumer`.
        made_at: When the consumer was made, seconds since the epoch.

    Attributes:
        api: Asks the brokers.
        acker: Acknowledges messages.
        popping: Takes messages.
        group_check: Looks for members with other subscriptions.
    """

    consume_type = ConsumeType.CONSUME_POP
    message_model = MessageModel.CLUSTERING

    def __init__(self, instance: ClientInstance, settings: PopSettings, subscriptions: Subscriptions, *, made_at: float) -> None:
        self.instance = instance
        self.scheduler = scheduler = Scheduler(f"consumer {settings.group}")
        self.api = PopApi(instance, settings.group)
        clocks = Clocks()
        self.acker = Acker(self.api, scheduler, clocks, settings.group)
        self.popping = Popping(
            self.api, self.acker, scheduler, clocks, ordered=settings.ordered, make_attempt=lambda: os.urandom(16).hex()
        )  # fmt: skip
        self.group_check = GroupCheck(instance, settings.group)
        self._settings = settings
        self._subscriptions = subscriptions
        self._made_at = made_at
        self._routes = TopicRoutes(instance, subscriptions, settings.group)
        committed = Committed(instance, store_of(settings, instance), settings.group)
        self._start_offsets = StartOffsets(
            instance, committed, settings.start_from, settings.start_time_ms(made_at), self._routes.unborn_at
        )  # fmt: skip
        self._prepared: set[MessageQueue] = set()
        self._preparing: asyncio.Task[None] | None = None
        self._beginning = asyncio.Lock()
        self._registered = False

    # --- life ---------------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the instance; after a failure `stop()` undoes what was begun.

        Raises:
            NotSupportedByBrokerError: A broker of a topic is older than 5.0, or too old for a word of a filter.
            GroupAlreadyRegisteredError: The group has a consumer on this instance.
            SubscriptionError: A broker cannot evaluate a filter.
            AuthenticationError: No broker accepts the credentials.
        """
        await self._routes.fetch()
        await self._check_versions(self._subscriptions.topics)
        await self.instance.register_consumer(self)
        self._registered = True
        # Again: what belongs to no client is forgotten at any moment.
        if missing := [topic for topic in self._subscriptions.topics if self.instance.routes.entry(topic) is None]:
            await self._routes.fetch(*missing)
        await check_filters(self.instance, self.group, self._subscriptions.all)
        check = self.group_check.run
        self.scheduler.every("compare subscriptions", CHECK_INTERVAL, lambda: check(self.subscriptions()), first=FIRST_CHECK)
        self._routes.watch(self.scheduler)
        await self.instance.heartbeat.send_all(full=True)
        refusal = self.instance.heartbeat.refusal()
        if refusal is not None:
            raise fresh(refusal)
        await self._prepare()

    async def _check_versions(self, topics: Collection[str]) -> None:
        """Nothing is told to a broker that has no POP, not even who we are. One that does not answer is asked later."""
        for topic in topics:
            for broker in sorted({queue.broker_name for queue in self.instance.routes.subscribe_queues(topic) or ()}):
                try:
                    await self.api.master(broker, topic)
                except RocketMQError as error:
                    if not error.retriable:
                        raise
                    logger.warning("broker %s of topic %s cannot be asked now: %s", broker, topic, error)

    def close(self) -> None:
        """From now on nothing is given; `stop()` follows."""
        self.popping.close()

    async def stop(self) -> None:
        """Give back what was given to nobody, leave the group. Never raises for a broker that is gone."""
        self.close()
        if not self.scheduler.closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_TIME):
                    await self.popping.settle()
                    await self.acker.settle()
            await self._give_back(self.popping.take_left())
        if self._registered:
            await self.instance.unregister_consumer(self)
        self._routes.close()
        await self.scheduler.stop()
        self.popping.end()
        self._prepared.clear()

    async def _give_back(self, messages: Collection[ReceivedMessage]) -> None:
        """Let others have messages at once."""
        works = {message.receipt_handle or "": self.acker.change(message, 0.0) for message in messages}
        try:
            async with asyncio.timeout(GIVE_BACK_TIME):
                outcomes = await self.scheduler.gather("give back", works)
        except TimeoutError:
            return
        for error in outcomes.values():
            if isinstance(error, RocketMQError) and not isinstance(error, ReceiptError):
                logger.info("a message that nobody has asked for comes again only when its invisible time is over: %s", error)

    # --- ConsumerPort -------------------------------------------------------------------------------------------------------------

    @property
    def group(self) -> str:
        """The consumer group."""
        return self._settings.group

    @property
    def start_from(self) -> StartFrom:
        return self._settings.start_from

    @property
    def unit_mode(self) -> bool:
        return self.instance.config.unit_mode

    def subscriptions(self) -> Collection[SubscriptionData]:
        """All filters."""
        return self._subscriptions.all

    def subscribes(self, topic: str) -> bool:
        """See `ConsumerPort.subscribes`."""
        return self._subscriptions.get(topic) is not None

    def on_route_changed(self, topic: str, queues: tuple[MessageQueue, ...]) -> None:
        """See `ConsumerPort.on_route_changed`."""
        self._follow()

    async def rebalance(self) -> bool:
        """See `ConsumerPort.rebalance`: there is nothing to share out."""
        return True

    async def persist_offsets(self) -> None:
        """See `ConsumerPort.persist_offsets`: brokers have them."""

    def reset_offsets(self, offsets: Mapping[MessageQueue, int]) -> None:
        """See `ConsumerPort.reset_offsets`: brokers go on elsewhere by themselves."""

    def offsets(self, topic: str | None = None) -> Mapping[MessageQueue, int]:
        """See `ConsumerPort.offsets`: brokers have them."""
        return {}

    def consume_directly(self, message: ReceivedMessage) -> None:
        """See `ConsumerPort.consume_directly`: there are no listeners."""

    def adjust_workers(self) -> None:
        """See `ConsumerPort.adjust_workers`: there are none."""

    def running_info(self, jstack: bool) -> ConsumerRunningInfo:
        """See `ConsumerPort.running_info`."""
        from aiorocketmq.consumer.running_info import info_of, pop_properties  # for those who ask

        settings, made_at = self._settings, self._made_at
        return info_of(self.instance, settings, self._subscriptions, {}, pop_properties(settings), made_at=made_at, jstack=jstack)

    def own_health(self) -> Own:
        """See `Watched._own_health`."""
        from aiorocketmq.client.examine import TROUBLE_AFTER, TROUBLE_FOR, Own  # for those who ask

        return Own(
            topics=self._subscriptions.topics,
            subscribed=True,
            conflicts=self.group_check.conflicts,
            troubles=self.popping.log.troubles(older=TROUBLE_AFTER, within=TROUBLE_FOR),
            records=self.scheduler.records.values(),
        )

    # --- topics -------------------------------------------------------------------------------------------------------------------

    def _queues(self) -> list[MessageQueue]:
        routes = self.instance.routes
        return [queue for topic in self._subscriptions.topics for queue in routes.subscribe_queues(topic) or ()]

    def _follow(self) -> None:
        """Take messages where it is known that the group begins as it should."""
        wanted: dict[tuple[str, str], SubscriptionData] = {}
        ready = True
        for queue in self._queues():
            if queue not in self._prepared:
                ready = False
                continue
            subscription = self._subscriptions.get(queue.topic)
            if subscription is not None:
                wanted[queue.topic, queue.broker_name] = subscription
        self.popping.follow(wanted)
        if not ready and self._registered and self._preparing is None and not self.scheduler.closed and not self.popping.closed:
            self._preparing = self.scheduler.spawn("begin with new queues", self._prepare_later())

    async def _prepare_later(self) -> None:
        try:
            done = await self._prepare()
            while not done:
                await asyncio.sleep(BEGIN_AGAIN)
                done = await self._prepare()
        finally:
            self._preparing = None
        self._follow()

    async def _prepare(self) -> bool:
        """Let the group begin where it was told to, on queues that it does not know; brokers themselves know first and last only.

        One at a time: another one, as for a route that has changed meanwhile, would find a later end of the same queue, and commit it.
        """
        async with self._beginning:
            return await self._prepare_new()

    async def _prepare_new(self) -> bool:
        fresh_queues = [queue for queue in self._queues() if queue not in self._prepared]
        known = {queue.topic for queue in self._prepared}
        by_broker: dict[str, list[MessageQueue]] = {}
        for queue in fresh_queues:
            by_broker.setdefault(queue.broker_name, []).append(queue)
        works = {broker: self._prepare_at(broker, queues, known) for broker, queues in by_broker.items()}
        outcomes = await self.scheduler.gather("begin", works)
        for broker, outcome in outcomes.items():
            if isinstance(outcome, RocketMQError):
                if not outcome.retriable:
                    raise outcome
                self.popping.log.failed(f"begin {broker}", "group %s cannot begin at broker %s yet: %s", self.group, broker, outcome)
            elif isinstance(outcome, Exception):
                raise outcome
        self._follow()
        return not any(isinstance(outcome, Exception) for outcome in outcomes.values())

    async def _prepare_at(self, broker: str, queues: Collection[MessageQueue], known: Collection[str]) -> None:
        address = await self.api.master(broker)
        for queue in queues:
            if self.start_from is not StartFrom.FIRST:  # where brokers begin by themselves
                offset, commit = await self._start_offsets.of(queue, added=queue.topic in known)
                if commit:
                    await self.instance.broker_api.update_consumer_offset(address, self.group, queue, offset)
            self._prepared.add(queue)

    async def subscription_changed(self, topic: str) -> None:
        """A topic was added, changed or removed: tell the brokers at once.

        Raises:
            SubscriptionError: A broker cannot evaluate the new filter.
            NotSupportedByBrokerError: A broker is too old.
        """
        subscription = self._subscriptions.get(topic)
        if subscription is not None:
            await self._routes.fetch(topic)
            await self._check_versions([topic])
            await check_filters(self.instance, self.group, [subscription])
        else:
            self._routes.forget(topic)
            self._prepared = {queue for queue in self._prepared if queue.topic != topic}
        self._follow()
        await self.instance.heartbeat.send_all(full=True)
        if subscription is not None:
            await self._prepare()
