"""Pulling messages: when (PullService), and how (PullApi, PullCall). Java: `PullMessageService`, `PullAPIWrapper`, `PullRequest`.

One pull is in flight per queue. There is no task and no timer per queue: answers arrive as callbacks, waits share one timer, and a missing
connection is opened by one task per broker. What to do with a result is the consumer's business. Features F9, F12-F14, F17, F22, F33-F35.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from aiorocketmq.client.statelog import StateLog
from aiorocketmq.core.route_table import is_logical
from aiorocketmq.errors import BrokerNotFoundError, ProtocolError, RemotingError, RocketMQError, broker_error, broker_not_found
from aiorocketmq.model.enums import PullStatus
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.codes import MIN_LITE_PULL_VERSION, RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand, next_opaque
from aiorocketmq.protocol.frame import encode
from aiorocketmq.protocol.headers_client import PullMessageRequestHeader
from aiorocketmq.protocol.message_codec import decode_messages
from aiorocketmq.protocol.sysflag import PullSysFlag
from aiorocketmq.protocol.templates import PullTemplate

if TYPE_CHECKING:
    from aiorocketmq.client.route import RouteService
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.config import ClientConfig
    from aiorocketmq.core.route_table import FoundBroker
    from aiorocketmq.remoting.channel import Channel
    from aiorocketmq.remoting.client import RemotingClient
    from aiorocketmq.remoting.hooks import RPCHook

BROKER_SUSPEND_MAX_TIME: Final = 15.0
"""Seconds that a broker may hold a pull for which there is no message."""
CONSUMER_TIMEOUT_WHEN_SUSPEND: Final = 30.0
"""Seconds after which such a pull has failed; brokers may answer up to 5 s late."""
STALLED_AFTER: Final = 60.0
WATCH_INTERVAL: Final = 5.0
"""Seconds between two looks of the watchdog."""

logger = logging.getLogger("aiorocketmq.client")

_STATUS: Final = {
    int(ResponseCode.SUCCESS): PullStatus.FOUND,
    int(ResponseCode.PULL_NOT_FOUND): PullStatus.NO_NEW_MSG,
    int(ResponseCode.PULL_RETRY_IMMEDIATELY): PullStatus.NO_MATCHED_MSG,
    int(ResponseCode.PULL_OFFSET_MOVED): PullStatus.OFFSET_ILLEGAL,
}


class PullAnswer:
    """Answer of a broker. Mutable and slotted: one is made for every pull.

    Attributes:
        status: What the pull met.
        offset: Offset that was asked for.
        next_begin_offset: Where the next pull begins.
        min_offset: Lowest offset that the queue still holds.
        max_offset: Offset that the next message of the queue will get.
        body: Stored messages, not decoded yet; `PullCall.decode()` turns them into messages.
        seconds: Time between the request and the answer.
    """

    __slots__ = ("body", "max_offset", "min_offset", "next_begin_offset", "offset", "offset_delta", "seconds", "status")

    def __init__(self, status: PullStatus, offset: int, header: dict[str, str], body: bytes, seconds: float) -> None:
        self.status = status
        self.offset = offset
        self.next_begin_offset = _number(header, "nextBeginOffset")
        self.min_offset = _number(header, "minOffset")
        self.max_offset = _number(header, "maxOffset")
        self.offset_delta = _number(header, "offsetDelta") if "offsetDelta" in header else 0
        self.body = body
        self.seconds = seconds


def _number(header: dict[str, str], name: str) -> int:
    try:
        return int(header[name])
    except (KeyError, ValueError):
        raise ProtocolError(f"pull answer: field {name!r} is {header.get(name)!r}, not a number") from None


class PullObserver(Protocol):
    """Whoever gets the outcome of a `PullCall`; exactly one of the two is called for every `send()`, from the event loop."""

    def on_pull_result(self, result: PullAnswer) -> None:
        """The broker answered with one of the four `PullStatus`. Must not raise."""
        ...

    def on_pull_error(self, error: RocketMQError) -> None:
        """The broker refused, did not answer, or could not be reached. Must not raise."""
        ...


@dataclass(frozen=True, slots=True)
class PullOptions:
    """What all pulls of a consumer have in common.

    Attributes:
        group: The consumer group.
        max_messages: Messages per pull, at most.
        max_bytes: Bytes of messages per pull, at most (a hint: brokers have limits of their own).
        post_subscription: Send the subscription with every pull instead of relying on heartbeats (F22).
        connect_broker_by_user: Always read from the broker id `default_broker_id`, whatever brokers suggest (F35).
        default_broker_id: Broker id to read from first; 0 is the master.
        max_decompressed_length: Bytes of the largest body accepted after decompression.
        decode_read_body: False leaves bodies empty.
        decode_decompress_body: False leaves bodies compressed.
        keep: Gives back those of the messages that hooks want; None for all.
        lite: The consumer asks for its messages; brokers serve such pulls from other threads (I13).
        suspend_time: Seconds that a broker may hold a pull for which there is no message.
        timeout: Seconds after which a pull without an answer has failed.
    """

    group: str
    max_messages: int = 32
    max_bytes: int = 256 * 1024
    post_subscription: bool = False
    connect_broker_by_user: bool = False
    default_broker_id: int = 0
    max_decompressed_length: int = 64 * 1024 * 1024
    decode_read_body: bool = True
    decode_decompress_body: bool = True
    keep: Callable[[list[ReceivedMessage]], list[ReceivedMessage]] | None = None
    lite: bool = False
    suspend_time: float = BROKER_SUSPEND_MAX_TIME
    timeout: float = CONSUMER_TIMEOUT_WHEN_SUSPEND


class PullApi:
    """Sends pulls for one consumer.

    Args:
        remoting: Connections.
        routes: Asked for a fresh route when a broker has no address.
        scheduler: Makes the tasks that open connections.
        find_broker: Address to read from, by broker name, broker id and whether only that id will do.
        options: What all pulls have in common.
        config: Encoding of request headers, namespaces.
    """

    def __init__(
        self,
        remoting: RemotingClient,
        routes: RouteService,
        scheduler: Scheduler,
        find_broker: Callable[[str, int, bool], FoundBroker | None],
        options: PullOptions,
        config: ClientConfig,
    ) -> None:
        self.remoting = remoting
        self.names = config.names
        self.config = config
        self.options = options
        self.serialize_type = config.serialize_type
        self.routes = routes
        self._scheduler = scheduler
        self._find_broker = find_broker
        self._waiting: dict[tuple[str, int], list[PullCall]] = {}

    def call(self, queue: MessageQueue, observer: PullObserver) -> PullCall:
        """The pulling end of one queue, to be used again and again."""
        return PullCall(self, queue, observer)

    @property
    def awaits_credentials(self) -> bool:
        """The credentials have to be asked for before each pull."""
        signer = self.remoting.signer
        return signer is not None and signer.awaits

    def find_broker(self, broker_name: str, broker_id: int) -> FoundBroker | None:
        """Address to read from, as the routes know it now."""
        return self._find_broker(broker_name, broker_id, self.options.connect_broker_by_user)

    def transmit_when_connected(self, call: PullCall) -> None:
        """Look up and connect the call's broker, then transmit; calls for one broker share one task."""
        key = (call.broker, call.broker_id)
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(call)
            return
        self._waiting[key] = [call]
        self._scheduler.spawn(f"connect {key[0]}", self._connect(key, call.queue.topic))

    async def _connect(self, key: tuple[str, int], topic: str) -> None:
        error: RocketMQError | None = None
        try:
            broker = self.find_broker(*key)
            if broker is None:
                await self.routes.update(topic)
                broker = self.find_broker(*key)
            if broker is None:
                raise broker_not_found(key[0], topic=topic)
            try:
                await self.remoting.connect(broker.address)
            except RemotingError:
                self.routes.refresh_soon(topic)  # it may have moved
                raise
            if self.remoting.signer is not None:
                await self.remoting.signer.fresh()
        except RocketMQError as problem:
            error = problem
        finally:
            calls = self._waiting.pop(key)
        for call in calls:
            call.on_connected(error)


