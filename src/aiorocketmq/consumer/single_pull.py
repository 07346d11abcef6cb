"""Pulls that a program asks for, one by one (Java: `DefaultMQPullConsumerImpl.pullSyncImpl`). Features J1, J2."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from aiorocketmq.client.pull import PullAnswer, PullApi, PullOptions
from aiorocketmq.consumer.send_back import restore_topic
from aiorocketmq.core.route_table import is_logical
from aiorocketmq.errors import ClientClosedError, RocketMQError
from aiorocketmq.model.enums import PullStatus
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.names import is_retry_topic
from aiorocketmq.model.pulled import PullResult
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.consumer.settings import PullSettings


class SinglePulls:
    """Pulls of one consumer, any number at a time.

    Args:
        instance: Connections, routes, statistics.
        settings: The consumer's settings.
        scheduler: Makes the tasks that open connections.
    """

    def __init__(self, instance: ClientInstance, settings: PullSettings, scheduler: Scheduler) -> None:
        config = instance.config
        self._instance = instance
        self._scheduler = scheduler
        self._group = settings.group
        self._options = PullOptions(
            settings.group,
            settings.pull_batch_size,
            settings.pull_batch_size_in_bytes,
            post_subscription=True,
            connect_broker_by_user=settings.connect_broker_by_user,
            default_broker_id=settings.default_broker_id,
            max_decompressed_length=config.max_decompressed_length,
            decode_read_body=config.decode_read_body,
            decode_decompress_body=config.decode_decompress_body,
        )
        self._broker_ids: dict[MessageQueue, int] = {}
        self._waiting: set[_Outcome] = set()
        self._closed = False

    async def pull(
        self, queue: MessageQueue, offset: int, subscription: SubscriptionData, *, limit: int, size: int, wait: float, timeout: float
    ) -> PullResult:
        """Pull once; see `PullConsumer.pull`.

        Args:
            queue: The queue.
            offset: First offset wanted.
            subscription: The filter.
            limit: Messages at most, 0 for the settings' number.
            size: Bytes as a wish, 0 for the settings' number.
            wait: Seconds that the broker may hold the pull.
            timeout: Seconds that its answer may take beyond that.
        """
        if self._closed:
            raise self._over()
        options = replace(
            self._options,
            max_messages=limit or self._options.max_messages,
            max_bytes=size or self._options.max_bytes,
            suspend_time=wait,
            timeout=wait + timeout,
        )
        instance = self._instance
        api = PullApi(
            instance.remoting, instance.routes, self._scheduler, instance.find_broker_address_in_subscribe, options, instance.config
        )  # fmt: skip
        if is_logical(queue) and instance.routes.broker_of(queue) == queue.broker_name:  # of a topic that nobody has subscribed to
            await instance.routes.update(queue.topic)
            if self._closed:
                raise self._over()
        outcome = _Outcome()
        call = api.call(queue, outcome)
        call.broker_id = self._broker_ids.get(queue, options.default_broker_id)
        self._waiting.add(outcome)
        try:
            call.send(offset, subscription, suspend=wait > 0)
            answer = await outcome.future
        finally:
            self._waiting.discard(outcome)
            call.cancel()
        if not self._closed:
            self._broker_ids[queue] = call.broker_id
        messages = call.decode(answer, subscription) if answer.status is PullStatus.FOUND else []
        if is_retry_topic(queue.topic):
            for message in messages:
                restore_topic(message)
        instance.stats.counters(self._group, queue.topic).pull(len(messages), answer.seconds * 1000)
        # Brokers compare hashes of tags: what one of them has let through may be another one.
        status = answer.status if messages or answer.status is not PullStatus.FOUND else PullStatus.NO_MATCHED_MSG
        return PullResult(status, tuple(messages), answer.next_begin_offset, answer.min_offset, answer.max_offset)

    def close(self) -> None:
        """The consumer stops: pulls that wait end with an error."""
        self._closed = True
        for outcome in self._waiting:
            outcome.on_pull_error(self._over())
        self._broker_ids.clear()

    def _over(self) -> ClientClosedError:
        return ClientClosedError(f"consumer of group {self._group!r} is being stopped")


class _Outcome:
    """Brings the outcome of a pull to who waits for it (`PullObserver`)."""

    def __init__(self) -> None:
        self.future: asyncio.Future[PullAnswer] = asyncio.get_running_loop().create_future()

    def on_pull_result(self, result: PullAnswer) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def on_pull_error(self, error: RocketMQError) -> None:
        if not self.future.done():
            self.future.set_exception(error)
