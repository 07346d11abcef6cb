"""What a micro-benchmark is, and the list of all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from inspect import iscoroutinefunction
from types import CoroutineType
from typing import Any, TypeAlias

from aiorocketmq.protocol import jsoncodec

Run: TypeAlias = Callable[[], Any]
"""One call of a hot path: a plain function, or a coroutine function."""
Setup: TypeAlias = Callable[[], Run | AbstractAsyncContextManager[Run]]


@dataclass(frozen=True, slots=True)
class Case:
    """One benchmark.

    Attributes:
        name: Its key in `limits.json` and on the command line.
        title: What one call does, for people.
        messages: Messages that one call moves; 0 where it moves none.
        orjson: Which JSON codec it runs with, whatever is installed.
        threads: True when another thread takes part; it must be at rest before and after a call.
        setup: Makes the call.
    """

    name: str
    title: str
    messages: int
    orjson: bool
    threads: bool
    setup: Setup

    @property
    def runnable(self) -> bool:
        """False where its JSON codec is not installed."""
        return jsoncodec.HAVE_ORJSON or not self.orjson

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Run]:
        """Set it up, and clean up after it."""
        jsoncodec.use_orjson(self.orjson)
        try:
            made = self.setup()
            if isinstance(made, AbstractAsyncContextManager):
                async with made as run:
                    yield run
            else:
                yield made
        finally:
            jsoncodec.use_orjson(jsoncodec.HAVE_ORJSON)


CASES: dict[str, Case] = {}


def case(title: str, *, messages: int = 1, orjson: bool = True, threads: bool = False, name: str = "") -> Callable[[Setup], Setup]:
    """Decorator: register a function as the setup of a benchmark of its name."""

    def register(setup: Setup) -> Setup:
        key = name or getattr(setup, "__name__", "")
        assert key not in CASES, f"two benchmarks are named {key}"
        CASES[key] = Case(key, title, messages, orjson, threads, setup)
        return setup

    return register


def is_async(run: Run) -> bool:
    """True when a call has to be awaited."""
    return iscoroutinefunction(run)


async def call(run: Run) -> None:
    """Make one call of either kind."""
    result = run()
    if isinstance(result, CoroutineType):
        await result
