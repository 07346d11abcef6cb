"""Tells a function of the user's when something changes in how a client is (no Java twin). Feature U2.

A look every second compares the client's health with that of the look before: what does not last until a look is no news, and nothing is
added to anything else that a client does. Clients without such a function do not even import this.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from aiorocketmq.client.callbacks import call
from aiorocketmq.client.examine import broker_text, some
from aiorocketmq.client.health import Health, StateChange, StateChangeKind
from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.enums import ServiceState

LOOK_INTERVAL: Final = 1.0
"""Seconds between two looks."""
FIRST_LOOK: Final = 0.1
MOST_WAITING: Final = 64
"""Changes that may wait for a slow function; beyond that the oldest are dropped."""

StateListener: TypeAlias = Callable[[StateChange], Awaitable[None] | None]
"""What `on_state_change` is: `async def`, called on the client's event loop, or `def`, called on a thread of its own."""

logger = logging.getLogger("aiorocketmq.client")


def check_listener(listener: object) -> None:
    """Refuse what cannot be called with a `StateChange`.

    Raises:
        ConfigError: It cannot.
    """
    hint = "give a def or an async def that takes one StateChange"
    if not callable(listener):
        raise ConfigError(f"on_state_change {listener!r} cannot be called", hint=hint)
    try:
        inspect.signature(listener).bind(None)
    except TypeError as error:
        raise ConfigError(f"on_state_change {listener!r} cannot be called with one argument: {error}", hint=hint) from None
    except ValueError:  # some builtins do not tell
        return


class StateWatch:
    """Watches one client from the end of its start to the begin of its stop.

    Args:
        client: What is watched, for the log.
        listener: The user's function.
        health: The method that tells how the client is; held weakly, so that a dropped client is noticed.

    Raises:
        ConfigError: The listener cannot be called with one argument.
    """

    def __init__(self, client: str, listener: StateListener, health: Callable[[], Health]) -> None:
        check_listener(listener)
        self._client = client
        self._listener = listener
        self._health = weakref.WeakMethod(health)
        self._before: Health | None = None
        self._waiting: deque[StateChange] = deque()
        self._scheduler: Scheduler | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._telling: asyncio.Task[None] | None = None
        self._log = StateLog(logger)

    def start(self) -> None:
        """Begin to watch. Needs a running event loop."""
        self._before = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="aiorocketmq-state")  # no thread before a plain function is called
        self._scheduler = Scheduler(f"state of {self._client}")
        self._scheduler.every("watch the state", LOOK_INTERVAL, self._look, first=FIRST_LOOK)

    async def stop(self) -> None:
        """Call the function no more; one that runs on a thread is not waited for. Idempotent."""
        self.abandon()
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            await scheduler.stop()
        self._telling = None  # what it was in the middle of hangs on its traceback

    def abandon(self) -> None:
        """The same where the event loop is closed."""
        self._waiting.clear()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def _look(self) -> None:
        ask = self._health()
        health = ask() if ask is not None else None
        if health is None or health.state is not ServiceState.RUNNING:
            return
        for change in changes(self._before, health):
            self._put(change)
        self._before = health

    def _put(self, change: StateChange) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            text = "on_state_change of %s is too slow: more than %d changes wait, the oldest are dropped"
            self._log.note(logging.WARNING, "slow", text, self._client, MOST_WAITING)
        self._waiting.append(change)
        if self._scheduler is not None and (self._telling is None or self._telling.done()):
            self._telling = self._scheduler.spawn("tell changes", self._tell())

    async def _tell(self) -> None:
        while self._waiting and self._threads is not None:
            change = self._waiting.popleft()
            try:
                await call(self._listener, self._threads, change)
            except BaseException as error:  # the user's code: whatever it raises, the client goes on
                task = asyncio.current_task()
                if isinstance(error, GeneratorExit | KeyboardInterrupt) or (task is not None and task.cancelling()):
                    raise
                text = "on_state_change of %s failed on %s: %s: %s"
                name = type(error).__name__
                self._log.note(logging.ERROR, "failed", text, self._client, change.kind.name, name, error, exc_info=error)


