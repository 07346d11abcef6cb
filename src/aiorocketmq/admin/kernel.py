"""What all families of admin operations stand on: who is asked, how, and what the answers give together (Java: `DefaultMQAdminExtImpl`,
the part that its methods repeat)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiorocketmq.admin.operation import Operation, Where
from aiorocketmq.admin.partial import Partial
from aiorocketmq.admin.results.brokers import BrokerInfo
from aiorocketmq.client.calls import RemoteCalls
from aiorocketmq.client.route import no_broker_left
from aiorocketmq.core.route_table import endpoints_of, is_logical
from aiorocketmq.errors import (
    BrokerError,
    BrokerNotFoundError,
    ConfigError,
    NotSupportedByBrokerError,
    RemotingError,
    RocketMQError,
    TopicNotFoundError,
    UnsupportedRequestError,
    broker_not_found,
)
from aiorocketmq.model.names import LMQ_PREFIX
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import MASTER_ID, TopicRouteData
from aiorocketmq.protocol.header import Header

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.client.namesrv_api import NameServerApi
    from aiorocketmq.config import ClientConfig

_TOPICS_REMEMBERED: Final = 1000
A = TypeVar("A")
T = TypeVar("T")


class Kernel:
    """Carries out operations for one admin client.

    Args:
        config: The client's configuration.
        running: Gives the instance of a client that runs.

    Attributes:
        config: The client's configuration.
        names: Names of topics and groups in the form of the wire, and back.
    """

    def __init__(self, config: ClientConfig, running: Callable[[], ClientInstance]) -> None:
        self.config = config
        self.names = config.names
        self._running = running
        self._calls: RemoteCalls | None = None
        self._queue_addresses: dict[tuple[str, str], str] = {}
        self._brokers_of: dict[str, tuple[str, ...]] = {}  # topic → names of the brokers that had it last

    def forget(self) -> None:
        """The client has stopped."""
        self._calls = None

    @property
    def instance(self) -> ClientInstance:
        """The client instance.

        Raises:
            ClientStateError: The client does not run.
        """
        return self._running()

    @property
    def calls(self) -> RemoteCalls:
        """Single requests, for what is no operation."""
        instance = self.instance
        if self._calls is None:
            self._calls = RemoteCalls(instance.remoting, self.config)
        return self._calls

    @property
    def name_server(self) -> NameServerApi:
        """What every client asks a name server."""
        return self.instance.name_server_api

    # -- carrying out ----------------------------------------------------------------------------------------------------------------

    async def ask(
        self,
        operation: Operation[A],
        header: Header | Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        about: str = "",
        topic: str = "",
        cluster: str | None = None,
        broker: str | None = None,
        targets: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Partial[A]:
        """Carry out an operation on all servers that it is for, at once.

        Args:
            operation: What to do.
            header: Its fields, with the names that users know.
            body: Its body; the names in it are in the form of the wire.
            about: The name that it is about, for errors; `topic` where that is given.
            topic: The topic that it is about.
            cluster, broker: These alone, where it is for masters.
            targets: Name → address of those that are asked, where the caller knows them.
            timeout: Seconds for each request; None takes `mq_client_api_timeout`.

        Raises:
            RocketMQError: It is not known who is to be asked, or all have failed: the first error, by name.
        """
        if targets is None:
            targets = await self._targets(operation.where, topic, cluster, broker)

        async def ask(name: str, address: str) -> A:
            return await self.ask_one(operation, name, address, header, body, topic=topic, timeout=timeout)

        return await self.gather(f"{operation.name} {about or topic}".rstrip(), targets, ask, absent=operation.absent)

    async def gather(
        self,
        what: str,
        targets: Mapping[str, str],
        ask: Callable[[str, str], Coroutine[Any, Any, A]],
        *,
        absent: tuple[type[RocketMQError], ...] = (),
    ) -> Partial[A]:
        """Ask several servers at once, by whatever each of them has to be asked.

        Args:
            what: What is done, for the names of the tasks and for errors.
            targets: Name → address.
            ask: Called with both.
            absent: Errors that count as no answer.

        Raises:
            RocketMQError: All have failed: the first error, by name.
        """
        works = {name: ask(name, address) for name, address in sorted(targets.items())}
        outcomes = await self.instance.scheduler.gather(what, works)
        failed = {name: each for name, each in outcomes.items() if isinstance(each, Exception)}
        errors = {name: each for name, each in failed.items() if not isinstance(each, absent)}
        if errors and len(errors) == len(outcomes):
            raise next(iter(errors.values()))
        return Partial(what, {name: each for name, each in outcomes.items() if not isinstance(each, Exception)}, errors)

    async def ask_one(
        self,
        operation: Operation[A],
        name: str,
        address: str | None,
        header: Header | Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        topic: str = "",
        timeout: float | None = None,
    ) -> A:
        """Carry out an operation on one server; arguments as of `ask()`.

        Raises:
            NotSupportedByBrokerError: The server is too old for it, or not set up.
            RocketMQError: It did not answer, or answered with an error.
        """
        try:
            response = await self.calls.call(
                address, operation.code, header, body, timeout=timeout, topic=topic, broker=name, accept=operation.accept
            )
        except BrokerError as error:
            better = operation.explain(error, name) if operation.explain is not None else None
            if better is not None:
                raise better from None
            if isinstance(error, UnsupportedRequestError):
                raise NotSupportedByBrokerError(
                    f"{name or address or 'the name server'} cannot do this ({operation.name}): it does not know request {operation.code}",
                    feature=operation.name,
                    broker=name,
                    hint="that needs a newer server, or one of another kind",
                    cause=error,
                ) from None
            raise
        return operation.read(response)

    async def ask_name_server(self, operation: Operation[A], header: Header | Mapping[str, str] | None = None, body: bytes = b"") -> A:
        """Carry out an operation on one name server, whichever answers.

        Raises:
            RocketMQError: None answered, or one answered with an error.
        """
        return await self.ask_one(operation, "", None, header, body)

    async def on_queue(self, queue: MessageQueue, ask: Callable[[str], Awaitable[T]]) -> T:
        """Ask the broker that holds a queue; `ask` gets its address.

        Raises:
            ConfigError: It is no queue.
            RocketMQError: The broker is unknown, did not answer, or answered with an error.
        """
        check_queue(queue)
        try:
            return await ask(await self._address_of(queue))
        except RemotingError:
            self._queue_addresses.pop((queue.topic, queue.broker_name), None)  # it may have moved: look it up again next time
            raise

    # -- who is asked ----------------------------------------------------------------------------------------------------------------

    async def _targets(self, where: Where, topic: str, cluster: str | None, broker: str | None) -> dict[str, str]:
        if where is Where.HOLDERS:
            return await self.holders(topic)
        if where is Where.NAME_SERVERS:
            return {address: address for address in self.instance.remoting.name_servers}
        return await self.masters(cluster, broker)

    async def brokers(self) -> tuple[BrokerInfo, ...]:
        """All brokers that the name server knows, by cluster and name.

        Raises:
            RocketMQError: The name server did not answer, or answered with an error.
        """
        info = await self.name_server.cluster_info()
        clusters = {name: cluster for cluster, names in info.cluster_addr_table.items() for name in names}
        brokers = [
            BrokerInfo(clusters.get(name, data.cluster), name, dict(sorted(data.broker_addrs.items())))
            for name, data in info.broker_addr_table.items()
        ]
        return tuple(sorted(brokers, key=lambda broker: (broker.cluster, broker.name)))

    async def masters(self, cluster: str | None = None, broker: str | None = None) -> dict[str, str]:
        """Broker name → address of the masters of a cluster, of all clusters, or of the one broker.

        Raises:
            ConfigError: There is no such cluster, or the broker is none of it.
            BrokerNotFoundError: There is no such broker, or no master is up.
        """
        for name, value in (("cluster", cluster), ("broker", broker)):
            if value is not None and (not isinstance(value, str) or not value):
                raise ConfigError(f"{name} {value!r} is no name", hint=f"give the {name}'s name, or leave it out")
        if broker is not None and ":" in broker and cluster is None:
            return {broker: broker}
        brokers = await self.brokers()
        if cluster is not None:
            known = sorted({info.cluster for info in brokers})
            brokers = tuple(info for info in brokers if info.cluster == cluster)
            if not brokers:
                raise ConfigError(f"cluster {cluster!r} is unknown", hint=f"the name server knows {', '.join(known) or 'no cluster'}")
        if broker is not None:
            chosen = tuple(info for info in brokers if info.name == broker or broker in info.addresses.values())
            if cluster is not None and not chosen:
                members = ", ".join(info.name for info in brokers)
                raise ConfigError(f"broker {broker!r} is not in cluster {cluster!r}", hint=f"leave cluster out, or name one of {members}")
            if ":" in broker:
                return {broker: broker}
            brokers = chosen
        masters = {info.name: info.master for info in brokers if info.master is not None}
        if not masters:
            if broker is not None:
                raise broker_not_found(broker, master=True)
            raise BrokerNotFoundError("no broker has a master address at the name server", hint="check that the brokers run")
        return masters

    async def only_cluster(self, cluster: str | None, broker: str | None) -> str | None:
        """The cluster that is meant where none is named: the only one there is.

        Raises:
            ConfigError: There are several.
        """
        if cluster is not None or broker is not None:
            return cluster
        clusters = sorted({info.cluster for info in await self.brokers()})
        if len(clusters) > 1:
            raise ConfigError(f"there are {len(clusters)} clusters", hint=f"name one with cluster=: {', '.join(clusters)}")
        return clusters[0] if clusters else None

    async def route(self, topic: str) -> TopicRouteData:
        """The route of a topic now; where it was known before, brokers that are gone are told from a topic that never was.

        Raises:
            TopicNotFoundError: The name server does not know the topic.
            RocketMQError: The name server did not answer, or answered with an error.
        """
        try:
            route = await self.name_server.topic_route(topic)
        except TopicNotFoundError as error:
            if topic in self._brokers_of:
                raise no_broker_left(topic, self._brokers_of[topic]) from None
            raise self.instance.routes.lost(topic, error) from None
        while len(self._brokers_of) >= _TOPICS_REMEMBERED:
            del self._brokers_of[next(iter(self._brokers_of))]
        self._brokers_of[topic] = tuple(data.broker_name for data in route.broker_datas)
        return route

    async def holders(self, topic: str) -> dict[str, str]:
        """Broker name → address for every broker that holds the topic; the master where it is up.

        Raises:
            BrokerNotFoundError: No broker of the topic has an address.
            RocketMQError: As `route()`.
        """
        return _addresses_of(topic, await self.route(topic))

    def forget_route(self, topic: str) -> None:
        """The topic was deleted: that nobody knows it any more is no sign of brokers that are gone."""
        self._brokers_of.pop(topic, None)

    async def _address_of(self, queue: MessageQueue) -> str:
        """Address of the broker that holds a queue; remembered until a request to it fails, if it is no logical queue, which moves.

        Raises:
            BrokerNotFoundError: It has no address in the topic's route.
        """
        if is_logical(queue):
            route = await self.route(queue.topic)
            broker = endpoints_of(queue.topic, route).get(queue, queue.broker_name)
            known = _addresses_of(queue.topic, route).get(broker)
            if known is None:
                raise broker_not_found(broker, topic=queue.topic)
            return known
        known = self._queue_addresses.get((queue.topic, queue.broker_name))
        if known is None:
            light = queue.topic.startswith(LMQ_PREFIX)  # name servers do not know of these
            found = await self.masters(broker=queue.broker_name) if light else await self.holders(queue.topic)
            for name, address in found.items():
                self._queue_addresses[queue.topic, name] = address
            known = found.get(queue.broker_name)
        if known is None:
            raise broker_not_found(queue.broker_name, topic=queue.topic)
        return known


class Family:
    """One family of operations of an admin client."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel


def check_queue(queue: object) -> None:
    """Refuse what is no queue.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(queue, MessageQueue):
        raise ConfigError(
            f"queue {queue!r} is no MessageQueue", hint="take one of topics.queues(topic), or MessageQueue(topic, broker, number)"
        )


def _addresses_of(topic: str, route: TopicRouteData) -> dict[str, str]:
    found = {}
    for data in route.broker_datas:
        if data.broker_addrs:
            found[data.broker_name] = data.broker_addrs.get(MASTER_ID) or data.broker_addrs[min(data.broker_addrs)]
    if not found:
        raise BrokerNotFoundError(f"no broker of topic {topic!r} has an address", topic=topic, hint="check that the brokers run")
    return found
