"""Replies: handed to the connection of the client that waits, stored, and answered when both are done."""

from __future__ import annotations

import pytest

from aiorocketmq.errors import ConnectionLostError
from aiorocketmq.protocol.bodies import HeartbeatData, ProducerData
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_admin import DeleteTopicRequestHeader
from aiorocketmq.protocol.headers_client import ReplyMessageRequestHeader, SendMessageRequestHeader
from tests.unit.server.harness import NOW, BrokerBench, FakeChannel, assert_memory_is_the_database, settle

TOPIC = "DefaultCluster_REPLY_TOPIC"
PROPERTIES = "CORRELATION_ID\x01c\x02REPLY_TO_CLIENT\x01me\x02MSG_TYPE\x01reply\x02"


def reply(topic: str = TOPIC, properties: str = PROPERTIES, queue_id: int = 0) -> SendMessageRequestHeader:
    return SendMessageRequestHeader("responders", topic, "TBW102", 4, queue_id, 0, NOW, 0, properties, reconsume_times=0, batch=False)


async def register(bench: BrokerBench, client_id: str = "me") -> FakeChannel:
    channel = FakeChannel("127.0.0.1:50100")
    beat = HeartbeatData(client_id=client_id, producer_data_set=[ProducerData("askers")])
    assert (await bench.ask(RequestCode.HEART_BEAT, body=beat.encode(), channel=channel)).code == 0
    return channel


@pytest.mark.feature("D6", "D7")
@pytest.mark.parametrize("short", [True, False])
async def test_a_reply_is_handed_over_stored_and_then_answered(bench: BrokerBench, short: bool) -> None:
    asker, responder = await register(bench), FakeChannel("127.0.0.1:50200")
    code = RequestCode.SEND_REPLY_MESSAGE_V2 if short else RequestCode.SEND_REPLY_MESSAGE
    header = reply().to_v2() if short else reply()
    assert bench.handle(RemotingCommand.request(code, header, b"pong"), responder) is None
    (push,) = asker.sent
    handed = ReplyMessageRequestHeader.from_ext(push.ext_fields)
    assert (push.code, push.body, push.is_oneway) == (RequestCode.PUSH_REPLY_MESSAGE_TO_CLIENT, b"pong", False)
    assert (handed.topic, handed.producer_group, handed.born_host, handed.store_host) == (
        TOPIC, "responders", "127.0.0.1:50200", "127.0.0.1:10911",
    )  # fmt: skip
    assert handed.properties == f"{PROPERTIES}PUSH_REPLY_TIME\x01{NOW}\x02"
    await settle()
    assert responder.replies == [], "not before the client has it"
    asker.waiters[0].on_response(RemotingCommand.response(push))
    (answer,) = responder.replies
    assert (answer.code, answer.ext_fields["queueId"], answer.ext_fields["queueOffset"]) == (0, "0", "0")
    assert await bench.bodies(TOPIC) == [b"pong"]


@pytest.mark.feature("D6")
@pytest.mark.parametrize("how", ["refuses", "is lost", "is unknown", "is not named"])
async def test_a_reply_that_nobody_takes_is_stored_and_its_sender_is_told(bench: BrokerBench, how: str) -> None:
    asker, responder = await register(bench, "other" if how == "is unknown" else "me"), FakeChannel()
    properties = "" if how == "is not named" else PROPERTIES
    bench.handle(RemotingCommand.request(RequestCode.SEND_REPLY_MESSAGE_V2, reply(properties=properties).to_v2(), b"pong"), responder)
    await settle()
    if how == "refuses":
        asker.waiters[0].on_response(RemotingCommand.response(asker.sent[0], ResponseCode.SYSTEM_ERROR, "no"))
    elif how == "is lost":
        asker.waiters[0].on_error(ConnectionLostError("gone"))
    (answer,) = responder.replies
    assert answer.code == ResponseCode.SYSTEM_ERROR
    assert (
        answer.remark
        == {
            "refuses": "push reply message to mefail.",
            "is lost": "push reply message to mefail.",
            "is unknown": "push reply message fail, channel of <me> not found.",
            "is not named": "reply message properties[REPLY_TO_CLIENT] is null",
        }[how]
    )
    assert answer.ext_fields["queueOffset"] == "0"
    assert await bench.bodies(TOPIC) == [b"pong"]


@pytest.mark.feature("D6")
async def test_a_reply_to_a_topic_that_goes_is_refused(bench: BrokerBench) -> None:
    assert (await bench.send("t", b"x")).code == 0
    bench.handle(RemotingCommand.request(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader("t")), FakeChannel())
    refused = bench.handle(RemotingCommand.request(RequestCode.SEND_REPLY_MESSAGE_V2, reply("t").to_v2(), b"pong"), FakeChannel())
    assert refused is not None and refused.code == ResponseCode.TOPIC_NOT_EXIST
    await settle()
    assert bench.state.store.bounds("t", 0) == (0, 0)
    assert_memory_is_the_database(bench)


@pytest.mark.feature("D6")
async def test_replies_that_cannot_be_stored_are_refused_and_not_handed_over(bench: BrokerBench) -> None:
    asker = await register(bench)
    for header, body, code in (
        (reply("nowhere"), b"x", ResponseCode.TOPIC_NOT_EXIST),
        (reply(), b"", ResponseCode.MESSAGE_ILLEGAL),
        (reply(queue_id=7), b"x", ResponseCode.INVALID_PARAMETER),
        (reply(properties="a\x01" + "x" * 32_766 + "\x02"), b"x", ResponseCode.MESSAGE_ILLEGAL),
    ):
        answer = await bench.ask(RequestCode.SEND_REPLY_MESSAGE_V2, header.to_v2(), body)
        assert answer.code == code
    assert asker.sent == []
    assert await bench.bodies(TOPIC) == []


@pytest.mark.feature("D6")
async def test_a_client_that_acknowledges_nothing_gets_no_more_than_a_bounded_part_of_memory(bench: BrokerBench) -> None:
    asker, responder = await register(bench), FakeChannel()

    async def send() -> None:
        command = RemotingCommand.request(RequestCode.SEND_REPLY_MESSAGE_V2, reply().to_v2(), bytes(4 * 1024 * 1024))
        assert bench.handle(command, responder) is None
        await settle()

    for _ in range(20):
        await send()
    assert len(asker.waiters) == 15
    assert len(responder.replies) == 5
    assert "push reply message to mefail. 127.0.0.1:50100 has not answered questions of 629" in (responder.replies[0].remark or "")
    asker.waiters[0].on_response(RemotingCommand.response(asker.sent[0]))
    asker.waiters[1].on_error(ConnectionLostError("gone"))
    await send()
    await send()
    assert len(asker.waiters) == 17
    for waiter in asker.waiters[2:]:
        waiter.on_error(ConnectionLostError("gone"))
    assert [answer.code for answer in responder.replies].count(0) == 1 and len(responder.replies) == 22
    for _ in range(15):
        await send()
    assert len(asker.waiters) == 32, "nothing of it is left"
    for waiter in asker.waiters[17:]:
        waiter.on_error(ConnectionLostError("gone"))
