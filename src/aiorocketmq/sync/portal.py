"""The bridge between blocking code and the asyncio core: one event loop in one daemon thread per process.

There is no Java twin: Java's clients block by themselves. The portal owns the loop thread and the way of a call into it, `calls.py` what a
call is and the way of its result back; neither knows of producers or consumers.

A call costs one append to a deque and, only when no wake-up is pending, one wake-up of the loop; the result comes back through a
lock that belongs to the calling thread, so no future, condition or queue is made for a call. On Linux the loop is woken through an eventfd
that it watches like any socket: `call_soon_threadsafe()` would cost another turn of it. A portal lives while it is leased:
`acquire()` starts it for the first client, `release()` ends it with the last one, and a child process that was forked gets its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from aiorocketmq.client.direct_reply import Cancellable
from aiorocketmq.errors import ClientStateError, ForkedClientError, RocketMQError
from aiorocketmq.remoting.event_loop import new_event_loop
from aiorocketmq.sync.calls import Call, DirectCall, FutureCall, Submission, Waiter, keep_waiter, start_task, take_waiter

__all__ = ["Leaseholder", "Portal", "acquire", "release"]

_log = logging.getLogger("aiorocketmq.sync")

T = TypeVar("T")
P = ParamSpec("P")

_ABANDON_SLICE: Final = 0.05
"""Seconds between two looks at a call that was interrupted and is being cancelled."""


class Leaseholder(Protocol):
    """What the portal stops at the end of the process: a blocking client that is still running."""

    def stop(self) -> None: ...


class Portal:
    """An event loop in a daemon thread, callable from any number of other threads."""

    def __init__(self) -> None:
        self._requests: deque[Call[Any] | Submission[Any] | Callable[[], None]] = deque()
        self._woken = False
        self._forked = False
        self._stopping = False
        self._runner = asyncio.Runner(loop_factory=new_event_loop)
        self.loop = self._runner.get_loop()
        self._end: asyncio.Event = asyncio.Event()
        self._finished: list[Waiter] = []
        self._closed = False
        self._wake = self._waker()
        self._ident = 0
        self.leases = 0
        self.clients: weakref.WeakSet[Leaseholder] = weakref.WeakSet()
        self._thread = threading.Thread(target=self._run, name="aiorocketmq-sync", daemon=True)
        self._thread.start()

    @property
    def forked(self) -> bool:
        """True in a child process that inherited this portal from its parent; the loop thread exists only in the parent."""
        return self._forked

    @property
    def on_loop_thread(self) -> bool:
        """True on the loop's own thread, which must not wait for the loop."""
        return threading.get_ident() == self._ident

    def mark_forked(self) -> None:
        """Called in a forked child: from now on every call is refused, and nothing of the parent's loop is touched."""
        self._forked = True

    def call(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine function on the loop and block until it is done.

        An exception in the waiting thread, `KeyboardInterrupt` above all, cancels the coroutine, waits until it has ended, and goes on;
        a second one does not wait.

        Raises:
            ClientStateError: Called on the loop's own thread, where blocking would stop everything.
            ForkedClientError: Called in a forked child.
            ClientClosedError: The portal has ended.
        """
        loop = self.loop
        try:
            return self.call_future(lambda: start_task(loop, function(*args, **kwargs)))
        except RocketMQError as error:
            raise error.with_traceback(None) from None  # our frames below help nobody, and the text says all

    def call_future(self, begin: Callable[[], asyncio.Future[T]]) -> T:
        """Run a plain function that gives an asyncio future on the loop and block until the future is done; otherwise as `call()`.

        Cheaper than a coroutine: it needs no task.
        """
        self.check()
        waiter = take_waiter()
        return self._wait(FutureCall(begin, waiter), waiter)

    def call_direct(
        self,
        begin: Callable[..., Cancellable | None],
        patient: Callable[..., Coroutine[Any, Any, T]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> T:
        """Run a plain function that tells the outcome itself; otherwise as `call()`, and cheaper than all other ways. See `DirectCall`."""
        self.check()
        waiter = take_waiter()
        return self._wait(DirectCall(begin, patient, args, kwargs, waiter, self), waiter)

    def _wait(self, request: Call[T], waiter: Waiter) -> T:
        try:
            self._post(request)
            while not waiter.wait():
                pass
        except BaseException:
            self._abandon(request, waiter)
            raise
        keep_waiter(waiter)
        return request.outcome()

    def _abandon(self, request: Call[Any], waiter: Waiter) -> None:
        # The interrupt may have come just after the lock was taken, so `ended` decides, and the waiter is not used again.
        if not request.ended:
            self._post(request.cancel)
            while not request.ended:
                waiter.wait(_ABANDON_SLICE)

    def submit(self, function: Callable[[], asyncio.Future[T]]) -> Future[T]:
        """Run a function that returns an asyncio future on the loop; the result comes through the returned thread-safe future.

        Never blocks; errors of the function itself come through the future too. The future can be cancelled until the function runs.

        Raises:
            ForkedClientError: Called in a forked child.
        """
        if self._forked:
            raise _forked_error()
        future: Future[T] = Future()
        self._post(Submission(function, future))
        return future

    def launch(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run a coroutine function on the loop and wait for nothing; an error is logged. For finalizers, which must not block."""

        def start() -> None:
            self.loop.create_task(function()).add_done_callback(_log_failure)

        self._post(start)

    def close(self) -> None:
        """End the loop and its thread; calls that still run are cancelled. Blocks until the thread has ended, except on that thread."""
        self._stopping = True
        self._post(self._end.set)
        if not self.on_loop_thread:
            self._thread.join()

    def check(self) -> None:
        """Refuse a blocking call here.

        Raises:
            ClientStateError: This is the loop's own thread, where blocking would stop everything.
            ForkedClientError: This is a forked child.
        """
        if self._forked:
            raise _forked_error()
        if self.on_loop_thread:
            raise ClientStateError(
                "a blocking call was made on the event-loop thread, for which it would wait forever",
                hint="use a plain `def` listener, which runs on a worker thread, or the asyncio classes of aiorocketmq",
            )

    def _post(self, request: Call[Any] | Submission[Any] | Callable[[], None]) -> None:
        self._requests.append(request)
        if not self._woken:
            self._woken = True
            self._wake()
        if self._closed:
            self._refuse_the_rest()

    def _waker(self) -> Callable[[], object]:
        """A function that has `_drain` called on the loop."""
        if not hasattr(os, "eventfd"):

            def wake() -> None:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self.loop.call_soon_threadsafe(self._drain)

            return wake
        # Closed with the portal itself, not with the loop: a thread that comes late must not write into another one's descriptor.
        event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, event).atexit = False

        def drain() -> None:
            os.eventfd_read(event)
            self._drain()

        self.loop.add_reader(event, drain)
        return partial(os.eventfd_write, event, 1)

    def wake_soon(self, waiter: Waiter) -> None:
        """Wake a thread at the end of this turn of the loop, together with all others whose calls end in it.

        A thread that is woken while the loop has more to do finds the interpreter lock taken, and costs two more switches.
        """
        if not self._finished:
            self.loop.call_soon(self._wake_finished)
        self._finished.append(waiter)

    def _wake_finished(self) -> None:
        finished, self._finished = self._finished, []
        for waiter in finished:
            waiter.wake()

    def _drain(self) -> None:
        # Cleared before the first pop: a request appended later than this makes its own wake-up, an earlier one is counted below.
        self._woken = False
        requests = self._requests
        for _ in range(len(requests)):
            requests.popleft()()

    def _run(self) -> None:
        self._ident = threading.get_ident()
        while not self._stopping:
            try:
                self._runner.run(self._end.wait())
            except (KeyboardInterrupt, SystemExit) as error:
                # asyncio lets these two through from any callback; a listener's sys.exit() must not end everyone's loop.
                _log.error("%r was raised on the event-loop thread; it goes on", error)
        self._runner.close()
        self._closed = True
        self._refuse_the_rest()

    def _refuse_the_rest(self) -> None:
        while self._requests:
            try:
                request = self._requests.popleft()
            except IndexError:  # another thread refuses them too
                return
            if isinstance(request, Call | Submission):
                request.refuse()


