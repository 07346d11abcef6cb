"""One attempt to connect, shared by all callers that want the same address (Java: `NettyRemotingClient.createChannel`). Features L9, O9.

The attempt is a task of its own: a caller that is cancelled or runs out of time leaves it to the others.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from aiorocketmq.errors import ConfigError, ConnectError, RemotingError, RocketMQError, fresh
from aiorocketmq.model.parsing import parse_address
from aiorocketmq.remoting.channel import Channel, Endpoint
from aiorocketmq.remoting.tls import handshake_error, handshake_timeout
from aiorocketmq.remoting.transport import PHASE_RESOLVE, PHASE_TLS, Connector

_UNREACHABLE_HINT = "check that the server runs and that host, port and firewall are right"


class ConnectAttempt:
    """A connection in the making."""

    __slots__ = ("_loop", "_waiters", "_where", "address", "phase")

    def __init__(self, address: str) -> None:
        self.address = address
        self._where = address
        self.phase = "waiting for the event loop"
        self._loop = asyncio.get_running_loop()
        self._waiters: set[asyncio.Future[Channel]] = set()

    async def wait(self, timeout: float) -> Channel:
        """Wait for the outcome. Cancelling is safe and does not end the attempt.

        Raises:
            ConnectError: It failed, or `timeout` seconds passed.
            TLSError: The handshake failed.
        """
        future: asyncio.Future[Channel] = self._loop.create_future()
        self._waiters.add(future)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise self._timed_out(timeout) from None
        finally:
            self._waiters.discard(future)

    async def dial(
        self,
        connector: Connector,
        endpoint: Endpoint,
        context: ssl.SSLContext | None,
        timeout: float,
        address_map: Callable[[str], str] | None = None,
    ) -> Channel:
        """Make the connection.

        Args:
            connector: Opens it.
            endpoint: What all channels of the client share.
            context: For TLS, or None.
            timeout: Seconds for all of it.
            address_map: Gives the address to dial for the advertised one; None dials that.

        Raises:
            ConnectError: The name does not resolve, nobody listens, or `timeout` seconds passed.
            TLSError: The handshake failed.
        """
        refuse = partial(ConnectError, address=self.address, maybe_sent=False)
        host, port = parse_address(self.address, "address", error=refuse)
        # A dot at the end only tells resolvers that the name is whole: certificates and SNI (RFC 6066) go without.
        server_hostname = host.removesuffix(".") if context is not None else None
        if address_map is not None:
            host, port = self._dialled(address_map, host, port)
        try:
            async with asyncio.timeout(timeout) as limit:
                _, protocol = await connector(host, port, self._make_channel(endpoint), context, server_hostname, self._enter)
        except (OSError, ValueError) as error:  # a name that cannot be encoded for the resolver is a ValueError
            raise self._failed(error, timeout if limit.expired() else None) from None
        assert isinstance(protocol, Channel)
        if protocol.closed:
            raise ConnectError(
                f"{self._where} closed the connection at once", address=self.address, maybe_sent=False, hint=_UNREACHABLE_HINT
            )
        return protocol

    def succeed(self, channel: Channel) -> None:
        """Give all callers the channel."""
        for future in self._waiters:
            if not future.done():
                future.set_result(channel)

    def fail(self, error: RocketMQError) -> None:
        """Give each caller an error of its own: one instance raised in many places would collect all their tracebacks."""
        for future in self._waiters:
            if not future.done():
                future.set_exception(fresh(error))

    def _make_channel(self, endpoint: Endpoint) -> Any:
        return lambda: Channel(endpoint, self.address)

    def _dialled(self, address_map: Callable[[str], str], host: str, port: int) -> tuple[str, int]:
        try:
            address = address_map(self.address)
        except ConfigError as error:
            raise ConnectError(error.message, address=self.address, maybe_sent=False, hint=error.hint, cause=error) from None
        if address == self.address:
            return host, port
        self._where = f"{self.address} (by address_map at {address})"
        found = parse_address(address, "address of address_map")
        return found.host, found.port

    def _enter(self, phase: str) -> None:
        self.phase = phase

    def _timed_out(self, timeout: float) -> RemotingError:
        if self.phase == PHASE_TLS:
            return handshake_timeout(self.address, timeout)
        return ConnectError(
            f"no connection to {self._where} within {round(timeout, 3):g} s ({self.phase})",
            address=self.address,
            maybe_sent=False,
            hint=_UNREACHABLE_HINT,
        )

    def _failed(self, error: OSError | ValueError, timeout: float | None) -> RemotingError:
        if timeout is not None:
            return self._timed_out(timeout)
        if self.phase == PHASE_TLS:
            return handshake_error(self.address, error)
        if self.phase == PHASE_RESOLVE:
            reason = getattr(error, "strerror", None) or error
            text, hint = f"the host name of {self._where} cannot be resolved: {reason}", "check the name and the DNS"
        elif isinstance(error, ConnectionRefusedError):
            text, hint = f"{self._where} refused the connection", _UNREACHABLE_HINT
        else:
            text, hint = f"no connection to {self._where}: {getattr(error, 'strerror', None) or error} ({self.phase})", _UNREACHABLE_HINT
        return ConnectError(text, address=self.address, maybe_sent=False, hint=hint, cause=error)
