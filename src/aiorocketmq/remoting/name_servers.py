"""Which name server to ask (Java: `NettyRemotingClient.getAndCreateNameserverChannel`). Features L1, L6, L8.

The list is shuffled once, so that a fleet of clients spreads; the choice then sticks until that name server fails.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from aiorocketmq.remoting.peers import NameServerRecord


class NameServerChoice:
    """The list and the one that is in use.

    Attributes:
        records: Address → how it answers, for those that were asked.
    """

    __slots__ = ("_chosen", "_order", "records")

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        self._order: tuple[str, ...] = ()
        self._chosen = 0
        self.records: dict[str, NameServerRecord] = {}
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

    def answered(self, address: str, now: float) -> None:
        """`address` has answered, whatever it said."""
        record = self._record(address)
        record.answered_at, record.error = now, ""

    def missing(self) -> list[str]:
        """Those that did not answer when they were asked last, without the one in use, which is asked again anyway."""
        return [address for address in self.candidates()[1:] if address in self.records and self.records[address].error]

    def reached(self, address: str) -> None:
        """`address` can be reached again."""
        self._record(address).error = ""

    def failed(self, address: str, error: str) -> bool:
        """Go on to the next one if `address` is in use; tells whether the choice changed."""
        record = self._record(address)
        record.failures += 1
        record.error = error
        if self.chosen != address or len(self._order) == 1:
            return False
        self._chosen = (self._chosen + 1) % len(self._order)
        return True

    def _record(self, address: str) -> NameServerRecord:
        if address not in self._order:  # replaced while it was asked
            return NameServerRecord()
        return self.records.setdefault(address, NameServerRecord())

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
        self.records = {address: record for address, record in self.records.items() if address in self._order}
        return old - set(fresh)
