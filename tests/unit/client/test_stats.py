"""Consume rates over the last minute, hour and day."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.client.stats import ConsumerStatsManager, Window
from tests.support.virtual_loop import virtual_time


def manager() -> tuple[ConsumerStatsManager, Scheduler]:
    scheduler = Scheduler("test")
    stats = ConsumerStatsManager(scheduler, asyncio.get_running_loop().time)
    stats.start()
    return stats, scheduler


@virtual_time
async def test_rates_of_a_steady_load() -> None:
    stats, scheduler = manager()
    counters = stats.counters("g", "t")
    assert stats.counters("g", "t") is counters
    for _ in range(60 * 5):
        counters.pull(10, 20.0)
        counters.consumed(8, 3.0)
        counters.consume_failed(2, 7.0)
        await asyncio.sleep(1)
    for window in Window:
        rates = stats.rates("g", "t", window)
        assert rates.ok_tps == pytest.approx(8, rel=0.05)
        assert rates.failed_tps == pytest.approx(2, rel=0.05)
        assert rates.pull_tps == pytest.approx(10, rel=0.05)
        assert rates.pull_rt == pytest.approx(20)
        assert rates.consume_rt == pytest.approx(5)
    assert stats.rates("g", "t", Window.MINUTE).span == pytest.approx(60, abs=10)
    assert stats.rates("g", "t", Window.HOUR).ok == 8 * 300
    status = stats.consume_status("g", "t")
    assert (status.pull_rt, status.consume_rt) == (pytest.approx(20), pytest.approx(5))
    assert (status.consume_ok_tps, status.consume_failed_tps) == (pytest.approx(8, rel=0.05), pytest.approx(2, rel=0.05))
    assert status.pull_tps == pytest.approx(10, rel=0.05)
    assert status.consume_failed_msgs == 2 * 300
    await scheduler.stop()


@virtual_time
async def test_what_happened_just_now_counts_at_once() -> None:
    stats, scheduler = manager()
    counters = stats.counters("g", "t")
    assert stats.rates("g", "t").ok_tps == 0, "no time has passed"
    counters.consumed(10, 5.0)
    await asyncio.sleep(2)
    assert stats.rates("g", "t").ok_tps == pytest.approx(5)
    await scheduler.stop()


@virtual_time
async def test_each_window_forgets_after_its_span() -> None:
    stats, scheduler = manager()
    stats.counters("g", "t").consumed(1000, 5.0)
    await asyncio.sleep(75)
    assert stats.rates("g", "t", Window.MINUTE).ok == 0
    assert stats.consume_status("g", "t").consume_rt == pytest.approx(5), "the hour fills in when the minute was quiet"
    assert stats.rates("g", "t", Window.HOUR).ok == 1000
    await asyncio.sleep(4200)
    assert stats.rates("g", "t", Window.HOUR).ok == 0
    assert stats.rates("g", "t", Window.DAY).ok == 1000
    await asyncio.sleep(26 * 3600)
    assert stats.rates("g", "t", Window.DAY).ok == 0
    await scheduler.stop()


@virtual_time
async def test_groups_and_topics_are_apart_and_a_group_that_left_is_forgotten() -> None:
    stats, scheduler = manager()
    for group in ("g1", "g2"):
        for topic in ("t1", "t2"):
            stats.counters(group, topic).consumed(1, 1.0)
    await asyncio.sleep(1)
    assert stats.rates("g1", "t1").ok == 1
    stats.forget("g1")
    assert stats.rates("g1", "t1").ok == stats.rates("g1", "t2").ok == 0
    assert stats.rates("g2", "t2").ok == 1
    assert stats.rates("unknown", "t").ok_tps == 0
    await scheduler.stop()
