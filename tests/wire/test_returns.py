"""A broker that has left routes is looked for every few seconds, and used again as soon as it is there; what is gone for good is let go."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.client.returns import RETURN_INTERVAL, RETURN_WATCH
from aiorocketmq.model.route import BrokerData, QueueData, TopicRouteData
from aiorocketmq.protocol.codes import RequestCode
from tests.support.virtual_loop import virtual_time
from tests.wire.world import MASTER, SLAVE, FakeConsumer, World, route

OTHER = "broker-b:10911"
ASK = RequestCode.GET_ROUTEINFO_BY_TOPIC
POLL = 100_000.0


def two_brokers() -> TopicRouteData:
    datas = tuple(BrokerData("DefaultCluster", name, {0: address}) for name, address in (("broker-a", MASTER), ("broker-b", OTHER)))
    return TopicRouteData((QueueData("broker-a", 2, 2, 6), QueueData("broker-b", 2, 2, 6)), datas)


async def world_of(*topics: str) -> tuple[World, FakeConsumer]:
    world = World()
    world.make_broker(OTHER)
    for topic in topics:
        world.routes[topic] = two_brokers()
    consumer = FakeConsumer(topics=list(topics))
    return world, consumer


@pytest.mark.feature("K4")
@virtual_time
async def test_a_broker_that_comes_back_is_used_within_seconds_in_all_its_topics() -> None:
    topics = [f"t{number}" for number in range(40)]
    world, consumer = await world_of(*topics)
    instance = world.instance(poll_name_server_interval=POLL)
    await instance.register_consumer(consumer)
    await instance.start()
    await asyncio.sleep(1.0)  # the first refresh
    for topic in topics:
        world.routes[topic] = route(2)
    await instance.routes.update_all()
    asked = len(world.name_server.of(ASK))
    await asyncio.sleep(10 * RETURN_INTERVAL)
    assert 8 <= len(world.name_server.of(ASK)) - asked <= 13, "one topic for all of them"
    for topic in topics:
        world.routes[topic] = two_brokers()
    consumer.told.clear()
    await asyncio.sleep(1.3 * RETURN_INTERVAL)
    assert sorted(topic for topic, queues in consumer.told if len(queues) == 4) == sorted(topics)
    asked = len(world.name_server.of(ASK))
    await asyncio.sleep(10 * RETURN_INTERVAL)
    assert len(world.name_server.of(ASK)) == asked, "nothing is lost any more"
    await instance.stop()


@virtual_time
async def test_a_topic_that_was_taken_from_the_broker_hides_no_other_one() -> None:
    world, consumer = await world_of("taken", "kept")
    instance = world.instance(poll_name_server_interval=POLL)
    await instance.register_consumer(consumer)
    await instance.start()
    await asyncio.sleep(1.0)  # the first refresh
    world.routes["taken"] = world.routes["kept"] = route(2)
    await instance.routes.update_all()
    await asyncio.sleep(RETURN_INTERVAL)
    world.routes["kept"] = two_brokers()
    await asyncio.sleep(3 * RETURN_INTERVAL)
    queues = instance.routes.subscribe_queues("kept")
    assert queues is not None
    assert len(queues) == 4
    await asyncio.sleep(RETURN_WATCH)
    asked = len(world.name_server.of(ASK))
    await asyncio.sleep(10 * RETURN_INTERVAL)
    assert len(world.name_server.of(ASK)) == asked, "the broker of the other one is not looked for for ever"
    await instance.stop()


@virtual_time
async def test_a_master_that_is_away_is_looked_for_although_its_slave_is_there() -> None:
    world = World()
    world.routes["orders"] = route(2, addrs={0: MASTER, 1: SLAVE})
    consumer = FakeConsumer(topics=["orders"])
    instance = world.instance(poll_name_server_interval=POLL)
    await instance.register_consumer(consumer)
    await instance.start()
    await asyncio.sleep(1.0)  # the first refresh
    world.routes["orders"] = route(2, addrs={1: SLAVE})
    await instance.routes.update_all()
    assert instance.find_broker_address_in_publish("broker-a") is None
    world.routes["orders"] = route(2, addrs={0: SLAVE})
    await asyncio.sleep(1.3 * RETURN_INTERVAL)
    assert instance.find_broker_address_in_publish("broker-a") == SLAVE
    await instance.stop()


@virtual_time
async def test_a_topic_that_nobody_uses_any_more_is_not_asked_for() -> None:
    world, consumer = await world_of("orders")
    instance = world.instance(poll_name_server_interval=POLL)
    await instance.register_consumer(consumer)
    await instance.start()
    await asyncio.sleep(1.0)  # the first refresh
    world.routes["orders"] = route(2)
    await instance.routes.update_all()
    consumer.topics.clear()
    await instance.routes.update_all()
    asked = len(world.name_server.of(ASK))
    await asyncio.sleep(10 * RETURN_INTERVAL)
    assert len(world.name_server.of(ASK)) == asked
    await instance.stop()
