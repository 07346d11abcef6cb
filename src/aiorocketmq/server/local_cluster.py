"""A whole cluster in one process: a name server and brokers, for development and tests.

    async with LocalCluster() as cluster:
        async with Producer(cluster.name_servers) as producer: ...

It is no replacement of Apache RocketMQ: it all ends with one process. What it answers is what a real cluster answers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self, Unpack, cast

from aiorocketmq.config import ServerTLS
from aiorocketmq.errors import ClientStateError, ConfigError, RocketMQError
from aiorocketmq.model.checks import duration, flag, whole
from aiorocketmq.model.enums import Permission
from aiorocketmq.model.parsing import format_address, parse_address
from aiorocketmq.protocol.bodies import TopicConfig
from aiorocketmq.server.access import AccessRules, AclSource
from aiorocketmq.server.broker.broker import Broker
from aiorocketmq.server.broker.config import BrokerConfig, BrokerSettings, check_text, refuse_unknown
from aiorocketmq.server.lifecycle import to_its_end
from aiorocketmq.server.namesrv.name_server import NameServer
from aiorocketmq.server.store.folder import FolderLock
from aiorocketmq.server.store.store import Flush
from aiorocketmq.server.wall_clock import WallClock

logger = logging.getLogger("aiorocketmq.server")

_MAX_PERM: Final = int(Permission.READ | Permission.WRITE | Permission.INHERIT)


class LocalCluster:
    """A name server and brokers, masters and their slaves, in this process.

    Args:
        host: IP address or name to listen on. Anything but the loopback opens the cluster to the network, without any protection.
        port: Port of the name server; 0 takes a free one.
        brokers: How many masters; they are called `broker-a`, `broker-b`, ...
        slaves: How many slaves each of them has, 0 to 9. A slave has its master's name and a broker id from 1 on. It holds what its
            master has acknowledged, serves reads, also while its master is away, and refuses what is to be written.
        broker_port: Port of the first broker, the other masters take every tenth one after it, slaves those between; 0 takes free ones.
        data_dir: Folder for one database per broker; None keeps everything in memory.
        flush: With `data_dir`: `"async"`, what is acknowledged survives the end of the process; `"sync"`, also a power loss.
        auto_create_topics: Unknown topics are created when a producer sends to them.
        cluster_name: Name of the cluster.
        advertised_host: IP address under which clients reach the brokers; None takes `host`.
        clock: Tells brokers the time, in seconds since the epoch; None takes the computer's. `advance()` moves it ahead.
        acl: Access control of the brokers: path of a file with users and policies, or what such a file holds (docs/security.md); None lets
            everybody do everything.
        tls: Accept TLS connections alone, with this certificate; None accepts plain ones.
        broker_settings: Further fields of `server.broker.config.BrokerConfig`, for example `retention_age` or `lock_expiry`.

    Raises:
        ConfigError: An argument is unknown or cannot work.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        brokers: int = 1,
        slaves: int = 0,
        broker_port: int = 0,
        data_dir: str | Path | None = None,
        flush: Flush = "async",
        auto_create_topics: bool = True,
        cluster_name: str = "DefaultCluster",
        advertised_host: str | None = None,
        clock: Callable[[], float] | None = None,
        acl: AclSource | None = None,
        tls: ServerTLS | None = None,
        **broker_settings: Unpack[BrokerSettings],
    ) -> None:
        refuse_unknown(broker_settings)
        whole("brokers", brokers, 1, 26)
        whole("slaves", slaves, 0, 9)
        whole("port", port, 0, 65535)
        whole("broker_port", broker_port, 0, 65535)
        check_text("host", host)
        if advertised_host is not None:
            check_text("advertised_host", advertised_host)
        check_text("cluster_name", cluster_name)
        if data_dir is not None and (not isinstance(data_dir, str | os.PathLike) or not (name := os.fspath(data_dir)) or "\0" in name):
            raise ConfigError(f"data_dir {data_dir!r} is no path", hint="give the path of a folder as a string, or None for memory")
        rules = AccessRules.load(acl) if acl is not None else None
        if tls is not None and not isinstance(tls, ServerTLS):
            raise ConfigError(f"tls is a {type(tls).__name__}", hint="give ServerTLS(cert_file, key_file)")
        self._contexts = tls.make_contexts() if tls is not None else None
        self._host = host
        self._port = port
        self._advertised_host = advertised_host
        # Absolute, so that a broker that is started again finds its file when the program has gone to another folder meanwhile.
        self._folder = Path(data_dir).absolute() if data_dir is not None else None
        self._folder_lock = FolderLock(self._folder) if self._folder is not None else None
        self._clock = WallClock(clock)
        self._name_server: NameServer | None = None
        self._configs = [
            BrokerConfig(
                name=f"broker-{chr(ord('a') + index)}",
                cluster=cluster_name,
                broker_id=broker_id,
                port=broker_port + 10 * index + broker_id if broker_port else 0,
                path=self._folder / _file_name(index, broker_id) if self._folder is not None else None,
                flush=flush,
                auto_create_topics=auto_create_topics,
                acl=rules,
                tls=self._contexts,
                **cast("Any", broker_settings),
            )
            for broker_id in range(slaves + 1)
            for index in range(brokers)
        ]
        self._brokers: list[Broker] = []
        self._life = asyncio.Lock()  # one start or end at a time
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def name_servers(self) -> str:
        """What clients take as their name servers, for example `127.0.0.1:45123`."""
        if self._name_server is None:
            raise ConfigError("the cluster was not started, so it has no address", hint="use `async with LocalCluster() as cluster`")
        host = self._advertised_host
        address = self._name_server.address
        return address if host is None else format_address(host, parse_address(address, "name server").port)

    @property
    def brokers(self) -> tuple[Broker, ...]:
        """The brokers, with `name`, `broker_id` and `address`; all masters, then the slaves."""
        return tuple(self._brokers)

    @property
    def name_server(self) -> NameServer:
        """The name server; only after `start()`."""
        if self._name_server is None:
            raise ConfigError("the cluster was not started, so it has no name server", hint="use `async with LocalCluster() as cluster`")
        return self._name_server

    def broker(self, name: str, broker_id: int = 0) -> Broker:
        """The broker of this name: the master, or with another id than 0 one of its slaves.

        Raises:
            ConfigError: There is none, or the cluster was not started.
        """
        if self._name_server is None:
            raise ConfigError("the cluster was not started, so it has no brokers", hint="use `async with LocalCluster() as cluster`")
        for broker in self._brokers:
            if broker.name == name and broker.broker_id == broker_id:
                return broker
        raise ConfigError(
            f"the cluster has no broker {name!r} with id {broker_id}",
            hint=f"its brokers are {', '.join(f'{broker.name}:{broker.broker_id}' for broker in self._brokers)}",
        )

    async def start(self) -> None:
        """Start everything; when this returns, clients can work. Does nothing while running.

        Cancelling it, or an error, leaves nothing running.

        Raises:
            OSError: A port is taken.
            ConfigError: A store cannot be opened, the host has no address, or the clock tells no time.
            ClientStateError: It was started on another event loop.
        """
        self._check_loop()
        async with self._life:
            if self._name_server is not None:
                return
            self._clock.check()
            self._loop = asyncio.get_running_loop()
            listen = await _resolve(self._host)
            if self._advertised_host is None and ipaddress.ip_address(listen).is_unspecified:
                self._advertised_host = _outward_address(ipaddress.ip_address(listen).version)
            advertised = await _resolve(self._advertised_host) if self._advertised_host is not None else listen
            if ipaddress.ip_address(advertised).is_unspecified:
                raise ConfigError(
                    f"advertised_host {self._advertised_host!r} is no address that clients can dial",
                    hint="give an address of this machine, or leave it out",
                )
            try:
                await to_its_end(self._start(listen, advertised))
            except BaseException:
                await to_its_end(self._stop())
                raise

    async def _start(self, listen: str, advertised: str) -> None:
        if self._folder_lock is not None:
            self._folder_lock.take()
        path = self._folder / "namesrv.db" if self._folder is not None else None
        context = self._contexts[0] if self._contexts is not None else None
        name_server = self._name_server = NameServer(listen, self._port, path, ssl_context=context)
        await name_server.start()
        self._port = parse_address(name_server.address, "name server").port
        # Not the advertised address: from here that may lead nowhere, as out of a container.
        dialled = format_address(_local_address(listen), self._port)
        for config in self._configs:
            config.host = listen
            config.name_servers = (dialled,)
            master = self.broker(config.name) if config.broker_id else None
            broker = Broker(config, advertised_host=advertised, now_ms=self._clock.now_ms, master=master)
            self._brokers.append(broker)
        for broker in self._brokers:  # masters first: they have what their slaves take over
            await broker.start()

    async def stop(self) -> None:
        """Stop everything in order; what was acknowledged is stored. Does nothing when stopped already.

        A cancellation waits until all this is done.

        Raises:
            ClientStateError: It was started on another event loop. Where that is closed already, nothing can be done in order any more: the
                sockets and files are closed, and the cluster counts as stopped.
        """
        self._check_loop()
        async with self._life:
            await to_its_end(self._stop())

    async def _stop(self) -> None:
        failure: Exception | None = None
        try:
            while self._brokers:
                try:
                    await self._brokers[0].stop()
                except (RocketMQError, OSError) as error:  # the others are stopped all the same
                    failure = failure or error
                self._brokers.pop(0).discard()
            if self._name_server is not None:
                await self._name_server.stop()
                self._name_server = None
        finally:
            if self._folder_lock is not None:
                self._folder_lock.release()
        if failure is not None:
            raise failure

    def _check_loop(self) -> None:
        """Refuse another event loop than the one of the start; returns on that one, and when stopped.

        Raises:
            ClientStateError: This is another one.
        """
        loop = self._loop
        if self._name_server is None or loop is None or loop is asyncio.get_running_loop():
            return
        hint = "stop a cluster on the event loop that it was started on, before that ends: `async with` does so"
        if not loop.is_closed():
            raise ClientStateError("the cluster belongs to another event loop", hint=hint)
        for broker in self._brokers:
            broker.drop()
            broker.discard()
        self._brokers.clear()
        self._name_server.drop()
        self._name_server = None
        if self._folder_lock is not None:
            self._folder_lock.release()
        self._life = asyncio.Lock()  # the old one may be bound to the old loop
        text = "the cluster was not stopped before its event loop was closed; its sockets and files are closed now"
        raise ClientStateError(text, hint=hint)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def kill_broker(self, name: str, broker_id: int = 0) -> None:
        """Let a broker die suddenly: its sockets are reset, and the name server notices the lost connection.

        Args:
            name: Name of the broker.
            broker_id: 0 for the master, more for one of its slaves.
        """
        self._check_loop()
        async with self._life:
            await self.broker(name, broker_id).kill()

    async def stop_broker(self, name: str, broker_id: int = 0) -> None:
        """Stop a broker in order, as for a restart: it says goodbye to the name server. Does nothing when it is stopped already.

        Args:
            name: Name of the broker.
            broker_id: 0 for the master, more for one of its slaves.
        """
        self._check_loop()
        async with self._life:
            await self.broker(name, broker_id).stop()

    async def start_broker(self, name: str, broker_id: int = 0) -> None:
        """Start a broker again, on its port, with its store; it is known to the name server when this returns.

        Args:
            name: Name of the broker.
            broker_id: 0 for the master, more for one of its slaves.
        """
        self._check_loop()
        async with self._life:
            await self.broker(name, broker_id).start()

    async def pause_broker(self, name: str, broker_id: int = 0) -> None:
        """Let a broker hang, as a process that got SIGSTOP: its connections stay, and nothing is read, stored or answered.

        Does nothing while it is paused already. Clients see time-outs, and the name server goes on naming the broker.

        Args:
            name: Name of the broker.
            broker_id: 0 for the master, more for one of its slaves.

        Raises:
            ConfigError: There is no such broker.
            ClientStateError: It does not run.
        """
        self._check_loop()
        self.broker(name, broker_id).pause()

    async def resume_broker(self, name: str, broker_id: int = 0) -> None:
        """End a pause: the broker handles and answers what came meanwhile. Does nothing when it is not paused.

        Raises:
            ConfigError: There is no such broker.
        """
        self._check_loop()
        self.broker(name, broker_id).proceed()

    async def advance(self, seconds: float | timedelta = 0.0) -> None:
        """Let time pass: what becomes due meanwhile, such as messages that were sent for later, is delivered now.

        Only what brokers do at times of the calendar follows this clock; time-outs of connections and clients do not.

        Args:
            seconds: By how much the clock of all brokers is moved ahead, for good. 0 looks at `clock` again after you have moved that.

        Raises:
            ConfigError: It is no duration, or leads beyond the year 9999.
            ClientStateError: The cluster was started on another event loop.
        """
        self._check_loop()
        self._clock.advance(duration("seconds", seconds, 0.0, self._clock.left))
        for broker in self._brokers:
            broker.look_at_clock()

    async def create_topic(
        self,
        topic: str,
        queues: int = 4,
        *,
        perm: int = 6,
        order: bool = False,
        brokers: Iterable[str] | None = None,
        exist_ok: bool = False,
    ) -> None:
        """Create a topic; the name server knows it when this returns.

        Args:
            topic: Topic name.
            queues: Read and write queues on each broker.
            perm: Permission bits: 2 write, 4 read.
            order: Marks the topic as one for ordered messages.
            brokers: Names of the masters to have it; None takes all that run.
            exist_ok: True leaves the topic as it is on brokers that have it already, and creates it on the others.

        Raises:
            InvalidNameError: The name is not legal.
            ConfigError: A value cannot be, the topic exists already, or the cluster was not started.
            ClientStateError: None of its brokers runs, or one that was named does not.
        """
        self._check_loop()
        check_text("topic", topic)
        whole("queues", queues, 1, 65535)
        whole("perm", perm, 0, _MAX_PERM)
        flag("order", order)
        chosen = self._chosen(brokers)
        if exist_ok:
            chosen = [broker for broker in chosen if broker.state.topics.latest(topic) is None]
        else:
            for broker in chosen:
                broker.topics.refuse_known(topic)  # on any of them before it is made on the first
        for broker in chosen:
            await broker.topics.create(
                TopicConfig(topic_name=topic, read_queue_nums=queues, write_queue_nums=queues, perm=int(perm), order=order)
            )

    async def update_topic(
        self,
        topic: str,
        *,
        queues: int | None = None,
        perm: int | None = None,
        order: bool | None = None,
        brokers: Iterable[str] | None = None,
    ) -> None:
        """Change what is given of a topic, and nothing else; the name server knows it when this returns.

        Args:
            topic: Topic name.
            queues: Read and write queues on each broker. Fewer than before hide the messages in the last ones, until there are more again.
            perm: Permission bits: 2 write, 4 read.
            order: Marks the topic as one for ordered messages.
            brokers: Names of masters that have it; None takes all that run and have it.

        Raises:
            ConfigError: A value cannot be, there is no such topic, it is the broker's own, or the cluster was not started.
            ClientStateError: None of its brokers runs, or one that was named does not.
        """
        self._check_loop()
        check_text("topic", topic)
        if queues is not None:
            whole("queues", queues, 1, 65535)
        if perm is not None:
            perm = whole("perm", perm, 0, _MAX_PERM)
        if order is not None:
            flag("order", order)
        chosen = self._chosen(brokers)
        if brokers is None:
            chosen = [broker for broker in chosen if topic in broker.state.topics] or chosen
        for broker in chosen:
            await broker.topics.update(topic, queues=queues, perm=perm, order=order)

    def _chosen(self, brokers: Iterable[str] | None) -> list[Broker]:
        if isinstance(brokers, str):
            raise ConfigError(f"brokers {brokers!r} is one name", hint=f"give a list of names: brokers=[{brokers!r}]")
        if self._name_server is None:
            raise ConfigError("the cluster was not started, so it has no topics", hint="use `async with LocalCluster() as cluster`")
        if brokers is None:
            chosen = [broker for broker in self._brokers if broker.running and not broker.broker_id]
            if not chosen:
                raise ClientStateError("none of the cluster's brokers runs", hint="start_broker() starts one again")
            return chosen
        chosen = [self.broker(name) for name in brokers]
        if not chosen:
            raise ConfigError("brokers names no broker", hint="name some, or leave it out for all that run")
        return chosen


