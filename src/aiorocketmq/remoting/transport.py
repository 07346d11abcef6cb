"""How a connection is opened (Java: the Netty `Bootstrap` in `NettyRemotingClient`). Features L9, O14.

A `Connector` is the one seam between this library and the network of a client: tests replace it by an in-memory one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

PHASE_RESOLVE = "resolving the name"
PHASE_TCP = "opening the TCP connection"
PHASE_TLS = "TLS handshake"

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
    """The `Connector` for TCP: resolves the name at each call and tries its addresses one after the other."""
    loop = asyncio.get_running_loop()
    on_phase(PHASE_RESOLVE)
    addresses = await _resolve(loop, host, port)
    on_phase(PHASE_TCP)
    sock = await _dial(loop, addresses)
    if ssl_context is not None:
        on_phase(PHASE_TLS)
    # From here on the transport owns the socket and closes it, also when the handshake fails or is cancelled.
    return await loop.create_connection(
        protocol_factory, sock=sock, ssl=ssl_context, server_hostname=server_hostname if ssl_context is not None else None
    )


_Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


async def _resolve(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[_Address]:
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(info[0], info[4]) for info in found]  # type: ignore[misc]  # SOCK_STREAM of AF_INET and AF_INET6 only
    # An IP address needs no resolver thread.
    if literal.version == 4:
        return [(socket.AF_INET, (host, port))]
    return [(socket.AF_INET6, (host, port, 0, 0))]


async def _dial(loop: asyncio.AbstractEventLoop, addresses: list[_Address]) -> socket.socket:
    """Connect to the first address that answers; all but the last one may use a share of at most one second."""
    last_error: OSError = OSError("the name has no address")
    for number, (family, address) in enumerate(addresses, 1):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(1.0 if number < len(addresses) else None):
                await loop.sock_connect(sock, address)
        except OSError as error:  # TimeoutError is one
            sock.close()
            last_error = error
        except asyncio.CancelledError:
            sock.close()
            raise
        else:
            return sock
    raise last_error
