"""Which peers have no connection although they should, and why; how the name servers answer. There is no Java twin.

Kept for the log, which tells of a peer once, and for those who ask how a client is. Nothing here is on the way of a request to a broker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Addresses whose failures are no news; after as many others they are told of once more.
_MOST: Final = 1024


class Peers:
    """The peers that could not be connected, and those whose connections were lost. Mutable; an entry ends with the next connection."""

    __slots__ = ("_lost", "_unreachable")

    def __init__(self) -> None:
        self._unreachable: dict[str, str] = {}
        self._lost: dict[str, str] = {}

    def connected(self, address: str) -> bool:
        """A connection stands; True when the one before could not be made."""
        self._lost.pop(address, None)
        return self._unreachable.pop(address, None) is not None

    def unreachable(self, address: str, error: str) -> bool:
        """A connection could not be made; True when that is no news."""
        known = address in self._unreachable
        if not known and len(self._unreachable) >= _MOST:  # where brokers get a new address at every start
            self._unreachable.clear()
        self._unreachable[address] = error
        return known

    def lost(self, address: str, error: str) -> None:
        """A connection ended, and this side did not mean it to."""
        if len(self._lost) >= _MOST:
            self._lost.clear()
        self._lost[address] = error

    def trouble(self, address: str) -> str:
        """Why there is no connection; "" when there is one, or none was needed."""
        return self._unreachable.get(address) or self._lost.get(address, "")


@dataclass(slots=True)
class NameServerRecord:
    """How one name server answers. Mutable: it counts.

    Attributes:
        answered_at: Loop time of its last answer, None before.
        failures: Requests that it did not answer.
        error: Why it did not answer the last one, "" when it did.
    """

    answered_at: float | None = None
    failures: int = 0
    error: str = ""
