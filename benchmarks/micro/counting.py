"""Counts what Python does: bytecode instructions, and calls.

The counts cover everything that runs between `start()` and `stop()` on the thread itself and on threads made while the counter is
installed: our code and the standard library's, but not the benchmarks' own.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Self

_ROOT = Path(__file__).resolve().parents[2]
_HARNESS = (str(_ROOT / "benchmarks"), str(_ROOT / "tests"))


@cache
def _is_harness(filename: str) -> bool:
    return filename.startswith(_HARNESS)


class Counter:
    """Counts by `sys.settrace` and `sys.setprofile`, on this thread and those that are made from now on; a context manager."""

    def __init__(self) -> None:
        self._counting = False
        # `next()` of an iterator is one step that no other thread can cut in two.
        self._tallies = [itertools.count(), itertools.count(), itertools.count()]
        self._starts = [0, 0, 0]

    def start(self) -> None:
        """Begin to count."""
        self._starts = [next(tally) + 1 for tally in self._tallies]
        self._counting = True

    def stop(self) -> tuple[int, int, int]:
        """Bytecode instructions, calls of Python functions (resumed coroutines included) and calls of C functions since `start()`."""
        self._counting = False
        bytecodes, python_calls, c_calls = (next(tally) - start for tally, start in zip(self._tallies, self._starts, strict=True))
        return bytecodes, python_calls, c_calls

    def __enter__(self) -> Self:
        # A debugger, or the measuring of coverage, may have set its own.
        self._before = sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile()
        self._set(self._trace, self._profile, self._trace, self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        self._set(*self._before)

    @staticmethod
    def _set(trace: Any, profile: Any, thread_trace: Any, thread_profile: Any) -> None:
        threading.settrace(thread_trace)
        threading.setprofile(thread_profile)
        sys.settrace(trace)
        sys.setprofile(profile)

    def _trace(self, frame: FrameType, _event: str, _argument: Any) -> Callable[[FrameType, str, Any], None] | None:
        """Called for every new or resumed frame."""
        if not self._counting or _is_harness(frame.f_code.co_filename):
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return self._trace_frame

    def _trace_frame(self, _frame: FrameType, event: str, _argument: Any) -> None:
        if event == "opcode" and self._counting:
            next(self._tallies[0])

    def _profile(self, frame: FrameType, event: str, _argument: Any) -> None:
        if self._counting and event in ("call", "c_call") and not _is_harness(frame.f_code.co_filename):
            next(self._tallies[1 if event == "call" else 2])
