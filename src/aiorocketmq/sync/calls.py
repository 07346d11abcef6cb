"""Calls from blocking code into the event loop: what each carries there, and how its outcome comes back (no Java twin).

A call is made by the calling thread, begun on the loop and ended there; then its thread is woken. `portal.py` says how it gets there.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from aiorocketmq.client.direct_reply import Cancellable
from aiorocketmq.errors import ClientClosedError

T = TypeVar("T")

WAIT_SLICE: Final = 0.1 if sys.platform == "win32" else 0.5
"""Longest single wait in seconds. A signal that arrives just before a thread begins to wait does not end the wait, and on Windows no signal
does: Ctrl-C is seen between two waits at the latest."""


class Waker(Protocol):
    """The portal as its calls see it."""

    loop: asyncio.AbstractEventLoop

    def wake_soon(self, waiter: Waiter) -> None:
        """Wake a thread at the end of this turn of the loop."""
        ...


class Waiter:
    """Where a calling thread sleeps until its result is there. Reused by its thread, call after call."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self, at_most: float = WAIT_SLICE) -> bool:
        """Sleep until woken (True) or `at_most` seconds have passed (False)."""
        return self._lock.acquire(timeout=at_most)

    def wake(self) -> None:
        """End the wait, from any thread."""
        self._lock.release()


_local = threading.local()


def take_waiter() -> Waiter:
    """The thread's own waiter; a new one for a call made from a signal handler while the thread already waits."""
    waiter: Waiter | None = getattr(_local, "waiter", None)
    if waiter is None:
        return Waiter()
    _local.waiter = None
    return waiter


def keep_waiter(waiter: Waiter) -> None:
    """Give a waiter back for the thread's next call."""
    _local.waiter = waiter


def start_task(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run a coroutine as a task, which begins at once where Python can do that (3.12), else in the next turn of the loop."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=loop, eager_start=True)
    return loop.create_task(coroutine)


class Call(Generic[T]):
    """One blocking call, made by the calling thread: called on the loop it begins there, and its outcome ends it.

    Args:
        waiter: Where the calling thread sleeps.

    Attributes:
        ended: It has an outcome.
    """

    __slots__ = ("_error", "_inner", "_result", "_waiter", "ended")

    def __init__(self, waiter: Waiter) -> None:
        self._waiter = waiter
        # What it has begun. That refers to this call: with the outcome it is let go, so that no cycle is left to the collector.
        self._inner: Cancellable | None = None
        self._result: T | None = None
        self._error: BaseException | None = None
        self.ended = False

    def __call__(self) -> None:
        """Begin; on the loop. What that is, the kinds of calls say."""

    def _watch(self, begin: Callable[[], asyncio.Future[T]]) -> None:
        """Begin, and end with the future that this gives."""
        try:
            self._inner = inner = begin()
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
            self.set_exception(error)
        else:
            inner.add_done_callback(self._on_done)

    def _on_done(self, inner: asyncio.Future[T]) -> None:
        if inner.cancelled():
            self.set_exception(ClientClosedError("the call was cancelled because its client was stopped"))
        elif (error := inner.exception()) is not None:
            self.set_exception(error)
        else:
            self.set_result(inner.result())

    def set_result(self, result: T, /) -> None:
        """End with a result; on the loop."""
        self._inner = None
        self._result = result
        self.ended = True
        self._waiter.wake()

    def set_exception(self, error: BaseException, /) -> None:
        """End with an error; on the loop."""
        self._inner = None
        self._error = error
        self.ended = True
        self._waiter.wake()

    def cancel(self) -> None:
        """Cancel what was begun; on the loop."""
        if self._inner is not None:
            self._inner.cancel()

    def refuse(self) -> None:
        """The loop has ended before the call began."""
        self.set_exception(ClientClosedError("the call came too late: the last client was stopped"))

    def outcome(self) -> T:
        """The result; raises the error when there is one."""
        error = self._error
        if error is not None:
            self._error = None  # the traceback refers to this frame: break the cycle
            try:
                raise error
            finally:
                del error
        return cast("T", self._result)


class FutureCall(Call[T]):
    """A call that is ended by the asyncio future or task that it has begun.

    Args:
        begin: Called on the loop; gives the future.
        waiter: Where the calling thread sleeps.
    """

    __slots__ = ("_begin",)

    def __init__(self, begin: Callable[[], asyncio.Future[T]], waiter: Waiter) -> None:
        super().__init__(waiter)
        self._begin = begin

    def __call__(self) -> None:
        self._watch(self._begin)


class DirectCall(Call[T]):
    """A call that is told its outcome by what it has begun, without a future or a task between them.

    Args:
        begin: Called on the loop with the call, whose `set_result()` or `set_exception()` ends it, and the arguments; returns what can be
            cancelled, or None when it could not begin.
        patient: Coroutine function for that case; takes the arguments.
        args: Positional arguments.
        kwargs: Arguments by name.
        waiter: Where the calling thread sleeps.
        portal: Wakes it.
    """

    __slots__ = ("_args", "_begin", "_kwargs", "_patient", "_portal")

    def __init__(
        self,
        begin: Callable[..., Cancellable | None],
        patient: Callable[..., Coroutine[Any, Any, T]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        waiter: Waiter,
        portal: Waker,
    ) -> None:
        super().__init__(waiter)
        self._begin = begin
        self._patient = patient
        self._args = args
        self._kwargs = kwargs
        self._portal = portal

    def __call__(self) -> None:
        try:
            inner = self._begin(self, *self._args, **self._kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
            self.set_exception(error)
            return
        if inner is None:
            self._watch(self._start_patient)
        elif not self.ended:
            self._inner = inner

    def _start_patient(self) -> asyncio.Future[T]:
        return start_task(self._portal.loop, self._patient(*self._args, **self._kwargs))

    def set_result(self, result: T, /) -> None:
        self._inner = None
        self._result = result
        self.ended = True
        self._portal.wake_soon(self._waiter)

    def done(self) -> bool:
        """True once there is an outcome."""
        return self.ended

    def cancel(self) -> None:
        inner = self._inner
        super().cancel()
        if not self.ended and not isinstance(inner, asyncio.Future):
            self.set_exception(ClientClosedError("the call was cancelled"))


class Submission(Generic[T]):
    """One call that is not waited for: a function run on the loop; the result of its asyncio future goes to a thread-safe one."""

    __slots__ = ("_function", "future")

    def __init__(self, function: Callable[[], asyncio.Future[T]], future: Future[T]) -> None:
        self._function = function
        self.future = future

    def __call__(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            inner = self._function()
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it through the future
            self.future.set_exception(error)
        else:
            inner.add_done_callback(self._on_done)

    def _on_done(self, inner: asyncio.Future[T]) -> None:
        if inner.cancelled():
            self.future.set_exception(ClientClosedError("the send was cancelled because its client was stopped"))
            return
        error = inner.exception()
        if error is None:
            self.future.set_result(inner.result())
        else:
            self.future.set_exception(error)

    def refuse(self) -> None:
        """The loop has ended before the call began."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(ClientClosedError("the send came too late: the last client was stopped"))
