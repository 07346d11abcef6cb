"""Which clients share which instance (Java: `MQClientManager`). Features K1, K2, L15.

Instances are found by event loop, client id and name servers. The default instance name becomes one that is unique to this process, event
loop and configuration: clients with equal settings share one instance, and no setting of one client is silently ignored because another
client came first.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from aiorocketmq.client.identity import make_client_id, unique_instance_name
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.config import DEFAULT_INSTANCE_NAME, ClientConfig
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.enums import ServiceState


class InstanceFactory(Protocol):
    """Makes an instance; tests give one that uses an in-memory transport."""

    def __call__(self, config: ClientConfig, client_id: str, *, index: int) -> ClientInstance: ...


_Key = tuple[str, tuple[str, ...]]


@dataclass(slots=True)
class _Share:
    """One instance and the number of clients on it. Mutable."""

    instance: ClientInstance
    users: int = 0


@dataclass(slots=True)
class _LoopTable:
    """What belongs to one event loop. Mutable."""

    pid: int
    shares: dict[_Key, _Share] = field(default_factory=dict)
    names: dict[ClientConfig, str] = field(default_factory=dict)


class InstanceManager:
    """The instances of a process.

    Args:
        make: Makes an instance.
    """

    def __init__(self, make: InstanceFactory = ClientInstance, *, pid: Callable[[], int] = os.getpid) -> None:
        self.make: InstanceFactory = make
        self._pid = pid
        self._index = itertools.count()
        self._loops: dict[asyncio.AbstractEventLoop, _LoopTable] = {}

    def acquire(self, config: ClientConfig, *, keep_default_name: bool = False) -> ClientInstance:
        """The instance for a configuration, made when there is none; counts one more client on it. Needs a running event loop.

        Args:
            config: The client's settings.
            keep_default_name: Leave the instance name `DEFAULT` as it is, so that the client id is the same after a restart: for
                broadcasting consumers, whose offsets are stored under the client id.

        Raises:
            ConfigError: An instance of this name runs with other settings.
        """
        table = self._table(asyncio.get_running_loop())
        name = config.instance_name
        if name == DEFAULT_INSTANCE_NAME and not keep_default_name:
            name = table.names.get(config) or table.names.setdefault(config, unique_instance_name(self._pid()))
        key = (make_client_id(config, name), config.name_servers)
        share = table.shares.get(key)
        if share is None or share.instance.state in (ServiceState.START_FAILED, ServiceState.SHUTDOWN_ALREADY):
            share = table.shares[key] = _Share(self.make(config, key[0], index=next(self._index)))
        elif share.instance.config != config:
            raise ConfigError(
                f"instance_name {name!r} is in use with other settings: {_differences(share.instance.config, config)}",
                hint="give both clients the same settings, or another instance_name",
            )
        share.users += 1
        return share.instance

    async def release(self, instance: ClientInstance) -> None:
        """Count one client less on an instance; the last one stops it and waits until it has stopped.

        Cancelling it leaves the stop going on.
        """
        # Of this loop alone: what belongs to the loop of another thread may change at any moment.
        table = self._loops.get(asyncio.get_running_loop())
        if table is not None:
            for key, share in table.shares.items():
                if share.instance is instance:
                    share.users -= 1
                    if share.users > 0:
                        return
                    del table.shares[key]
                    table.names = {config: name for config, name in table.names.items() if config != instance.config}
                    break
        # Of the last client; or replaced by a newer instance after it had failed: nobody else will stop it.
        await instance.stop()

    def purge(self) -> None:
        """Forget loops that were closed without a stop, and those of a parent process: they would be kept alive for ever."""
        pid = self._pid()
        for known, table in list(self._loops.items()):
            if known.is_closed() or table.pid != pid:
                self._loops.pop(known, None)  # another thread may have done it meanwhile

    def _table(self, loop: asyncio.AbstractEventLoop) -> _LoopTable:
        self.purge()
        return self._loops.setdefault(loop, _LoopTable(self._pid()))


def _differences(one: ClientConfig, other: ClientConfig) -> str:
    return ", ".join(spec.name for spec in dataclasses.fields(ClientConfig) if getattr(one, spec.name) != getattr(other, spec.name))


shared: Final = InstanceManager()
"""The manager that all clients of the process use."""


def acquire(config: ClientConfig, *, keep_default_name: bool = False) -> ClientInstance:
    """See `InstanceManager.acquire`."""
    return shared.acquire(config, keep_default_name=keep_default_name)


async def release(instance: ClientInstance) -> None:
    """See `InstanceManager.release`."""
    await shared.release(instance)
