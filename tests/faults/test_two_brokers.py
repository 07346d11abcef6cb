"""Two real masters, one is killed under load: no send fails, and the other one takes all of them."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

import aiorocketmq as rmq
from tests.support import raw_remoting
from tests.support.clusters import PATIENT, RealTestCluster
from tests.support.waiting import eventually

SECOND = "broker-b"


@pytest.mark.feature("B7", "B8", "K10")
@pytest.mark.timeout(240)
async def test_sends_go_to_the_other_broker_when_one_is_killed(newest_cluster: RealTestCluster) -> None:
    child, address = await asyncio.to_thread(newest_cluster.server.add_broker, SECOND)
    try:
        topic = newest_cluster.unique("two_masters")
        for each in (newest_cluster.broker_address, address):
            await asyncio.to_thread(raw_remoting.create_topic, each, topic, queues=4)

        async def routed_to_both() -> bool:
            found = await asyncio.to_thread(raw_remoting.route, newest_cluster.name_servers, topic)
            return found is not None and len(found["brokerDatas"]) == 2

        await eventually(routed_to_both, 60.0)
        sent: Counter[str] = Counter()
        async with rmq.Producer(newest_cluster.name_servers, group=newest_cluster.unique("p"), topics=[topic], **PATIENT) as producer:

            async def send_some(count: int) -> None:
                for number in range(count):
                    message = rmq.Message(topic, b"%d" % number)
                    result = await (producer.send(message) if number % 2 else producer.send_nowait(message))
                    assert result.ok
                    sent[result.queue.broker_name] += 1

            async def both_are_used() -> bool:
                await send_some(16)
                return len(sent) == 2

            await eventually(both_are_used, 60.0)
            load = asyncio.gather(*(send_some(300) for _ in range(4)))
            await asyncio.sleep(0.05)
            await asyncio.to_thread(child.kill)
            await load
            sent.clear()
            await send_some(50)
            assert set(sent) == {newest_cluster.broker_name}
    finally:
        await asyncio.to_thread(child.kill)
