"""Two real masters, one is killed under load and comes back: no send fails, the other one takes all of them, and nothing is lost."""

from __future__ import annotations

import asyncio
import time

import pytest

import aiorocketmq as rmq
from tests.faults.load import RATE, History, Load
from tests.support.clusters import RealTestCluster
from tests.support.starvation import Starvation
from tests.support.waiting import eventually

WARM = 3.0
DOWN = 5.0
AFTER = 3.0


@pytest.mark.feature("B7", "B8", "K10", "G13")
@pytest.mark.timeout(240)
async def test_one_of_two_masters_is_killed_and_comes_back(newest_cluster: RealTestCluster) -> None:
    server = newest_cluster.server
    other = await asyncio.to_thread(server.add_broker, "broker-b")
    try:
        topic = newest_cluster.unique("two_masters")
        await asyncio.to_thread(server.create_topic, topic, brokers=server.brokers)
        history = History()
        consumer = rmq.PushConsumer(newest_cluster.name_servers, group=newest_cluster.unique("two"), start_from=rmq.StartFrom.FIRST)

        @consumer.listen(topic)
        async def handle(message: rmq.ReceivedMessage) -> None:
            history.deliver(message)

        producer = rmq.Producer(newest_cluster.name_servers, group=newest_cluster.unique("two_p"), topics=[topic])
        with Starvation() as starvation:
            async with consumer, producer:
                load = Load(producer, topic, history)
                await eventually(lambda: len(history.delivered) > RATE * WARM / 2 and len(history.brokers) == 2, 60.0)
                await asyncio.to_thread(other.kill)
                killed = time.monotonic()
                await asyncio.sleep(DOWN)  # the outage is part of the scenario
                starting = time.monotonic()
                await asyncio.to_thread(other.start)
                back = time.monotonic()
                await eventually(lambda: history.first_after(history.brokers[other.name], starting) < 60.0, 60.0)
                await asyncio.sleep(AFTER)
                await load.stop()
                await eventually(lambda: not history.lost(), 60.0, message="every acknowledged message is delivered")
        survivor = history.brokers[server.broker.name]
        acknowledged_gap = history.longest_gap(history.acknowledged, killed - 0.1, starting)
        delivered_gap = history.longest_gap(history.delivered, killed - 0.1, starting)
        kept_away = starvation.between(killed - 0.1, starting)
        print(
            f"{history.text()}, {sum(killed < at < starting for at in survivor.values())} sent to the other master while one was down, "
            f"longest gap {acknowledged_gap:.3f} s in sends and {delivered_gap:.3f} s in deliveries, "
            f"longest call {history.longest_call(starvation):.3f} s, "
            f"first send to it {history.first_after(history.brokers[other.name], back):.3f} s after it was registered"
        )
        assert history.failed == {}
        assert [number for number, at in history.brokers[other.name].items() if killed + 0.5 < at < starting] == []
        assert acknowledged_gap <= 1.0 + kept_away
        assert delivered_gap <= 2.0 + kept_away
    finally:
        await asyncio.to_thread(server.remove_broker, other)
