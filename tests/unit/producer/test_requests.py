"""Requests on scripted brokers: who is told before the first one, and every way in which one can end."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.client.replies import expired, reply_to
from aiorocketmq.model import properties as props
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.headers_client import ReplyMessageRequestHeader, SendMessageRequestHeaderV2
from tests.support.virtual_loop import virtual_time
from tests.support.waiting import eventually
from tests.unit.producer.world import TOPIC, Broker, SendWorld
from tests.wire.world import heartbeats

HEARTBEAT = RequestCode.HEART_BEAT
PUSH = RequestCode.PUSH_REPLY_MESSAGE_TO_CLIENT
REPLIES = "DefaultCluster_REPLY_TOPIC"


def pushed(properties: str, *, sys_flag: int = 0, host: str = "/192.0.2.7:4000") -> ReplyMessageRequestHeader:
    return ReplyMessageRequestHeader(
        producer_group="responders",
        topic=REPLIES,
        default_topic="TBW102",
        default_topic_queue_nums=4,
        queue_id=0,
        sys_flag=sys_flag,
        born_timestamp=5,
        flag=9,
        born_host=host,
        store_host="192.0.2.8:10911",
        store_timestamp=6,
        properties=properties,
    )


def properties_of(header: SendMessageRequestHeaderV2) -> dict[str, str]:
    return props.decode_properties(header.properties or "")


async def asked(broker: Broker, count: int = 1) -> dict[str, str]:
    """The properties of the request that a broker gets as its so many-eth send."""
    await eventually(lambda: len(broker.sends) >= count)
    return properties_of(broker.headers[count - 1])


async def answer(broker: Broker, request: dict[str, str], body: bytes = b"pong") -> int:
    """Hand a reply to whoever has asked; gives back the code of the acknowledgement."""
    text = props.encode_properties({name: request[name] for name in ("CORRELATION_ID", "REPLY_TO_CLIENT", "TTL")} | {"MSG_TYPE": "reply"})
    return (await broker.peer.push(PUSH, pushed(text), body))[0].code


@pytest.mark.feature("D1", "D4", "N7")
@virtual_time
async def test_the_request_names_itself_who_waits_and_how_long(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    world.route_to("broker-a", topic=REPLIES)
    async with world.producer() as producer:
        waiting = asyncio.ensure_future(producer.request(rmq.Message(TOPIC, b"ping", properties={"own": "1"}), timeout=1.5))
        request = await asked(broker)
        assert (request["REPLY_TO_CLIENT"], request["TTL"], request["own"]) == (producer.client_id, "1500", "1")
        assert await answer(broker, request) == ResponseCode.SUCCESS
        reply = await waiting
        assert (reply.body, reply.topic, reply.flag, reply.born_host, reply.store_host) == (
            b"pong", REPLIES, 9, "192.0.2.7:4000", "192.0.2.8:10911",
        )  # fmt: skip
        assert (reply.born_timestamp, reply.store_timestamp) == (5, 6)
        assert reply.properties["CORRELATION_ID"] == request["CORRELATION_ID"]
        assert world.instances[0].replies._waiting == {}


@pytest.mark.feature("D4")
@virtual_time
async def test_every_master_of_the_cluster_is_told_before_the_first_request(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    other = world.route_to("broker-a", "broker-b", topic=REPLIES)[1]
    told_before: list[int] = []
    async with world.producer() as producer:
        waiting = asyncio.ensure_future(producer.request(rmq.Message(TOPIC, b"ping"), timeout=2.0))
        await asked(broker)
        told_before += [len(heartbeats(each.peer)) for each in (broker, other)]
        assert min(told_before) >= 1, "a broker that may be given the reply does not know who waits for it"
        assert heartbeats(other.peer)[0].client_id == producer.client_id
        await answer(other, properties_of(broker.headers[0]))
        await waiting
        again = asyncio.ensure_future(producer.request(rmq.Message(TOPIC, b"ping"), timeout=2.0))
        await answer(broker, await asked(broker, 2))
        await again
        assert [len(heartbeats(each.peer)) for each in (broker, other)] == told_before, "they knew"
        other.down()
        other.up()
        await asyncio.sleep(0.1)
        third = asyncio.ensure_future(producer.request(rmq.Message(TOPIC, b"ping"), timeout=2.0))
        request = await asked(broker, 3)
        assert len(heartbeats(other.peer)) > told_before[1], "with the connection it has forgotten who waits"
        await answer(broker, request)
        await third


@pytest.mark.feature("D4")
@virtual_time
async def test_a_broker_that_joined_is_told_before_the_next_request(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    world.route_to("broker-a", topic=REPLIES)
    async with world.producer() as producer:
        first = asyncio.ensure_future(producer.request(rmq.Message(TOPIC, b"ping"), timeout=2.0))
        await answer(broker, await asked(broker))
        await first
        joined = world.route_to("broker-a", "broker-b")[1]
        world.route_to("broker-a", "broker-b", topic=REPLIES)
        for topic in (TOPIC, REPLIES):
            assert await world.instances[0].routes.update(topic)
        assert heartbeats(joined.peer) == []
        to_the_old_one = MessageQueue(TOPIC, "broker-a", 0)
        second = asyncio.ensure_future(producer.request(rmq.Message(TOPIC, b"ping"), queue=to_the_old_one, timeout=2.0))
        request = await asked(broker, 2)
        assert [beat.client_id for beat in heartbeats(joined.peer)] == [producer.client_id], "it may be given the reply"
        await answer(joined, request)
        await second


@pytest.mark.feature("D4")
@virtual_time
async def test_a_cluster_without_a_topic_for_replies_still_gets_the_request(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        waiting = asyncio.ensure_future(producer.request(rmq.Message(TOPIC, b"ping"), timeout=2.0))
        await answer(broker, await asked(broker))
        assert (await waiting).body == b"pong"


@pytest.mark.feature("D1", "D8")
@virtual_time
async def test_nobody_replies(world: SendWorld, caplog: pytest.LogCaptureFixture) -> None:
    (broker,) = world.route_to("broker-a")
    loop = asyncio.get_running_loop()
    async with world.producer() as producer:
        began = loop.time()
        with pytest.raises(rmq.ReplyTimeoutError, match=r"within 2\.000 s; it is stored in broker-a:\d at offset 0") as caught:
            await producer.request(rmq.Message(TOPIC, b"ping"), timeout=2.0)
        assert loop.time() - began == pytest.approx(2.0)
        assert caught.value.correlation_id == properties_of(broker.headers[0])["CORRELATION_ID"]
        assert len(broker.sends) == 1
        with caplog.at_level(logging.WARNING, "aiorocketmq.client"):
            assert await answer(broker, properties_of(broker.headers[0])) == ResponseCode.SUCCESS
        assert f"the request {caught.value.correlation_id} came too late, or twice" in caplog.text


@pytest.mark.feature("D1")
@virtual_time
async def test_a_request_that_is_not_stored_ends_with_the_error_of_its_send(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.always = ResponseCode.MESSAGE_ILLEGAL
    async with world.producer() as producer:
        with pytest.raises(rmq.MessageRefusedError, match="remark 13"):
            await producer.request(rmq.Message(TOPIC, b"ping"), timeout=2.0)
        broker.always = None
        with pytest.raises(rmq.SendTimeoutError, match="was not confirmed within 2"):
            await producer.request(rmq.Message(TOPIC, b"ping"), timeout=2.0)
        with pytest.raises(rmq.TopicNotFoundError):
            await producer.request(rmq.Message("nowhere", b"ping"), timeout=2.0)
        assert world.instances[0].replies._waiting == {}
        assert producer._dispatcher is not None and producer._dispatcher.window.messages == 0


@pytest.mark.feature("D1")
@virtual_time
async def test_a_reply_that_overtakes_the_confirmation_counts(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.delay = 1.0
    async with world.producer() as producer:
        waiting = asyncio.ensure_future(producer.request(rmq.Message(TOPIC, b"ping"), timeout=5.0))
        await answer(broker, await asked(broker))
        assert (await waiting).body == b"pong"
        assert broker.stored == [b"ping"]


@pytest.mark.feature("D1")
@pytest.mark.parametrize("moment", [0.0, 0.0005, 0.01, 0.5])
@virtual_time
async def test_cancelled_and_stopped_requests_leave_nothing(world: SendWorld, moment: float) -> None:
    world.route_to("broker-a")
    async with world.producer() as producer:
        waiting = asyncio.ensure_future(producer.request(rmq.Message(TOPIC, b"ping"), timeout=5.0))
        await asyncio.sleep(moment)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert world.instances[0].replies._waiting == {}
        stopped = asyncio.ensure_future(producer.request(rmq.Message(TOPIC, b"ping"), timeout=5.0))
        await asyncio.sleep(moment)
        await producer.stop()
        with pytest.raises(rmq.RocketMQError, match="was stopped"):
            await stopped


@pytest.mark.feature("D1")
@virtual_time
async def test_what_cannot_be_a_request_is_refused_at_once(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        for message in (rmq.Message(TOPIC, b"x", delay_level=1), rmq.Message(TOPIC, b"x", delay=5), rmq.Message(TOPIC, b"x", deliver_at=5)):
            with pytest.raises(rmq.InvalidMessageError, match="a request with a delay"):
                await producer.request(message)
        with pytest.raises(rmq.InvalidMessageError, match="not a Message"):
            await producer.request(b"ping")  # type: ignore[arg-type]
        with pytest.raises(rmq.ConfigError, match="timeout"):
            await producer.request(rmq.Message(TOPIC, b"x"), timeout=-1)
        with pytest.raises(rmq.InvalidMessageError, match="properties"):
            await producer.request(rmq.Message(TOPIC, b"x", properties={"large": "x" * 32_200}))
        assert broker.sends == []
    with pytest.raises(rmq.ClientClosedError):
        await producer.request(rmq.Message(TOPIC, b"x"))


@pytest.mark.feature("D7", "N7")
@virtual_time
async def test_replies_that_make_no_sense_are_refused_and_the_next_one_is_taken(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        waiting = asyncio.ensure_future(producer.request(rmq.Message(TOPIC, b"ping"), timeout=5.0))
        request = await asked(broker)
        assert (await broker.peer.push(PUSH, {}))[0].code == ResponseCode.SYSTEM_ERROR
        assert (await broker.peer.push(PUSH, pushed("")))[0].code == ResponseCode.SUCCESS
        text = props.encode_properties({"CORRELATION_ID": request["CORRELATION_ID"]})
        await broker.peer.push(PUSH, pushed(text, sys_flag=1, host="nonsense"), b"no zlib at all")
        reply = await waiting
        assert reply.born_host == "0.0.0.0:0"
        with pytest.raises(rmq.ProtocolError, match="damaged"):
            _ = reply.body


def received(properties: dict[str, str], *, born: int = 1_000) -> ReceivedMessage:
    text = props.encode_properties(properties).encode()
    return ReceivedMessage(TOPIC, b"?", text, MessageQueue(TOPIC, "broker-a", 0), 0, 0, 0, 0, born, bytes(4), 0, 0, bytes(4), 0, 0, 0, 0, 0)


@pytest.mark.feature("D4", "K10")
@virtual_time
async def test_who_waits_for_a_reply_comes_back_to_its_broker(world: SendWorld) -> None:
    """The broker forgets a client with its connection, and would have nobody to hand the reply to."""
    (broker,) = world.route_to("broker-a")
    clock = asyncio.get_running_loop().time
    async with world.producer() as producer:
        await asyncio.sleep(5)  # the first rounds are over
        waiting = asyncio.ensure_future(producer.request(rmq.Message(TOPIC, b"ping"), timeout=20.0))
        request = await asked(broker)
        for times in (1, 2):
            before, began = len(heartbeats(broker.peer)), clock()
            broker.peer.drop()
            await eventually(lambda: len(heartbeats(broker.peer)) > before)  # noqa: B023
            assert clock() - began < 1.0, times
        assert await answer(broker, request) == ResponseCode.SUCCESS
        assert (await waiting).body == b"pong"


@pytest.mark.feature("D4", "K10")
@virtual_time
async def test_who_waits_for_nothing_lets_a_lost_connection_be(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer(topics=[TOPIC]) as producer:
        waiting = asyncio.ensure_future(producer.request(rmq.Message(TOPIC, b"ping"), timeout=5.0))
        await answer(broker, await asked(broker))
        await waiting
        await asyncio.sleep(5)
        broker.peer.close()
        await asyncio.sleep(20)
        assert not broker.peer.connections


@pytest.mark.feature("D5")
@pytest.mark.parametrize("request_", [None, b"?", rmq.Message(TOPIC, b"?")])
@virtual_time
async def test_what_was_not_received_gets_no_reply(world: SendWorld, request_: Any) -> None:
    world.route_to("broker-a")
    async with world.producer() as producer:
        with pytest.raises(rmq.InvalidMessageError, match="is no ReceivedMessage"):
            await producer.reply(request_, b"?")


@pytest.mark.feature("D5")
def test_a_reply_takes_over_what_leads_it_back() -> None:
    wanted = {"CORRELATION_ID": "c", "REPLY_TO_CLIENT": "me", "TTL": "3000"}
    reply = reply_to(received(wanted | {"CLUSTER": "blue", "TAGS": "of the request"}), rmq.Message("any", b"x", tag="own"))
    assert (reply.topic, reply.body, reply.sys_flag) == ("blue_REPLY_TOPIC", b"x", 0)
    assert reply.properties == wanted | {"MSG_TYPE": "reply", "TAGS": "own", "WAIT": "true"}
    with pytest.raises(rmq.InvalidMessageError, match="property CLUSTER"):
        reply_to(received(wanted), b"x")
    with pytest.raises(rmq.InvalidMessageError, match="is no request"):
        reply_to(received({"CLUSTER": "blue"}), b"x")
    with pytest.raises(rmq.InvalidMessageError, match="delay"):
        reply_to(received(wanted | {"CLUSTER": "blue"}), rmq.Message("any", b"x", delay_level=1))
    with pytest.raises(rmq.InvalidMessageError, match="empty"):
        reply_to(received(wanted | {"CLUSTER": "blue"}), b"")


@pytest.mark.feature("D8")
def test_requests_grow_old() -> None:
    assert not expired(received({"TTL": "500"}), 1_500)
    assert expired(received({"TTL": "500"}), 1_501)
    assert not expired(received({}), 10_000_000)
    assert not expired(received({"TTL": "soon"}), 10_000_000)
