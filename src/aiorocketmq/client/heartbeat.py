"""Tells brokers which groups live on this client, and says goodbye (Java: `MQClientInstance.sendHeartbeatToAllBroker`, `unregisterClient`).

Producers are told to masters, consumers to all brokers. Rounds are serialised by one lock that is waited for at most 3 s; within a round
brokers are told at the same time, so a silent one delays nobody. Features K8-K13.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from aiorocketmq.client.broker_api import BrokerApi
from aiorocketmq.client.locks import TimedLock
from aiorocketmq.client.ports import ConsumerPort, ProducerPort
from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.config import ClientConfig
from aiorocketmq.core.route_table import BrokerTable
from aiorocketmq.errors import AuthenticationError, BrokerError, RocketMQError
from aiorocketmq.model.route import MASTER_ID
from aiorocketmq.protocol.bodies_client import ConsumerData, HeartbeatData, ProducerData
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.remoting.client import RemotingClient

RETURN_PAUSES: Final = (0.1, 0.4, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each try to come back to a broker that may have something to say; after the last one rounds go on as ever."""
UNREGISTER_TIMEOUT: Final = 1.0
"""Seconds that a goodbye may take: whoever stops does not wait for a broker that is gone."""

logger = logging.getLogger("aiorocketmq.client")


@dataclass(slots=True)
class HeartbeatCounters:
    """What the heartbeat service has done. Mutable: it counts."""

    sent: int = 0
    failed: int = 0
    short: int = 0


@dataclass(slots=True)
class HeartbeatRecord:
    """How one broker answers heartbeats. Mutable.

    Attributes:
        answered_at: Loop time of its last answer, None before.
        error: Why the last one failed, "" when it did not.
        refused: It was answered, with an error.
    """

    answered_at: float | None = None
    error: str = ""
    refused: bool = False


