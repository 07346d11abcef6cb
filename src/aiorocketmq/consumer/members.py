"""Who is in the group: asked once in a rebalance round (Java: `MQClientInstance.findConsumerIdList`, asked there for every topic).

The list belongs to the group, and any broker that has a topic tells it; so topics on the same brokers share one answer. Feature G1.
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
        greeted: The broker was asked after a heartbeat of this round: whoever is missing is not known.
    """

    ids: tuple[str, ...]
    address: str
    connection: Channel | None
    greeted: bool


class MemberLists:
    """Asks for members, and remembers the answers of one round.

    A question that failed is asked once more when the next topic needs it, perhaps of another broker, and then not again in this round.

    Args:
        instance: Finds and asks brokers.
        group: The consumer group.
    """

    def __init__(self, instance: ClientInstance, group: str) -> None:
        self._instance = instance
        self._group = group
        self._told: dict[Brokers, Members] = {}
        self._failed: dict[Brokers, int] = {}
        self._log = StateLog(logger)

    def begin_round(self) -> None:
        """Forget what was told."""
        self._told.clear()
        self._failed.clear()

    async def of(self, topic: str) -> Members | None:
        """The members, as some broker of the topic tells or has told in this round; None when none tells it now."""
        brokers = self._brokers(topic)
        told = self._told.get(brokers)
        return told if told is not None else await self._ask(topic, brokers, greeted=False)

    async def greet(self, topic: str) -> Members | None:
        """Say hello to the brokers, which do not know us, and ask again."""
        brokers = self._brokers(topic)
        self._told.pop(brokers, None)
        await self._instance.heartbeat.send_all(full=True)
        return await self._ask(topic, brokers, greeted=True)

    def _brokers(self, topic: str) -> Brokers:
        route = self._instance.routes.route(topic)
        datas = route.broker_datas if route is not None else ()
        return frozenset((data.broker_name, frozenset(data.broker_addrs.items())) for data in datas)

    async def _ask(self, topic: str, brokers: Brokers, *, greeted: bool) -> Members | None:
        address = self._instance.find_broker_addr_by_topic(topic)
        if address is None or self._failed.get(brokers, 0) > 1:
            return None
        key = "members at " + ",".join(sorted(name for name, _ in brokers))
        try:
            ids = await self._instance.broker_api.consumer_list(address, self._group)
        except RocketMQError as error:
            self._failed[brokers] = self._failed.get(brokers, 0) + 1
            self._log.failed(key, "members of group %s for topic %s cannot be listed now: %s", self._group, topic, error)
            if isinstance(error, BrokerError):
                await self._instance.heartbeat.send_all(full=True)  # the broker knows no member: not even us
            return None
        self._log.worked(key, "members of group %s for topic %s can be listed again", self._group, topic)
        members = self._told[brokers] = Members(ids, address, self._instance.remoting.channel(address), greeted)
        return members
