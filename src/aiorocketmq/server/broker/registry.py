"""Who is connected: producers and consumers by group (Java: `ProducerManager`, `ConsumerManager`, `ClientHousekeepingService`).

Members are connections, not client ids. A member goes when its socket closes, when it says so, or when its heartbeats stop. Whenever the
members or the topics of a consumer group change, every member is told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from aiorocketmq.model.enums import ConsumeType, MessageModel
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.protocol.bodies import ConsumerData
from aiorocketmq.remoting.channel import Channel

logger = logging.getLogger("aiorocketmq.server")


_MOST_PULLED: Final = 4096
"""Subscriptions of pulls that are remembered."""


@dataclass(slots=True)
class Member:
    """One connection of a group; mutable, because heartbeats renew it."""

    channel: Channel
    client_id: str
    language: int
    version: int
    last_heartbeat: float


@dataclass(slots=True)
class ConsumerGroup:
    """One consumer group as its members describe it; mutable. The last full heartbeat wins for all (Java: `ConsumerGroupInfo`)."""

    name: str
    consume_type: ConsumeType
    message_model: MessageModel
    consume_from_where: str
    members: dict[Channel, Member] = field(default_factory=dict)
    subscriptions: dict[str, SubscriptionData] = field(default_factory=dict)

    def client_ids(self) -> list[str]:
        return [member.client_id for member in self.members.values()]

    def subscribe(self, subscriptions: Iterable[SubscriptionData]) -> bool:
        """Take over a member's subscriptions: topics it does not list are removed. True when the set of topics changed."""
        listed = {subscription.topic: subscription for subscription in subscriptions}
        changed = listed.keys() != self.subscriptions.keys()
        for topic in self.subscriptions.keys() - listed.keys():
            logger.info("group %s: the subscription of %s is gone", self.name, topic)
            del self.subscriptions[topic]
        for topic, subscription in listed.items():
            known = self.subscriptions.get(topic)
            if known is None or subscription.version > known.version:
                self.subscriptions[topic] = subscription
        return changed


class GroupChanged(Protocol):
    """Told of a consumer group whose members or topics changed, and whether that is as a connection was lost."""

    def __call__(self, group: ConsumerGroup, *, lost: bool = False) -> None: ...