def _forked_error() -> ForkedClientError:
    return ForkedClientError(f"this client was started in another process than {os.getpid()}, before a fork")


def _log_failure(task: asyncio.Task[object]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("stopping a dropped client failed: %s", task.exception())


# The process-wide portal -------------------------------------------------------------------------------------------------------

_guard = threading.Lock()
_current: Portal | None = None
_inherited: list[object] = []
_hooks_installed = False


def acquire(holder: Leaseholder) -> Portal:
    """Lease the portal of this process for a client, starting it when there is none; the client is stopped at the end of the process."""
    global _current
    with _guard:
        _install_hooks()
        if _current is None:
            _current = Portal()
        _current.leases += 1
        _current.clients.add(holder)
        return _current


def release(portal: Portal, holder: Leaseholder | None = None) -> None:
    """Give a lease back; the last one ends the loop and its thread. The holder is None when it has been collected already."""
    global _current
    with _guard:
        portal.leases -= 1
        if holder is not None:
            portal.clients.discard(holder)
        last = portal.leases == 0 and not portal.forked
        if last and _current is portal:
            _current = None
    if last:
        portal.close()


def keep(inherited: object) -> None:
    """Keep for good what a forked child has of its parent's connections: collecting it would act on them."""
    _inherited.append(inherited)


def _install_hooks() -> None:
    global _hooks_installed
    if not _hooks_installed:
        _hooks_installed = True
        atexit.register(_stop_everything)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork_in_child)


def _after_fork_in_child() -> None:
    global _guard, _current
    _guard = threading.Lock()  # another thread may have held it while the process forked
    if _current is not None:
        _current.mark_forked()
        # Kept alive for good: to close or collect the parent's loop and connections here would act on descriptors that the parent uses.
        _inherited.extend([_current, *_current.clients])
        _current = None


def _stop_everything() -> None:
    portal = _current
    if portal is None:
        return
    for client in list(portal.clients):
        try:
            client.stop()
        except Exception as error:  # noqa: BLE001 - the interpreter ends: the other clients must still be stopped
            _log.warning("stopping %r at the end of the process failed: %s", client, error)
