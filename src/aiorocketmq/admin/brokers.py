"""Brokers: settings, state, and whether anything is sent to them (Java: the broker part of `DefaultMQAdminExtImpl`). Feature Q28."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final

from aiorocketmq.admin.kernel import Family
from aiorocketmq.admin.operation import Operation, Where, body, header, nothing
from aiorocketmq.admin.partial import Partial
from aiorocketmq.admin.settings import settings_body
from aiorocketmq.errors import ConfigError
from aiorocketmq.protocol.bodies import KVTable
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.headers_admin import (
    AddWritePermOfBrokerRequestHeader,
    AddWritePermOfBrokerResponseHeader,
    WipeWritePermOfBrokerRequestHeader,
    WipeWritePermOfBrokerResponseHeader,
)
from aiorocketmq.protocol.settings import read_settings

_GET: Final = Operation("settings of broker", RequestCode.GET_BROKER_CONFIG, Where.MASTERS, lambda response: read_settings(response.body))
_SET: Final = Operation("change settings of broker", RequestCode.UPDATE_BROKER_CONFIG, Where.MASTERS, nothing)
_STATUS: Final = Operation("state of broker", RequestCode.GET_BROKER_RUNTIME_INFO, Where.MASTERS, body(KVTable))
_DRAIN: Final = Operation(
    "drain broker", RequestCode.WIPE_WRITE_PERM_OF_BROKER, Where.NAME_SERVERS, header(WipeWritePermOfBrokerResponseHeader)
)
_UNDRAIN: Final = Operation(
    "undrain broker", RequestCode.ADD_WRITE_PERM_OF_BROKER, Where.NAME_SERVERS, header(AddWritePermOfBrokerResponseHeader)
)


class BrokerConfig(Family):
    """The settings of brokers."""

    async def get(self, *, cluster: str | None = None, broker: str | None = None) -> Partial[dict[str, str]]:
        """All settings of masters, by broker (26).

        Args:
            cluster: Of this cluster; None for all.
            broker: Broker name, or `host:port` (a slave has one of its own): of this one alone.

        Returns:
            Name of the broker → its settings, by name.

        Raises:
            ConfigError: The cluster is unknown, or the broker is none of it.
            RocketMQError: It is not known who is to be asked.

        Cancelling it is safe.
        """
        return await self._kernel.ask(_GET, about=broker or cluster or "", cluster=cluster, broker=broker)

    async def set(self, values: Mapping[str, str], *, cluster: str | None = None, broker: str | None = None) -> Partial[None]:
        """Change settings of masters while they run (25).

        Args:
            values: Name → new value, as the broker writes them.
            cluster: Of this cluster.
            broker: Broker name, or `host:port`: of this one alone.

        Returns:
            Which brokers have taken them, and what went wrong at the others.

        Raises:
            ConfigError: Neither a cluster nor a broker is named, a setting is none, or the cluster is unknown.
            RocketMQError: It is not known who is to be asked.

        Cancelling it may leave some brokers changed.
        """
        if cluster is None and broker is None:
            raise ConfigError("neither cluster nor broker is given", hint="name whose settings change")
        data = settings_body(values)
        return await self._kernel.ask(_SET, None, data, about=broker or cluster or "", cluster=cluster, broker=broker)


class Brokers(Family):
    """What an admin client does with brokers."""

    @cached_property
    def config(self) -> BrokerConfig:
        """Their settings."""
        return BrokerConfig(self._kernel)

    async def status(self, *, cluster: str | None = None, broker: str | None = None) -> Partial[dict[str, str]]:
        """What brokers tell of their state: versions, rates, what is stored (28).

        Args:
            cluster: Of the masters of this cluster; None for all.
            broker: Broker name, or `host:port` (a slave has one of its own): of this one alone.

        Returns:
            Name of the broker → what it tells, by name.

        Raises:
            ConfigError: The cluster is unknown, or the broker is none of it.
            RocketMQError: It is not known who is to be asked.

        Cancelling it is safe.
        """
        found = await self._kernel.ask(_STATUS, about=broker or cluster or "", cluster=cluster, broker=broker)
        return found.map(lambda answer: dict(sorted(answer.table.items())))

    async def drain(self, broker: str) -> Partial[int]:
        """Let nothing be sent to a broker any more: every name server takes the write permission of its topics away (205).

        Consumers go on. A broker that registers anew gets it back from name servers of 4.x.

        Args:
            broker: Broker name.

        Returns:
            Address of the name server → how many topics it was.

        Raises:
            ConfigError: It is no name.
            RocketMQError: No name server is known.

        Cancelling it may leave some name servers changed; calling it again is safe.
        """
        found = await self._kernel.ask(_DRAIN, WipeWritePermOfBrokerRequestHeader(_name(broker)), about=broker)
        return found.map(lambda answer: answer.wipe_topic_count)

    async def undrain(self, broker: str) -> Partial[int]:
        """Let be sent to a broker again (327); arguments and errors as of `drain()`."""
        found = await self._kernel.ask(_UNDRAIN, AddWritePermOfBrokerRequestHeader(_name(broker)), about=broker)
        return found.map(lambda answer: answer.add_topic_count)


def _name(broker: str) -> str:
    if not isinstance(broker, str) or not broker or ":" in broker:
        raise ConfigError(f"broker {broker!r} is no name", hint="give a broker's name, as clusters.brokers() tells it")
    return broker