class PullCall:
    """The pulls of one queue, one at a time. It is the waiter of its own requests; mutable, slotted, hot.

    Attributes:
        queue: The queue.
        broker: Name of the broker that has it.
        broker_id: Broker id to read from next, as the broker suggested.
        in_flight: True from `send()` to its outcome.
        logical: It is a queue of a static topic, which moves from broker to broker.
    """

    __slots__ = (
        "_api", "_channel", "_commit_offset", "_hooked", "_late", "_lite", "_loop_time", "_max_messages", "_observer", "_offset", "_opaque",
        "_sent_at", "_subscription", "_suspend", "_template", "broker", "broker_id", "in_flight", "logical", "queue",
    )  # fmt: skip

    def __init__(self, api: PullApi, queue: MessageQueue, observer: PullObserver) -> None:
        self.queue = queue
        self.broker = queue.broker_name
        self.logical = is_logical(queue)
        self.broker_id = api.options.default_broker_id
        self.in_flight = False
        self._api = api
        self._observer = observer
        self._loop_time = asyncio.get_running_loop().time
        self._template: PullTemplate | None = None
        self._subscription = SubscriptionData(queue.topic)
        self._max_messages = 0
        self._lite = False
        self._hooked: tuple[str, RemotingCommand] | None = None
        self._late: Callable[[RemotingCommand], None] | None = None
        self._channel: Channel | None = None
        self._opaque = 0
        self._offset = 0
        self._commit_offset = -1
        self._suspend = True
        self._sent_at = 0.0

    def send(
        self, offset: int, subscription: SubscriptionData, *, commit_offset: int = -1, max_messages: int = 0, suspend: bool = True
    ) -> None:
        """Pull once; the outcome goes to the observer.

        Args:
            offset: First offset wanted.
            subscription: The filter.
            commit_offset: Consumed offset to store on the way when it is above 0 (not sent to slaves).
            max_messages: Messages wanted at most; 0 takes the options' number.
            suspend: Let the broker hold the request while there is no message.
        """
        limit = max_messages or self._api.options.max_messages
        if subscription is not self._subscription or limit != self._max_messages:
            self._subscription = subscription
            self._max_messages = limit
            self._template = None
        self._offset = offset
        self._commit_offset = commit_offset
        self._suspend = suspend
        self.in_flight = True
        if self.logical:
            self._commit_offset = -1  # brokers would take it for an offset of their own queue
            if self.moved:
                self.broker, self.broker_id = self._api.routes.broker_of(self.queue), self._api.options.default_broker_id
        broker = self._api.find_broker(self.broker, self.broker_id)
        channel = self._api.remoting.channel(broker.address) if broker is not None else None
        if broker is None or channel is None or self._api.awaits_credentials:
            self._channel = None
            self._api.transmit_when_connected(self)
            return
        self._transmit(channel, broker)

    @property
    def awaits_answer(self) -> bool:
        """The pull in flight has left: it does not wait for a connection."""
        return self.in_flight and self._channel is not None

    @property
    def moved(self) -> bool:
        """Another broker has the queue now than the one of the last pull."""
        return self.logical and self._api.routes.broker_of(self.queue) != self.broker

    def cancel(self) -> None:
        """Forget the pull in flight; its outcome will not be told. Does nothing when there is none."""
        if self.in_flight:
            self.in_flight = False
            if self._channel is not None:
                self._channel.forget(self._opaque)
                self._channel = None

    def abandon(self, late: Callable[[RemotingCommand], None]) -> None:
        """The last pull of this queue was sent: what comes is told to `late` alone. `send()` must not be called again."""
        self.in_flight = False
        self._late = late

    def decode(self, result: PullAnswer, subscription: SubscriptionData) -> list[ReceivedMessage]:
        """The messages of a result that match the subscription's tags (the broker compares hashes only, F17).

        Args:
            result: What a pull of this queue brought.
            subscription: The filter now; it may have changed since the pull was sent.

        Raises:
            ProtocolError: A stored message is damaged; the text names the position.
        """
        options = self._api.options
        messages = decode_messages(
            result.body,
            broker_name=self.queue.broker_name,
            max_body=options.max_decompressed_length,
            queue=self.queue,
            offset_delta=result.offset_delta,
            read_body=options.decode_read_body,
            decompress=options.decode_decompress_body,
        )
        self._api.names.unwrap_messages(messages)
        if messages and messages[0].queue_offset < result.offset:
            # The pull began in the middle of a batch that is stored as one record (A16): the part before is consumed already.
            messages = [message for message in messages if message.queue_offset >= result.offset]
        tags = subscription.tags
        if tags:
            messages = [message for message in messages if message.tag in tags]
        if options.keep is not None:
            messages = options.keep(messages)
        return messages

    # --- the exchange ------------------------------------------------------------------------------------------------------------------

    def on_connected(self, error: RocketMQError | None) -> None:
        """The broker was looked up and connected, or could not be."""
        if not self.in_flight or self._channel is not None:
            return  # cancelled meanwhile, or sent again by then
        broker = self._api.find_broker(self.broker, self.broker_id)
        channel = self._api.remoting.channel(broker.address) if broker is not None else None
        if error is not None or broker is None or channel is None:
            self.in_flight = False
            lost = BrokerNotFoundError(f"broker {self.broker!r} went away while it was being connected", topic=self.queue.topic)
            self._observer.on_pull_error(error or lost)
            return
        self._transmit(channel, broker)

    def _transmit(self, channel: Channel, broker: FoundBroker) -> None:
        self._channel = channel
        self._opaque = opaque = next_opaque()
        flags = PullSysFlag.SUSPEND if self._suspend else 0
        commit_offset = self._commit_offset
        if commit_offset > 0 and not broker.is_slave:
            flags |= PullSysFlag.COMMIT_OFFSET
        else:
            commit_offset = 0
        options = self._api.options
        if options.post_subscription:
            flags |= PullSysFlag.SUBSCRIPTION
        lite = options.lite and broker.version >= MIN_LITE_PULL_VERSION
        if lite is not self._lite:
            self._lite = lite
            self._template = None
        if lite:
            flags |= PullSysFlag.LITE_PULL
        self._sent_at = now = self._loop_time()
        try:
            frame = self._frame(broker.address, opaque, flags, commit_offset)
        except RocketMQError as error:
            self.in_flight = False
            self._channel = None
            self._observer.on_pull_error(error)
            return
        channel.submit(opaque, frame, self, now + options.timeout)

    def _frame(self, address: str, opaque: int, flags: int, commit_offset: int) -> bytes:
        api = self._api
        if hooks := api.remoting.hooks:
            # Hooks may add a field to every request: no prepared frame can do that.
            header = self._header(flags, commit_offset)
            code = RequestCode.LITE_PULL_MESSAGE if self._lite else RequestCode.PULL_MESSAGE
            command = RemotingCommand.request(code, header, serialize_type=api.serialize_type)
            command.opaque = opaque
            command.ext_fields.update(api.config.request_fields)
            _run_hooks(lambda hook: hook.before_request(address, command), hooks)
            self._hooked = address, command
            return encode(command)
        template = self._template
        if template is None:
            template = self._template = self._make_template()
        return template.frame(opaque, self._offset, flags, commit_offset)

    def _make_template(self) -> PullTemplate:
        header = self._header(0, 0)
        return PullTemplate(
            header.consumer_group,
            header.topic,
            header.queue_id,
            header.bname,
            max_msg_nums=header.max_msg_nums,
            max_msg_bytes=self._api.options.max_bytes,
            suspend_timeout_millis=header.suspend_timeout_millis,
            sub_version=header.sub_version,
            subscription=header.subscription,
            expression_type=header.expression_type,
            lite=self._lite,
            extra=self._api.config.request_fields,
            serialize_type=self._api.serialize_type,
        )

    def _header(self, flags: int, commit_offset: int) -> PullMessageRequestHeader:
        subscription, options, names = self._subscription, self._api.options, self._api.names
        return PullMessageRequestHeader(
            consumer_group=names.wrap(options.group),
            topic=names.wrap(self.queue.topic),
            queue_id=self.queue.queue_id,
            queue_offset=self._offset,
            max_msg_nums=self._max_messages,
            sys_flag=flags,
            commit_offset=commit_offset,
            suspend_timeout_millis=round(options.suspend_time * 1000),
            sub_version=subscription.version,
            subscription=subscription.expression if options.post_subscription else None,
            expression_type=subscription.expression_type,
            max_msg_bytes=options.max_bytes,
            bname=self.queue.broker_name,
        )

    def on_response(self, command: RemotingCommand) -> None:
        """The answer came (`ResponseWaiter`)."""
        if not self.in_flight:
            if self._late is not None:
                self._late(command)
            return
        self.in_flight = False
        self._channel = None
        status = _STATUS.get(command.code)
        try:
            if self._hooked is not None:
                address, request = self._hooked
                self._hooked = None
                _run_hooks(lambda hook: hook.after_response(address, request, command), self._api.remoting.hooks)
            if status is None:
                if command.code == ResponseCode.NOT_LEADER_FOR_QUEUE:
                    self._api.routes.refresh_soon(self.queue.topic)
                remark = self._api.names.unwrap_text(command.remark)
                error: RocketMQError = broker_error(command.code, remark, broker=self.broker, topic=self.queue.topic)
                self._observer.on_pull_error(error)
                return
            result = PullAnswer(status, self._offset, command.ext_fields, command.body, self._loop_time() - self._sent_at)
            if not self._api.options.connect_broker_by_user:
                self.broker_id = _number(command.ext_fields, "suggestWhichBrokerId")
        except RocketMQError as damaged:
            self._observer.on_pull_error(damaged)
            return
        self._observer.on_pull_result(result)

    def on_error(self, error: RemotingError) -> None:
        """No answer will come (`ResponseWaiter`)."""
        if not self.in_flight:
            return
        self.in_flight = False
        self._channel = None
        self._observer.on_pull_error(error)


