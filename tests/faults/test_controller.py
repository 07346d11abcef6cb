"""A controller makes a slave the master when that is killed under load: ordered sends and an ordered consumer go on by themselves.

It takes a minute, and runs with `AIOROCKETMQ_CLUSTERS=all`.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator

import pytest

import aiorocketmq as rmq
from tests.faults.load import RATE, History, Load
from tests.support import java, raw_remoting
from tests.support.clusters import EARLY_CHECKS, unavailable_reason
from tests.support.real_broker import RealBroker
from tests.support.real_cluster import RealCluster
from tests.support.starvation import Starvation
from tests.support.waiting import eventually, eventually_sync

GET_REPLICA_INFO = 1004
KEYS = 40
WARM = 3.0
SWITCHES = int(os.environ.get("AIOROCKETMQ_SWITCHES", "2"))

pytestmark = pytest.mark.skipif(
    os.environ.get("AIOROCKETMQ_CLUSTERS") != "all", reason="AIOROCKETMQ_CLUSTERS=all runs it: it takes a minute"
)


def in_sync(server: RealCluster) -> int:
    """How many brokers of the pair could be its master."""
    _, body = raw_remoting.exchange(f"127.0.0.1:{server.controller_port}", GET_REPLICA_INFO, {"brokerName": server.broker_name})
    return len(json.loads(body)["syncStateSet"])


def master_of(server: RealCluster) -> str:
    """Address of the pair's master, as the name server tells it."""
    return raw_remoting.addresses(server.name_servers, "TBW102").get(server.broker_name, {}).get("0", "")


@pytest.fixture
def switching() -> Iterator[tuple[RealCluster, RealBroker]]:
    """A pair under a controller, both able to be the master."""
    if reason := unavailable_reason(java.NEWEST):
        pytest.skip(reason)
    # A message is acknowledged when all that could be the next master have it.
    options = {**EARLY_CHECKS, "inSyncReplicas": "2", "allAckInSyncStateSet": "true"}
    with RealCluster(java.NEWEST, broker_options=options, controller=True, broker_heap="320m") as server:
        other = server.add_broker(server.broker_name)
        eventually_sync(lambda: in_sync(server) == 2, 60.0, interval=0.2)
        yield server, other


@pytest.mark.feature("B7", "B8", "F13", "G13", "G14", "K10")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("ordered", [False, True], ids=["concurrent", "ordered"])
async def test_a_slave_becomes_the_master(switching: tuple[RealCluster, RealBroker], ordered: bool) -> None:
    server, other = switching
    topic, group = f"switch_{ordered}", f"switch_group_{ordered}"
    await asyncio.to_thread(server.create_topic, topic, queues=8)
    await eventually(lambda: asyncio.to_thread(raw_remoting.knows_topic, other.address, topic), 60.0, interval=0.2)
    history = History()
    consumer = rmq.PushConsumer(server.name_servers, group=group, start_from=rmq.StartFrom.FIRST, ordered=ordered)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        history.deliver(message, KEYS)

    producer = rmq.Producer(server.name_servers, group="switch_p", topics=[topic], send_msg_timeout=30.0, retry_times_when_send_failed=100)
    with Starvation() as starvation:
        async with consumer, producer:
            load = Load(producer, topic, history, keys=KEYS if ordered else 0)
            for _ in range(SWITCHES):
                await switch(server, history)
            await load.stop()
            await eventually(lambda: not history.lost(), 60.0, message="every acknowledged message is delivered")
    print(f"{history.text()}, inversions {history.inversions()}, longest call {history.longest_call(starvation):.3f} s")
    if ordered:
        assert history.inversions() == 0
    else:
        assert history.failed == {}


async def switch(server: RealCluster, history: History) -> None:
    """Let the load go on for a while, kill the master, wait until all goes on with the slave in its place, and start what was killed."""
    began = len(history.delivered)
    await eventually(lambda: len(history.delivered) > began + RATE * WARM / 2, 60.0)
    await eventually(lambda: in_sync(server) == 2, 60.0, interval=0.2)
    first = master_of(server)
    master, slave = sorted(server.brokers, key=lambda broker: broker.address != first)
    killed = time.monotonic()
    await asyncio.to_thread(master.kill)
    await eventually(lambda: master_of(server) == slave.address, 60.0, interval=0.05)
    switched = time.monotonic()
    await eventually(lambda: history.first_after(history.delivered, switched) < 60.0, 60.0)
    await asyncio.sleep(2.0)
    print(
        f"new master {switched - killed:.3f} s after the kill, first send {history.first_after(history.acknowledged, switched):.3f} s and "
        f"first delivery {history.first_after(history.delivered, switched):.3f} s later, longest gap of deliveries "
        f"{history.longest_gap(history.delivered, killed - 0.1, time.monotonic()):.3f} s",
        flush=True,
    )
    await asyncio.to_thread(master.start)
