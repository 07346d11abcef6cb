"""Several clusters in one process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

import aiorocketmq as rmq
from aiorocketmq.server import LocalCluster
from tests.support.clusters import Cluster
from tests.support.push import Inbox, new_topic, send
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST


@pytest.mark.feature("L15", "K2")
async def test_two_clusters_in_one_process_do_not_meet(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "both", 2), cluster.unique("g")
    async with LocalCluster() as other:
        async with rmq.AdminClient(other.name_servers) as admin:
            await admin.topics.create(topic, queues=2)
        inboxes = {cluster.name_servers: Inbox(), other.name_servers: Inbox()}
        async with AsyncExitStack() as stack:
            producers = {}
            for servers, inbox in inboxes.items():
                consumer = rmq.PushConsumer(servers, group=group, start_from=FIRST)
                consumer.listen(topic)(inbox.take)
                await stack.enter_async_context(consumer)
                producers[servers] = await stack.enter_async_context(rmq.Producer(servers, group=group, send_msg_timeout=20.0))
            ids = {producer.client_id for producer in producers.values()}
            assert len(ids) == 2, "each cluster has an instance of its own"
            bodies = {servers: [b"%d of %s" % (number, servers.encode()) for number in range(20)] for servers in inboxes}
            await asyncio.gather(*(send(producer, topic, bodies[servers]) for servers, producer in producers.items()))
            for servers, inbox in inboxes.items():
                await inbox.has(20)
                assert sorted(inbox.bodies) == sorted(bodies[servers])
            # One cluster goes down: the other is as before.
            await other.stop()
            await send(producers[cluster.name_servers], topic, [b"still here"])
            await eventually(lambda: b"still here" in inboxes[cluster.name_servers].bodies, 30)


@pytest.mark.feature("L15")
def test_blocking_clients_of_two_clusters_share_the_process(cluster: Cluster) -> None:
    topic = f"sync_{cluster.unique('both')}"
    with rmq.sync.LocalCluster() as other:
        for servers in (cluster.name_servers, other.name_servers):
            with rmq.sync.AdminClient(servers, mq_client_api_timeout=20.0) as admin:
                admin.topics.create(topic, queues=1)
        with (
            rmq.sync.Producer(cluster.name_servers, send_msg_timeout=20.0) as one,
            rmq.sync.Producer(other.name_servers, send_msg_timeout=20.0) as two,
        ):
            for number in range(20):
                assert one.send(rmq.Message(topic, b"x")).queue_offset == number
                if number % 2:
                    assert two.send(rmq.Message(topic, b"x")).queue_offset == number // 2
