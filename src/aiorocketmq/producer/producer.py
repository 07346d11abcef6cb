"""The public producer: checks what it is given, and hands it to the dispatcher (Java: `DefaultMQProducer`). Section B of the features."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import warnings
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from aiorocketmq.client.direct_reply import DirectReply
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.replies import send_reply
from aiorocketmq.config import ClientConfig, NameServers
from aiorocketmq.core.fault import LATENCY_MAX, NOT_AVAILABLE
from aiorocketmq.errors import (
    ClientClosedError,
    ClientStateError,
    ForkedClientError,
    NoNameServerError,
    RemotingError,
    RocketMQError,
    WindowFullError,
)
from aiorocketmq.model.checks import duration
from aiorocketmq.model.enums import CompressionType, ServiceState
from aiorocketmq.model.message import Message
from aiorocketmq.model.names import AUTO_CREATE_TOPIC_KEY, DEFAULT_PRODUCER_GROUP, check_topic
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer.accumulator import Accumulator
from aiorocketmq.producer.dispatcher import SendDispatcher
from aiorocketmq.producer.failures import no_room
from aiorocketmq.producer.gathered import Gathered
from aiorocketmq.producer.observed import FLUSH_TIMEOUT, ObservedSends
from aiorocketmq.producer.prepare import Policies, Preparer
from aiorocketmq.producer.reply import refused
from aiorocketmq.producer.requests import Requests
from aiorocketmq.producer.selectors import QueueSelector
from aiorocketmq.producer.send import SendOperation
from aiorocketmq.producer.settings import DEFAULT_RETRY_RESPONSE_CODES, ProducerSettings, retry_code

if TYPE_CHECKING:
    from typing import Unpack

    from aiorocketmq.client.examine import Own
    from aiorocketmq.client.state_watch import StateListener
    from aiorocketmq.config.fields import ClientFields
    from aiorocketmq.producer.hooks import CheckForbiddenHook, SendHook

logger = logging.getLogger("aiorocketmq.producer")


class Producer(ObservedSends):
    """Sends messages.

    One producer serves any number of tasks of its event loop and any number of topics; it is cheap when idle, so make one and keep it.
    `async with Producer(...)` starts and stops it. Not for use from other threads: see `aiorocketmq.sync` for those.

    Args:
        name_servers: `a:9876;b:9876`, a list, or a `rocketmq://` URL; left out it comes from `config`, then from `NAMESRV_ADDR`.
        group: Producer group: a name for what sends, shown in the broker's connection lists. A group of your own has one producer in a
            process (and for one set of settings); those without one share the default group.
        config: A `ClientConfig`, or a `rocketmq://` URL.
        topics: Topics whose routes are fetched by `start()`, so that the first send need not wait for them.
        send_msg_timeout: Seconds that one send may take in all, with all its tries.
        send_msg_max_timeout_per_request: Seconds that one try may take; None leaves each try the rest of the whole time.
        retry_times_when_send_failed: Further tries of `send()` and `send_batch()` after a failed one. Waiting for a connection is no
            try: nothing was sent.
        retry_times_when_send_async_failed: Further tries of `send_nowait()`.
        retry_another_broker_when_not_store_ok: Try again also when the message is stored, but not with `SendStatus.SEND_OK`.
        retry_response_codes: Broker codes after which a send is tried again.
        max_message_size: Largest body in bytes, before compression.
        compress_msg_body_over_howmuch: Bodies of at least this many bytes are compressed when that makes them smaller.
        compress_type: How: `CompressionType.ZLIB`, which every consumer knows; `LZ4` or `ZSTD`, which need the extra `compression`, and
            which Java consumers before 5.0 do not know.
        compress_level: 0 to 9 for zlib, 0 to 12 for LZ4, 1 to 22 for ZSTD; None takes 5, 0 and 5.
        compress_batches: Compress the bodies of batches, too, each by itself, when the batch has that many bytes.
        create_topic_key: Topic whose settings a new topic inherits where the broker creates topics by itself.
        default_topic_queue_nums: Queues that a topic created by a send gets, at most.
        max_in_flight: Messages that may await their answers at a time; `send()` waits for room, `send_nowait()` raises.
        max_in_flight_bytes: Body bytes that may await their answers at a time.
        auto_batch: Gather the messages of `send()` and `send_nowait()` into batches: those of one topic, tag, `wait_store_ok` and fixed
            queue leave together, and each has its own result. Messages with a delay and those for retry and dead-letter
            topics go alone, and so does the first one of a topic that is not in `topics`.
        batch_max_delay: Seconds, 0.001 to 30, that a message waits for others at most; never more than half of its time-out.
        batch_max_bytes: Bytes of one batch, 1 to 2 MiB, and at most `max_message_size`; a larger message goes alone.
        total_batch_max_bytes: Bytes of all batches that are gathered or unanswered; beyond that messages go alone.
        send_latency_enable: Spare brokers that were slow or have failed, as long as the topic has others for sends to any queue.
        latency_max: Latencies in seconds, ascending, from which on a broker is spared.
        not_available_duration: Seconds for which it is spared then, one for each latency. One that failed counts as having taken 10 s.
        start_detector_enable: Probe brokers that are spared every 3 s, so that they are used again as soon as they can be reached.
        detect_timeout, detect_interval: Seconds that a probe may take, and between two probes of a broker, at least.
        hooks: Called around every send (`SendHook`), or before it, to forbid it (`CheckForbiddenHook`); the first one is around the others.
        enable_trace: Write the message trace: a record of every send that is answered or has failed, for `mqadmin queryMsgTraceById` and
            the like. At most 2048 records wait for a broker; what is more is counted in `traces_lost`.
        trace_topic: Where to; None is `RMQ_SYS_TRACE_TOPIC`, which brokers have with `traceTopicEnable=true`, or create.
        trace_recalls: A record of every `recall()`, too; readers before 5.4 do not know these.
        on_state_change: Called with a `StateChange` when brokers or name servers are lost and regained, or when `health().status` is
            another one: a `def` on a thread of its own, an `async def` on the event loop.
        client_fields: Fields of `ClientConfig`, changed for this producer.

    Raises:
        ConfigError: A field has a value that cannot work.
        InvalidNameError: The group, or one of the topics, has an illegal name.
    """

    def __init__(
        self,
        name_servers: NameServers = None,
        *,
        group: str = DEFAULT_PRODUCER_GROUP,
        config: ClientConfig | str | None = None,
        topics: Iterable[str] = (),
        send_msg_timeout: float | timedelta = 3.0,
        send_msg_max_timeout_per_request: float | timedelta | None = None,
        retry_times_when_send_failed: int = 2,
        retry_times_when_send_async_failed: int = 2,
        retry_another_broker_when_not_store_ok: bool = False,
        retry_response_codes: Iterable[int] = DEFAULT_RETRY_RESPONSE_CODES,
        max_message_size: int = 4 * 1024 * 1024,
        compress_msg_body_over_howmuch: int = 4096,
        compress_type: CompressionType = CompressionType.ZLIB,
        compress_level: int | None = None,
        compress_batches: bool = False,
        create_topic_key: str = AUTO_CREATE_TOPIC_KEY,
        default_topic_queue_nums: int = 4,
        max_in_flight: int = 1024,
        max_in_flight_bytes: int = 100 * 1024 * 1024,
        auto_batch: bool = False,
        batch_max_delay: float | timedelta = 0.010,
        batch_max_bytes: int = 32 * 1024,
        total_batch_max_bytes: int = 32 * 1024 * 1024,
        send_latency_enable: bool = False,
        latency_max: Sequence[float | timedelta] = LATENCY_MAX,
        not_available_duration: Sequence[float | timedelta] = NOT_AVAILABLE,
        start_detector_enable: bool = False,
        detect_timeout: float | timedelta = 0.2,
        detect_interval: float | timedelta = 2.0,
        hooks: Iterable[SendHook | CheckForbiddenHook] = (),
        enable_trace: bool = False,
        trace_topic: str | None = None,
        trace_recalls: bool = False,
        on_state_change: StateListener | None = None,
        **client_fields: Unpack[ClientFields],
    ) -> None:
        fields = {name: value for name, value in locals().items() if name in ProducerSettings.__dataclass_fields__}
        self._config = ClientConfig.from_fields(config, name_servers, client_fields)
        self._settings = ProducerSettings(**fields | {"group": self._config.names.unwrap(group)})
        self._settings.check_frame(self._config.frame_max_length)
        self._config.names.check_group(group)
        self._policies = Policies(self._settings, self._settings.retry_response_codes)
        self._life = self._live(f"producer {group!r}", self._config, on_state_change)
        self._dispatcher: SendDispatcher | None = None
        self._preparer: Preparer | None = None  # there while the producer runs
        self._draining: asyncio.Timeout | None = None
        self._accumulator: Accumulator | None = None
        self._requests: Requests | None = None

    # -- life --------------------------------------------------------------------------------------------------------------------------

    @property
    def group(self) -> str:
        """The producer group."""
        return self._settings.group

    @property
    def config(self) -> ClientConfig:
        """The configuration that is in force."""
        return self._config

    @property
    def state(self) -> ServiceState:
        """Where in its life the producer is."""
        return self._life.state

    @property
    def client_id(self) -> str:
        """The id under which brokers know the client; "" before `start()`."""
        return self._life.instance.client_id if self._life.instance is not None else ""

    async def start(self, *, timeout: float | timedelta | None = None) -> None:
        """Join the client instance of this process and loop, and fetch the routes of `topics`. A second call does nothing.

        Args:
            timeout: Seconds to wait until a name server answers. None starts without one: every send looks for routes again.

        Raises:
            NoNameServerError: No name server is configured, or none answered within `timeout`; the producer can be started again.
            ClientClosedError: The producer was stopped.
            ClientStateError: The group has a producer already, or the producer runs on another event loop.
            ConfigError: The instance cannot be made from the configuration.

        Cancelling it undoes what was begun.
        """
        await self._life.start(self._join, self._undo, timeout)

    async def _join(self, instance: ClientInstance) -> None:
        dispatcher = self._dispatcher = SendDispatcher(self._settings, instance)
        await instance.register_producer(dispatcher)
        await self._preload(dispatcher)
        if self._settings.observed:
            preparer, accumulator = await self._observe(dispatcher, instance)
        else:
            preparer = Preparer(self._settings, dispatcher, instance.client_id, os.getpid())
            accumulator = Accumulator(dispatcher, preparer.ids) if self._settings.auto_batch else None
        self._preparer, self._accumulator = preparer, accumulator
        self._requests = Requests(instance, preparer, self.group)
        logger.info("producer %s started as %s", self.group, instance.client_id)

    async def _undo(self, instance: ClientInstance) -> None:
        self._preparer = self._requests = None
        if self._dispatcher is not None:
            await self._dispatcher.close(0)
            await self._dispatcher.probe_no_more()
            await self._end_trace(0)
            await instance.unregister_producer(self._dispatcher)
            self._dispatcher = None

    async def _preload(self, dispatcher: SendDispatcher) -> None:
        for topic, target in list(dispatcher.targets.items()):
            try:
                target.put(await dispatcher.topics.fetch_route(topic))
            except RocketMQError as error:
                # Every send looks for the route again, and the topic may come into being with its first message.
                logger.warning("producer %s starts without the route of topic %s: %s", self.group, topic, error)
                if isinstance(error, (NoNameServerError, RemotingError)):
                    return  # the next topic would fail the same way, and each failure may take a whole time-out

    async def stop(self, timeout: float | timedelta | None = None) -> None:
        """Wait for unanswered sends, then leave the client instance. A second call does nothing; a stopped producer stays stopped.

        Args:
            timeout: Seconds to wait for answers, 0 or more; None takes `send_msg_timeout`. Sends that have not ended by then end with a
                `SendError`, whose `maybe_stored` says whether a broker may have them.

        Raises:
            ConfigError: The time-out is none; the producer is stopped all the same, with the usual one.
            ClientStateError: The producer was started on another event loop.

        Cancelling it does not wait for answers any more; the producer is stopped all the same.
        """
        patience = self._settings.send_msg_timeout
        try:
            if timeout is not None:
                patience = duration("timeout", timeout, 0.0)
        finally:
            await self._life.stop(partial(self._leave, patience), self._drain_no_longer)

    async def _leave(self, patience: float, instance: ClientInstance) -> None:
        assert self._dispatcher is not None  # it runs
        self._preparer = None
        try:
            if self._accumulator is not None:
                self._accumulator.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None) as self._draining:
                    await self._dispatcher.close(patience)
                    await self._end_trace(min(patience, FLUSH_TIMEOUT))
        finally:
            if self._requests is not None:
                self._requests.close()
            self._draining = None
            await self._dispatcher.probe_no_more()
            await self._end_trace(0)
            await instance.unregister_producer(self._dispatcher)
            logger.info("producer %s stopped", self.group)

    def _drain_no_longer(self) -> None:
        if self._draining is not None:
            self._draining.reschedule(asyncio.get_running_loop().time())

    def _own_health(self) -> Own:
        from aiorocketmq.producer.health import own_health  # for those who ask

        assert self._dispatcher is not None  # it runs
        return own_health(self._dispatcher)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    def __del__(self) -> None:
        life = getattr(self, "_life", None)  # not there when the constructor has failed
        if life is not None and life.state is ServiceState.RUNNING:
            warnings.warn(
                f"producer {self.group!r} was dropped without `await producer.stop()`", ResourceWarning, source=self, stacklevel=2
            )

    def __repr__(self) -> str:
        if not hasattr(self, "_life"):
            return f"<{type(self).__name__} that was refused>"  # tracebacks with local variables show it
        return f"<{type(self).__name__} {self.group!r} {self._life.state.value}>"

    # -- sending -----------------------------------------------------------------------------------------------------------------------

    async def send(
        self,
        message: Message,
        *,
        queue: MessageQueue | None = None,
        selector: QueueSelector | None = None,
        sharding_key: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> SendResult:
        """Send one message and wait until a broker has stored it.

        Without `queue`, `selector` and `sharding_key` the topic's queues take turns, and a failed try goes to another broker. With one of
        them the queue is fixed and the message is put on the wire only once; a missing connection is waited for all the same.

        Args:
            message: The message. It is not changed, and may be sent again.
            queue: The queue to send to.
            selector: Callable `(queues, message) -> queue`; what it raises is the outcome of the send.
            sharding_key: Messages of one key go to one queue, the same one that Java's hash selector takes; stored with the message in
                place of its own key. Where their order matters, await each one before you send the next: brokers store messages that are
                on their way at the same time in any order.
            timeout: Seconds for everything, waiting for room in the window included; None takes `send_msg_timeout`.

        Returns:
            Where the message is stored. Check `result.ok` when anything but `SendStatus.SEND_OK` matters to you.

        Raises:
            InvalidMessageError, InvalidNameError, ConfigError: The message, its topic or the time-out cannot work; nothing was sent.
            NotSupportedByBrokerError: The message has a delay by time, and no broker of the topic has timers; nothing was sent.
            RouteError: There is no way to the topic; nothing was sent.
            SendTimeoutError: The time has passed. `maybe_stored` says whether the message may be stored all the same.
            SendError: Every try failed; `attempts` has a line for each, and `maybe_stored` is as above.
            ClientStateError: The producer is not running, or belongs to another event loop.

        Cancelling is safe: nothing is left behind, but a message that is on its way may be stored.
        """
        policy = self._policies.sync
        preparer = self._running()
        reply: DirectReply[SendResult] = DirectReply(preparer.loop)
        accumulator = self._accumulator
        if accumulator is not None:
            gathered = accumulator.take(message, policy, timeout, queue, selector, sharding_key, reply)
            if gathered is not None:
                return await self._gather(accumulator, gathered, reply)
        operation = preparer.single(message, policy, timeout, queue, selector, sharding_key, reply)
        dispatcher = preparer.dispatcher
        if not dispatcher.window.acquire_at_once(operation.size):
            await self._wait_for_room(dispatcher, operation)
        reply.inner = operation
        dispatcher.begin(operation)
        return await reply  # type: ignore[return-value]  # only one-way sends have no result

    def send_nowait(
        self,
        message: Message,
        *,
        queue: MessageQueue | None = None,
        selector: QueueSelector | None = None,
        sharding_key: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> asyncio.Future[SendResult]:
        """Send one message without waiting; costs one future, no task. Arguments as in `send()`.

        A failed try is repeated as in `send()`, also when the queue is fixed, then on the same broker. (Java's asynchronous send gives up
        at the first error that a broker answers with: under load that loses what a pause of 100 ms would have saved.)

        Returns:
            A future with the result or the error, as of `send()`. Cancelling it takes a message back that is not on its way yet.

        Raises:
            WindowFullError: `max_in_flight` messages or `max_in_flight_bytes` bytes await their answers; nothing was sent.
            InvalidMessageError, InvalidNameError, ConfigError: As for `send()`; nothing was sent.
            ClientStateError: The producer is not running, or belongs to another event loop.
        """
        preparer = self._running()
        future: asyncio.Future[Any] = preparer.loop.create_future()
        accumulator = self._accumulator
        if accumulator is not None:
            gathered = accumulator.take(message, self._policies.nowait, timeout, queue, selector, sharding_key, future)
            if gathered is not None:
                try:
                    accumulator.add_nowait(gathered)
                except WindowFullError as error:
                    refused(gathered.reply, error)
                    raise
                return future
        operation = preparer.single(message, self._policies.nowait, timeout, queue, selector, sharding_key, future)
        dispatcher = preparer.dispatcher
        try:
            dispatcher.window.acquire_nowait(operation.size)
        except WindowFullError as error:
            refused(operation.reply, error)
            raise
        dispatcher.begin(operation)
        return future

    async def send_oneway(
        self,
        message: Message,
        *,
        queue: MessageQueue | None = None,
        selector: QueueSelector | None = None,
        sharding_key: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> None:
        """Send one message that no broker confirms; returns when it is handed to the connection. Arguments as in `send()`.

        Nobody learns whether the message was stored: use it for what may get lost, such as metrics. Who sends many in a row
        waits now and then until the connection has taken them, so that they do not pile up in memory.

        Raises:
            InvalidMessageError, InvalidNameError, ConfigError, RouteError, NotSupportedByBrokerError: As for `send()`; nothing was sent.
            SendTimeoutError: No connection was there in time, and nothing was sent; or it took no more, and `maybe_stored` is True.
            SendError: No way to a broker was found, or the connection went with the message half-way.
            ClientStateError: The producer is not running, or belongs to another event loop.

        Cancelling is safe.
        """
        preparer = self._running()
        reply: DirectReply[SendResult] = DirectReply(preparer.loop)
        operation = preparer.single(message, self._policies.oneway, timeout, queue, selector, sharding_key, reply)
        await self._run(operation, reply)
        if self._dispatcher is not None:
            await self._dispatcher.drain(operation)

    async def send_batch(
        self, messages: Sequence[Message], *, queue: MessageQueue | None = None, timeout: float | timedelta | None = None
    ) -> SendResult:
        """Send messages of one topic in one request: all are stored in one queue, one after the other, or none.

        A batch is never split; its messages are compressed only with `compress_batches`.

        Args:
            messages: One or more messages of the same topic and `wait_store_ok`, without delay, together at most `max_message_size` bytes
                in their encoded form (22 bytes and the properties for each, besides its body).
            queue: The queue to send to; None lets the queues take turns.
            timeout: Seconds for everything; None takes `send_msg_timeout`.

        Returns:
            One result; `message_id` and `offset_message_id` hold the ids of all messages, joined by commas.

        Raises:
            InvalidMessageError: The messages cannot be one batch, or are too large together; nothing was sent.
            SendError, SendTimeoutError, RouteError, InvalidNameError, ConfigError, ClientStateError: As for `send()`.

        Cancelling is safe: nothing is left behind, but a batch that is on its way may be stored.
        """
        preparer = self._running()
        reply: DirectReply[SendResult] = DirectReply(preparer.loop)
        result = await self._run(preparer.batch(messages, self._policies.sync, timeout, queue, reply), reply)
        assert result is not None  # only one-way sends have no result
        return result

    async def request(
        self,
        message: Message,
        *,
        queue: MessageQueue | None = None,
        selector: QueueSelector | None = None,
        sharding_key: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> ReceivedMessage:
        """Send a message and wait until one of its consumers replies, by `PushConsumer.respond()` or in Java. Arguments as in `send()`.

        The reply comes to this process by way of a broker; needs brokers from 4.6 on. The first request to a topic makes us known to all
        brokers of the cluster, which takes a moment.

        Args:
            timeout: Seconds for everything, until the reply is there; responders are told it, and leave older requests alone. None takes
                `send_msg_timeout`.

        Returns:
            The reply, as its sender made it.

        Raises:
            ReplyTimeoutError: The request is stored, but nobody has replied in time. It may have been carried out, or may be later.
            InvalidMessageError: The message cannot be sent, or has a delay; nothing was sent.
            SendError, SendTimeoutError, RouteError, InvalidNameError, ClientStateError: The request could not be sent; as of `send()`.
            ClientClosedError: The producer was stopped before the reply came.

        Cancelling is safe: nothing is left behind; a reply that comes later is dropped.
        """
        self._running()
        dispatcher, requests = self._dispatcher, self._requests
        assert dispatcher is not None and requests is not None  # running
        made = requests.make(message, self._policies.sync, timeout, queue, selector, sharding_key)
        try:
            await requests.introduce(made)
            if not dispatcher.window.acquire_at_once(made.operation.size):
                await self._wait_for_room(dispatcher, made.operation)
            return await requests.wait(made)
        finally:
            made.give_up()

    async def reply(self, request: ReceivedMessage, answer: bytes | Message, *, timeout: float | timedelta | None = None) -> SendResult:
        """Reply to a request by hand; `PushConsumer.respond()` does it with what a function returns.

        Args:
            request: The request, as a consumer got it from a Python or Java producer.
            answer: The body of the reply; or a message, of which all but the topic is sent.
            timeout: Seconds for everything; None takes `send_msg_timeout`.

        Raises:
            InvalidMessageError: The message is no request, or the answer cannot be sent.
            SendError: The reply could not be handed to whoever waits for it: the client is not there any more, or no broker is reachable.
            ClientStateError: The producer is not running, or belongs to another event loop.

        Cancelling it leaves open whether the reply has arrived.
        """
        self._running()
        limit = self._settings.send_msg_timeout if timeout is None else duration("timeout", timeout)
        return await send_reply(self._life.running().inner_producer, request, answer, limit)

    async def fetch_publish_message_queues(self, topic: str) -> tuple[MessageQueue, ...]:
        """The queues of a topic that can be written now, as the name server tells them.

        Raises:
            InvalidNameError: The topic is not legal.
            RouteError: The topic does not exist, has no such queue, or no name server answers.
            BrokerError, ProtocolError, RemotingError: The name servers refuse the question, talk nonsense, or break TLS handshakes off.
            ClientStateError: The producer is not running.

        Cancelling is safe.
        """
        self._running()
        assert self._dispatcher is not None  # running
        check_topic(topic)
        return (await self._dispatcher.topics.fetch_queues(topic)).queues

    def add_retry_response_code(self, code: int) -> None:
        """Try sends again after one more broker code.

        Raises:
            ConfigError: It is no number of 32 bits signed.
        """
        self._policies = Policies(self._settings, self._policies.sync.codes | {retry_code(code)})

    # -- inside ------------------------------------------------------------------------------------------------------------------------

    def _running(self) -> Preparer:
        preparer = self._preparer
        if preparer is None:
            if self._life.state is ServiceState.SHUTDOWN_ALREADY:
                raise ClientClosedError(f"producer {self.group!r} was stopped")
            raise ClientStateError(f"producer {self.group!r} is not started", hint="call `await producer.start()`, or use `async with`")
        if asyncio._get_running_loop() is not preparer.loop:
            self._wrong_loop(preparer.pid)
        return preparer

    def _wrong_loop(self, pid: int) -> None:
        if pid != os.getpid():
            raise ForkedClientError(f"producer {self.group!r} was started in process {pid}, this is process {os.getpid()}")
        raise ClientStateError(
            f"producer {self.group!r} belongs to another event loop",
            hint="use asyncio.run_coroutine_threadsafe() from other threads, or aiorocketmq.sync",
        )

    async def _run(self, operation: SendOperation, reply: DirectReply[SendResult]) -> SendResult | None:
        """Send an operation off and wait for its end."""
        dispatcher = self._dispatcher
        assert dispatcher is not None  # running
        if not dispatcher.window.acquire_at_once(operation.size):
            await self._wait_for_room(dispatcher, operation)
        reply.inner = operation
        dispatcher.begin(operation)
        return await reply

    async def _gather(self, accumulator: Accumulator, gathered: Gathered, reply: DirectReply[SendResult]) -> SendResult:
        """Send a message in a batch and wait for its end."""
        if not accumulator.add_at_once(gathered):
            assert self._dispatcher is not None  # running
            await self._wait_for_room(self._dispatcher, gathered)
            accumulator.add(gathered, accumulator.loop.time())
        reply.inner = gathered
        result = await reply
        assert result is not None  # no one-way send is gathered
        return result

    async def _wait_for_room(self, dispatcher: SendDispatcher, operation: SendOperation | Gathered) -> None:
        try:
            if not await dispatcher.window.acquire(operation.size, operation.deadline):
                error = no_room(operation.target.topic, operation.deadline - operation.started, dispatcher.window.messages)
                raise dispatcher.failures.note(error)
            if dispatcher.closed:
                dispatcher.window.release(operation.size)
                raise ClientClosedError(f"producer {self.group!r} was stopped")
        except BaseException as failure:
            refused(operation.reply, failure)
            raise
