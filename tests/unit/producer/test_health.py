"""How a producer is: what awaits answers, what failed, and whom it leaves out."""

from __future__ import annotations

import asyncio

import pytest

import aiorocketmq as rmq
from aiorocketmq.producer.failures import MOST_FAILURES, RecentFailures
from aiorocketmq.protocol.codes import ResponseCode
from tests.support.virtual_loop import virtual_time
from tests.unit.producer.world import TOPIC, SendWorld, world

__all__ = ["world"]


@pytest.mark.feature("U2")
@virtual_time
async def test_sends_that_fail_are_told_for_a_minute(world: SendWorld) -> None:
    [broker] = world.route_to("broker-a")
    async with world.producer() as producer:
        await producer.send(rmq.Message(TOPIC, b"x"))
        assert producer.health().ok
        broker.answers = [ResponseCode.SYSTEM_ERROR] * 6
        for _ in range(2):
            with pytest.raises(rmq.SendError):
                await producer.send(rmq.Message(TOPIC, b"x"))
        await asyncio.sleep(7)
        health = producer.health()
        assert (health.status, health.sends_failed) == (rmq.HealthStatus.DEGRADED, 2)
        assert health.send_failed_ago == pytest.approx(7, abs=0.5)
        assert "could not be sent" in health.send_error
        [reason] = health.reasons
        assert reason.startswith("2 sends failed within the last minute, 7 s ago: ") and health.send_error in reason
        await producer.send(rmq.Message(TOPIC, b"x"))
        await asyncio.sleep(54)
        health = producer.health()
        assert health.ok
        assert (health.sends_failed, health.send_error != "") == (0, True)


@virtual_time
async def test_sends_under_way_are_counted_and_those_that_time_out(world: SendWorld) -> None:
    [broker] = world.route_to("broker-a")
    async with world.producer(send_msg_timeout=2, max_in_flight=3, client_close_socket_if_timeout=False) as producer:
        await producer.send(rmq.Message(TOPIC, b"x"))
        broker.delay = 5
        futures = [producer.send_nowait(rmq.Message(TOPIC, b"1234")) for _ in range(3)]
        assert (producer.health().in_flight, producer.health().in_flight_bytes) == (3, 12)
        with pytest.raises(rmq.SendTimeoutError):
            await producer.send(rmq.Message(TOPIC, b"no room"), timeout=1)
        assert producer.health().sends_failed == 1
        for future in futures:
            with pytest.raises(rmq.SendTimeoutError):
                await future
        assert producer.health().sends_failed == 4
        assert producer.health().in_flight == 0


@virtual_time
async def test_what_the_caller_did_wrong_is_no_failure(world: SendWorld) -> None:
    [broker] = world.route_to("broker-a")
    async with world.producer() as producer:
        await producer.send(rmq.Message(TOPIC, b"x"))
        broker.answers = [ResponseCode.MESSAGE_ILLEGAL]
        with pytest.raises(rmq.MessageRefusedError):
            await producer.send(rmq.Message(TOPIC, b"x"))
        assert producer.health().ok


@virtual_time
async def test_brokers_that_are_left_out_are_marked(world: SendWorld) -> None:
    slow, _ = world.route_to("broker-a", "broker-b")
    async with world.producer(send_latency_enable=True, topics=[TOPIC]) as producer:
        slow.delay = 1.0
        for _ in range(16):  # up to eight go past it until there is a connection to it
            await producer.send(rmq.Message(TOPIC, b"x"))
        assert {broker.name: broker.avoided for broker in producer.health().brokers} == {"broker-a": True, "broker-b": False}
        assert producer.health().ok, "it is spared, not lost"


def test_only_so_many_failures_are_counted() -> None:
    now = 100.0
    failures = RecentFailures(lambda: now)
    assert failures.count(60) == 0
    for _ in range(2 * MOST_FAILURES):
        failures.note(rmq.SendError("no"))
    assert failures.count(60) == MOST_FAILURES
    now = 160.5
    assert failures.count(60) == 0
    assert (failures.last, failures.last_at) == ("no", 100.0)
