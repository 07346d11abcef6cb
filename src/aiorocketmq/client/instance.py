"""The client instance: what all producers, consumers and admin clients of one client id share (Java: `MQClientInstance`).

It owns the remoting client, the tables of registered clients, routes and brokers, and the services that keep them alive. It starts them in
a fixed order, runs the scheduled tasks, and leaves no task, socket or thread behind when it stops. Features K1-K18.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiorocketmq.client.broker_api import BrokerApi
from aiorocketmq.client.discovery import NameServerSource, source_of
from aiorocketmq.client.heartbeat import HeartbeatService
from aiorocketmq.client.hooks import StreamRequestHook
from aiorocketmq.client.inner_producer import InnerProducer
from aiorocketmq.client.namesrv_api import NameServerApi
from aiorocketmq.client.ports import AdminPort, ConsumerPort, ProducerPort
from aiorocketmq.client.processor import ClientProcessor
from aiorocketmq.client.pull import PullService
from aiorocketmq.client.rebalance import RebalanceService
from aiorocketmq.client.registry import ClientRegistry
from aiorocketmq.client.replies import ReplyTable
from aiorocketmq.client.route import RouteService
from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.client.stats import ConsumerStatsManager
from aiorocketmq.config import ClientConfig, NameServers, parse_name_servers
from aiorocketmq.core.clock import WallClock, epoch_ms
from aiorocketmq.core.route_table import FoundBroker, choose_address
from aiorocketmq.errors import (
    BrokerError,
    BrokerNotFoundError,
    ClientClosedError,
    ClientStateError,
    ConfigError,
    ForkedClientError,
    NoNameServerError,
    RemotingError,
    RocketMQError,
    TopicNotFoundError,
)
from aiorocketmq.model.checks import duration
from aiorocketmq.model.enums import ServiceState
from aiorocketmq.model.names import AUTO_CREATE_TOPIC_KEY
from aiorocketmq.model.parsing import format_address, parse_address
from aiorocketmq.model.route import MASTER_ID
from aiorocketmq.protocol.bodies_client import HeartbeatData
from aiorocketmq.remoting.client import RemotingClient

if TYPE_CHECKING:
    from aiorocketmq.client.health import InstanceHealth, PingResult

FIRST_NAME_SERVER_FETCH: Final = 10.0
FIRST_ROUTE_REFRESH: Final = 0.010
FIRST_HEARTBEAT: Final = 1.0
FIRST_OFFSET_PERSIST: Final = 10.0
NAME_SERVER_RETRY: Final = 0.5
"""Seconds between two looks for a name server that answers, where a start waits for one."""
VIP_PORT_DISTANCE: Final = 2

P = TypeVar("P", bound=AdminPort)  # every port has a group, and an admin client's has nothing else

logger = logging.getLogger("aiorocketmq.client")


class ClientInstance:
    """One runtime per client id. Made by `client.manager.acquire()`; belongs to the event loop that it was made in.

    Args:
        config: Settings of everything it owns.
        client_id: Its name towards brokers.
        index: Number of the instance in this process.
        remoting: Another remoting client than the default one; tests give one on an in-memory transport.
        address_service: Another source of name servers when none is configured.
        wall_clock: Tells the time of day.

    Attributes:
        state: CREATE_JUST, RUNNING, SHUTDOWN_ALREADY or START_FAILED.
        config: The settings.
        client_id: The client id.
        index: Number of the instance in this process.
        boot_timestamp: When it was made, milliseconds since the epoch.
        clients: The tables of registered producers, consumers and admin clients.
        scheduler: Makes every task.
        remoting: The connections.
        name_server_api: Requests to name servers.
        broker_api: Requests to brokers.
        routes: Routes and broker addresses.
        heartbeat: Tells brokers who lives here.
        pull: Starts pulls again, notices stalled queues.
        rebalance: Shares queues out.
        stats: Consume rates.
        inner_producer: Sends messages back for consumers, and replies to requests.
        replies: Requests that wait for replies.
    """

    def __init__(
        self,
        config: ClientConfig,
        client_id: str,
        *,
        index: int = 0,
        remoting: RemotingClient | None = None,
        address_service: NameServerSource | None = None,
        wall_clock: WallClock = time.time,
    ) -> None:
        self.config = config
        self.client_id = client_id
        self.index = index
        self.boot_timestamp = epoch_ms(wall_clock)
        self.state = ServiceState.CREATE_JUST
        self.clients = ClientRegistry(client_id)
        self.scheduler = Scheduler(f"client instance {client_id}")
        self.remoting = remoting or RemotingClient(config)
        self.name_server_api = NameServerApi(self.remoting, config)
        self.broker_api = BrokerApi(self.remoting, config)
        self.routes = RouteService(
            self.name_server_api, self.scheduler, topics_in_use=self.clients.topics, on_changed=self.clients.route_changed
        )
        self.heartbeat = HeartbeatService(
            self.broker_api,
            self.remoting,
            self.routes.broker_addrs,
            self.scheduler,
            config,
            client_id,
            producers=self.clients.producers.values,
            consumers=self.clients.consumers.values,
            expects=lambda: bool(self.clients.checks or self.replies.waiting),
        )
        self.pull = PullService(self.scheduler)
        self.rebalance = RebalanceService(
            self.scheduler,
            self.clients.consumers.values,
            interval=config.rebalance_interval,
            min_interval=config.rebalance_min_interval,
        )
        self.stats = ConsumerStatsManager(self.scheduler, asyncio.get_running_loop().time)
        self.inner_producer = InnerProducer(self.broker_api, self.routes, unit_mode=config.unit_mode, wall_clock=wall_clock)
        self.replies = ReplyTable(config.max_decompressed_length)
        self._address_service = address_service
        self._processor = ClientProcessor(
            self.remoting,
            self.rebalance,
            self.clients.consumers.get,
            self.replies,
            self.clients.checks.get,
            config,
        )
        self._log = StateLog(logger)
        self._pid = os.getpid()
        self._starting: asyncio.Task[None] | None = None
        self._stopping: asyncio.Future[None] | None = None
        self._patient_until = 0.0
        self._failure = ""

    def __repr__(self) -> str:
        return f"<ClientInstance {self.index} {self.client_id} {self.state.value}>"

    # --- life ---------------------------------------------------------------------------------------------------------------------

    async def start(self, patience: float | None = None) -> None:
        """Start it; does nothing while it runs, and callers at the same time share one start.

        Args:
            patience: Seconds to wait until a name server answers; None needs none that lives.

        Raises:
            NoNameServerError: No name server is configured and the address service gave none; or none answered within `patience`.
            ConfigError: The TLS settings, or the file of the credentials, cannot be used.
            CredentialsError: The provider of the credentials failed.
            ClientStateError: It was created before and failed.
            ClientClosedError: It was stopped.
            ForkedClientError: It was made in another process.

        Cancelling it leaves the start going on for the other callers; call `stop()` to give it up.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + (patience or 0.0)
        if self.state is not ServiceState.CREATE_JUST or os.getpid() != self._pid:
            self.check_running()
        else:
            self._patient_until = max(self._patient_until, until)
            if self._starting is None:
                self._starting = self.scheduler.spawn("start", self._start(), log_errors=False)
            try:
                await self.scheduler.join(self._starting)
            except ClientStateError:  # it was cancelled: by a stop, or by others
                if self.state is not ServiceState.CREATE_JUST:
                    self.check_running()
                raise
        if patience is not None:
            await self._wait_for_name_server(until, patience)

    async def _wait_for_name_server(self, until: float, patience: float) -> None:
        clock = asyncio.get_running_loop().time
        error: RocketMQError | None = None
        while (left := until - clock()) > 0:
            try:
                # Any answer will do, that it knows no such topic, or that it serves nobody, as well.
                await self.name_server_api.topic_route_body(AUTO_CREATE_TOPIC_KEY, timeout=min(left, self.config.mq_client_api_timeout))
            except (TopicNotFoundError, BrokerError):
                return
            except (NoNameServerError, RemotingError) as failure:
                error = failure
            else:
                return
            await asyncio.sleep(max(min(NAME_SERVER_RETRY, until - clock()), 0.0))
        why = f": {error.message}" if error is not None else ""
        text = f"no name server answered within {patience:g} s{why}"
        raise NoNameServerError(text, hint="check the address, and that the name server runs", cause=error)

    async def stop(self) -> None:
        """Unregister what is still registered, stop every service, close every connection. Idempotent; callers share one stop."""
        if os.getpid() != self._pid:
            # The sockets and tasks belong to the parent process; this copy only forgets them.
            self.state = ServiceState.SHUTDOWN_ALREADY
            return
        if self._stopping is None:
            if self.state in (ServiceState.SHUTDOWN_ALREADY, ServiceState.START_FAILED):
                return
            self._stopping = self.scheduler.finish("stop", self._stop)
        await asyncio.shield(self._stopping)

    def check_running(self) -> None:
        """Say in one error why it cannot be used now; returns when it can.

        Raises:
            ForkedClientError: It was made in another process.
            ClientStateError: It failed to start, or was not started yet.
            ClientClosedError: It was stopped.
        """
        if os.getpid() != self._pid:
            raise ForkedClientError(f"client instance {self.client_id} was made in process {self._pid}, this is process {os.getpid()}")
        if self.state is ServiceState.START_FAILED:
            raise ClientStateError(
                f"client instance {self.client_id} was created before, and failed to start: {self._failure}",
                hint="make a new client when the cause is gone",
            )
        if self.state is ServiceState.SHUTDOWN_ALREADY:
            raise ClientClosedError(f"client instance {self.client_id} was stopped")
        if self.state is ServiceState.CREATE_JUST:
            raise ClientStateError(f"client instance {self.client_id} was not started yet", hint="start the client first")

    async def _start(self) -> None:
        try:
            if not self.remoting.name_servers:
                self._address_service = self._address_service or source_of(self.config)
                self.remoting.update_name_servers(await self._fetch_first(self._address_service))
            else:
                self._address_service = None
            if self.config.enable_stream_request_type:
                self.remoting.add_hook(StreamRequestHook())
            self._processor.register()
            self.remoting.add_channel_listener(self.heartbeat)
            await self.remoting.start()
            self._schedule()
            self.pull.start()
            self.rebalance.start()
            self.stats.start()
            self.clients.add_producer(self.inner_producer)
        except Exception as error:
            self.state = ServiceState.START_FAILED
            self._failure = f"{type(error).__name__}: {error}"
            logger.error("client instance %s failed to start: %s", self.client_id, self._failure)
            await self._close_services()
            raise
        self.state = ServiceState.RUNNING
        logger.info("client instance %s started, name servers %s", self.client_id, ";".join(self.remoting.name_servers))

    async def _fetch_first(self, service: NameServerSource) -> tuple[str, ...]:
        while True:
            try:
                return await service.fetch()
            except NoNameServerError:
                if asyncio.get_running_loop().time() + NAME_SERVER_RETRY >= self._patient_until:
                    raise
            await asyncio.sleep(NAME_SERVER_RETRY)

    def _schedule(self) -> None:
        config, every = self.config, self.scheduler.every
        if self._address_service is not None:
            interval = config.fetch_name_server_interval
            first = FIRST_NAME_SERVER_FETCH if config.name_server_resolver is None else min(FIRST_NAME_SERVER_FETCH, interval)
            every("fetch name servers", interval, self._fetch_name_servers, first=first)
        every("refresh routes", config.poll_name_server_interval, self.routes.update_all, first=FIRST_ROUTE_REFRESH)
        every("clean brokers and heartbeat", config.heartbeat_broker_interval, self._clean_and_beat, first=FIRST_HEARTBEAT)
        every("persist offsets", config.persist_consumer_offset_interval, self._persist_offsets, first=FIRST_OFFSET_PERSIST)
        every("adjust workers", config.adjust_thread_pool_interval, self._adjust_workers)
        every("look for lost name servers", config.poll_name_server_interval, self.remoting.look_for_name_servers)

    async def _stop(self) -> None:
        was_running = self.state is ServiceState.RUNNING
        self.state = ServiceState.SHUTDOWN_ALREADY
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()  # before anything else: it must not go on behind the stop
            await asyncio.wait([self._starting])
        if was_running:
            producers, consumers = list(self.clients.producers), list(self.clients.consumers)
            self.clients.clear()
            await self.heartbeat.unregister(producer_groups=producers, consumer_groups=consumers)
        await self._close_services()
        logger.info("client instance %s stopped", self.client_id)

    def abandon(self) -> None:
        """Close the connections of an instance whose event loop was closed before it was stopped."""
        self.state = ServiceState.SHUTDOWN_ALREADY
        self.clients.clear()
        self.scheduler.abandon()
        self.remoting.drop()

    async def _close_services(self) -> None:
        await self.rebalance.stop()
        await self.pull.stop()
        await self.scheduler.stop()
        await self.remoting.close()

    # --- the registered clients ---------------------------------------------------------------------------------------------------

    async def register_producer(self, producer: ProducerPort) -> None:
        """Take a producer in; it is told what is already known of its topics.

        Raises:
            GroupAlreadyRegisteredError: Its group has a producer here.
        """
        self._check_usable()
        self.clients.add_producer(producer)
        for topic in tuple(producer.publish_topics()):
            entry = self.routes.entry(topic)
            if entry is not None:
                producer.on_route_changed(topic, entry.publish)

    async def register_consumer(self, consumer: ConsumerPort) -> None:
        """Take a consumer in; it is told what is already known of its topics.

        Raises:
            GroupAlreadyRegisteredError: Its group has a consumer here.
        """
        self._check_usable()
        self.clients.add_consumer(consumer)
        for topic in [subscription.topic for subscription in consumer.subscriptions()]:
            entry = self.routes.entry(topic)
            if entry is not None:
                consumer.on_route_changed(topic, entry.subscribe)

    async def register_admin(self, admin: AdminPort) -> None:
        """Take an admin client in.

        Raises:
            GroupAlreadyRegisteredError: Its group has an admin client here.
        """
        self._check_usable()
        self.clients.add_admin(admin)

    async def unregister_producer(self, producer: ProducerPort) -> None:
        """Let a producer go and tell the connected brokers; at most about 1 s. Does nothing unless it is registered."""
        if self.clients.remove_producer(producer.group, producer):
            await self._say_goodbye(producer_groups=(producer.group,))

    async def unregister_consumer(self, consumer: ConsumerPort) -> None:
        """Let a consumer go and tell the connected brokers; at most about 1 s. Does nothing unless it is registered."""
        if _remove(self.clients.consumers, consumer):
            self.stats.forget(consumer.group)
            await self._say_goodbye(consumer_groups=(consumer.group,))

    async def unregister_admin(self, admin: AdminPort) -> None:
        """Let an admin client go. Does nothing unless it is registered."""
        _remove(self.clients.admins, admin)

    async def _say_goodbye(self, *, producer_groups: tuple[str, ...] = (), consumer_groups: tuple[str, ...] = ()) -> None:
        if self.state is ServiceState.RUNNING and os.getpid() == self._pid:
            await self.heartbeat.unregister(producer_groups=producer_groups, consumer_groups=consumer_groups)

    def _check_usable(self) -> None:
        if self.state is not ServiceState.CREATE_JUST or os.getpid() != self._pid:
            self.check_running()

    # --- addresses (K14, K15) -----------------------------------------------------------------------------------------------------

    def find_broker_address_in_publish(self, broker_name: str) -> str | None:
        """Address to send to: the master's (its second port with `vip_channel_enabled`), or None. Hot: no waiting."""
        address = self.routes.broker_addrs.master(broker_name)
        return vip_address(address) if address is not None and self.config.vip_channel_enabled else address

    def find_broker_address_in_subscribe(self, broker_name: str, broker_id: int, only_this: bool = False) -> FoundBroker | None:
        """Address to read from: the wanted id, else the next slave, else any; None when the broker is not known.

        Args:
            broker_name: Name of the broker.
            broker_id: The id wanted, 0 for the master.
            only_this: Take no other broker in its place.
        """
        return self.routes.broker_addrs.for_reading(broker_name, broker_id, only_this=only_this)

    def find_broker_address_in_admin(self, broker_name: str) -> FoundBroker | None:
        """Any address of a broker, or None when it is not known."""
        return self.routes.broker_addrs.any(broker_name)

    def find_broker_addr_by_topic(self, topic: str) -> str | None:
        """Some broker of a topic, a master when it has one; None when the topic has no known route."""
        route = self.routes.route(topic)
        return choose_address(route) if route is not None else None

    # --- name servers -------------------------------------------------------------------------------------------------------------

    def update_name_servers(self, name_servers: NameServers) -> bool:
        """Use another list of name servers from now on, and refresh the routes at once (L8).

        Args:
            name_servers: `a:9876;b:9876` or a list; not empty.

        Returns:
            True when the list is another one than before.

        Raises:
            ConfigError: An entry is no address, or there is none.
        """
        servers = parse_name_servers(name_servers)
        if not servers:
            raise ConfigError("the new list of name servers is empty", hint="give at least one host:port")
        changed = self.remoting.update_name_servers(servers)
        if changed and self.state is ServiceState.RUNNING:
            self.scheduler.spawn("refresh routes at once", self.routes.update_all())
        return changed

    # --- scheduled tasks ----------------------------------------------------------------------------------------------------------

    async def _fetch_name_servers(self) -> None:
        servers = await self._address_service.fetch_or_none() if self._address_service is not None else None
        if servers:
            self.update_name_servers(servers)

    async def _clean_and_beat(self) -> None:
        self.routes.drop_offline_brokers()
        await self.heartbeat.send_all()

    async def _persist_offsets(self) -> None:
        await self._each_consumer("saving offsets", lambda consumer: consumer.persist_offsets())

    async def _adjust_workers(self) -> None:
        async def adjust(consumer: ConsumerPort) -> None:
            consumer.adjust_workers()

        await self._each_consumer("adjusting workers", adjust)

    async def _each_consumer(self, what: str, work: Callable[[ConsumerPort], Coroutine[Any, Any, None]]) -> None:
        """All consumers at the same time, so that one with a silent broker delays no other."""
        outcomes = await self.scheduler.gather(what, {group: work(each) for group, each in self.clients.consumers.items()})
        for group, outcome in outcomes.items():
            key = f"{what} {group}"
            if isinstance(outcome, Exception):
                self._log.failed(key, "%s of consumer group %s failed: %s", what, group, outcome, exc_info=outcome)
            else:
                self._log.worked(key, "%s of consumer group %s works again", what, group)

    # --- inspection ---------------------------------------------------------------------------------------------------------------

    async def ping(self, timeout: float | timedelta | None = None) -> PingResult:
        """Ask the name servers and every master that is known here or there for a sign of life.

        Args:
            timeout: Seconds for each answer; None takes `mq_client_api_timeout`.

        Raises:
            RocketMQError: No broker has answered: the name servers' failure, else that of a broker; or no broker is known.
            ClientStateError: The instance does not run.
        """
        self.check_running()
        limit = self.config.mq_client_api_timeout if timeout is None else duration("timeout", timeout)
        masters = {name: address for name, broker_id, address in self.routes.broker_addrs.addresses() if broker_id == MASTER_ID}
        failure = None
        try:
            table = (await self.name_server_api.cluster_info(timeout=limit)).broker_addr_table
            masters |= {name: data.broker_addrs[MASTER_ID] for name, data in table.items() if MASTER_ID in data.broker_addrs}
        except RocketMQError as error:
            failure = error
        probes = {name: self.probe(address, limit) for name, address in sorted(masters.items())}
        return _ping_result(failure, await self.scheduler.gather("ping", probes))

    async def probe(self, address: str, timeout: float) -> float:
        """Ask one broker for a sign of life; gives back the seconds that it took.

        Raises:
            RocketMQError: It has not answered.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            # A heartbeat that names no group registers nobody, and every broker answers it whatever the permissions.
            await self.broker_api.heartbeat(address, HeartbeatData(client_id=self.client_id), timeout=timeout)
        except RocketMQError as error:
            self.heartbeat.note(address, error)
            raise
        self.heartbeat.note(address, None)
        return clock() - began

    def health(self) -> InstanceHealth:
        """What the instance is doing; the counters in it go on counting."""
        from aiorocketmq.client.health import InstanceHealth  # for those who ask

        return InstanceHealth(
            state=self.state,
            client_id=self.client_id,
            boot_timestamp=self.boot_timestamp,
            name_servers=self.remoting.name_servers,
            topics=self.routes.topics(),
            brokers=tuple(sorted({address for _, _, address in self.routes.broker_addrs.addresses()})),
            producers=tuple(self.clients.producers),
            consumers=tuple(self.clients.consumers),
            heartbeats=self.heartbeat.counters,
            routes=self.routes.counters,
            route_locks_given_up=self.routes.lock.given_up,
            heartbeat_locks_given_up=self.heartbeat.lock.given_up,
            rebalances=self.rebalance.rounds,
            tasks=tuple(self.scheduler.records.values()),
        )


def _ping_result(failure: RocketMQError | None, outcomes: Mapping[str, float | Exception]) -> PingResult:
    """What the name servers and the brokers have made of a ping; see `ClientInstance.ping`."""
    from aiorocketmq.client.health import NAME_SERVER, PingResult  # for those who ask

    errors = {} if failure is None else {NAME_SERVER: failure}
    answers: dict[str, float] = {}
    for name, outcome in outcomes.items():
        if isinstance(outcome, RocketMQError):
            errors[name] = outcome
        elif isinstance(outcome, Exception):
            raise outcome
        else:
            answers[name] = outcome
    if not answers:
        raise next(iter(errors.values()), None) or BrokerNotFoundError("no broker has a master now", hint="check that the brokers run")
    return PingResult(answers, errors)


def _remove(table: dict[str, P], client: P) -> bool:
    """Take a client out of its table; False when the group is another one's: that one stays."""
    if table.get(client.group) is not client:
        return False
    del table[client.group]
    return True


def vip_address(address: str) -> str:
    """The second port of a broker: port - 2 (Q62)."""
    host, port = parse_address(address, "broker address")
    return format_address(host, port - VIP_PORT_DISTANCE)
