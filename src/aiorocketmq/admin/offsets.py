"""Offsets of single queues, without a consumer group (Java: `MQAdminImpl`). Feature Q24."""

from __future__ import annotations

from datetime import datetime

from aiorocketmq.admin.kernel import Family
from aiorocketmq.model.checks import milliseconds
from aiorocketmq.model.parsing import moment
from aiorocketmq.model.queue import MessageQueue


class Offsets(Family):
    """What an admin client finds out about the offsets of queues."""

    async def max(self, queue: MessageQueue) -> int:
        """The offset that the next message of a queue will get (30).

        Raises:
            RocketMQError: The queue's broker is unknown, did not answer, or answered with an error.

        Cancelling it is safe.
        """
        return await self._kernel.on_queue(queue, lambda address: self._kernel.instance.broker_api.max_offset(address, queue))

    async def min(self, queue: MessageQueue) -> int:
        """The offset of the oldest message that a queue still stores (31).

        Raises:
            RocketMQError: The queue's broker is unknown, did not answer, or answered with an error.

        Cancelling it is safe.
        """
        return await self._kernel.on_queue(queue, lambda address: self._kernel.instance.broker_api.min_offset(address, queue))

    async def search(self, queue: MessageQueue, at: datetime | float) -> int:
        """The offset of the first message of a queue that was stored at a time or after it (29).

        Args:
            queue: The queue.
            at: An aware datetime, or seconds since the epoch.

        Returns:
            The offset; the queue's maximum when nothing is that new. The store times of the messages around the broker's own answer
            decide: 4.x brokers tell the nearest message, and never the maximum.

        Raises:
            ConfigError: It is no time, or a datetime without a time zone.
            RocketMQError: The queue's broker is unknown, did not answer, or answered with an error.

        Cancelling it is safe.
        """
        wanted = milliseconds("at", at)
        return await self._kernel.on_queue(queue, lambda address: self._kernel.instance.broker_api.search_offset(address, queue, wanted))

    async def earliest_store_time(self, queue: MessageQueue) -> datetime | None:
        """When the oldest message that a queue still has was stored (32); None when it has none.

        Raises:
            RocketMQError: The queue's broker is unknown, did not answer, or answered with an error.

        Cancelling it is safe.
        """
        return moment(
            await self._kernel.on_queue(queue, lambda address: self._kernel.instance.broker_api.earliest_store_time(address, queue))
        )
