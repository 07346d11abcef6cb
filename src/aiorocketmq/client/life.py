"""The life of a public client on the shared client instance (Java: `start`, `shutdown`, `serviceState` of `DefaultMQProducerImpl`).

    CREATE_JUST ──start()──► RUNNING ──stop()──► SHUTDOWN_ALREADY
         │                      ▲
         └─ fails, is cut off ──┤
                                │ start()
                          START_FAILED

A start happens as a whole or not at all: whatever ends it early (an error, a time-out around it, a cancellation, a `stop()` from elsewhere)
is undone, and the client can be started again. Undoing and stopping go on when who waits for them is cancelled, and are begun again when
code outside of the library cancels all tasks: what they call must take it that a part is done already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from aiorocketmq.client import manager
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import ClientClosedError, ClientStateError
from aiorocketmq.model.checks import duration
from aiorocketmq.model.enums import ServiceState

if TYPE_CHECKING:
    from aiorocketmq.client.examine import Own
    from aiorocketmq.client.health import Health
    from aiorocketmq.client.state_watch import StateWatch

Step: TypeAlias = Callable[[ClientInstance], Awaitable[None]]

_ONE_LOOP: Final = "start, use and stop a client on one event loop; aiorocketmq.sync serves programs without one"


class ClientLife:
    """Joins the instance of a configuration, and leaves it.

    Args:
        name: What lives, as errors name it: `producer 'orders'`.
        config: Chooses the instance.
        keep_default_name: See `InstanceManager.acquire`.
        watch: Watches the client while it runs, or None.

    Attributes:
        state: Where in its life the client is.
        instance: The instance while the client runs or is being stopped.
        stopped: Set once the client was stopped, to the end.
    """

    def __init__(self, name: str, config: ClientConfig, *, keep_default_name: bool = False, watch: StateWatch | None = None) -> None:
        self.state = ServiceState.CREATE_JUST
        self.instance: ClientInstance | None = None
        self.stopped = asyncio.Event()
        self._name = name
        self._config = config
        self._keep_default_name = keep_default_name
        self._watch = watch
        self._turn = asyncio.Lock()
        self._turn_loop: asyncio.AbstractEventLoop | None = None
        self._tasks = Scheduler(name)  # not the instance's, which ends with its last client
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Timeout | None = None
        self._undoing: asyncio.Future[None] | None = None
        self._stopping: asyncio.Future[None] | None = None

    # --- start ------------------------------------------------------------------------------------------------------------------

    async def start(
        self, begin: Step, undo: Step, timeout: float | timedelta | None, settle: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Join the instance, starting it for its first client; does nothing while the client runs.

        Args:
            begin: Does the client's own part, on the instance that runs.
            undo: Takes back whatever `begin` has done, as far as it came.
            timeout: Seconds to wait for a name server that answers; None does not ask for one.
            settle: What the caller waits for when the client runs already; cut off, it is undone like the rest. A stop is no reason to.

        Raises:
            ClientClosedError: The client was stopped, before or meanwhile.
            ClientStateError: It runs on another event loop.
            RocketMQError: The instance or `begin` failed.
        """
        patience = None if timeout is None else duration("timeout", timeout)
        self.check_loop()
        self._come_to_loop()
        async with self._turn:
            if self._undoing is not None:
                await self._tasks.join(self._undoing)
            if self.state is ServiceState.RUNNING:
                return
            self.check_not_stopped()
            instance = manager.acquire(self._config, keep_default_name=self._keep_default_name)
            self._starting = asyncio.timeout(None)
            try:
                async with self._starting:
                    await instance.start(patience)
                    await begin(instance)
                self.check_not_stopped(" while it was being started")
            except BaseException:
                await self._undo(instance, undo)
                raise
            self._starting = None
            self._loop = asyncio.get_running_loop()
            self.instance = instance
            self.state = ServiceState.RUNNING
            if self._watch is not None:
                self._watch.start()
            if settle is not None:
                await self._settle(instance, undo, settle)

    async def _settle(self, instance: ClientInstance, undo: Step, settle: Callable[[], Awaitable[None]]) -> None:
        try:
            await settle()
        except BaseException:
            if self._stopping is None:
                self.instance = None
                await self._undo(instance, undo)
            raise

    async def _undo(self, instance: ClientInstance, undo: Step) -> None:
        cut_off, self._starting = self._starting is not None and self._starting.expired(), None
        if self.state is not ServiceState.SHUTDOWN_ALREADY:
            self.state = ServiceState.START_FAILED
        self._undoing = self._tasks.finish("undo start", partial(self._leave, instance, undo))
        self._undoing.add_done_callback(self._undone)
        await self._tasks.join(self._undoing)
        if cut_off:
            self.check_not_stopped(" while it was being started")

    def _undone(self, _: asyncio.Future[None]) -> None:
        self._undoing = None

    # --- stop -------------------------------------------------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """True once a stop has begun."""
        return self._stopping is not None

    async def stop(self, end: Step, hurry: Callable[[], None] | None = None) -> None:
        """Leave the instance, which stops with its last client; ends a start that is under way. Callers share one stop.

        Of a client whose start has failed nothing is left, and it can still be started again.

        Args:
            end: Does the client's own part first.
            hurry: Called when the caller is cancelled, to make `end` come to its end.

        Raises:
            ClientStateError: The client was started on another event loop. When that one is closed the connections are closed all the
                same, and the client counts as stopped.

        Cancelling it leaves the stop going on.
        """
        self.check_loop()
        stopping = self.begin_stop(end)
        if stopping is None or stopping.done():
            return
        try:
            await self._tasks.join(stopping)
        except asyncio.CancelledError:
            if hurry is not None:
                hurry()
            raise

    def begin_stop(self, end: Step) -> asyncio.Future[None] | None:
        """As `stop()`, without waiting for the end; None when there is nothing to stop."""
        self._come_to_loop()
        if self.state is ServiceState.START_FAILED and self._starting is None:
            return self._undoing
        self.state = ServiceState.SHUTDOWN_ALREADY
        if self._starting is not None:
            self._starting.reschedule(asyncio.get_running_loop().time())
        if self._stopping is None:
            self._stopping = self._tasks.finish("stop", partial(self._stop, end))
            self._stopping.add_done_callback(self._stopped)
        return self._stopping

    async def _stop(self, end: Step) -> None:
        async with self._turn:
            if self._undoing is not None:
                await self._tasks.join(self._undoing)
            if self.instance is not None:
                await self._leave(self.instance, end)

    async def _leave(self, instance: ClientInstance, end: Step) -> None:
        if self._watch is not None:
            await self._watch.stop()
        await _leave(instance, end)

    def _stopped(self, _: asyncio.Future[None]) -> None:
        self.instance = None
        self.stopped.set()

    def _come_to_loop(self) -> None:
        """Starts and stops take turns on one loop. What was going on on one that was closed in the middle of it will never end."""
        loop, known = asyncio.get_running_loop(), self._turn_loop
        if known is loop:
            return
        if known is not None and not known.is_closed() and self._turn.locked():
            raise ClientStateError(f"{self._name} is being started or stopped on another event loop", hint=_ONE_LOOP)
        self._turn, self._turn_loop = asyncio.Lock(), loop
        self._starting = self._undoing = self._stopping = None

    # --- how it is --------------------------------------------------------------------------------------------------------------

    def health(self, own: Callable[[], Own]) -> Health:
        """See `Watched.health`.

        Args:
            own: Tells what the client knows of itself; called only while it runs.
        """
        from aiorocketmq.client.examine import at_rest, examine  # for those who ask

        instance, loop = self.instance, self._loop
        if instance is None or loop is None or self.state is not ServiceState.RUNNING:
            return at_rest(self._name, self.state)
        return examine(self._name, self.state, instance, loop, own)

    # --- what may be done now ---------------------------------------------------------------------------------------------------

    def check_not_stopped(self, when: str = "") -> None:
        """Raises `ClientClosedError` once the client was stopped."""
        if self.state is ServiceState.SHUTDOWN_ALREADY:
            raise ClientClosedError(f"{self._name} was stopped{when}")

    def running(self) -> ClientInstance:
        """The instance.

        Raises:
            ClientClosedError: The client was stopped.
            ClientStateError: It was not started, or runs on another event loop.
        """
        self.check_loop()
        self.check_not_stopped()
        if self.instance is None:
            raise ClientStateError(f"{self._name} is not started", hint="call `await client.start()`, or use `async with`")
        return self.instance

    def check_loop(self) -> None:
        """Refuse a running client on another event loop than its own.

        Raises:
            ClientStateError: This is another loop. When its own is closed, its connections are closed now.
        """
        instance, loop = self.instance, self._loop
        if instance is None or loop is None or loop is _loop_here():
            return
        if not loop.is_closed():
            raise ClientStateError(f"{self._name} belongs to another event loop", hint=_ONE_LOOP)
        self.state = ServiceState.SHUTDOWN_ALREADY
        self.instance = None
        if self._watch is not None:
            self._watch.abandon()
        manager.shared.purge()
        instance.abandon()
        text = f"{self._name} was not stopped before its event loop was closed; its connections are closed now"
        raise ClientStateError(text, hint=_ONE_LOOP)


def _loop_here() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # a plain method, called by a thread without one
        return None


async def _leave(instance: ClientInstance, end: Step) -> None:
    try:
        await end(instance)
    except asyncio.CancelledError:
        raise  # by code outside of the library: all of this is done again
    except BaseException:
        await manager.release(instance)
        raise
    await manager.release(instance)
