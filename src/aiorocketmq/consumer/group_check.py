"""Looks whether all members of the group have the same subscriptions (no Java twin: there the messages are lost quietly). Feature U2.

A broker keeps one set of subscriptions per group: of two forms of one topic the newest wins, and the last heartbeat removes the topics
that it does not name. So a member whose set differs from the broker's has another member beside it with other subscriptions.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from aiorocketmq.errors import RocketMQError
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.protocol.bodies_client import ConsumerConnection
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.headers_client import GetConsumerConnectionListRequestHeader

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance

CHECK_INTERVAL: Final = 20.0
FIRST_CHECK: Final = 10.0
"""Heartbeats come every 30 s: with this interval some checks fall behind those of the others, and not behind our own."""

logger = logging.getLogger("aiorocketmq.consumer")


class GroupCheck:
    """Compares and complains, once for each difference.

    Args:
        instance: Finds and asks a broker.
        group: The consumer group.

    Attributes:
        conflicts: Topic → what differs, as the last check that could be made saw it.
    """

    def __init__(self, instance: ClientInstance, group: str) -> None:
        self.conflicts: dict[str, str] = {}
        self._instance = instance
        self._group = group

    async def run(self, subscriptions: Collection[SubscriptionData]) -> None:
        """Ask one broker, and log an ERROR for each topic that differs and was not reported yet; never raises."""
        addresses = (self._instance.find_broker_addr_by_topic(subscription.topic) for subscription in subscriptions)
        address = next((found for found in addresses if found is not None), None)
        if address is None:
            return
        try:
            header = GetConsumerConnectionListRequestHeader(self._group)
            response = await self._instance.broker_api.call(address, RequestCode.GET_CONSUMER_CONNECTION_LIST, header)
            known = ConsumerConnection.decode(response.body)
        except RocketMQError as error:
            logger.debug("subscriptions of group %s cannot be compared now: %s", self._group, error)
            return
        others = sorted({each.client_id for each in known.connection_set if each.client_id} - {self._instance.client_id})
        names = self._instance.config.names
        theirs = {names.unwrap(topic): subscription for topic, subscription in known.subscription_table.items()}
        found = differences(subscriptions, theirs) if others else {}
        for topic in self.conflicts.keys() - found.keys():
            del self.conflicts[topic]
            logger.info("members of group %s have the same subscription of topic %s again", self._group, topic)
        for topic, text in found.items():
            if self.conflicts.get(topic) != text:
                self.conflicts[topic] = text
                logger.error(
                    "members of group %s have different subscriptions, so messages are lost to some of them: %s; this member is %s, the "
                    "others are %s: give all members of a group the same subscriptions, or groups of their own",
                    self._group,
                    text,
                    self._instance.client_id,
                    ", ".join(others),
                )


def differences(ours: Collection[SubscriptionData], theirs: dict[str, SubscriptionData]) -> dict[str, str]:
    """What differs between this member's subscriptions and the group's, by topic."""
    own = {subscription.topic: subscription for subscription in ours}
    found = {}
    for topic in sorted(own.keys() | theirs.keys()):
        mine, other = own.get(topic), theirs.get(topic)
        if mine is None:
            found[topic] = f"topic {topic} is subscribed by another member only"
        elif other is None:
            found[topic] = f"topic {topic} is not subscribed by another member"
        elif (mine.expression, mine.expression_type) != (other.expression, other.expression_type):
            found[topic] = f"the filter of topic {topic} is {mine.expression!r} here, {other.expression!r} at another member"
    return found
