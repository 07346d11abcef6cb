"""Consumer groups: lag, members, settings (Java: the consumer part of `DefaultMQAdminExtImpl`). Features Q23, Q25."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, TypeVar

from aiorocketmq.admin.kernel import Family
from aiorocketmq.admin.operation import Operation, Where, body, nothing
from aiorocketmq.admin.partial import Partial
from aiorocketmq.admin.results.groups import ClientConnection, ConsumeProgress, GroupConnections, GroupSettings, QueueProgress
from aiorocketmq.errors import AlreadyExistsError, ConfigError, ConsumerNotOnlineError, GroupNotExistError
from aiorocketmq.model.checks import flag, whole
from aiorocketmq.model.enums import ConsumeType, MessageModel, StartFrom
from aiorocketmq.model.names import check_group, check_topic
from aiorocketmq.model.namespace import Namespace
from aiorocketmq.model.parsing import moment
from aiorocketmq.protocol.bodies import ConsumerConnection, ConsumeStats, SubscriptionGroupConfig, SubscriptionGroupWrapper
from aiorocketmq.protocol.codes import RequestCode, version_name
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_admin import (
    DeleteSubscriptionGroupRequestHeader,
    GetAllSubscriptionGroupRequestHeader,
    GetAllSubscriptionGroupResponseHeader,
    GetConsumeStatsRequestHeader,
)
from aiorocketmq.protocol.headers_client import GetConsumerConnectionListRequestHeader

E = TypeVar("E", bound=Enum)
_MAX_QUEUES: Final = 1024
_PAGE: Final = 2000


def _page(response: RemotingCommand) -> tuple[SubscriptionGroupWrapper, int]:
    """The groups of one answer, and how many there are in all; 0 for brokers that know no pages and tell all at once."""
    total = GetAllSubscriptionGroupResponseHeader.from_ext(response.ext_fields).total_group_num
    return SubscriptionGroupWrapper.decode(response.body), total or 0


_LAG: Final = Operation("progress of group", RequestCode.GET_CONSUME_STATS, Where.MASTERS, body(ConsumeStats), absent=(GroupNotExistError,))
_CLIENTS: Final = Operation(
    "members of group",
    RequestCode.GET_CONSUMER_CONNECTION_LIST,
    Where.MASTERS,
    body(ConsumerConnection),
    absent=(ConsumerNotOnlineError,),
)
_ALL: Final = Operation("settings of groups", RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG, Where.MASTERS, _page)
_PUT: Final = Operation("put group", RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, Where.MASTERS, nothing)
_DELETE: Final = Operation("delete group", RequestCode.DELETE_SUBSCRIPTIONGROUP, Where.MASTERS, nothing)


class Groups(Family):
    """What an admin client does with consumer groups."""

    async def lag(self, group: str, *, topic: str | None = None) -> ConsumeProgress:
        """How far a group has come on every queue, over all brokers, and how many messages wait for it (208).

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
        kernel = self._kernel
        targets = await (kernel.masters() if topic is None else kernel.holders(topic))
        fields = GetConsumeStatsRequestHeader(consumer_group=group, topic=topic)
        unwrap = kernel.names.unwrap_queue

        def join(tables: Mapping[str, ConsumeStats]) -> ConsumeProgress:
            queues = {
                unwrap(queue): QueueProgress(state.broker_offset, state.consumer_offset, state.pull_offset, moment(state.last_timestamp))
                for table in tables.values()
                for queue, state in table.offset_table.items()
            }
            return ConsumeProgress(group, dict(sorted(queues.items())), sum(table.consume_tps for table in tables.values()))

        progress = (await kernel.ask(_LAG, fields, about=group, topic=topic or "", targets=targets)).joined(join)
        if not progress.queues:
            raise GroupNotExistError(
                f"no broker has an offset of group {group!r}" + (f" on topic {topic!r}" if topic else ""),
                hint="check the name; a group has offsets once it has consumed",
            )
        return progress

    async def clients(self, group: str) -> GroupConnections:
        """Who is connected in a consumer group, over all brokers (203).

        Raises:
            ConsumerNotOnlineError: No member is connected anywhere.
            PartialError: Some brokers failed; its `result` has what the others know.
            RocketMQError: No broker answered without an error.

        Cancelling it is safe.
        """
        check_group(group)
        found = await self._kernel.ask(_CLIENTS, GetConsumerConnectionListRequestHeader(group), about=group)
        connections = found.joined(lambda answers: _joined(group, [*answers.values()], self._kernel.names))
        if not connections.clients:
            raise ConsumerNotOnlineError(f"no member of group {group!r} is connected", hint="start a consumer, or check the name")
        return connections

    async def list(self, *, cluster: str | None = None) -> tuple[str, ...]:
        """Names of all groups that brokers have, sorted; those of brokers and tools among them (201).

        Raises:
            ConfigError: The cluster is unknown.
            PartialError: Some brokers failed; its `result` has the groups of the others.
            RocketMQError: No broker answered without an error.

        Cancelling it is safe.
        """
        found = await self._all(cluster)
        return found.joined(lambda tables: tuple(sorted({name for table in tables.values() for name in table})))

    async def settings(self, group: str) -> Partial[GroupSettings]:
        """What a group is on each broker that has it (201).

        Raises:
            InvalidNameError: The name is not legal.
            RocketMQError: It is not known who is to be asked.

        Cancelling it is safe.
        """
        check_group(group)
        found = await self._all(None)
        answers = {name: _settings(table[group], group) for name, table in found.answers.items() if group in table}
        return Partial(f"settings of group {group}", answers, found.errors)

    async def create(
        self,
        group: str,
        *,
        cluster: str | None = None,
        broker: str | None = None,
        ordered: bool = False,
        consume: bool = True,
        broadcast: bool = True,
        retry_queues: int = 1,
        retry_max_times: int = 16,
        exist_ok: bool = False,
    ) -> tuple[str, ...]:
        """Create a consumer group on the masters of a cluster (200).

        Args:
            group: Name, 1 to 255 characters of `%|a-zA-Z0-9_-`.
            cluster: On whose masters; None takes the only cluster there is, or that of `broker`.
            broker: Broker name, or `host:port`: on this one alone.
            ordered: Its messages are consumed in order.
            consume: Whether it may consume at all.
            broadcast: Whether members may consume as broadcast.
            retry_queues: Queues of its retry topic, 0 to 1024.
            retry_max_times: Times that a message is tried again before it is a dead letter; -1 has no end.
            exist_ok: Where it is there already it is left as it is.

        Returns:
            Names of the brokers that have it.

        Raises:
            InvalidNameError: The name is not legal, or reserved.
            AlreadyExistsError: One of the brokers has it; nothing was changed.
            ConfigError: A value cannot be, or the cluster is unknown, or there are several and none is named.
            PartialError: Some brokers failed; its `result` names those that have the group.
            RocketMQError: All failed.

        Cancelling it may leave the group on some brokers; calling it again with `exist_ok` is safe.
        """
        check_group(group)
        flag("exist_ok", exist_ok)
        for name, value in (("ordered", ordered), ("consume", consume), ("broadcast", broadcast)):
            flag(name, value)
        whole("retry_queues", retry_queues, 0, _MAX_QUEUES)
        whole("retry_max_times", retry_max_times, -1, 2**31 - 1)
        kernel = self._kernel
        masters = await kernel.masters(await kernel.only_cluster(cluster, broker), broker)
        known = await self._all(None, targets=masters)
        there = [name for name, table in known.answers.items() if group in table]
        if there and not exist_ok:
            raise AlreadyExistsError(
                f"group {group!r} exists on {', '.join(there)}",
                hint="update() changes a group; exist_ok=True creates it where it is missing",
            )
        config = SubscriptionGroupConfig(
            group_name=kernel.names.wrap(group),
            consume_enable=consume,
            consume_broadcast_enable=broadcast,
            consume_message_orderly=ordered,
            retry_queue_nums=retry_queues,
            retry_max_times=retry_max_times,
        )
        missing = {name: address for name, address in masters.items() if name not in there and name not in known.errors}
        done = await kernel.ask(_PUT, None, config.encode(), about=group, targets=missing)
        both = Partial(done.what, dict(done.answers) | dict.fromkeys(there), {**known.errors, **done.errors})
        return both.joined(lambda answers: tuple(sorted(answers)))

    async def update(
        self,
        group: str,
        *,
        broker: str | None = None,
        ordered: bool | None = None,
        consume: bool | None = None,
        broadcast: bool | None = None,
        retry_queues: int | None = None,
        retry_max_times: int | None = None,
    ) -> Partial[GroupSettings]:
        """Change what is given of a consumer group, and nothing else, on every broker that has it (201, 200); arguments as of `create()`.

        Returns:
            What it is now, by broker.

        Raises:
            ConfigError: A value cannot be, or nothing is given.
            GroupNotExistError: No broker has it.
            RocketMQError: It is not known who is to be asked.

        Cancelling it may leave some brokers changed; calling it again is safe.
        """
        check_group(group)
        changes: dict[str, bool | int] = {}
        for name, field, switch in (
            ("ordered", "consume_message_orderly", ordered),
            ("consume", "consume_enable", consume),
            ("broadcast", "consume_broadcast_enable", broadcast),
        ):
            if switch is not None:
                changes[field] = flag(name, switch)
        for name, field, number, least, most in (
            ("retry_queues", "retry_queue_nums", retry_queues, 0, _MAX_QUEUES),
            ("retry_max_times", "retry_max_times", retry_max_times, -1, 2**31 - 1),
        ):
            if number is not None:
                changes[field] = whole(name, number, least, most)
        if not changes:
            raise ConfigError("nothing is to be changed", hint="give ordered=, consume=, broadcast=, retry_queues= or retry_max_times=")
        kernel = self._kernel
        targets = await kernel.masters(None, broker)
        known = await self._all(None, targets=targets)
        found = {name: table[group] for name, table in known.answers.items() if group in table}
        if not found and known.ok:
            raise GroupNotExistError(f"no broker has group {group!r}", hint="create it, or check the name")
        done: dict[str, GroupSettings] = {}
        errors = dict(known.errors)
        for name, config in found.items():
            new = config.replace(**changes)
            put = await kernel.ask(_PUT, None, new.encode(), about=group, targets={name: targets[name]})
            errors.update(put.errors)
            if put.ok:
                done[name] = _settings(new, group)
        return Partial(f"update group {group}", done, errors)

    async def delete(self, group: str, *, offsets: bool = True, cluster: str | None = None) -> tuple[str, ...]:
        """Delete a consumer group on every broker that has it (207).

        Args:
            group: The group; its retry and dead-letter topics stay.
            offsets: Its offsets go, too. Where they stay a 5.x broker makes the group again at once, with default settings.
            cluster: In this cluster alone.

        Returns:
            Names of the brokers that had it; empty when there was none.

        Raises:
            InvalidNameError: The name is not legal.
            ConfigError: The cluster is unknown.
            PartialError: Some brokers failed; its `result` names those that have deleted it.
            RocketMQError: None has done it.

        Cancelling it may leave the group on some brokers; calling it again is safe.
        """
        check_group(group)
        flag("offsets", offsets)
        kernel = self._kernel
        masters = await kernel.masters(cluster)
        known = await self._all(None, targets=masters)
        there = {name: masters[name] for name, table in known.answers.items() if group in table}
        done = await kernel.ask(_DELETE, DeleteSubscriptionGroupRequestHeader(group, offsets, offsets), about=group, targets=there)
        both = Partial(done.what, done.answers, {**known.errors, **done.errors})
        return both.joined(lambda answers: tuple(sorted(answers)))

    async def _all(self, cluster: str | None, *, targets: Mapping[str, str] | None = None) -> Partial[dict[str, SubscriptionGroupConfig]]:
        """All groups of each broker, by name; in a namespace its own ones."""
        kernel = self._kernel
        targets = await kernel.masters(cluster) if targets is None else targets
        names = kernel.names

        async def read(name: str, address: str) -> dict[str, SubscriptionGroupConfig]:
            found: dict[str, SubscriptionGroupConfig] = {}
            while True:
                fields = GetAllSubscriptionGroupRequestHeader(group_seq=len(found), max_group_num=_PAGE)
                table, total = await kernel.ask_one(_ALL, name, address, fields)
                before = len(found)
                found.update(table.subscription_group_table)
                if len(found) >= total or len(found) == before:
                    return {names.unwrap(group): config for group, config in found.items() if names.holds(group)}

        return await kernel.gather("settings of groups", targets, read)


def _settings(config: SubscriptionGroupConfig, group: str) -> GroupSettings:
    return GroupSettings(
        group,
        ordered=config.consume_message_orderly,
        consume=config.consume_enable,
        broadcast=config.consume_broadcast_enable,
        retry_queues=config.retry_queue_nums,
        retry_max_times=config.retry_max_times,
        attributes=dict(sorted(config.attributes.items())),
    )


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
