"""What every blocking client shares: its life on the portal, `with`, `stop()` at the end of the process, and fork safety.

The classes of `aiorocketmq.sync.clients` are generated on top of these; only what blocking code needs in another shape than `await`
gives it is written here by hand. There is no Java twin.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Final, Generic, ParamSpec, Protocol, Self, TypeVar

from aiorocketmq.client.direct_reply import Cancellable
from aiorocketmq.errors import ClientClosedError, RocketMQError, WindowFullError
from aiorocketmq.model.message import Message
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer.direct import DirectSender, Unfinished
from aiorocketmq.producer.selectors import QueueSelector
from aiorocketmq.sync import portal as portals

T = TypeVar("T")
P = ParamSpec("P")

_RUN_SLICE: Final = 0.5
"""Seconds between two looks of `run()` for a stop that came without a signal, where locks cannot be interrupted."""


class AsyncLife(Protocol):
    """What the portal needs of an asyncio client."""

    async def start(self) -> Any: ...

    async def stop(self) -> Any: ...


A = TypeVar("A", bound=AsyncLife)


class BlockingClient(Generic[A]):
    """A client of the asyncio core, driven from other threads. Any thread may call any method at any time.

    A blocking call that is interrupted (`KeyboardInterrupt`) is cancelled on the loop before the exception goes on. A client that was
    started before a fork raises `ForkedClientError` in the child; one made before and started after it works.
    """

    _async: A
    _portal: portals.Portal | None = None

    def __init__(self, client: A) -> None:
        self._async = client
        self._life = threading.Lock()

    def start(self) -> Self:
        """Start the client; does nothing when it runs. Returns the client itself.

        Raises:
            RocketMQError: As the asyncio twin; a client whose start failed cannot be started again.
        """
        with self._life:
            leased = self._portal is None
            portal = self._portal or portals.acquire(self)
            try:
                portal.call(self._async.start)
            except BaseException:
                if leased:
                    with contextlib.suppress(RocketMQError):  # the first error is the one to tell
                        portal.call(self._async.stop)
                    portals.release(portal, self)
                raise
            self._portal = portal
            self._started(portal)
        return self

    def _started(self, portal: portals.Portal) -> None:
        """The client runs, and no other thread can stop it yet."""

    def _stopping(self, portal: portals.Portal, timeout: Any) -> None:
        """The client is about to be stopped within `timeout`, and no other thread can do that or start it meanwhile."""

    def stop(self) -> None:
        """Stop the client and wait until it has stopped; does nothing when it is not running."""
        self._end(self._async.stop)

    def _end(self, function: Callable[P, Coroutine[Any, Any, Any]], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Stop the client by this method of the asyncio client, and give the portal back."""
        with self._life:
            portal = self._portal
            if portal is None:
                return
            if portal.forked:  # the parent's client: nothing here to stop
                self._portal = None
                return
            try:
                try:
                    self._stopping(portal, args[0] if args else None)  # the one argument of `stop()`
                finally:
                    portal.call(function, *args, **kwargs)
            finally:
                self._portal = None
                portals.release(portal, self)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def __del__(self) -> None:
        portal = self._portal
        if portal is not None and not portal.forked:
            warnings.warn(f"{type(self).__name__} was dropped without stop()", ResourceWarning, source=self, stacklevel=2)
            client = self._async

            async def end() -> None:
                try:
                    await client.stop()
                finally:
                    portals.release(portal)

            portal.launch(end)

    def _call(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine method of the asyncio client and wait for it."""
        portal = self._portal
        if portal is not None:
            return portal.call(function, *args, **kwargs)
        # Not running: the asyncio client knows best whether that is an error, and which.
        portal = portals.acquire(self)
        try:
            return portal.call(function, *args, **kwargs)
        finally:
            portals.release(portal, self)

    def _run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a plain method of the asyncio client: on the loop while the client runs, here and now before and after."""
        portal = self._portal
        if portal is None:
            return function(*args, **kwargs)

        async def run() -> T:
            return function(*args, **kwargs)

        return portal.call(run)


class AsyncSender(AsyncLife, Protocol):
    """What a blocking producer needs of its asyncio twin."""

    def _direct_sender(self) -> DirectSender | None: ...


S = TypeVar("S", bound=AsyncSender)


class BlockingProducer(BlockingClient[S]):
    """A blocking producer: adds ways for `send()` that need no task, or no event loop, and a bound for `send_nowait()`.

    Args:
        client: The asyncio producer.
        max_in_flight: Futures of `send_nowait()` that may be open.
    """

    _direct: DirectSender | None = None

    def __init__(self, client: S, max_in_flight: int) -> None:
        super().__init__(client)
        self._room = threading.Semaphore(max_in_flight)

    def _started(self, portal: portals.Portal) -> None:
        if self._direct is None:
            self._direct = self._run(self._async._direct_sender)

    def _stopping(self, portal: portals.Portal, timeout: Any) -> None:
        if portal.on_loop_thread:
            return  # where stopping is refused, and nothing may wait
        direct, self._direct = self._direct, None
        if direct is not None:
            direct.close(timeout)

    def _end(self, function: Callable[P, Coroutine[Any, Any, Any]], /, *args: P.args, **kwargs: P.kwargs) -> None:
        portal = self._portal
        if portal is not None and portal.forked and self._direct is not None:
            portals.keep(self._direct)
            self._direct = None
        super()._end(function, *args, **kwargs)

    def __del__(self) -> None:
        portal, direct = self._portal, self._direct
        if direct is not None and not (portal is not None and portal.forked):
            direct.abandon()
        super().__del__()

    def _send(
        self,
        into: Callable[..., Cancellable | None],
        patient: Callable[..., Coroutine[Any, Any, T]],
        message: Message,
        /,
        *,
        queue: MessageQueue | None,
        selector: QueueSelector | None,
        sharding_key: str | None,
        timeout: float | timedelta | None,
    ) -> T | SendResult:
        """Send one message and wait for its answer: past the event loop where that can be, else on it. Other arguments as in `send()`.

        Args:
            into: `_send_into`, the cheap way onto the loop; None says that there is no room in the window.
            patient: `send`, which waits for room.
        """
        portal = self._portal
        if portal is None:
            return self._call(patient, message, queue=queue, selector=selector, sharding_key=sharding_key, timeout=timeout)
        direct = self._direct
        if direct is not None and queue is None and selector is None and sharding_key is None:
            portal.check()
            result = direct.send(message, timeout)
            if isinstance(result, SendResult):
                return result
            if isinstance(result, Unfinished):
                return portal.call_direct(result.resume, patient, (), {})
            if result is not None:
                timeout = result
        fixed = {"queue": queue, "selector": selector, "sharding_key": sharding_key, "timeout": timeout}
        return portal.call_direct(into, patient, (message,), fixed)

    def _submit(
        self,
        now: Callable[P, asyncio.Future[T]],
        patient: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Future[T]:
        """Send one message without waiting for its answer, but while `max_in_flight` of the futures are open. Arguments as in `_send()`."""
        portal = self._portal
        if portal is None:
            self._call(patient, *args, **kwargs)  # the asyncio producer says best why it cannot be used
            raise ClientClosedError(f"{type(self).__name__} is not running")
        room = self._room
        if not room.acquire(blocking=False):
            if portal.on_loop_thread:
                raise WindowFullError("the window of unanswered sends is full, and this thread has to empty it")
            room.acquire()
        try:
            future = portal.submit(partial(_begin, now, patient, *args, **kwargs))
        except BaseException:
            room.release()
            raise
        future.add_done_callback(lambda _: room.release())
        return future


def _begin(
    now: Callable[P, asyncio.Future[T]], patient: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
) -> asyncio.Future[T]:
    """Send at once, or wait for room when other threads have filled the window. Runs on the loop."""
    try:
        return now(*args, **kwargs)
    except WindowFullError:
        return asyncio.ensure_future(patient(*args, **kwargs))


class BlockingConsumer(BlockingClient[A]):
    """A blocking consumer: adds the way a program of its own runs one."""

    def run(self) -> None:
        """Start, consume until SIGINT or SIGTERM, or until another thread calls `stop()`, and stop: running listeners may end first.

        A second signal does not wait for them. On a thread other than the main one no signal is caught.

        Raises:
            RocketMQError: The start failed.
            KeyboardInterrupt: A second SIGINT came while stopping.
        """
        with _termination() as asked, self:
            # A plain lock, because a signal handler may release it at any moment; an Event or Condition could deadlock there.
            while not asked.acquire(timeout=_RUN_SLICE):
                if self._portal is None:
                    return


@contextlib.contextmanager
def _termination() -> Iterator[threading.Lock]:
    """A lock that SIGINT and SIGTERM release; the second signal is treated as if nobody had caught the first."""
    asked = threading.Lock()
    asked.acquire()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    previous: dict[int, Any] = {}

    def restore() -> None:
        while previous:
            number, handler = previous.popitem()
            signal.signal(number, handler)

    def on_signal(number: int, frame: FrameType | None) -> None:
        restore()
        asked.release()

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, on_signal)
    try:
        yield asked
    finally:
        restore()
