"""The bridge between blocking code and the asyncio core: one event loop in one daemon thread per process.

There is no Java twin: Java's clients block by themselves. The portal owns the loop thread and the way of a call into it, `calls.py` what a
call is and the way of its result back; neither knows of producers or consumers.

A call costs one append to a deque and, only when no wake-up is pending, one wake-up of the loop; the result comes back through a
lock that belongs to the calling thread, so no future, condition or queue is made for a call. On Linux the loop is woken through an eventfd
that it watches like any socket: `call_soon_threadsafe()` would cost another turn of it.

A portal lives as long as a client or a call uses it. Who uses it is counted on the loop alone; `current()` makes one where there is none,
and a child process that was forked gets its own. No lock is held for any of this: a signal may interrupt the main thread in the middle,
for good, and its handler may call in again.
"""

from __future__ import annotations

import _thread
import asyncio
import atexit
import contextlib
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from aiorocketmq.client.direct_reply import Cancellable
from aiorocketmq.errors import ClientClosedError, ClientStateError, ForkedClientError, RocketMQError
from aiorocketmq.remoting.event_loop import new_event_loop
from aiorocketmq.sync import courier
from aiorocketmq.sync.calls import WAIT_SLICE, Call, DirectCall, PlainCall, PortalEndedError, TaskCall, Waiter, keep_waiter, take_waiter
from aiorocketmq.sync.futures import SendFuture

__all__ = ["Portal", "Resident", "current", "peek"]

_log = logging.getLogger("aiorocketmq.sync")

T = TypeVar("T")
P = ParamSpec("P")

_ABANDON_SLICE: Final = 0.05
"""Seconds between two looks at a call that was interrupted and is being cancelled."""
_UNUSED: Final = 5.0
"""Seconds that a new portal waits for its first user: the thread that made it may have been interrupted, or another one was faster."""
_TO_LEAVE: Final = 1.0
"""Seconds that tasks which are left over get to end when the loop ends."""
_TOO_LATE: Final = "the interpreter is ending, and with it the event-loop thread"
_JOIN: Final = 5.0
"""Seconds to wait for the thread of a loop that has nothing left to do."""


class Resident(Protocol):
    """A blocking client that runs on the portal."""

    def stop(self) -> None: ...

    def _mark_forked(self) -> None:
        """Called in a forked child: let go what is the parent's."""
        ...


class Submission:
    """One send that is not waited for: begun on the loop, its outcome goes to a future."""

    __slots__ = ("_args", "_function", "_future", "_patient", "_portal")

    def __init__(
        self,
        begin: Callable[..., object],
        patient: Callable[..., Coroutine[Any, Any, Any]],
        args: tuple[Any, ...],
        future: SendFuture[Any],
        portal: Portal,
    ) -> None:
        self._function = begin
        self._patient = patient
        self._args = args
        self._future = future
        self._portal = portal

    def __call__(self) -> None:
        """Begin; on the loop. Never raises."""
        future = self._future
        if not future.begin():
            return
        try:
            if self._function(future, *self._args) is None and not future.done():
                self._portal.begin_task(partial(self._patient, *self._args), future)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets it through the future
            future.set_exception(error)

    def refuse(self, error: ClientStateError) -> None:
        """The loop has ended before the send began."""
        if self._future.begin():
            self._future.set_exception(error)


