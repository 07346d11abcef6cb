"""Clusters and brokers: who is there, and where requests go (Java: the cluster part of `DefaultMQAdminExtImpl`)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from aiorocketmq.admin.life import AdminLife
from aiorocketmq.admin.results import BrokerInfo
from aiorocketmq.client.route import no_broker_left
from aiorocketmq.core.route_table import endpoints_of, is_logical
from aiorocketmq.errors import BrokerNotFoundError, ConfigError, PartialError, RocketMQError, TopicNotFoundError, broker_not_found
from aiorocketmq.model.names import LMQ_PREFIX
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import MASTER_ID, TopicRouteData

_TOPICS_REMEMBERED: Final = 1000
T = TypeVar("T")
R = TypeVar("R")


class BrokerOperations(AdminLife):
    """What an admin client does with clusters and brokers."""

    async def cluster_info(self) -> tuple[BrokerInfo, ...]:
        """All brokers that the name server knows, sorted by cluster and name.

        Raises:
            NoNameServerError: No name server can be reached.
            RocketMQError: The name server did not answer, or answered with an error.

        Cancelling it is safe.
        """
        info = await self._name_servers().cluster_info()
        clusters = {name: cluster for cluster, names in info.cluster_addr_table.items() for name in names}
        brokers = [
            BrokerInfo(clusters.get(name, data.cluster), name, dict(sorted(data.broker_addrs.items())))
            for name, data in info.broker_addr_table.items()
        ]
        return tuple(sorted(brokers, key=lambda broker: (broker.cluster, broker.name)))

    async def _masters(self, cluster: str | None = None, broker: str | None = None) -> dict[str, str]:
        """Broker name → address of the masters of a cluster, or of the one broker.

        Raises:
            ConfigError: There is no such cluster, or the broker is none of it.
            BrokerNotFoundError: There is no such broker, or no master is up.
        """
        for name, value in (("cluster", cluster), ("broker", broker)):
            if value is not None and (not isinstance(value, str) or not value):
                raise ConfigError(f"{name} {value!r} is no name", hint=f"give the {name}'s name, or leave it out")
        if broker is not None and ":" in broker and cluster is None:
            return {broker: broker}
        brokers = await self.cluster_info()
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

    async def _route(self, topic: str) -> TopicRouteData:
        """The route of a topic now; where it was known before, brokers that are gone are told from a topic that never was."""
        try:
            route = await self._name_servers().topic_route(topic)
        except TopicNotFoundError as error:
            if topic in self._brokers_of:
                raise no_broker_left(topic, self._brokers_of[topic]) from None
            raise self._instance().routes.lost(topic, error) from None
        while len(self._brokers_of) >= _TOPICS_REMEMBERED:
            del self._brokers_of[next(iter(self._brokers_of))]
        self._brokers_of[topic] = tuple(data.broker_name for data in route.broker_datas)
        return route

    async def _addresses(self, topic: str) -> dict[str, str]:
        """Broker name → address for every broker that holds the topic; the master where it is up."""
        return _addresses_of(topic, await self._route(topic))

    async def _address_of(self, queue: MessageQueue) -> str:
        """Address of the broker that holds a queue; remembered until a request to it fails, if it is no logical queue, which moves.

        Raises:
            BrokerNotFoundError: It has no address in the topic's route.
        """
        if is_logical(queue):
            route = await self._route(queue.topic)
            broker = endpoints_of(queue.topic, route).get(queue, queue.broker_name)
            known = _addresses_of(queue.topic, route).get(broker)
            if known is None:
                raise broker_not_found(broker, topic=queue.topic)
            return known
        known = self._queue_addresses.get((queue.topic, queue.broker_name))
        if known is None:
            light = queue.topic.startswith(LMQ_PREFIX)  # name servers do not know of these
            found = await self._masters(broker=queue.broker_name) if light else await self._addresses(queue.topic)
            for name, address in found.items():
                self._queue_addresses[queue.topic, name] = address
            known = found.get(queue.broker_name)
        if known is None:
            raise broker_not_found(queue.broker_name, topic=queue.topic)
        return known

    @staticmethod
    def _check_queue(queue: object) -> None:
        if not isinstance(queue, MessageQueue):
            raise ConfigError(
                f"queue {queue!r} is no MessageQueue", hint="take one of queues(topic), or MessageQueue(topic, broker, number)"
            )

    async def _each(
        self,
        name: str,
        addresses: Mapping[str, str],
        ask: Callable[[str, str], Coroutine[Any, Any, T]],
        join: Callable[[Mapping[str, T]], R],
    ) -> R:
        """Ask several brokers at once, and join their answers.

        Args:
            name: What is done, for the names of the tasks and for errors.
            addresses: Broker name → address.
            ask: Called with broker name and address.
            join: Makes the result from broker name → answer.

        Raises:
            PartialError: Some failed; it has the joined answers of the others.
            RocketMQError: All failed: the first error, by broker name.
        """
        works = {broker: ask(broker, address) for broker, address in sorted(addresses.items())}
        outcomes = await self._instance().scheduler.gather(name, works)
        answers = {broker: outcome for broker, outcome in outcomes.items() if not isinstance(outcome, Exception)}
        errors = {broker: outcome for broker, outcome in outcomes.items() if isinstance(outcome, Exception)}
        if not errors:
            return join(answers)
        first = next(iter(errors.values()))
        if not answers or not all(isinstance(error, RocketMQError) for error in errors.values()):
            raise first
        told = "; ".join(f"{broker}: {error}" for broker, error in errors.items())
        raise PartialError(
            f"{name}: {len(errors)} of {len(outcomes)} brokers failed: {told}",
            result=join(answers),
            errors=errors,
            hint="`result` holds what the others answered",
            cause=first,
        )


def _addresses_of(topic: str, route: TopicRouteData) -> dict[str, str]:
    found = {}
    for data in route.broker_datas:
        if data.broker_addrs:
            found[data.broker_name] = data.broker_addrs.get(MASTER_ID) or data.broker_addrs[min(data.broker_addrs)]
    if not found:
        raise BrokerNotFoundError(f"no broker of topic {topic!r} has an address", topic=topic, hint="check that the brokers run")
    return found
