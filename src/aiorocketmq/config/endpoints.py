"""Name servers as cloud consoles write them, `http://MQ_INST_123_abc.mq.example.com:80`, and namespaces (Java: `NameServerAddressUtils`).

Features L5, L11, L12.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from aiorocketmq.errors import ConfigError

_SCHEME: Final = "http://"
_HTTP_PORT: Final = ":80"
_INSTANCE: Final = re.compile(r"(MQ_INST_\w+_\w+?)\.", re.ASCII)
_LEGAL: Final = re.compile(r"[a-zA-Z0-9_|-]*")
_MAX_LENGTH: Final = 100


def without_scheme(entry: str) -> str:
    """The `host:port` of an endpoint `http://host:port`, whose port is 80 when it is left out; anything else as it is."""
    text = entry.strip()
    if text[: len(_SCHEME)].lower() != _SCHEME:
        return entry
    address = text[len(_SCHEME) :].removesuffix("/")
    if "/" in address:
        raise ConfigError(
            f"name server {text.rpartition('@')[2]!r} has a path",
            hint="write http://host:port; an address service is set by address_service_domain and address_service_group",
        )
    return address if re.search(r":[^\]]*$", address) else address + _HTTP_PORT


def instance_of(addresses: Iterable[str]) -> str:
    """The instance that name servers belong to by their host names, which is the namespace of all its topics and groups; "" for none.

    Raises:
        ConfigError: They belong to several.
    """
    found = sorted({match.group(1) for address in addresses if (match := _INSTANCE.match(address)) is not None})
    if len(found) > 1:
        raise ConfigError(
            f"the name servers belong to several instances: {', '.join(found)}",
            hint="make one client for each instance, or give namespace=",
        )
    return found[0] if found else ""


def check_namespaces(namespace: object, namespace_v2: object) -> None:
    """Refuse what can be no namespace.

    Raises:
        ConfigError: It is no text, too long, or has a character that is not allowed in names.
    """
    for field, value in (("namespace", namespace), ("namespace_v2", namespace_v2)):
        if value is None:
            continue
        if not isinstance(value, str) or len(value) > _MAX_LENGTH or not _LEGAL.fullmatch(value):
            raise ConfigError(
                f"{field} {value!r} is not a namespace", hint=f"use up to {_MAX_LENGTH} letters, digits, '_', '-' and '|', or leave it out"
            )
