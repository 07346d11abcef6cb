"""Waiting for a condition instead of sleeping: the time-out only bounds a hang, it never measures speed."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], timeout: float = ..., *, interval: float = ..., message: str | None = ...
) -> T: ...


@overload
async def eventually(condition: Callable[[], T], timeout: float = ..., *, interval: float = ..., message: str | None = ...) -> T: ...


async def eventually(
    condition: Callable[[], object], timeout: float = 10.0, *, interval: float = 0.02, message: str | None = None
) -> object:
    """Call `condition` until it answers something true, and return that answer.

    The condition may be plain or a coroutine function; an `AssertionError` from it counts as "not yet", so that whole blocks of
    assertions can be awaited.

    Raises:
        AssertionError: `timeout` seconds passed; names the condition and its last answer.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        last: object
        try:
            answer = condition()
            value = await answer if inspect.isawaitable(answer) else answer
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if loop.time() >= deadline:
            raise AssertionError(f"not true within {timeout:g} s: {message or _describe(condition)}; last answer: {last!r}")
        await asyncio.sleep(interval)


def eventually_sync(condition: Callable[[], T], timeout: float = 10.0, *, interval: float = 0.02, message: str | None = None) -> T:
    """The same for code without an event loop."""
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            value = condition()
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"not true within {timeout:g} s: {message or _describe(condition)}; last answer: {last!r}")
        time.sleep(interval)


def _describe(condition: Callable[[], object]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):
        return repr(condition)
