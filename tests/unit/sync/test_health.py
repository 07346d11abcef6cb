"""How a blocking client is can be asked anywhere: in callbacks, in a forked child, in a log handler, and while its loop is blocked."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator

import pytest

import aiorocketmq.sync as rmq
from aiorocketmq.sync import health as sync_health
from tests.support.waiting import eventually_sync
from tests.unit.sync.scripted import TOPIC, Site

HEALTHY, DEGRADED, DOWN = rmq.HealthStatus.HEALTHY, rmq.HealthStatus.DEGRADED, rmq.HealthStatus.DOWN


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


def producing(site: Site, on_state_change: Callable[[rmq.StateChange], object] | None = None) -> rmq.Producer:
    return rmq.Producer(site.name_server.address, group="producers", on_state_change=on_state_change)  # type: ignore[arg-type]


@pytest.mark.feature("U2")
def test_from_other_threads_before_and_after(site: Site) -> None:
    producer = producing(site)
    assert producer.health().status is DOWN
    with producer:
        producer.send(rmq.Message(TOPIC, b"x"))
        eventually_sync(lambda: producer.health().ok)
        assert [broker.reachable for broker in producer.health().brokers] == [True]
    assert producer.health().reasons == ("the client was stopped",)


@pytest.mark.feature("U2")
def test_in_callbacks_of_both_kinds_which_may_stop_the_client(site: Site) -> None:
    told: list[rmq.Health] = []
    asked, stopped = threading.Event(), threading.Event()

    async def on_the_loop(change: rmq.StateChange) -> None:
        told.append(one.health())
        asked.set()

    def on_a_thread(change: rmq.StateChange) -> None:
        told.append(other.health())
        other.stop()
        stopped.set()

    one, other = producing(site, on_the_loop), producing(site, on_a_thread)
    with one:
        assert asked.wait(30)
    other.start()
    assert stopped.wait(30)
    other.stop()
    assert [health.status for health in told] == [HEALTHY, HEALTHY]
    assert other.health().status is DOWN


def test_while_the_loop_is_blocked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_health, "PATIENCE", 0.1)
    entered, leave = threading.Event(), threading.Event()

    async def blocking(change: rmq.StateChange) -> None:
        entered.set()
        leave.wait(30)

    with producing(site, blocking) as producer:
        try:
            assert entered.wait(30)
            health = producer.health()
        finally:
            leave.set()
        assert health.status is DEGRADED
        assert health.reasons[0].startswith("the event loop of aiorocketmq.sync has not come to this question within 0.1 s")
        eventually_sync(lambda: producer.health().ok)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_in_a_forked_child(site: Site) -> None:
    with producing(site) as producer:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.write(writing, str(producer.health()).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            text = told.read().decode()
        assert os.waitpid(child, 0)[1] == 0
        assert "is down: client instance" in text and f"was made in process {os.getpid()}" in text
        assert producer.health().status is HEALTHY


def test_in_a_log_handler_that_gets_records_of_the_client(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    told: list[rmq.Health] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(producer.health())

    handler, logger = Handler(), logging.getLogger("aiorocketmq.client")
    level = logger.level
    producer = producing(site)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with producer:
            eventually_sync(lambda: told)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert told[0].client == "producer 'producers'"


def test_a_table_that_changes_while_it_is_read_is_read_again() -> None:
    class Changing:
        reads = 0

        def health(self) -> rmq.Health:
            self.reads += 1
            if self.reads < 3:
                raise RuntimeError("dictionary changed size during iteration")
            return rmq.Health(HEALTHY, (), "client", rmq.ServiceState.RUNNING)

    client = Changing()
    assert sync_health._read(client).ok
    assert client.reads == 3
    with pytest.raises(RuntimeError):
        client.reads = -10
        sync_health._read(client)