class ClientRegistry:
    """Tables of connected clients.

    Args:
        now: Monotonic clock in seconds.
        expiry: Seconds without a heartbeat after which a client is forgotten and its connection closed.
        on_group_changed: Called with a consumer group whose members or topics changed.
    """

    def __init__(self, now: Callable[[], float], expiry: float, on_group_changed: GroupChanged) -> None:
        self._now = now
        self._expiry = expiry
        self._on_group_changed = on_group_changed
        self._producers: dict[str, dict[Channel, Member]] = {}
        self._consumers: dict[str, ConsumerGroup] = {}
        self._fingerprints: dict[str, int] = {}
        self._pulled: dict[tuple[str, str], tuple[SubscriptionData, str | None, int]] = {}
        """What groups pull with by (group, topic), where pulls bring it themselves (Java: consumerCompensationTable)."""
        # The groups of each connection, producers' and consumers': a connection's end must not cost more when there are many others.
        self._groups: dict[Channel, tuple[set[str], set[str]]] = {}

    @property
    def producers(self) -> Mapping[str, Mapping[Channel, Member]]:
        return self._producers

    @property
    def consumers(self) -> Mapping[str, ConsumerGroup]:
        return self._consumers

    def consumer_group(self, group: str) -> ConsumerGroup | None:
        return self._consumers.get(group)

    def consumer(self, group: str, client_id: str) -> Member | None:
        """The member of a consumer group with this client id."""
        known = self._consumers.get(group)
        return next((member for member in known.members.values() if member.client_id == client_id), None) if known else None

    def producer(self, client_id: str) -> Member | None:
        """The member of any producer group with this client id; of several connections the one whose heartbeat is the newest."""
        found = [member for members in self._producers.values() for member in members.values() if member.client_id == client_id]
        return max(found, key=lambda member: member.last_heartbeat, default=None)

    def note_pulled(self, group: str, subscription: SubscriptionData, text: str | None, now_ms: int) -> None:
        """Remember with what a group pulls a topic; told where no heartbeat says it."""
        if len(self._pulled) >= _MOST_PULLED:
            self._pulled.clear()
        self._pulled[group, subscription.topic] = subscription, text, now_ms

    def subscription(self, group: str, topic: str) -> SubscriptionData | None:
        """What a group wants of a topic by its heartbeats, else by its pulls."""
        members = self._consumers.get(group)
        known = members.subscriptions.get(topic) if members is not None else None
        if known is not None:
            return known
        pulled = self._pulled.get((group, topic))
        if pulled is None:
            return None
        subscription, text, at = pulled
        return replace(subscription, expression=text if subscription.tags and text else subscription.expression, version=at)

    def fingerprint_changed(self, group: str, fingerprint: int) -> bool:
        """Remember a group's heartbeat fingerprint; True when another one was known before."""
        before = self._fingerprints.get(group)
        self._fingerprints[group] = fingerprint
        return before is not None and before != fingerprint

    def register_producer(self, group: str, channel: Channel, client_id: str, language: int, version: int) -> None:
        """A producer's heartbeat."""
        members = self._producers.setdefault(group, {})
        self._renew(members, channel, client_id, language, version)
        self._groups_of(channel)[0].add(group)

    def register_consumer(self, data: ConsumerData, channel: Channel, client_id: str, language: int, version: int) -> None:
        """A consumer's full heartbeat."""
        group = self._consumers.get(data.group_name)
        if group is None:
            group = self._consumers[data.group_name] = ConsumerGroup(
                data.group_name, data.consume_type, data.message_model, data.consume_from_where
            )
        group.consume_type = data.consume_type
        group.message_model = data.message_model
        group.consume_from_where = data.consume_from_where
        joined = self._renew(group.members, channel, client_id, language, version)
        self._groups_of(channel)[1].add(group.name)
        if group.subscribe(data.subscription_data_set) or joined:
            self._on_group_changed(group)

    def renew_consumer(self, group_name: str, channel: Channel, client_id: str, language: int, version: int) -> bool:
        """A consumer's short heartbeat (no subscriptions); False when the group is not known, so that a full one is needed."""
        group = self._consumers.get(group_name)
        if group is None:
            return False
        self._groups_of(channel)[1].add(group_name)
        if self._renew(group.members, channel, client_id, language, version):
            self._on_group_changed(group)
        return True

    def _renew(self, members: dict[Channel, Member], channel: Channel, client_id: str, language: int, version: int) -> bool:
        member = members.get(channel)
        if member is not None and member.client_id == client_id:
            member.last_heartbeat = self._now()
            return False
        members[channel] = Member(channel, client_id, language, version, self._now())
        return True

    def unregister(self, channel: Channel, producer_group: str | None, consumer_group: str | None) -> None:
        """A client says goodbye for a producer group, a consumer group, or both."""
        produced, consumed = self._groups.get(channel, (set[str](), set[str]()))
        if producer_group:
            produced.discard(producer_group)
            self._remove_producer(producer_group, channel)
        if consumer_group:
            consumed.discard(consumer_group)
            self._remove_consumer(consumer_group, channel, told=True)

    def channel_closed(self, channel: Channel) -> None:
        """Forget every member on this connection."""
        produced, consumed = self._groups.pop(channel, (set[str](), set[str]()))
        for group in sorted(produced):
            self._remove_producer(group, channel)
        for group in sorted(consumed):
            self._remove_consumer(group, channel)

    def _groups_of(self, channel: Channel) -> tuple[set[str], set[str]]:
        return self._groups.setdefault(channel, (set(), set()))

    def expire(self) -> None:
        """Close the connections of clients whose heartbeats stopped, and forget them."""
        limit = self._now() - self._expiry
        tables: list[dict[Channel, Member]] = [*self._producers.values(), *(group.members for group in self._consumers.values())]
        silent = {member.channel: member.client_id for members in tables for member in members.values() if member.last_heartbeat < limit}
        for channel, client_id in silent.items():
            logger.warning("client %s at %s sent no heartbeat for %.0f s: closed", client_id, channel.address, self._expiry)
            self.channel_closed(channel)
            channel.close()
        # Heartbeats may name groups that never came to be.
        for group in [group for group in self._fingerprints if group not in self._consumers]:
            del self._fingerprints[group]

    def _remove_producer(self, group: str, channel: Channel) -> None:
        members = self._producers.get(group, {})
        members.pop(channel, None)
        if not members:
            self._producers.pop(group, None)

    def _remove_consumer(self, group_name: str, channel: Channel, *, told: bool = False) -> None:
        """Take a member out; a goodbye is told to the others even when it comes from nobody who was in the group."""
        group = self._consumers.get(group_name)
        if group is None or (group.members.pop(channel, None) is None and not told):
            return
        if group.members:
            self._on_group_changed(group, lost=not told)
        else:
            del self._consumers[group_name]
            self._fingerprints.pop(group_name, None)
