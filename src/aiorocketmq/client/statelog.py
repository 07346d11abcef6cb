"""One log record per change of state: a lasting fault is reported when it begins and when it ends, not at every try (bar P11)."""

from __future__ import annotations

import logging


class StateLog:
    """Remembers which things are failing, and logs only when that changes; the tries between go to DEBUG."""

    __slots__ = ("_failing", "_logger")

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._failing: set[str] = set()

    def failed(self, key: str, text: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Log a failure of `key`: WARNING when it worked before, DEBUG when it was failing already."""
        level = logging.DEBUG if key in self._failing else logging.WARNING
        self._failing.add(key)
        self._logger.log(level, text, *args, exc_info=exc_info)

    def worked(self, key: str, text: str, *args: object) -> None:
        """Log that `key` works again, when it was failing."""
        if key in self._failing:
            self._failing.discard(key)
            self._logger.info(text, *args)

    def forget(self, key: str) -> None:
        """Drop what is known of `key`, so that names that are gone do not add up."""
        self._failing.discard(key)
