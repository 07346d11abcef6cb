"""Counts what Python does: bytecode instructions, calls, bytes of memory.

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
from types import BuiltinFunctionType, CodeType, FrameType, MethodDescriptorType, TracebackType
from typing import Any, Self

_ROOT = Path(__file__).resolve().parents[2]
_HARNESS = (str(_ROOT / "benchmarks"), str(_ROOT / "tests"))


@cache
def _is_harness(filename: str) -> bool:
    return filename.startswith(_HARNESS)


class _Tally:
    """A number that several threads may raise: `next()` of an iterator is one step that no other thread can cut in two."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._start = 0
        self.add: Callable[[], int] = self._numbers.__next__

    def start(self) -> None:
        self._start = self.add() + 1

    def stop(self) -> int:
        return self.add() - self._start


class _Counter:
    """What both ways of counting share; a context manager that installs it."""

    def __init__(self) -> None:
        self._counting = False
        self._bytecodes, self._python_calls, self._c_calls = _Tally(), _Tally(), _Tally()

    def start(self) -> None:
        """Begin to count."""
        for tally in (self._bytecodes, self._python_calls, self._c_calls):
            tally.start()
        self._counting = True

    def stop(self) -> tuple[int, int, int]:
        """Bytecode instructions, calls of Python functions (resumed coroutines included) and calls of C functions since `start()`."""
        self._counting = False
        return self._bytecodes.stop(), self._python_calls.stop(), self._c_calls.stop()

    def __enter__(self) -> Self:
        self._install()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._remove()

    def _install(self) -> None: ...

    def _remove(self) -> None: ...


if sys.version_info >= (3, 12):
    _EVENTS = sys.monitoring.events

    class Counter(_Counter):
        """Counts by `sys.monitoring`, on all threads."""

        _TOOL = sys.monitoring.PROFILER_ID

        def _install(self) -> None:
            monitoring = sys.monitoring
            monitoring.use_tool_id(self._TOOL, "aiorocketmq micro-benchmarks")
            monitoring.register_callback(self._TOOL, _EVENTS.INSTRUCTION, self._on_instruction)
            monitoring.register_callback(self._TOOL, _EVENTS.PY_START, self._on_start)
            monitoring.register_callback(self._TOOL, _EVENTS.PY_RESUME, self._on_start)
            monitoring.register_callback(self._TOOL, _EVENTS.CALL, self._on_call)
            monitoring.set_events(self._TOOL, _EVENTS.INSTRUCTION | _EVENTS.PY_START | _EVENTS.PY_RESUME | _EVENTS.CALL)

        def _remove(self) -> None:
            sys.monitoring.set_events(self._TOOL, 0)
            sys.monitoring.free_tool_id(self._TOOL)

        def _on_instruction(self, code: CodeType, _offset: int) -> None:
            if self._counting and not _is_harness(code.co_filename):
                self._bytecodes.add()

        def _on_start(self, code: CodeType, _offset: int) -> None:
            if self._counting and not _is_harness(code.co_filename):
                self._python_calls.add()

        def _on_call(self, code: CodeType, _offset: int, function: object, _first: object) -> None:
            if self._counting and isinstance(function, (BuiltinFunctionType, MethodDescriptorType)) and not _is_harness(code.co_filename):
                self._c_calls.add()

else:

    class Counter(_Counter):
        """Counts by `sys.settrace` and `sys.setprofile`, on this thread and those that are made from now on."""

        def _install(self) -> None:
            # A debugger, or the measuring of coverage, may have set its own.
            self._before = sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile()
            self._set(self._trace, self._profile, self._trace, self._profile)

        def _remove(self) -> None:
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
                self._bytecodes.add()

        def _profile(self, frame: FrameType, event: str, _argument: Any) -> None:
            if self._counting and not _is_harness(frame.f_code.co_filename):
                if event == "call":
                    self._python_calls.add()
                elif event == "c_call":
                    self._c_calls.add()
