"""Changes of how a client is, told to a function of the user's: which, in what words, and that none of them does harm."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.client import manager
from aiorocketmq.client.health import BrokerHealth, Health, HealthStatus, NameServerHealth, QueueHealth, StateChange, StateChangeKind
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.state_watch import MOST_WAITING, StateWatch, changes
from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.enums import ServiceState
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.remoting.client import RemotingClient
from tests.support.virtual_loop import virtual_time
from tests.wire.world import NAME_SERVER, World, route

Kind = StateChangeKind


def a_health(
    *,
    servers: dict[str, str] | None = None,
    brokers: dict[str, str] | None = None,
    stuck: dict[int, bool] | None = None,
    conflicts: dict[str, str] | None = None,
    status: HealthStatus = HealthStatus.HEALTHY,
) -> Health:
    return Health(
        status,
        (),
        "client",
        ServiceState.RUNNING,
        name_servers=tuple(NameServerHealth(each, False, not error, not error, 0.0, 0, error) for each, error in (servers or {}).items()),
        brokers=tuple(
            BrokerHealth(each, 0, f"{each}:1", not error, not error, "", 0.0, error, False) for each, error in (brokers or {}).items()
        ),
        queues=tuple(
            QueueHealth(MessageQueue("t", "b", number), True, "", 7, 9, 2, 1.0, 70.0, flag, False, "")
            for number, flag in (stuck or {}).items()
        ),
        subscription_conflicts=conflicts or {},
    )


def told(before: Health | None, now: Health) -> list[tuple[StateChangeKind, str]]:
    return [(change.kind, change.text) for change in changes(before, now)]


def test_the_first_look_tells_the_status_and_what_is_wrong_already() -> None:
    assert told(None, a_health()) == [(Kind.STATUS, "client is healthy")]
    wrong = a_health(servers={"a:1": "refused"}, status=HealthStatus.DEGRADED)
    assert told(None, wrong) == [
        (Kind.NAME_SERVERS_LOST, "lost name server a:1: refused"),
        (Kind.STATUS, "client is degraded"),
    ]


def test_nothing_new_is_not_told() -> None:
    same = a_health(servers={"a:1": "refused"}, brokers={"b": "gone"}, stuck={0: True}, conflicts={"t": "differs"})
    assert told(same, same) == []


def test_brokers_and_name_servers_that_are_lost_regained_and_gone() -> None:
    well, ill = a_health(brokers={"a": "", "b": ""}), a_health(brokers={"a": "refused", "b": "silent"})
    assert told(well, ill) == [(Kind.BROKERS_LOST, "lost brokers a (master, a:1): refused, b (master, b:1): silent")]
    assert told(ill, well) == [(Kind.BROKERS_REGAINED, "brokers a (master, a:1), b (master, b:1) can be reached again")]
    assert told(ill, a_health(brokers={"a": "refused"})) == [
        (Kind.BROKERS_GONE, "broker b (master, b:1), lost before, is in no route any more")
    ]
    assert told(a_health(servers={"x:1": "refused"}), a_health(servers={"y:1": ""})) == [
        (Kind.NAME_SERVERS_GONE, "name server x:1, lost before, is not configured any more")
    ]
    [change] = changes(ill, well)
    assert change.subjects == ("a (master, a:1)", "b (master, b:1)")
    assert change.health is well
    assert str(change) == change.text


def test_queues_and_subscriptions() -> None:
    stuck, moving, elsewhere = a_health(stuck={0: True, 1: True}), a_health(stuck={0: False, 1: True}), a_health(stuck={0: False})
    assert told(moving, stuck) == [(Kind.QUEUES_STUCK, "no progress on queue t@b:0 (at 7 for 70 s)")]
    assert told(stuck, moving) == [(Kind.QUEUES_MOVING, "queue t@b:0 goes on")]
    assert told(stuck, elsewhere) == [(Kind.QUEUES_MOVING, "queue t@b:0 goes on; queue t@b:1, stuck before, falls to another member now")]
    differ = a_health(conflicts={"t": "the filter of t differs"})
    assert [kind for kind, _ in told(a_health(), differ)] == [Kind.SUBSCRIPTIONS_DIFFER]
    assert [kind for kind, _ in told(differ, a_health(conflicts={"t": "in another way"}))] == [Kind.SUBSCRIPTIONS_DIFFER]
    assert [kind for kind, _ in told(differ, a_health())] == [Kind.SUBSCRIPTIONS_AGREE]


class Told:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.changes: list[StateChange] = []

    @property
    def kinds(self) -> list[StateChangeKind]:
        return [change.kind for change in self.changes]

    async def __call__(self, change: StateChange) -> None:
        self.changes.append(change)


class Patient:
    """Something whose health is what the test says."""

    def __init__(self) -> None:
        self.now = a_health()

    def health(self) -> Health:
        return self.now

    def change(self) -> None:
        status = HealthStatus.DEGRADED if self.now.ok else HealthStatus.HEALTHY
        self.now = a_health(status=status)


async def watching(listener: Callable[[StateChange], Any]) -> tuple[Patient, StateWatch]:
    patient = Patient()
    watch = StateWatch("client", listener, patient.health)
    watch.start()
    return patient, watch


@virtual_time
async def test_a_slow_listener_loses_the_oldest_and_gets_the_others_in_order(caplog: pytest.LogCaptureFixture) -> None:
    gate, got = asyncio.Event(), []

    async def listener(change: StateChange) -> None:
        got.append(change.health)
        await gate.wait()

    patient, watch = await watching(listener)
    seen = []
    for _ in range(MOST_WAITING + 11):
        await asyncio.sleep(1)
        seen.append(patient.now)
        patient.change()
    gate.set()
    await asyncio.sleep(0.01)
    assert got == [seen[0], *seen[-MOST_WAITING:]]
    assert [record.getMessage() for record in caplog.records if "too slow" in record.getMessage() and record.levelno == logging.WARNING]
    await watch.stop()


@virtual_time
async def test_what_a_listener_raises_is_logged_and_the_next_change_is_told(caplog: pytest.LogCaptureFixture) -> None:
    got = []

    async def listener(change: StateChange) -> None:
        got.append(change)
        raise [ValueError("mine"), asyncio.CancelledError(), SystemExit(1)][len(got) % 3]

    patient, watch = await watching(listener)
    for _ in range(6):
        await asyncio.sleep(1)
        patient.change()
    assert len(got) == 6
    assert any("on_state_change of client failed on STATUS: ValueError: mine" in record.getMessage() for record in caplog.records)
    await watch.stop()


async def test_a_plain_listener_has_a_thread_of_its_own_and_may_block() -> None:
    entered, leave, threads = threading.Event(), threading.Event(), []

    def listener(change: StateChange) -> None:
        threads.append(threading.current_thread().name)
        entered.set()
        leave.wait(10)

    patient, watch = await watching(listener)
    assert await asyncio.to_thread(entered.wait, 10), "the loop goes on meanwhile"
    patient.change()
    await asyncio.wait_for(watch.stop(), 3)
    leave.set()
    assert threads == [threads[0]] and threads[0].startswith("aiorocketmq-state")


@virtual_time
async def test_nothing_is_told_after_the_stop_and_a_listener_that_waits_is_ended() -> None:
    got, ended = [], []

    async def listener(change: StateChange) -> None:
        got.append(change)
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(True)

    patient, watch = await watching(listener)
    await asyncio.sleep(1)
    patient.change()
    await asyncio.sleep(1)
    await watch.stop()
    await watch.stop()
    assert (len(got), ended) == (1, [True])
    patient.change()
    await asyncio.sleep(10)
    assert len(got) == 1


@virtual_time
async def test_it_keeps_nobody_alive() -> None:
    patient, watch = await watching(Told())
    gone = weakref.ref(patient)
    del patient
    gc.collect()
    assert gone() is None
    await asyncio.sleep(5)
    await watch.stop()


@pytest.mark.parametrize("wrong", [17, "text", lambda: None, lambda a, b: None], ids=repr)
@pytest.mark.parametrize("kind", [rmq.Producer, rmq.PushConsumer, rmq.AdminClient], ids=lambda kind: kind.__name__)
def test_what_cannot_be_called_with_a_change_is_refused(kind: Any, wrong: Any) -> None:
    group = {} if kind is rmq.AdminClient else {"group": "g"}
    with pytest.raises(ConfigError, match="on_state_change"):
        kind("127.0.0.1:1", on_state_change=wrong, **group)


# --- on clients --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    made.routes["orders"] = route()

    def make(config: ClientConfig, client_id: str, *, index: int) -> ClientInstance:
        return ClientInstance(config, client_id, index=index, remoting=RemotingClient(config, connector=made.network.connector))

    monkeypatch.setattr(manager.shared, "make", make)
    return made


@pytest.mark.feature("U2")
@virtual_time
async def test_a_producer_tells_what_happens_to_its_cluster(world: World) -> None:
    listener = Told()
    async with rmq.Producer(NAME_SERVER, group="p", topics=["orders"], on_state_change=listener):
        await asyncio.sleep(3)
        assert listener.kinds == [Kind.STATUS]
        world.master.refuse = True
        world.master.drop()
        await asyncio.sleep(1.1)
        assert listener.kinds[1:] == [Kind.BROKERS_LOST, Kind.STATUS]
        assert listener.changes[-1].health.status is HealthStatus.DOWN
        world.master.refuse = False
        await asyncio.sleep(31)
        assert listener.kinds[3:] == [Kind.BROKERS_REGAINED, Kind.STATUS]
        world.name_server.refuse = True
        world.name_server.drop()
        await asyncio.sleep(2)
        assert listener.kinds[5:] == [Kind.NAME_SERVERS_LOST, Kind.STATUS]
    count = len(listener.changes)
    world.master.drop()
    await asyncio.sleep(60)
    assert len(listener.changes) == count


@virtual_time
async def test_each_client_has_its_own_listener_and_the_instance_is_shared(world: World) -> None:
    one, other = Told(), Told()
    producer = rmq.Producer(NAME_SERVER, group="p", on_state_change=one)
    async with producer, rmq.AdminClient(NAME_SERVER, on_state_change=other) as admin:
        assert producer._life.instance is admin._life.instance
        await asyncio.sleep(2)
    assert [change.client for change in one.changes] == ["producer 'p'"]
    assert [change.client for change in other.changes] == ["this admin client"]


@virtual_time
async def test_a_listener_may_stop_its_client(world: World) -> None:
    calls = []

    async def listener(change: StateChange) -> None:
        calls.append(change)
        await producer.stop()

    producer = rmq.Producer(NAME_SERVER, group="p", on_state_change=listener)
    await producer.start()
    await asyncio.sleep(20)
    assert producer.state is ServiceState.SHUTDOWN_ALREADY
    assert len(calls) == 1


@virtual_time
async def test_a_start_that_fails_leaves_nothing_and_the_next_one_is_watched(world: World) -> None:
    listener = Told()
    world.name_server.refuse = True
    producer = rmq.Producer(NAME_SERVER, group="p", on_state_change=listener)
    with pytest.raises(rmq.NoNameServerError):
        await producer.start(timeout=2)
    await asyncio.sleep(5)
    assert listener.changes == []
    world.name_server.refuse = False
    async with producer:
        await asyncio.sleep(2)
        assert listener.kinds[-1] is Kind.STATUS
