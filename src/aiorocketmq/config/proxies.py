"""Which connections go through a SOCKS5 proxy (Java: `SocksProxyConfig`, `socksProxyConfig`). Features M7, Q65."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from aiorocketmq.config.credentials import Secret
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.parsing import parse_address, without_user

SocksProxyConfig = str | Mapping[str, Mapping[str, Any]]
"""Java's JSON, or what it says: `{"10.0.0.0/8": {"addr": "proxy:1080", "username": "me", "password": "..."}}`."""

_FORM = 'write {"0.0.0.0/0": {"addr": "host:port", "username": ..., "password": ...}}'


@dataclass(frozen=True, slots=True)
class SocksProxy:
    """One proxy.

    Attributes:
        host, port: Where it listens.
        username, password: For proxies that want them, else empty.
    """

    host: str
    port: int
    username: str = ""
    password: Secret = field(default=Secret(""), repr=False)

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SocksProxies:
    """Proxies by the network of what is dialled, the smallest networks first."""

    networks: tuple[tuple[IPv4Network | IPv6Network, SocksProxy], ...]

    def find(self, host: str) -> SocksProxy | None:
        """The proxy for a host, or None. Names, which the proxy resolves, belong to `0.0.0.0/0` alone."""
        try:
            address = ip_address(host)
        except ValueError:
            return next((proxy for network, proxy in self.networks if network.prefixlen == 0), None)
        return next((proxy for network, proxy in self.networks if network.prefixlen == 0 or address in network), None)

    def __reduce__(self) -> tuple[object, ...]:
        if any(proxy.password for _, proxy in self.networks):
            raise ConfigError(
                "proxies with a password are not pickled, because it would be in the pickle", hint="let the other process read its own"
            )
        return SocksProxies, (self.networks,)

    def __copy__(self) -> SocksProxies:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SocksProxies:
        return self


def proxies_of(given: object) -> SocksProxies | None:
    """Read what `socks_proxy_config` is given; None and an empty table mean no proxy.

    Raises:
        ConfigError: It cannot be read. No text shows a password.
    """
    if given is None or isinstance(given, SocksProxies):
        return given
    if isinstance(given, str):
        if not given.strip():
            return None
        try:
            given = json.loads(given)
        except ValueError:
            raise ConfigError("socks_proxy_config is no JSON", hint=_FORM) from None
    if not isinstance(given, Mapping):
        raise ConfigError(f"socks_proxy_config is a {type(given).__name__}", hint=_FORM)
    found = []
    for text, proxy in given.items():
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            raise ConfigError(
                f"socks_proxy_config names the network {without_user(str(text))!r}", hint="write it as 10.0.0.0/8; 0.0.0.0/0 is everything"
            ) from None
        found.append((network, _proxy(proxy, text)))
    return SocksProxies(tuple(sorted(found, key=lambda pair: -pair[0].prefixlen))) if found else None


def _proxy(given: object, where: str) -> SocksProxy:
    if not isinstance(given, Mapping) or not isinstance(given.get("addr"), str):
        raise ConfigError(f"socks_proxy_config has no addr for {where}", hint=_FORM)
    unknown = set(given) - {"addr", "username", "password"}
    if unknown:
        raise ConfigError(f"socks_proxy_config has {sorted(map(str, unknown))} for {where}", hint=_FORM)
    address = parse_address(given["addr"], "proxy")
    texts = []
    for name in ("username", "password"):
        value = given.get(name) or ""
        if not isinstance(value, str) or len(value.encode("utf-8", "replace")) > 255:
            raise ConfigError(f"socks_proxy_config has a {name} for {where} that is no text of 255 bytes at most", hint=_FORM)
        texts.append(value)
    return SocksProxy(address.host, address.port, texts[0], Secret(texts[1]))
