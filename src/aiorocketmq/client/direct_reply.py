"""Waking a task inside the call that brings what it waits for. There is no Java twin. See `docs/decisions/0011-direct-replies.md`."""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import current_task
from collections.abc import Callable, Generator
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Cancellable(Protocol):
    """What a caller has begun and can give up."""

    def cancel(self) -> object: ...


class DirectReply(Generic[T]):
    """The outcome of something for one task that awaits it.

    A task that waits for a future goes on in the next turn of the loop. This one goes on at once, inside the call that brings the result:
    for a caller who sends one message at a time, a turn of the loop is a fifth of the time that the whole send takes, and a message that
    arrives alone is in its listener before the next request is written. Errors, and results that come while another task runs, take the
    usual way.

    It speaks the protocol by which tasks wait for objects that are no `asyncio.Future` (`_asyncio_future_blocking`). It is awaited once,
    by one task.

    Attributes:
        inner: Cancelled when the awaiting task is cancelled before there is an outcome. It refers to this reply, so the outcome lets it
            go: a cycle left to the collector would have every send work in memory that is not in the caches.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_context", "_error", "_loop", "_pending", "_result", "inner")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._pending = True
        self._result: T | None = None
        self._error: BaseException | None = None
        self._callback: Callable[[Any], object] | None = None
        self._context: contextvars.Context | None = None
        self.inner: Cancellable | None = None

    # -- the one who has the outcome ---------------------------------------------------------------------------------------------------

    def done(self) -> bool:
        """True once there is an outcome, or the task was cancelled."""
        return not self._pending

    def set_result(self, result: T | None, /) -> None:
        """Tell the result; the awaiting task runs up to its next `await` before this returns."""
        self._pending = False
        self.inner = None
        self._result = result
        callback = self._callback
        if callback is None:
            return
        if current_task(self._loop) is not None:
            self._wake()
            return
        context = self._context
        assert context is not None  # comes with the callback
        try:
            context.run(callback, self)
        except (KeyboardInterrupt, SystemExit) as error:
            # They end the loop, but not from here: the caller has more results to tell.
            self._loop.call_soon(_raise, error)

    def set_exception(self, error: BaseException, /) -> None:
        """Tell the error; the awaiting task goes on in the next turn of the loop."""
        self._pending = False
        self.inner = None
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._callback is not None:
            self._loop.call_soon(self._callback, self, context=self._context)

    # -- the one who awaits it ---------------------------------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, T | None]:
        if self._pending:
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    # What tasks call of what they wait for.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the awaiting task must belong to."""
        return self._loop

    def add_done_callback(self, callback: Callable[[Any], object], /, *, context: contextvars.Context) -> None:
        """Remember how the task is woken."""
        self._callback = callback
        self._context = context
        if not self._pending:
            self._wake()

    def cancel(self, msg: object = None) -> bool:
        """Take the cancellation of the awaiting task; False when the outcome was there first."""
        if not self._pending:
            return False
        self._pending = False
        self._error = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        inner, self.inner = self.inner, None
        if inner is not None:
            inner.cancel()
        self._wake()
        return True

    def result(self) -> T | None:
        """The result; raises the error when there is one."""
        error = self._error
        if error is not None:
            self._error = None  # its traceback refers to this frame: no cycle
            try:
                raise error
            finally:
                del error
        return self._result


def _raise(error: BaseException) -> None:
    raise error