async def run_server(*, ready: Callable[[LocalCluster], None] | None = None, **settings: Any) -> None:
    """Run a `LocalCluster` until SIGINT or SIGTERM, or until cancelled.

    Args:
        ready: Called once the cluster can be used.
        settings: Arguments of `LocalCluster`.

    Raises:
        OSError: A port is taken.
        ConfigError: An argument cannot work, or a store cannot be opened.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    handled: list[signal.Signals] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except (NotImplementedError, RuntimeError):  # not on Windows, and only on the main thread: Ctrl-C cancels instead
            logger.debug("signal %s is not handled by this loop", number.name)
        else:
            handled.append(number)
    try:
        async with LocalCluster(**settings) as cluster:
            if ready is not None:
                ready(cluster)
            await stop.wait()
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _file_name(index: int, broker_id: int) -> str:
    name = f"broker-{chr(ord('a') + index)}"
    return f"{name}-{broker_id}.db" if broker_id else f"{name}.db"


async def _resolve(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"host {host!r} has no address: {error}", hint="give an IP address, for example 127.0.0.1", cause=error) from None
    addresses = sorted((str(info[4][0]) for info in found), key=lambda address: ":" in address)
    return addresses[0]


def _local_address(listen: str) -> str:
    """The address at which this machine reaches what listens there."""
    address = ipaddress.ip_address(listen)
    if not address.is_unspecified:
        return listen
    return "127.0.0.1" if address.version == 4 else "::1"


def _outward_address(version: int) -> str:
    """The IPv4 or IPv6 address of this machine that others would see; the loopback when it has no such network. Sends nothing."""
    family, far, loopback = (socket.AF_INET, "192.0.2.1", "127.0.0.1") if version == 4 else (socket.AF_INET6, "2001:db8::1", "::1")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((far, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return loopback
