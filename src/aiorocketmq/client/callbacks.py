"""Calls functions of the user's: `async def` on the event loop, `def` on a thread, so that none can hold the loop up."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeAlias

Outcome: TypeAlias = tuple[object, BaseException | None]
"""What a function on a thread has returned, or raised."""


async def call(function: Callable[..., Any], executor: Executor | None, *args: Any) -> Any:
    """Call a function of the user's, and forget it when that is cancelled; see `UserCall`."""
    made = UserCall(function, executor)
    try:
        return await made(*args)
    finally:
        made.left = None


class UserCall:
    """One call of a function of the user's: a coroutine function runs here, a plain one on a thread, with the caller's context.

    Args:
        function: The function.
        executor: Has the threads; None takes that of the event loop.

    Attributes:
        left: The outcome of a plain function that still runs although the call was cancelled: nobody can stop a thread. Else None.
    """

    def __init__(self, function: Callable[..., Any], executor: Executor | None) -> None:
        self.left: asyncio.Future[Outcome] | None = None
        self._function = function
        self._executor = executor
        self._lock = threading.Lock()
        self._begun = False
        self._given_up = False

    async def __call__(self, *args: Any) -> Any:
        """Call it, and wait for its answer."""
        function = self._function
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
            return await function(*args)
        work = partial(contextvars.copy_context().run, function, *args)
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._on_thread, work)
        try:
            answer, error = await asyncio.shield(future)
        except asyncio.CancelledError:
            with self._lock:
                self._given_up = True
                if self._begun:
                    self.left = future
            raise
        if error is not None:
            raise error
        return await answer if inspect.isawaitable(answer) else answer

    def _on_thread(self, work: Callable[[], object]) -> Outcome:
        with self._lock:
            if self._given_up:
                return None, None  # nobody waits for it, and it has not begun
            self._begun = True
        try:
            return work(), None
        except BaseException as error:  # noqa: BLE001 - no future takes every kind: with StopIteration its waiter would wait for ever
            return None, error
