"""Topics: create, change, delete, list, route, statistics (Java: the topic part of `DefaultMQAdminExtImpl`). Features Q21, Q22."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

from aiorocketmq.admin.operation import Operation, Where, nothing
from aiorocketmq.admin.partial import Partial
from aiorocketmq.admin.results.topics import TopicSettings
from aiorocketmq.admin.topic_parts import READ_WRITE, brokers_with, configs_of, settings_of, until_routed
from aiorocketmq.admin.topic_reads import TopicReads
from aiorocketmq.errors import (
    AlreadyExistsError,
    ConfigError,
    TopicNotExistError,
)
from aiorocketmq.model.checks import duration, flag, member, whole
from aiorocketmq.model.enums import Permission
from aiorocketmq.model.names import AUTO_CREATE_TOPIC_KEY, check_topic, is_system_topic
from aiorocketmq.protocol.bodies import CreateTopicListRequestBody, TopicConfig
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import RpcHeader
from aiorocketmq.protocol.headers_admin import (
    CreateTopicRequestHeader,
    DeleteTopicFromNamesrvRequestHeader,
    DeleteTopicRequestHeader,
)

if TYPE_CHECKING:
    from aiorocketmq.admin.topic_order import TopicOrder

_MAX_QUEUES: Final = 65535

_PUT: Final = Operation("put topic", RequestCode.UPDATE_AND_CREATE_TOPIC, Where.MASTERS, nothing)
_PUT_ALL: Final = Operation("put topics", RequestCode.UPDATE_AND_CREATE_TOPIC_LIST, Where.MASTERS, nothing)
_DELETE: Final = Operation("delete topic", RequestCode.DELETE_TOPIC_IN_BROKER, Where.MASTERS, nothing)
_DELETE_ROUTE: Final = Operation("delete the route of topic", RequestCode.DELETE_TOPIC_IN_NAMESRV, Where.NAME_SERVERS, nothing)


class Topics(TopicReads):
    """What an admin client does with topics."""

    @cached_property
    def order(self) -> TopicOrder:
        """Which queues of ordered topics producers send to."""
        from aiorocketmq.admin.topic_order import TopicOrder

        return TopicOrder(self._kernel)

    async def create(
        self,
        topic: str,
        *,
        queues: int = 4,
        permission: Permission = READ_WRITE,
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
        there = await brokers_with(kernel, topic, masters)
        if there and not exist_ok:
            places = ", ".join(f"{name} with {count} queues" for name, count in sorted(there.items()))
            raise AlreadyExistsError(
                f"topic {topic!r} exists on {places}", hint="update() changes a topic; exist_ok=True creates it where it is missing"
            )
        config = TopicConfig(topic, queues, queues, int(permission), order=order)
        missing = {name: address for name, address in masters.items() if name not in there}
        done = await kernel.ask(_PUT, _header(config, changes), topic=topic, targets=missing)
        made = done.joined(lambda answers: tuple(sorted({*answers, *there})))
        if patience > 0:
            await until_routed(kernel, "was created", topic, dict.fromkeys(missing.values(), queues), patience)
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
        known = await configs_of(kernel, topic, targets)
        if not known.answers and not known.errors:
            raise TopicNotExistError(f"no broker has topic {topic!r}", topic=topic, hint="create it, or check the name")

        async def change(name: str, address: str) -> TopicSettings:
            now = known.answers[name]
            new = now.replace(
                topic_name=topic,
                read_queue_nums=read_queues or queues or now.read_queue_nums,
                write_queue_nums=write_queues or queues or now.write_queue_nums,
                perm=now.perm if permission is None else int(permission),
                order=now.order if order is None else order,
                attributes=_changed(now.attributes, attributes),
            )
            await kernel.ask_one(_PUT, name, address, _header(new, changes), topic=topic)
            return settings_of(topic, new)

        put = await kernel.gather(f"update topic {topic}", {name: targets[name] for name in known.answers}, change)
        done, errors = put.answers, {**known.errors, **put.errors}
        if patience > 0:
            await until_routed(
                kernel, "was changed", topic, {targets[name]: settings.read_queues for name, settings in done.items()}, patience
            )
        return Partial(f"update topic {topic}", done, errors)

    async def delete(self, topic: str, *, cluster: str | None = None, broker: str | None = None) -> tuple[str, ...]:
        """Delete a topic with its messages: on the brokers, then from the routes of every name server (215, 216).

        Args:
            topic: The topic.
            cluster: In this cluster alone; None deletes it everywhere.
            broker: Broker name, or `host:port`: on this one alone, which tells the name servers itself within moments.

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
        masters = await kernel.masters(cluster, broker)
        there = await brokers_with(kernel, topic, masters)
        done = await kernel.ask(_DELETE, DeleteTopicRequestHeader(topic), topic=topic, targets=masters)
        gone = done.joined(lambda answers: tuple(name for name in answers if name in there))
        if broker is not None:
            return gone
        header = DeleteTopicFromNamesrvRequestHeader(topic, cluster)
        routes = await kernel.ask(_DELETE_ROUTE, header, topic=topic)
        kernel.forget_route(topic)
        return routes.joined(lambda _: gone)

    async def delete_route(self, topic: str, *, cluster: str | None = None) -> Partial[None]:
        """Delete a topic from the routes of every name server, and not on the brokers, which register what they have again (216).

        Args:
            topic: The topic.
            cluster: Its brokers in this cluster alone.

        Raises:
            InvalidNameError: The name is not legal.
            ConfigError: The topic is one of the brokers' own.
            RocketMQError: No name server has done it.

        Cancelling it may leave the route at some name servers; calling it again is safe.
        """
        _check_own(topic)
        done = await self._kernel.ask(_DELETE_ROUTE, DeleteTopicFromNamesrvRequestHeader(topic, cluster), topic=topic)
        self._kernel.forget_route(topic)
        return done

    async def put(
        self,
        topics: Iterable[TopicSettings],
        *,
        cluster: str | None = None,
        broker: str | None = None,
        wait: float | timedelta = 10.0,
    ) -> Partial[None]:
        """Make many topics what is given, in one request to each broker (18): those that are missing are created, the others changed.

        It brings the topics of one cluster to another: `settings()` and `all_settings()` tell what to give. Attributes that are not
        named stay as they are; brokers of 4.x do not know this request.

        Args:
            topics: What they are to be; each has to have all its fields.
            cluster: Cluster on whose masters they are to be; None takes the only one there is, or that of `broker`.
            broker: Broker name, or `host:port`: on this one alone.
            wait: Seconds to wait until the name server routes to them everywhere; 0 does not wait.

        Returns:
            Which brokers have done it, and what went wrong at the others.

        Raises:
            ConfigError: There is none, one is named twice, a value cannot be, or the cluster is unknown.
            InvalidNameError: A name is not legal.
            RouteError: The name server did not learn of all within `wait`; they exist all the same.
            RocketMQError: It is not known who is to be asked, or all have failed.

        Cancelling it may leave some brokers without them; calling it again is safe.
        """
        wanted = _checked(topics)
        patience = duration("wait", wait, 0)
        kernel = self._kernel
        masters = await kernel.masters(await kernel.only_cluster(cluster, broker), broker)
        configs = [
            TopicConfig(
                kernel.names.wrap(each.topic),
                each.read_queues,
                each.write_queues,
                int(each.permission),
                order=each.order,
                attributes={f"+{name}": value for name, value in each.attributes.items()},
            )
            for each in wanted
        ]
        data = CreateTopicListRequestBody(configs).encode()
        done = await kernel.ask(_PUT_ALL, RpcHeader(), data, about=", ".join(each.topic for each in wanted[:3]), targets=masters)
        if patience > 0:
            for each in wanted:
                there = dict.fromkeys([masters[name] for name in done.answers], each.read_queues)
                await until_routed(kernel, "was put", each.topic, there, patience)
        return done


