"""Brokers that advertise an address which cannot be reached from here: behind NAT, in containers, through tunnels (no Java twin).

Routes, logs and errors name the advertised address; only who dials asks for the other one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.checks import dropped
from aiorocketmq.model.parsing import address_or_none, parse_address

AddressFunction = Callable[[str], str]
"""Gives the address to dial for an advertised one, both `host:port`; the same one where nothing is to be changed."""


@dataclass(frozen=True, slots=True)
class AddressMap:
    """Which address to dial for an advertised one; made of what the user gives by `address_map_of()`.

    Attributes:
        pairs: Advertised and dialled addresses, sorted.
        function: The user's function, or None.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    function: AddressFunction | None = None

    def __call__(self, address: str) -> str:
        """The address to dial.

        Raises:
            ConfigError: The user's function raised, or gave no address.
        """
        if self.function is None:
            return dict(self.pairs).get(address, address)
        try:
            given = self.function(address)
        except Exception as error:  # noqa: BLE001 - the user's function; it is the cause of ours
            text = f"address_map raised {type(error).__name__} for {address!r}: {error}"
            raise ConfigError(text, hint="give back the address itself where nothing is to be changed", cause=error) from None
        if dropped(given):
            raise ConfigError("address_map gave a coroutine", hint="give a plain function: it cannot be `async def`")
        if not isinstance(given, str) or address_or_none(given) is None:
            raise ConfigError(f"address_map gave {given!r} for {address!r}, which is no address", hint="give back host:port")
        return given


def address_map_of(given: Any) -> AddressMap | None:
    """An `AddressMap` of a mapping, a function, or a text `advertised=reachable;...` as URLs and the environment have it; None of None.

    Raises:
        ConfigError: It is something else, or holds what is no address.
    """
    if given is None or isinstance(given, AddressMap):
        return given
    if isinstance(given, str):
        given = _parsed(given)
    if isinstance(given, Mapping):
        pairs = [(_address(advertised), _address(reachable)) for advertised, reachable in given.items()]
        return AddressMap(tuple(sorted(pairs))) if pairs else None
    if callable(given):
        return AddressMap(function=given)
    raise ConfigError(
        f"address_map {given!r} is a {type(given).__name__}",
        hint='give {"advertised:port": "reachable:port"}, or a function of one address',
    )


def _parsed(text: str) -> dict[str, str]:
    pairs = {}
    for entry in filter(None, (entry.strip() for entry in text.replace(",", ";").split(";"))):
        advertised, sign, reachable = entry.partition("=")
        if not sign:
            raise ConfigError(f"address_map {entry!r} has no '='", hint="write advertised:port=reachable:port;...")
        pairs[advertised.strip()] = reachable.strip()
    return pairs


def _address(text: object) -> str:
    if not isinstance(text, str):
        raise ConfigError(f"address_map holds {text!r}, a {type(text).__name__}", hint="give addresses as host:port")
    parse_address(text, "address of address_map")
    return str(text)