def _run_hooks(run: Callable[[RPCHook], None], hooks: Sequence[RPCHook]) -> None:
    """Let the user's hooks have a pull; what one of them raises fails that pull, and not the queue."""
    try:
        for hook in hooks:
            run(hook)
    except RocketMQError:
        raise
    except Exception as error:  # noqa: BLE001 - the user's code: told as the error of this pull
        raise RemotingError(f"a request hook failed on a pull: {type(error).__name__}: {error}") from None


class PullTask(Protocol):
    """One queue as the pull service sees it.

    Attributes:
        delayed: The entry of the service's waiting list that may start the next pull; owned by the service.
        active_at: Loop time at which a pull was last sent, or was last held back on purpose.
    """

    delayed: DelayedPull | None
    active_at: float

    def pull(self) -> None:
        """Take the next step: send a pull, or decide to wait. Must not raise and must not block."""
        ...

    def restart(self) -> None:
        """Begin again after a stall: give up the pull in flight and send a new one. Must not raise and must not block."""
        ...


class DelayedPull:
    """An entry of the waiting list."""

    __slots__ = ("due", "sequence", "task")

    def __init__(self, due: float, sequence: int, task: PullTask) -> None:
        self.due = due
        self.sequence = sequence
        self.task = task

    def __lt__(self, other: DelayedPull) -> bool:
        return (self.due, self.sequence) < (other.due, other.sequence)


