"""Faults that tests inject into a broker: error answers, delays and lost requests, by request code.

Nothing here costs anything while no fault is set: the broker asks `armed` once per request.
"""

from __future__ import annotations

from dataclasses import dataclass

ANY = -1
"""Stands for every request code."""


@dataclass(slots=True)
class Fault:
    """What happens to a request instead of its normal handling; mutable, because `remaining` counts down.

    Attributes:
        code: Request code it applies to, or `ANY`.
        remaining: How many requests it still hits; None for all.
        answer: Response code to answer with, or None.
        remark: Text of that answer.
        delay: Seconds before the request is handled (or answered with `answer`).
        drop: True loses the request: no answer ever.
        lose_answer: True handles the request but loses its answer.
    """

    code: int
    remaining: int | None = None
    answer: int | None = None
    remark: str = ""
    delay: float = 0.0
    drop: bool = False
    lose_answer: bool = False


class Faults:
    """The faults set on one broker."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    @property
    def armed(self) -> bool:
        return bool(self._faults)

    def answer_with(self, code: int, *, request: int = ANY, times: int | None = None, remark: str = "injected fault") -> Fault:
        """Answer requests with this response code instead of handling them."""
        return self._add(Fault(request, times, answer=code, remark=remark))

    def delay(self, seconds: float, *, request: int = ANY, times: int | None = None) -> Fault:
        """Hold requests back for a while before they are handled."""
        return self._add(Fault(request, times, delay=seconds))

    def drop_next(self, times: int = 1, *, request: int = ANY) -> Fault:
        """Lose the next requests before they are handled."""
        return self._add(Fault(request, times, drop=True))

    def lose_answers(self, times: int = 1, *, request: int = ANY) -> Fault:
        """Handle the next requests, but lose their answers."""
        return self._add(Fault(request, times, lose_answer=True))

    def clear(self) -> None:
        """Remove every fault."""
        self._faults.clear()

    def remove(self, fault: Fault) -> None:
        """Remove one fault; does nothing when it is gone already."""
        if fault in self._faults:
            self._faults.remove(fault)

    def take(self, code: int) -> Fault | None:
        """The fault that hits a request of this code, counted down; None when there is none."""
        for fault in self._faults:
            if fault.code in (ANY, code):
                if fault.remaining is not None:
                    fault.remaining -= 1
                    if fault.remaining <= 0:
                        self._faults.remove(fault)
                return fault
        return None

    def _add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault
