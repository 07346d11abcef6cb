"""What every blocking client shares: its life on the portal, `with`, `stop()` at the end of the process, and fork safety.

The classes of `aiorocketmq.sync` are generated on top of these; only what blocking code needs in another shape than `await`
gives it is written here by hand. There is no Java twin.

Starting and stopping are done on the loop, one after the other, so no lock is needed for them: any thread may ask for either at any time,
and so may a signal handler whose own thread is in the middle of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from functools import partial
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, Protocol, Self, TypeVar, cast

from aiorocketmq.client.direct_reply import Cancellable
from aiorocketmq.errors import ClientClosedError, ConfigError, ForkedClientError, WindowFullError
from aiorocketmq.model.checks import duration
from aiorocketmq.model.enums import ServiceState
from aiorocketmq.model.message import Message
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer import blocking
from aiorocketmq.producer.direct import DirectSender
from aiorocketmq.producer.producer import Producer
from aiorocketmq.producer.selectors import QueueSelector
from aiorocketmq.sync import portal as portals
from aiorocketmq.sync.calls import WAIT_SLICE, PortalEndedError
from aiorocketmq.sync.futures import SendFuture

if TYPE_CHECKING:
    from aiorocketmq.client.health import Health
    from aiorocketmq.sync.health import Healthy

T = TypeVar("T")
P = ParamSpec("P")

_GRACE: Final = 5.0
"""Seconds beyond its time-out that `stop()` waits at most: leaving the brokers and closing the connections takes one or two."""


class AsyncLife(Protocol):
    """What the portal needs of an asyncio client."""

    @property
    def start(self) -> Callable[..., Coroutine[Any, Any, Any]]: ...

    async def stop(self) -> Any: ...


A = TypeVar("A", bound=AsyncLife)


class BlockingClient(Generic[A]):
    """A client of the asyncio core, driven from other threads. Any thread may call any method at any time.

    A blocking call that is interrupted (`KeyboardInterrupt`) is cancelled on the loop before the exception goes on. A client that was
    started before a fork raises `ForkedClientError` in the child; one made before and started after it works.
    """

    _async: A
    _portal: portals.Portal | None = None
    """Where it runs, from the moment at which the loop begins to start it until it has stopped; set there."""

    def __init__(self, client: A) -> None:
        self._async = client
        self._stops = 0
        self._starting: asyncio.Task[Any] | None = None
        self._stopping: asyncio.Task[Any] | None = None

    # -- any thread --------------------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the client; does nothing when it runs. Returns the client itself.

        Raises:
            RocketMQError: As the asyncio twin, which also tells whether a start that failed may be tried again.
            ClientClosedError: `stop()` was called meanwhile, by another thread or a signal handler.
        """
        return self._start()

    def _start(self, **kwargs: Any) -> Self:
        self._on_portal(self._begin, self._stops, kwargs)
        return self

    def stop(self) -> None:
        """Stop the client and wait until it has stopped; does nothing when it is not running.

        A start that is under way is given up, and a stop that is under way is waited for. May be called by a signal handler at any moment.
        """
        self._end(self._async.stop)

    def _end(self, function: Callable[P, Coroutine[Any, Any, Any]], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Stop the client by this method of the asyncio client, and wait for the end of the portal if it was the last one on it."""
        portal = self._portal or portals.peek()
        if portal is not None and portal.forked:  # the parent's client: nothing here to stop
            return
        try:
            limit = self._stop_limit(args[0] if args else None)  # the one argument of `stop()`
        except ConfigError:
            BlockingClient.stop(self)  # all the same, with the usual time
            raise
        self._stops += 1  # a start that has not come to the loop yet shall not begin
        if portal is None:
            return
        try:
            if limit is None:
                portal.call(self._finish, function, threading.get_ident(), *args)
            else:
                portal.call_within(limit + _GRACE, self._finish, function, threading.get_ident(), *args)
        except PortalEndedError:
            return  # with the last client: this one was not on it, or has been stopped
        portal.join(_GRACE)

    def _stop_limit(self, timeout: Any) -> float | None:
        """Seconds after which a stop with this time-out should have ended, None when the client does not tell."""
        return None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def __del__(self) -> None:
        portal = self._portal
        if portal is not None and not portal.forked:
            client = self._async
            portal.launch(partial(_stop_dropped, portal, client, self._remains()))
            warnings.warn(f"{type(self).__name__} was dropped without stop()", ResourceWarning, source=self, stacklevel=2)  # may raise

    def _remains(self) -> Callable[[], object]:
        """What is to be done for a dropped client before its asyncio twin is stopped; must not refer to the client."""
        return _nothing

    def _mark_forked(self) -> None:
        """This is a forked child, and the client is the parent's."""

    def _call(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine method of the asyncio client and wait for it. It knows best whether it can be used before and after its run."""
        portal = self._portal
        if portal is not None:
            return portal.call(function, *args, **kwargs)

        async def run(portal: portals.Portal) -> T:
            return await function(*args, **kwargs)

        return self._on_portal(run)

    def _run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a plain method of the asyncio client: on the loop while the client runs, here and now before and after."""
        portal = self._portal
        return function(*args, **kwargs) if portal is None else portal.call_plain(function, *args, **kwargs)

    def _health(self) -> Health:
        """The health of the asyncio client, which all but servers have."""
        from aiorocketmq.sync.health import health_of  # for those who ask

        return health_of(self._portal, cast("Healthy", self._async))

    def _on_portal(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Run a coroutine function, which gets the portal too, on the client's portal or on that of the process."""
        while True:
            portal = self._portal or portals.current()
            try:
                return portal.call(function, portal, *args)
            except PortalEndedError:
                continue  # it came to its end just then: take the next one
            finally:
                portal.join(_GRACE)  # if it was there for this call alone

    # -- the loop ----------------------------------------------------------------------------------------------------------------------

    async def _begin(self, portal: portals.Portal, stops: int, kwargs: dict[str, Any]) -> None:
        while (other := self._starting or self._stopping) is not None:
            await asyncio.wait([other])
        if self._portal is not None:
            return  # it runs
        if self._stops != stops:
            raise ClientClosedError(f"{type(self).__name__} was stopped while it was being started")
        self._portal = portal
        portal.enter(self._async, self)
        self._starting = asyncio.current_task()
        try:
            await portal.settle()
            await self._async.start(**kwargs)
            self._started(portal)
        except BaseException:
            try:
                # Cut off when it was through. What fails undoes itself, and whether it may be tried again the twin knows.
                if getattr(self._async, "state", ServiceState.RUNNING) is ServiceState.RUNNING:
                    await self._async.stop()
            finally:
                self._left(portal)
            raise
        finally:
            self._starting = None

    def _started(self, portal: portals.Portal) -> None:
        """The client runs, and no thread has used it yet."""

    async def _finish(self, function: Callable[..., Coroutine[Any, Any, Any]], caller: int, *args: Any) -> None:
        with self._not_awaiting(caller):
            while (other := self._starting or self._stopping) is not None:
                # One that runs already only waits for its first queues, and its own listener may have asked for the stop.
                if other is self._starting and getattr(self._async, "state", None) is not ServiceState.RUNNING:
                    other.cancel()
                await asyncio.wait([other])
            portal = self._portal
            if portal is None:
                return  # it never ran, or has stopped
            self._stopping = asyncio.current_task()
            try:
                await self._stop_twin(function, *args)
            finally:
                self._stopping = None
                self._left(portal)

    def _not_awaiting(self, thread: int) -> contextlib.AbstractContextManager[None]:
        """While a thread waits for the stop: what it was doing before, beneath a signal handler, ends only after that."""
        return contextlib.nullcontext()

    async def _stop_twin(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        await function(*args)

    def _left(self, portal: portals.Portal) -> None:
        self._portal = None
        portal.leave(self._async)


async def _stop_dropped(portal: portals.Portal, client: AsyncLife, first: Callable[[], object]) -> None:
    try:
        first()
        await client.stop()
    finally:
        portal.leave(client)


def _nothing() -> None: ...


S = TypeVar("S", bound=Producer)


class BlockingProducer(BlockingClient[S]):
    """A blocking producer: adds ways for `send()` that need no task, or no event loop, and a bound for `send_nowait()`.

    Args:
        client: The asyncio producer.
        max_in_flight: Futures of `send_nowait()` that may be open.
    """

    _direct: DirectSender | None = None

    def __init__(self, client: S, max_in_flight: int) -> None:
        super().__init__(client)
        self._room = _Room(max_in_flight)

    # -- life --------------------------------------------------------------------------------------------------------------------------

    def _started(self, portal: portals.Portal) -> None:
        self._direct = blocking.direct_sender(self._async, partial(_hand_over, portal))

    def _stop_limit(self, timeout: Any) -> float | None:
        return blocking.stop_timeout(self._async) if timeout is None else duration("timeout", timeout, 0)

    @contextlib.contextmanager
    def _not_awaiting(self, thread: int) -> Iterator[None]:
        direct = self._direct
        if direct is None:
            yield
            return
        direct.not_awaited.append(thread)
        try:
            yield
        finally:
            direct.not_awaited.remove(thread)

    async def _stop_twin(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        limit = self._stop_limit(args[0] if args else None)
        if self._direct is not None and limit is not None:
            # One deadline for both, and for the loop's own sends a moment at least in which to see what is there already.
            limit = max(0.001, await self._direct.close(limit))
        await function(limit)

    def _left(self, portal: portals.Portal) -> None:
        self._direct = None
        super()._left(portal)

    def _remains(self) -> Callable[[], object]:
        return _nothing if self._direct is None else self._direct.abandon

    def _mark_forked(self) -> None:
        if self._direct is not None:
            self._direct.abandon()
        for future in list(self._room.open):
            future.disown(ForkedClientError("the send belongs to the parent process"))

    # -- sending -----------------------------------------------------------------------------------------------------------------------

    def _send(
        self,
        message: Message,
        *,
        queue: MessageQueue | None,
        selector: QueueSelector | None,
        sharding_key: str | None,
        timeout: float | timedelta | None,
    ) -> SendResult:
        """Send one message and wait for its answer: past the event loop where that can be, else on it. Arguments as in `send()`."""
        portal = self._portal
        if portal is None:
            return self._call(self._async.send, message, queue=queue, selector=selector, sharding_key=sharding_key, timeout=timeout)
        portal.check()
        direct = self._direct
        if direct is not None and selector is None:
            result = direct.send(message, timeout, queue, sharding_key)
            if result is not None:
                return result
        what = (self._async, False, message, queue, selector, sharding_key, timeout)
        return portal.call_direct(blocking.begin, blocking.send, what)

    def _submit(
        self,
        message: Message,
        *,
        queue: MessageQueue | None,
        selector: QueueSelector | None,
        sharding_key: str | None,
        timeout: float | timedelta | None,
    ) -> SendFuture[SendResult]:
        """Send one message without waiting for its answer, but while `max_in_flight` of the futures are open. Arguments as in `send()`."""
        portal = self._portal
        if portal is None:
            self._call(self._async.send, message)  # the asyncio producer says best why it cannot be used
            raise ClientClosedError(f"{type(self).__name__} is not running")
        portal.check_process()
        blocking.check(self._async, message, queue, selector, sharding_key)
        room = self._room
        room.wait(portal)
        future: SendFuture[SendResult] = SendFuture(portal, room.leave)
        what = (self._async, True, message, queue, selector, sharding_key, timeout)
        try:
            room.open.add(future)
            portal.submit(blocking.begin, blocking.send, what, future)
        except BaseException:
            room.open.discard(future)  # interrupted before it was on its way, or just after that
            raise
        return future


class _Room:
    """Bounds the futures that are open. Who is in is told by a set alone, so that an interrupt at any moment costs no place.

    Args:
        limit: Open futures at most; a few more when threads come at the same time.

    Attributes:
        open: The open futures.
    """

    def __init__(self, limit: int) -> None:
        self.open: set[SendFuture[Any]] = set()
        self._limit = limit
        self._waiting: deque[Any] = deque()

    def wait(self, portal: portals.Portal) -> None:
        """Wait until there is room.

        Raises:
            WindowFullError: There is none, and this is the loop's own thread, which makes it.
        """
        while len(self.open) >= self._limit:
            if portal.on_loop_thread:
                raise WindowFullError("the window of unanswered sends is full, and this thread has to empty it")
            portal.check_process()
            lock = threading.Lock()
            lock.acquire()
            self._waiting.append(lock)
            if len(self.open) >= self._limit:  # still, after the append: whoever leaves now sees the lock
                lock.acquire(timeout=WAIT_SLICE)

    def leave(self, future: SendFuture[Any]) -> None:
        """A future has ended, or was given up."""
        self.open.discard(future)
        if self._waiting:
            try:
                self._waiting.popleft().release()
            except IndexError:
                return  # another thread took the last one


def _hand_over(portal: portals.Portal, resume: Callable[..., Cancellable]) -> SendResult:
    """Let the loop go on with a send; when it has ended meanwhile, the send does here."""
    try:
        return portal.call_direct(resume, _impatient, ())
    except PortalEndedError:
        reply = _Told()
        resume(reply)
        return reply.outcome()


async def _impatient() -> SendResult:
    raise AssertionError("a send that is under way needs no room")


class _Told:
    """The reply of a send that ends at once."""

    def __init__(self) -> None:
        self._result: SendResult | None = None
        self._error: BaseException | None = ClientClosedError("the producer was stopped")

    def done(self) -> bool:
        return self._result is not None

    def set_result(self, result: SendResult | None, /) -> None:
        self._result, self._error = result, None

    def set_exception(self, error: BaseException, /) -> None:
        self._error = error

    def outcome(self) -> SendResult:
        if self._error is not None:
            raise self._error
        assert self._result is not None  # one of both was told
        return self._result


class AsyncConsumer(AsyncLife, Protocol):
    """What the portal needs of an asyncio consumer."""

    @property
    def in_listener(self) -> bool: ...


C = TypeVar("C", bound=AsyncConsumer)


class AsyncScheduled(AsyncLife, Protocol):
    """A client that calls functions of the user's, which may stop it."""

    def _is_scheduled(self) -> bool: ...


D = TypeVar("D", bound=AsyncScheduled)


class BlockingScheduled(BlockingClient[D]):
    """A blocking client that calls functions of the user's: they may ask for its stop, which waits for them."""

    def stop(self) -> None:
        """Stop the client and wait until it has stopped; called by a function that it calls it begins the stop and returns."""
        if self._async._is_scheduled():
            threading.Thread(target=super().stop, name="aiorocketmq-stop", daemon=True).start()
        else:
            super().stop()


class BlockingConsumer(BlockingClient[C]):
    """A blocking consumer: adds the way a program of its own runs one, and a stop that its own listeners may ask for."""

    def stop(self) -> None:
        """Stop pulling, wait for running listeners, save offsets, give back locks and leave the group; wait until that is done.

        Called by a listener of this consumer it begins the stop and returns: the stop waits for that listener, and its message counts as
        consumed.
        """
        if self._async.in_listener:
            threading.Thread(target=super().stop, name="aiorocketmq-stop", daemon=True).start()
        else:
            super().stop()

    def run(self) -> None:
        """Start, consume until SIGINT or SIGTERM, or until another thread calls `stop()`, and stop: running listeners may end first.

        A second signal does not wait for them. On a thread other than the main one no signal is caught, nor is one that the program that
        Python runs in handles itself.

        Raises:
            RocketMQError: The start failed.
            KeyboardInterrupt: A second SIGINT came while stopping.
        """
        stops = self._stops
        with _termination() as asked:
            try:
                self.start()
                while self._portal is not None:
                    with contextlib.suppress(Empty):
                        asked.get(timeout=WAIT_SLICE)
                        break
            except ClientClosedError:
                if self._stops == stops:  # else it was stopped meanwhile, which is one of the ways to end this
                    raise
            finally:
                self.stop()


@contextlib.contextmanager
def _termination() -> Iterator[SimpleQueue[int]]:
    """Gets SIGINT and SIGTERM; the second signal is treated as if nobody had caught the first."""
    asked: SimpleQueue[int] = SimpleQueue()
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
        asked.put(number)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if handler is not None:  # one that was not set from Python could not be put back
                previous[number] = handler
                signal.signal(number, on_signal)
        yield asked
    finally:
        restore()
