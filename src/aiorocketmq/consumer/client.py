"""What all public consumers have in common that are members of a group. No Java twin of its own."""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from aiorocketmq.client.watched import Watched
from aiorocketmq.config import ClientConfig
from aiorocketmq.consumer.puller import FlowControl
from aiorocketmq.consumer.settings import ConsumerSettings
from aiorocketmq.errors import ClientClosedError, ConfigError
from aiorocketmq.model.checks import milliseconds
from aiorocketmq.model.enums import ServiceState
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from aiorocketmq.client.examine import Own
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.consumer.member import GroupMember
    from aiorocketmq.model.namespace import Namespace
    from aiorocketmq.model.progress import QueueTimeSpan

S = TypeVar("S", bound=ConsumerSettings)

logger = logging.getLogger("aiorocketmq.consumer")


class GroupConsumer(Watched):
    """A consumer that is a member of its group, and has queues of its own."""

    config: ClientConfig
    _settings: ConsumerSettings
    _namespace: Namespace
    _runtime: GroupMember | None
    """What lives between the start and the stop."""

    if TYPE_CHECKING:  # each kind has its own

        async def start(self, *, timeout: float | timedelta | None = None) -> Self: ...

    def _set_up(self, kind: type[S], given: Mapping[str, Any]) -> S:
        """What the constructors begin with.

        Args:
            kind: The class of the settings.
            given: The local variables of the constructor: its arguments, and more.

        Returns:
            The settings, checked.

        Raises:
            ConfigError: A value cannot work.
            InvalidNameError: The group has an illegal name.
        """
        group = given["group"]
        self.config = ClientConfig.from_fields(given["config"], given["name_servers"], given["client_fields"])
        self._namespace = names = self.config.names
        names.check_group(group)
        fields = {name: given[name] for name in kind.__dataclass_fields__ if name in given}
        if fields["allocate"] is None:
            del fields["allocate"]
        settings = kind(**fields | {"group": names.unwrap(group)})
        self._made_at = time.time()
        self._force = asyncio.Event()
        self._life = self._live(
            f"consumer of group {group!r}", self.config, given["on_state_change"], keep_default_name=settings.broadcasting
        )  # fmt: skip
        return settings

    async def _undo(self, instance: ClientInstance) -> None:
        """A start has failed: undo what was begun."""
        self._force.set()
        await self._leave(instance)

    async def _leave(self, instance: ClientInstance) -> None:
        try:
            await self._end()
        except asyncio.CancelledError:
            raise  # by code outside of the library: it is called again
        except BaseException:
            self._runtime = None
            raise
        self._runtime = None
        logger.info("consumer group %s stopped", self.group)

    async def _end(self) -> None:
        if self._runtime is not None:
            await self._runtime.stop(self._force)

    async def _settle(self) -> None:
        if self._runtime is not None:
            await self._runtime.settle()

    def _own_health(self) -> Own:
        assert self._runtime is not None  # it runs
        return self._runtime.own_health()

    async def __aenter__(self) -> Self:
        return await self.start()

    def __del__(self) -> None:
        life = getattr(self, "_life", None)  # not there when the constructor has failed
        if life is not None and life.state is ServiceState.RUNNING:
            warnings.warn(f"consumer of group {self.group!r} was dropped without stop()", ResourceWarning, stacklevel=2, source=self)

    def _running(self) -> GroupMember:
        """What lives now.

        Raises:
            ClientStateError: The consumer does not run.
        """
        self._life.running()
        if self._runtime is None:
            raise ClientClosedError(f"consumer of group {self.group!r} is being stopped")
        return self._runtime

    @property
    def group(self) -> str:
        """The consumer group."""
        return self._settings.group

    @property
    def state(self) -> ServiceState:
        """Where the consumer is in its life."""
        return self._life.state

    @property
    def client_id(self) -> str:
        """The client id that brokers know; "" before the start."""
        return self._life.instance.client_id if self._life.instance is not None else ""

    @property
    def instance(self) -> ClientInstance | None:
        """The client instance, None unless running."""
        return self._life.instance

    @property
    def assigned(self) -> frozenset[MessageQueue]:
        """The queues that this consumer owns now."""
        return frozenset(self._runtime.queues.assigned) if self._runtime is not None else frozenset()

    @property
    def user_info(self) -> dict[str, str]:
        """What the program tells operators of this consumer, for example its release: `mqadmin consumerStatus` shows it. Put in what you
        like; it is read when somebody asks."""
        return self._settings.user_info

    @property
    def subscription_conflicts(self) -> dict[str, str]:
        """Topics that another member of the group subscribes in another way, with what differs; also logged, once each."""
        return dict(self._runtime.group_check.conflicts) if self._runtime is not None else {}

    def waiting_queues(self) -> dict[MessageQueue, str]:
        """Queues that fall to this consumer and that it cannot consume yet, with what they wait for, such as the lock of another member."""
        if self._runtime is None:
            return {}
        waiting = self._runtime.queues.waiting.items()
        return {queue: assigned.waits_for for queue, assigned in waiting if assigned.waits_for}

    async def lag(self) -> dict[MessageQueue, int]:
        """How many messages each queue of this consumer holds behind what is consumed, those that no filter wants included.

        Raises:
            RocketMQError: A broker cannot tell where a queue ends.
            ClientStateError: The consumer does not run.
        """
        return await self._running().lag()

    async def queues(self, topic: str) -> tuple[MessageQueue, ...]:
        """The queues of a topic that can be read, of this consumer and of others.

        Args:
            topic: Topic name.

        Raises:
            TopicNotFoundError: There is no such topic.
            RocketMQError: The name servers cannot be asked.
            ClientStateError: The consumer does not run.
        """
        instance = self._running().instance
        name = self._namespace.unwrap(topic)
        self._namespace.check_topic(name)
        return tuple(sorted((await instance.routes.fetch(name)).subscribe))

    async def min_offset(self, queue: MessageQueue) -> int:
        """The offset of the oldest message that a queue still holds, of this consumer's or any other.

        Raises:
            RocketMQError: The queue's broker is unknown, did not answer, or answered with an error.
            ClientStateError: The consumer does not run.
        """
        member, queue = self._running(), self._own(queue)
        return await member.instance.broker_api.min_offset(await member.master_of(queue), queue)

    async def max_offset(self, queue: MessageQueue) -> int:
        """The offset that the next message of a queue will get; raises as `min_offset()`."""
        member, queue = self._running(), self._own(queue)
        return await member.instance.broker_api.max_offset(await member.master_of(queue), queue)

    async def search_offset(self, queue: MessageQueue, at: datetime | float) -> int:
        """The offset of the first message of a queue that was stored at a time or later, that of the next one when nothing is that new.

        Args:
            queue: The queue, of this consumer or any other.
            at: An aware datetime, or seconds since the epoch.

        Raises:
            ConfigError: It is no time.
            RocketMQError: The queue's broker is unknown, did not answer, or answered with an error.
            ClientStateError: The consumer does not run.
        """
        member, queue = self._running(), self._own(queue)
        return await member.instance.broker_api.search_offset(await member.master_of(queue), queue, milliseconds("at", at))

    async def time_spans(self, topic: str) -> dict[MessageQueue, QueueTimeSpan]:
        """How old the messages of a topic's queues are, and those that this group has still to consume.

        Args:
            topic: Topic name.

        Raises:
            TopicNotFoundError: There is no such topic.
            RocketMQError: A broker did not answer, or answered with an error.
            ClientStateError: The consumer does not run.
        """
        from aiorocketmq.consumer.times import time_spans_of  # for those who ask

        return await time_spans_of(self._running(), self._namespace.unwrap(topic), await self.queues(topic))

    def _own(self, queue: object) -> MessageQueue:
        """A queue that a user gave, under the names of this consumer's namespace.

        Raises:
            ConfigError: It is none.
        """
        if not isinstance(queue, MessageQueue):
            raise ConfigError(f"queue {queue!r} is no MessageQueue", hint="take it from `assigned`, `queues()` or `message.queue`")
        return self._namespace.unwrap_queue(queue)


