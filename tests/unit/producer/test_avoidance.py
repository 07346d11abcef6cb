"""Slow and failing brokers are avoided, and come back."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from tests.support.virtual_loop import virtual_time
from tests.unit.producer.world import TOPIC, Broker, SendWorld


async def shares(producer: rmq.Producer, brokers: list[Broker], count: int = 16) -> list[int]:
    """How many of so many sends each broker gets."""
    results = [await producer.send(rmq.Message(TOPIC, b"x")) for _ in range(count)]
    by_name = Counter(result.queue.broker_name for result in results)
    return [by_name[broker.name] for broker in brokers]


@pytest.mark.feature("B19")
@virtual_time
async def test_a_slow_broker_gets_nothing_for_a_while(world: SendWorld) -> None:
    slow, quick = brokers = world.route_to("broker-a", "broker-b")
    async with world.producer(send_latency_enable=True) as producer:
        assert min(await shares(producer, brokers)) > 0
        slow.delay = 0.6
        while not producer._dispatcher.avoidance.table.spared:  # type: ignore[union-attr]
            await producer.send(rmq.Message(TOPIC, b"x"))
        slow.delay = 0.0
        assert await shares(producer, brokers) == [0, 16]
        futures = [producer.send_nowait(rmq.Message(TOPIC, b"x")) for _ in range(8)]
        assert {(await future).queue.broker_name for future in futures} == {quick.name}
        await asyncio.sleep(2.0)
        assert min(await shares(producer, brokers)) > 0


@pytest.mark.feature("B19")
@virtual_time
async def test_by_default_nobody_is_avoided(world: SendWorld) -> None:
    slow, _ = brokers = world.route_to("broker-a", "broker-b")
    async with world.producer() as producer:
        await shares(producer, brokers)  # a broker that is not connected yet is passed over
        slow.delay = 0.6
        assert min(await shares(producer, brokers, 8)) > 0


@pytest.mark.feature("B19")
@virtual_time
async def test_a_broker_that_refuses_is_avoided_by_the_next_sends(world: SendWorld) -> None:
    bad, _ = brokers = world.route_to("broker-a", "broker-b")
    async with world.producer(send_latency_enable=True) as producer:
        bad.always = ResponseCode.SYSTEM_BUSY
        assert await shares(producer, brokers) == [0, 16]
        assert len(bad.sends) == 1, "it was asked again although it had just refused"


@pytest.mark.feature("B19")
@virtual_time
async def test_a_fixed_queue_is_not_changed(world: SendWorld) -> None:
    slow, _ = world.route_to("broker-a", "broker-b")
    async with world.producer(send_latency_enable=True) as producer:
        slow.delay = 0.6
        queue = rmq.MessageQueue(TOPIC, slow.name, 1)
        for _ in range(3):
            assert (await producer.send(rmq.Message(TOPIC, b"x"), queue=queue)).queue == queue


@pytest.mark.feature("B20")
@virtual_time
async def test_a_probe_brings_a_broker_back_and_a_silent_one_stays_away(world: SendWorld) -> None:
    bad, _ = world.route_to("broker-a", "broker-b")
    async with world.producer(send_latency_enable=True, start_detector_enable=True, not_available_duration=[0.0] * 7) as producer:
        bad.always = ResponseCode.SYSTEM_BUSY
        while not bad.sends:
            await producer.send(rmq.Message(TOPIC, b"x"))
        avoidance = producer._dispatcher.avoidance  # type: ignore[union-attr]
        assert avoidance is not None and not avoidance.table.reachable(bad.name)
        beats = len(bad.peer.of(RequestCode.HEART_BEAT))
        bad.peer.on(RequestCode.HEART_BEAT, lambda request, connection: None)
        await asyncio.sleep(10.0)
        assert len(bad.peer.of(RequestCode.HEART_BEAT)) > beats, "it was not probed"
        assert not avoidance.table.reachable(bad.name)
        bad.peer.answer(RequestCode.HEART_BEAT)
        await asyncio.sleep(4.0)
        assert avoidance.table.spared == {}


@pytest.mark.feature("B19")
@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"latency_max": [1, 2]}, "latency_max has 2 and not_available_duration 7 entries"),
        ({"latency_max": [], "not_available_duration": []}, "0 entries"),
        ({"latency_max": [2, 1], "not_available_duration": [1, 1]}, "does not ascend"),
        ({"latency_max": [1, 1], "not_available_duration": [1, 1]}, "does not ascend"),
        ({"latency_max": [-1], "not_available_duration": [1]}, r"latency_max\[0\] -1 is out of range"),
        ({"latency_max": "12"}, "is not a list of durations"),
        ({"latency_max": 5}, "is not a list of durations"),
        ({"not_available_duration": ["x"]}, r"not_available_duration\[0\] 'x'"),
        ({"send_latency_enable": 1}, "send_latency_enable 1 is not a bool"),
        ({"start_detector_enable": None}, "start_detector_enable None is not a bool"),
        ({"detect_timeout": 0}, "detect_timeout 0 is out of range"),
        ({"detect_interval": -1}, "detect_interval -1 is out of range"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(rmq.ConfigError, match=text):
        rmq.Producer("127.0.0.1:9876", **fields)
