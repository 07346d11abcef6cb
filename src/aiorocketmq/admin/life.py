"""The life of an admin client on the shared client instance (Java: `DefaultMQAdminExtImpl.start`, `shutdown`)."""

from __future__ import annotations

import itertools
import warnings
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from aiorocketmq.client.calls import RemoteCalls
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.namesrv_api import NameServerApi
from aiorocketmq.client.watched import Watched
from aiorocketmq.config import ClientConfig, NameServers
from aiorocketmq.model.enums import ServiceState

if TYPE_CHECKING:
    from typing import Unpack

    from aiorocketmq.client.state_watch import StateListener
    from aiorocketmq.config.fields import ClientFields

_GROUP: Final = "admin_ext_group"
_numbers = itertools.count()


class AdminLife(Watched):
    """Start, stop, and the shared services that every family of operations uses."""

    def __init__(
        self,
        name_servers: NameServers = None,
        *,
        config: ClientConfig | str | None = None,
        on_state_change: StateListener | None = None,
        **client_fields: Unpack[ClientFields],
    ) -> None:
        self.config = ClientConfig.from_fields(config, name_servers, client_fields)
        # Never told to brokers: only the key on the instance, where each admin client needs one of its own.
        self.group = f"{_GROUP}_{next(_numbers)}"
        self._life = self._live("this admin client", self.config, on_state_change)
        self._remote_calls: RemoteCalls | None = None
        self._queue_addresses: dict[tuple[str, str], str] = {}
        self._brokers_of: dict[str, tuple[str, ...]] = {}  # topic → names of the brokers that had it last

    @property
    def state(self) -> ServiceState:
        """Where the client is in its life."""
        return self._life.state

    async def start(self, *, timeout: float | timedelta | None = None) -> None:
        """Join the client instance of this process and name servers, starting it when it is the first client; idempotent.

        Args:
            timeout: Seconds to wait until a name server answers; None starts without one.

        Raises:
            NoNameServerError: No name server is configured, or none answered within `timeout`; the client can be started again.
            ClientClosedError: The client was stopped.
            ClientStateError: It runs on another event loop.
            RocketMQError: The instance cannot start.

        Cancelling it undoes what was begun.
        """
        await self._life.start(self._join, self._leave, timeout)

    async def stop(self) -> None:
        """Leave the client instance, which stops with its last client; ends a start that is under way. Idempotent.

        Raises:
            ClientStateError: The client was started on another event loop.
        """
        self._remote_calls = None
        await self._life.stop(self._leave)

    async def _join(self, instance: ClientInstance) -> None:
        await instance.register_admin(self)

    async def _leave(self, instance: ClientInstance) -> None:
        await instance.unregister_admin(self)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.stop()

    def __del__(self) -> None:
        life = getattr(self, "_life", None)  # not there when the constructor has failed
        if life is not None and life.state is ServiceState.RUNNING:
            warnings.warn("AdminClient was dropped without stop()", ResourceWarning, source=self, stacklevel=2)

    def _instance(self) -> ClientInstance:
        return self._life.running()

    def _calls(self) -> RemoteCalls:
        instance = self._instance()
        if self._remote_calls is None:
            self._remote_calls = RemoteCalls(instance.remoting, self.config)
        return self._remote_calls

    def _name_servers(self) -> NameServerApi:
        return self._instance().name_server_api
