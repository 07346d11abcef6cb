"""Two masters, one dies: no send fails, and the survivor carries the load until the other one is back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

import aiorocketmq as rmq
from aiorocketmq.server import LocalCluster
from tests.support.waiting import eventually

TOPIC = "two_masters"


@pytest.mark.feature("B7", "B8")
async def test_no_send_fails_when_one_of_two_masters_dies() -> None:
    async with LocalCluster(brokers=2) as cluster:
        await cluster.create_topic(TOPIC, queues=4)
        first, second = (broker.name for broker in cluster.brokers)
        async with rmq.Producer(cluster.name_servers, group="survivor", topics=[TOPIC]) as producer:
            sent: Counter[str] = Counter()
            slowest = 0.0

            async def send_some(count: int) -> None:
                nonlocal slowest
                for number in range(count):
                    begin = time.monotonic()
                    if number % 2:
                        result = await producer.send(rmq.Message(TOPIC, b"x"))
                    else:
                        result = await producer.send_nowait(rmq.Message(TOPIC, b"x"))
                    slowest = max(slowest, time.monotonic() - begin)
                    sent[result.queue.broker_name] += 1

            async def both_are_used() -> bool:
                await send_some(8)
                return len(sent) == 2

            await eventually(both_are_used)
            load = asyncio.gather(*(send_some(200) for _ in range(4)))
            await asyncio.sleep(0.05)
            await cluster.kill_broker(first)
            await load
            assert slowest < 1.5
            sent.clear()
            await send_some(50)
            assert set(sent) == {second}
            await cluster.start_broker(first)
            await eventually(both_are_used, 20)


@pytest.mark.feature("B19", "B20")
async def test_a_broker_that_stands_still_is_avoided_and_used_again_when_it_can_be_reached() -> None:
    async with LocalCluster(brokers=2) as cluster:
        await cluster.create_topic(TOPIC, queues=4)
        first, second = (broker.name for broker in cluster.brokers)
        options = {"send_latency_enable": True, "start_detector_enable": True, "not_available_duration": [0, 0, 0.5, 0.5, 0.5, 0.5, 0.5]}
        async with rmq.Producer(cluster.name_servers, topics=[TOPIC], send_msg_max_timeout_per_request=0.5, **options) as producer:

            async def used(count: int = 16) -> set[str]:
                return {(await producer.send(rmq.Message(TOPIC, b"x"), timeout=20.0)).queue.broker_name for _ in range(count)}

            async def both() -> bool:
                return await used() == {first, second}

            await eventually(both, 30)
            await cluster.pause_broker(first)
            await used()
            assert await used(32) == {second}, "a broker that does not answer was tried again"
            await cluster.resume_broker(first)
            await eventually(both, 30)
