"""One of two masters is killed under load: its slave serves what it holds, the other master takes what is sent, and nothing is lost.

It takes two minutes, most of them until a new slave knows its topics, and runs with `AIOROCKETMQ_CLUSTERS=all`: both roles of a master,
both releases, and a second member that joins the group while the master is away.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import aiorocketmq as rmq
from tests.faults.load import RATE, History, Load
from tests.support import java, raw_remoting
from tests.support.clusters import ClusterPool, RealTestCluster, unavailable_reason
from tests.support.real_broker import RealBroker
from tests.support.starvation import Starvation
from tests.support.waiting import eventually, eventually_sync

PAIR = "broker-b"
ALL = os.environ.get("AIOROCKETMQ_CLUSTERS") == "all"
WARM = 2.0
BACKLOG = 0.5
DOWN = 12.0
AFTER = 2.0
QUEUES = 4
SYNC, ASYNC = "SYNC_MASTER", "ASYNC_MASTER"
CASES = [(version, role) for version in java.VERSIONS for role in (SYNC, ASYNC)]
pytestmark = pytest.mark.skipif(not ALL, reason="AIOROCKETMQ_CLUSTERS=all runs it: it takes two minutes")


@dataclass(frozen=True)
class Pair:
    """A master alone, and a master with its slave, which all have a topic."""

    cluster: RealTestCluster
    topic: str
    master: RealBroker
    slave: RealBroker
    role: str


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case))
def pair(request: pytest.FixtureRequest, cluster_pool: ClusterPool) -> Iterator[Pair]:
    version, role = request.param
    if reason := unavailable_reason(version):
        pytest.skip(reason)
    cluster = cluster_pool.get(version)
    assert isinstance(cluster, RealTestCluster)
    cluster.ensure_running()
    server, topic = cluster.server, cluster.unique("pair")
    added = []
    try:
        # 5.x waits for no slave unless two are to have a message.
        synced = {"inSyncReplicas": "2"} if version.startswith("5.") else {}
        added.append(master := server.add_broker(PAIR, options={"brokerRole": role, **synced}))
        server.create_topic(topic, queues=QUEUES, brokers=[server.broker, master])
        added.append(slave := server.add_broker(PAIR, 1))
        # Slaves take topics over every 10 s.
        eventually_sync(lambda: raw_remoting.knows_topic(slave.address, topic), 60.0, interval=0.2)
        yield Pair(cluster, topic, master, slave, role)
    finally:
        for broker in added:
            server.remove_broker(broker)


def member(pair: Pair, group: str, history: History) -> rmq.PushConsumer:
    consumer = rmq.PushConsumer(
        pair.cluster.name_servers, group=group, start_from=rmq.StartFrom.FIRST, instance_name=pair.cluster.unique("m")
    )

    @consumer.listen(pair.topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        history.deliver(message)

    return consumer


@pytest.mark.feature("B7", "B8", "F35", "G13", "K10")
@pytest.mark.timeout(240)
async def test_a_slave_serves_while_its_master_is_away(pair: Pair) -> None:
    server, topic, group = pair.cluster.server, pair.topic, pair.cluster.unique("pair_group")
    # A master that waits for its slave takes seconds for some messages, until the slave has found it again.
    patience = 20.0 if pair.role == SYNC else 3.0
    history = History()
    first, second = member(pair, group, history), member(pair, group, history)
    producer = rmq.Producer(pair.cluster.name_servers, group=pair.cluster.unique("pair_p"), topics=[topic], send_msg_timeout=patience)
    with Starvation() as starvation:
        async with first, producer:
            load = Load(producer, topic, history)
            of_pair = history.brokers[PAIR]
            await eventually(lambda: len(history.delivered) > RATE * WARM / 2 and of_pair and len(history.brokers) == 2, 60.0)
            first.suspend()
            await asyncio.sleep(BACKLOG)  # so that something is left for the slave
            killed = time.monotonic()
            await asyncio.to_thread(pair.master.kill)
            backlog = set(of_pair) - history.delivered.keys()
            first.resume()
            if pair.role == ASYNC:  # the last ones never reached the slave, and come from the master when that is back
                backlog = {number for number in backlog if of_pair[number] < killed - BACKLOG / 2}
            assert backlog
            await eventually(lambda: backlog <= history.delivered.keys(), 30.0, message="the slave serves what it holds")
            read = max(history.delivered[number] for number in backlog) - killed
            await second.start()
            await asyncio.sleep(max(0.0, killed + DOWN - time.monotonic()))
            starting = time.monotonic()
            await asyncio.to_thread(pair.master.start)
            back = time.monotonic()
            await eventually(lambda: history.first_after(of_pair, starting) < 60.0, 60.0)
            await asyncio.sleep(AFTER)
            await load.stop()
            await eventually(lambda: not history.lost(), 60.0, message="every acknowledged message is delivered")
            await second.stop()
    gap = history.longest_gap(history.acknowledged, killed - 0.1, starting)
    delivery_gap = history.longest_gap(history.delivered, killed - 0.1, starting)
    print(
        f"{history.text()}, {sum(killed < at < starting for at in history.brokers[server.broker.name].values())} sent to the other master "
        f"meanwhile, {len(backlog)} read from the slave {read:.3f} s after the kill, longest gap {gap:.3f} s in sends and "
        f"{delivery_gap:.3f} s in deliveries, longest call {history.longest_call(starvation):.3f} s, "
        f"first send to the master {history.first_after(of_pair, back):.3f} s after it was registered"
    )
    kept_away = starvation.between(killed - 0.1, starting)
    assert history.failed == {}
    assert [number for number, at in of_pair.items() if killed + 0.5 < at < starting] == []
    assert gap <= 1.0 + kept_away
    assert read <= 5.0 + kept_away
