"""Offsets and messages of single queues, without a consumer group (Java: `MQAdminImpl`, and the pulls of `mqadmin printMsg`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, TypeVar

from aiorocketmq.admin.brokers import BrokerOperations
from aiorocketmq.admin.results import QueueRead, moment
from aiorocketmq.client.broker_api import PULL_CODES
from aiorocketmq.errors import RemotingError
from aiorocketmq.model.checks import duration, milliseconds, whole
from aiorocketmq.model.filters import SQL, build_subscription
from aiorocketmq.model.names import LMQ_PREFIX, TOOLS_CONSUMER_GROUP
from aiorocketmq.model.parsing import INT64_MAX
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.headers_client import PullMessageRequestHeader, PullMessageResponseHeader
from aiorocketmq.protocol.message_codec import decode_messages
from aiorocketmq.protocol.sysflag import PullSysFlag

T = TypeVar("T")

_LATE_ANSWER: Final = 15.0
"""Seconds that a broker's answer to a held read may be late: it looks at its held requests every 5 s."""


class MessageOperations(BrokerOperations):
    """What an admin client does with offsets and messages."""

    async def max_offset(self, queue: MessageQueue) -> int:
        """The offset that the next message of a queue will get (30).

        Raises:
            RocketMQError: The queue's broker is unknown, did not answer, or answered with an error.

        Cancelling it is safe.
        """
        return await self._on_broker(queue, lambda address: self._instance().broker_api.max_offset(address, queue))

    async def min_offset(self, queue: MessageQueue) -> int:
        """The offset of the oldest message that a queue still stores (31).

        Raises:
            RocketMQError: The queue's broker is unknown, did not answer, or answered with an error.

        Cancelling it is safe.
        """
        return await self._on_broker(queue, lambda address: self._instance().broker_api.min_offset(address, queue))

    async def search_offset(self, queue: MessageQueue, at: datetime | float) -> int:
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
        return await self._on_broker(queue, lambda address: self._instance().broker_api.search_offset(address, queue, wanted))

    async def earliest_store_time(self, queue: MessageQueue) -> datetime | None:
        """When the oldest message that a queue still has was stored (32); None when it has none.

        Raises:
            RocketMQError: The queue's broker is unknown, did not answer, or answered with an error.

        Cancelling it is safe.
        """
        return moment(await self._on_broker(queue, lambda address: self._instance().broker_api.earliest_store_time(address, queue)))

    async def read_queue(
        self, queue: MessageQueue, offset: int, *, count: int = 32, expression: str | SQL = "*", wait: float | timedelta = 0.0
    ) -> QueueRead:
        """Read messages of a queue without a group: nobody's offsets move (11).

        Args:
            queue: The queue; queue 0 of the topic `%LMQ%name` on a broker is its light queue of that name.
            offset: First offset wanted; one that does not exist any more, or not yet, gives an empty result whose `next_offset` does.
            count: Messages at most, 1 to 32 (brokers give no more).
            expression: `*`, tags joined by `||`, or `SQL(...)`.
            wait: Seconds that the broker may wait for a message when there is none.

        Raises:
            ConfigError: A number is out of range.
            RocketMQError: The queue's broker is unknown, did not answer, or answered with an error.

        Cancelling it is safe.
        """
        self._check_queue(queue)
        whole("offset", offset, 0, INT64_MAX)
        whole("count", count, 1, 32)
        wait = duration("wait", wait, 0, 60)
        subscription = build_subscription(queue.topic, expression, 0)
        header = PullMessageRequestHeader(
            consumer_group=TOOLS_CONSUMER_GROUP,
            topic=queue.topic,
            queue_id=queue.queue_id,
            queue_offset=offset,
            max_msg_nums=count,
            sys_flag=PullSysFlag.build(suspend=wait > 0, subscription=True),
            commit_offset=0,
            suspend_timeout_millis=round(wait * 1000),
            sub_version=0,
            subscription=subscription.expression,
            expression_type=subscription.expression_type,
            bname=queue.broker_name,
        )
        calls = self._calls()
        timeout = calls.default_timeout + (wait + _LATE_ANSWER if wait else 0.0)

        async def ask(address: str) -> QueueRead:
            answer = await calls.call(
                address,
                RequestCode.PULL_MESSAGE,
                header,
                timeout=timeout,
                topic=queue.topic,
                broker=queue.broker_name,
                accept=PULL_CODES,
            )
            limits = PullMessageResponseHeader.from_ext(answer.ext_fields)
            messages = self._decoded(answer.body, queue.broker_name, queue, limits.offset_delta or 0)
            if queue.topic.startswith(LMQ_PREFIX):
                for message in messages:
                    message.place_in(queue.topic)
            chosen = tuple(message for message in messages if not subscription.is_tag or subscription.matches_tag(message.tag))
            return QueueRead(chosen, limits.next_begin_offset, limits.min_offset, limits.max_offset)

        return await self._on_broker(queue, ask)

    def _decoded(self, records: bytes, broker: str, queue: MessageQueue | None = None, offset_delta: int = 0) -> list[ReceivedMessage]:
        """The messages of an answer, with the names that users know."""
        config = self.config
        messages = decode_messages(
            records,
            broker_name=broker,
            max_body=config.max_decompressed_length,
            queue=queue,
            offset_delta=offset_delta,
            read_body=config.decode_read_body,
            decompress=config.decode_decompress_body,
        )
        config.names.unwrap_messages(messages)
        return messages

    async def _on_broker(self, queue: MessageQueue, ask: Callable[[str], Awaitable[T]]) -> T:
        self._check_queue(queue)
        try:
            return await ask(await self._address_of(queue))
        except RemotingError:
            self._queue_addresses.pop((queue.topic, queue.broker_name), None)  # it may have moved: look it up again next time
            raise
