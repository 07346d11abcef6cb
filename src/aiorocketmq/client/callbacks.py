"""Calls functions of the user's: `async def` on the event loop, `def` on a thread, so that none can hold the loop up."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any


async def call(function: Callable[..., Any], executor: Executor | None, *args: Any) -> Any:
    """Call a function of the user's: a coroutine function here, a plain one on a thread of the executor, with the caller's context."""
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        return await function(*args)
    context = contextvars.copy_context()
    answer = await asyncio.get_running_loop().run_in_executor(executor, context.run, function, *args)
    return await answer if inspect.isawaitable(answer) else answer
