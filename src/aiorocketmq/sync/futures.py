"""The futures of `send_nowait()`: like `concurrent.futures.Future`, but the event loop never waits for a lock of theirs (no Java twin).

A plain `Future` has a lock that its user and the one who brings the result share. A signal that interrupts the main thread in the wrong
moment leaves that lock taken, for as long as its handler runs or for good; the event loop, and with it every client of the process, would
hang on it. Here each step is one that cannot be interrupted (an append, a pop), and whoever comes second does what is left.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

from aiorocketmq.sync import courier
from aiorocketmq.sync.calls import WAIT_SLICE

T = TypeVar("T")

logger = logging.getLogger("aiorocketmq.sync")

_PENDING: Final = "PENDING"
_RUNNING: Final = "RUNNING"
_CANCELLED: Final = "CANCELLED_AND_NOTIFIED"
_FINISHED: Final = "FINISHED"


class Alive(Protocol):
    """What a future needs to know of its portal."""

    def check_process(self) -> None:
        """Raise `ForkedClientError` in a forked child."""
        ...


class _Gate:
    """Stands for the condition of a plain `Future`: `concurrent.futures.wait()` and `as_completed()` hold it while they look at a future.

    The loop only tries its lock. When it finds that taken, whoever leaves it tells what has happened meanwhile.
    """

    __slots__ = ("_future",)

    def __init__(self, future: SendFuture[Any]) -> None:
        self._future = future

    def acquire(self) -> bool:
        return self._future.gate.acquire()

    def release(self) -> None:
        self._future.gate.release()
        self._future.publish()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.release()


class SendFuture(Future[T]):
    """The outcome of one `send_nowait()` of a blocking producer, for any thread.

    Callbacks run on the event-loop thread, or at once where there is an outcome already. It can be cancelled until the loop takes the
    message over.

    Args:
        portal: Tells whether the process is still the one that sends.
        on_end: Called once when there is an outcome.
    """

    def __init__(self, portal: Alive, on_end: Callable[[SendFuture[T]], object]) -> None:
        # Not the constructor of the base class: it makes the lock that this class does without. `_state`, `_waiters` and `_condition` are
        # what the functions of concurrent.futures look at.
        self._state = _PENDING
        self._waiters: list[Any] = []
        self.gate = threading.RLock()
        self._portal = portal
        self._on_end = on_end
        self._claim = [True]  # taken once: by the loop, or by cancel()
        self._sleepers: list[Any] = []
        self._callbacks: list[Callable[[Future[T]], object]] = []
        self._value: T | None = None
        self._error: BaseException | None = None
        self._ended = False

    def __repr__(self) -> str:
        return f"<SendFuture {'done' if self._ended else 'pending'}>"

    @property
    def _condition(self) -> _Gate:  # type: ignore[override]
        return _Gate(self)

    # -- the one who sends -------------------------------------------------------------------------------------------------------------

    def begin(self) -> bool:
        """Take the send over, on the loop; False when it was cancelled before."""
        try:
            self._claim.pop()
        except IndexError:
            return False
        self._state = _RUNNING
        return True

    def set_result(self, result: T, /) -> None:
        """End with a result; once, by the one who sends."""
        self._value = result
        self._end()

    def set_exception(self, exception: BaseException | None, /) -> None:
        """End with an error; once, by the one who sends."""
        self._error = exception
        self._end()

    def disown(self, error: BaseException) -> None:
        """End it in a forked child, which inherited it, with an error; its callbacks are the parent's."""
        self._callbacks.clear()
        if not self._ended:
            self.set_exception(error)

    def _end(self) -> None:
        self._ended = True
        self._on_end(self)
        while self._sleepers:
            self._sleepers.pop().release()
        if self._callbacks:
            self._call_back()
        self.publish()

    def publish(self) -> None:
        """Tell `wait()` and `as_completed()` that there is an outcome, unless somebody holds the gate, who then does it."""
        while self._ended and self._state in (_PENDING, _RUNNING):
            if not self.gate.acquire(blocking=False):
                return
            try:
                self._state = _CANCELLED if isinstance(self._error, CancelledError) else _FINISHED
                waiters = tuple(self._waiters)
            finally:
                self.gate.release()
            for waiter in waiters:
                # They have locks of their own, which this thread must not wait for.
                told = waiter.add_cancelled if self._state == _CANCELLED else waiter.add_exception if self._error else waiter.add_result
                courier.post(partial(told, self))

    def _call_back(self) -> None:
        while True:
            try:
                callback = self._callbacks.pop(0)
            except IndexError:  # there was none left, or another thread took it
                return
            try:
                callback(self)
            except Exception:
                logger.exception("a callback of %r failed", self)

    # -- the one who waits -------------------------------------------------------------------------------------------------------------

    def cancel(self) -> bool:
        """Take the message back if it is not on its way yet; True when it was."""
        try:
            self._claim.pop()
        except IndexError:
            return self.cancelled()
        self.set_exception(CancelledError())
        return True

    def cancelled(self) -> bool:
        """True when it was cancelled."""
        return self._ended and isinstance(self._error, CancelledError)

    def running(self) -> bool:
        """True while the message is on its way."""
        return not self._claim and not self._ended

    def done(self) -> bool:
        """True once there is an outcome."""
        return self._ended

    def add_done_callback(self, fn: Callable[[Future[T]], object], /) -> None:
        """Call `fn` with this future when there is an outcome, at once if there is one; its errors are logged."""
        self._callbacks.append(fn)
        if self._ended:
            self._call_back()

    def result(self, timeout: float | None = None) -> T:
        """The result, waiting for it.

        Raises:
            TimeoutError: `timeout` seconds have passed; the message goes on.
            CancelledError: It was cancelled.
            RocketMQError: What went wrong with the send; `ForkedClientError` in a forked child.
        """
        error = self.exception(timeout)
        if error is not None:
            try:
                raise error
            finally:
                del error, self  # the traceback refers to this frame: no cycle
        return self._value  # type: ignore[return-value]  # there is one

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error, or None, waiting for the outcome. Raises as `result()` does, but for the error itself."""
        if not self._ended:
            self._sleep(timeout)
        if isinstance(self._error, CancelledError):
            raise CancelledError
        return self._error

    def _sleep(self, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        lock = threading.Lock()
        lock.acquire()
        self._sleepers.append(lock)
        while not self._ended:  # looked at after the append: whoever ends it before that has not seen the lock
            self._portal.check_process()
            wait = WAIT_SLICE if deadline is None else min(WAIT_SLICE, deadline - time.monotonic())
            if wait <= 0:
                raise TimeoutError(f"the send has not ended within {timeout:g} s")
            lock.acquire(timeout=wait)
