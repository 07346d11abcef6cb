"""`AdminClient`: its life on the shared client instance, and its families of operations (Java: `DefaultMQAdminExt`)."""

from __future__ import annotations

import itertools
import warnings
from datetime import timedelta
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, final

from aiorocketmq.admin.kernel import Kernel
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.watched import Watched
from aiorocketmq.config import ClientConfig, NameServers
from aiorocketmq.model.enums import ServiceState

if TYPE_CHECKING:
    from typing import Unpack

    from aiorocketmq.admin.access import Access
    from aiorocketmq.admin.brokers import Brokers
    from aiorocketmq.admin.clusters import Clusters
    from aiorocketmq.admin.groups import Groups
    from aiorocketmq.admin.messages import Messages
    from aiorocketmq.admin.name_servers import NameServerFamily
    from aiorocketmq.admin.offsets import Offsets
    from aiorocketmq.admin.topics import Topics
    from aiorocketmq.client.state_watch import StateListener
    from aiorocketmq.config.fields import ClientFields

__all__ = ["AdminClient"]

_GROUP: Final = "admin_ext_group"
_numbers = itertools.count()


@final
class AdminClient(Watched):
    """Administration of a cluster, by families: `admin.topics`, `admin.groups`, ... Shares the connections of other clients here.

    Args:
        name_servers: `a:9876;b:9876`, a list, or a `rocketmq://` URL; None takes `NAMESRV_ADDR`, then the HTTP address service.
        config: A `ClientConfig` or a `rocketmq://` URL.
        on_state_change: Called with a `StateChange` when brokers or name servers are lost and regained, or when `health().status` is
            another one: a `def` on a thread of its own, an `async def` on the event loop.
        client_fields: Fields of `ClientConfig` that differ; `mq_client_api_timeout` limits each request, 3 s by default.

    Raises:
        ConfigError: A field has a value that cannot work.

    Example:
        async with AdminClient("127.0.0.1:9876") as admin:
            await admin.topics.create("orders", queues=8)
            print((await admin.topics.stats("orders")).messages)
    """

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
        self._kernel = Kernel(self.config, self._life.running)

    # -- families: each is imported with its records when it is first used ---------------------------------------------------------------

    @cached_property
    def topics(self) -> Topics:
        """Topics: create, change, delete, list, route, statistics."""
        from aiorocketmq.admin.topics import Topics

        return Topics(self._kernel)

    @cached_property
    def groups(self) -> Groups:
        """Consumer groups: lag and members."""
        from aiorocketmq.admin.groups import Groups

        return Groups(self._kernel)

    @cached_property
    def offsets(self) -> Offsets:
        """Offsets of queues: the ends, and those of a time."""
        from aiorocketmq.admin.offsets import Offsets

        return Offsets(self._kernel)

    @cached_property
    def messages(self) -> Messages:
        """Messages: read from queues, found by keys and ids."""
        from aiorocketmq.admin.messages import Messages

        return Messages(self._kernel)

    @cached_property
    def clusters(self) -> Clusters:
        """Clusters and their brokers."""
        from aiorocketmq.admin.clusters import Clusters

        return Clusters(self._kernel)

    @cached_property
    def brokers(self) -> Brokers:
        """Brokers: settings, state, write permission."""
        from aiorocketmq.admin.brokers import Brokers

        return Brokers(self._kernel)

    @cached_property
    def name_servers(self) -> NameServerFamily:
        """Name servers: settings, and the table of values that they keep."""
        from aiorocketmq.admin.name_servers import NameServerFamily

        return NameServerFamily(self._kernel)

    @cached_property
    def acl(self) -> Access:
        """Users and rules of ACL 2.0."""
        from aiorocketmq.admin.access import Access

        return Access(self._kernel)

    # -- life ------------------------------------------------------------------------------------------------------------------------

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
        self._kernel.forget()
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
