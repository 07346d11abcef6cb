"""Who lives on an instance: producers, consumers and admin clients by group (Java: `producerTable`, `consumerTable`, `adminExtTable`)."""

from __future__ import annotations

import logging

from aiorocketmq.client.ports import AdminPort, ConsumerPort, ProducerPort, TakeCheck
from aiorocketmq.client.route import TopicEntry
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.core.route_table import TopicPublishInfo
from aiorocketmq.errors import GroupAlreadyRegisteredError
from aiorocketmq.model.names import DEFAULT_PRODUCER_GROUP

logger = logging.getLogger("aiorocketmq.client")


class _Together:
    """The producers of the default group, whose names nobody chose: towards the instance they are one.

    Attributes:
        group: Their group.
        members: They.
    """

    def __init__(self, group: str) -> None:
        self.group = group
        self.members: list[ProducerPort] = []

    def publish_topics(self) -> set[str]:
        return {topic for member in self.members for topic in member.publish_topics()}

    def on_route_changed(self, topic: str, publish: TopicPublishInfo) -> None:
        for member in tuple(self.members):
            if topic in member.publish_topics():
                member.on_route_changed(topic, publish)


class ClientRegistry:
    """The three tables of one instance.

    Args:
        client_id: Named in errors.

    Attributes:
        producers: Group → producer.
        consumers: Group → consumer.
        admins: Group → admin client.
        checks: Producer group → what takes the checks of its transactions.
    """

    def __init__(self, client_id: str) -> None:
        self.producers: dict[str, ProducerPort] = {}
        self.consumers: dict[str, ConsumerPort] = {}
        self.admins: dict[str, AdminPort] = {}
        self.checks: dict[str, TakeCheck] = {}
        self._client_id = client_id
        self._log = StateLog(logger)

    def add_producer(self, producer: ProducerPort) -> None:
        """Raises `GroupAlreadyRegisteredError` when the group has a producer here; only the default group may have several."""
        if producer.group == DEFAULT_PRODUCER_GROUP:
            together = self.producers.setdefault(producer.group, _Together(producer.group))
            assert isinstance(together, _Together)  # nothing else is put there
            together.members.append(producer)
        elif self.producers.setdefault(producer.group, producer) is not producer:
            raise self._taken("producer", producer.group)

    def remove_producer(self, group: str, producer: ProducerPort | None) -> bool:
        """Let a producer go; None lets all of the group go. True when the group had one, and has none any more."""
        together = self.producers.get(group)
        if isinstance(together, _Together) and producer is not None:
            together.members = [member for member in together.members if member is not producer]
            if together.members:
                return False
        elif producer is not None and together is not producer:
            return False
        return self.producers.pop(group, None) is not None

    def add_consumer(self, consumer: ConsumerPort) -> None:
        """Raises `GroupAlreadyRegisteredError` when the group has a consumer here."""
        if self.consumers.setdefault(consumer.group, consumer) is not consumer:
            raise self._taken("consumer", consumer.group)

    def add_admin(self, admin: AdminPort) -> None:
        """Raises `GroupAlreadyRegisteredError` when the group has an admin client here."""
        if self.admins.setdefault(admin.group, admin) is not admin:
            raise self._taken("admin client", admin.group)

    def clear(self) -> None:
        """Let all go."""
        self.producers.clear()
        self.consumers.clear()
        self.admins.clear()
        self.checks.clear()

    def topics(self) -> set[str]:
        """All topics that a client publishes or subscribes now."""
        topics = {topic for producer in self.producers.values() for topic in producer.publish_topics()}
        topics.update(subscription.topic for consumer in self.consumers.values() for subscription in consumer.subscriptions())
        return topics

    def route_changed(self, topic: str, entry: TopicEntry) -> None:
        """Tell every client that uses the topic; one that fails does not keep the others from hearing it."""
        for producer in tuple(self.producers.values()):
            if topic in producer.publish_topics():
                try:
                    producer.on_route_changed(topic, entry.publish)
                except Exception as error:  # noqa: BLE001 - the boundary to a client's own code: logged with its traceback
                    self._failed_to_take("producer", producer.group, topic, error)
        for consumer in tuple(self.consumers.values()):
            if consumer.subscribes(topic):
                try:
                    consumer.on_route_changed(topic, entry.subscribe)
                except Exception as error:  # noqa: BLE001 - as above
                    self._failed_to_take("consumer", consumer.group, topic, error)

    def _failed_to_take(self, kind: str, group: str, topic: str, error: Exception) -> None:
        text = "%s group %s failed to take the new route of topic %s"
        self._log.note(logging.ERROR, f"{kind} {group}", text, kind, group, topic, exc_info=error)

    def _taken(self, kind: str, group: str) -> GroupAlreadyRegisteredError:
        return GroupAlreadyRegisteredError(
            f"{kind} group {group!r} is registered already on client instance {self._client_id}",
            hint="use the client that exists, another group, or another instance_name",
        )
