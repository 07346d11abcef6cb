"""Comparison and text of headers and bodies, written once (no Java twin)."""

from __future__ import annotations

import dataclasses


class Record:
    """Base of the many dataclasses of this layer, which are declared with `repr=False, eq=False`.

    `dataclass` compiles both methods anew for every class; with over a hundred classes that is a noticeable part of the import.
    """

    __slots__ = ()

    def _values(self) -> dict[str, object]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]  # subclasses are

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._values().items())
        return f"{type(self).__name__}({fields})"
