"""Calls from blocking code into the event loop: what each carries there, and how its outcome comes back (no Java twin).

A call is made by the calling thread, begun on the loop and ended there; then its thread is woken. `portal.py` says how it gets there. A
signal may interrupt the main thread between any two steps of this, and its handler may make calls of its own. So nothing here waits on
the loop for anything that a caller holds: a thread sleeps on a lock of its own, which the loop only ever releases.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from aiorocketmq.client.direct_reply import Cancellable
from aiorocketmq.errors import ClientClosedError

T = TypeVar("T")

WAIT_SLICE: Final = 0.1 if sys.platform == "win32" else 0.5
"""Longest single wait in seconds. A signal that arrives just before a thread begins to wait does not end the wait, and on Windows no signal
does: Ctrl-C is seen between two waits at the latest."""


class PortalEndedError(ClientClosedError):
    """The loop ended before a call began; nothing of it was done."""


class Waker(Protocol):
    """The portal as its calls see it."""

    def wake_soon(self, waiter: Waiter) -> None:
        """Wake a thread at the end of this turn of the loop."""
        ...

    def begin_task(self, function: Callable[[], Coroutine[Any, Any, Any]], reply: Call[Any], /) -> Cancellable:
        """Run a coroutine function as a task that tells its outcome to a call."""
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


class Call(Generic[T]):
    """One blocking call, made by the calling thread: called on the loop it begins there, and its outcome ends it.

    Args:
        waiter: Where the calling thread sleeps.
        portal: Wakes it.

    Attributes:
        ended: It has an outcome.
    """

    __slots__ = ("_error", "_inner", "_portal", "_result", "_waiter", "ended")

    def __init__(self, waiter: Waiter, portal: Waker) -> None:
        self._waiter = waiter
        self._portal = portal
        # What it has begun. That refers to this call: with the outcome it is let go, so that no cycle is left to the collector.
        self._inner: Cancellable | None = None
        self._result: T | None = None
        self._error: BaseException | None = None
        self.ended = False

    def __call__(self) -> None:
        """Begin; on the loop. Never raises."""
        if self.ended:
            return  # cancelled before it got here
        try:
            inner = self._begin()
        except BaseException as error:  # noqa: BLE001 - whatever it is, SystemExit of a user's function included, the caller gets it
            self.set_exception(error)
        else:
            if not self.ended:
                self._inner = inner

    def _begin(self) -> Cancellable | None:
        """Begin; what that is, the kinds of calls say. Returns what can be cancelled."""
        return None

    def done(self) -> bool:
        """True once there is an outcome."""
        return self.ended

    def set_result(self, result: T, /) -> None:
        """End with a result; on the loop."""
        self._inner = None
        self._result = result
        self.ended = True
        self._portal.wake_soon(self._waiter)

    def set_exception(self, error: BaseException, /) -> None:
        """End with an error; on the loop, or on any thread once the loop has ended."""
        self._inner = None
        self._error = error
        self.ended = True
        self._waiter.wake()

    def cancel(self) -> None:
        """Cancel what was begun, or what never will be; on the loop."""
        inner = self._inner
        if inner is not None:
            inner.cancel()
        # A task tells its end by itself. A call that was interrupted before it was on its way comes here without ever having begun.
        if not self.ended and not isinstance(inner, asyncio.Future):
            self.set_exception(ClientClosedError("the call was cancelled"))

    def refuse(self, error: BaseException) -> None:
        """The loop has ended before the call began."""
        self.set_exception(error)

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


class TaskCall(Call[T]):
    """A call of a coroutine function.

    Args:
        function: Called on the loop, without arguments.
        waiter: Where the calling thread sleeps.
        portal: Wakes it.
    """

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[], Coroutine[Any, Any, T]], waiter: Waiter, portal: Waker) -> None:
        super().__init__(waiter, portal)
        self._function = function

    def _begin(self) -> Cancellable | None:
        return self._portal.begin_task(self._function, self)


class PlainCall(Call[T]):
    """A call of a plain function, which has ended when it returns.

    Args:
        function: Called on the loop, without arguments.
        waiter: Where the calling thread sleeps.
        portal: Wakes it.
    """

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[], T], waiter: Waiter, portal: Waker) -> None:
        super().__init__(waiter, portal)
        self._function = function

    def _begin(self) -> Cancellable | None:
        self.set_result(self._function())
        return None


class DirectCall(Call[T]):
    """A call that is told its outcome by what it has begun, without a future or a task between them.

    Args:
        begin: Called on the loop with the call, whose `set_result()` or `set_exception()` ends it, and the arguments; returns what can be
            cancelled, or None when it could not begin.
        patient: Coroutine function for that case; takes the arguments.
        args: The arguments.
        waiter: Where the calling thread sleeps.
        portal: Wakes it.
    """

    __slots__ = ("_args", "_function", "_patient")

    def __init__(
        self,
        begin: Callable[..., Cancellable | None],
        patient: Callable[..., Coroutine[Any, Any, T]],
        args: tuple[Any, ...],
        waiter: Waiter,
        portal: Waker,
    ) -> None:
        super().__init__(waiter, portal)
        self._function = begin
        self._patient = patient
        self._args = args

    def _begin(self) -> Cancellable | None:
        inner = self._function(self, *self._args)
        if inner is None and not self.ended:
            return self._portal.begin_task(self._start_patient, self)
        return inner

    def _start_patient(self) -> Coroutine[Any, Any, T]:
        return self._patient(*self._args)
