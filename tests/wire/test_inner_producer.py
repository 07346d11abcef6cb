"""The instance's own producer: complete messages, three tries on changing brokers within one deadline."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.errors import RouteError, SendError
from aiorocketmq.model.enums import SendStatus
from aiorocketmq.model.properties import decode_properties
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, QueueData, TopicRouteData
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import SendMessageRequestHeaderV2
from tests.support.memory_transport import PeerConnection, ScriptedPeer
from tests.support.virtual_loop import virtual_time
from tests.wire.world import MASTER, FakeConsumer, World, heartbeats, route

SEND = RequestCode.SEND_MESSAGE_V2
RETRY = "%RETRY%workers"
STORED = {"msgId": "C0000201000029FF0000000000000001", "queueId": "0", "queueOffset": "7", "MSG_REGION": "R"}


async def started(world: World) -> ClientInstance:
    instance = world.instance()
    await instance.start()
    return instance


def header_of(peer: ScriptedPeer) -> SendMessageRequestHeaderV2:
    return SendMessageRequestHeaderV2.from_ext(peer.of(SEND)[-1].command.ext_fields)


@pytest.mark.feature("K16", "F24")
@pytest.mark.parametrize(("version", "told"), [(407, 17), (412, 16), (513, 16), (0, 16)])
@virtual_time
async def test_brokers_before_5_are_told_one_try_more(version: int, told: int) -> None:
    world = World()
    world.routes[RETRY] = route(1)
    world.master.answer(SEND, header=STORED)
    instance = await started(world)
    instance.routes.broker_addrs.put_version("broker-a", MASTER, version)
    await instance.inner_producer.send(RETRY, b"body", {"RECONSUME_TIME": "16", "MAX_RECONSUME_TIMES": "16"})
    assert header_of(world.master).max_reconsume_times == told
    await instance.stop()


@pytest.mark.feature("K16")
@virtual_time
async def test_a_retried_message_goes_out_whole_with_its_counts_in_the_header() -> None:
    world = World()
    world.routes[RETRY] = route(1)
    world.master.answer(SEND, header=STORED)
    instance = await started(world)
    properties = {"UNIQ_KEY": "ID", "RETRY_TOPIC": "orders", "RECONSUME_TIME": "3", "MAX_RECONSUME_TIMES": "16", "DELAY": "6"}
    result = await instance.inner_producer.send(RETRY, b"body", properties, flag=5, sys_flag=1)
    assert (result.status, result.message_id, result.offset_message_id) == (SendStatus.SEND_OK, "ID", STORED["msgId"])
    assert (result.queue, result.queue_offset, result.region_id) == (MessageQueue(RETRY, "broker-a", 0), 7, "R")
    header = header_of(world.master)
    assert header.producer_group == "CLIENT_INNER_PRODUCER"
    assert (header.topic, header.broker_name, header.flag, header.sys_flag) == (RETRY, "broker-a", 5, 1)
    assert (header.reconsume_times, header.max_reconsume_times) == (3, 16)
    assert header.born_timestamp == 1_700_000_000_000
    assert decode_properties(header.properties or "") == {"UNIQ_KEY": "ID", "RETRY_TOPIC": "orders", "DELAY": "6"}
    assert world.master.of(SEND)[-1].command.body == b"body"
    assert instance.inner_producer.publish_topics() == {RETRY}
    await instance.stop()


@pytest.mark.feature("K16")
@virtual_time
async def test_brokers_are_told_of_its_group() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = await started(world)
    await instance.register_consumer(FakeConsumer(topics=["orders"]))
    await asyncio.sleep(31)
    assert [producer.group_name for producer in heartbeats(world.master)[-1].producer_data_set] == ["CLIENT_INNER_PRODUCER"]
    await instance.stop()


@pytest.mark.feature("K16")
@virtual_time
async def test_a_plain_topic_keeps_its_counts_in_the_properties_and_a_missing_topic_is_created() -> None:
    world = World()
    world.routes["TBW102"] = route(8, perm=7)
    world.master.answer(SEND, ResponseCode.FLUSH_DISK_TIMEOUT, header=STORED)
    instance = await started(world)
    result = await instance.inner_producer.send("new", b"x", {"RECONSUME_TIME": "3"})
    assert result.status is SendStatus.FLUSH_DISK_TIMEOUT
    assert result.message_id == STORED["msgId"]
    header = header_of(world.master)
    assert (header.reconsume_times, header.max_reconsume_times) == (0, None)
    assert (header.default_topic, header.default_topic_queue_nums) == ("TBW102", 4)
    assert decode_properties(header.properties or "") == {"RECONSUME_TIME": "3"}
    await instance.stop()


@pytest.mark.feature("K16")
@virtual_time
async def test_a_failed_try_goes_on_with_another_broker() -> None:
    world = World()
    world.routes[RETRY] = TopicRouteData(
        (QueueData("broker-a", 8, 8), QueueData("broker-b", 1, 1)),
        (BrokerData("C", "broker-a", {0: MASTER}), BrokerData("C", "broker-b", {0: "b:1"})),
    )
    other = world.make_broker("b:1")
    world.master.answer(SEND, ResponseCode.SYSTEM_BUSY, "busy")
    other.answer(SEND, header=STORED)
    instance = await started(world)
    for count in range(1, 5):
        assert (await instance.inner_producer.send(RETRY, b"x", {})).queue.broker_name == "broker-b"
        assert len(world.master.of(SEND)) <= count, "the broker that failed is not tried twice"
    await instance.stop()


@pytest.mark.feature("K16")
@virtual_time
async def test_what_is_said_when_no_try_works() -> None:
    world = World()
    world.routes[RETRY] = route(1)
    world.master.answer(SEND, ResponseCode.SYSTEM_BUSY, "busy")
    instance = await started(world)
    with pytest.raises(SendError, match="busy") as busy:
        await instance.inner_producer.send(RETRY, b"x", {})
    assert (len(busy.value.attempts), busy.value.maybe_stored, busy.value.code) == (3, False, 2)
    assert busy.value.broker == "broker-a"

    world.master.silent = True
    began = asyncio.get_running_loop().time()
    with pytest.raises(SendError) as silent:
        await instance.inner_producer.send(RETRY, b"x", {}, timeout=2)
    assert asyncio.get_running_loop().time() - began == pytest.approx(2, abs=0.1)
    assert silent.value.maybe_stored is True
    assert silent.value.code is None

    world.master.refuse = True
    world.master.drop()
    await asyncio.sleep(0.1)
    with pytest.raises(SendError, match="refused") as refused:
        await instance.inner_producer.send(RETRY, b"x", {})
    assert refused.value.maybe_stored is False
    with pytest.raises(RouteError):
        await instance.inner_producer.send("unknown", b"x", {})
    await instance.stop()


@pytest.mark.feature("K16")
@virtual_time
async def test_a_broker_without_a_master_is_an_error_that_names_it() -> None:
    world = World()
    world.routes[RETRY] = route(1)
    instance = await started(world)
    await instance.routes.fetch(RETRY)
    world.routes[RETRY] = TopicRouteData((QueueData("broker-a", 1, 1),), (BrokerData("C", "broker-a", {1: "s:1"}),), "broker-a:1")
    await instance.routes.update(RETRY)
    with pytest.raises(SendError, match="broker 'broker-a' has no master address in the route of topic"):
        await instance.inner_producer.send(RETRY, b"x", {})
    await instance.stop()


@pytest.mark.feature("K16")
@virtual_time
async def test_doubt_of_one_try_outlasts_those_that_were_not_sent() -> None:
    world = World()
    world.routes[RETRY] = route(1)

    def take_and_die(request: RemotingCommand, connection: PeerConnection) -> None:
        world.master.refuse = True
        world.master.drop()

    world.master.on(SEND, take_and_die)
    instance = await started(world)
    with pytest.raises(SendError, match="refused") as caught:
        await instance.inner_producer.send(RETRY, b"x", {})
    assert len(caught.value.attempts) == 3
    assert caught.value.maybe_stored is True, "the first try was sent, and nobody knows what became of it"
    await instance.stop()