class PullingConsumer(GroupConsumer):
    """A consumer that pulls its queues by itself, ahead of what is consumed."""

    @property
    def flow_control(self) -> FlowControl:
        """How often pulls were held back, by reason."""
        return self._runtime.pulls.flow_control if self._runtime is not None else FlowControl()

    @property
    def backlog(self) -> int:
        """Messages that were pulled and are not consumed yet."""
        if self._runtime is None:
            return 0
        return sum(assigned.messages.count for assigned in list(self._runtime.queues.assigned.values()))  # threads ask, too

    def offsets(self, topic: str | None = None) -> dict[MessageQueue, int]:
        """What is consumed and will be saved: queue → next offset, of one topic or of all."""
        topic = self._namespace.unwrap(topic) if topic is not None else None
        return self._runtime.offsets(topic) if self._runtime is not None else {}

    async def reset_offsets(self, at: datetime | float, *, topic: str | None = None) -> dict[MessageQueue, int]:
        """Go on with the messages that were stored at a time or later, forward or backward.

        It is about the queues that this consumer has now: other members go on as they are, unless each calls it. Messages that are being
        consumed count no more: they come again, or are skipped, as the time says. The offsets are saved when this returns, but for a broker
        that is slow, or when a listener has called it: then a little later. Messages that wait for another try are not touched.

        Args:
            at: An aware datetime, or seconds since the epoch; in the future it means the end.
            topic: This topic alone; None takes all.

        Returns:
            Where the queues go on.

        Raises:
            ConfigError: It is no time, or the topic is not consumed here.
            RocketMQError: A broker cannot tell where a queue has to go on; nothing is changed then.
            ClientStateError: The consumer does not run.
        """
        member, timestamp = self._running(), milliseconds("at", at)
        topics = {queue.topic for queue in member.queues.assigned} - {member.subscriptions_table.retry_topic}
        if topic is not None:
            name = self._namespace.unwrap(topic)
            if not member.subscribes(name) and name not in topics:
                raise ConfigError(
                    f"topic {topic!r} is not consumed here", hint=f"this consumer has {', '.join(sorted(topics)) or 'no queue'}"
                )
            topics = {name}
        from aiorocketmq.consumer.times import go_to_time  # for those who ask

        return await go_to_time(member, timestamp, topics, wait=not getattr(self, "in_listener", False))

    def failed_queues(self) -> dict[MessageQueue, Exception]:
        """Queues that are not consumed any more because of a damaged message, with the reason."""
        if self._runtime is None:
            return {}
        owned = self._runtime.queues.assigned.items()
        return {queue: assigned.puller.failure for queue, assigned in owned if assigned.puller.failure is not None}

    def paused(self) -> frozenset[MessageQueue]:
        """The queues that are paused."""
        owned = self._runtime.queues.assigned if self._runtime is not None else {}
        return frozenset(queue for queue, assigned in owned.items() if assigned.paused)
