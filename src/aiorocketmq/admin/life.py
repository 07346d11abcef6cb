"""The life of an admin client on the shared client instance (Java: `DefaultMQAdminExtImpl.start`, `shutdown`)."""

from __future__ import annotations

import asyncio
import itertools
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from aiorocketmq.client.calls import RemoteCalls
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.manager import acquire, release
from aiorocketmq.client.namesrv_api import NameServerApi
from aiorocketmq.config import ClientConfig, NameServers
from aiorocketmq.errors import ClientClosedError, ClientStateError
from aiorocketmq.model.enums import ServiceState

if TYPE_CHECKING:
    from typing import Unpack

    from aiorocketmq.config.fields import ClientFields

_GROUP: Final = "admin_ext_group"
_numbers = itertools.count()


class AdminLife:
    """Start, stop, and the shared services that every family of operations uses."""

    def __init__(
        self, name_servers: NameServers = None, *, config: ClientConfig | str | None = None, **client_fields: Unpack[ClientFields]
    ) -> None:
        self.config = ClientConfig.from_fields(config, name_servers, client_fields)
        # Never told to brokers: only the key on the instance, where each admin client needs one of its own.
        self.group = f"{_GROUP}_{next(_numbers)}"
        self._state = ServiceState.CREATE_JUST
        self._lifecycle = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._shared: ClientInstance | None = None
        self._remote_calls: RemoteCalls | None = None
        self._queue_addresses: dict[tuple[str, str], str] = {}

    @property
    def state(self) -> ServiceState:
        """Where the client is in its life."""
        return self._state

    async def start(self) -> None:
        """Join the client instance of this process and name servers, starting it when it is the first client; idempotent.

        Raises:
            ClientStateError: The client was stopped, or its first start failed.
            RocketMQError: The instance cannot start.

        Cancelling it leaves nothing behind, and the client can be started again.
        """
        async with self._lifecycle:
            if self._state is ServiceState.RUNNING:
                return
            if self._state is not ServiceState.CREATE_JUST:
                raise ClientStateError(f"this admin client cannot start: its state is {self._state.name}", hint="make a new one")
            self._state = ServiceState.START_FAILED
            instance = acquire(self.config)
            try:
                await instance.register_admin(self)
                await instance.start()
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError):
                    self._state = ServiceState.CREATE_JUST
                await instance.unregister_admin(self.group)
                await release(instance)
                raise
            self._loop = asyncio.get_running_loop()
            self._shared = instance
            self._state = ServiceState.RUNNING

    async def stop(self) -> None:
        """Leave the client instance, which stops with its last client; idempotent. Waits for a start that is under way."""
        async with self._lifecycle:
            if self._shared is not None and self._state is ServiceState.RUNNING:
                try:
                    self._shared.check_loop()
                finally:
                    self._state = self._shared.state
            instance, self._shared, self._remote_calls = self._shared, None, None
            self._state = ServiceState.SHUTDOWN_ALREADY
            if instance is not None:
                try:
                    await instance.unregister_admin(self.group)
                finally:
                    await release(instance)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.stop()

    def __del__(self) -> None:
        if getattr(self, "_state", None) is ServiceState.RUNNING:
            warnings.warn("AdminClient was dropped without stop()", ResourceWarning, source=self, stacklevel=2)

    def _instance(self) -> ClientInstance:
        if self._shared is None:
            raise ClientClosedError(f"the admin client is not running: its state is {self._state.name}")
        if asyncio.get_running_loop() is not self._loop:
            # Its answers arrive on its own loop, and not at all when that is closed.
            raise ClientStateError(
                "the admin client belongs to another event loop",
                hint="use asyncio.run_coroutine_threadsafe() from other threads, or aiorocketmq.sync",
            )
        return self._shared

    def _calls(self) -> RemoteCalls:
        instance = self._instance()
        if self._remote_calls is None:
            self._remote_calls = RemoteCalls(instance.remoting, self.config)
        return self._remote_calls

    def _name_servers(self) -> NameServerApi:
        return self._instance().name_server_api
