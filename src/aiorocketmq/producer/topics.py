"""What a producer knows of its topics, and the sends that wait for a route (Java: `tryToFindTopicPublishInfo`). Features B13, B15, K17.

One supervised task per topic looks for the route, with growing pauses, for as long as an operation waits for it.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.route import no_broker_left
from aiorocketmq.core.route_table import TopicPublishInfo
from aiorocketmq.errors import RocketMQError, RouteError, TopicNotFoundError
from aiorocketmq.producer.attempts import back_off
from aiorocketmq.producer.send import Sender, SendOperation, TopicTarget
from aiorocketmq.producer.settings import ProducerSettings

MAX_PAUSE: Final = 0.5
"""Longest pause in seconds between two attempts to find a route while a send waits for it."""


class TopicSender(Sender, Protocol):
    """What the topics need of their producer; see `aiorocketmq.producer.dispatcher`."""

    def drain_topic(self, target: TopicTarget) -> None: ...


class Topics:
    """The topics of one producer.

    Args:
        dispatcher: Sends operations off again once the route is known.
        instance: Its routes and scheduler are used.
        settings: The producer's settings.

    Attributes:
        targets: The topics sent to so far, by name.
    """

    def __init__(self, dispatcher: TopicSender, instance: ClientInstance, settings: ProducerSettings) -> None:
        self._namespace = instance.config.names
        self.targets: dict[str, TopicTarget] = {topic: TopicTarget(topic, self._namespace) for topic in settings.topics}
        self._dispatcher = dispatcher
        self._loop = dispatcher.loop
        self._instance = instance
        self._settings = settings

    def target(self, topic: str) -> TopicTarget:
        """The topic's entry; a new one takes over what the instance already knows.

        Raises:
            InvalidNameError: With its namespace the name is too long.
        """
        target = self.targets.get(topic)
        if target is None:
            self._namespace.check_topic(topic)
            target = self.targets[topic] = TopicTarget(topic, self._namespace)
            target.put(self._instance.routes.publish_info(topic))
        return target

    def close(self) -> list[SendOperation]:
        """Look for routes no more; gives back who still waits, here or for the next try."""
        waiting: list[SendOperation] = []
        for target in self.targets.values():
            for place in target.places:
                waiting += place
            for task in (target.task, target.renewal):
                if task is not None:
                    task.cancel()
            target.task = target.renewal = None  # not left to the tasks: one that has not begun yet does nothing at all
        return waiting

    def await_route(self, target: TopicTarget, operation: SendOperation) -> None:
        """Park an operation until the route is known and its body is ready."""
        if not operation.ready:
            phase = "waiting for its body to be compressed"
        elif target.publish is None:
            phase = f"waiting for the route of topic {target.topic!r} from {'; '.join(self._instance.remoting.name_servers)}"
        else:
            phase = "waiting for the body of an earlier message to be compressed"
        operation.park(target.waiting, phase)
        if operation.ready and target.publish is None:
            self.resolve(target)

    def resolve(self, target: TopicTarget) -> None:
        """Look for the route of a topic that operations wait for."""
        # A stopped instance brings no route any more: the operations end at their deadlines.
        if target.task is None and not self._instance.scheduler.closed:
            target.task = self._instance.scheduler.spawn(f"route of {target.topic} for {self._settings.group}", self._find_route(target))

    async def _find_route(self, target: TopicTarget) -> None:
        failures = 0
        try:
            while target.waiting and target.publish is None and not self._dispatcher.closed:
                started = self._loop.time()
                try:
                    publish = await self.fetch_route(target.topic)
                except RocketMQError as error:
                    failures += 1
                    self._no_route(target, error, self._loop.time() - started)
                    await asyncio.sleep(min(MAX_PAUSE, back_off(failures)))
                else:
                    target.put(publish)
        finally:
            target.task = None
        self._dispatcher.drain_topic(target)
        if not target.known and not target.waiting and target.topic not in self._settings.topics:
            # The instance shall not ask for ever for topics that do not exist.
            self.targets.pop(target.topic, None)

    async def fetch_route(self, topic: str) -> TopicPublishInfo:
        """Ask for a topic's queues; a topic that does not exist takes the route by which brokers create it (B13)."""
        settings = self._settings
        try:
            return await self._instance.routes.publish_info_or_fetch(
                topic, default_topic=settings.create_topic_key, default_topic_queue_nums=settings.default_topic_queue_nums
            )
        except TopicNotFoundError:
            raise self._not_found(
                topic, f"no name server knows it, nor {settings.create_topic_key!r}, by which brokers create topics"
            ) from None

    def _not_found(self, topic: str, why: str) -> RouteError:
        target = self.targets.get(topic)
        if target is None or not target.known:
            return TopicNotFoundError(f"no route of topic {topic!r}: {why}", topic=topic)
        return no_broker_left(topic, target.served_by)

    def _no_route(self, target: TopicTarget, error: RocketMQError, took: float) -> None:
        # A topic that was there a moment ago is missing while its only broker restarts: that is worth waiting for.
        final = not error.retriable or isinstance(error, TopicNotFoundError)
        for operation in list(target.waiting):
            operation.troubled().note("", "", error, took)
            if final:
                operation.fail(error)

    def renew(self, operation: SendOperation) -> None:
        """A broker does not have the queue that the route named: send the operation off again by a fresh route.

        When that names such a queue as well, the name server has not heard of the change yet: then with pauses in between.
        """
        target = operation.target
        if self._instance.scheduler.closed:
            operation.fail(operation.troubled().error)
            return
        operation.park(target.misled, f"waiting for a fresh route of topic {target.topic!r}")
        if target.renewal is None:
            misled = operation.troubled().misled
            pause = min(MAX_PAUSE, back_off(misled - 1)) if misled > 1 else 0.0
            work = self._renew(target, pause)
            target.renewal = self._instance.scheduler.spawn(f"fresh route of {target.topic} for {self._settings.group}", work)

    async def _renew(self, target: TopicTarget, pause: float) -> None:
        try:
            await asyncio.sleep(pause)
            target.put((await self._instance.routes.fetch(target.topic)).publish)
        except RocketMQError as error:
            for operation in target.misled:
                operation.troubled().note("", "", error, pause)
        finally:
            target.renewal = None
        for operation in list(target.misled):
            operation.resume()

    async def fetch_queues(self, topic: str) -> TopicPublishInfo:
        """Ask the name server for the queues of a topic that exists."""
        try:
            publish = (await self._instance.routes.fetch(topic)).publish
        except TopicNotFoundError:
            raise self._not_found(topic, "no name server knows it") from None
        if not publish.queues:
            raise RouteError(
                f"topic {topic!r} has no queue that can be written", topic=topic, hint="check its permission, and that a master runs"
            )
        return publish
