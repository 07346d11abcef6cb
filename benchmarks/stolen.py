"""Processor time that a virtual machine wanted and did not get, because its host gave it to others (Linux counts it, `st` of `vmstat`).

A round in which it was much says little about the program that was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

STAT = Path("/proc/stat")
_STEAL = 7
"""Place of the stolen time among the times of all processors: user, nice, system, idle, waiting, two kinds of interrupts, stolen."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """Time of all processors since the machine was started.

    Attributes:
        stolen: What others had.
        total: All of it.
    """

    stolen: int
    total: int

    @classmethod
    def now(cls) -> Self | None:
        """None where the system does not count it."""
        try:
            with STAT.open(encoding="ascii") as file:
                times = [int(word) for word in file.readline().split()[1:]]
        except (OSError, ValueError):
            return None
        return cls(times[_STEAL], sum(times[: _STEAL + 1])) if len(times) > _STEAL else None


def share(before: Ticks | None, after: Ticks | None) -> float | None:
    """The part of the processor time between two looks that others had, 0 to 1; None where it is not known."""
    if before is None or after is None or after.total <= before.total:
        return None
    return (after.stolen - before.stolen) / (after.total - before.total)
