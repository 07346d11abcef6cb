"""What is known of topics: lists, settings, routes, statistics (Java: the reading part of `DefaultMQAdminExtImpl`). Feature Q22."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiorocketmq.admin.kernel import Family
from aiorocketmq.admin.operation import Operation, Where, body
from aiorocketmq.admin.partial import Partial
from aiorocketmq.admin.results.topics import QueueStats, TopicSettings, TopicStats
from aiorocketmq.admin.topic_parts import all_configs, configs_of, settings_of
from aiorocketmq.core.route_table import subscribe_queues_of
from aiorocketmq.model.names import check_topic
from aiorocketmq.model.parsing import moment
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import TopicRouteData
from aiorocketmq.protocol.bodies import GroupList, TopicList, TopicStatsTable
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import RpcHeader
from aiorocketmq.protocol.headers_admin import (
    GetTopicsByClusterRequestHeader,
    GetTopicStatsInfoRequestHeader,
    QueryTopicConsumeByWhoRequestHeader,
)

_OF_CLUSTER: Final = Operation("topics of cluster", RequestCode.GET_TOPICS_BY_CLUSTER, Where.NAME_SERVER, body(TopicList))
_SYSTEM: Final = Operation("topics of brokers", RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_BROKER, Where.MASTERS, body(TopicList))
_GROUPS: Final = Operation("groups of topic", RequestCode.QUERY_TOPIC_CONSUME_BY_WHO, Where.HOLDERS, body(GroupList))
_STATS: Final = Operation("stats of topic", RequestCode.GET_TOPIC_STATS_INFO, Where.HOLDERS, body(TopicStatsTable))


class TopicReads(Family):
    """What an admin client is told of topics."""

    async def list(self, *, cluster: str | None = None) -> tuple[str, ...]:
        """Names of all topics that brokers have registered, sorted; retry, dead-letter and system topics among them (206, 224).

        Args:
            cluster: Those of this cluster alone.

        Raises:
            ConfigError: The cluster is unknown.
            RocketMQError: The name server did not answer, or answered with an error.

        Cancelling it is safe.
        """
        kernel = self._kernel
        if cluster is None:
            return tuple(sorted(await kernel.name_server.topic_list()))
        await kernel.masters(cluster)  # refuses what is no cluster: name servers tell no topics of it
        found = (await kernel.ask_name_server(_OF_CLUSTER, GetTopicsByClusterRequestHeader(cluster))).topic_list
        return tuple(sorted(kernel.names.unwrap(topic) for topic in found if kernel.names.holds(topic)))

    async def system(self, *, cluster: str | None = None) -> Partial[tuple[str, ...]]:
        """Names of the topics that belong to the brokers themselves, by broker, sorted (305).

        Args:
            cluster: Of the masters of this cluster alone.

        Raises:
            ConfigError: The cluster is unknown.
            RocketMQError: It is not known who is to be asked, or all have failed.

        Cancelling it is safe.
        """
        found = await self._kernel.ask(_SYSTEM, RpcHeader(), cluster=cluster)
        return found.map(lambda answer: tuple(sorted(set(answer.topic_list))))

    async def clusters(self, topic: str) -> tuple[str, ...]:
        """The clusters whose brokers hold a topic, sorted (105, 106).

        Raises:
            TopicNotFoundError: The name server does not know the topic.
            RocketMQError: The name server did not answer, or answered with an error.

        Cancelling it is safe.
        """
        holders = {data.broker_name for data in (await self.route(topic)).broker_datas}
        return tuple(sorted({broker.cluster for broker in await self._kernel.brokers() if broker.name in holders}))

    async def groups(self, topic: str) -> tuple[str, ...]:
        """The groups that consume a topic, over all brokers, sorted: those with members, or with offsets (300).

        Raises:
            TopicNotFoundError: The name server does not know the topic.
            PartialError: Some brokers failed; its `result` has the groups of the others.
            RocketMQError: No broker answered without an error.

        Cancelling it is safe.
        """
        check_topic(topic)
        names = self._kernel.names

        def join(answers: Mapping[str, GroupList]) -> tuple[str, ...]:
            found = {group for answer in answers.values() for group in answer.group_list}
            return tuple(sorted(names.unwrap(group) for group in found if names.holds(group)))

        return (await self._kernel.ask(_GROUPS, QueryTopicConsumeByWhoRequestHeader(topic), topic=topic)).joined(join)

    async def settings(self, topic: str) -> Partial[TopicSettings]:
        """What a topic is on each broker that has it (351, 21).

        Raises:
            TopicNotFoundError: The name server does not know the topic.
            RocketMQError: The name server did not answer, or answered with an error.

        Cancelling it is safe.
        """
        check_topic(topic)
        found = await configs_of(self._kernel, topic, await self._kernel.holders(topic))
        return found.map(lambda config: settings_of(topic, config))

    async def all_settings(self, *, cluster: str | None = None, broker: str | None = None) -> Partial[dict[str, TopicSettings]]:
        """What all topics are, by broker and topic; those of the brokers themselves among them (21).

        Args:
            cluster: On the masters of this cluster; None for all.
            broker: Broker name, or `host:port` (a slave has one of its own): on this one alone.

        Raises:
            ConfigError: The cluster is unknown, or the broker is none of it.
            RocketMQError: It is not known who is to be asked, or all have failed.

        Cancelling it is safe.
        """
        kernel = self._kernel
        names = kernel.names

        async def read(name: str, address: str) -> dict[str, TopicSettings]:
            found = await all_configs(kernel, name, address)
            known = ((names.unwrap(topic), config) for topic, config in sorted(found.items()) if names.holds(topic))
            return {topic: settings_of(topic, config) for topic, config in known}

        return await kernel.gather("settings of all topics", await kernel.masters(cluster, broker), read)

    async def route(self, topic: str) -> TopicRouteData:
        """Which brokers hold a topic, with how many queues (105).

        Raises:
            TopicNotFoundError: The name server does not know the topic.
            RocketMQError: The name server did not answer, or answered with an error.

        Cancelling it is safe.
        """
        check_topic(topic)
        return await self._kernel.route(topic)

    async def stats(self, topic: str) -> TopicStats:
        """Offsets of every queue of a topic, over all brokers (202).

        Raises:
            TopicNotFoundError: The name server does not know the topic.
            PartialError: Some brokers failed; its `result` has the queues of the others.
            RocketMQError: No broker answered without an error.

        Cancelling it is safe.
        """
        check_topic(topic)
        unwrap = self._kernel.names.unwrap_queue

        def join(tables: Mapping[str, TopicStatsTable]) -> TopicStats:
            queues = {
                unwrap(queue): QueueStats(state.min_offset, state.max_offset, moment(state.last_update_timestamp))
                for table in tables.values()
                for queue, state in table.offset_table.items()
            }
            return TopicStats(topic, dict(sorted(queues.items())))

        return (await self._kernel.ask(_STATS, GetTopicStatsInfoRequestHeader(topic), topic=topic)).joined(join)

    async def queues(self, topic: str) -> tuple[MessageQueue, ...]:
        """All queues of a topic that can be read, sorted; of a static topic its logical queues.

        Raises:
            TopicNotFoundError: The name server does not know the topic.
            RocketMQError: The name server did not answer, or answered with an error.

        Cancelling it is safe.
        """
        route = await self.route(topic)
        return subscribe_queues_of(topic, route)
