"""Consumer groups: progress and members (Java: the consumer part of `DefaultMQAdminExtImpl`)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from aiorocketmq.admin.brokers import BrokerOperations
from aiorocketmq.admin.results import ClientConnection, ConsumeProgress, GroupConnections, QueueProgress, moment
from aiorocketmq.errors import ConsumerNotOnlineError, GroupNotExistError
from aiorocketmq.model.enums import ConsumeType, MessageModel, StartFrom
from aiorocketmq.model.names import check_group, check_topic
from aiorocketmq.model.namespace import Namespace
from aiorocketmq.protocol.bodies import ConsumerConnection, ConsumeStats
from aiorocketmq.protocol.codes import RequestCode, version_name
from aiorocketmq.protocol.headers_admin import GetConsumeStatsRequestHeader
from aiorocketmq.protocol.headers_client import GetConsumerConnectionListRequestHeader

E = TypeVar("E", bound=Enum)


class GroupOperations(BrokerOperations):
    """What an admin client does with consumer groups."""

    async def consume_progress(self, group: str, *, topic: str | None = None) -> ConsumeProgress:
        """How far a group has come on every queue, over all brokers, and how many messages wait for it.

        Args:
            group: Consumer group.
            topic: This topic alone; None takes every topic of which the group has offsets, its retry topic among them.

        Raises:
            GroupNotExistError: No broker has an offset of the group.
            TopicNotFoundError: The name server does not know the topic.
            PartialError: Some brokers failed; its `result` has the queues of the others.
            RocketMQError: No broker answered without an error.

        Cancelling it is safe.
        """
        check_group(group)
        if topic is not None:
            check_topic(topic)
        addresses = await self._masters() if topic is None else await self._addresses(topic)
        header = GetConsumeStatsRequestHeader(consumer_group=group, topic=topic)

        async def ask(name: str, address: str) -> ConsumeStats:
            try:
                answer = await self._calls().call(address, RequestCode.GET_CONSUME_STATS, header, topic=topic or "", broker=name)
            except GroupNotExistError:
                return ConsumeStats()  # other brokers may know it
            return ConsumeStats.decode(answer.body)

        unwrap = self.config.names.unwrap_queue

        def join(tables: Mapping[str, ConsumeStats]) -> ConsumeProgress:
            queues = {
                unwrap(queue): QueueProgress(state.broker_offset, state.consumer_offset, state.pull_offset, moment(state.last_timestamp))
                for table in tables.values()
                for queue, state in table.offset_table.items()
            }
            return ConsumeProgress(group, dict(sorted(queues.items())), sum(table.consume_tps for table in tables.values()))

        progress = await self._each(f"progress of group {group}", addresses, ask, join)
        if not progress.queues:
            raise GroupNotExistError(
                f"no broker has an offset of group {group!r}" + (f" on topic {topic!r}" if topic else ""),
                hint="check the name; a group has offsets once it has consumed",
            )
        return progress

    async def group_connections(self, group: str) -> GroupConnections:
        """Who is connected in a consumer group, over all brokers.

        Raises:
            ConsumerNotOnlineError: No member is connected anywhere.
            PartialError: Some brokers failed; its `result` has what the others know.
            RocketMQError: No broker answered without an error.

        Cancelling it is safe.
        """
        check_group(group)
        header = GetConsumerConnectionListRequestHeader(group)

        async def ask(name: str, address: str) -> ConsumerConnection | None:
            try:
                answer = await self._calls().call(address, RequestCode.GET_CONSUMER_CONNECTION_LIST, header, broker=name)
            except ConsumerNotOnlineError:
                return None
            return ConsumerConnection.decode(answer.body)

        def join(answers: Mapping[str, ConsumerConnection | None]) -> GroupConnections:
            return _joined(group, [answer for answer in answers.values() if answer is not None], self.config.names)

        connections = await self._each(f"members of group {group}", await self._masters(), ask, join)
        if not connections.clients:
            raise ConsumerNotOnlineError(f"no member of group {group!r} is connected", hint="start a consumer, or check the name")
        return connections


def _joined(group: str, found: list[ConsumerConnection], names: Namespace) -> GroupConnections:
    clients = {
        connection.client_id: ClientConnection(
            connection.client_id, connection.client_addr, connection.language, version_name(connection.version)
        )
        for answer in found
        for connection in answer.connection_set
    }
    subscriptions = {topic: data for answer in found for topic, data in answer.subscription_table.items()}
    first = found[0] if found else ConsumerConnection()
    return GroupConnections(
        group,
        tuple(clients[name] for name in sorted(clients)),
        tuple(names.unwrap_subscription(subscriptions[topic]) for topic in sorted(subscriptions)),
        _known(ConsumeType, first.consume_type),
        _known(MessageModel, first.message_model),
        _known(StartFrom, first.consume_from_where),
    )


def _known(kind: type[E], value: str | None) -> E | None:
    return next((member for member in kind if member.value == value), None)
