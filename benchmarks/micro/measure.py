"""Runs benchmarks: counts, memory, time."""

from __future__ import annotations

import gc
import itertools
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final
from unittest import mock

from benchmarks.micro.cases import Case, Run, call, is_async
from benchmarks.micro.counting import Counter
from tests.support.virtual_loop import run_virtual

WARM_UP: Final = 3
"""Calls before anything is counted: they fill caches, and bring the event loop's own frames under the counter."""
COUNTED: Final = 3
ROUND_SECONDS: Final = 0.02
ROUNDS: Final = 7
_REST: Final = 0.01
"""Seconds after which another thread is surely asleep again."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What one call costs; the same on every machine that runs the same Python.

    Attributes:
        bytecodes: Bytecode instructions.
        python_calls: Calls of Python functions, resumed coroutines included.
        c_calls: Calls of functions written in C.
        peak_bytes: Most memory that the call held at one time, above what was held before it.
    """

    bytecodes: int
    python_calls: int
    c_calls: int
    peak_bytes: int


def count(case: Case) -> Counts:
    """Count one call of a benchmark."""
    return run_virtual(_count(case))


def time_ns(case: Case) -> float:
    """Nanoseconds of one call: the best of several rounds."""
    return run_virtual(_time(case))


@contextmanager
def quiet() -> Iterator[None]:
    """The wall clock stands still and nothing is collected, so that two calls do the same."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        with mock.patch.object(time, "time_ns", itertools.repeat(1_700_000_000_000_000_000).__next__):
            yield
    finally:
        if enabled:
            gc.enable()


@asynccontextmanager
async def warm(case: Case) -> AsyncIterator[Run]:
    """A benchmark that has run a few times."""
    async with case.open() as run:
        for _ in range(WARM_UP):
            await call(run)
        yield run


async def _count(case: Case) -> Counts:
    seen = []
    with quiet():
        with Counter() as counter:
            async with case.open() as run:
                for _ in range(WARM_UP + COUNTED):
                    _rest(case)
                    counter.start()
                    await call(run)
                    _rest(case)
                    seen.append(counter.stop())
        async with warm(case) as run:
            peak = await _peak_bytes(case, run)
    # What is not part of every call, such as a table that grows, is left out.
    bytecodes, python_calls, c_calls = (min(kind) for kind in zip(*seen[WARM_UP:], strict=True))
    return Counts(bytecodes, python_calls, c_calls, peak)


async def _peak_bytes(case: Case, run: Run) -> int:
    peaks = []
    tracemalloc.start()
    try:
        for _ in range(WARM_UP + COUNTED):
            _rest(case)
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            await call(run)
            _rest(case)
            _, peak = tracemalloc.get_traced_memory()
            peaks.append(peak - before)
    finally:
        tracemalloc.stop()
    return min(peaks[WARM_UP:])


def _rest(case: Case) -> None:
    if case.threads:
        time.sleep(_REST)


async def _time(case: Case) -> float:
    with quiet():
        async with warm(case) as run:
            number = 1
            while (seconds := await _seconds(run, number)) < ROUND_SECONDS / 2:
                number *= 2
            number = max(1, round(number * ROUND_SECONDS / seconds))
            return min([await _seconds(run, number) for _ in range(ROUNDS)]) / number * 1e9


async def _seconds(run: Run, number: int) -> float:
    repeat = itertools.repeat(None, number)
    if is_async(run):
        started = time.perf_counter()
        for _ in repeat:
            await run()
    else:
        started = time.perf_counter()
        for _ in repeat:
            run()
    return time.perf_counter() - started
