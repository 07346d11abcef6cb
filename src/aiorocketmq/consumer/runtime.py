"""A running push consumer: a member of its group whose messages go to listeners (Java: `DefaultMQPushConsumerImpl`).

`PushConsumer` is the face towards users; this is what lives between `start()` and `stop()`, and what the client instance sees.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.concurrently import ConcurrentService
from aiorocketmq.consumer.member import LEAVE_MAX, LEAVE_MIN, GroupMember
from aiorocketmq.consumer.send_back import SendBack
from aiorocketmq.model.enums import ConsumeType
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.bodies_client import ConsumeMessageDirectlyResult, ConsumerRunningInfo

if TYPE_CHECKING:
    from aiorocketmq.client.examine import Own
    from aiorocketmq.client.health import ListenerHealth
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.consumer.direct import DirectCalls
    from aiorocketmq.consumer.push_popping import PushPops
    from aiorocketmq.consumer.service import ListeningService
    from aiorocketmq.consumer.settings import PushSettings
    from aiorocketmq.consumer.subscriptions import Subscriptions
    from aiorocketmq.model.queue import MessageQueue

OVERDUE_CHECKS: Final = 4
"""Looks for overdue listeners within one consume time-out."""
CANCEL_PATIENCE: Final = 1.0
"""Seconds that a listener which has not ended in time gets after its cancellation; a forced stop gives it less."""
FORCED_PATIENCE: Final = 0.2

logger = logging.getLogger("aiorocketmq.consumer")


class PushRuntime(GroupMember):
    """One push consumer on an instance.

    Args:
        instance: The client instance.
        settings: The consumer's settings.
        subscriptions: Shared with the `PushConsumer`.
        made_at: When the consumer was made, seconds since the epoch.

    Attributes:
        service: Brings messages to listeners.
        send_back: Gives failed messages back; None in a broadcasting group.
        on_round: Called when the queues are to be shared out: somebody may have found topics that are not known here.
    """

    service: ListeningService
    consume_type = ConsumeType.CONSUME_PASSIVELY

    def __init__(self, instance: ClientInstance, settings: PushSettings, subscriptions: Subscriptions, *, made_at: float) -> None:
        self.settings = settings
        self._stop_until: float | None = None
        self._pops: PushPops | None = None
        self.on_round: Callable[[], None] | None = None
        self._direct: DirectCalls | None = None
        super().__init__(instance, settings, subscriptions, made_at=made_at)

    def _make_service(self) -> ListeningService:
        self.send_back = self._make_send_back()
        if self.settings.ordered:
            from aiorocketmq.consumer.orderly import OrderlyService  # for those who want it

            self.service = OrderlyService(self.settings, self.subscriptions_table, self.scheduler, self.send_back, self.lock_lost)
        else:
            self.service = ConcurrentService(self.settings, self.subscriptions_table, self.scheduler, self.send_back)
        return self.service

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

    def _try_again(self, assigned: AssignedQueue, message: ReceivedMessage) -> None:
        if isinstance(self.service, ConcurrentService):
            self.service.try_again(assigned, message)

    def _watch(self) -> None:
        self.scheduler.every("overdue listeners", min(self.settings.consume_timeout / OVERDUE_CHECKS, 60.0), self.service.check_overdue)

    def pop(self, topic: str, queues: frozenset[MessageQueue]) -> None:
        """See `GroupMember.pop`."""
        if self._pops is None and queues:
            from aiorocketmq.consumer.push_popping import PushPops  # for groups that pop

            self._pops = PushPops(self)
        if self._pops is not None:
            self._pops.assign(topic, queues)

    @property
    def popped(self) -> frozenset[MessageQueue]:
        """What is popped instead of pulled."""
        return self._pops.queues if self._pops is not None else frozenset()

    # --- while it runs ------------------------------------------------------------------------------------------------------------

    def pause_topic(self, topic: str) -> None:
        """Pull nothing of a topic, and begin no call for it."""
        self.subscriptions_table.pause(topic)
        self.pause(self.queues.owned_of(topic).values())
        if self._pops is not None:
            self._pops.pause(topic)

    def resume_topic(self, topic: str) -> None:
        """Go on with a topic, and with its messages that come again."""
        self.subscriptions_table.resume(topic)
        self.resume_queues(self.queues.owned_of(topic).values())
        if self._pops is not None:
            self._pops.resume(topic)
        self._go_on_with_retries()

    def _go_on_with_retries(self) -> None:
        retry_topic = self.subscriptions_table.retry_topic
        for assigned in self.queues.owned_of(retry_topic).values() if retry_topic is not None else ():
            self.service.resume(assigned)

    def resume(self) -> None:
        """Pull again, at once, and go on with everything that is paused."""
        for topic in list(self.subscriptions_table.paused):
            self.subscriptions_table.resume(topic)
        self.resume_queues([assigned for assigned in self.queues.assigned.values() if assigned.paused])
        if self._pops is not None:
            self._pops.resume()
        self._go_on_with_retries()
        super().resume()

    async def subscription_changed(self, *topics: str) -> None:
        """See `GroupMember.subscription_changed`."""
        try:
            await super().subscription_changed(*topics)
        finally:
            if not all(map(self.subscribes, topics)):
                self._go_on_with_retries()  # nobody holds their messages back any more

    async def rebalance(self) -> bool:
        """See `ConsumerPort.rebalance`."""
        if self.on_round is not None:
            self.on_round()
        return await super().rebalance()

    def close(self) -> None:
        """See `GroupMember.close`."""
        super().close()
        if self._pops is not None:
            self._pops.close()

    # --- the end ------------------------------------------------------------------------------------------------------------------

    async def _end_work(self, force: asyncio.Event) -> float:
        clock = asyncio.get_running_loop().time
        if self._stop_until is None:
            self._stop_until = clock() + self.settings.await_termination_when_shutdown
        until = self._stop_until
        await self._drain(force, until - clock())
        patience = FORCED_PATIENCE if force.is_set() else CANCEL_PATIENCE
        if self._direct is not None:
            await self._direct.close(patience)
        await self.service.close(patience)
        if self._pops is not None:
            await self._pops.end()
        # A broker that does not answer must not hold up the stop for longer than the listeners were allowed to, and a moment.
        return clock() + (LEAVE_MIN if force.is_set() else min(max(until + LEAVE_MIN - clock(), LEAVE_MIN), LEAVE_MAX))

    async def _end(self) -> None:
        self._report_stats()
        await super()._end()

    async def _drain(self, force: asyncio.Event, limit: float) -> None:
        drained = self.scheduler.spawn("drain", self._drained())
        forced = self.scheduler.spawn("force", force.wait())
        await asyncio.wait([drained, forced], timeout=max(limit, 0.0), return_when=asyncio.FIRST_COMPLETED)
        if not drained.done():
            logger.warning("group %s stops although listeners are running; their messages will come again", self.group)
        for task in (drained, forced):
            task.cancel()
        await asyncio.wait([drained, forced])

    async def _drained(self) -> None:
        await self.service.drain()
        if self._direct is not None:
            await self._direct.idle()

    def in_listener(self) -> bool:
        """Whether the running task or thread is a worker of this consumer: a listener that waits for the stop would wait for itself."""
        return self.service.caller.is_worker() or (self._direct is not None and self._direct.is_worker())

    # --- ConsumerPort -------------------------------------------------------------------------------------------------------------

    async def persist_offsets(self) -> None:
        """See `ConsumerPort.persist_offsets`."""
        self._report_stats()
        await super().persist_offsets()

    def adjust_workers(self) -> None:
        """See `ConsumerPort.adjust_workers`."""
        if not self.stopping:
            self.service.caller.adjust()

    def running_info(self, jstack: bool) -> ConsumerRunningInfo:
        """See `ConsumerPort.running_info`."""
        self._report_stats()
        info = super().running_info(jstack)
        if self._pops is not None:
            info.mq_pop_table = self._pops.info()
        return info

    def _properties(self) -> dict[str, str]:
        from aiorocketmq.consumer.running_info import push_properties  # for those who ask

        batch = max((listener.batch for listener in self.subscriptions_table.listeners), default=1)
        return push_properties(self.settings, workers=self.service.caller.workers, batch=batch)

    def consume_directly(self, message: ReceivedMessage) -> Awaitable[ConsumeMessageDirectlyResult]:
        """See `ConsumerPort.consume_directly`."""
        if self._direct is None:
            from aiorocketmq.consumer.direct import DirectCalls  # for those who ask

            self._direct = DirectCalls(self.settings, self.subscriptions_table, self.scheduler)
        return self._direct.consume(message)

    def own_health(self) -> Own:
        """See `Watched._own_health`."""
        self._report_stats()
        own = super().own_health()
        own.listeners = tuple(self._listener_health(listener.topic) for listener in self.subscriptions_table.listeners)
        return own

    def _listener_health(self, topic: str) -> ListenerHealth:
        from aiorocketmq.client.health import ListenerHealth  # for those who ask

        rates = self.instance.stats.rates(self.group, topic)
        return ListenerHealth(topic, rates.ok, rates.failed, rates.consume_rt / 1000)

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
