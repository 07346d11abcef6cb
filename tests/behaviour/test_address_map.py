"""Brokers and name servers that are dialled at other addresses than those that are known of them."""

from __future__ import annotations

import asyncio

import pytest

import aiorocketmq as rmq
from aiorocketmq.server import LocalCluster
from tests.support.clusters import Cluster
from tests.support.push import Inbox, new_topic, numbered, send


@pytest.mark.feature("K14", "L9")
async def test_everything_goes_through_where_the_map_leads(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "mapped")
    dialled: dict[str, str] = {}
    real = cluster.name_servers.split(";")[0]

    def lead(address: str) -> str:
        dialled[address] = real if address == "names.invalid:9876" else address
        return dialled[address]

    inbox = Inbox()
    consumer = rmq.PushConsumer("names.invalid:9876", group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST, address_map=lead)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)

    async with rmq.Producer("names.invalid:9876", address_map=lead) as producer, consumer:
        await send(producer, topic, numbered(10))
        await inbox.has(10)
        pinged = await producer.ping()
        assert pinged.ok
    assert dialled["names.invalid:9876"] == real
    assert len(dialled) == 2, "a broker was dialled past the map"


@pytest.mark.feature("K14", "L9")
async def test_a_broker_that_advertises_an_unreachable_address_is_reached_by_the_map() -> None:
    async with LocalCluster(advertised_host="192.0.2.1") as cluster:
        port = cluster.brokers[0].address.rpartition(":")[2]
        names = {cluster.name_servers: cluster.name_servers.replace("192.0.2.1", "127.0.0.1")}
        mapped = {f"192.0.2.1:{port}": f"127.0.0.1:{port}"} | names
        async with rmq.AdminClient(cluster.name_servers, address_map=mapped) as admin:
            await admin.topics.create("orders", queues=1)
        async with rmq.Producer(cluster.name_servers, address_map=mapped) as producer:
            result = await producer.send(rmq.Message("orders", b"x"), timeout=20.0)
            assert result.ok

        def blocking() -> rmq.SendResult:
            with rmq.sync.Producer(cluster.name_servers, address_map=mapped) as producer:
                return [producer.send(rmq.Message("orders", b"x")) for _ in range(20)][-1]

        assert (await asyncio.to_thread(blocking)).ok
        wrong = {f"192.0.2.1:{port}": "127.0.0.1:1"} | names
        async with rmq.Producer(cluster.name_servers, address_map=wrong) as producer:
            with pytest.raises(rmq.SendUnreachableError, match=r"192\.0\.2\.1:\d+ \(by address_map at 127\.0\.0\.1:1\) refused") as caught:
                await producer.send(rmq.Message("orders", b"x"), timeout=2.0)
            assert "address_map" in caught.value.hint and "brokerIP1" in caught.value.hint

        def broken(address: str) -> str:
            return names.get(address, "")

        async with rmq.Producer(cluster.name_servers, address_map=broken) as producer:
            with pytest.raises(rmq.SendUnreachableError, match="address_map gave '' for"):
                await producer.send(rmq.Message("orders", b"x"), timeout=2.0)