class Portal:
    """An event loop in a daemon thread, callable from any number of other threads.

    Attributes:
        forked: True in a child process that inherited this portal from its parent; the loop thread exists only in the parent.
        ended: No request is taken any more.
        loop: The event loop; on its thread.
        residents: The clients that run on it, by their asyncio twins.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self.forked = False
        self.ended = False
        _portals.add(self)
        self.residents: dict[object, weakref.ref[Resident]] = {}
        self._requests: deque[Call[Any] | Submission | Callable[[], object]] = deque()
        self._woken = True  # there is nothing to wake yet: the loop begins with a look at its requests
        self._wake: Callable[[], object] = _nothing
        self._broken = ""
        self._users = 0
        self._ending = False
        self._finished: list[Waiter] = []
        self._launched: set[asyncio.Task[None]] = set()
        self._ident = 0
        self._thread: threading.Thread | None = None
        try:
            _thread.start_new_thread(self._start_thread, ())
        except RuntimeError as error:  # there are too many threads
            self._refuse_all(f"the event-loop thread cannot be started: {error}")

    def _start_thread(self) -> None:
        # `Thread.start()` waits for an Event, whose lock an interrupt can leave taken: on a thread that no signal ever reaches it cannot.
        self._thread = threading.Thread(target=self._run, name="aiorocketmq-sync", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._refuse_all(f"the event-loop thread cannot be started: {error}")

    # -- callers, on any thread --------------------------------------------------------------------------------------------------------

    @property
    def on_loop_thread(self) -> bool:
        """True on the loop's own thread, which must not wait for the loop."""
        return threading.get_ident() == self._ident

    def check_process(self) -> None:
        """Refuse everything in a forked child, and where the interpreter is so near to its end that no other thread runs any more.

        Raises:
            ForkedClientError: This is a forked child.
            PortalEndedError: The interpreter is ending.
        """
        if self.forked:
            raise ForkedClientError(f"this client was started in another process than {os.getpid()}, before a fork")
        if sys.is_finalizing():
            raise PortalEndedError(_TOO_LATE)

    def check(self) -> None:
        """Refuse a blocking call here.

        Raises:
            ClientStateError: This is the loop's own thread, where blocking would stop everything.
            ForkedClientError: This is a forked child.
        """
        if self.forked:
            self.check_process()
        courier.check()
        if threading.get_ident() == self._ident:
            raise ClientStateError(
                "a blocking call was made on the event-loop thread, for which it would wait forever",
                hint="use a plain `def` listener, which runs on a worker thread, or the asyncio classes of aiorocketmq",
            )

    def call(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine function on the loop and block until it is done.

        An exception in the waiting thread, `KeyboardInterrupt` above all, cancels the coroutine, waits until it has ended, and goes on;
        a second one does not wait.

        Raises:
            ClientStateError: Called on the loop's own thread, where blocking would stop everything.
            ForkedClientError: Called in a forked child.
            PortalEndedError: The portal has ended; the function was not called.
        """
        self.check()
        waiter = take_waiter()
        return self._wait(TaskCall(partial(function, *args, **kwargs), waiter, self), waiter)

    def call_within(self, seconds: float, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """The same, but wait no longer than `seconds`, and leave the coroutine alone then. False when it goes on; its result is dropped."""
        self.check()
        waiter = take_waiter()
        call = TaskCall(partial(function, *args, **kwargs), waiter, self)
        deadline = time.monotonic() + seconds
        if not self._sleep(call, waiter, deadline):
            return False
        call.outcome()
        return True

    def call_plain(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a plain function on the loop and block until it has returned; otherwise as `call()`."""
        self.check()
        waiter = take_waiter()
        return self._wait(PlainCall(partial(function, *args, **kwargs), waiter, self), waiter)

    def call_direct(
        self,
        begin: Callable[..., Cancellable | None],
        patient: Callable[..., Coroutine[Any, Any, T]],
        args: tuple[Any, ...],
    ) -> T:
        """Run a plain function that tells the outcome itself; otherwise as `call()`, and cheaper than all other ways. See `DirectCall`."""
        self.check()
        waiter = take_waiter()
        return self._wait(DirectCall(begin, patient, args, waiter, self), waiter)

    def submit(
        self,
        begin: Callable[..., object],
        patient: Callable[..., Coroutine[Any, Any, T]],
        args: tuple[Any, ...],
        future: SendFuture[T],
    ) -> None:
        """Run a plain function that tells the outcome to a future; as `call_direct()`, but never blocks.

        Raises:
            ForkedClientError: Called in a forked child.
        """
        self.check_process()
        courier.check()
        self._post(Submission(begin, patient, args, future, self))

    def launch(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run a coroutine function on the loop and wait for nothing; an error is logged. For finalizers, which must not block."""
        self._post(partial(self._launch, function))

    def _launch(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        task = self.begin_task(function, _Nobody())
        if not task.done():
            self._launched.add(task)
            task.add_done_callback(self._launched.discard)

    async def settle(self) -> None:
        """Wait for what `launch()` has begun, a moment at most: a new client may want the group of one that was dropped just before."""
        if self._launched:
            await asyncio.wait(self._launched, timeout=_TO_LEAVE)

    def close(self) -> None:
        """End the loop and its thread, whoever uses them; calls that still run are cancelled. Blocks until the thread has ended."""
        self._post(self._end)
        self.join(_JOIN)

    def join(self, timeout: float) -> None:
        """Wait for a loop that is ending, at most so many seconds; not for one that goes on, nor on its own thread."""
        thread, deadline = self._thread, time.monotonic() + timeout
        if thread is None or self.forked or self.on_loop_thread:
            return
        while self._ending and thread.is_alive() and (left := deadline - time.monotonic()) > 0:
            thread.join(min(left, WAIT_SLICE))

    def _wait(self, call: Call[T], waiter: Waiter) -> T:
        self._sleep(call, waiter, None)
        try:
            return call.outcome()
        except RocketMQError as error:
            raise error.with_traceback(None) from None  # our frames below help nobody, and the text says all

    def _sleep(self, call: Call[Any], waiter: Waiter, deadline: float | None) -> bool:
        """Post a call and sleep until it has ended; False when the deadline comes first."""
        try:
            self._post(call)
            while not waiter.wait():
                self.check_process()  # it may have been forked below, by a signal handler
                if deadline is not None and time.monotonic() >= deadline:
                    return False
                self._wake()  # in case that a wake-up got lost with an interrupt
        except BaseException:
            self._abandon(call, waiter)
            raise
        keep_waiter(waiter)
        return True

    def _abandon(self, call: Call[Any], waiter: Waiter) -> None:
        # The interrupt may have come just after the lock was taken, so `ended` decides, and the waiter is not used again.
        if not call.ended and not self.forked:
            self._post(call.cancel)
            while not call.ended and not sys.is_finalizing():
                waiter.wait(_ABANDON_SLICE)

    def _post(self, request: Call[Any] | Submission | Callable[[], object]) -> None:
        self._requests.append(request)
        if not self._woken:
            self._woken = True
            try:
                self._wake()
            except BaseException:
                self._wake()  # an interrupt may have come before the loop was woken, and nobody else would wake it
                raise
        if self.ended:
            self._refuse_the_rest()

    # -- the loop's thread -------------------------------------------------------------------------------------------------------------

    def begin_task(self, function: Callable[[], Coroutine[Any, Any, T]], reply: Reply) -> asyncio.Task[None]:
        """Run a coroutine function as a task, which begins at once where Python can do that (3.12), else in the next turn of the loop."""
        self._users += 1
        coroutine = self._tell(function, reply)
        if sys.version_info >= (3, 12):
            task = asyncio.Task(coroutine, loop=self.loop, eager_start=True)
        else:
            task = self.loop.create_task(coroutine)
        task.add_done_callback(partial(self._see_to_the_end, reply))
        return task

    def _see_to_the_end(self, reply: Reply, task: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step never runs, and tells nothing.
        if task.cancelled():
            self._left()
            reply.set_exception(_cancelled_error())

    async def _tell(self, function: Callable[[], Coroutine[Any, Any, T]], reply: Reply) -> None:
        """Run a coroutine function and tell the outcome. Whatever it is: from a task, asyncio would let SystemExit through to the loop."""
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = await function()
        except asyncio.CancelledError:
            failure = _cancelled_error()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets it
            failure = error
        self._left()  # first: whoever is told can then wait for the end of the portal, if that is due
        if failure is None:
            reply.set_result(result)
        else:
            reply.set_exception(failure)
            del failure  # its traceback refers to this frame: no cycle

    def enter(self, key: object, resident: Resident) -> None:
        """A client begins to use the loop; on the loop. At the end of the process it is stopped if it still lives."""
        self._users += 1
        self.residents[key] = weakref.ref(resident)

    def leave(self, key: object) -> None:
        """A client has been stopped; on the loop."""
        if self.residents.pop(key, None) is not None:
            self._left()

    def _left(self) -> None:
        self._users -= 1
        self._end_if_unused()

    def _end_if_unused(self) -> None:
        if not self._users:
            self._end()

    def _end(self) -> None:
        if not self._ending:
            self._refuse_all("")  # at once: what came in behind is for the next portal
            self.loop.stop()

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

    def _waker(self) -> Callable[[], object]:
        """A function that has `_drain` called on the loop."""
        if not hasattr(os, "eventfd"):
            return self._wake_by_loop
        # Closed with the portal itself, not with the loop: a thread that comes late must not write into another one's descriptor.
        event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, event).atexit = False

        def drain() -> None:
            os.eventfd_read(event)
            self._drain()

        self.loop.add_reader(event, drain)
        return partial(os.eventfd_write, event, 1)

    def _wake_by_loop(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        # Cleared before the first pop: a request appended later than this makes its own wake-up, an earlier one is counted below.
        self._woken = False
        requests = self._requests
        for _ in range(len(requests)):
            if self.ended:
                return
            requests.popleft()()

    def _run(self) -> None:
        self._ident = threading.get_ident()
        courier.begin_loop()
        try:
            self._run_loop()
        finally:
            courier.end_loop()

    def _run_loop(self) -> None:
        try:
            self.loop = new_event_loop()
            self._wake = self._waker()
        except OSError as error:  # out of descriptors
            self._refuse_all(f"the event loop cannot be made: {error}")
            return
        try:
            self.loop.call_soon(self._drain)
            self.loop.call_later(_UNUSED, self._end_if_unused)
            while not self._ending:
                try:
                    self.loop.run_forever()
                except (KeyboardInterrupt, SystemExit) as error:
                    # asyncio lets these two through from any callback; a listener's sys.exit() must not end everyone's loop.
                    _log.error("%r was raised on the event-loop thread; it goes on", error)
        finally:
            self._refuse_all("")
            self.loop.run_until_complete(self._clear_up())
            self.loop.close()
            _portals.discard(self)

    async def _clear_up(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_TO_LEAVE)
        await self.loop.shutdown_asyncgens()

    def _refuse_all(self, broken: str) -> None:
        self._broken = broken
        self._ending = True
        self.ended = True
        _forget(self)
        if broken:
            _portals.discard(self)  # its thread has not begun, or is at its end
        self._refuse_the_rest()

    def _refuse_the_rest(self) -> None:
        while self._requests:
            try:
                request = self._requests.popleft()
            except IndexError:  # another thread refuses them too
                return
            if isinstance(request, Call | Submission):
                broken = self._broken
                request.refuse(
                    ClientStateError(broken) if broken else PortalEndedError("the call came too late: the last client was stopped")
                )


class Reply(Protocol):
    """Takes the outcome of a task."""

    def done(self) -> bool: ...
    def set_result(self, result: Any, /) -> None: ...
    def set_exception(self, error: BaseException, /) -> None: ...


class _Nobody:
    """The reply of what nobody waits for."""

    def done(self) -> bool:
        return False

    def set_result(self, result: object, /) -> None: ...

    def set_exception(self, error: BaseException, /) -> None:
        _log.error("stopping a dropped client failed: %s", error)


def _cancelled_error() -> ClientClosedError:
    return ClientClosedError("the call was cancelled because its client was stopped")


def _nothing() -> None: ...


# The process-wide portal -------------------------------------------------------------------------------------------------------

_table: dict[str, Portal] = {}
"""One entry at most. Of threads that put theirs in at the same time, `setdefault()` lets one win."""
_portals: set[Portal] = set()
"""All that have a thread, those that are ending included."""
_inherited: list[object] = []


def current() -> Portal:
    """The portal of this process, made when there is none. When it ends before it is called, that raises `PortalEndedError`.

    Raises:
        ClientStateError: gevent has replaced the threads or queues of this process.
        ClientClosedError: The interpreter is ending.
    """
    if sys.is_finalizing():
        raise ClientClosedError(_TOO_LATE)
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and (gevent.is_module_patched("threading") or gevent.is_module_patched("queue")):
        raise ClientStateError(
            "gevent has replaced the threads or queues of this process: the event loop of the blocking classes needs a thread of its own",
            hint="call gevent.monkey.patch_all(thread=False, queue=False), or use aiorocketmq in a process that gevent has not patched",
        )
    portal = peek() or _table.setdefault("portal", Portal())
    if portal.ended:
        _forget(portal)  # it ended before it was put in
    return portal


def peek() -> Portal | None:
    """The portal of this process, None when there is none."""
    return _table.get("portal")


def _forget(portal: Portal) -> None:
    # Only who ends a portal takes it out, so nobody can have replaced it between these two.
    if _table.get("portal") is portal:
        _table.pop("portal", None)


def _after_fork_in_child() -> None:
    global _table
    _table = {}
    for portal in _portals:
        portal.forked = True
        residents = [resident for ref in portal.residents.values() if (resident := ref()) is not None]
        for resident in residents:
            resident._mark_forked()
        # Kept alive for good: to close or collect the parent's loop and connections here would act on descriptors that the parent uses.
        _inherited.extend([portal, *residents])
    _portals.clear()


def _stop_everything() -> None:
    portal = peek()
    for ref in list(portal.residents.values()) if portal is not None else ():
        client = ref()
        if client is not None:
            try:
                client.stop()
            except Exception as error:  # noqa: BLE001 - the interpreter ends: the other clients must still be stopped
                _log.warning("stopping %r at the end of the process failed: %s", client, error)
    courier.flush(1.0)


# Here, so that what a program registers itself runs before: it may still use its clients.
atexit.register(_stop_everything)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
