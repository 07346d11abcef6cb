"""What the pull loops of one consumer share (Java: what `DefaultMQPushConsumerImpl.pullMessage` reads). Features F8-F11, F36."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from aiorocketmq.client.pull import PullApi, PullOptions
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.puller import FlowControl, QueuePuller, Thresholds
from aiorocketmq.errors import ClientClosedError
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.client.stats import ConsumeCounters
    from aiorocketmq.consumer.service import ConsumeService
    from aiorocketmq.consumer.settings import ConsumerSettings
    from aiorocketmq.consumer.subscriptions import Subscriptions

logger = logging.getLogger("aiorocketmq.consumer")


class Moved(Protocol):
    """Moves a queue; see `PullOwner.offset_illegal()`."""

    def __call__(self, assigned: AssignedQueue, offset: int, /, *, deleted: bool) -> None: ...


class Pulls:
    """The pulling side of one consumer; implements `consumer.puller.PullOwner`.

    Args:
        instance: Connections, routes, the pull service, statistics.
        settings: The consumer's settings.
        subscriptions: The filters.
        scheduler: Makes the tasks.
        service: Takes the messages.
        moved: Called with what `PullOwner.offset_illegal()` gets.
        reset: Called with where the group has to go on.
        lock_lost: Called when the lock of an ordered queue has run out.

    Attributes:
        flow_control: How often pulls were held back.
        suspended: True between `suspend()` and `resume()`.
    """

    def __init__(
        self,
        instance: ClientInstance,
        settings: ConsumerSettings,
        subscriptions: Subscriptions,
        scheduler: Scheduler,
        service: ConsumeService,
        *,
        moved: Moved,
        reset: Callable[[Mapping[MessageQueue, int]], None],
        lock_lost: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.service = service
        self.pull_service = instance.pull
        self.pull_log = StateLog(logger)
        self.flow_control = FlowControl()
        self.suspended = False
        self.error_delay = instance.config.pull_time_delay_when_exception
        self.lock_lost = lock_lost
        self._moved = moved
        self._reset = reset
        self._instance = instance
        self._subscriptions = subscriptions
        self._scheduler = scheduler
        self._beating = False
        self._thresholds: dict[str, Thresholds] = {}
        keep = None
        if settings.hooks:
            from aiorocketmq.consumer.hooks import message_filter  # few programs have hooks

            keep = message_filter(settings.hooks, settings.group)
        self._api = PullApi(
            instance.remoting,
            instance.routes,
            scheduler,
            instance.find_broker_address_in_subscribe,
            PullOptions(
                settings.group,
                settings.pull_batch_size,
                settings.pull_batch_size_in_bytes,
                settings.post_subscription_when_pull,
                settings.connect_broker_by_user,
                settings.default_broker_id,
                instance.config.max_decompressed_length,
                instance.config.decode_read_body,
                instance.config.decode_decompress_body,
                keep,
                settings.lite,
                *settings.hold,
            ),
            instance.config,
        )

    def adopt(self, assigned: AssignedQueue) -> None:
        """A queue was taken over: begin to pull it, unless its topic is paused."""
        if assigned.queue.topic in self._subscriptions.paused:
            assigned.pause()
        assigned.puller = QueuePuller(self, assigned, self._api)
        assigned.puller.start()

    # --- what pull loops ask for (`PullOwner`) ------------------------------------------------------------------------------------

    def subscription(self, topic: str) -> SubscriptionData | None:
        """The filter of a topic."""
        return self._subscriptions.get(topic)

    def thresholds(self, topic: str) -> Thresholds:
        """See `PullOwner.thresholds`; the object is kept up to date."""
        known = self._thresholds.get(topic)
        if known is None:
            known = self._thresholds[topic] = Thresholds(
                self.settings.pull_threshold_for_queue, self.settings.pull_threshold_size_for_queue
            )
        return known

    def divide_thresholds(self, topic: str, owned: int) -> None:
        """Limits for a whole topic are shared by its owned queues (F11)."""
        limits, settings = self.thresholds(topic), self.settings
        if owned and settings.pull_threshold_for_topic > 0:
            limits.count = max(1, settings.pull_threshold_for_topic // owned)
        if owned and settings.pull_threshold_size_for_topic > 0:
            limits.size = max(1, settings.pull_threshold_size_for_topic // owned)

    def pull_counters(self, topic: str) -> ConsumeCounters:
        """See `PullOwner.pull_counters`."""
        return self._instance.stats.counters(self.settings.group, topic)

    def offset_illegal(self, assigned: AssignedQueue, offset: int, *, deleted: bool) -> None:
        """See `PullOwner.offset_illegal`."""
        text = "%s: not at offset %d, says the broker, but at %d: it has nothing there, or offsets were reset"
        self.pull_log.note(logging.WARNING, f"moved {assigned.queue}", text, assigned.queue, assigned.puller.next_offset, offset)
        self._moved(assigned, offset, deleted=deleted)

    def offset_reset(self, queue: MessageQueue, offset: int) -> None:
        """See `PullOwner.offset_reset`."""
        logger.info("%s: a broker has told that its offset was reset to %d when nobody waited for that pull any more", queue, offset)
        self._reset({queue: offset})

    def subscription_unknown(self) -> None:
        """See `PullOwner.subscription_unknown`; one heartbeat for all queues that ask at the same time."""
        if not self._beating:
            self._beating = True
            self._spawn("heartbeat", self._beat())

    async def _beat(self) -> None:
        try:
            await self._instance.heartbeat.send_all(full=True)
        finally:
            self._beating = False

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            self._scheduler.spawn(name, work)
        except ClientClosedError:
            logger.debug("%s of group %s is not begun: the consumer has stopped", name, self.settings.group)

    # --- while it runs ------------------------------------------------------------------------------------------------------------

    def suspend(self) -> None:
        """Pull no more; what was pulled is still consumed."""
        self.suspended = True

    def resume(self, owned: Iterable[AssignedQueue]) -> None:
        """Pull again, at once."""
        self.suspended = False
        for assigned in list(owned):
            assigned.puller.pull()
