"""Who the client is towards brokers: local address, instance name, client id (Java: `ClientConfig.buildMQClientId`, `NetworkUtil`).

Nothing here sends a packet or asks a name service. Features K1, Q51, Q52.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import Final

from aiorocketmq.config import ClientConfig

LOOPBACK: Final = "127.0.0.1"
# Addresses reserved for documentation: choosing a route to them needs no packet, and nobody lives there.
_PROBES: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_SIOCGIFADDR: Final = 0x8915


def local_address() -> str:
    """This machine's address: IPv4 before IPv6, loopback last; an IPv6 address without brackets."""
    v4 = _source_address(*_PROBES[0]) or _interface_address()
    return v4 or _source_address(*_PROBES[1]) or LOOPBACK


def _source_address(family: socket.AddressFamily, probe: str) -> str | None:
    """The address that the kernel would send from; connecting a datagram socket only looks up the route."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe_socket:
            probe_socket.connect((probe, 9))
            address = str(probe_socket.getsockname()[0])
    except OSError:
        return None  # no route for this family: the next way is tried
    return None if address in ("0.0.0.0", "::", "::1") or address.startswith("127.") else address.partition("%")[0]


def _interface_address() -> str | None:
    """The first interface with an IPv4 address, for machines without a default route."""
    if not sys.platform.startswith("linux"):
        return None
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(any_socket.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # the interface has no IPv4 address
            address = socket.inet_ntoa(answer[20:24])
            if not address.startswith("127."):
                return address
    return None


def unique_instance_name(pid: int) -> str:
    """What `DEFAULT` becomes: the process id and 64 random bits, because two processes in two containers may share address and id."""
    return f"{pid}#{os.urandom(8).hex()}"


def make_client_id(config: ClientConfig, instance_name: str) -> str:
    """`address@instance[@unit][@STREAM]`; an IPv6 address is in brackets."""
    address = config.client_ip or local_address()
    if ":" in address and not address.startswith("["):
        address = f"[{address}]"
    parts = [address, instance_name]
    if config.unit_name:
        parts.append(config.unit_name)
    if config.enable_stream_request_type:
        parts.append("STREAM")
    return "@".join(parts)
