"""What brokers ask of a client: 40, 307, and codes that nobody knows."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.protocol.bodies import ConsumerRunningInfo
from aiorocketmq.protocol.codes import RequestCode
from tests.support.virtual_loop import virtual_time
from tests.wire.world import CLIENT_ID, FakeConsumer, World, close_to, route


async def running(world: World) -> tuple[FakeConsumer, object]:
    world.routes["orders"] = route()
    instance = world.instance()
    consumer = FakeConsumer(topics=["orders"])
    await instance.register_consumer(consumer)
    await instance.start()
    await asyncio.sleep(5)
    return consumer, instance


@pytest.mark.feature("N2", "G1")
@virtual_time
async def test_40_rebalances_at_once_and_at_most_once_a_second() -> None:
    world = World()
    consumer, instance = await running(world)
    world.master.push_oneway(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, {"consumerGroup": "consumers"})
    await asyncio.sleep(0.1)
    assert close_to(consumer.rebalanced_at, [5.0])
    for _ in range(10):
        world.master.push_oneway(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, {"consumerGroup": "consumers"})
    await asyncio.sleep(3)
    assert close_to(consumer.rebalanced_at, [5.0, 6.0])
    assert not world.master.responses, "40 is one-way"
    await instance.stop()  # type: ignore[attr-defined]


@pytest.mark.feature("N5")
@virtual_time
async def test_307_answers_with_the_running_info() -> None:
    world = World()
    _, instance = await running(world)
    ext = {"consumerGroup": "consumers", "clientId": CLIENT_ID, "jstackEnable": "true"}
    [answer] = await world.master.push(RequestCode.GET_CONSUMER_RUNNING_INFO, ext)
    assert answer.code == 0
    info = ConsumerRunningInfo.decode(answer.body)
    assert info.jstack == "stacks"
    assert info.properties["PROP_NAMESERVER_ADDR"] == "ns:9876;"
    assert info.properties["PROP_CONSUME_TYPE"] == "CONSUME_PASSIVELY"
    assert info.properties["PROP_CLIENT_VERSION"] == "V5_3_3"
    assert info.properties["PROP_CONSUMER_START_TIMESTAMP"] == "1"
    assert [subscription.topic for subscription in info.subscription_set] == ["orders"]
    [answer] = await world.master.push(RequestCode.GET_CONSUMER_RUNNING_INFO, ext | {"jstackEnable": "false"})
    assert ConsumerRunningInfo.decode(answer.body).jstack is None
    await instance.stop()  # type: ignore[attr-defined]


@pytest.mark.feature("N5")
@virtual_time
async def test_307_for_another_group_and_a_broken_header_are_answered_with_an_error() -> None:
    world = World()
    _, instance = await running(world)
    [answer] = await world.master.push(RequestCode.GET_CONSUMER_RUNNING_INFO, {"consumerGroup": "stranger", "clientId": CLIENT_ID})
    assert answer.code == 1
    assert "stranger" in (answer.remark or "")
    [answer] = await world.master.push(RequestCode.GET_CONSUMER_RUNNING_INFO, {})
    assert answer.code == 1
    world.master.push_oneway(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, {})
    [answer] = await world.master.push(RequestCode.GET_CONSUMER_RUNNING_INFO, {"consumerGroup": "consumers", "clientId": CLIENT_ID})
    assert answer.code == 0, "the connection lives on"
    await instance.stop()  # type: ignore[attr-defined]


@pytest.mark.feature("N2")
@virtual_time
async def test_an_unknown_code_gets_code_3() -> None:
    world = World()
    _, instance = await running(world)
    [answer] = await world.master.push(12345)
    assert answer.code == 3
    assert "12345" in (answer.remark or "")
    await instance.stop()  # type: ignore[attr-defined]
