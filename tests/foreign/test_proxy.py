"""Our clients through the remoting port of a real 5.x proxy, which is name server and broker to them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

import pytest

import aiorocketmq as rmq
from benchmarks.grpc.proxy import Proxy
from tests.support.clusters import RealTestCluster
from tests.support.waiting import eventually


@pytest.fixture
def proxy(newest_cluster: RealTestCluster) -> Iterator[Proxy]:
    running = Proxy(newest_cluster.server, heap="256m")
    running.start()
    yield running
    running.stop()


@pytest.mark.feature("O18")
@pytest.mark.timeout(240)
async def test_produce_and_consume_through_the_proxy(newest_cluster: RealTestCluster, proxy: Proxy) -> None:
    topic = await newest_cluster.create_topic(f"proxied-{uuid.uuid4().hex[:8]}")
    bodies = {b"%d" % number for number in range(50)}
    got: set[bytes] = set()
    tries: list[int] = []
    consumer = rmq.PushConsumer(proxy.remoting_address, group=topic, start_from=rmq.StartFrom.FIRST)

    @consumer.listen(topic)
    async def take(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        if message.body == b"0":
            tries.append(message.reconsume_times)
            if len(tries) == 1:
                return rmq.Retry(delay_level=1)
        got.add(message.body)
        return None

    async with consumer, rmq.Producer(proxy.remoting_address, group=f"{topic}-p", send_msg_timeout=20.0) as producer:
        await producer.send(rmq.Message(topic, b"0"))
        await producer.send_batch([rmq.Message(topic, b"%d" % number) for number in range(1, 10)])
        await asyncio.gather(*[producer.send_nowait(rmq.Message(topic, body)) for body in sorted(bodies, key=int)[10:]])
        await eventually(lambda: got == bodies, 90.0)
        assert tries == [0, 1]
