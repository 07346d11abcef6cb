"""What tells brokers the time: the computer's clock, or a function of the user's, and moved ahead by as much as one likes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.parsing import YEAR_10000

_LATEST: Final = YEAR_10000 - 1
"""The end of the year 9999: beyond it times do not fit where they are stored."""
_HINT: Final = "let it return the seconds since the epoch, as time.time() does"

logger = logging.getLogger("aiorocketmq.server")


class WallClock:
    """A clock that can be moved ahead, and that always tells a time once it has told one.

    Args:
        source: Tells the seconds since the epoch; None takes the computer's clock.

    Raises:
        ConfigError: It cannot be called.
    """

    def __init__(self, source: Callable[[], float] | None) -> None:
        if source is not None and not callable(source):
            raise ConfigError(f"clock is a {type(source).__name__}", hint=f"give a function: {_HINT}")
        self._source = source or time.time
        self._ahead = 0.0
        self._last = 0.0
        self._failing = False

    def check(self) -> None:
        """Do nothing when it tells the time.

        Raises:
            ConfigError: It raises, or what it gives is no time.
        """
        self._last = self._read()

    def now_ms(self) -> int:
        """Milliseconds since the epoch. While the source fails, time stands still: work under way must not be lost for that."""
        try:
            self._last = self._read()
        except ConfigError as error:
            if not self._failing:
                self._failing = True
                logger.error("time stands still for the brokers: %s", error)
        else:
            self._failing = False
        return int((self._last + self._ahead) * 1000)

    @property
    def left(self) -> float:
        """By how many seconds it can be moved ahead."""
        return max(0.0, _LATEST - self.now_ms() / 1000)

    def advance(self, seconds: float) -> None:
        """Move it ahead, for good."""
        self._ahead += seconds

    def _read(self) -> float:
        try:
            seconds = self._source()
        except Exception as error:  # noqa: BLE001 - the user's function
            raise ConfigError(f"clock raises {type(error).__name__}: {error}", hint=_HINT, cause=error) from None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _LATEST:
            raise ConfigError(f"clock gives {str(seconds)[:80]!r}, which is no time", hint=_HINT)
        return seconds
