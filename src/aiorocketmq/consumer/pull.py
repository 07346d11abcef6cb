"""The pull consumer: a program that reads queues itself, pull by pull (Java: `DefaultMQPullConsumer`). Features J1-J6."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.config import ClientConfig, NameServers
from aiorocketmq.consumer.offset_store import OffsetStore
from aiorocketmq.consumer.pull_member import PullMember
from aiorocketmq.consumer.returning import ReturningConsumer
from aiorocketmq.consumer.schedule import Plan, checked_plan
from aiorocketmq.consumer.settings import MessageQueueListener, PullSettings
from aiorocketmq.consumer.subscriptions import Subscriptions
from aiorocketmq.core.allocate import AllocateStrategy
from aiorocketmq.core.clock import epoch_ms
from aiorocketmq.errors import ClientClosedError, ConfigError
from aiorocketmq.model.checks import duration, whole
from aiorocketmq.model.enums import MessageModel
from aiorocketmq.model.filters import SQL, build_subscription
from aiorocketmq.model.parsing import INT32_MAX, INT64_MAX
from aiorocketmq.model.pulled import PullResult
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Unpack

    from aiorocketmq.client.state_watch import StateListener
    from aiorocketmq.config.fields import ClientFields

logger = logging.getLogger("aiorocketmq.consumer")


class PullConsumer(ReturningConsumer):
    """Reads queues when and where the program says, and keeps the offsets of a group for it.

    ```python
    async with PullConsumer("127.0.0.1:9876", group="readers", topics=["orders"]) as consumer:
        for queue in consumer.assigned:
            result = await consumer.pull(queue, await consumer.committed(queue) or 0)
            for message in result:
                ...
            await consumer.commit({queue: result.next_offset})
    ```

    Nothing is pulled ahead, given twice or saved by itself: for programs that keep offsets beside their results, read a part of a topic
    again, or pull by a plan of their own. `LitePullConsumer` does the rest for those that just want the messages. What `send_back()` was
    given is in the topic `%RETRY%<group>`, to be pulled like any other.

    Args:
        name_servers: `a:9876;b:9876`, a list, or a `rocketmq://` URL; left out: `NAMESRV_ADDR`, then the HTTP address service.
        group: The consumer group.
        topics: Topics whose queues the members of the group share out; `assigned` tells those of this one. Others can be pulled, too.
        config: A `ClientConfig` or `rocketmq://` URL to start from.
        message_model: `CLUSTERING` shares the queues among the members, `BROADCASTING` gives all to each, with offsets in a file.
        consumer_pull_timeout: Seconds that a broker may take to answer a pull, beyond the time that it may hold it.
        pull_batch_size: Messages per pull, 1 to 1024 (brokers give 32 at most by default), when `pull()` is not told.
        pull_batch_size_in_bytes: Bytes per pull, as a wish, when `pull()` is not told.
        max_reconsume_times: How often `send_back()` lets a message come again before it goes to the dead-letter topic.
        concurrency: Calls of scheduled functions at the same time, 1 to 1000; plain `def` functions have so many threads.
        await_termination_when_shutdown: Seconds that a stop waits for scheduled functions that run.
        connect_broker_by_user: Always read from the broker id `default_broker_id`, whatever brokers suggest.
        default_broker_id: Broker id to read from first; 0 is the master.
        allocate: How queues are shared by the members; None is the average strategy. The same in all members.
        offset_store: Keeps the consumed offsets; None is the broker (clustering) or a file (broadcasting).
        local_offset_store_dir: Broadcasting: directory of the offset files; None is `~/.rocketmq_offsets`.
        message_queue_listener: Called with (topic, all queues, owned queues) when a topic has other queues, or others fall to this one.
        on_state_change: Called with a `StateChange` when brokers or name servers are lost and regained, another member subscribes in
            another way, or `health().status` is another one: a `def` on a thread of its own, an `async def` on the event loop.
        **client_fields: Fields of `ClientConfig`.

    Raises:
        ConfigError: A value cannot work; the text names it and the cure.
        InvalidNameError: The group or a topic has an illegal name.
    """

    def __init__(
        self,
        name_servers: NameServers = None,
        *,
        group: str,
        topics: str | Iterable[str] = (),
        config: ClientConfig | str | None = None,
        message_model: MessageModel = MessageModel.CLUSTERING,
        consumer_pull_timeout: float | timedelta = 10.0,
        pull_batch_size: int = 32,
        pull_batch_size_in_bytes: int = 256 * 1024,
        max_reconsume_times: int = 16,
        concurrency: int = 20,
        await_termination_when_shutdown: float | timedelta = 30.0,
        connect_broker_by_user: bool = False,
        default_broker_id: int = 0,
        allocate: AllocateStrategy | None = None,
        offset_store: OffsetStore | None = None,
        local_offset_store_dir: str | Path | None = None,
        message_queue_listener: MessageQueueListener | None = None,
        on_state_change: StateListener | None = None,
        **client_fields: Unpack[ClientFields],
    ) -> None:
        self._settings: PullSettings = self._set_up(PullSettings, locals())
        self._subscriptions = Subscriptions(self._settings.group, with_retry_topic=False, namespace=self._namespace)
        self._plans: dict[str, Plan] = {}
        self._runtime: PullMember | None = None
        if isinstance(topics, Mapping) or not isinstance(topics, Iterable):
            raise ConfigError(f"topics {topics!r} is no list of names", hint='give topics=["orders"]; filters are given to pull()')
        for topic in [topics] if isinstance(topics, str) else topics:
            self._subscriptions.put(self._name(topic), "*", epoch_ms(time.time))

    def _name(self, topic: object) -> str:
        if not isinstance(topic, str):
            raise ConfigError(f"topic {topic!r} is no name", hint="give the name of a topic as a str")
        return self._namespace.unwrap(topic)

    def _running(self) -> PullMember:
        member = self._runtime
        if member is not None and member.stopping and member.schedule.busy:
            self._life.check_loop()
            return member  # what a scheduled function has begun it may end
        self._life.running()
        if member is None:
            raise ClientClosedError(f"consumer of group {self.group!r} is being stopped")
        return member

    def _is_scheduled(self) -> bool:
        """Whether a scheduled function of this consumer asks, in its task or in its thread: a stop there would wait for itself."""
        return self._runtime is not None and self._runtime.schedule.is_here

    # --- which queues are shared out --------------------------------------------------------------------------------------------------

    async def subscribe(self, topic: str) -> None:
        """Share out the queues of one more topic, before the start or while running.

        Raises:
            InvalidNameError: The topic has an illegal name.
            ClientStateError: The consumer runs on another event loop.
            ClientClosedError: The consumer was stopped.

        Cancelling it leaves the topic subscribed; brokers hear of it with the next heartbeat.
        """
        self._life.check_loop()
        self._life.check_not_stopped()
        name = self._name(topic)
        if self._subscriptions.get(name) is None:
            self._subscriptions.put(name, "*", epoch_ms(time.time))
            if self._runtime is not None:
                await self._runtime.subscription_changed(name)

    async def unsubscribe(self, topic: str) -> None:
        """Take part in the sharing of a topic no more, and end what `schedule()` has begun; does nothing when it is not subscribed.

        Raises:
            ClientStateError: The consumer runs on another event loop.
            ClientClosedError: The consumer was stopped.
        """
        self._life.check_loop()
        self._life.check_not_stopped()
        name = self._name(topic)
        self._plans.pop(name, None)
        if self._subscriptions.remove(name) and self._runtime is not None:
            await self._runtime.subscription_changed(name)

    # --- life -------------------------------------------------------------------------------------------------------------------------

    async def start(self, *, timeout: float | timedelta | None = None) -> Self:
        """Join the group; does nothing while it runs. Returns the consumer itself.

        A topic that does not exist yet is no error, and neither is a name server that does not answer yet.

        Args:
            timeout: Seconds to wait until a name server answers; None starts without one.

        Raises:
            NoNameServerError: No name server is configured, or none answered within `timeout`; the consumer can be started again.
            GroupAlreadyRegisteredError: The group has a consumer on this client instance already.
            ClientStateError: The consumer runs on another event loop.
            ClientClosedError: The consumer was stopped.

        Cancelling it undoes what was begun. After a failure it can be called again.
        """
        self._life.check_not_stopped()
        await self._life.start(self._join, self._undo, timeout, self._settle)
        return self

    async def _join(self, instance: ClientInstance) -> None:
        self._force.clear()
        self._runtime = member = PullMember(instance, self._settings, self._subscriptions, made_at=self._made_at, plans=self._plans)
        await member.start()
        logger.info("consumer group %s started on client %s", self.group, instance.client_id)

    async def stop(self) -> None:
        """Leave the group. Idempotent. Pulls that wait end with a `ClientClosedError`, and a start that is under way is ended.

        Scheduled functions that run get up to `await_termination_when_shutdown` to end, and can still commit. Called by one of them it only
        begins the stop.

        Raises:
            ClientStateError: The consumer was started on another event loop.

        Cancelling it leaves the stop going on, without waiting for scheduled functions any more.
        """
        self._life.check_loop()
        member = self._runtime
        if member is not None:
            member.close()
            if self._is_scheduled():
                self._life.begin_stop(self._leave)  # which waits for this call
                return
        await self._life.stop(self._leave, self._force.set)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    # --- messages ---------------------------------------------------------------------------------------------------------------------

    async def pull(
        self,
        queue: MessageQueue,
        offset: int,
        *,
        expression: str | SQL | None = "*",
        max_messages: int | None = None,
        max_bytes: int | None = None,
        wait: float | timedelta = 0.0,
        timeout: float | timedelta | None = None,
    ) -> PullResult:
        """Pull once from a queue, of this consumer or any other. Any number of pulls may run at the same time.

        Args:
            queue: The queue, as `assigned` or `queues()` tells it.
            offset: First offset wanted. One that the queue does not hold is no error: the result's `next_offset` is one that it holds.
            expression: `*` for all messages, tags as in `TagA || TagB`, or `SQL("price > 10")`.
            max_messages: At most so many, 1 to 1024; None takes `pull_batch_size`.
            max_bytes: Bytes as a wish; None takes `pull_batch_size_in_bytes`.
            wait: Seconds, 0 to 120, that the broker waits for a message when there is none. Brokers look at such pulls every five seconds
                besides, so it may become five more.
            timeout: Seconds that the answer may take, beyond `wait`; None takes `consumer_pull_timeout`.

        Returns:
            The messages that were found, what the pull met, and where to go on.

        Raises:
            ConfigError: A value is out of range, the expression cannot be read, or the queue does not exist.
            TopicNotFoundError: There is no such topic.
            SubscriptionError: The broker cannot evaluate the filter.
            ProtocolError: A stored message is damaged.
            ClientStateError: The consumer does not run.
            ClientClosedError: The consumer was stopped, before or meanwhile.
            RocketMQError: The broker refused, did not answer, or could not be reached.

        Cancelling it loses nothing.
        """
        member, queue = self._running(), self._own(queue)
        whole("offset", offset, 0, INT64_MAX)
        limit = 0 if max_messages is None else whole("max_messages", max_messages, 1, 1024)
        size = 0 if max_bytes is None else whole("max_bytes", max_bytes, 1, INT32_MAX)
        patience = self._settings.consumer_pull_timeout if timeout is None else duration("timeout", timeout)
        seconds = duration("wait", wait, 0.0, 120.0)
        subscription = build_subscription(queue.topic, expression, 0)
        await member.check_known(queue)
        return await member.single.pull(queue, offset, subscription, limit=limit, size=size, wait=seconds, timeout=patience)

    async def schedule(self, topic: str, function: Callable[[MessageQueue], Any], *, every: float | timedelta = 0.2) -> None:
        """Call a function for each queue of a topic that falls to this consumer, again and again, before the start or while running.

        Of each queue one call runs at a time, of all at most `concurrency`. A call that raises is logged, and the next one comes a second
        later.

        Args:
            topic: Topic name; it is subscribed if it is not.
            function: Called with a queue: an `async def` on the event loop, a `def` on a thread. What it returns is the number of seconds
                until the next call for the queue; None takes `every`.
            every: Seconds between the end of a call and the next one for its queue.

        Raises:
            ConfigError: It cannot be called, or `every` is out of range.
            InvalidNameError: The topic has an illegal name.
            ClientStateError: The consumer runs on another event loop.
            ClientClosedError: The consumer was stopped.

        Cancelling it leaves the function planned.
        """
        self._life.check_loop()
        self._life.check_not_stopped()
        name, plan = self._name(topic), checked_plan(function, every)
        self._namespace.check_topic(name)
        self._plans[name] = plan
        await self.subscribe(topic)
        if self._runtime is not None:
            self._runtime.call_for(name)

    # --- offsets ----------------------------------------------------------------------------------------------------------------------

    async def commit(self, what: ReceivedMessage | Mapping[MessageQueue, int]) -> None:
        """Save where the group goes on, and wait until the brokers have it.

        Args:
            what: A message: its queue up to it. A mapping: offsets of queues, of this consumer or any other, which are those of the
                messages to go on with.

        Raises:
            ConfigError: It is neither, an offset is out of range, or a queue does not exist.
            ClientStateError: The consumer does not run.
            RocketMQError: A broker refused, or could not be reached; its queues keep the offsets that they had.
        """
        member = self._running()
        if isinstance(what, ReceivedMessage):
            await member.commit({what.queue: what.queue_offset + 1})
        elif isinstance(what, Mapping):
            await member.commit({self._own(queue): whole("offset", offset, 0, INT64_MAX) for queue, offset in what.items()})
        else:
            raise ConfigError(f"commit() was given {what!r}", hint="give a message, or {queue: offset}")

    async def committed(self, queue: MessageQueue) -> int | None:
        """The offset that is saved for the group, None when there is none.

        Raises:
            RocketMQError: It cannot be found out.
            ClientStateError: The consumer does not run.
        """
        return await self._running().committed(self._own(queue))
