"""What brokers ask of a client: 40, 220, 221, 307, 309, and codes that nobody knows."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.bodies import ConsumerRunningInfo, GetConsumerStatusBody, ResetOffsetBody
from aiorocketmq.protocol.codes import RequestCode
from tests.support.virtual_loop import virtual_time
from tests.unit.consumer.world import record
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


@pytest.mark.feature("N3", "N4", "F39")
@virtual_time
async def test_220_and_221_know_the_names_of_a_namespace() -> None:
    world = World()
    world.routes["ns%orders"] = route()
    instance = world.instance(namespace="ns")
    consumer = FakeConsumer(topics=["orders"])
    await instance.register_consumer(consumer)
    await instance.start()
    await asyncio.sleep(5)
    ours, theirs = MessageQueue("orders", "broker-a", 1), MessageQueue("ns%orders", "broker-a", 1)
    ext = {"topic": "ns%orders", "group": "ns%consumers", "timestamp": "0", "isForce": "false"}
    world.master.push_oneway(RequestCode.RESET_CONSUMER_CLIENT_OFFSET, ext, ResetOffsetBody({theirs: 7}).encode())
    await asyncio.sleep(0.1)
    assert consumer.reset_to == [{ours: 7}]
    [answer] = await world.master.push(RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT, {"topic": "ns%orders", "group": "ns%consumers"})
    assert (answer.code, GetConsumerStatusBody.decode(answer.body).message_queue_table) == (0, {theirs: 7})
    for group, topic in (("ns%stranger", "ns%orders"), ("ns%consumers", "ns%bills")):
        [answer] = await world.master.push(RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT, {"topic": topic, "group": group})
        assert (answer.code, GetConsumerStatusBody.decode(answer.body).message_queue_table) == (0, {})
    await instance.stop()


@pytest.mark.feature("N6", "F41")
@virtual_time
async def test_309_for_a_group_that_is_not_here_or_has_no_listeners_is_answered_with_an_error() -> None:
    world = World()
    _, instance = await running(world)
    message = record("orders", 0, b"0")
    for group, text in (("stranger", "is not on this client"), ("consumers", "has no listeners")):
        [answer] = await world.master.push(RequestCode.CONSUME_MESSAGE_DIRECTLY, {"consumerGroup": group}, message)
        assert answer.code == 1 and text in (answer.remark or "")
    for body in (b"", message[:-3], message + message):
        [answer] = await world.master.push(RequestCode.CONSUME_MESSAGE_DIRECTLY, {"consumerGroup": "consumers"}, body)
        assert answer.code == 1 and "ProtocolError" in (answer.remark or "")
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
