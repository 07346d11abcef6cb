"""Namespaces of version 1: tenants of one cluster that have names of their own (Java: `NamespaceUtil`). Features L11, Q54.

Towards brokers and name servers topic `orders` of namespace `ns` is called `ns%orders`, and group `g` is `ns%g` with the retry topic
`%RETRY%ns%g`. Users never see that: names are wrapped where requests are made, and unwrapped where answers are read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.names import (
    CLIENT_INNER_PRODUCER_GROUP,
    DLQ_PREFIX,
    LMQ_PREFIX,
    RETRY_PREFIX,
    TOOLS_CONSUMER_GROUP,
    check_group,
    check_topic,
    is_system_group,
    is_system_topic,
)
from aiorocketmq.model.properties import DLQ_ORIGIN_TOPIC, RETRY_TOPIC
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from aiorocketmq.model.received import ReceivedMessage

SEPARATOR: Final = "%"
_SHARED: Final = frozenset({CLIENT_INNER_PRODUCER_GROUP, TOOLS_CONSUMER_GROUP})
"""Groups that clients use for themselves; they have no namespace, as in Java."""
_REPLY_TOPIC: Final = "_REPLY_TOPIC"
"""End of the names of reply topics: a broker has one for its cluster, not one for each namespace."""


class Namespace:
    """Puts the names of one namespace into the form of the wire, and back; one without a name leaves all names as they are.

    Args:
        name: The namespace, or "".

    Attributes:
        name: The namespace, or "".
    """

    __slots__ = ("_prefix", "name")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._prefix = name + SEPARATOR

    def __bool__(self) -> bool:
        return bool(self.name)

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"

    def wrap(self, name: str) -> str:
        """The name of a topic or group towards brokers. Names that have it already, and those of the brokers themselves, stay."""
        if not self.name or not name or _is_shared(name):
            return name
        kind, bare = _split(name)
        return name if bare.startswith(self._prefix) else f"{kind}{self._prefix}{bare}"

    def unwrap(self, name: str) -> str:
        """The name as its user knows it; one of another namespace, or of none, stays."""
        if not self.name:
            return name
        kind, bare = _split(name)
        return kind + bare[len(self._prefix) :] if bare.startswith(self._prefix) else name

    def holds(self, name: str) -> bool:
        """True for a name of the wire that means something in this namespace: its own ones, and those of the brokers."""
        return self.wrap(name) == name

    def wrap_queue(self, queue: MessageQueue) -> MessageQueue:
        """A queue with the wire's name of its topic."""
        return MessageQueue(self.wrap(queue.topic), queue.broker_name, queue.queue_id) if self.name else queue

    def unwrap_queue(self, queue: MessageQueue) -> MessageQueue:
        """A queue with the user's name of its topic."""
        return MessageQueue(self.unwrap(queue.topic), queue.broker_name, queue.queue_id) if self.name else queue

    def wrap_subscription(self, subscription: SubscriptionData) -> SubscriptionData:
        """A subscription with the wire's name of its topic."""
        return replace(subscription, topic=self.wrap(subscription.topic)) if self.name else subscription

    def unwrap_subscription(self, subscription: SubscriptionData) -> SubscriptionData:
        """A subscription with the user's name of its topic."""
        return replace(subscription, topic=self.unwrap(subscription.topic)) if self.name else subscription

    def unwrap_messages(self, messages: Iterable[ReceivedMessage]) -> None:
        """Give messages that were just decoded the user's names: of their topic, and of the one that they came from."""
        if self.name:
            for message in messages:
                message.topic = self.unwrap(message.topic)
                if _split(message.topic)[0]:  # brokers note where a failed message came from
                    properties = message.properties
                    for name in (RETRY_TOPIC, DLQ_ORIGIN_TOPIC):
                        if name in properties:
                            properties[name] = self.unwrap(properties[name])

    def unwrap_text(self, text: str | None) -> str | None:
        """What a broker wrote, with the names as the user knows them."""
        return text.replace(self._prefix, "") if self.name and text else text

    def check_topic(self, topic: str) -> None:
        """Raise `InvalidNameError` unless the topic has a legal name in this namespace, too: there it is longer."""
        check_topic(topic)
        if self.name:
            check_topic(self.wrap(topic))

    def check_group(self, group: str) -> None:
        """Raise `InvalidNameError` unless the group has a legal name in this namespace, too."""
        check_group(group)
        if self.name:
            check_group(self.wrap(group))


def _split(name: str) -> tuple[str, str]:
    for kind in (RETRY_PREFIX, DLQ_PREFIX):
        if name.startswith(kind):
            return kind, name[len(kind) :]
    return "", name


def _is_shared(name: str) -> bool:
    # Light queues are named in the properties of messages; put behind a namespace, brokers would not know them as such.
    return is_system_topic(name) or is_system_group(name) or name in _SHARED or name.endswith(_REPLY_TOPIC) or name.startswith(LMQ_PREFIX)
