"""Faults that tests inject into a broker: error answers, delays and lost requests, by request code.

Nothing here costs anything while no fault is set: the broker asks `armed` once per request.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.checks import INT32_MAX, duration, whole

Duration = float | timedelta

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
    """The faults set on one broker.

    Several may hit one request: their delays add up, and of the others the one that was set first happens. Each that hits is counted.
    """

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    @property
    def armed(self) -> bool:
        return bool(self._faults)

    def answer_with(self, code: int, *, request: int = ANY, times: int | None = None, remark: str = "injected fault") -> Fault:
        """Answer requests with this response code instead of handling them.

        Args:
            code: Response code.
            request: Request code that is hit; without it, every request is.
            times: How many requests are hit; None for all.
            remark: Text of the answer.

        Raises:
            ConfigError: A number is none, or out of range.
        """
        return self._add(Fault(request, times, answer=whole("code", code, -INT32_MAX, INT32_MAX), remark=remark))

    def delay(self, seconds: Duration, *, request: int = ANY, times: int | None = None) -> Fault:
        """Hold requests back for a while before they are handled.

        Args:
            seconds: For how long; seconds, or a timedelta.
            request, times: As for `answer_with`.

        Raises:
            ConfigError: As for `answer_with`.
        """
        return self._add(Fault(request, times, delay=duration("seconds", seconds, 0.0)))

    def drop_next(self, times: int = 1, *, request: int = ANY) -> Fault:
        """Lose the next requests before they are handled.

        Raises:
            ConfigError: As for `answer_with`.
        """
        return self._add(Fault(request, whole("times", times), drop=True))

    def lose_answers(self, times: int = 1, *, request: int = ANY) -> Fault:
        """Handle the next requests, but lose their answers.

        Raises:
            ConfigError: As for `answer_with`.
        """
        return self._add(Fault(request, whole("times", times), lose_answer=True))

    def clear(self) -> None:
        """Remove every fault."""
        self._faults.clear()

    def remove(self, fault: Fault) -> None:
        """Remove one fault; does nothing when it is gone already."""
        self._faults = [each for each in self._faults if each is not fault]

    def take(self, code: int) -> Fault | None:
        """What happens to a request of this code, counted down; None when nothing does."""
        delays: list[Fault] = []
        other: Fault | None = None
        for fault in self._faults:
            if fault.code not in (ANY, code):
                continue
            if not (fault.drop or fault.lose_answer or fault.answer is not None):
                delays.append(fault)
            elif other is None:
                other = fault
        if other is None and not delays:
            return None
        for fault in delays if other is None else [*delays, other]:
            self._count(fault)
        together = sum(each.delay for each in delays)
        return Fault(code, delay=together) if other is None else replace(other, delay=together)

    def _count(self, fault: Fault) -> None:
        if fault.remaining is not None:
            fault.remaining -= 1
            if fault.remaining <= 0:
                self.remove(fault)

    def _add(self, fault: Fault) -> Fault:
        whole("request", fault.code, -INT32_MAX, INT32_MAX)
        if fault.remaining is not None:
            whole("times", fault.remaining)
        if not isinstance(fault.remark, str):
            raise ConfigError(f"remark {fault.remark!r} is not a string", hint="give the text of the answer")
        self._faults.append(fault)
        return fault