def changes(before: Health | None, now: Health) -> Iterator[StateChange]:
    """What is different between two looks; before the first one all was well.

    One change for each kind, however many things it is about: an outage of everything is a handful of calls.
    """
    kind = StateChangeKind
    for lost, regained, gone, what, of in (
        (kind.NAME_SERVERS_LOST, kind.NAME_SERVERS_REGAINED, kind.NAME_SERVERS_GONE, "name server", _name_servers),
        (kind.BROKERS_LOST, kind.BROKERS_REGAINED, kind.BROKERS_GONE, "broker", _brokers),
    ):
        known, old = of(now), of(before)
        bad, was_bad = _bad(known), _bad(old)
        if new := bad.keys() - was_bad.keys():
            yield _change(now, lost, new, f"lost {some(what, [f'{each}: {bad[each]}' for each in sorted(new)])}")
        if back := (was_bad.keys() - bad.keys()) & known.keys():
            yield _change(now, regained, back, f"{some(what, sorted(back))} can be reached again")
        if away := was_bad.keys() - known.keys():
            where = "in no route" if gone is kind.BROKERS_GONE else "not configured"
            yield _change(now, gone, away, f"{some(what, sorted(away))}, lost before, {'are' if len(away) > 1 else 'is'} {where} any more")
    yield from _about_group(before, now)
    yield from _about_queues(before, now)
    if before is None or before.status is not now.status:
        yield _change(now, kind.STATUS, (now.client,), str(now))


def _about_group(before: Health | None, now: Health) -> Iterator[StateChange]:
    conflicts, old = now.subscription_conflicts, before.subscription_conflicts if before is not None else {}
    if new := [topic for topic, text in conflicts.items() if old.get(topic) != text]:
        text = "members of the group have different subscriptions, so messages are lost to some of them"
        yield _change(now, StateChangeKind.SUBSCRIPTIONS_DIFFER, new, f"{text}: {'; '.join(conflicts[topic] for topic in sorted(new))}")
    if settled := old.keys() - conflicts.keys():
        text = f"members of the group have the same subscriptions of {some('topic', sorted(settled))} again"
        yield _change(now, StateChangeKind.SUBSCRIPTIONS_AGREE, settled, text)


def _about_queues(before: Health | None, now: Health) -> Iterator[StateChange]:
    stuck, old = _stuck(now), _stuck(before)
    if new := stuck.keys() - old.keys():
        text = "no progress on " + some("queue", [f"{each} ({stuck[each]})" for each in sorted(new)])
        yield _change(now, StateChangeKind.QUEUES_STUCK, new, text)
    if moving := old.keys() - stuck.keys():
        here = {str(queue.queue) for queue in now.queues}
        parts = []
        if going := sorted(moving & here):
            parts.append(f"{some('queue', going)} {'go' if len(going) > 1 else 'goes'} on")
        if elsewhere := sorted(moving - here):
            parts.append(f"{some('queue', elsewhere)}, stuck before, {'fall' if len(elsewhere) > 1 else 'falls'} to another member now")
        yield _change(now, StateChangeKind.QUEUES_MOVING, moving, "; ".join(parts))


def _change(now: Health, kind: StateChangeKind, subjects: object, text: str) -> StateChange:
    assert isinstance(subjects, set | list | tuple)
    return StateChange(kind, now.client, tuple(sorted(subjects)), text, now)


def _name_servers(health: Health | None) -> Mapping[str, str | None]:
    """Address → why it cannot be reached, None when nothing is wrong."""
    if health is None:
        return {}
    return {server.address: server.error if server.reachable is False else None for server in health.name_servers}


def _brokers(health: Health | None) -> Mapping[str, str | None]:
    if health is None:
        return {}
    return {broker_text(broker): broker.error if broker.reachable is False else None for broker in health.brokers}


def _bad(things: Mapping[str, str | None]) -> dict[str, str]:
    return {name: error for name, error in things.items() if error is not None}


def _stuck(health: Health | None) -> dict[str, str]:
    """Queue → why it does not move."""
    if health is None:
        return {}
    stuck = [queue for queue in health.queues if queue.stuck]
    return {str(queue.queue): queue.error or queue.waits_for or f"at {queue.position} for {queue.progress_ago:.0f} s" for queue in stuck}
