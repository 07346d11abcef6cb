"""Which name server to ask (Java: `NettyRemotingClient.getAndCreateNameserverChannel`). Features L1, L6, L8.

The list is shuffled once, so that a fleet of clients spreads; the choice then sticks until that name server fails.
"""

from __future__ import annotations

import random
from collections.abc import Iterable


class NameServerChoice:
    """The list and the one that is in use."""

    __slots__ = ("_chosen", "_order")

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        self._order: tuple[str, ...] = ()
        self._chosen = 0
        self.update(addresses)

    @property
    def addresses(self) -> tuple[str, ...]:
        """All name servers, in the shuffled order."""
        return self._order

    @property
    def chosen(self) -> str | None:
        """The one in use; None when the list is empty."""
        return self._order[self._chosen] if self._order else None

    def candidates(self) -> tuple[str, ...]:
        """All name servers, the one in use first."""
        return self._order[self._chosen :] + self._order[: self._chosen]

    def failed(self, address: str) -> bool:
        """Go on to the next one if `address` is in use; tells whether the choice changed."""
        if self.chosen != address or len(self._order) == 1:
            return False
        self._chosen = (self._chosen + 1) % len(self._order)
        return True

    def update(self, addresses: Iterable[str]) -> frozenset[str] | None:
        """Replace the list; the one in use stays so if it is still listed.

        Returns:
            The addresses that are gone, or None when the list is the same in any order.
        """
        fresh = list(dict.fromkeys(addresses))
        old = frozenset(self._order)
        if old == frozenset(fresh):
            return None
        chosen = self.chosen
        random.shuffle(fresh)
        self._order = tuple(fresh)
        self._chosen = self._order.index(chosen) if chosen in old & set(fresh) and chosen is not None else 0
        return old - set(fresh)
