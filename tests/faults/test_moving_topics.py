"""Topics that grow, shrink and move to another broker under load: no send fails, and all that was acknowledged is delivered once.

By default on the embedded server; `AIOROCKETMQ_CLUSTERS=all` runs it on two real masters, too.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from tests.faults.load import RATE, History, Load
from tests.support import java, raw_remoting
from tests.support.clusters import ClusterPool, RealTestCluster, unavailable_reason
from tests.support.waiting import eventually

KINDS = ["embedded", *java.VERSIONS] if os.environ.get("AIOROCKETMQ_CLUSTERS") == "all" else ["embedded"]
STEP = 1.0
"""Seconds of load, at least, after each change."""

Masters = tuple[str, str, str]
"""Name servers, and the addresses of broker-a and broker-b."""


@pytest.fixture(params=KINDS)
def masters(request: pytest.FixtureRequest, cluster_pool: ClusterPool) -> Iterator[Masters]:
    if request.param == "embedded":
        with aiorocketmq.sync.LocalCluster(brokers=2) as local:
            yield local.name_servers, local.brokers[0].address, local.brokers[1].address
        return
    if reason := unavailable_reason(request.param):
        pytest.skip(reason)
    cluster = cluster_pool.get(request.param)
    assert isinstance(cluster, RealTestCluster)
    cluster.ensure_running()
    other = cluster.server.add_broker("broker-b")
    try:
        yield cluster.name_servers, cluster.broker_address, other.address
    finally:
        cluster.server.remove_broker(other)


@pytest.mark.feature("B7", "G13", "K4")
@pytest.mark.timeout(240)
async def test_a_topic_grows_shrinks_and_moves_under_load(masters: Masters) -> None:
    name_servers, first, second = masters
    topic, group = f"moving_{os.getpid()}", f"moving_group_{os.getpid()}"
    history = History()

    async def change(broker: str, *, read: int, write: int, perm: int = 6) -> None:
        await asyncio.to_thread(raw_remoting.create_topic, broker, topic, queues=read, write=write, perm=perm)

    await change(first, read=4, write=4)
    consumer = rmq.PushConsumer(name_servers, group=group, start_from=rmq.StartFrom.FIRST, poll_name_server_interval=1.0)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        history.deliver(message)

    async with consumer, rmq.Producer(name_servers, group=f"{group}_p", topics=[topic], poll_name_server_interval=1.0) as producer:
        load = Load(producer, topic, history)

        async def goes_on() -> None:
            sent, delivered = len(history.acknowledged), len(history.delivered)
            await eventually(lambda: len(history.acknowledged) > sent + RATE * STEP, 60.0)
            await eventually(lambda: len(history.delivered) > delivered + RATE * STEP, 60.0)

        await goes_on()
        await change(first, read=8, write=8)  # grows
        await goes_on()
        await eventually(lambda: len(used(consumer, topic)) == 8, 60.0)
        await change(first, read=8, write=2)  # shrinks: nothing more is sent to the last ones, which are still read
        await goes_on()
        await change(second, read=4, write=4)  # moves
        await goes_on()
        await change(first, read=8, write=8, perm=4)
        await eventually(lambda: len(history.brokers["broker-b"]) > 2 * RATE, 60.0)
        await goes_on()
        await load.stop()
        await eventually(lambda: not history.lost(), 60.0, message="every acknowledged message is delivered")
    print(history.text())
    assert history.failed == {}
    assert history.again == 0


def used(consumer: rmq.PushConsumer, topic: str) -> set[rmq.MessageQueue]:
    """The queues of a topic that a consumer owns."""
    return {each.queue for each in consumer.health().queues if each.queue.topic == topic and each.owned}
