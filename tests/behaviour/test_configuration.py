"""Settings of the client seen from outside: what a broker knows of us, and which servers we find."""

from __future__ import annotations

import asyncio

import pytest

import aiorocketmq as rmq
from tests.support import raw_remoting
from tests.support.clusters import Cluster
from tests.support.waiting import eventually


async def members(cluster: Cluster, group: str) -> list[dict[str, object]]:
    """The members of a group as the broker knows them."""
    return await asyncio.to_thread(raw_remoting.consumer_connections, cluster.broker_address, group)


async def committed(cluster: Cluster, group: str, topic: str, queue_id: int = 0) -> int | None:
    """The offset that the broker keeps."""
    return await asyncio.to_thread(raw_remoting.committed_offset, cluster.broker_address, group, topic, queue_id)


class Collector:
    """A consumer that keeps the bodies it gets."""

    def __init__(self, cluster: Cluster, topic: str, expression: str = "*", **settings: object) -> None:
        self.group = str(settings.pop("group", None) or cluster.unique("g"))
        self.bodies: list[bytes] = []
        self.consumer = rmq.PushConsumer(
            cluster.name_servers,
            group=self.group,
            **{"start_from": rmq.StartFrom.FIRST, **settings},  # type: ignore[arg-type]
        )

        @self.consumer.listen(topic, expression)
        async def handle(message: rmq.ReceivedMessage) -> None:
            self.bodies.append(message.body)


@pytest.mark.feature("K1", "K8", "O5", "Q51", "Q52", "Q53", "Q67")
async def test_broker_knows_the_client_id_and_the_language(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("identity"))
    collector = Collector(cluster, topic, client_ip="10.1.2.3", instance_name=cluster.unique("worker"), unit_name="unit-7")
    async with collector.consumer as consumer:
        known = await eventually(lambda: members(cluster, collector.group))
        assert [(member["clientId"], member["language"]) for member in known] == [(consumer.client_id, "PYTHON")]
        host, name, unit = consumer.client_id.split("@")
        assert (host, unit) == ("10.1.2.3", "unit-7")
        assert name.startswith("worker_")
    # The broker forgets a consumer that stops at once, not after its expiry.
    assert await members(cluster, collector.group) == []


@pytest.mark.feature("K6", "G13", "Q57")
async def test_offsets_are_saved_after_the_configured_interval(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("saved"), queues=1)
    collector = Collector(cluster, topic, persist_consumer_offset_interval=0.3)
    async with collector.consumer, cluster.producer() as producer:
        for number in range(7):
            await producer.send(rmq.Message(topic, b"%d" % number))

        async def all_committed() -> bool:
            return await committed(cluster, collector.group, topic) == 7

        await eventually(all_committed, 15.0)


@pytest.mark.feature("F34", "F17")
async def test_offset_moves_on_when_no_tag_matches(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("unmatched"), queues=1)
    collector = Collector(cluster, topic, "Wanted", persist_consumer_offset_interval=0.3)
    async with collector.consumer, cluster.producer() as producer:
        for number in range(5):
            await producer.send(rmq.Message(topic, b"%d" % number, tag="Other"))

        async def all_skipped() -> bool:
            return await committed(cluster, collector.group, topic) == 5

        # The broker looks at its long polls for such messages only every few seconds.
        await eventually(all_skipped, 40.0)
        await producer.send(rmq.Message(topic, b"wanted", tag="Wanted"))
        await eventually(lambda: collector.bodies == [b"wanted"])


@pytest.mark.feature("F33")
async def test_offset_beyond_the_end_is_corrected(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("beyond"), queues=1)
    group = cluster.unique("beyond")
    async with cluster.producer() as producer:
        for number in range(3):
            await producer.send(rmq.Message(topic, b"%d" % number))
        first = Collector(cluster, topic, group=group)
        async with first.consumer:
            await eventually(lambda: len(first.bodies) == 3)
        await asyncio.to_thread(raw_remoting.commit_offset, cluster.broker_address, group, topic, 0, 1_000)
        second = Collector(cluster, topic, group=group)
        async with second.consumer:

            async def corrected() -> bool:
                return await committed(cluster, group, topic) == 3

            await eventually(corrected, 30.0)
            await producer.send(rmq.Message(topic, b"next"))
            await eventually(lambda: b"next" in second.bodies, 40.0)


@pytest.mark.feature("L1", "L6")
async def test_dead_name_servers_are_passed_over(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("names"))
    # Nothing listens on the discard and the echo port of the loopback.
    async with rmq.Producer(f"127.0.0.1:9;{cluster.name_servers};127.0.0.1:7", group=cluster.unique("p")) as producer:
        assert (await producer.send(rmq.Message(topic, b"x"))).status is rmq.SendStatus.SEND_OK


@pytest.mark.feature("L2")
async def test_name_servers_from_the_environment(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = await cluster.create_topic(cluster.unique("env"))
    monkeypatch.setenv("NAMESRV_ADDR", cluster.name_servers)
    async with rmq.Producer(group=cluster.unique("p")) as producer:
        assert (await producer.send(rmq.Message(topic, b"x"))).status is rmq.SendStatus.SEND_OK


@pytest.mark.feature("L9")
async def test_host_names_are_resolved(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("host"))
    port = cluster.name_servers.rpartition(":")[2]
    async with rmq.Producer(f"localhost:{port}", group=cluster.unique("p")) as producer:
        assert (await producer.send(rmq.Message(topic, b"x"))).status is rmq.SendStatus.SEND_OK


@pytest.mark.feature("B15")
async def test_routes_of_given_topics_are_there_at_the_start(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("preloaded"), queues=3)
    async with cluster.producer(topics=[topic]) as producer:
        # Sent without waiting for a route: one-way sends need it at once, and the queues are known.
        assert len(await producer.fetch_publish_message_queues(topic)) == 3
        assert (await producer.send(rmq.Message(topic, b"x"), timeout=1.0)).queue.topic == topic