def _check_own(topic: str) -> None:
    check_topic(topic)
    if is_system_topic(topic):
        raise ConfigError(f"topic {topic!r} belongs to the broker", hint="use another name")


def _checked(topics: Iterable[TopicSettings]) -> list[TopicSettings]:
    wanted = [] if isinstance(topics, str | bytes) or not isinstance(topics, Iterable) else list(topics)
    if not wanted:
        raise ConfigError(f"topics {topics!r} are none", hint="give a list of TopicSettings")
    for each in wanted:
        if not isinstance(each, TopicSettings):
            raise ConfigError(f"topics hold {each!r}", hint="give TopicSettings, as settings() tells them")
        _check_own(each.topic)
        whole(f"read_queues of {each.topic}", each.read_queues, 1, _MAX_QUEUES)
        whole(f"write_queues of {each.topic}", each.write_queues, 1, _MAX_QUEUES)
        member(f"permission of {each.topic}", each.permission, Permission)
        flag(f"order of {each.topic}", each.order)
        _attributes(each.attributes, new=True)
    names = [each.topic for each in wanted]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"topic {twice!r} is given twice", hint="give it once")
    return wanted


def _header(config: TopicConfig, attributes: str | None) -> CreateTopicRequestHeader:
    return CreateTopicRequestHeader(
        topic=config.topic_name,
        default_topic=AUTO_CREATE_TOPIC_KEY,
        read_queue_nums=config.read_queue_nums,
        write_queue_nums=config.write_queue_nums,
        perm=config.perm,
        topic_filter_type=config.topic_filter_type,
        topic_sys_flag=config.topic_sys_flag,
        order=config.order,
        attributes=attributes,
    )


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
