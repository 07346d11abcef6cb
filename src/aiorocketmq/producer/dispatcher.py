"""Brings the sends of one producer to their brokers (Java: `DefaultMQProducerImpl.sendKernelImpl`, `MQFaultStrategy`).

The good case is one pass without waiting: topic → queue in turn → master's address → connected channel → frame from a prepared template.
When the route or the connection is missing, operations are parked and *one* supervised task per topic or address brings what is missing
for all of them; nothing here makes a task per message. A broker without a connection is passed over while another one has a connection.
Features B7, B8, B13, B15, B21; reliability P5, P7.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.core.route_table import TopicPublishInfo
from aiorocketmq.errors import (
    ClientClosedError,
    RemotingError,
    RocketMQError,
    SendError,
    SendTimeoutError,
    broker_not_found,
)
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.producer.attempts import back_off
from aiorocketmq.producer.avoidance import Avoidance
from aiorocketmq.producer.batch import packed_batch
from aiorocketmq.producer.failures import RecentFailures
from aiorocketmq.producer.gate import Gate
from aiorocketmq.producer.lobby import Lobbies
from aiorocketmq.producer.send import Lane, SendOperation, SendState, TopicTarget
from aiorocketmq.producer.settings import ProducerSettings
from aiorocketmq.producer.timers import Timers
from aiorocketmq.producer.topics import Topics
from aiorocketmq.producer.window import SendWindow
from aiorocketmq.producer.wire import CommandFrames
from aiorocketmq.protocol.command import RemotingCommand, next_opaque
from aiorocketmq.protocol.templates import SendTemplate, SignedSendTemplate
from aiorocketmq.remoting.channel import Channel

logger = logging.getLogger("aiorocketmq.producer")

ONEWAY_TURN: Final = 64 * 1024
"""Bytes of one-way messages that are handed over before the event loop gets a turn."""
ONEWAY_OVERHEAD: Final = 256
"""What a one-way message counts besides its body."""

_MOVING: Final = SendState.MOVING  # looked up once: that takes 0.1 microseconds in Python 3.11


class SendDispatcher:
    """The inner part of a producer, registered with the client instance as its `ProducerPort`.

    Args:
        settings: The producer's settings.
        instance: The running client instance.

    Attributes:
        closed: True once the producer stops: nothing is tried again.
        window: Room for unanswered sends.
        topics: What is known of them, and who waits for a route.
        targets: The topics sent to so far.
        watched: Further topics whose routes the instance shall know.
        avoidance: The brokers that are left out for a while; None where none are.
        failures: The sends that failed of late.
        beside: Sends that await their answers and that the window does not know of, with the threads that wait for them.
    """

    def __init__(self, settings: ProducerSettings, instance: ClientInstance) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.closed = False
        self.window = SendWindow(settings.max_in_flight, settings.max_in_flight_bytes)
        self.release = self.window.release
        self.topics = Topics(self, instance, settings)
        self.targets = self.topics.targets
        self.watched: tuple[str, ...] = ()
        self.beside: dict[SendOperation, int] = {}
        self.failures = RecentFailures(self.loop.time)
        self._instance = instance
        self._remoting = instance.remoting
        self._channel: Callable[[str], Channel | None] = instance.remoting.channel
        self._address_of: Callable[[str], str | None] = instance.find_broker_address_in_publish
        self._lobbies = Lobbies(self, instance, settings.group)
        self._waited_for = self._lobbies.by_address
        self._timers = Timers(self, instance, settings.group)
        self.avoidance = Avoidance(settings, instance) if settings.send_latency_enable else None
        signer = instance.remoting.signer
        self._gate = Gate(self, instance, signer, settings.group) if signer is not None and signer.awaits else None
        self._compressor: ThreadPoolExecutor | None = None
        self._unturned = 0
        self._commands = CommandFrames(settings, instance.config)

    # -- ProducerPort ------------------------------------------------------------------------------------------------------------------

    @property
    def group(self) -> str:
        return self.settings.group

    def publish_topics(self) -> Collection[str]:
        return {*self.targets, *self.watched} if self.watched else self.targets.keys()

    def on_route_changed(self, topic: str, publish: TopicPublishInfo) -> None:
        target = self.targets.get(topic)
        if target is not None:
            target.put(publish)
            self.drain_topic(target)

    # -- the good case -----------------------------------------------------------------------------------------------------------------

    @property
    def usual(self) -> bool:
        """True while nothing stands between a plain message and its broker: no hook, nobody who waits for a connection. For any thread."""
        return not self._lobbies.waiting and self._remoting.templated and not self.closed

    def begin(self, operation: SendOperation) -> None:
        """Take over a new operation that has its room in the window. Never waits, never raises."""
        operation.state = _MOVING
        if not operation.ready:
            self._compress(operation)
        self.dispatch(operation)

    def dispatch(self, operation: SendOperation) -> None:
        """Send an operation off, or park it where it has to wait. Never waits, never raises: what is raised ends the operation."""
        target = operation.target
        publish = target.publish
        try:
            if publish is None or target.waiting or not operation.ready:
                self.topics.await_route(target, operation)
            elif operation.plain and (not self._waited_for or not self._lobbies.waiting) and self._remoting.templated:
                queue = publish.select()
                lane = target.lanes.get(queue.broker_name)
                if lane is not None and not lane.channel.closed:
                    operation.transmit_plain(lane, queue, next_opaque())
                else:
                    self._send_to(publish, operation, queue)
            else:
                self._route(publish, operation)
        except BaseException as error:  # noqa: BLE001 - of a selector, a hook, or ours: its caller gets it, and the room is given back
            operation.break_off(error)

    def _route(self, publish: TopicPublishInfo, operation: SendOperation) -> None:
        queue = operation.queue
        if not operation.pinned:
            if operation.select is not None:
                queue = operation.queue = operation.select(publish.queues)
                operation.pinned = True
            else:
                last_broker = queue.broker_name if queue is not None else None
                queue = publish.select(last_broker) if self.avoidance is None else self.avoidance.select(publish, last_broker)
        assert queue is not None  # a pinned operation has its queue
        self._send_to(publish, operation, queue)

    def _send_to(self, publish: TopicPublishInfo, operation: SendOperation, queue: MessageQueue) -> None:
        broker = publish.broker_of(queue)
        address = self._address_of(broker)
        channel = self._channel(address) if address is not None else None
        if channel is None or (self._waited_for and self._lobbies.has_waiting(address)):
            self._not_connected(publish, operation, queue, address)
            return
        assert address is not None  # it has a channel
        operation.queue = queue
        operation.address = address
        if self._remoting.templated and not publish.endpoints:  # logical queues of one name are on many brokers
            operation.target.lanes[broker] = Lane(address, channel, self._template(operation.target, broker))
        self._transmit(operation, queue, channel)

    def _transmit(self, operation: SendOperation, queue: MessageQueue, channel: Channel) -> None:
        if (not operation.timed or self._timers.allow(operation, queue, operation.address)) and (
            self._gate is None or self._gate.allow(operation)
        ):
            operation.transmit(channel, next_opaque())

    def send_on(self, operation: SendOperation, channel: Channel) -> None:
        """Send an operation on the connection that it waited for; its queue and address are set. Never waits, never raises."""
        queue = operation.queue
        assert queue is not None  # it waited for its broker
        try:
            self._transmit(operation, queue, channel)
        except BaseException as error:  # noqa: BLE001 - as in `dispatch()`
            operation.break_off(error)

    def frame(self, operation: SendOperation) -> bytes:
        """The request as bytes: from the topic's template, or as a command when hooks want to see it."""
        if not self._remoting.templated:
            hooks = self._remoting.hooks
            operation.request = self._commands.request(operation)
            return self._commands.encode(operation.request, operation.address, hooks)
        queue = operation.queue
        assert queue is not None  # set before every try
        template = self._template(operation.target, operation.broker_name, oneway=operation.policy.oneway)
        return template.frame(
            operation.opaque,
            queue.queue_id,
            operation.sys_flag,
            operation.born_timestamp,
            operation.flag,
            operation.properties,
            operation.body,
            operation.batch,
        )

    def _template(self, target: TopicTarget, broker_name: str, *, oneway: bool = False) -> SendTemplate:
        templates = target.oneway_templates if oneway else target.templates
        template = templates.get(broker_name)
        if template is None:
            settings, config, signer = self.settings, self._instance.config, self._remoting.signer
            names = config.names
            template = templates[broker_name] = SendTemplate(
                names.wrap(settings.group),
                names.wrap(target.topic),
                names.wrap(settings.create_topic_key),
                settings.default_topic_queue_nums,
                broker_name,
                unit_mode=config.unit_mode,
                oneway=oneway,
                extra=config.request_fields,
                serialize_type=config.serialize_type,
            )
            if signer is not None:
                template = templates[broker_name] = SignedSendTemplate(template, signer.current)
        return template

    def answered(self, operation: SendOperation, response: RemotingCommand) -> None:
        """Show the answer to the hooks that saw the request."""
        request = operation.request
        if request is not None:
            try:
                for hook in self._remoting.hooks:
                    hook.after_response(operation.address, request, response)
            except Exception:
                logger.exception("a hook failed on the answer of %s to a send; the send goes on", operation.address)

    def watch(self, operation: SendOperation, error: RocketMQError | None) -> None:
        """A try has ended, well or with an error: brokers that are slow or fail are avoided for a while."""
        if self.avoidance is not None:
            self.avoidance.note(operation, error)

    def go_away(self, operation: SendOperation) -> None:
        """The broker is about to stop: use a new connection from now on, which may reach its successor."""
        if operation.channel is not None:
            self._remoting.retire_channel(operation.address, operation.channel)
        for target in self.targets.values():
            target.lanes.clear()
        self.dispatch(operation)

    # -- no route ----------------------------------------------------------------------------------------------------------------------

    def drain_topic(self, target: TopicTarget) -> None:
        """Send the operations off that waited for the topic's route, in their order, as far as that is known and their bodies are ready."""
        while target.waiting:
            operation = next(iter(target.waiting))
            if not operation.ready:
                return
            if target.publish is None:
                self.topics.resolve(target)
                return
            operation.unpark()
            if operation.reply.done():
                operation.end()
                continue
            try:
                self._route(target.publish, operation)  # `dispatch()` would park it again, behind those that wait here
            except BaseException as error:  # noqa: BLE001 - as in `dispatch()`
                operation.break_off(error)

    def renew_route(self, operation: SendOperation) -> None:
        """A broker does not have the queue that the route named: send the operation off again by a fresh route."""
        self.topics.renew(operation)

    # -- no connection -----------------------------------------------------------------------------------------------------------------

    def _not_connected(self, publish: TopicPublishInfo, operation: SendOperation, queue: MessageQueue, address: str | None) -> None:
        if operation.movable:
            ready = self._ready_queue(operation, publish, publish.broker_of(queue))
            if ready is not None:
                if address is not None:
                    self._lobbies.knock(address)
                operation.queue, operation.address, channel = ready
                self._transmit(operation, operation.queue, channel)
                return
        if address is None:
            self._no_address(operation, queue)
        else:
            self._lobbies.park(operation, queue, address)

    def _ready_queue(self, operation: SendOperation, publish: TopicPublishInfo, missing: str) -> tuple[MessageQueue, str, Channel] | None:
        """The next queue in turn whose broker is connected; one that failed this operation counts only when all others did too."""
        tried = operation.trouble.tried if operation.trouble is not None and operation.has_untried else ()
        usable: dict[str, tuple[str, Channel]] = {}
        for name in operation.target.brokers:
            address = self._address_of(name) if name != missing and name not in tried else None
            channel = self._channel(address) if address is not None else None
            if address is not None and channel is not None and not self._lobbies.has_waiting(address):
                usable[name] = (address, channel)
        for _ in publish.queues if usable else ():
            queue = publish.select()
            if (broker := publish.broker_of(queue)) in usable:
                return queue, *usable[broker]
        return None

    def _no_address(self, operation: SendOperation, queue: MessageQueue) -> None:
        target = operation.target
        operation.queue = queue
        broker = operation.broker_name
        hint = "use a queue of fetch_publish_message_queues(), and check that the broker runs"
        error = broker_not_found(broker, topic=target.topic, master=True, hint=hint)
        operation.troubled().note(broker, "", error, 0.0)
        if operation.pinned and broker not in target.brokers:
            operation.fail(error)
            return
        self._instance.routes.refresh_soon(target.topic)
        again = self.loop.time() + back_off(len(operation.troubled().attempts))
        operation.pause(again, f"waiting for an address of {broker}")

    async def drain(self, operation: SendOperation) -> None:
        """Wait until the connection that took a one-way message has room again, so that senders do not outrun it.

        What was handed over leaves at the end of a turn of the loop; who sends one after the other has to let it turn.

        Raises:
            SendError: The connection went, or stayed full beyond the deadline, with the message half-way.
        """
        self._unturned += operation.size + ONEWAY_OVERHEAD
        if self._unturned >= ONEWAY_TURN:
            self._unturned = 0
            await asyncio.sleep(0)
        channel = self._channel(operation.address)
        if channel is None or channel.writable:
            return
        kind, error, text = SendError, None, "was lost"
        try:
            async with asyncio.timeout_at(operation.deadline):
                await channel.drain()
            return
        except TimeoutError:
            kind, text = SendTimeoutError, "stayed full"
        except RemotingError as lost:
            error = lost
        assert operation.queue is not None  # it was transmitted
        raise kind(
            f"a one-way message for topic {operation.target.topic!r} may not have left: the connection to {operation.address} {text}",
            topic=operation.target.topic,
            maybe_stored=True,
            broker=operation.broker_name,
            cause=error,
        )

    # -- big bodies --------------------------------------------------------------------------------------------------------------------

    def _compress(self, operation: SendOperation) -> None:
        # In a thread; the topic's later sends wait behind it, so that their order stays.
        if self._compressor is None:
            self._compressor = ThreadPoolExecutor(1, thread_name_prefix="aiorocketmq-compress")
        work: asyncio.Future[tuple[bytes, int]]
        pack = partial(packed_batch, compressor=self.settings.compressor) if operation.batch else self.settings.compressor.pack
        try:
            work = self.loop.run_in_executor(self._compressor, pack, operation.body)
        except RuntimeError:  # the interpreter is ending and starts no thread any more: nothing else waits for the loop
            work = self.loop.create_future()
            work.set_result(pack(operation.body))
        work.add_done_callback(partial(self._compressed, operation))

    def _compressed(self, operation: SendOperation, work: asyncio.Future[tuple[bytes, int]]) -> None:
        operation.ready = True
        if not work.cancelled() and work.exception() is None:
            operation.body, flags = work.result()
            operation.sys_flag |= flags
        self.drain_topic(operation.target)

    # -- the end -----------------------------------------------------------------------------------------------------------------------

    async def close(self, timeout: float) -> None:
        """Let unanswered sends end for at most `timeout` seconds, then end all others; nothing is tried again after that.

        Cancelling it ends them at once.
        """
        try:
            if timeout > 0:
                await self.window.empty(timeout)
        finally:
            self.closed = True
            self._end_all()

    async def probe_no_more(self) -> None:
        """The last step of a stop. No part of `close()`: a compiled coroutine must not await in a `finally`."""
        if self.avoidance is not None:
            await self.avoidance.stop()

    def _end_all(self) -> None:
        error = ClientClosedError(f"producer {self.group!r} was stopped before a broker answered")
        for operation in [*self.topics.close(), *self._lobbies.close()]:
            operation.cut_off(error)
        self._timers.close()
        if self._gate is not None:
            self._gate.close()
        for waiter in self._remoting.waiters():
            if isinstance(waiter, SendOperation) and waiter.dispatcher is self:
                waiter.cut_off(error)
        if self._compressor is not None:
            self._compressor.shutdown(wait=False, cancel_futures=True)
