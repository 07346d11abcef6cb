"""The lite pull consumer: messages for whoever asks for them (Java: `DefaultLitePullConsumer`). Features I1-I11, I13, I14."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.config import ClientConfig, NameServers
from aiorocketmq.consumer.client import PullingConsumer
from aiorocketmq.consumer.filter_check import check_filters
from aiorocketmq.consumer.lite_member import LitePullMember
from aiorocketmq.consumer.offset_store import OffsetStore
from aiorocketmq.consumer.polling import PollService, polled
from aiorocketmq.consumer.returning import ReturningConsumer
from aiorocketmq.consumer.settings import MIB, LitePullSettings, MessageQueueListener
from aiorocketmq.consumer.subscriptions import Subscriptions
from aiorocketmq.consumer.topics import Topics, topic_name, with_filters
from aiorocketmq.core.allocate import AllocateStrategy
from aiorocketmq.core.clock import epoch_ms
from aiorocketmq.errors import ClientStateError, ConfigError, NotSupportedByBrokerError, SubscriptionError
from aiorocketmq.model.checks import duration, whole
from aiorocketmq.model.enums import MessageModel, ServiceState, StartFrom
from aiorocketmq.model.filters import SQL
from aiorocketmq.model.names import retry_topic
from aiorocketmq.model.parsing import INT64_MAX
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Unpack

    from aiorocketmq.client.state_watch import StateListener
    from aiorocketmq.config.fields import ClientFields

logger = logging.getLogger("aiorocketmq.consumer")

Commits = ReceivedMessage | MessageQueue | Iterable[MessageQueue] | Mapping[MessageQueue, int]
"""What is committed: up to a message, what was given of queues, or offsets."""

_MODES = "a consumer either shares its topics out with its group (topics=, subscribe()) or reads the queues it is told (assign())"


class LitePullConsumer(ReturningConsumer, PullingConsumer):
    """Gives the messages of a group's topics to whoever asks for them, at least once.

    ```python
    async with LitePullConsumer("127.0.0.1:9876", group="workers", topics=["orders"]) as consumer:
        async for message in consumer:
            ...
    ```

    Messages are pulled ahead, up to the limits below. A message counts as consumed when the next one is asked for: by the loop, by
    `poll()`, by `commit()`, or at the end of the `async with` block. When the block ends with an exception the last messages come again.
    What cannot be handled is for the program to keep, unless it gives it back: with `retries=True` what `send_back()` was given comes
    again, and goes to the dead letters in the end. `seek()` goes back, too.

    Args:
        name_servers: `a:9876;b:9876`, a list, or a `rocketmq://` URL; left out: `NAMESRV_ADDR`, then the HTTP address service.
        group: The consumer group; all its members must have the same topics.
        topics: What to subscribe: a topic, several, or topics with their filters, as in `{"orders": "TagA || TagB"}`.
        config: A `ClientConfig` or `rocketmq://` URL to start from.
        start_from: Where a group without offsets starts. `LAST`: after the newest message; `FIRST`: at the oldest; `TIMESTAMP`: at
            `start_timestamp`.
        start_timestamp: With `TIMESTAMP`: an aware datetime or seconds since the epoch; None is 30 minutes before the consumer was made.
        message_model: `CLUSTERING` shares the messages among the members, `BROADCASTING` gives all to each.
        auto_commit: What is consumed is saved by itself. False: only `commit()` saves.
        auto_commit_interval: Seconds between two savings, 1 or more.
        poll_timeout: Seconds that `poll()` waits when it is not told.
        pull_batch_size: Messages per pull, 1 to 1024 (brokers give 32 at most by default).
        pull_batch_size_in_bytes: Bytes per pull, as a wish.
        pull_threshold_for_all: Waiting messages of all queues together that stop pulling.
        pull_threshold_for_queue: Waiting messages per queue that stop pulling, 1 to 65535.
        pull_threshold_size_for_queue: Waiting bytes per queue that stop pulling, 1 to 1 GiB.
        consume_max_span: Distance between the oldest and the newest waiting offset of a queue that stops pulling.
        retries: The retry topic of the group is read, too: what `send_back()` was given comes again. The same in all members.
        max_reconsume_times: How often `send_back()` lets a message come again before it goes to the dead-letter topic.
        broker_suspend_max_time: Seconds, 0.1 to 45, that a broker may hold a pull for which there is no message.
        consumer_timeout_when_suspend: Seconds after which a pull without an answer has failed, more than `broker_suspend_max_time`.
        connect_broker_by_user: Always read from the broker id `default_broker_id`, whatever brokers suggest.
        default_broker_id: Broker id to read from first; 0 is the master.
        skip_damaged_messages: A stored message that cannot be decoded, three tries over: True skips and logs it, False stops its queue.
        stuck_after: Seconds without progress, 1 or more, after which `health()` calls a queue stuck that has messages.
        allocate: How queues are shared by the members; None is the average strategy. The same in all members.
        offset_store: Keeps the consumed offsets; None is the broker (clustering) or a file (broadcasting).
        local_offset_store_dir: Broadcasting: directory of the offset files; None is `~/.rocketmq_offsets`.
        message_queue_listener: Called with (topic, all queues, owned queues) when a topic has other queues, or others are read here.
        on_state_change: Called with a `StateChange` when brokers or name servers are lost and regained, queues get stuck and go on, another
            member subscribes in another way, or `health().status` is another one: a `def` on a thread of its own, an `async def` on the
            event loop.
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
        topics: Topics = (),
        config: ClientConfig | str | None = None,
        start_from: StartFrom = StartFrom.LAST,
        start_timestamp: datetime | float | None = None,
        message_model: MessageModel = MessageModel.CLUSTERING,
        auto_commit: bool = True,
        auto_commit_interval: float | timedelta = 5.0,
        poll_timeout: float | timedelta = 5.0,
        pull_batch_size: int = 32,
        pull_batch_size_in_bytes: int = 256 * 1024,
        pull_threshold_for_all: int = 10_000,
        pull_threshold_for_queue: int = 1000,
        pull_threshold_size_for_queue: int = 100 * MIB,
        consume_max_span: int = 2000,
        retries: bool = False,
        max_reconsume_times: int = 16,
        broker_suspend_max_time: float | timedelta = 20.0,
        consumer_timeout_when_suspend: float | timedelta = 30.0,
        connect_broker_by_user: bool = False,
        default_broker_id: int = 0,
        skip_damaged_messages: bool = False,
        allocate: AllocateStrategy | None = None,
        offset_store: OffsetStore | None = None,
        local_offset_store_dir: str | Path | None = None,
        stuck_after: float | timedelta = 60.0,
        message_queue_listener: MessageQueueListener | None = None,
        on_state_change: StateListener | None = None,
        **client_fields: Unpack[ClientFields],
    ) -> None:
        self._settings: LitePullSettings = self._set_up(LitePullSettings, locals())
        names = self._namespace
        self._subscriptions = Subscriptions(self._settings.group, with_retry_topic=self._settings.retries, namespace=names)
        self._wanted: frozenset[MessageQueue] | None = None
        self._runtime: LitePullMember | None = None
        for topic, expression in with_filters(topics).items():
            self._subscriptions.put(names.unwrap(topic), expression, epoch_ms(time.time))

    # --- what is read -----------------------------------------------------------------------------------------------------------------

    async def subscribe(self, topic: str, expression: str | SQL | None = "*") -> None:
        """Consume one more topic, or give a topic another filter, before the start or while running.

        Args:
            topic: Topic name.
            expression: `*` for all messages, tags as in `TagA || TagB`, or `SQL("price > 10")`.

        Raises:
            ConfigError: The expression cannot be read.
            InvalidNameError: The topic has an illegal name.
            SubscriptionError: A broker cannot evaluate the filter; all stays as it was.
            NotSupportedByBrokerError: A broker is too old for a word of the filter; all stays as it was.
            ClientStateError: Queues were assigned; or the consumer runs on another event loop.
            ClientClosedError: The consumer was stopped.

        Cancelling it leaves the topic subscribed; brokers hear of it with the next heartbeat.
        """
        self._life.check_loop()
        self._life.check_not_stopped()
        if self._wanted is not None:
            raise ClientStateError(f"subscribe({topic!r}) was called on a consumer that reads assigned queues", hint=_MODES)
        topic = self._namespace.unwrap(topic_name(topic))
        before = self._subscriptions.get(topic)
        self._subscriptions.put(topic, expression, epoch_ms(time.time))
        if self._runtime is not None:
            try:
                await self._runtime.subscription_changed(topic)
            except (SubscriptionError, NotSupportedByBrokerError):
                self._subscriptions.restore(topic, before, None)
                raise

    async def unsubscribe(self, topic: str) -> None:
        """Consume a topic no more; does nothing when it is not subscribed. Its consumed offsets are saved.

        Raises:
            ClientStateError: Queues were assigned; or the consumer runs on another event loop.
            ClientClosedError: The consumer was stopped.
        """
        self._life.check_loop()
        self._life.check_not_stopped()
        if self._wanted is not None:
            raise ClientStateError(f"unsubscribe({topic!r}) was called on a consumer that reads assigned queues", hint=_MODES)
        topic = self._namespace.unwrap(topic_name(topic))
        if self._subscriptions.remove(topic) and self._runtime is not None:
            await self._runtime.subscription_changed(topic)

    async def assign(self, queues: Iterable[MessageQueue], expression: str | SQL | None = "*") -> None:
        """Read exactly these queues, whatever other members of the group do; before the start or while running.

        Queues that were read before and are not among them are saved and left. Those that are keep their place.

        Args:
            queues: Queues, as `queues()` tells them; none is allowed.
            expression: A filter for all of them, as of `subscribe()`.

        Raises:
            ConfigError: A queue does not exist, or the expression cannot be read; all stays as it was.
            InvalidNameError: A topic has an illegal name.
            SubscriptionError: A broker cannot evaluate the filter; all stays as it was.
            NotSupportedByBrokerError: A broker is too old for a word of the filter; all stays as it was.
            ClientStateError: Topics are subscribed; or the consumer runs on another event loop.
            ClientClosedError: The consumer was stopped.
            RocketMQError: The name servers cannot be asked.

        Cancelling it leaves the queues assigned, or all as it was.
        """
        self._life.check_loop()
        self._life.check_not_stopped()
        if self._settings.retries:
            raise ClientStateError(
                "assign() was called on a consumer with retries=True", hint="leave it out, and assign the retry topic's queues"
            )
        if self._wanted is None and self._subscriptions.all:
            raise ClientStateError("assign() was called on a consumer that has subscribed topics", hint=_MODES)
        wanted = frozenset(self._own(queue) for queue in _several(queues))
        member, topics = self._runtime, {queue.topic for queue in wanted}
        filters = Subscriptions(self._settings.group, with_retry_topic=False, namespace=self._namespace)
        for topic in sorted(topics):  # all, before anything is changed
            filters.put(topic, expression, epoch_ms(time.time))
        if member is not None:
            await member.check_exist(wanted)
            await check_filters(member.instance, self.group, filters.all)
            self._life.check_not_stopped()
        for topic in topics:
            self._subscriptions.put(topic, expression, epoch_ms(time.time))
        for topic in set(self._subscriptions.topics) - topics:
            self._subscriptions.remove(topic)
        self._wanted = wanted
        if member is not None:
            await member.assign(wanted)

    # --- life -------------------------------------------------------------------------------------------------------------------------

    async def start(self, *, timeout: float | timedelta | None = None) -> Self:
        """Begin to pull; does nothing while it runs. Returns the consumer itself.

        A topic that does not exist yet is no error, and neither is a name server that does not answer yet, unless queues are assigned. What
        is sent after the start is consumed with `StartFrom.LAST`, too, unless a broker takes longer than three seconds to say where its
        queues end.

        Args:
            timeout: Seconds to wait until a name server answers; None starts without one.

        Raises:
            NoNameServerError: No name server is configured, or none answered within `timeout`; the consumer can be started again.
            GroupAlreadyRegisteredError: The group has a consumer on this client instance already.
            SubscriptionError: A broker cannot evaluate a filter.
            NotSupportedByBrokerError: A broker is too old for a word of a filter.
            ConfigError: A queue that was assigned does not exist.
            ClientStateError: The consumer runs on another event loop.
            ClientClosedError: The consumer was stopped.

        Cancelling it undoes what was begun. After a failure it can be called again.
        """
        self._life.check_not_stopped()
        await self._life.start(self._join, self._undo, timeout, self._settle)
        return self

    async def _join(self, instance: ClientInstance) -> None:
        self._force.clear()
        self._runtime = member = LitePullMember(
            instance, self._settings, self._subscriptions, made_at=self._made_at, wanted=self._wanted
        )  # fmt: skip
        await member.start()
        logger.info("consumer group %s started on client %s", self.group, instance.client_id)

    async def stop(self) -> None:
        """Stop pulling, save what is consumed and leave the group. Idempotent.

        What was given counts as consumed. A start that is under way is ended, and so is a `poll()`, which gives nothing then.

        Raises:
            ClientStateError: The consumer was started on another event loop.

        Cancelling it leaves the stop going on.
        """
        await self._stop(done=True)

    async def _abandon(self) -> None:
        """As `stop()`, and what was given last comes again."""
        await self._stop(done=False)

    async def _stop(self, *, done: bool) -> None:
        self._life.check_loop()
        if self._runtime is not None:
            if done:
                self._runtime.service.settle()
            self._runtime.close()
        await self._life.stop(self._leave)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await (self.stop() if kind is None else self._abandon())

    if TYPE_CHECKING:

        def _running(self) -> LitePullMember: ...

    # --- messages ---------------------------------------------------------------------------------------------------------------------

    async def poll(self, max_messages: int | None = None, *, timeout: float | timedelta | None = None) -> list[ReceivedMessage]:
        """Get messages; waits for the first one. What was given before counts as consumed from now on.

        Args:
            max_messages: At most so many; None takes `pull_batch_size`.
            timeout: Seconds to wait for the first one; None takes `poll_timeout`, 0 does not wait.

        Returns:
            Messages, in order for each queue; none when the time is over, or the consumer is being stopped.

        Raises:
            ConfigError: A value is out of range.
            ClientStateError: The consumer does not run, or another task waits for messages.
            ClientClosedError: The consumer was stopped.

        Cancelling it loses nothing.
        """
        limit = self._settings.pull_batch_size if max_messages is None else whole("max_messages", max_messages)
        patience = self._settings.poll_timeout if timeout is None else duration("timeout", timeout, 0.0)
        service = self._running().service
        return await self._next(service, limit, patience)

    async def _next(self, service: PollService, limit: int, patience: float | None) -> list[ReceivedMessage]:
        self._check_alone(service.awaited)
        service.settle()
        deadline = None if patience is None else self._clock() + patience
        while not (messages := service.take(limit)):
            left = None if deadline is None else deadline - self._clock()
            if (left is not None and left <= 0) or self._life.stopping or not await service.arrival(left):
                break
        return messages

    async def _next_run(self, limit: int) -> list[ReceivedMessage]:
        """For blocking loops: the next messages, at most so many, however long they take; none when the consumer has been stopped."""
        if self._life.state is ServiceState.SHUTDOWN_ALREADY:
            return []
        return await self._next(self._running().service, limit, None)

    def _take_back(self, messages: Iterable[ReceivedMessage] | None) -> None:
        """For blocking programs: these messages, the last ones that were given, were not begun; None for all that were given last."""
        if self._runtime is not None:
            service = self._runtime.service
            service.take_back(self._runtime.queues.assigned, service.last if messages is None else messages)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReceivedMessage:
        member = self._runtime
        if member is None or self._life.stopping:
            if self._life.state is ServiceState.SHUTDOWN_ALREADY:
                raise StopAsyncIteration
            member = self._running()
        if asyncio.get_running_loop() is not member.loop:
            self._life.check_loop()
        service = member.service
        if service.turn_over:
            self._check_alone(service.awaited)
            await asyncio.sleep(0)  # pulls and everybody else on this loop get their turn, however many messages wait
        while (message := service.take_one()) is None:
            if self._life.stopping:
                raise StopAsyncIteration
            self._check_alone(service.awaited)  # once more: another task may have begun to wait during the turn of the others
            await service.arrival(None)
        return message

    def _check_alone(self, awaited: bool) -> None:
        self._life.check_loop()
        if awaited:
            raise ClientStateError(
                f"two tasks ask the consumer of group {self.group!r} for messages at the same time",
                hint="ask in one task and hand the messages on: what was given counts as consumed when more is asked for",
            )

    @staticmethod
    def _clock() -> float:
        return asyncio.get_running_loop().time()

    def _not_again(self) -> str:
        if self._wanted is not None or self._subscriptions.get(retry_topic(self.group)) is not None:
            return ""
        return super()._not_again() or "make all members of the group with retries=True"

    # --- where it is ------------------------------------------------------------------------------------------------------------------

    async def seek(self, queue: MessageQueue, offset: int) -> None:
        """Go on with a queue at an offset, forward or backward.

        Args:
            queue: One of `assigned`.
            offset: From the lowest offset that the queue holds to the one that its next message will get.

        Raises:
            ConfigError: The queue does not hold the offset.
            ClientStateError: The queue is not assigned to this consumer, or the consumer does not run.
            RocketMQError: The broker refused, or could not be reached.

        With `auto_commit` the offset is what is saved next.
        """
        await self._running().seek(self._own(queue), whole("offset", offset, 0))

    async def seek_to_begin(self, queue: MessageQueue) -> None:
        """Go on with the oldest message of a queue; raises as `seek()`."""
        member, queue = self._running(), self._own(queue)
        member.owned(queue)
        await member.seek(queue, (await member.ends(queue))[0])

    async def seek_to_end(self, queue: MessageQueue) -> None:
        """Go on behind the newest message of a queue; raises as `seek()`."""
        member, queue = self._running(), self._own(queue)
        member.owned(queue)
        await member.seek(queue, (await member.ends(queue))[1])

    def pause(self, *queues: MessageQueue) -> None:
        """Pull and give nothing of some queues, what was pulled included; of a queue that moves and comes back it counts no more.

        Raises:
            ClientStateError: A queue is not assigned to this consumer, or the consumer does not run.
        """
        member = self._running()
        member.pause([member.owned(self._own(queue)) for queue in queues])

    def resume(self, *queues: MessageQueue) -> None:
        """Go on with queues after `pause()`; raises as it."""
        member = self._running()
        member.resume_queues([member.owned(self._own(queue)) for queue in queues])

    def position(self, queue: MessageQueue) -> int:
        """The offset of the message that a queue gives next.

        Raises:
            ClientStateError: The queue is not assigned to this consumer, or the consumer does not run.
        """
        return polled(self._running().owned(self._own(queue))).position

    async def commit(self, what: Commits | None = None) -> None:
        """Save what is consumed, and wait until the brokers have it.

        Args:
            what: None: everything that was given. A message: its queue up to it. Queues: everything that was given of them. A mapping:
                these offsets, which are those of the messages to go on with.

        Raises:
            ConfigError: It is none of these.
            ClientStateError: A queue is not assigned to this consumer any more, or the consumer does not run.
            RocketMQError: A broker refused, or could not be reached; what could not be saved goes with the next saving.
        """
        member = self._running()
        await member.commit(self._offsets(member, what))

    def _offsets(self, member: LitePullMember, what: Commits | None) -> dict[MessageQueue, int]:
        if what is None:
            return member.to_commit(None)
        if isinstance(what, ReceivedMessage):
            outdated = polled(member.owned(what.queue)).is_outdated(what)
            return {} if outdated else {what.queue: what.queue_offset + 1}
        if isinstance(what, Mapping):
            return {self._own(queue): whole("offset", offset, 0, INT64_MAX) for queue, offset in what.items()}
        return member.to_commit([self._own(queue) for queue in _several([what] if isinstance(what, MessageQueue) else what)])

    async def committed(self, queue: MessageQueue) -> int | None:
        """The offset that is saved for the group, None when there is none.

        Raises:
            RocketMQError: It cannot be found out.
            ClientStateError: The consumer does not run.
        """
        return await self._running().committed(self._own(queue))


def _several(queues: object) -> Iterable[object]:
    if isinstance(queues, MessageQueue) or not isinstance(queues, Iterable):
        raise ConfigError(f"queues {queues!r} is no list of queues", hint="give a list of MessageQueue")
    return queues
