"""Topics: create, list, route, statistics (Java: the topic part of `DefaultMQAdminExtImpl`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from aiorocketmq.admin.brokers import BrokerOperations
from aiorocketmq.admin.results import QueueStats, TopicStats, moment
from aiorocketmq.core.route_table import subscribe_queues_of
from aiorocketmq.errors import ConfigError, RouteError, TopicNotFoundError
from aiorocketmq.model.checks import duration, flag, member, whole
from aiorocketmq.model.enums import Permission
from aiorocketmq.model.names import AUTO_CREATE_TOPIC_KEY, check_topic, is_system_topic
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import TopicRouteData
from aiorocketmq.protocol.bodies import TopicStatsTable
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.headers_admin import CreateTopicRequestHeader, GetTopicStatsInfoRequestHeader

_LOOK_AGAIN: Final = 0.1
"""Seconds between two looks for a new topic in the route."""
_MAX_QUEUES: Final = 65535


class TopicOperations(BrokerOperations):
    """What an admin client does with topics."""

    async def create_topic(
        self,
        topic: str,
        *,
        queues: int = 4,
        permission: Permission = Permission.READ | Permission.WRITE,
        cluster: str | None = None,
        broker: str | None = None,
        order: bool = False,
        attributes: Mapping[str, str] | None = None,
        wait: float | timedelta = 10.0,
    ) -> tuple[str, ...]:
        """Create a topic on the masters of a cluster, or change the one that is there (17).

        Args:
            topic: Name, 1 to 127 characters of `%|a-zA-Z0-9_-`.
            queues: Queues on each broker, to read and to write, 1 to 65535.
            permission: What clients may do.
            cluster: Cluster on whose masters it is created; None takes the only one there is, or that of `broker`.
            broker: Broker name, or `host:port`, when it is to be on this one alone; it must be one of `cluster` where that is given.
            order: Mark it as a topic of ordered messages.
            attributes: Attributes for 5.x brokers, for example `{"message.type": "FIFO"}`.
            wait: Seconds to wait until the name server routes to it everywhere; brokers register it within moments. 0 does not wait.

        Returns:
            Names of the brokers that have it.

        Raises:
            InvalidNameError: The name is not legal, or reserved.
            ConfigError: A number is out of range, or the cluster is unknown, or there are several and none is named, or the broker is
                not in it.
            RouteError: The name server did not learn of it within `wait`; the topic exists all the same.
            PartialError: Some brokers refused, or could not be reached; its `result` names those that have the topic.
            RocketMQError: All refused, or could not be reached.

        Cancelling it may leave the topic on some brokers; calling it again is safe.
        """
        check_topic(topic)
        if is_system_topic(topic):
            raise ConfigError(f"topic {topic!r} belongs to the broker", hint="use another name")
        whole("queues", queues, 1, _MAX_QUEUES)
        member("permission", permission, Permission)
        flag("order", order)
        patience = duration("wait", wait, 0)
        changes = _attributes(attributes)
        masters = await self._masters(await self._only_cluster(cluster, broker), broker)
        header = CreateTopicRequestHeader(
            topic=topic,
            default_topic=AUTO_CREATE_TOPIC_KEY,
            read_queue_nums=queues,
            write_queue_nums=queues,
            perm=int(permission),
            topic_filter_type="SINGLE_TAG",
            topic_sys_flag=0,
            order=order,
            attributes=changes,
        )

        async def create(name: str, address: str) -> None:
            await self._calls().call(address, RequestCode.UPDATE_AND_CREATE_TOPIC, header, topic=topic, broker=name)

        made = await self._each(f"create topic {topic}", masters, create, lambda answers: tuple(sorted(answers)))
        if patience > 0:
            await self._until_routed(topic, masters, queues, patience)
        return made

    async def topics(self) -> tuple[str, ...]:
        """Names of all topics that brokers have registered, sorted; retry, dead-letter and system topics among them.

        Raises:
            RocketMQError: The name server did not answer, or answered with an error.

        Cancelling it is safe.
        """
        return tuple(sorted(await self._name_servers().topic_list()))

    async def topic_route(self, topic: str) -> TopicRouteData:
        """Which brokers hold a topic, with how many queues.

        Raises:
            TopicNotFoundError: The name server does not know the topic.
            RocketMQError: The name server did not answer, or answered with an error.

        Cancelling it is safe.
        """
        check_topic(topic)
        return await self._route(topic)

    async def topic_stats(self, topic: str) -> TopicStats:
        """Offsets of every queue of a topic, over all brokers.

        Raises:
            TopicNotFoundError: The name server does not know the topic.
            PartialError: Some brokers failed; its `result` has the queues of the others.
            RocketMQError: No broker answered without an error.

        Cancelling it is safe.
        """
        check_topic(topic)
        header = GetTopicStatsInfoRequestHeader(topic)

        async def ask(name: str, address: str) -> TopicStatsTable:
            answer = await self._calls().call(address, RequestCode.GET_TOPIC_STATS_INFO, header, topic=topic, broker=name)
            return TopicStatsTable.decode(answer.body)

        unwrap = self.config.names.unwrap_queue

        def join(tables: Mapping[str, TopicStatsTable]) -> TopicStats:
            queues = {
                unwrap(queue): QueueStats(state.min_offset, state.max_offset, moment(state.last_update_timestamp))
                for table in tables.values()
                for queue, state in table.offset_table.items()
            }
            return TopicStats(topic, dict(sorted(queues.items())))

        return await self._each(f"stats of topic {topic}", await self._addresses(topic), ask, join)

    async def queues(self, topic: str) -> tuple[MessageQueue, ...]:
        """All queues of a topic that can be read, sorted; of a static topic its logical queues.

        Raises:
            TopicNotFoundError: The name server does not know the topic.
            RocketMQError: The name server did not answer, or answered with an error.

        Cancelling it is safe.
        """
        route = await self.topic_route(topic)
        return subscribe_queues_of(topic, route)

    async def _only_cluster(self, cluster: str | None, broker: str | None) -> str | None:
        if cluster is not None or broker is not None:
            return cluster
        clusters = sorted({info.cluster for info in await self.cluster_info()})
        if len(clusters) > 1:
            raise ConfigError(f"there are {len(clusters)} clusters", hint=f"name one with cluster=: {', '.join(clusters)}")
        return clusters[0] if clusters else None

    async def _until_routed(self, topic: str, masters: Mapping[str, str], queues: int, wait: float) -> None:
        addresses = set(masters.values())
        try:
            async with asyncio.timeout(wait):
                while not await self._is_routed(topic, addresses, queues):  # noqa: ASYNC110 - only the name server knows when
                    await asyncio.sleep(_LOOK_AGAIN)
        except TimeoutError:
            raise RouteError(
                f"topic {topic!r} was created, but the name server does not route to it everywhere after {wait:g} s",
                topic=topic,
                hint="check that the brokers are registered with this name server",
            ) from None

    async def _is_routed(self, topic: str, addresses: set[str], queues: int) -> bool:
        try:
            route = await self._name_servers().topic_route(topic)
        except TopicNotFoundError:
            return False
        ready = {data.broker_name for data in route.queue_datas if data.read_queue_nums == queues}
        return addresses <= {address for data in route.broker_datas if data.broker_name in ready for address in data.broker_addrs.values()}


def _attributes(attributes: Mapping[str, str] | None) -> str | None:
    """The attributes as a broker reads them; None when there are none."""
    if attributes is None:
        return None
    if not isinstance(attributes, Mapping):
        raise ConfigError(f"attributes {attributes!r} is no mapping", hint='write {"message.type": "FIFO"}')
    for text in (text for pair in attributes.items() for text in pair):
        if not isinstance(text, str) or not text or any(char in text for char in ",+="):
            raise ConfigError(f"attributes hold {text!r}", hint="use texts that are not empty, without ',', '+' and '='")
    return ",".join(f"+{name}={value}" for name, value in attributes.items()) or None
