"""How a connection is opened (Java: the Netty `Bootstrap` in `NettyRemotingClient`). Features L9, O14.

A `Connector` is the one seam between this library and the network of a client: tests replace it by an in-memory one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

PHASE_RESOLVE = "resolving the name"
PHASE_TCP = "opening the TCP connection"
PHASE_TLS = "TLS handshake"

# When the next address of a name is tried beside those that have not answered yet; and in what time all of them are tried.
_NEXT_ADDRESS: Final = 0.25
_ALL_ADDRESSES: Final = 1.5

ProtocolFactory = Callable[[], asyncio.Protocol]


class Connector(Protocol):
    """Opens one connection."""

    async def __call__(
        self,
        host: str,
        port: int,
        protocol_factory: ProtocolFactory,
        ssl_context: ssl.SSLContext | None,
        server_hostname: str | None,
        on_phase: Callable[[str], None],
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Connect to `host`:`port` and return the transport with the protocol that `protocol_factory` made.

        Args:
            host: Name or IP address, without brackets.
            port: TCP port.
            protocol_factory: Makes the protocol once the connection stands.
            ssl_context: Speak TLS with this context; None for a plain connection.
            server_hostname: Name that the certificate must carry; None without TLS.
            on_phase: Told what is going on, so that a time-out can be named after it.

        Raises:
            OSError: The name does not resolve, nobody listens, or the TLS handshake failed.
        """
        ...


async def open_connection(
    host: str,
    port: int,
    protocol_factory: ProtocolFactory,
    ssl_context: ssl.SSLContext | None,
    server_hostname: str | None,
    on_phase: Callable[[str], None],
) -> tuple[asyncio.Transport, asyncio.Protocol]:
    """The `Connector` for TCP: resolves the name at each call and tries all its addresses."""
    loop = asyncio.get_running_loop()
    return await speak(loop, await dial(loop, host, port, on_phase), protocol_factory, ssl_context, server_hostname, on_phase)


async def dial(loop: asyncio.AbstractEventLoop, host: str, port: int, on_phase: Callable[[str], None]) -> socket.socket:
    """A connected socket; the first two phases of `open_connection()`."""
    on_phase(PHASE_RESOLVE)
    addresses = await _resolve(loop, host, port)
    on_phase(PHASE_TCP)
    return await _dial(loop, addresses)


async def speak(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    protocol_factory: ProtocolFactory,
    ssl_context: ssl.SSLContext | None,
    server_hostname: str | None,
    on_phase: Callable[[str], None],
) -> tuple[asyncio.Transport, asyncio.Protocol]:
    """Put a protocol on a connected socket, and TLS between them if there is a context; the last phase of `open_connection()`."""
    if ssl_context is not None:
        on_phase(PHASE_TLS)
    # From here on the transport owns the socket and closes it, also when the handshake fails or is cancelled.
    try:
        return await loop.create_connection(
            protocol_factory, sock=sock, ssl=ssl_context, server_hostname=server_hostname if ssl_context is not None else None
        )
    except ValueError as error:
        if not isinstance(error, OSError):
            sock.close()  # a host that can be in no certificate: there is no transport yet
        raise


_Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


async def _resolve(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[_Address]:
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except RuntimeError:  # the interpreter is ending and starts no thread any more: nothing else waits for the loop
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(info[0], info[4]) for info in found]  # type: ignore[misc]  # SOCK_STREAM of AF_INET and AF_INET6 only
    # An IP address needs no resolver thread.
    if literal.version == 4:
        return [(socket.AF_INET, (host, port))]
    return [(socket.AF_INET6, (host, port, 0, 0))]


async def _dial(loop: asyncio.AbstractEventLoop, addresses: list[_Address]) -> socket.socket:
    """Connect to the first address that answers. The next one is tried when one fails, or after a while beside it (RFC 8305)."""
    if len(addresses) == 1:
        return await _connect(loop, *addresses[0])
    error: OSError = OSError("the name has no address")
    waiting = deque(addresses)
    running: set[asyncio.Task[socket.socket]] = set()
    winner: socket.socket | None = None
    pause = min(_NEXT_ADDRESS, _ALL_ADDRESSES / max(1, len(addresses)))
    try:
        while waiting or running:
            if waiting:
                running.add(loop.create_task(_connect(loop, *waiting.popleft())))
            done, running = await asyncio.wait(running, timeout=pause if waiting else None, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                failure = task.exception()
                if failure is None and winner is None:
                    winner = task.result()
                elif failure is None:
                    task.result().close()
                elif isinstance(failure, OSError):
                    error = failure
                else:
                    raise failure
            if winner is not None:
                return winner
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_late)  # not awaited: a cancellation meanwhile would lose the winner
    raise error


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connect(loop: asyncio.AbstractEventLoop, family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def close_orphan(transport: asyncio.BaseTransport) -> None:
    """Close the socket of a transport whose event loop is closed. uvloop does that with the loop; asyncio leaves it open."""
    close_beneath(transport.get_extra_info("socket"))


def close_beneath(seen: object) -> None:
    """Close the real socket beneath what asyncio lets others see of it."""
    sock = getattr(seen, "_sock", None)
    if sock is not None:
        sock.close()
