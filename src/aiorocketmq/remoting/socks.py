"""Connections through a SOCKS5 proxy (RFC 1928, RFC 1929; Java: Netty's `Socks5ProxyHandler` in `NettyRemotingClient`). Feature M7.

Names are resolved by the proxy. What goes wrong is an `OSError` that names the proxy and what it said.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Final

from aiorocketmq.config.proxies import SocksProxies, SocksProxy
from aiorocketmq.remoting.transport import ProtocolFactory, dial, open_connection, speak

PHASE_PROXY: Final = "asking the SOCKS5 proxy"

_VERSION: Final = 5
_NO_AUTHENTICATION: Final = 0
_PASSWORD: Final = 2
_CONNECT: Final = 1
_REFUSALS: Final = {
    1: "failed",
    2: "does not allow the connection",
    3: "cannot reach the network",
    4: "cannot reach the host",
    5: "was refused the connection",
    6: "gave up: the time to live expired",
    7: "knows no such command",
    8: "knows no such address type",
}


async def open_through(
    proxies: SocksProxies,
    host: str,
    port: int,
    protocol_factory: ProtocolFactory,
    ssl_context: ssl.SSLContext | None,
    server_hostname: str | None,
    on_phase: Callable[[str], None],
) -> tuple[asyncio.Transport, asyncio.Protocol]:
    """The `Connector` with proxies: asks the one for this host, or connects without one where there is none."""
    proxy = proxies.find(host)
    if proxy is None:
        return await open_connection(host, port, protocol_factory, ssl_context, server_hostname, on_phase)
    loop = asyncio.get_running_loop()
    on_phase(PHASE_PROXY)
    try:
        sock = await dial(loop, proxy.host, proxy.port, lambda phase: None)
    except (OSError, ValueError) as error:  # as another kind of error: that the server refused the connection is not what it says
        how = "refused the connection" if isinstance(error, ConnectionRefusedError) else f"cannot be reached: {_reason(error)}"
        raise OSError(f"the SOCKS5 proxy {proxy.address} {how}") from None
    try:
        await _ask(loop, sock, proxy, host, port)
    except BaseException:
        sock.close()
        raise
    return await speak(loop, sock, protocol_factory, ssl_context, server_hostname, on_phase)


def _reason(error: OSError | ValueError) -> object:
    return getattr(error, "strerror", None) or error


async def _ask(loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: SocksProxy, host: str, port: int) -> None:
    methods = bytes((_NO_AUTHENTICATION, _PASSWORD)) if proxy.username else bytes((_NO_AUTHENTICATION,))
    await loop.sock_sendall(sock, bytes((_VERSION, len(methods))) + methods)
    version, method = await _read(loop, sock, proxy, 2)
    if version != _VERSION:
        raise OSError(f"{proxy.address} is no SOCKS5 proxy")
    if method == _PASSWORD and proxy.username:
        name, password = proxy.username.encode("utf-8", "replace"), proxy.password().encode("utf-8", "replace")
        await loop.sock_sendall(sock, bytes((1, len(name))) + name + bytes((len(password),)) + password)
        _, status = await _read(loop, sock, proxy, 2)
        if status != 0:
            raise OSError(f"the SOCKS5 proxy {proxy.address} refuses user name and password")
    elif method != _NO_AUTHENTICATION:
        raise OSError(
            f"the SOCKS5 proxy {proxy.address} wants {'another authentication' if proxy.username else 'a user name and a password'}"
        )
    await loop.sock_sendall(sock, bytes((_VERSION, _CONNECT, 0)) + _address(host) + port.to_bytes(2, "big"))
    _, answer, _, kind = await _read(loop, sock, proxy, 4)
    if answer != 0:
        raise OSError(f"the SOCKS5 proxy {proxy.address} {_REFUSALS.get(answer, f'answers with code {answer}')}")
    length = {1: 4, 4: 16}.get(kind) or (await _read(loop, sock, proxy, 1))[0]
    await _read(loop, sock, proxy, length + 2)  # where it has connected from: of no use


def _address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("idna")
        return bytes((3, len(name))) + name
    return bytes((1 if address.version == 4 else 4,)) + address.packed


async def _read(loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: SocksProxy, count: int) -> bytes:
    data = b""
    while len(data) < count:  # byte for byte what belongs to the proxy: what follows is the peer's
        received = await loop.sock_recv(sock, count - len(data))
        if not received:
            raise OSError(f"the SOCKS5 proxy {proxy.address} closed the connection")
        data += received
    return data
