"""Tables in memory that follow the database (Java: `ConfigManager`, which writes its tables to files now and then)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, TypeVar

from aiorocketmq.errors import RocketMQError
from aiorocketmq.server.store.records import Unit
from aiorocketmq.server.store.store import Store

_V = TypeVar("_V")


class StoredTable(Generic[_V]):
    """Values by name, kept as settings of one kind.

    The table shows what is committed. Besides it the values on their way into the database are known: whoever builds on one of them is
    refused when that cannot be stored.

    Args:
        store: Where they are kept.
        kind: Kind of the settings.
        encode: Makes a value's text.
        decode: Reads it.
        on_change: Called with a name after the commit that changed it.
    """

    def __init__(
        self, store: Store, kind: str, encode: Callable[[_V], str], decode: Callable[[str], _V], on_change: Callable[[str], None]
    ) -> None:
        self._store = store
        self._kind = kind
        self._encode = encode
        self._decode = decode
        self._on_change = on_change
        self._table: dict[str, _V] = {}
        self._pending: dict[str, list[tuple[Unit, _V | None]]] = {}

    def load(self) -> None:
        """Read the database.

        Raises:
            ProtocolError: A value cannot be read.
            ServiceNotAvailableError: The database cannot.
        """
        self._table = {name: self._decode(text) for name, text in self._store.settings(self._kind).items()}

    def seed(self, name: str, value: _V, *, replace: bool = False) -> None:
        """Put a value that is there from the start; it is shown at once, and with `replace` instead of what was stored."""
        if name not in self._table or (replace and self._table[name] != value):
            self._table[name] = value
            self._store.put_setting(self._kind, name, self._encode(value))

    def unseed(self, name: str) -> None:
        """Take away a value that an earlier start put there; does nothing when there is none."""
        if self._table.pop(name, None) is not None:
            self._store.put_setting(self._kind, name, None)

    def __contains__(self, name: str) -> bool:
        return name in self._table

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[_V]:
        return iter(self._table.values())

    def names(self) -> list[str]:
        """Names of the committed values."""
        return list(self._table)

    def get(self, name: str) -> _V | None:
        """The committed value."""
        return self._table.get(name)

    def latest(self, name: str) -> _V | None:
        """The value as it will be after the commit under way; the request that asks builds on it."""
        pending = self._pending.get(name)
        if pending is None:
            return self._table.get(name)
        unit, value = pending[-1]
        self._store.build_on(unit)
        return value

    def put(self, name: str, value: _V | None) -> None:
        """Set a value, or remove it (None), with the commit of this tick."""
        text = self._encode(value) if value is not None else None
        unit = self._store.put_setting(self._kind, name, text, partial(self._apply, name, value))
        self._pending.setdefault(name, []).append((unit, value))
        unit.callbacks.append(partial(self._settled, name, unit))

    def _apply(self, name: str, value: _V | None) -> None:
        changed = self._table.get(name) != value
        if value is None:
            self._table.pop(name, None)
        else:
            self._table[name] = value
        if changed:
            self._on_change(name)

    def _settled(self, name: str, unit: Unit, error: RocketMQError | None) -> None:
        # Commits are told in the order of their writes, but what is revoked never gets there.
        pending = self._pending[name]
        del pending[next(place for place, (writer, _) in enumerate(pending) if writer is unit)]
        if not pending:
            del self._pending[name]
