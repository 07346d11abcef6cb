"""Where the consumer begins on a queue (Java: `RebalancePushImpl.computePullFromWhere`). Features F15, F16, G14.

Java leaves it to brokers whether a young topic counts as "no offset": there a new group gets all that is stored, whatever its settings
say. Here `start_from` means what it says on topics of any age, and a queue that a topic gets while it is consumed is read from its first
message. A topic that came after it was subscribed is read from that moment on, not from its newest message: what made it come was sent to
a consumer that waited for it. And not from its first one: a name server that was just started does not know old topics either.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aiorocketmq.consumer.offset_store import INT64_MAX, OffsetStore, ReadOffset, RemoteBrokerOffsetStore
from aiorocketmq.errors import ConfigError, UnsupportedRequestError, broker_not_found
from aiorocketmq.model.enums import StartFrom
from aiorocketmq.model.names import is_retry_topic
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.codes import RequestCode, version_name
from aiorocketmq.protocol.header import RpcHeader

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance

CLOCKS_APART_MS: Final = 60_000
"""Milliseconds by which the clock of a broker may be behind ours, when a topic that came later is read from the moment of subscribing."""
TABLE_AGE: Final = 10.0
"""Seconds for which the table of offsets of a broker is used again."""

logger = logging.getLogger("aiorocketmq.consumer")


class Committed:
    """What is saved for a group.

    Args:
        instance: Finds and asks brokers.
        store: Keeps the offsets.
        group: The consumer group.
    """

    def __init__(self, instance: ClientInstance, store: OffsetStore, group: str) -> None:
        self._instance = instance
        self._store = store
        self._group = group
        self._tables: dict[str, tuple[float, dict[str, dict[int, int]]]] = {}

    async def of(self, queue: MessageQueue) -> int | None:
        """The offset, None when there is none.

        Raises:
            RocketMQError: It cannot be found out now.
        """
        stored = await self.stored(queue)
        return stored if stored > 0 or (stored == 0 and await self.is_committed_zero(queue)) else None

    def changed(self) -> None:
        """Offsets were committed: what was kept of a broker's answer is old."""
        self._tables.clear()

    async def stored(self, queue: MessageQueue) -> int:
        """What the store answers: the offset, -1 for none; 0 may be none, see `is_committed_zero()`."""
        stored = await self._store.read_offset(queue, ReadOffset.READ_FROM_STORE)
        if type(stored) is not int or stored > INT64_MAX:
            raise ConfigError(
                f"offset_store.read_offset() returned {str(stored)[:40]!r} for {queue}", hint="return a whole number, -1 for none"
            )
        return stored

    async def is_committed_zero(self, queue: MessageQueue) -> bool:
        """Whether a stored offset of 0 is one: brokers before 5.0 answer 0 for young queues on which the group has none."""
        found = self._instance.find_broker_address_in_subscribe(self._instance.routes.broker_of(queue), 0)
        if not isinstance(self._store, RemoteBrokerOffsetStore) or found is None or is_retry_topic(queue.topic):
            return True
        if not version_name(found.version).startswith(("V3_", "V4_")):
            return True
        # Records of administrators, which consumers of other brokers need not import.
        from aiorocketmq.protocol.bodies_client import TopicList
        from aiorocketmq.protocol.headers_admin import QueryTopicsByConsumerRequestHeader

        names = self._instance.config.names
        topic = names.wrap(queue.topic)
        header, api = QueryTopicsByConsumerRequestHeader(self._group), self._instance.broker_api
        try:
            response = await api.call(found.address, RequestCode.QUERY_TOPICS_BY_CONSUMER, header)
            if topic not in TopicList.decode(response.body).topic_list:
                return False
        except UnsupportedRequestError:
            logger.debug("broker %s does not list the topics of groups", found.address)
        return queue.queue_id in (await self._all_offsets(found.address)).get(f"{topic}@{names.wrap(self._group)}", {})

    async def _all_offsets(self, address: str) -> dict[str, dict[int, int]]:
        """The whole table of a broker: large, so it is asked for only when nothing smaller tells, and kept for the queues that follow."""
        from aiorocketmq.protocol.bodies_admin import ConsumerOffsetWrapper

        now = asyncio.get_running_loop().time()
        asked_at, table = self._tables.get(address, (now, None))
        if table is None or now - asked_at > TABLE_AGE:
            response = await self._instance.broker_api.call(address, RequestCode.GET_ALL_CONSUMER_OFFSET, RpcHeader())
            table = ConsumerOffsetWrapper.decode(response.body).offset_table
            self._tables = {address: (now, table)}
        return table


class StartOffsets:
    """Finds the first offset of a queue that is taken over.

    Args:
        instance: Finds and asks brokers.
        committed: Knows the committed offsets.
        start_from: The rule for queues without one.
        start_time_ms: Where `StartFrom.TIMESTAMP` starts, milliseconds since the epoch.
        unborn_at: Tells when a topic was subscribed that did not exist then, milliseconds since the epoch, None for others.
    """

    def __init__(
        self,
        instance: ClientInstance,
        committed: Committed,
        start_from: StartFrom,
        start_time_ms: int,
        unborn_at: Callable[[str], int | None],
    ) -> None:
        self._unborn_at = unborn_at
        self._instance = instance
        self._committed = committed
        self._start_from = start_from
        self._start_time_ms = start_time_ms

    async def of(self, queue: MessageQueue, *, added: bool) -> tuple[int, bool]:
        """The offset, and whether it has to be committed although nothing was consumed: a restart must not apply the rule again.

        Args:
            queue: The queue.
            added: The topic got it while this consumer was running.

        Raises:
            RocketMQError: It cannot be found out now.
        """
        stored = await self._committed.stored(queue)
        if stored > 0 or (stored == 0 and (self._start_from is StartFrom.FIRST or await self._committed.is_committed_zero(queue))):
            return stored, False
        if is_retry_topic(queue.topic):
            return 0, False  # whatever comes back belongs to messages that this group has seen
        address, api = self._address(queue), self._instance.broker_api
        if added or self._start_from is StartFrom.FIRST:
            offset = await api.min_offset(address, queue)
            return offset, offset > 0 or added
        if self._start_from is StartFrom.TIMESTAMP:
            return await api.search_offset(address, queue, self._start_time_ms), True
        if (subscribed := self._unborn_at(queue.topic)) is not None:
            return await api.search_offset(address, queue, subscribed - CLOCKS_APART_MS), True
        return await api.max_offset(address, queue), True

    def _address(self, queue: MessageQueue) -> str:
        broker = self._instance.routes.broker_of(queue)
        found = self._instance.find_broker_address_in_subscribe(broker, 0)
        if found is None:
            raise broker_not_found(broker, topic=queue.topic)
        return found.address
