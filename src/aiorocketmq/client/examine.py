"""Makes a client's `Health` from what its instance and the client itself know; asks nobody, waits for nothing. No Java twin."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiorocketmq.client.health import (
    BrokerHealth,
    Health,
    HealthStatus,
    ListenerHealth,
    NameServerHealth,
    QueueHealth,
    RouteHealth,
    TaskHealth,
)
from aiorocketmq.errors import RocketMQError
from aiorocketmq.model.enums import ServiceState
from aiorocketmq.model.names import is_retry_topic
from aiorocketmq.model.route import MASTER_ID
from aiorocketmq.protocol.codes import version_name

if TYPE_CHECKING:
    import asyncio

    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.client.scheduler import TaskRecord

OVERDUE_AFTER: Final = 10.0
"""Seconds, beyond its interval, after which a piece of background work is overdue: a busy machine is no news."""
LOOP_FAILED_FOR: Final = 30.0
"""Seconds for which work that goes on all the time counts as failing after a failure: it is started again at once."""
PULLS_FAIL_AFTER: Final = 5.0
"""Seconds after which pulls that fail are a reason."""
TROUBLE_AFTER: Final = 5.0
TROUBLE_FOR: Final = 60.0
"""Seconds after which other things that fail are a reason, and after which those that are not tried any more are none."""
STALE_AFTER: Final = 2
"""Intervals of the refresh after which a route that could not be refreshed is a reason: until then the one that is known does."""
FAILED_WITHIN: Final = 60.0
"""Seconds for which a send that failed is a reason."""
MISSED_FOR: Final = 30 * 60.0
"""Seconds for which a broker is missed that was lost and has left the routes: it may have died, or been taken away."""
_SHOWN: Final = 3
"""Names in one sentence."""


@dataclass(slots=True, kw_only=True)
class Own:
    """What a client tells of itself. Mutable: made for one look.

    Attributes:
        topics: The topics that it uses; None stands for all brokers that its instance knows.
        subscribed: It consumes them, and cannot do so without their routes; else it sends to them, for which masters are needed.
        queues: The queues that fall to it.
        conflicts: Topic → how another member of the group subscribes it.
        suspended: It pulls no more, as it was told.
        troubles: What fails and lasts, in sentences.
        records: Its background work, besides that of the instance.
        avoided: Names of the brokers that it leaves out.
        listeners: How the calls of its listeners ended of late.
        sends_failed: Sends that failed within the last minute.
        send_failed_at: Loop time at which the last one failed, None when none has.
        send_error: Why it did.
        in_flight: Messages that await their answers.
        in_flight_bytes: Bytes of their bodies.
    """

    topics: Collection[str] | None = None
    subscribed: bool = False
    queues: tuple[QueueHealth, ...] = ()
    conflicts: Mapping[str, str] = field(default_factory=dict)
    suspended: bool = False
    troubles: Collection[str] = ()
    records: Collection[TaskRecord] = ()
    avoided: Collection[str] = ()
    listeners: tuple[ListenerHealth, ...] = ()
    sends_failed: int = 0
    send_failed_at: float | None = None
    send_error: str = ""
    in_flight: int = 0
    in_flight_bytes: int = 0


def at_rest(client: str, state: ServiceState) -> Health:
    """The health of a client that does not run."""
    what = {
        ServiceState.CREATE_JUST: "was not started yet",
        ServiceState.START_FAILED: "has failed to start",
        ServiceState.SHUTDOWN_ALREADY: "was stopped",
    }
    return Health(HealthStatus.DOWN, (f"the client {what.get(state, 'is being started')}",), client, state)


def examine(client: str, state: ServiceState, instance: ClientInstance, loop: asyncio.AbstractEventLoop, ask: Callable[[], Own]) -> Health:
    """The health of a client that runs.

    Args:
        client: What it is, in words.
        state: Where in its life it is.
        instance: Its instance.
        loop: The event loop on which it lives.
        ask: Tells what the client knows of itself.
    """
    if loop.is_closed():
        return Health(HealthStatus.DOWN, ("the client's event loop was closed before the client was stopped",), client, state)
    try:
        instance.check_running()
    except RocketMQError as error:
        return Health(HealthStatus.DOWN, (error.message,), client, state)
    own, now = ask(), loop.time()
    routes = _routes(instance, own.topics, now)
    names = None if own.topics is None else {name for route in routes for name in route.brokers}
    brokers = _brokers(instance, names, own.avoided, now)
    here = {broker.name for broker in brokers}
    health = Health(
        HealthStatus.HEALTHY,
        (),
        client,
        state,
        client_id=instance.client_id,
        name_servers=_name_servers(instance, now),
        brokers=tuple(each for each in (*brokers, *_departed(instance, own.topics, here, now)) if _matters(each, own)),
        routes=routes,
        queues=own.queues,
        tasks=tuple(_task(record, now) for record in (*instance.scheduler.records.values(), *own.records)),
        subscription_conflicts=dict(own.conflicts),
        suspended=own.suspended,
        listeners=own.listeners,
        sends_failed=own.sends_failed,
        send_failed_ago=_ago(own.send_failed_at, now),
        send_error=own.send_error,
        in_flight=own.in_flight,
        in_flight_bytes=own.in_flight_bytes,
    )
    down = _why_down(health, instance, own)
    reasons = (*down, *_why_degraded(health, own, instance.config.poll_name_server_interval * STALE_AFTER))
    if not reasons:
        return health
    return dataclasses.replace(health, status=HealthStatus.DOWN if down else HealthStatus.DEGRADED, reasons=reasons)


# --- what is known -----------------------------------------------------------------------------------------------------------------


def _name_servers(instance: ClientInstance, now: float) -> tuple[NameServerHealth, ...]:
    remoting, found = instance.remoting, []
    for place, address in enumerate(remoting.name_servers):
        record = remoting.name_server_records.get(address)
        error = remoting.peers.trouble(address) or (record.error if record is not None else "")
        answered_at = record.answered_at if record is not None else None
        found.append(
            NameServerHealth(
                address=address,
                in_use=place == 0,
                connected=remoting.channel(address) is not None,
                reachable=False if error else None if answered_at is None else True,
                answered_ago=_ago(answered_at, now),
                failures=record.failures if record is not None else 0,
                error=error,
            )
        )
    return tuple(found)


def _brokers(instance: ClientInstance, names: Collection[str] | None, avoided: Collection[str], now: float) -> tuple[BrokerHealth, ...]:
    remoting, table, found = instance.remoting, instance.routes.broker_addrs, []
    for name, broker_id, address in sorted(table.addresses()):
        if names is not None and name not in names:
            continue
        record = instance.heartbeat.records.get(address)
        connected = remoting.channel(address) is not None
        trouble = remoting.peers.trouble(address) or (record.error if record is not None and not record.refused else "")
        version = table.version(name, address)
        found.append(
            BrokerHealth(
                name=name,
                broker_id=broker_id,
                address=address,
                connected=connected,
                reachable=False if trouble else True if connected else None,
                version=version_name(version) if version else "",
                heartbeat_ago=_ago(record.answered_at, now) if record is not None else None,
                error=trouble or (record.error if record is not None else ""),
                avoided=name in avoided,
            )
        )
    return tuple(found)


def _matters(broker: BrokerHealth, own: Own) -> bool:
    """Who only sends has nothing to do with slaves: nobody would connect to one that is back."""
    return own.subscribed or own.topics is None or broker.broker_id == MASTER_ID


def _departed(instance: ClientInstance, topics: Collection[str] | None, here: Collection[str], now: float) -> Iterable[BrokerHealth]:
    """Brokers that were lost, and that name servers have taken out of the routes since: they are still missed."""
    for gone in instance.routes.departed(topics, now - MISSED_FOR):
        name = gone.broker.broker_name
        for broker_id, address in sorted(gone.broker.broker_addrs.items()):
            error = instance.remoting.peers.trouble(address)
            if error and name not in here:
                yield BrokerHealth(name, broker_id, address, False, False, "", None, error, False, routed=False)


def _routes(instance: ClientInstance, topics: Collection[str] | None, now: float) -> tuple[RouteHealth, ...]:
    found = []
    for topic in sorted(instance.routes.topics() if topics is None else topics):
        entry, record = instance.routes.entry(topic), instance.routes.record(topic)
        if entry is None:
            if not is_retry_topic(topic):  # which come to life with the first heartbeat
                found.append(RouteHealth(topic, False, None, (), 0, 0, None, record.error))
            continue
        found.append(
            RouteHealth(
                topic=topic,
                known=True,
                inherited_from=entry.inherited_from,
                brokers=tuple(sorted(broker.broker_name for broker in entry.route.broker_datas)),
                write_queues=len(entry.publish.queues),
                read_queues=len(entry.subscribe),
                age=_ago(record.answered_at, now),
                error=record.error,
            )
        )
    return tuple(found)


def _task(record: TaskRecord, now: float) -> TaskHealth:
    failing = record.failing
    if not record.interval:
        failing = failing and record.failed_at is not None and now - record.failed_at < LOOP_FAILED_FOR
    late = now - record.due - record.interval
    return TaskHealth(
        name=record.name,
        interval=record.interval,
        runs=record.runs,
        failures=record.failures,
        ran_ago=_ago(record.began_at, now),
        failing=failing,
        overdue=late if record.interval and late > OVERDUE_AFTER else 0.0,
        error=record.last_error,
    )


def _ago(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(now - moment, 0.0)


# --- what that means ---------------------------------------------------------------------------------------------------------------


def _why_down(health: Health, instance: ClientInstance, own: Own) -> tuple[str, ...]:
    reasons = []
    routed = [broker for broker in health.brokers if broker.routed]
    if routed and all(broker.reachable is False for broker in routed):
        reasons.append("no broker can be reached")
    servers = health.name_servers
    if servers and all(server.reachable is False for server in servers) and not any(route.known for route in health.routes):
        reasons.append("no name server can be reached")
    refusal = instance.heartbeat.refusal()
    if refusal is not None:
        reasons.append(f"the brokers do not accept the credentials: {refusal.message}")
    return tuple(reasons)


def _why_degraded(health: Health, own: Own, stale_after: float) -> Iterable[str]:
    lost = {broker.name for broker in health.brokers if broker.reachable is False}
    for server in health.name_servers:
        if server.reachable is False:
            yield f"name server {server.address} cannot be reached: {server.error}"
    for broker in health.brokers:
        if broker.reachable is False:
            but = "" if broker.routed else ", and the name servers leave it out"
            yield f"broker {broker_text(broker)} cannot be reached{but}: {broker.error}"
        elif broker.error:
            yield f"broker {broker_text(broker)} refuses heartbeats: {broker.error}"
    yield from (f"members of the group have different subscriptions: {text}" for text in health.subscription_conflicts.values())
    if health.sends_failed and health.send_failed_ago is not None:
        some_sends = "a send" if health.sends_failed == 1 else f"{health.sends_failed} sends"
        yield f"{some_sends} failed within the last minute, {health.send_failed_ago:.0f} s ago: {health.send_error}"
    for listener in health.listeners:
        if listener.failed and not listener.consumed:
            yield f"the listener of topic {listener.topic!r} fails on every message, {listener.failed} within the last minute"
    yield from _about_queues(health.queues, lost)
    if not lost:  # else they fail for that, and it is told already
        yield from own.troubles
    silent = all(server.reachable is False for server in health.name_servers)
    for route in health.routes:
        if not route.known and own.subscribed:
            yield f"topic {route.topic!r} has no route, so nothing of it is consumed: {route.error or 'no name server was asked yet'}"
        elif route.error and route.age is not None and route.age > stale_after and not silent:
            yield f"the route of topic {route.topic!r} could not be refreshed for {route.age:.0f} s: {route.error}"
    for task in health.tasks:
        if task.failing:
            yield f"background work {task.name!r} fails: {task.error}"
        elif task.overdue:
            yield f"background work {task.name!r} is {task.overdue:.0f} s late"


def _about_queues(queues: tuple[QueueHealth, ...], lost: Collection[str]) -> Iterable[str]:
    for queue in queues:
        if queue.given_up:
            yield f"queue {queue.queue} is not consumed any more: {queue.error}"
    waiting = [queue for queue in queues if queue.stuck and not queue.owned]
    if waiting:
        yield f"{_some(waiting)} cannot be consumed for {_longest(waiting):.0f} s: {waiting[0].waits_for or 'not tried yet'}"
    failing: dict[str, list[QueueHealth]] = {}
    for queue in queues:
        if queue.error and not queue.given_up and queue.progress_ago >= PULLS_FAIL_AFTER and queue.queue.broker_name not in lost:
            failing.setdefault(queue.error, []).append(queue)
    for error, group in failing.items():
        yield f"pulls of {_some(group)} fail for {_longest(group):.0f} s: {error}"
    stuck = [queue for queue in queues if queue.stuck and queue.owned and not queue.error]
    if stuck:
        unfinished = sum(queue.unfinished for queue in stuck)
        yield f"{_some(stuck)} made no progress for {_longest(stuck):.0f} s, with {unfinished} messages in hand"


def broker_text(broker: BrokerHealth) -> str:
    """A broker, as sentences name it behind the word."""
    role = "master" if broker.broker_id == MASTER_ID else f"slave {broker.broker_id}"
    return f"{broker.name} ({role}, {broker.address})"


def _longest(queues: Collection[QueueHealth]) -> float:
    return max(queue.progress_ago for queue in queues)


def _some(queues: Collection[QueueHealth]) -> str:
    return some("queue", [str(queue.queue) for queue in queues])


def some(kind: str, names: list[str]) -> str:
    """Some things of a kind, in few words: how many, and the first of them."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{kind}{'s' if len(names) > 1 else ''} {', '.join(names[:_SHOWN])}{more}"
