"""What lasting faults may write into the log: a record when one begins and one when it ends, and at most 6 a minute of one cause.

Every record of the client side that can come again and again goes through here; what is held back goes to DEBUG. No Java class: its client
logs each failure.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

PER_MINUTE: Final = 6
"""Records of one cause in any 60 s."""
_WINDOW: Final = 60.0
_MANY: Final = 256
"""Causes remembered before those that have been quiet for a minute are dropped."""


@dataclass(slots=True)
class _Failing:
    """Something that fails. Mutable.

    Attributes:
        told: The log has told so.
        since: When it began.
        at: When it last failed.
        text: How.
    """

    told: bool
    since: float
    at: float
    text: str


class StateLog:
    """Remembers which things are failing, and logs when that changes; the tries between go to DEBUG, and so does what flaps."""

    __slots__ = ("_failing", "_logger", "_told")

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._failing: dict[str, _Failing] = {}
        self._told: dict[str, deque[float]] = {}

    @property
    def failing(self) -> tuple[str, ...]:
        """What is failing now."""
        return tuple(self._failing)

    def troubles(self, *, older: float, within: float) -> list[str]:
        """What has been failing for longer than `older` seconds, and did so within the last `within` seconds, as the log tells it."""
        now = _now()
        return [each.text for each in self._failing.values() if now - each.since >= older and now - each.at <= within]

    def failed(self, key: str, text: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Log a failure of `key`: WARNING when it worked before, DEBUG when it was failing already."""
        now, known = _now(), self._failing.get(key)
        if known is None:
            known = self._failing[key] = _Failing(False, now, now, "")
        known.at, known.text = now, text % args if args else text
        # One record of the minute is left for the end of the failure.
        if not known.told and self._take(key, PER_MINUTE - 1):
            known.told = True
            self._logger.warning(text, *args, exc_info=exc_info)
        else:
            self._logger.debug(text, *args, exc_info=exc_info)

    def worked(self, key: str, text: str, *args: object) -> None:
        """Log that `key` works again, when the log has told that it was failing."""
        known = self._failing.pop(key, None)
        if known is not None and known.told and self._take(key, PER_MINUTE):
            self._logger.info(text, *args)
        elif known is not None:
            self._logger.debug(text, *args)

    def note(self, level: int, key: str, text: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Log something that happens rather than lasts: the first ones of a minute at `level`, the others at DEBUG."""
        self._logger.log(level if self._take(key, PER_MINUTE) else logging.DEBUG, text, *args, exc_info=exc_info)

    def forget(self, key: str) -> None:
        """Drop what is known of `key`, so that names that are gone do not add up."""
        self._failing.pop(key, None)

    def _take(self, key: str, limit: int) -> bool:
        """Whether one more record of the cause may be written now."""
        now = _now()
        told = self._told.get(key)
        if told is None:
            if len(self._told) >= _MANY:
                self._told = {other: times for other, times in self._told.items() if now - times[-1] < _WINDOW}
            told = self._told[key] = deque()
        while told and now - told[0] >= _WINDOW:
            told.popleft()
        if len(told) >= limit:
            return False
        told.append(now)
        return True


def _now() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:  # a listener's thread
        return time.monotonic()
