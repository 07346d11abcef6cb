"""Topics: create, change, delete, list, route, statistics (Java: the topic part of `DefaultMQAdminExtImpl`). Features Q21, Q22."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from aiorocketmq.admin.kernel import Family
from aiorocketmq.admin.operation import Operation, Where, body, nothing
from aiorocketmq.admin.partial import Partial
from aiorocketmq.admin.results.topics import QueueStats, TopicSettings, TopicStats
from aiorocketmq.core.route_table import subscribe_queues_of
from aiorocketmq.errors import (
    AlreadyExistsError,
    ConfigError,
    NotSupportedByBrokerError,
    RouteError,
    TopicNotExistError,
    TopicNotFoundError,
)
from aiorocketmq.model.checks import duration, flag, member, whole
from aiorocketmq.model.enums import Permission
from aiorocketmq.model.names import AUTO_CREATE_TOPIC_KEY, check_topic, is_system_topic
from aiorocketmq.model.parsing import moment
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import TopicRouteData
from aiorocketmq.protocol.bodies import TopicConfig, TopicConfigWrapper, TopicStatsTable
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.headers_admin import (
    CreateTopicRequestHeader,
    DeleteTopicFromNamesrvRequestHeader,
    DeleteTopicRequestHeader,
    GetAllTopicConfigRequestHeader,
    GetTopicConfigRequestHeader,
    GetTopicStatsInfoRequestHeader,
)

_LOOK_AGAIN: Final = 0.1
"""Seconds between two looks for a new topic in the route."""
_MAX_QUEUES: Final = 65535
_READ_WRITE: Final = Permission.READ | Permission.WRITE

_PUT: Final = Operation("put topic", RequestCode.UPDATE_AND_CREATE_TOPIC, Where.MASTERS, nothing)
_DELETE: Final = Operation("delete topic", RequestCode.DELETE_TOPIC_IN_BROKER, Where.MASTERS, nothing)
_DELETE_ROUTE: Final = Operation("delete the route of topic", RequestCode.DELETE_TOPIC_IN_NAMESRV, Where.NAME_SERVERS, nothing)
_CONFIG: Final = Operation(
    "settings of topic", RequestCode.GET_TOPIC_CONFIG, Where.HOLDERS, body(TopicConfig), absent=(TopicNotExistError,)
)
_CONFIGS: Final = Operation("settings of topics", RequestCode.GET_ALL_TOPIC_CONFIG, Where.MASTERS, body(TopicConfigWrapper))
_STATS: Final = Operation("stats of topic", RequestCode.GET_TOPIC_STATS_INFO, Where.HOLDERS, body(TopicStatsTable))


class Topics(Family):
    """What an admin client does with topics."""

    async def create(
        self,
        topic: str,
        *,
        queues: int = 4,
        permission: Permission = _READ_WRITE,
        cluster: str | None = None,
        broker: str | None = None,
        order: bool = False,
        attributes: Mapping[str, str] | None = None,
        exist_ok: bool = False,
        wait: float | timedelta = 10.0,
    ) -> tuple[str, ...]:
        """Create a topic on the masters of a cluster (17).

        Args:
            topic: Name, 1 to 127 characters of `%|a-zA-Z0-9_-`.
            queues: Queues on each broker, to read and to write, 1 to 65535.
            permission: What clients may do.
            cluster: Cluster on whose masters it is created; None takes the only one there is, or that of `broker`.
            broker: Broker name, or `host:port`, when it is to be on this one alone; it must be one of `cluster` where that is given.
            order: Mark it as a topic of ordered messages.
            attributes: Attributes for 5.x brokers, for example `{"message.type": "FIFO"}`.
            exist_ok: Where it is there already it is left as it is.
            wait: Seconds to wait until the name server routes to it everywhere; brokers register it within moments. 0 does not wait.

        Returns:
            Names of the brokers that have it.

        Raises:
            InvalidNameError: The name is not legal, or reserved.
            AlreadyExistsError: One of the brokers has it; nothing was changed. `update()` changes topics.
            ConfigError: A number is out of range, or the cluster is unknown, or there are several and none is named, or the broker is
                not in it.
            RouteError: The name server did not learn of it within `wait`; the topic exists all the same.
            PartialError: Some brokers refused, or could not be reached; its `result` names those that have the topic.
            RocketMQError: All refused, or could not be reached.

        Cancelling it may leave the topic on some brokers; calling it again with `exist_ok` is safe.
        """
        _check_own(topic)
        whole("queues", queues, 1, _MAX_QUEUES)
        member("permission", permission, Permission)
        flag("order", order)
        flag("exist_ok", exist_ok)
        patience = duration("wait", wait, 0)
        changes = _attributes({} if attributes is None else attributes, new=True)
        kernel = self._kernel
        masters = await kernel.masters(await kernel.only_cluster(cluster, broker), broker)
        there = await self._there(topic, masters)
        if there and not exist_ok:
            places = ", ".join(f"{name} with {count} queues" for name, count in sorted(there.items()))
            raise AlreadyExistsError(
                f"topic {topic!r} exists on {places}", hint="update() changes a topic; exist_ok=True creates it where it is missing"
            )
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
        missing = {name: address for name, address in masters.items() if name not in there}
        done = await kernel.ask(_PUT, header, topic=topic, targets=missing)
        made = done.joined(lambda answers: tuple(sorted({*answers, *there})))
        if patience > 0:
            await self._until_routed("was created", topic, dict.fromkeys(missing.values(), queues), patience)
        return made

    async def update(
        self,
        topic: str,
        *,
        queues: int | None = None,
        read_queues: int | None = None,
        write_queues: int | None = None,
        permission: Permission | None = None,
        order: bool | None = None,
        attributes: Mapping[str, str | None] | None = None,
        broker: str | None = None,
        wait: float | timedelta = 10.0,
    ) -> Partial[TopicSettings]:
        """Change what is given of a topic, and nothing else, on every broker that has it (351, 17).

        Args:
            topic: The topic.
            queues: Queues on each broker, to read and to write, 1 to 65535.
            read_queues, write_queues: One of them alone: fewer to write than to read lets consumers empty the others.
            permission: What clients may do.
            order: Whether it is a topic of ordered messages.
            attributes: Attributes that change, those with None are removed.
            broker: Broker name, or `host:port`: on this one alone.
            wait: Seconds to wait until the name server's route has the change; 0 does not wait.

        Returns:
            What it is now, by broker.

        Raises:
            ConfigError: A value cannot be, or nothing is given.
            RouteError: The name server did not learn of it within `wait`; the topic is changed all the same.
            TopicNotExistError: No broker has it.
            RocketMQError: It is not known who is to be asked.

        Cancelling it may leave some brokers changed; calling it again is safe.
        """
        _check_own(topic)
        for name, number in (("queues", queues), ("read_queues", read_queues), ("write_queues", write_queues)):
            if number is not None:
                whole(name, number, 1, _MAX_QUEUES)
        if permission is not None:
            member("permission", permission, Permission)
        if order is not None:
            flag("order", order)
        patience = duration("wait", wait, 0)
        changes = _attributes({} if attributes is None else attributes, new=False)
        if (queues, read_queues, write_queues, permission, order, changes) == (None,) * 6:
            raise ConfigError("nothing is to be changed", hint="give queues=, permission=, order= or attributes=")
        kernel = self._kernel
        targets = await (kernel.holders(topic) if broker is None else kernel.masters(None, broker))
        known = await self._settings(topic, targets)
        if not known.answers and not known.errors:
            raise TopicNotExistError(f"no broker has topic {topic!r}", topic=topic, hint="create it, or check the name")
        new: dict[str, TopicSettings] = {}
        done: dict[str, TopicSettings] = {}
        errors = dict(known.errors)
        for name, now in known.answers.items():
            new[name] = TopicSettings(
                topic,
                read_queues or queues or now.read_queues,
                write_queues or queues or now.write_queues,
                now.permission if permission is None else permission,
                now.order if order is None else order,
                _changed(now.attributes, attributes),
            )
        for name, settings in new.items():
            header = CreateTopicRequestHeader(
                topic=topic,
                default_topic=AUTO_CREATE_TOPIC_KEY,
                read_queue_nums=settings.read_queues,
                write_queue_nums=settings.write_queues,
                perm=int(settings.permission),
                topic_filter_type="SINGLE_TAG",
                topic_sys_flag=0,
                order=settings.order,
                attributes=changes,
            )
            put = await kernel.ask(_PUT, header, topic=topic, targets={name: targets[name]})
            errors.update(put.errors)
            if put.ok:
                done[name] = settings
        if patience > 0:
            await self._until_routed(
                "was changed", topic, {targets[name]: settings.read_queues for name, settings in done.items()}, patience
            )
        return Partial(f"update topic {topic}", done, errors)

    async def delete(self, topic: str, *, cluster: str | None = None) -> tuple[str, ...]:
        """Delete a topic with its messages: on the brokers, then from the routes of every name server (215, 216).

        Args:
            topic: The topic.
            cluster: In this cluster alone; None deletes it everywhere.

        Returns:
            Names of the brokers that had it; empty when there was none.

        Raises:
            InvalidNameError: The name is not legal.
            ConfigError: The topic is one of the brokers' own, or the cluster is unknown.
            PartialError: Some brokers or name servers failed; its `result` names the brokers that have deleted it.
            RocketMQError: None has done it.

        Cancelling it may leave the topic on some brokers; calling it again is safe.
        """
        _check_own(topic)
        kernel = self._kernel
        masters = await kernel.masters(cluster)
        there = await self._there(topic, masters)
        deleted = (await kernel.ask(_DELETE, DeleteTopicRequestHeader(topic), topic=topic, targets=masters)).joined(dict)
        gone = tuple(name for name in deleted if name in there)
        header = DeleteTopicFromNamesrvRequestHeader(topic, cluster)
        routes = await kernel.ask(_DELETE_ROUTE, header, topic=topic)
        kernel.forget_route(topic)
        return routes.joined(lambda _: gone)

    async def list(self) -> tuple[str, ...]:
        """Names of all topics that brokers have registered, sorted; retry, dead-letter and system topics among them (206).

        Raises:
            RocketMQError: The name server did not answer, or answered with an error.

        Cancelling it is safe.
        """
        return tuple(sorted(await self._kernel.name_server.topic_list()))

    async def settings(self, topic: str) -> Partial[TopicSettings]:
        """What a topic is on each broker that has it (351, 21).

        Raises:
            TopicNotFoundError: The name server does not know the topic.
            RocketMQError: The name server did not answer, or answered with an error.

        Cancelling it is safe.
        """
        check_topic(topic)
        return await self._settings(topic, await self._kernel.holders(topic))

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

    # -- parts -----------------------------------------------------------------------------------------------------------------------

    async def _settings(self, topic: str, targets: Mapping[str, str]) -> Partial[TopicSettings]:
        kernel = self._kernel

        async def read(name: str, address: str) -> TopicSettings:
            try:
                config = await kernel.ask_one(_CONFIG, name, address, GetTopicConfigRequestHeader(topic), topic=topic)
            except NotSupportedByBrokerError:  # those of 4.x tell all of theirs
                table = (await kernel.ask_one(_CONFIGS, name, address, GetAllTopicConfigRequestHeader())).topic_config_table
                known = table.get(kernel.names.wrap(topic))
                if known is None:
                    raise TopicNotExistError(f"broker {name} has no topic {topic!r}", broker=name, topic=topic) from None
                config = known
            return TopicSettings(
                topic,
                config.read_queue_nums,
                config.write_queue_nums,
                Permission(config.perm & int(_READ_WRITE | Permission.INHERIT)),
                config.order,
                dict(sorted(config.attributes.items())),
            )

        return await kernel.gather(f"settings of topic {topic}", targets, read, absent=_CONFIG.absent)

    async def _there(self, topic: str, masters: Mapping[str, str]) -> dict[str, int]:
        """Which of some brokers have a topic, with how many queues, as the name server knows."""
        try:
            route = await self._kernel.name_server.topic_route(topic)
        except TopicNotFoundError:
            return {}
        addresses = {data.broker_name: set(data.broker_addrs.values()) for data in route.broker_datas}
        queues = {data.broker_name: data.write_queue_nums for data in route.queue_datas}
        return {name: queues[broker] for name, address in masters.items() for broker in queues if address in addresses.get(broker, ())}

    async def _until_routed(self, what: str, topic: str, queues: Mapping[str, int], wait: float) -> None:
        """Wait until the name server routes to so many queues at each of some addresses."""
        try:
            async with asyncio.timeout(wait):
                while not await self._is_routed(topic, queues):  # noqa: ASYNC110 - only the name server knows when
                    await asyncio.sleep(_LOOK_AGAIN)
        except TimeoutError:
            raise RouteError(
                f"topic {topic!r} {what}, but the name server does not route to it everywhere after {wait:g} s",
                topic=topic,
                hint="check that the brokers are registered with this name server",
            ) from None

    async def _is_routed(self, topic: str, queues: Mapping[str, int]) -> bool:
        try:
            route = await self._kernel.name_server.topic_route(topic)
        except TopicNotFoundError:
            return False
        known = {data.broker_name: data.read_queue_nums for data in route.queue_datas}
        routed = {address: known.get(data.broker_name) for data in route.broker_datas for address in data.broker_addrs.values()}
        return all(routed.get(address) == count for address, count in queues.items())


def _check_own(topic: str) -> None:
    check_topic(topic)
    if is_system_topic(topic):
        raise ConfigError(f"topic {topic!r} belongs to the broker", hint="use another name")


def _attributes(attributes: Mapping[str, str | None], *, new: bool) -> str | None:
    """Changes of attributes as a broker reads them; None when there are none."""
    if not isinstance(attributes, Mapping):
        raise ConfigError(f"attributes {attributes!r} is no mapping", hint='write {"message.type": "FIFO"}')
    for text in (text for pair in attributes.items() for text in pair if new or text is not None):
        if not isinstance(text, str) or not text or any(char in text for char in ",+="):
            raise ConfigError(f"attributes hold {text!r}", hint="use texts that are not empty, without ',', '+' and '='")
    changes = (f"-{name}" if value is None else f"+{name}={value}" for name, value in attributes.items())
    return ",".join(changes) or None


def _changed(known: Mapping[str, str], changes: Mapping[str, str | None] | None) -> dict[str, str]:
    both = {**known, **(changes or {})}
    return {name: value for name, value in sorted(both.items()) if value is not None}
