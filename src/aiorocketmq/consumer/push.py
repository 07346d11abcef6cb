"""The push consumer (Java: `DefaultMQPushConsumer`). Features F1-F17, F21-F36, F42, F44, F45, F49-F51."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from re import Pattern
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast, overload

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.config import ClientConfig, NameServers
from aiorocketmq.consumer.controls import ControlledConsumer
from aiorocketmq.consumer.listener import BatchListener, Listener, ListenerFunction, MessageListener, name_of
from aiorocketmq.consumer.observed import Observed
from aiorocketmq.consumer.offset_store import OffsetStore
from aiorocketmq.consumer.responder import Responder, ResponderFunction
from aiorocketmq.consumer.runtime import PushRuntime
from aiorocketmq.consumer.settings import MIB, MessageQueueListener, PushSettings
from aiorocketmq.consumer.subscriptions import Subscriptions
from aiorocketmq.core.allocate import AllocateStrategy
from aiorocketmq.core.clock import epoch_ms
from aiorocketmq.errors import ClientClosedError, ClientStateError, ConfigError, ListenerError, NotSupportedByBrokerError, SubscriptionError
from aiorocketmq.model.enums import MessageModel, ServiceState, StartFrom
from aiorocketmq.model.filters import SQL

F = TypeVar("F", bound=ListenerFunction)
One = TypeVar("One", bound=MessageListener)
Many = TypeVar("Many", bound=BatchListener)
Responding = TypeVar("Responding", bound=ResponderFunction)

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Unpack

    from aiorocketmq.client.state_watch import StateListener
    from aiorocketmq.config.fields import ClientFields
    from aiorocketmq.consumer.hooks import ConsumeHook, FilterHook
    from aiorocketmq.consumer.patterns import TopicPatterns

logger = logging.getLogger("aiorocketmq.consumer")


class PushConsumer(ControlledConsumer):
    """Calls listeners with the messages of a group's topics, as they arrive, at least once.

    ```python
    consumer = PushConsumer("127.0.0.1:9876", group="workers")


    @consumer.listen("orders", "TagA || TagB")
    async def handle(message): ...


    await consumer.run()
    ```

    A listener that returns has consumed the message; one that raises gets it again later, and after `max_reconsume_times` tries it goes to
    the dead-letter topic. `async def` listeners run on the event loop, `def` listeners on worker threads, each kind up to `concurrency`
    at a time.

    Args:
        name_servers: `a:9876;b:9876`, a list, or a `rocketmq://` URL; left out: `NAMESRV_ADDR`, then the HTTP address service.
        group: The consumer group; all its members must have the same subscriptions.
        config: A `ClientConfig` or `rocketmq://` URL to start from.
        ordered: Consume each queue in order, one call at a time.
        start_from: Where a group without offsets starts. `LAST`: after the newest message; `FIRST`: at the oldest; `TIMESTAMP`: at
            `start_timestamp`. Queues that a topic gets while it is consumed are read from their first message; with `LAST`, a topic that
            did not exist when it was subscribed is read from that moment on.
        start_timestamp: With `TIMESTAMP`: an aware datetime or seconds since the epoch; None is 30 minutes before the consumer was made.
        message_model: `CLUSTERING` shares the messages among the members, `BROADCASTING` gives all to each, without retries.
        concurrency: Calls at the same time, 1 to 1000; or (minimum, maximum), between which the number follows the backlog (Java:
            consumeThreadMin, consumeThreadMax).
        max_reconsume_times: Retries before the dead-letter topic; -1 is 16, and without end for ordered consumers.
        consume_timeout: Seconds (or timedelta) after which a message whose listener has not ended is given back (not when ordered).
        auto_commit: Ordered only. False: messages are consumed when a listener returns `ConsumeResult.COMMIT`, `ROLLBACK` goes back to the
            last commit.
        suspend_current_queue_time: Ordered only: seconds before a failed message is tried again, 0.01 to 30.
        pull_batch_size: Messages per pull, 1 to 1024 (brokers give 32 at most by default).
        pull_batch_size_in_bytes: Bytes per pull, as a wish.
        pull_interval: Seconds between two pulls of a queue, 0 to 65.535.
        pull_threshold_for_queue: Unconsumed messages per queue that stop pulling, 1 to 65535.
        pull_threshold_size_for_queue: Unconsumed bytes per queue that stop pulling, 1 to 1 GiB.
        pull_threshold_for_topic: The same for all owned queues of a topic together; -1 for none.
        pull_threshold_size_for_topic: The same in bytes; -1 for none.
        consume_concurrently_max_span: Distance between the oldest and the newest unconsumed offset that stops pulling (not when ordered).
        post_subscription_when_pull: Send the filter with every pull.
        connect_broker_by_user: Always read from the broker id `default_broker_id`, whatever brokers suggest.
        default_broker_id: Broker id to read from first; 0 is the master.
        skip_damaged_messages: A stored message that cannot be decoded, three tries over: True skips and logs it, False stops its queue.
        await_termination_when_shutdown: Seconds that `stop()` waits for running listeners.
        rate_limit: Messages a second that listeners are called with at most, of all topics together; see `limit_rate()`.
        stuck_after: Seconds without progress, 1 or more, after which `health()` calls a queue stuck that has messages.
        allocate: How queues are shared by the members; None is the average strategy. The same in all members.
        client_rebalance: False: a broker (from 5.0) says which queues fall to this member, by the name of `allocate`, `AVG` or
            `AVG_BY_CIRCLE`; while none can, the members share the queues out by themselves, as with True. It may also say that the
            group pops (`mqadmin setConsumeMode`): then every member gets messages of all queues, and acknowledges each by itself. Neither
            for ordered consumers nor for `BROADCASTING`.
        pop_invisible_time: In a group that pops: seconds in which a listener has to end before others get the message, 5 to 300.
        pop_threshold_for_queue: The same: unacknowledged messages of a broker, or of a queue, that stop popping, 1 to 65535.
        pop_batch_nums: The same: messages per pop, 1 to 32.
        offset_store: Keeps the consumed offsets; None is the broker (clustering) or a file (broadcasting).
        local_offset_store_dir: Broadcasting: directory of the offset files; None is `~/.rocketmq_offsets`.
        message_queue_listener: Called with (topic, all queues, owned queues) when the assignment of a subscribed topic changes.
        hooks: Called around every call of a listener (`ConsumeHook`), or with every message before, to drop it (`FilterHook`); the first
            one is around the others.
        enable_trace: Write the message trace: two records for each message that a listener gets, for `mqadmin queryMsgTraceById` and the
            like. At most 2048 records wait for a broker; what is more is counted in `traces_lost`.
        trace_topic: Where to; None is `RMQ_SYS_TRACE_TOPIC`, which brokers have with `traceTopicEnable=true`, or create.
        on_state_change: Called with a `StateChange` when brokers or name servers are lost and regained, queues get stuck and go on, another
            member subscribes in another way, or `health().status` is another one: a `def` on a thread of its own, an `async def` on the
            event loop.
        **client_fields: Fields of `ClientConfig`.

    Raises:
        ConfigError: A value cannot work; the text names it and the cure.
        InvalidNameError: The group has an illegal name.
    """

    def __init__(
        self,
        name_servers: NameServers = None,
        *,
        group: str,
        config: ClientConfig | str | None = None,
        ordered: bool = False,
        start_from: StartFrom = StartFrom.LAST,
        start_timestamp: datetime | float | None = None,
        message_model: MessageModel = MessageModel.CLUSTERING,
        concurrency: int | tuple[int, int] = 20,
        max_reconsume_times: int = -1,
        consume_timeout: float | timedelta = 15 * 60.0,
        auto_commit: bool = True,
        suspend_current_queue_time: float | timedelta = 1.0,
        pull_batch_size: int = 32,
        pull_batch_size_in_bytes: int = 256 * 1024,
        pull_interval: float | timedelta = 0.0,
        pull_threshold_for_queue: int = 1000,
        pull_threshold_size_for_queue: int = 100 * MIB,
        pull_threshold_for_topic: int = -1,
        pull_threshold_size_for_topic: int = -1,
        consume_concurrently_max_span: int = 2000,
        post_subscription_when_pull: bool = False,
        connect_broker_by_user: bool = False,
        default_broker_id: int = 0,
        skip_damaged_messages: bool = False,
        await_termination_when_shutdown: float | timedelta = 30.0,
        rate_limit: float | None = None,
        stuck_after: float | timedelta = 60.0,
        allocate: AllocateStrategy | None = None,
        client_rebalance: bool = True,
        pop_invisible_time: float | timedelta = 60.0,
        pop_threshold_for_queue: int = 96,
        pop_batch_nums: int = 32,
        offset_store: OffsetStore | None = None,
        local_offset_store_dir: str | Path | None = None,
        message_queue_listener: MessageQueueListener | None = None,
        hooks: Iterable[ConsumeHook | FilterHook] = (),
        enable_trace: bool = False,
        trace_topic: str | None = None,
        on_state_change: StateListener | None = None,
        **client_fields: Unpack[ClientFields],
    ) -> None:
        self._settings: PushSettings = self._set_up(PushSettings, locals())
        settings = self._settings
        self._subscriptions = Subscriptions(settings.group, with_retry_topic=not settings.broadcasting, namespace=self._namespace)
        self._observed = Observed(settings) if settings.observed else None
        self._runtime: PushRuntime | None = None
        self._rates = {} if settings.rate_limit is None else {None: settings.rate_limit}
        self._patterns: TopicPatterns | None = None
        self._signalled = False

    # --- listeners --------------------------------------------------------------------------------------------------------------

    @overload
    def listen(self, topic: str | Pattern[str], expression: str | SQL | None = "*") -> Callable[[One], One]: ...

    @overload
    def listen(self, topic: str | Pattern[str], expression: str | SQL | None = "*", *, batch: int) -> Callable[[Many], Many]: ...

    @overload
    def listen(self, topic: str | Pattern[str], expression: str | SQL | None, batch: int) -> Callable[[Many], Many]: ...

    def listen(self, topic: str | Pattern[str], expression: str | SQL | None = "*", batch: int = 1) -> Callable[[F], F]:
        """Decorate the listener of a topic, or of all topics whose names match a pattern.

        Args:
            topic: Topic name; or a compiled pattern, as in `re.compile("orders_.*")`, which has to match the whole name. Topics that come
                later are found within `poll_name_server_interval` and, with `StartFrom.LAST`, read from then on; those that go are left.
                Topics with listeners of their own, and those of brokers and groups, do not count. All members have the same patterns.
            expression: `*` for all messages, tags as in `TagA || TagB`, or `SQL("price > 10")`.
            batch: 1 calls the listener with one message; more, up to 1024, with a list of up to so many. What it returns is for all of
                them, or a list with one answer for each, exceptions included, as of `asyncio.gather(..., return_exceptions=True)`.

        Raises:
            ConfigError: The topic has a listener, or the expression cannot be read.
            ListenerError: The function cannot be called with one argument; or the topic is missing.
            InvalidNameError: The topic has an illegal name.
            ClientStateError: The consumer is running: use `subscribe()`.
        """
        if not isinstance(topic, str | Pattern):
            raise ListenerError(
                f"listen() got {name_of(topic)} for the name of a topic",
                hint='decorate with @consumer.listen("topic"), its name in brackets',
            )
        if self.state not in (ServiceState.CREATE_JUST, ServiceState.START_FAILED):
            raise ClientStateError(
                f"listen({topic!r}) was called on a consumer that is {self.state.name}",
                hint="on a running consumer await subscribe() instead",
            )
        patterns = self._of_patterns() if isinstance(topic, Pattern) else ()
        if topic in patterns or (isinstance(topic, str) and self._subscriptions.listener(self._namespace.unwrap(topic)) is not None):
            raise ConfigError(
                f"topic {topic!r} has a listener already", hint="one listener per topic: join the filters as in 'TagA || TagB'"
            )

        def decorate(function: F) -> F:
            if isinstance(topic, Pattern):
                self._of_patterns().add(topic, function, expression, batch)
                return function
            name = self._namespace.unwrap(topic)
            self._subscriptions.add(self._listener(name, function, batch), expression, epoch_ms(time.time))
            return function

        return decorate

    def _of_patterns(self) -> TopicPatterns:
        if self._patterns is None:
            from aiorocketmq.consumer.patterns import TopicPatterns  # for those who want them

            self._patterns = TopicPatterns(self._subscriptions, self._listener)
        return self._patterns

    def _listener(self, topic: str, function: ListenerFunction, batch: int) -> Listener:
        listener = Listener(topic, function, batch)
        if self._observed is not None:
            self._observed.around(listener)
        return listener

    def respond(self, topic: str, expression: str | SQL | None = "*") -> Callable[[Responding], Responding]:
        """Decorate the function that answers the requests of a topic: those of `Producer.request()`, and of Java producers.

        It is a listener like any other, which gets one message at a time. What it returns is the reply: bytes, or a `Message`, whose topic
        does not matter; None sends none. When it raises, the request comes again. Requests older than their time-out are consumed
        without a call, and replies to senders that are gone are dropped; the log tells both.

        Args:
            topic: Topic name.
            expression: As in `listen()`.

        Raises:
            ConfigError, ListenerError, InvalidNameError, ClientStateError: As `listen()`.
        """

        def decorate(function: Responding) -> Responding:
            Listener(topic, function)  # looks whether it can be called
            self.listen(topic, expression)(cast("MessageListener", Responder(function, lambda: self._runtime).listener))
            return function

        if not isinstance(topic, str):
            raise ListenerError(
                f"respond() got {name_of(topic)} for the name of a topic",
                hint='decorate with @consumer.respond("topic"), its name in brackets',
            )
        return decorate

    @overload
    async def subscribe(self, topic: str | Pattern[str], listener: MessageListener, expression: str | SQL | None = "*") -> None: ...

    @overload
    async def subscribe(
        self, topic: str | Pattern[str], listener: BatchListener, expression: str | SQL | None = "*", *, batch: int
    ) -> None: ...

    async def subscribe(
        self, topic: str | Pattern[str], listener: ListenerFunction, expression: str | SQL | None = "*", *, batch: int = 1
    ) -> None:
        """Listen to one more topic or pattern, or give it another listener and filter, before the start or while running.

        Args:
            topic: Topic name or pattern, as in `listen()`.
            listener: `def` or `async def` with one argument.
            expression: As in `listen()`.
            batch: As in `listen()`.

        Raises:
            ConfigError: The expression cannot be read.
            ListenerError: The function cannot be called with one argument.
            SubscriptionError: A broker cannot evaluate the filter; all stays as it was.
            NotSupportedByBrokerError: A broker is too old for a word of the filter; all stays as it was.
            ClientClosedError: The consumer was stopped.
            ClientStateError: The consumer runs on another event loop.

        Cancelling it leaves the topic subscribed; brokers hear of it with the next heartbeat.
        """
        self._life.check_loop()
        self._life.check_not_stopped()
        if isinstance(topic, Pattern):
            await self._subscribe_pattern(topic, listener, expression, batch)
            return
        topic = self._namespace.unwrap(topic)
        if self._patterns is not None:
            self._patterns.let_be(topic, subscribed=True)
        before = self._subscriptions.get(topic), self._subscriptions.listener(topic)
        self._subscriptions.add(self._listener(topic, listener, batch), expression, epoch_ms(time.time))
        logger.info("group %s subscribes topic %s with listener %s", self.group, topic, name_of(listener))
        if self._runtime is not None:
            try:
                await self._runtime.subscription_changed(topic)
            except (SubscriptionError, NotSupportedByBrokerError):
                self._subscriptions.restore(topic, *before)
                raise

    async def _subscribe_pattern(
        self, pattern: Pattern[str], listener: ListenerFunction, expression: str | SQL | None, batch: int
    ) -> None:  # fmt: skip
        patterns, runtime = self._of_patterns(), self._runtime
        topics = patterns.add(pattern, listener, expression, batch)
        logger.info("group %s subscribes topics that match %r with listener %s", self.group, pattern.pattern, name_of(listener))
        if runtime is not None:
            if topics:
                await runtime.subscription_changed(*topics)
            patterns.watch(runtime)
            await patterns.look(runtime)

    async def unsubscribe(self, topic: str | Pattern[str]) -> None:
        """Stop listening to a topic or pattern; does nothing when it has no listener. What was consumed is saved.

        A topic that a pattern has brought is left alone by all patterns until a pattern is added, or the topic subscribed.

        Raises:
            ClientClosedError: The consumer was stopped.
            ClientStateError: The consumer runs on another event loop.
        """
        self._life.check_loop()
        self._life.check_not_stopped()
        if isinstance(topic, Pattern):
            gone = self._patterns.remove(topic) if self._patterns is not None else []
        else:
            topic = self._namespace.unwrap(topic)
            if self._patterns is not None:
                self._patterns.let_be(topic, subscribed=False)
            gone = [topic] if self._subscriptions.remove(topic) else []
        if gone and self._runtime is not None:
            await self._runtime.subscription_changed(*gone)

    # --- life -------------------------------------------------------------------------------------------------------------------

    async def start(self, *, timeout: float | timedelta | None = None) -> Self:
        """Join the group and begin to consume; does nothing while it runs. Returns the consumer itself.

        A topic that does not exist yet is no error, and neither is a name server that does not answer yet: consuming begins as soon as they
        are there. The log says what is waited for. What is sent after the start is consumed with `StartFrom.LAST`, too, unless a broker
        takes longer than three seconds to say where its queues end.

        Args:
            timeout: Seconds to wait until a name server answers; None starts without one.

        Raises:
            ListenerError: There is no listener.
            NoNameServerError: No name server is configured, or none answered within `timeout`; the consumer can be started again.
            GroupAlreadyRegisteredError: The group has a consumer on this client instance already.
            SubscriptionError: A broker cannot evaluate a filter.
            NotSupportedByBrokerError: A broker is too old for a word of a filter.
            ClientStateError: The consumer runs on another event loop.
            ClientClosedError: The consumer was stopped.

        Cancelling it undoes what was begun. After a failure it can be called again.
        """
        self._life.check_not_stopped()
        if not self._subscriptions.listeners and not self._patterns:
            raise ListenerError(
                f"consumer of group {self.group!r} has no listener", hint="decorate a function with @consumer.listen(topic)"
            )
        await self._life.start(self._join, self._undo, timeout, self._settle)
        return self

    async def _join(self, instance: ClientInstance) -> None:
        self._force.clear()
        if self._observed is not None:
            await self._observed.start(instance)
        self._runtime = runtime = PushRuntime(instance, self._settings, self._subscriptions, made_at=self._made_at)
        for topic, rate in self._rates.items():
            runtime.service.caller.limit_rate(topic, rate)
        if self._patterns:
            await self._patterns.start(runtime)
        await runtime.start()
        logger.info("consumer group %s started on client %s", self.group, instance.client_id)

    async def stop(self) -> None:
        """Stop pulling, wait for running listeners, save offsets, give back locks and leave the group. Idempotent.

        Listeners get `await_termination_when_shutdown` seconds; messages of those that take longer come again. Messages that no listener
        has begun are left to the other members. Awaited by a listener of this consumer it begins the stop and returns: the stop waits for
        that listener, and its message counts as consumed. A start that is under way is ended.

        Raises:
            ClientStateError: The consumer was started on another event loop.

        Cancelling it leaves the stop going on.
        """
        self._life.check_loop()
        inside = self.in_listener
        self._begin_stop()
        if not inside:
            await self._life.stop(self._leave)

    def _begin_stop(self) -> None:
        if self._runtime is not None:
            self._runtime.close()
        self._life.begin_stop(self._leave)

    async def _end(self) -> None:
        await super()._end()
        if self._observed is not None:
            await self._observed.stop(self._force)

    async def run(self) -> None:
        """Start (unless running), consume until SIGINT or SIGTERM, then stop; a second signal does not wait for listeners any more.

        All consumers of a program that are in `run()` get the signal. Outside the main thread, where none arrives, it consumes until
        `stop()` is called, which ends it everywhere; use `start()` and `stop()`, too, in a program that looks after its signals itself.

        Raises:
            RocketMQError: As `start()`.

        Cancelling it stops the consumer.
        """
        with _Signals(self._on_signal):
            try:
                await self.start()
                await self._life.stopped.wait()
            except ClientClosedError:
                if not self._signalled:  # else a signal has ended the start
                    raise
            finally:
                await self.stop()

    def _on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._life.stopping:
            logger.warning("%s: consumer group %s stops at once", name, self.group)
            self._force.set()
            return
        logger.info("%s: consumer group %s stops; once more does not wait for running listeners", name, self.group)
        self._signalled = True
        self._begin_stop()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    # --- while it runs ----------------------------------------------------------------------------------------------------------

    @property
    def traces_lost(self) -> int:
        """Records of the message trace that were dropped since the start: too many waited, or no broker took them."""
        return self._observed.traces_lost if self._observed is not None else 0

    @property
    def in_listener(self) -> bool:
        """True in a listener of this consumer, in its task or in its thread: who waits for the stop there would wait for himself."""
        runtime = self._runtime
        return runtime is not None and runtime.in_listener()


class _Signals:
    """SIGINT and SIGTERM go to the functions of all blocks that run; outside the main thread nothing happens.

    Not by `loop.add_signal_handler()`, which has room for one function: of two consumers in a program only one would stop, and a handler
    that somebody else has given to the loop would be gone for good.
    """

    _inside: ClassVar[list[_Signals]] = []
    _before: ClassVar[dict[int, Any]] = {}

    def __init__(self, handle: Callable[[int], None]) -> None:
        self._handle = handle
        self._loop = asyncio.get_running_loop()

    @staticmethod
    def _caught(number: int, _: object) -> None:
        for block in list(_Signals._inside):
            block._loop.call_soon_threadsafe(block._handle, number)

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self._inside.append(self)
        for number in (signal.SIGINT, signal.SIGTERM):
            previous = signal.getsignal(number)
            if previous is not None and previous is not _Signals._caught:  # None was set from C, and cannot be set again from here
                self._before[number] = previous
                signal.signal(number, _Signals._caught)

    def __exit__(self, *_: object) -> None:
        if self not in self._inside:
            return
        self._inside.remove(self)
        if not self._inside:
            for number, previous in self._before.items():
                if signal.getsignal(number) is _Signals._caught:
                    signal.signal(number, previous)
            self._before.clear()
