"""How long this process was kept from the processor: what a busy machine does to a test, told apart from what the client does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_INTERVAL: Final = 0.02
_NOISE: Final = 0.05
"""Seconds of delay that are not counted where only the sleeping thread can tell."""
_TASKS: Final = Path("/proc/self/task")


def waited_for_processor(*, but: int | None = None) -> float | None:
    """Seconds that the living threads of this process were ready to run and did not, since they began; None where the system does not tell.

    Args:
        but: Native id of a thread that does not count.
    """
    total = 0
    try:
        for task in _TASKS.iterdir():
            if task.name != str(but):
                try:
                    total += int((task / "schedstat").read_text().split()[1])
                except FileNotFoundError:
                    if not task.exists():
                        continue  # the thread has just ended
                    return None
    except (OSError, ValueError, IndexError):
        return None
    return total / 1e9


class Starvation:
    """Measures the time in which this process was due and did not run.

    Where the system counts it (Linux), it is what the threads have waited for a processor. Elsewhere a thread that only sleeps tells how
    much too late it woke although the process used no processor. A client that computes for long, or blocks its event loop in a system
    call, is not excused: neither is waiting for a processor.
    """

    def __init__(self) -> None:
        self._missing: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="starvation", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        own = threading.get_native_id()
        began, used, waited = time.monotonic(), time.process_time(), waited_for_processor(but=own)
        ended = False
        while not ended:
            ended = self._ended.wait(_INTERVAL)
            now, used_now, waited_now = time.monotonic(), time.process_time(), waited_for_processor(but=own)
            if waited is not None and waited_now is not None:
                missing = waited_now - waited
            else:
                late = now - began - _INTERVAL - (used_now - used)
                missing = late if late > _NOISE else 0.0
            if missing > 0:
                self._missing.append((now, missing))
            began, used, waited = now, used_now, waited_now

    def between(self, begin: float, end: float) -> float:
        """Seconds without the processor between two moments of the monotonic clock."""
        return sum(min(missing, at - begin) for at, missing in self._missing if begin < at <= end + _INTERVAL)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """The block takes at most so many seconds, not counting those in which this process waited for a processor.

    Raises:
        AssertionError: It took longer.
    """
    with Starvation() as starvation:
        began = time.monotonic()
        yield
        ended = time.monotonic()
    took, kept = ended - began, starvation.between(began, ended)
    assert took - kept <= seconds, f"{took:.3f} s, {kept:.3f} s of them without the processor; at most {seconds:g} s were expected"
