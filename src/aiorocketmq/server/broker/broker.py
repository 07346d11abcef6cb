"""The embedded broker's life: start, stop, sudden death, and the way of a request to its processor (Java: `BrokerController`)."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from functools import partial

from aiorocketmq.errors import ClientStateError
from aiorocketmq.model.parsing import format_address
from aiorocketmq.protocol.command import ONEWAY_FLAG, RemotingCommand
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.remoting.server import RemotingServer
from aiorocketmq.server.broker.config import BrokerConfig
from aiorocketmq.server.broker.faults import Fault, Faults
from aiorocketmq.server.broker.following import Follower, Followers, as_slave
from aiorocketmq.server.broker.metadata import SCHEDULE_TOPIC
from aiorocketmq.server.broker.pop_reminders import Reminders
from aiorocketmq.server.broker.pop_revive import Revive
from aiorocketmq.server.broker.processors.access import AccessProcessor
from aiorocketmq.server.broker.processors.ack import AckProcessor
from aiorocketmq.server.broker.processors.admin import AdminProcessor
from aiorocketmq.server.broker.processors.assignment import AssignmentProcessor
from aiorocketmq.server.broker.processors.client import ClientProcessor
from aiorocketmq.server.broker.processors.common import restore
from aiorocketmq.server.broker.processors.pop import PopProcessor
from aiorocketmq.server.broker.processors.pull import PullProcessor
from aiorocketmq.server.broker.processors.recall import RecallProcessor
from aiorocketmq.server.broker.processors.reply import ReplyProcessor
from aiorocketmq.server.broker.processors.send import SendProcessor
from aiorocketmq.server.broker.processors.transaction import TransactionProcessor
from aiorocketmq.server.broker.processors.watch import WatchProcessor
from aiorocketmq.server.broker.registration import Registration
from aiorocketmq.server.broker.retention import Retention
from aiorocketmq.server.broker.schedule import Schedule
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.broker.topic_admin import TopicAdmin
from aiorocketmq.server.broker.topic_queues import TopicQueues
from aiorocketmq.server.dispatch import Handler, RequestTable
from aiorocketmq.server.lifecycle import to_its_end
from aiorocketmq.server.store.records import PendingMessage, QueueLog

logger = logging.getLogger("aiorocketmq.server")


def wall_clock_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Broker:
    """One embedded broker. After `stop()` or `kill()` it can be started again: on its port, with its store.

    Args:
        config: Settings.
        advertised_host: IP address under which clients reach it; None takes the one it listens on.
        now_ms: Wall clock in milliseconds.
        master: The broker that it follows, for a slave.
    """

    def __init__(
        self,
        config: BrokerConfig,
        *,
        advertised_host: str | None = None,
        now_ms: Callable[[], int] = wall_clock_ms,
        master: Broker | None = None,
    ) -> None:
        self.config = config
        self.faults = Faults()
        self._advertised_host = advertised_host or config.host
        self._now_ms = now_ms
        self._port = config.port
        self._server: RemotingServer | None = None
        self._state: BrokerState | None = None
        self._registration: Registration | None = None
        self._schedule: Schedule | None = None
        self._revive: Revive | None = None
        self._retention: Retention | None = None
        self._topics: TopicAdmin | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: RemotingServer | None = None
        self._held: list[Callable[[], None]] | None = None
        self._memory: sqlite3.Connection | None = None
        self._master = master
        self.followers = Followers()
        self._follower: Follower | None = None

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def broker_id(self) -> int:
        """0 for a master, more for a slave."""
        return self.config.broker_id

    @property
    def running(self) -> bool:
        return self._server is not None

    @property
    def address(self) -> str:
        """`host:port` that clients dial; the port is 0 before the first start when any was asked for."""
        return format_address(self._advertised_host, self._port)

    @property
    def state(self) -> BrokerState:
        """Store and tables.

        Raises:
            ClientStateError: The broker does not run.
        """
        if self._state is None:
            raise ClientStateError(f"broker {self.name} does not run", hint="start it first")
        return self._state

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, listen, and register with the name servers. Does nothing while running.

        Cancelling it, or an error, leaves the broker stopped.

        Raises:
            OSError: The port is taken.
            ConfigError: The store cannot be opened.
        """
        if self._server is not None:
            return
        try:
            await to_its_end(self._start())
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        await self._end()
        server = self._ending = RemotingServer(
            self.config.host, self._port, ssl_context=self.config.tls[0] if self.config.tls is not None else None
        )
        if self._port:
            self._assemble(server)
        self._port = await server.start()
        if self._state is None:
            self._assemble(server)  # nobody knows the port yet, so no request is missed
        self._server, self._ending = server, None
        assert self._registration is not None and self._retention is not None
        assert self._schedule is not None and self._revive is not None
        self._schedule.start()
        self._revive.start()
        self._retention.start()
        self._expire_clients()
        if self._follower is not None and self._master is not None:
            self._master.followers.join(self._follower)
            self._follower.start()
            await self._follower.caught_up()
        self.followers.tell()
        await self._registration.start()
        logger.info("broker %s:%d listens on %s", self.name, self.broker_id, self.address)

    def _assemble(self, server: RemotingServer) -> None:
        """Make everything that lives from one start to the next stop."""
        loop = asyncio.get_running_loop()
        state = BrokerState(
            self.config,
            self._advertised_host,
            self._port,
            now_ms=self._now_ms,
            clients_ms=wall_clock_ms,
            monotonic=loop.time,
            on_topic_change=lambda topic: registration.topic_changed(topic),
        )
        registration = Registration(state)
        state.open(self._memory)
        self._memory = None
        config = self.config
        self._schedule = Schedule(
            state.store, self._now_ms, partial(restore, state), levels=config.delay_levels, level_topic=SCHEDULE_TOPIC
        )
        self._retention = Retention(
            state.store,
            self._now_ms,
            max_age=config.retention_age,
            max_bytes=config.retention_bytes,
            interval=config.retention_interval,
        )
        self._revive = Revive(state, self._schedule)
        state.store.on_arrival = partial(wake_pulls, state)
        state.store.on_scheduled = self._schedule.added
        self._state = state
        self._registration = registration
        self._topics = TopicAdmin(state, registration)
        reminders = Reminders(state, self._schedule)
        processors = (
            SendProcessor(state),
            ReplyProcessor(state),
            RecallProcessor(state, self._schedule),
            TransactionProcessor(state, self._schedule),
            PullProcessor(state),
            PopProcessor(state, reminders),
            WatchProcessor(state, reminders),
            AckProcessor(state, reminders),
            ClientProcessor(state),
            AdminProcessor(state, registration.when_registered),
            AssignmentProcessor(state, TopicQueues(state, registration.ask, registration.spawn)),
        )
        rows = [row for processor in processors for row in processor.operations()]
        if self._master is not None:
            self._follower = Follower(state, partial(_running_state, self._master))
            rows = as_slave(rows)
        self.followers.attach(state.store)
        if state.access is None:
            table = RequestTable(rows, undo=state.store.revoke)
        else:
            rows += AccessProcessor(state, state.access).operations()
            table = RequestTable(rows, state.access.permit, state.access.authenticate, undo=state.store.revoke)
        server.default_processor = partial(self._process, table.handle)
        server.add_channel_listener(self)

    async def stop(self) -> None:
        """Say goodbye to the name servers, answer and commit what came in, close. Does nothing when stopped already.

        A cancellation waits until all this is done.
        """
        if self._server is not None or self._ending is not None:
            await to_its_end(self._end())

    async def _end(self) -> None:
        """Stop what runs, or what an earlier start or stop left behind."""
        server = self._leave()
        if server is None:
            return
        try:
            if self._registration is not None:
                await self._registration.stop()
        finally:
            self._quiet()
            if self._state is not None and not self._state.store.closed:
                self._memory = await self._state.store.close()
            await server.stop()
        self._disassemble()
        logger.info("broker %s stopped", self.name)

    async def kill(self) -> None:
        """Die as if the process were killed: every socket is reset, nothing pending is stored or answered, nobody is told."""
        if self._server is not None:
            await to_its_end(self._die())

    async def _die(self) -> None:
        server = self._leave()
        if server is None:
            return
        registration = self._registration
        assert registration is not None
        self._quiet()
        self._memory = self.state.store.abandon()
        for channel in server.channels:
            channel.abort()
        registration.cut()
        await server.stop()  # closes the listening socket before it waits for anything
        await registration.wind_up()
        self._disassemble()
        logger.info("broker %s was killed", self.name)

    def _leave(self) -> RemotingServer | None:
        """From now on the broker does not run; what is still to be ended stays known until it is."""
        if self._server is not None:
            self._server, self._ending = None, self._server
        return self._ending

    def pause(self) -> None:
        """Be silent, as a process that got SIGSTOP: connections stay and are accepted, but nothing is done or answered until `proceed()`.

        The name servers go on naming the broker. Does nothing while paused already.

        Raises:
            ClientStateError: The broker does not run.
        """
        state, server = self.state, self._server
        if server is None:
            raise ClientStateError(f"broker {self.name} is being stopped", hint="start it first")
        if self._held is not None:
            return
        self._held = []
        server.pause()
        if self._follower is not None:
            self._follower.stop()
        state.polling.pause()
        for service in (self._schedule, self._retention):
            if service is not None:
                service.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        logger.info("broker %s is paused", self.name)

    def proceed(self) -> None:
        """End a pause: what came meanwhile is handled now, in its order. Does nothing when not paused."""
        held, self._held = self._held, None
        if held is None:
            return
        for work in held:
            work()
        if self._server is not None:
            self._server.proceed()
        self.state.polling.proceed()
        if self._follower is not None:
            self._follower.start()
        if self._schedule is not None and self._retention is not None:
            self._schedule.proceed()
            self._retention.start()
        self._look_at_clients_later()  # their heartbeats came meanwhile, and are not handled yet
        logger.info("broker %s goes on", self.name)

    def look_at_clock(self) -> None:
        """The wall clock was moved: do what is due by now. Does nothing while stopped or paused."""
        if self._schedule is not None:
            self._schedule.look()

    def drop(self) -> None:
        """Close the sockets and the file that an event loop left open when it was closed; what was acknowledged is stored."""
        server = self._leave()
        if server is not None:
            server.drop()
        if self._registration is not None:
            self._registration.drop()
        if self._state is not None and not self._state.store.closed:
            self._memory = self._state.store.abandon()
        self._stop_following()
        self._held = self._timer = None
        self._disassemble()

    def discard(self) -> None:
        """Give up what a stopped broker without a file keeps in memory for its next start."""
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()

    def _quiet(self) -> None:
        self._held = None
        self._stop_following()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for service in (self._schedule, self._retention):
            if service is not None:
                service.stop()
        if self._topics is not None:
            self._topics.stop()
        if self._state is not None:
            self._state.polling.stop()
            self._state.notices.stop()

    def _disassemble(self) -> None:
        self._ending = None
        self._state = None
        self._follower = None
        self._registration = None
        self._schedule = None
        self._revive = None
        self._retention = None
        self._topics = None

    def _stop_following(self) -> None:
        if self._follower is not None and self._master is not None:
            self._follower.stop()
            self._master.followers.leave(self._follower)

    def _expire_clients(self) -> None:
        if self._state is not None:
            self._state.clients.expire()
            self._state.locks.expire()
            self._look_at_clients_later()

    def _look_at_clients_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.config.client_scan_interval, self._expire_clients)

    @property
    def topics(self) -> TopicAdmin:
        """Creates and changes topics.

        Raises:
            ClientStateError: The broker does not run.
        """
        if self._topics is None:
            raise ClientStateError(f"broker {self.name} does not run", hint="start it first")
        return self._topics

    # -- requests -----------------------------------------------------------------------------------------------------

    def _process(self, handler: Handler, request: RemotingCommand, channel: Channel) -> RemotingCommand | None:
        if self.faults.armed and (fault := self.faults.take(request.code)) is not None:
            return self._suffer(fault, handler, request, channel)
        return self._handle(handler, request, channel)

    def _handle(self, handler: Handler, request: RemotingCommand, channel: Channel) -> RemotingCommand | None:
        """Let a request be handled; what it changes is one unit of work of the store."""
        if self._state is None:
            return None
        store = self._state.store
        store.begin()
        try:
            return handler(request, channel)
        finally:
            store.end()

    def _suffer(self, fault: Fault, handler: Handler, request: RemotingCommand, channel: Channel) -> RemotingCommand | None:
        """Let a fault happen to a request."""
        if fault.drop:
            return None
        if fault.lose_answer:
            request.flag |= ONEWAY_FLAG  # handled like any other, but nothing answers a one-way request
        if fault.delay > 0:
            asyncio.get_running_loop().call_later(fault.delay, self._late, fault, handler, request, channel)
            return None
        if fault.answer is not None:
            return RemotingCommand.response(request, fault.answer, fault.remark)
        return self._handle(handler, request, channel)

    def _late(self, fault: Fault, handler: Handler, request: RemotingCommand, channel: Channel) -> None:
        if self._server is None or channel.closed:
            return
        if self._held is not None:
            self._held.append(partial(self._late, fault, handler, request, channel))
            return
        answer = (
            RemotingCommand.response(request, fault.answer, fault.remark)
            if fault.answer is not None
            else self._handle(handler, request, channel)
        )
        if answer is not None:
            channel.reply(request, answer)

    def on_connect(self, address: str, channel: Channel) -> None:
        """A client connected."""

    def on_close(self, address: str, channel: Channel) -> None:
        """A client's connection ended: its memberships and waiting pulls end with it."""
        if self._state is None or self._server is None:
            return
        self._state.polling.cancel_all(channel)
        if self._held is None:
            self._state.clients.channel_closed(channel)
        else:
            self._held.append(partial(self._state.clients.channel_closed, channel))


def _running_state(broker: Broker) -> BrokerState | None:
    return broker._state  # also while it stops: what it commits then is acknowledged, too


def wake_pulls(state: BrokerState, queue: QueueLog, messages: list[PendingMessage]) -> None:
    """Let the pulls and pops go on that waited for these messages."""
    codes, properties = [message.tags_code for message in messages], [message.properties for message in messages]
    state.polling.arrived(queue.topic, queue.queue_id, codes, properties)
    state.pops.arrived(queue.topic, queue.queue_id, codes, properties)
    state.pop_watchers.arrived(queue.topic, queue.queue_id, codes, properties)
