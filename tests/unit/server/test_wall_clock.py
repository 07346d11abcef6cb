"""The clock that a user gives: what is no clock is refused at the start, and one that fails later stops nothing but time."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.errors import ConfigError
from aiorocketmq.server import LocalCluster


def broken() -> float:
    raise ValueError("no battery")


NO_TIMES: list[tuple[Callable[[], Any], str]] = [
    (broken, "clock raises ValueError: no battery"),
    (datetime.now, "clock gives '20"),
    (lambda: "12:00", "clock gives '12:00', which is no time"),
    (lambda: None, "clock gives 'None'"),
    (lambda: True, "clock gives 'True'"),
    (lambda: math.nan, "clock gives 'nan'"),
    (lambda: math.inf, "clock gives 'inf'"),
    (lambda: -1.0, "clock gives '-1.0'"),
    (lambda: 1e15, "clock gives '1000000000000000.0'"),
]


@pytest.mark.parametrize(("clock", "text"), NO_TIMES, ids=[text for _, text in NO_TIMES])
async def test_a_clock_that_tells_no_time_is_refused_at_the_start(clock: Callable[[], Any], text: str) -> None:
    cluster = LocalCluster(clock=clock)
    with pytest.raises(ConfigError, match=r"time\.time") as refused:
        await cluster.start()
    assert text in str(refused.value)
    await cluster.stop()


def test_what_cannot_be_called_is_no_clock() -> None:
    with pytest.raises(ConfigError, match="clock is a int"):
        LocalCluster(clock=1_700_000_000)  # type: ignore[arg-type]


async def test_while_the_clock_fails_time_stands_still_and_nothing_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    works = True

    def clock() -> float:
        if not works:
            raise ValueError("no battery")
        return 1_700_000_000.5

    async with LocalCluster(clock=clock) as cluster, rmq.Producer(cluster.name_servers, group="p", send_msg_timeout=5.0) as producer:
        await producer.send(rmq.Message("first", b"1"))
        works = False
        for topic in ("first", "second"):  # the second is created meanwhile
            await producer.send(rmq.Message(topic, b"2"))
        (queue,) = [queue for queue in cluster.brokers[0].state.store.queues() if queue.topic == "second"]
        assert queue.last_store_timestamp == 1_700_000_000_500
        await cluster.advance(10)
        await producer.send(rmq.Message("second", b"3"))
        assert max(queue.last_store_timestamp for queue in cluster.brokers[0].state.store.queues()) == 1_700_000_010_500
        works = True
        await producer.send(rmq.Message("second", b"4"))
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 1 and "time stands still for the brokers: clock raises ValueError: no battery" in told[0]


async def test_time_is_not_moved_beyond_what_can_be_stored() -> None:
    async with LocalCluster() as cluster, rmq.Producer(cluster.name_servers, group="p") as producer:
        for seconds in (1e30, 1e300, 253_402_300_799):
            with pytest.raises(ConfigError, match=r"seconds .* is out of range"):
                await cluster.advance(seconds)
        await cluster.advance(100 * 365 * 86400)
        await producer.send(rmq.Message("a", b"1"))
