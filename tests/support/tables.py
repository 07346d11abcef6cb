"""What the objects of the package still hold when a test has ended: timers, tasks, futures, and entries of tables.

The objects are found with the garbage collector, so nothing has to register itself, and a new table is looked at from its first day. Of the
compiled form the attributes cannot be read: there nothing is found.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import reprlib
import threading
from collections import deque
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

PACKAGE = "aiorocketmq."


_SLOTS: dict[type, tuple[str, ...]] = {}


def slots_of(kind: type) -> tuple[str, ...]:
    """Names of all slots, with their mangling."""
    known = _SLOTS.get(kind)
    if known is not None:
        return known
    names: list[str] = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            hidden = name.startswith("__") and not name.endswith("__")
            names.append(f"_{base.__name__.lstrip('_')}{name}" if hidden else name)
    return _SLOTS.setdefault(kind, tuple(names))


def attributes(thing: object) -> Iterator[tuple[str, Any]]:
    """Every attribute of an instance with its value; none is computed."""
    yield from list(getattr(thing, "__dict__", {}).items())
    for name in slots_of(type(thing)):
        if name not in ("__dict__", "__weakref__"):
            try:
                yield name, object.__getattribute__(thing, name)
            except AttributeError:
                continue


def unfinished(value: object) -> str:
    """What is going on in a value, or ""."""
    if isinstance(value, asyncio.TimerHandle):
        # `_scheduled` ends when the timer has run or was cancelled and thrown away.
        return "a timer is set" if value._scheduled and not value.cancelled() else ""  # type: ignore[attr-defined]
    if isinstance(value, asyncio.Task):
        return "" if value.done() or value.cancelling() else "a task goes on"
    if isinstance(value, asyncio.Future | concurrent.futures.Future):
        return "" if value.done() else "a future is open"
    if isinstance(value, threading.Thread):
        if value is not threading.current_thread() and value.is_alive():
            value.join(1.0)  # one that ends has the time of a busy machine for that
        return "a thread goes on" if value.is_alive() else ""
    return ""


TABLES = (dict, list, set, deque)

MAY_HOLD = (
    # Values, and state without an owner's life: whoever holds them is looked at.
    "protocol.*", "model.*", "core.*", "config.*", "errors.*", "admin.*", "cli.*", "client.health.*", "client.replies.Reply.*",
    "*.settings.*",
    # What a server knows outlives the clients that told it.
    "server.namesrv.*", "server.local_cluster.*", "server.store.records.*", "server.broker.processors.*",
    "server.broker.stats.*", "server.broker.metadata.*", "server.broker.offsets.*", "server.broker.registry.*", "server.broker.locks.*",
    "server.broker.schedule.*", "server.broker.tables.StoredTable._table", "server.dispatch.*",
    "server.broker.pop_*", "server.broker.topic_queues.*", "server.store.taken.TakenMessages._keys",
    "server.access.*", "server.broker.access.*",
    # Caches, and what was counted or told in the log.
    "client.manager.InstanceManager._loops", "client.scheduler.Scheduler.records", "client.statelog.StateLog.*", "client.stats.*",
    "client.heartbeat.HeartbeatService.records", "consumer.progress.*", "consumer.patterns.TopicPatterns.*",
    "consumer.push.PushConsumer._rates",
    "client.route.RouteService.*", "client.route.Departed.topics", "client.inner_producer.InnerProducer._topics",
    "remoting.event_loop.*", "sync.courier._Courier._token", "sync.courier._LoopSafeLogger._cache",
    "remoting.processing.Dispatcher.processors", "remoting.endpoint.SparseLog._seen", "remoting.peers.*", "remoting.name_servers.*.records",
    "remoting.*._marks",
    "producer.dispatcher.SendDispatcher.targets", "producer.topics.Topics.targets", "producer.send.TopicTarget.*lanes",
    "producer.send.TopicTarget.*templates", "producer.send.TopicTarget.brokers", "producer.send.TopicTarget.served_by",
    "producer.prepare.Preparer._targets", "producer.decisions.Decisions._made", "producer.decisions.Decisions.hooks",
    "producer.hooks.*", "producer.failures.RecentFailures._times", "consumer.hooks.*", "producer.observing.ObservingPreparer._targets",
    "producer.observing.ObservingAccumulator._targets", "producer.attempts.Trouble.*", "producer.accumulator.Accumulator._targets",
    "consumer.offset_store.*", "consumer.subscriptions.*", "consumer.taking.TakeOver._added", "consumer.start_offset.Committed._tables",
    "consumer.pulling.Pulls._thresholds", "consumer.topic_routes.TopicRoutes._missing", "consumer.rebalance._Share.mine",
    "consumer.rebalance.Rebalancer._seen", "consumer.rebalance.Rebalancer._told", "consumer.rebalance.Rebalancer._connections",
    "consumer.group_check.GroupCheck.conflicts", "consumer.calling.Stretch.*", "consumer.assignment.*",
    "consumer.acking.Clocks._ahead", "consumer.acking.Acker._one_by_one",
    "consumer.*._plans",
)  # fmt: skip
"""Tables that may have entries in the end, by module, class and attribute. Anything else that grows has to be empty again."""
_WATCHED: dict[type, bool] = {}


def ours(kind: type) -> bool:
    """True for classes of the package."""
    known = _WATCHED.get(kind)
    if known is None:
        module = getattr(kind, "__module__", "")
        known = _WATCHED[kind] = isinstance(module, str) and module.startswith(PACKAGE)
    return known


@cache
def may_hold(place: str) -> bool:
    return any(fnmatchcase(place, pattern) for pattern in MAY_HOLD)


def _another_s() -> tuple[str, ...]:
    """Parts of the package that may be at work for somebody else: the embedded server of the session."""
    lives = any(thread.name == "embedded-cluster" for thread in threading.enumerate())
    return (f"{PACKAGE}server.", f"{PACKAGE}remoting.", f"{PACKAGE}protocol.") if lives else ()


def left() -> list[str]:
    """Everything of the package that is not at rest."""
    found: set[str] = set()
    skipped = _another_s()
    for thing in gc.get_objects():
        kind = type(thing)
        if not ours(kind) or kind.__module__.startswith(skipped):
            continue
        for name, value in attributes(thing):
            place = f"{kind.__module__.removeprefix(PACKAGE)}.{kind.__qualname__}.{name}"
            if isinstance(value, dict):
                for thread in [each for each in list(value.values()) if isinstance(each, threading.Thread)]:
                    unfinished(thread)  # it takes itself out when it ends
            if state := unfinished(value):
                found.add(f"{place}: {state}")
            elif isinstance(value, TABLES) and value and not may_hold(place):
                found.add(f"{place}: not empty, {reprlib.repr(value)} (a cache belongs into MAY_HOLD of tests/support/tables.py)")
    return sorted(found)
