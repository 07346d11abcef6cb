"""Who is in the group (Java: `MQClientInstance.findConsumerIdList`, asked there for every topic).

The list belongs to the group, and any broker that has a topic tells it; so topics on the same brokers share one question. Feature G1.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiorocketmq.client.statelog import StateLog
from aiorocketmq.errors import BrokerError, RocketMQError

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.remoting.channel import Channel

logger = logging.getLogger("aiorocketmq.consumer")

Brokers = frozenset[tuple[str, frozenset[tuple[int, str]]]]
"""Names and addresses of the brokers in a route."""


@dataclass(frozen=True, slots=True)
class Members:
    """What a broker told.

    Attributes:
        ids: Client ids, in no order.
        address: The broker.
        connection: The connection that the answer came over, None when it is lost already.
    """

    ids: tuple[str, ...]
    address: str
    connection: Channel | None


class MemberLists:
    """Asks for members.

    Args:
        instance: Finds and asks brokers.
        group: The consumer group.

    Attributes:
        log: What fails and lasts.
    """

    def __init__(self, instance: ClientInstance, group: str) -> None:
        self._instance = instance
        self._group = group
        self.log = StateLog(logger)

    def brokers(self, topic: str) -> Brokers:
        """The brokers of a topic: topics with the same ones have the same members."""
        route = self._instance.routes.route(topic)
        datas = route.broker_datas if route is not None else ()
        return frozenset((data.broker_name, frozenset(data.broker_addrs.items())) for data in datas)

    async def of(self, topic: str) -> Members | None:
        """The members, as some broker of the topic tells them; None when none tells it now.

        A broker that refuses knows no member, not even us: it is greeted and asked once more.
        """
        return await self._ask(topic, greet=True)

    async def greet(self, topic: str) -> Members | None:
        """Say hello to the brokers, which do not know us, and ask again."""
        await self._instance.heartbeat.send_all(full=True)
        return await self._ask(topic, greet=False)

    async def _ask(self, topic: str, *, greet: bool) -> Members | None:
        address = self._instance.find_broker_addr_by_topic(topic)
        if address is None:
            return None
        key = "members at " + ",".join(sorted(name for name, _ in self.brokers(topic)))
        try:
            ids = await self._instance.broker_api.consumer_list(address, self._group)
        except RocketMQError as error:
            self.log.failed(key, "members of group %s for topic %s cannot be listed now: %s", self._group, topic, error)
            return await self.greet(topic) if greet and isinstance(error, BrokerError) else None
        self.log.worked(key, "members of group %s for topic %s can be listed again", self._group, topic)
        return Members(ids, address, self._instance.remoting.channel(address))