class HeartbeatService:
    """The heartbeats of one instance; a `ChannelListener` of its remoting client.

    Args:
        api: Sends them.
        remoting: Tells which brokers are connected.
        brokers: Whom to tell; takes up the brokers' versions.
        scheduler: Makes the tasks of a round.
        config: `use_heartbeat_v2` and `enable_heartbeat_channel_event_listener`.
        client_id: Who we are.
        producers: The registered producers.
        consumers: The registered consumers.
        expects: True while a broker may have something to say that nobody will ask for: a reply, or a question about a transaction.

    Attributes:
        counters: `sent` were answered, `failed` were not, `short` of the sent ones left the subscriptions out.
        records: Address → how its broker answers, for those that were told.
        lock: Serialises the rounds; `lock.given_up` counts the waits that took too long.
    """

    def __init__(
        self,
        api: BrokerApi,
        remoting: RemotingClient,
        brokers: BrokerTable,
        scheduler: Scheduler,
        config: ClientConfig,
        client_id: str,
        *,
        producers: Callable[[], Collection[ProducerPort]],
        consumers: Callable[[], Collection[ConsumerPort]],
        expects: Callable[[], bool] = lambda: False,
    ) -> None:
        self.counters = HeartbeatCounters()
        self.lock = TimedLock("heartbeat")
        self._api = api
        self._remoting = remoting
        self._brokers = brokers
        self._scheduler = scheduler
        self._short_form = config.use_heartbeat_v2
        self._on_new_channel = config.enable_heartbeat_channel_event_listener
        self._client_id = client_id
        self._names = config.names
        self._producers = producers
        self._consumers = consumers
        self._expects = expects
        self._returning: set[str] = set()
        self._telling: set[str] = set()
        self._refusals: dict[str, AuthenticationError] = {}
        # Addresses whose brokers have answered a heartbeat on the open connection.
        self._told: set[str] = set()
        # Address → fingerprint of the groups that the broker at its end is known to know.
        self._known: dict[str, int] = {}
        self.records: dict[str, HeartbeatRecord] = {}
        self._log = StateLog(logger)

    async def send_all(self, *, full: bool = False) -> bool:
        """Tell every broker that has to know; failures are logged and counted.

        Args:
            full: Send no short form, as after a change of what the broker knows.

        Returns:
            False when the lock was not free within 3 s, and nobody was told.
        """
        async with self.lock.hold("a heartbeat to all brokers") as held:
            if not held:
                return False
            if full:
                self._known.clear()
            known = {address for _, _, address in self._brokers.addresses()}
            self.records = {address: record for address, record in self.records.items() if address in known}
            to_slaves = bool(self._consumers())
            targets = {address: name for name, broker_id, address in self._brokers.addresses() if to_slaves or broker_id == MASTER_ID}
            if targets and self._has_groups():
                data = self._data()
                await self._scheduler.gather("heartbeat", {address: self._tell(name, address, data) for address, name in targets.items()})
            return True

    def refusal(self) -> AuthenticationError | None:
        """Why every broker that was told last did not accept the credentials; None when one did, or failed otherwise."""
        known = {address for _, _, address in self._brokers.addresses()}
        refused = [error for address, error in self._refusals.items() if address in known]
        return refused[0] if refused and len(refused) == len(known) else None

    async def learn_version(self, broker_name: str, address: str) -> int:
        """The version number of a broker, asked for by a heartbeat when it is not known yet; 0 when its answer does not tell.

        Raises:
            RocketMQError: The broker has refused the heartbeat, or not answered; that is logged, too.
        """
        version = self._brokers.version(broker_name, address)
        if not version and self._has_groups():
            failure = await self._tell(broker_name, address, self._data())
            if failure is not None:
                raise failure
            version = self._brokers.version(broker_name, address)
        return version

    def note(self, address: str, error: RocketMQError | None) -> None:
        """A heartbeat to a broker was answered, or has failed."""
        record = self.records.setdefault(address, HeartbeatRecord())
        if error is None:
            record.answered_at, record.error = asyncio.get_running_loop().time(), ""
        else:
            record.error = error.message
        record.refused = isinstance(error, BrokerError)

    def told(self, address: str) -> bool:
        """True while a broker knows who we are: it has answered a heartbeat on the connection that is open now."""
        return address in self._told

    async def introduce(self, addresses: Collection[str]) -> None:
        """Tell those of these brokers that do not know us yet; failures are logged and counted."""
        if not self._has_groups():
            return
        names = {address: name for name, _, address in self._brokers.addresses() if address in addresses and address not in self._told}
        data = self._data()
        await self._scheduler.gather("introduce", {address: self._tell(name, address, data) for address, name in names.items()})

    async def unregister(self, *, producer_groups: Collection[str] = (), consumer_groups: Collection[str] = ()) -> None:
        """Say goodbye for groups that have left the tables, to every broker that is connected; failures are logged (K12).

        A broker without a connection has forgotten the groups with the connection.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + UNREGISTER_TIMEOUT
        # A heartbeat under way may still name the groups: wait for it, so that the goodbye is the last word.
        async with self.lock.hold("waiting to unregister", timeout=UNREGISTER_TIMEOUT / 2):
            timeout = deadline - clock()
            addresses = {address for _, _, address in self._brokers.addresses() if self._remoting.channel(address) is not None}
            addresses -= self._refusals.keys()  # they do not accept the credentials, and have not taken the groups in
            goodbyes = {}
            for address in sorted(addresses):
                for group in consumer_groups:
                    goodbyes[f"consumer group {group} at {address}"] = self._api.unregister_client(
                        address, self._client_id, consumer_group=group, timeout=timeout
                    )
                for group in producer_groups:
                    goodbyes[f"producer group {group} at {address}"] = self._api.unregister_client(
                        address, self._client_id, producer_group=group, timeout=timeout
                    )
            outcomes = await self._scheduler.gather("unregister", goodbyes)
        for what, outcome in outcomes.items():
            if isinstance(outcome, Exception):
                self._log.note(logging.WARNING, f"goodbye {what}", "%s was not unregistered: %s", what, outcome)

    # --- ChannelListener -------------------------------------------------------------------------------------------------------------

    def on_connect(self, address: str, channel: Channel) -> None:
        """A new connection to a broker that has to know us: tell it at once, the old connection took our registration with it (K10)."""
        if not self._on_new_channel or address in self._telling or self._scheduler.closed or not self._has_groups():
            return
        for name, broker_id, known in self._brokers.addresses():
            if known == address and (broker_id == MASTER_ID or self._consumers()):
                self._scheduler.spawn(f"heartbeat to {address}", self._tell(name, address, self._data()))
                return

    def on_close(self, address: str, channel: Channel) -> None:
        """The broker forgets us with the connection: the next heartbeat must be a full one.

        What uses connections makes new ones by itself. Who only waits for what a broker sends would wait for the next round.
        """
        self._known.pop(address, None)
        self._refusals.pop(address, None)
        self._told.discard(address)
        if self._on_new_channel and address not in self._returning and not self._scheduler.closed and self._expects():
            self._returning.add(address)
            self._scheduler.spawn(f"return to {address}", self._return(address))

    # --- inside ------------------------------------------------------------------------------------------------------------------------

    def _has_groups(self) -> bool:
        return bool(self._producers() or self._consumers())

    def _data(self) -> HeartbeatData:
        wrap = self._names.wrap
        data = HeartbeatData(
            client_id=self._client_id,
            producer_data_set=[ProducerData(wrap(producer.group)) for producer in self._producers()],
            consumer_data_set=[
                ConsumerData(
                    group_name=wrap(consumer.group),
                    consume_type=consumer.consume_type,
                    message_model=consumer.message_model,
                    consume_from_where=consumer.start_from.value,
                    subscription_data_set=[self._names.wrap_subscription(data) for data in consumer.subscriptions()],
                    unit_mode=consumer.unit_mode,
                )
                for consumer in self._consumers()
            ],
        )
        if self._short_form:
            data.heartbeat_fingerprint = data.fingerprint()
        return data

    async def _return(self, address: str) -> None:
        try:
            for pause in RETURN_PAUSES:
                await asyncio.sleep(pause)
                name = next(
                    (name for name, broker_id, known in self._brokers.addresses() if known == address and broker_id == MASTER_ID), None
                )
                if name is None or address in self._told or not self._expects() or not self._has_groups():
                    return
                if address not in self._telling:
                    await self._tell(name, address, self._data())
        finally:
            self._returning.discard(address)

    async def _tell(self, broker_name: str, address: str, data: HeartbeatData) -> RocketMQError | None:
        fingerprint = data.heartbeat_fingerprint
        short = self._short_form and self._known.get(address) == fingerprint
        self._telling.add(address)
        try:
            reply = await self._api.heartbeat(address, _without_subscriptions(data) if short else data)
        except RocketMQError as error:
            self.counters.failed += 1
            self.note(address, error)
            if isinstance(error, AuthenticationError):
                self._refusals[address] = error
            self._log.failed(address, "heartbeat to broker %s at %s failed: %s", broker_name, address, error)
            return error
        finally:
            self._telling.discard(address)
        self._refusals.pop(address, None)
        self.counters.sent += 1
        self.note(address, None)
        self.counters.short += short
        self._log.worked(address, "heartbeat to broker %s at %s works again", broker_name, address)
        self._brokers.put_version(broker_name, address, reply.version)
        if self._remoting.channel(address) is not None:
            self._told.add(address)
        if self._short_form:
            if reply.supports_v2 and not reply.subscription_changed and self._remoting.channel(address) is not None:
                self._known[address] = fingerprint
            else:
                self._known.pop(address, None)
        return None


def _without_subscriptions(data: HeartbeatData) -> HeartbeatData:
    consumers = [consumer.replace(subscription_data_set=[]) for consumer in data.consumer_data_set]
    return data.replace(consumer_data_set=consumers, without_sub=True)
