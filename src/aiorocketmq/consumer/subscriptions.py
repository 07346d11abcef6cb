"""What a consumer listens to: topic → filter and listener (Java: `RebalanceImpl.subscriptionInner`). Features F17, F18, F21."""

from __future__ import annotations

from collections.abc import Collection

from aiorocketmq.consumer.listener import Listener
from aiorocketmq.errors import ListenerError
from aiorocketmq.model.filters import SQL, SubscriptionData, build_subscription
from aiorocketmq.model.names import retry_topic
from aiorocketmq.model.namespace import Namespace


class Subscriptions:
    """The subscriptions of one consumer. Mutable: topics come and go while it runs.

    Args:
        group: The consumer group.
        with_retry_topic: Failed messages come back through `%RETRY%group`; broadcasting groups have no such topic.
        namespace: The namespace of its topics.

    Attributes:
        retry_topic: The retry topic, or None.
        namespace: The namespace of its topics.
        paused: Topics that are paused.
    """

    __slots__ = ("_data", "_listeners", "namespace", "paused", "retry_topic")

    def __init__(self, group: str, *, with_retry_topic: bool, namespace: Namespace | None = None) -> None:
        self.namespace = namespace or Namespace()
        self.retry_topic: str | None = retry_topic(group) if with_retry_topic else None
        self._data: dict[str, SubscriptionData] = {}
        self._listeners: dict[str, Listener] = {}
        self.paused: set[str] = set()

    def add(self, listener: Listener, expression: str | SQL | None, version: int) -> SubscriptionData:
        """Add a topic, or give it another filter and listener.

        Args:
            listener: The listener; it names the topic.
            expression: See `model.filters.build_subscription`.
            version: Milliseconds since the epoch; brokers keep the newest form.

        Raises:
            InvalidNameError: The topic has an illegal name.
            ListenerError: It is the retry topic, which is subscribed by itself.
            ConfigError: The expression cannot be read.
        """
        data = self.put(listener.topic, expression, version)
        self._listeners[listener.topic] = listener
        if listener.topic in self.paused:
            listener.hold()
        return data

    def put(self, topic: str, expression: str | SQL | None, version: int) -> SubscriptionData:
        """As `add()`, without a listener: the consumer asks for its messages."""
        self.namespace.check_topic(topic)
        if topic == self.retry_topic:
            raise ListenerError(f"topic {topic!r} is subscribed by itself", hint="its messages go to the listeners of their own topics")
        known = self._data.get(topic)
        data = build_subscription(topic, expression, max(version, known.version + 1) if known else version)
        self._data[topic] = data
        self.begin(version)
        return data

    def begin(self, version: int) -> None:
        """The consumer listens, whatever topics it has or will have: it gets its failed messages again."""
        if self.retry_topic is not None and self.retry_topic not in self._data:
            self._data[self.retry_topic] = build_subscription(self.retry_topic, None, version)

    def restore(self, topic: str, data: SubscriptionData | None, listener: Listener | None) -> None:
        """Make a topic what it was before `add()`."""
        if data is None:
            self.remove(topic)
            return
        self._data[topic] = data
        if listener is not None:
            self._listeners[topic] = listener
            if topic in self.paused:
                listener.hold()
            else:
                listener.go_on()

    def remove(self, topic: str) -> bool:
        """Remove a topic; True when it was there.

        Raises:
            ListenerError: It is the retry topic, which stays as long as the group has a listener.
        """
        if topic == self.retry_topic:
            raise ListenerError(f"topic {topic!r} is subscribed by itself", hint="unsubscribe the topics of your listeners")
        self._listeners.pop(topic, None)
        self.paused.discard(topic)
        return self._data.pop(topic, None) is not None

    def get(self, topic: str) -> SubscriptionData | None:
        """The filter of a topic, the retry topic included."""
        return self._data.get(topic)

    def listener(self, topic: str) -> Listener | None:
        """The listener of a topic."""
        return self._listeners.get(topic)

    def pause(self, topic: str) -> None:
        """Hold the calls of a topic's listener, those for messages that come again included."""
        self.paused.add(topic)
        if (listener := self._listeners.get(topic)) is not None:
            listener.hold()

    def resume(self, topic: str) -> None:
        """Let the listener of a topic be called again."""
        self.paused.discard(topic)
        if (listener := self._listeners.get(topic)) is not None:
            listener.go_on()

    @property
    def listeners(self) -> Collection[Listener]:
        """All listeners."""
        return self._listeners.values()

    @property
    def all(self) -> tuple[SubscriptionData, ...]:
        """All filters, the retry topic's included."""
        return tuple(self._data.values())

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics, the retry topic included."""
        return tuple(self._data)
