"""What the operations on topics have in common: what a topic is on each broker, and when name servers know of a change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from aiorocketmq.admin.operation import Operation, Where, body
from aiorocketmq.admin.results.topics import TopicSettings
from aiorocketmq.errors import NotSupportedByBrokerError, RocketMQError, RouteError, TopicNotExistError, TopicNotFoundError
from aiorocketmq.model.enums import Permission
from aiorocketmq.protocol.bodies import TopicConfig, TopicConfigWrapper
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_admin import (
    GetAllTopicConfigRequestHeader,
    GetAllTopicConfigResponseHeader,
    GetTopicConfigRequestHeader,
)

if TYPE_CHECKING:
    from aiorocketmq.admin.kernel import Kernel
    from aiorocketmq.admin.partial import Partial

READ_WRITE: Final = Permission.READ | Permission.WRITE
_LOOK_AGAIN: Final = 0.1
"""Seconds between two looks for a new topic in the route."""
_PAGE: Final = 2000


def _page(response: RemotingCommand) -> tuple[TopicConfigWrapper, int]:
    """The topics of one answer, and how many there are in all; 0 for brokers that know no pages and tell all at once."""
    total = GetAllTopicConfigResponseHeader.from_ext(response.ext_fields).total_topic_num
    return TopicConfigWrapper.decode(response.body), total or 0


_CONFIG: Final = Operation(
    "settings of topic", RequestCode.GET_TOPIC_CONFIG, Where.HOLDERS, body(TopicConfig), absent=(TopicNotExistError,)
)
_CONFIGS: Final = Operation("settings of topics", RequestCode.GET_ALL_TOPIC_CONFIG, Where.MASTERS, _page)


async def all_configs(kernel: Kernel, name: str, address: str) -> dict[str, TopicConfig]:
    """All topics of one broker, by their names on the wire."""
    found: dict[str, TopicConfig] = {}
    while True:
        fields = GetAllTopicConfigRequestHeader(topic_seq=len(found), max_topic_num=_PAGE)
        table, total = await kernel.ask_one(_CONFIGS, name, address, fields)
        before = len(found)
        found.update(table.topic_config_table)
        if len(found) >= total or len(found) == before:
            return found


async def config_of(kernel: Kernel, topic: str, name: str, address: str) -> TopicConfig:
    """What a topic is on one broker.

    Raises:
        TopicNotExistError: It does not have it.
    """
    try:
        return await kernel.ask_one(_CONFIG, name, address, GetTopicConfigRequestHeader(topic), topic=topic)
    except NotSupportedByBrokerError:  # those of 4.x tell all of theirs
        known = (await all_configs(kernel, name, address)).get(kernel.names.wrap(topic))
        if known is None:
            raise TopicNotExistError(f"broker {name} has no topic {topic!r}", broker=name, topic=topic) from None
        return known


async def configs_of(kernel: Kernel, topic: str, targets: Mapping[str, str]) -> Partial[TopicConfig]:
    """What a topic is on some brokers; those that do not have it are left out."""

    async def read(name: str, address: str) -> TopicConfig:
        return await config_of(kernel, topic, name, address)

    return await kernel.gather(f"settings of topic {topic}", targets, read, absent=_CONFIG.absent)


def settings_of(topic: str, config: TopicConfig) -> TopicSettings:
    """What users are told of a topic."""
    return TopicSettings(
        topic,
        config.read_queue_nums,
        config.write_queue_nums,
        Permission(config.perm & int(READ_WRITE | Permission.INHERIT)),
        config.order,
        dict(sorted(config.attributes.items())),
    )


async def brokers_with(kernel: Kernel, topic: str, masters: Mapping[str, str]) -> dict[str, int]:
    """Which of some brokers have a topic, with how many queues: as they say, and where one does not, as the name server knows."""

    async def ask(name: str, address: str) -> int | None:
        try:
            return (await config_of(kernel, topic, name, address)).write_queue_nums
        except TopicNotExistError:
            raise
        except RocketMQError:  # it may be away, or not tell this user
            return None

    told = (await kernel.gather(f"look for topic {topic}", masters, ask, absent=(TopicNotExistError,))).answers
    routed = await _routed(kernel, topic, masters) if None in told.values() else {}
    known = {name: routed.get(name) if said is None else said for name, said in told.items()}
    return {name: count for name, count in known.items() if count is not None}


async def _routed(kernel: Kernel, topic: str, masters: Mapping[str, str]) -> dict[str, int]:
    try:
        route = await kernel.name_server.topic_route(topic)
    except TopicNotFoundError:
        return {}
    addresses = {data.broker_name: set(data.broker_addrs.values()) for data in route.broker_datas}
    queues = {data.broker_name: data.write_queue_nums for data in route.queue_datas}
    return {name: queues[broker] for name, address in masters.items() for broker in queues if address in addresses.get(broker, ())}


async def until_routed(kernel: Kernel, what: str, topic: str, queues: Mapping[str, int], wait: float) -> None:
    """Wait until the name server routes to so many queues at each of some addresses.

    Raises:
        RouteError: It has not learned of it in time.
    """
    try:
        async with asyncio.timeout(wait):
            while not await _is_routed(kernel, topic, queues):  # noqa: ASYNC110 - only the name server knows when
                await asyncio.sleep(_LOOK_AGAIN)
    except TimeoutError:
        raise RouteError(
            f"topic {topic!r} {what}, but the name server does not route to it everywhere after {wait:g} s",
            topic=topic,
            hint="check that the brokers are registered with this name server",
        ) from None


async def _is_routed(kernel: Kernel, topic: str, queues: Mapping[str, int]) -> bool:
    try:
        route = await kernel.name_server.topic_route(topic)
    except TopicNotFoundError:
        return False
    known = {data.broker_name: data.read_queue_nums for data in route.queue_datas}
    routed = {address: known.get(data.broker_name) for data in route.broker_datas for address in data.broker_addrs.values()}
    return all(routed.get(address) == count for address, count in queues.items())
