"""Patterns of topics: which topics they bring, whose word counts, and what happens when name servers do not answer."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.consumer.patterns import is_users
from aiorocketmq.server import LocalCluster
from tests.support.waiting import eventually

ORDERS = re.compile("orders_.*")


class Seen:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, message: rmq.ReceivedMessage) -> None:
        self.bodies.append(message.body)


def consumer_of(servers: str, **fields: Any) -> rmq.PushConsumer:
    return rmq.PushConsumer(servers, group="g", start_from=rmq.StartFrom.FIRST, poll_name_server_interval=0.1, **fields)


async def send(cluster: LocalCluster, topic: str, *bodies: bytes) -> None:
    async with rmq.Producer(cluster.name_servers, group="p") as producer:
        for body in bodies:
            await producer.send(rmq.Message(topic, body))


@pytest.mark.feature("U15")
@pytest.mark.parametrize(
    ("topic", "brought"),
    [
        ("orders", True),
        ("a|b%c", True),
        ("%RETRY%g", False),
        ("%DLQ%g", False),
        ("%LMQ%q", False),
        ("TBW102", False),
        ("SCHEDULE_TOPIC_XXXX", False),
        ("rmq_sys_wheel_timer", False),
        ("RMQ_SYS_TRACE_TOPIC", False),
        ("DefaultHeartBeatSyncerTopic", False),
        ("not.legal", False),
    ],
)
def test_topics_of_brokers_and_groups_are_left_out(topic: str, brought: bool) -> None:
    assert is_users(topic) is brought


@pytest.mark.feature("U15")
async def test_everything_is_all_topics_of_users() -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic("a", queues=1)
        await cluster.create_topic("b", queues=1)
        consumer = consumer_of(cluster.name_servers)
        consumer.listen(re.compile(".*"))(Seen())
        async with consumer:
            assert consumer.topics == {"a", "b"}


@pytest.mark.feature("U15")
async def test_the_first_pattern_counts_and_a_whole_name_has_to_match() -> None:
    async with LocalCluster() as cluster:
        for topic in ("orders_1", "orders_2", "my_orders_3"):
            await cluster.create_topic(topic, queues=1)
            await send(cluster, topic, topic.encode())
        first, second = Seen(), Seen()
        consumer = consumer_of(cluster.name_servers)
        consumer.listen(re.compile("orders_1"))(first)
        consumer.listen(ORDERS)(second)
        async with consumer:
            await eventually(lambda: bool(first.bodies and second.bodies))
            assert consumer.topics == {"orders_1", "orders_2"}
        assert (first.bodies, second.bodies) == ([b"orders_1"], [b"orders_2"])


@pytest.mark.feature("U15", "F21")
async def test_what_the_user_says_of_a_topic_goes_before_patterns() -> None:
    async with LocalCluster() as cluster:
        for topic in ("orders_1", "orders_2"):
            await cluster.create_topic(topic, queues=1)
        by_pattern, own, again = Seen(), Seen(), Seen()
        consumer = consumer_of(cluster.name_servers)
        consumer.listen(ORDERS)(by_pattern)
        async with consumer:
            await consumer.subscribe("orders_1", own)
            await consumer.unsubscribe("orders_2")
            await send(cluster, "orders_1", b"1")
            await send(cluster, "orders_2", b"2")
            await eventually(lambda: own.bodies == [b"1"])
            await cluster.create_topic("orders_3", queues=1)
            await eventually(lambda: "orders_3" in consumer.topics)
            assert consumer.topics == {"orders_1", "orders_3"}
            await consumer.unsubscribe(ORDERS)
            assert consumer.topics == {"orders_1"}
            await consumer.subscribe(ORDERS, again)
            assert consumer.topics == {"orders_1", "orders_2", "orders_3"}
            await eventually(lambda: again.bodies == [b"2"])
            await consumer.subscribe(ORDERS, by_pattern)  # another listener for the same topics
            await send(cluster, "orders_3", b"3")
            await eventually(lambda: by_pattern.bodies == [b"3"])
        assert (own.bodies, again.bodies) == ([b"1"], [b"2"])


@pytest.mark.feature("U15", "K18")
async def test_a_start_needs_neither_topics_nor_a_name_server() -> None:
    seen = Seen()
    async with LocalCluster() as cluster:
        address = cluster.name_servers
    consumer = consumer_of(address)
    consumer.listen(ORDERS)(seen)
    async with consumer:
        assert consumer.topics == frozenset()
        async with LocalCluster(port=int(address.rpartition(":")[2])) as cluster:
            await cluster.create_topic("orders_1", queues=1)
            await send(cluster, "orders_1", b"1")
            await eventually(lambda: seen.bodies == [b"1"], 30)


@pytest.mark.feature("U15", "F18")
async def test_a_filter_that_a_broker_refuses_is_in_nobodys_way(caplog: pytest.LogCaptureFixture) -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic("bills", queues=1)
        seen = Seen()
        consumer = consumer_of(cluster.name_servers)
        consumer.listen(ORDERS, rmq.SQL("price >>> 10"))(seen)
        consumer.listen(re.compile("bills.*"))(seen)
        async with consumer:
            await cluster.create_topic("orders_1", queues=1)
            await cluster.create_topic("bills_2", queues=1)
            await eventually(lambda: "bills_2" in consumer.topics)
            await eventually(lambda: "orders_1" in caplog.text)
            assert consumer.topics == {"bills", "bills_2"}


@pytest.mark.feature("U15")
async def test_topics_of_a_namespace_have_the_users_names() -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic("shop%orders_1", queues=1)
        await cluster.create_topic("orders_2", queues=1)
        consumer = consumer_of(cluster.name_servers, namespace="shop")
        consumer.listen(ORDERS)(Seen())
        async with consumer:
            assert consumer.topics == {"orders_1"}


@pytest.mark.feature("U15")
async def test_what_is_no_pattern_and_a_second_one_are_refused() -> None:
    consumer = rmq.PushConsumer("127.0.0.1:9876", group="g")
    with pytest.raises(rmq.ConfigError, match="bytes"):
        consumer.listen(re.compile(b"x"))(Seen())  # type: ignore[arg-type]
    with pytest.raises(rmq.ListenerError, match="cannot be called"):
        consumer.listen(ORDERS)(lambda: None)  # type: ignore[misc, arg-type]
    with pytest.raises(rmq.ConfigError, match="subscription"):
        consumer.listen(ORDERS, 7)(Seen())  # type: ignore[call-overload]
    with pytest.raises(rmq.ListenerError, match="no listener"):
        await consumer.start()
    consumer.listen(ORDERS)(Seen())
    with pytest.raises(rmq.ConfigError, match="has a listener already"):
        consumer.listen(re.compile("orders_.*"))
    await consumer.unsubscribe(re.compile("other"))
    await consumer.unsubscribe(ORDERS)
    consumer.listen(ORDERS)(Seen())
    await asyncio.sleep(0)
