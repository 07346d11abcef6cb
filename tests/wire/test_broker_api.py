"""Typed requests to brokers: what goes over the wire, and what answers become."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.errors import (
    BrokerError,
    ConnectError,
    GroupNotExistError,
    OffsetNotFoundError,
    ProtocolError,
    RequestTimeoutError,
    SubscriptionError,
)
from aiorocketmq.model.enums import SerializeType
from aiorocketmq.model.filters import SQL, build_subscription
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.bodies import (
    CheckClientRequestBody,
    GetConsumerListByGroupResponseBody,
    LockBatchRequestBody,
    LockBatchResponseBody,
    UnlockBatchRequestBody,
)
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.message_codec import encode_stored_message
from tests.support.virtual_loop import virtual_time
from tests.wire.world import CLIENT_ID, MASTER, World

QUEUE = MessageQueue("orders", "broker-a", 3)


async def started(world: World, **fields: object) -> ClientInstance:
    instance = world.instance(**fields)
    await instance.start()
    return instance


@pytest.mark.feature("G13", "G14", "G17")
@virtual_time
async def test_offsets_of_a_group() -> None:
    world = World()
    api = (instance := await started(world)).broker_api
    world.master.answer(RequestCode.QUERY_CONSUMER_OFFSET, header={"offset": "42"})
    world.master.answer(RequestCode.UPDATE_CONSUMER_OFFSET)
    assert await api.query_consumer_offset(MASTER, "g", QUEUE, set_zero_if_not_found=False) == 42
    assert world.master.requests[-1].command.ext_fields == {
        "consumerGroup": "g",
        "topic": "orders",
        "queueId": "3",
        "setZeroIfNotFound": "false",
        "bname": "broker-a",
    }
    await api.update_consumer_offset(MASTER, "g", QUEUE, 43)
    sent = world.master.requests[-1].command
    assert (sent.ext_fields["commitOffset"], sent.is_oneway) == ("43", False)
    await api.update_consumer_offset(MASTER, "g", QUEUE, 44, oneway=True)
    [_, sent_oneway] = await world.master.wait_for(RequestCode.UPDATE_CONSUMER_OFFSET, 2)
    assert (sent_oneway.command.ext_fields["commitOffset"], sent_oneway.command.is_oneway) == ("44", True)
    await instance.stop()


@pytest.mark.feature("G13")
@virtual_time
async def test_no_offset_is_its_own_error_and_never_a_number() -> None:
    world = World()
    api = (instance := await started(world)).broker_api
    world.master.answer(RequestCode.QUERY_CONSUMER_OFFSET, ResponseCode.QUERY_NOT_FOUND, "Not found")
    with pytest.raises(OffsetNotFoundError) as missing:
        await api.query_consumer_offset(MASTER, "g", QUEUE)
    assert (missing.value.code, missing.value.broker, missing.value.topic) == (22, "broker-a", "orders")
    world.master.answer(RequestCode.QUERY_CONSUMER_OFFSET)
    with pytest.raises(ProtocolError, match="offset"):
        await api.query_consumer_offset(MASTER, "g", QUEUE)
    world.master.answer(RequestCode.UPDATE_CONSUMER_OFFSET, ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, "no group")
    with pytest.raises(GroupNotExistError):
        await api.update_consumer_offset(MASTER, "g", QUEUE, 1)
    await instance.stop()


@virtual_time
async def test_offsets_of_a_queue() -> None:
    world = World()
    api = (instance := await started(world)).broker_api
    for code in (RequestCode.GET_MAX_OFFSET, RequestCode.GET_MIN_OFFSET, RequestCode.SEARCH_OFFSET_BY_TIMESTAMP):
        world.master.answer(code, header={"offset": str(int(code))})
    world.master.answer(RequestCode.GET_EARLIEST_MSG_STORETIME, header={"timestamp": "-1"})
    assert await api.max_offset(MASTER, QUEUE) == 30
    assert await api.min_offset(MASTER, QUEUE) == 31
    assert await api.search_offset(MASTER, QUEUE, 1234) == 29
    assert await api.search_offset(MASTER, QUEUE, 1234, upper=True) == 29
    lower, upper = [each.command.ext_fields for each in world.master.of(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP)]
    assert (lower["boundaryType"], upper["boundaryType"], upper["timestamp"]) == ("LOWER", "UPPER", "1234")
    assert await api.earliest_store_time(MASTER, QUEUE) == -1
    await instance.stop()


@pytest.mark.feature("G10")
@virtual_time
async def test_queue_locks() -> None:
    world = World()
    api = (instance := await started(world)).broker_api
    other = QUEUE._replace(queue_id=4)
    world.master.answer(RequestCode.LOCK_BATCH_MQ, body=LockBatchResponseBody([QUEUE]).encode())
    world.master.answer(RequestCode.UNLOCK_BATCH_MQ)
    assert await api.lock_batch(MASTER, "g", CLIENT_ID, {QUEUE, other}) == {QUEUE}
    body = LockBatchRequestBody.decode(world.master.requests[-1].command.body)
    assert (body.consumer_group, body.client_id, set(body.mq_set)) == ("g", CLIENT_ID, {QUEUE, other})
    await api.unlock_batch(MASTER, "g", CLIENT_ID, [QUEUE])
    [unlock] = await world.master.wait_for(RequestCode.UNLOCK_BATCH_MQ)
    assert unlock.command.is_oneway
    assert UnlockBatchRequestBody.decode(unlock.command.body).mq_set == [QUEUE]
    await api.unlock_batch(MASTER, "g", CLIENT_ID, [QUEUE], oneway=False)
    assert not world.master.requests[-1].command.is_oneway
    world.master.silent = True
    began = asyncio.get_running_loop().time()
    with pytest.raises(RequestTimeoutError):
        await api.lock_batch(MASTER, "g", CLIENT_ID, [QUEUE])
    assert asyncio.get_running_loop().time() - began == pytest.approx(1.0, abs=0.05)
    await instance.stop()


@pytest.mark.feature("G2")
@virtual_time
async def test_members_of_a_group() -> None:
    world = World()
    api = (instance := await started(world)).broker_api
    world.master.answer(RequestCode.GET_CONSUMER_LIST_BY_GROUP, body=GetConsumerListByGroupResponseBody(["b", "a"]).encode())
    assert await api.consumer_list(MASTER, "g") == ("b", "a")
    world.master.answer(RequestCode.GET_CONSUMER_LIST_BY_GROUP, 1, "no consumer for this group, g")
    with pytest.raises(BrokerError, match="no consumer for this group"):
        await api.consumer_list(MASTER, "g")
    await instance.stop()


@virtual_time
async def test_check_client_config() -> None:
    world = World()
    api = (instance := await started(world)).broker_api
    subscription = build_subscription("orders", SQL("price > "), 1)
    world.master.answer(RequestCode.CHECK_CLIENT_CONFIG, ResponseCode.SUBSCRIPTION_PARSE_FAILED, "bad expression")
    with pytest.raises(SubscriptionError, match="bad expression"):
        await api.check_client_config(MASTER, CLIENT_ID, "g", subscription)
    assert CheckClientRequestBody.decode(world.master.requests[-1].command.body).subscription_data == subscription
    await instance.stop()


@virtual_time
async def test_send_back() -> None:
    world = World()
    api = (instance := await started(world)).broker_api
    world.master.answer(RequestCode.CONSUMER_SEND_MSG_BACK)
    await api.consumer_send_back(
        MASTER,
        "g",
        commit_log_offset=77,
        delay_level=-1,
        origin_topic="orders",
        origin_message_id="ABC",
        max_reconsume_times=16,
        broker_name="broker-a",
    )
    fields = world.master.requests[-1].command.ext_fields
    assert (fields["offset"], fields["delayLevel"], fields["maxReconsumeTimes"]) == ("77", "-1", "16")
    assert (fields["group"], fields["originTopic"], fields["originMsgId"], fields["bname"]) == ("g", "orders", "ABC", "broker-a")
    await instance.stop()


@pytest.mark.feature("O9")
@virtual_time
async def test_a_broker_that_is_not_there() -> None:
    api = (instance := await started(World())).broker_api
    with pytest.raises(ConnectError, match="nowhere:1"):
        await api.max_offset("nowhere:1", QUEUE)
    await instance.stop()


@pytest.mark.feature("O3")
@virtual_time
async def test_the_header_encoding_of_the_configuration_is_used() -> None:
    world = World()
    instance = await started(world, serialize_type=SerializeType.ROCKETMQ)
    world.master.answer(RequestCode.GET_MAX_OFFSET, header={"offset": "1"})
    assert await instance.broker_api.max_offset(MASTER, QUEUE) == 1
    assert world.master.requests[-1].command.serialize_type is SerializeType.ROCKETMQ
    await instance.stop()


@pytest.mark.feature("Q67")
@virtual_time
async def test_stream_clients_mark_their_requests() -> None:
    world = World()
    world.master.answer(RequestCode.GET_MAX_OFFSET, header={"offset": "1"})
    for stream, mark in ((True, "0"), (False, None)):
        instance = await started(world, enable_stream_request_type=stream)
        await instance.broker_api.max_offset(MASTER, QUEUE)
        assert world.master.requests[-1].command.ext_fields.get("ReqT") == mark
        await instance.stop()


@pytest.mark.feature("Q59")
@virtual_time
async def test_calls_without_a_timeout_take_the_configured_one() -> None:
    world = World()
    world.master.silent = True
    instance = await started(world, mq_client_api_timeout=7)
    began = asyncio.get_running_loop().time()
    with pytest.raises(RequestTimeoutError, match="GET_MAX_OFFSET"):
        await instance.broker_api.max_offset(MASTER, QUEUE)
    assert asyncio.get_running_loop().time() - began == pytest.approx(7, abs=0.05)
    await instance.stop()


@pytest.mark.feature("G17")
@pytest.mark.parametrize(("asked", "found"), [(1000, 4), (2000, 4), (2001, 5)])
def test_a_time_after_the_last_message_gives_the_maximum_on_old_brokers_too(asked: int, found: int) -> None:
    """Brokers of the 4.x line name the last message for it."""

    @virtual_time
    async def run() -> None:
        world = World()
        queue = MessageQueue("orders", "broker-a", 0)

        def old(request: RemotingCommand, header: dict[str, str], body: bytes = b"") -> RemotingCommand:
            response = RemotingCommand.response(request, header=header, body=body)
            response.version = 399
            return response

        last = encode_stored_message(
            "orders", b"x", b"", queue_id=0, queue_offset=4, commit_log_offset=0, born_timestamp=1, born_ip=b"\x7f\0\0\1", born_port=1,
            store_timestamp=2000, store_ip=b"\x7f\0\0\1", store_port=1,
        )  # fmt: skip
        world.master.on(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, lambda request, _: old(request, {"offset": "4"}))
        world.master.on(RequestCode.GET_MAX_OFFSET, lambda request, _: old(request, {"offset": "5"}))
        limits = {"suggestWhichBrokerId": "0", "nextBeginOffset": "5", "minOffset": "4", "maxOffset": "5"}
        world.master.on(RequestCode.PULL_MESSAGE, lambda request, _: old(request, limits, last))
        instance = world.instance()
        await instance.start()
        try:
            assert await instance.broker_api.search_offset(MASTER, queue, asked) == found
        finally:
            await instance.stop()

    run()


@pytest.mark.feature("L12")
@virtual_time
async def test_every_request_names_the_second_namespace() -> None:
    world = World()
    api = (instance := await started(world, namespace_v2="tenant")).broker_api
    world.master.answer(RequestCode.QUERY_CONSUMER_OFFSET, header={"offset": "42"})
    assert await api.query_consumer_offset(MASTER, "g", QUEUE, set_zero_if_not_found=False) == 42
    sent = world.master.requests[-1].command.ext_fields
    assert (sent["ns"], sent["nsd"]) == ("tenant", "true")
    await instance.stop()