class PullService:
    """Decides when queues pull again, and notices those that do not (Java: `PullMessageService`).

    Args:
        scheduler: Makes the watchdog.

    Attributes:
        restarts: Stalled queues that were started again.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.restarts = 0
        self._scheduler = scheduler
        self._watched: dict[PullTask, None] = {}
        self._heap: list[DelayedPull] = []
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None
        self._log = StateLog(logger)

    def start(self) -> None:
        """Start the watchdog."""
        self._scheduler.every("pull watchdog", WATCH_INTERVAL, self._watch)

    async def stop(self) -> None:
        """Drop everything that waits; pulls in flight belong to their consumers."""
        self._watched.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._scheduler.end("pull watchdog")

    def watch(self, task: PullTask) -> None:
        """Begin to watch a queue for stalls."""
        task.active_at = asyncio.get_running_loop().time()
        self._watched[task] = None

    def unwatch(self, task: PullTask) -> None:
        """The queue is dropped: no pull of it is started any more."""
        self._watched.pop(task, None)
        task.delayed = None

    def pull_later(self, task: PullTask, delay: float) -> None:
        """Call `task.pull()` after `delay` seconds; replaces what was asked for before, so a queue never has two loops."""
        loop = asyncio.get_running_loop()
        self._sequence += 1
        entry = task.delayed = DelayedPull(loop.time() + delay, self._sequence, task)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._arm(loop)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._heap[0].due, self._fire) if self._heap else None

    def _fire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        heap = self._heap
        self._timer = None
        while heap and heap[0].due <= now:
            entry = heapq.heappop(heap)
            if entry.task.delayed is entry:
                entry.task.delayed = None
                try:
                    entry.task.pull()
                except Exception:  # one queue's fault must not keep those behind it waiting; the watchdog starts it again
                    logger.exception("the pull of %s failed", entry.task)
        self._arm(loop)

    def _watch(self) -> None:
        now = asyncio.get_running_loop().time()
        for task in list(self._watched):
            if now - task.active_at > STALLED_AFTER:
                self.restarts += 1
                text = "no pull was sent for %s in %.0f s: it is started again"
                self._log.note(logging.WARNING, "stalled", text, task, now - task.active_at)
                task.active_at = now
                task.restart()
