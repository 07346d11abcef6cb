"""How a client is: the part that all public clients have in common. Feature U2."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from aiorocketmq.client.life import ClientLife

if TYPE_CHECKING:
    from aiorocketmq.client.examine import Own
    from aiorocketmq.client.health import Health, PingResult
    from aiorocketmq.client.state_watch import StateListener
    from aiorocketmq.config import ClientConfig, NameServers


class Watched:
    """A client that can be asked how it is."""

    _life: ClientLife

    def _live(
        self, name: str, config: ClientConfig, on_state_change: StateListener | None, *, keep_default_name: bool = False
    ) -> ClientLife:
        """Make the life of the client; see `ClientLife`.

        Raises:
            ConfigError: `on_state_change` cannot be called with one argument.
        """
        watch = None
        if on_state_change is not None:
            from aiorocketmq.client.state_watch import StateWatch  # for those who want it

            watch = StateWatch(name, on_state_change, self.health)
        return ClientLife(name, config, keep_default_name=keep_default_name, watch=watch)

    async def ping(self, *, timeout: float | timedelta | None = None) -> PingResult:
        """Ask the name servers and every broker for a sign of life: for health checks.

        Args:
            timeout: Seconds for each answer; None takes `mq_client_api_timeout`.

        Returns:
            Who has answered how quickly, and who has not; `ok` when all have.

        Raises:
            RocketMQError: No broker has answered.
            ClientStateError: The client does not run.

        Cancelling it is safe.
        """
        return await self._life.running().ping(timeout)

    def update_name_servers(self, name_servers: NameServers) -> bool:
        """Use other name servers from now on, and ask them for all routes at once; so do all clients that share connections with this one.

        Args:
            name_servers: `a:9876;b:9876` or a list; not empty.

        Returns:
            True when they are others than before.

        Raises:
            ConfigError: An entry is no address, or there is none.
            ClientStateError: The client does not run.
        """
        return self._life.running().update_name_servers(name_servers)

    def health(self) -> Health:
        """How the client is, as far as it knows; cheap, asks nobody, and raises nothing whatever state the client is in.

        A broker or name server that fails is seen with the first thing that goes wrong: its connection ends, a heartbeat is not answered.
        `await ping()` before it asks them all now, which shows here, too.

        Returns:
            One word (`status`), the reasons in sentences, and everything that they are made of.
        """
        return self._life.health(self._own_health)

    def _own_health(self) -> Own:
        """What the client tells of itself while it runs."""
        from aiorocketmq.client.examine import Own  # for those who ask

        return Own()
