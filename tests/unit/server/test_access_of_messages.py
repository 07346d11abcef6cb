"""What a request names and what it is about are two things: permissions are about the latter."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping

import pytest

import aiorocketmq as rmq
from aiorocketmq.model import names
from aiorocketmq.model import properties as props
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import Header, RpcHeader
from aiorocketmq.protocol.headers_admin import (
    GetConsumeStatsRequestHeader,
    GetProducerConnectionListRequestHeader,
    QuerySubscriptionByConsumerRequestHeader,
)
from aiorocketmq.protocol.headers_client import (
    ConsumeMessageDirectlyResultRequestHeader,
    ConsumerSendMsgBackRequestHeader,
    EndTransactionRequestHeader,
    SendMessageRequestHeaderV2,
    ViewMessageRequestHeader,
)
from aiorocketmq.protocol.headers_pop import (
    AckMessageRequestHeader,
    BatchAck,
    BatchAckMessageRequestBody,
    ChangeInvisibleTimeRequestHeader,
    NotificationRequestHeader,
    PeekMessageRequestHeader,
    PollingInfoRequestHeader,
    PopMessageRequestHeader,
)
from aiorocketmq.protocol.signing import SigningKey
from aiorocketmq.protocol.sysflag import MessageSysFlag
from aiorocketmq.server.access import AccessRules
from tests.unit.server.harness import NOW, BrokerBench, FakeChannel, MakeBench, settle

SECRET = "canary-of-the-secret"
RULES = {
    "users": [{"name": name, "password": SECRET} for name in ("owner", "other")],
    "policies": [
        {"user": "owner", "resource": ["Topic:private", "Group:owners"], "actions": ["Pub", "Sub", "Get"]},
        {"user": "other", "resource": ["Topic:own", "Group:others"], "actions": ["Pub", "Sub", "Get"]},
    ],
}


class Guarded:
    """A broker with access control, and those who ask it."""

    def __init__(self, bench: BrokerBench) -> None:
        self.bench = bench
        access = bench.state.access
        assert access is not None
        access.load()
        bench.table.authenticate, bench.table.permit = access.authenticate, access.permit
        self._keys = {name: SigningKey(rmq.Credentials(name, SECRET)) for name in ("owner", "other")}

    async def ask(
        self, user: str, code: int, header: Header | Mapping[str, str] | None, body: bytes = b"", *, channel: FakeChannel | None = None
    ) -> RemotingCommand:
        await settle()
        channel = channel or FakeChannel()
        request = RemotingCommand.request(code, header, body)
        self._keys[user].sign(request)
        answer = self.bench.handle(request, channel)
        return answer if answer is not None else await channel.answer()

    async def refused(self, code: int, header: Header | Mapping[str, str], resource: str = "Topic:private") -> None:
        answer = await self.ask("other", code, header)
        assert answer.code == ResponseCode.NO_PERMISSION, answer
        assert f"User:other has no permission to access {resource} from" in (answer.remark or ""), answer.remark

    async def send(self, user: str = "owner", topic: str = "private", **properties: str) -> tuple[int, int, RemotingCommand]:
        """Offset in the log, offset in the queue, answer."""
        half = MessageSysFlag.TRANSACTION_PREPARED if props.TRANSACTION_PREPARED in properties else 0
        header = SendMessageRequestHeaderV2(
            "owners", topic, "TBW102", 4, 0, half, NOW, 0, props.encode_properties(properties), 0, False, None, False
        )
        answer = await self.ask(user, RequestCode.SEND_MESSAGE_V2, header, b"private")
        assert answer.code == 0 or user == "other", answer
        place = answer.ext_fields.get("msgId", "0" * 32)[-16:]
        return int(place, 16), int(answer.ext_fields.get("queueOffset", -1)), answer

    async def heartbeat(self, user: str, channel: FakeChannel) -> None:
        """As a producer of the owner's group, and a consumer of the user's own group."""
        group = f"{user}s"
        consumer = {
            "groupName": group, "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
            "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "subscriptionDataSet": [],
        }  # fmt: skip
        body = {"clientID": user, "producerDataSet": [{"groupName": "owners"}], "consumerDataSet": [consumer]}
        assert (await self.ask(user, RequestCode.HEART_BEAT, {}, json.dumps(body).encode(), channel=channel)).code == 0


@pytest.fixture
async def guarded(make_bench: MakeBench) -> AsyncIterator[Guarded]:
    yield Guarded(make_bench(acl=AccessRules.load(RULES)))


def end(place: tuple[int, int, RemotingCommand], topic: str | None) -> EndTransactionRequestHeader:
    return EndTransactionRequestHeader("owners", place[1], place[0], MessageSysFlag.TRANSACTION_COMMIT, "id", topic=topic)


@pytest.mark.feature("M8")
@pytest.mark.parametrize("delay", [None, "3"], ids=["at once", "delayed"])
async def test_a_message_is_shown_to_those_who_may_read_its_own_topic(guarded: Guarded, delay: str | None) -> None:
    offset, _, answer = await guarded.send(**({props.DELAY: delay} if delay else {}))
    await guarded.refused(RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader(offset, "own"))
    await guarded.refused(RequestCode.CONSUMER_SEND_MSG_BACK, ConsumerSendMsgBackRequestHeader(offset, "others", 0, origin_topic="own"))
    channel = FakeChannel("127.0.0.1:50002")
    await guarded.heartbeat("other", channel)
    await guarded.refused(
        RequestCode.CONSUME_MESSAGE_DIRECTLY,
        ConsumeMessageDirectlyResultRequestHeader("others", "other", answer.ext_fields["msgId"], "broker-a", "own"),
    )
    assert not channel.waiters
    seen = await guarded.ask("owner", RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader(offset, "private"))
    assert seen.code == 0 and b"private" in seen.body
    back = await guarded.ask("owner", RequestCode.CONSUMER_SEND_MSG_BACK, ConsumerSendMsgBackRequestHeader(offset, "owners", 0))
    assert back.code == 0
    nothing = await guarded.ask("other", RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader(10**9, "own"))
    assert nothing.code == ResponseCode.SYSTEM_ERROR


@pytest.mark.feature("M8", "C1")
@pytest.mark.parametrize("named", [None, names.HALF_TOPIC, "own"])
async def test_a_transaction_is_ended_by_those_who_may_send_to_its_topic(guarded: Guarded, named: str | None) -> None:
    place = await guarded.send(**{props.TRANSACTION_PREPARED: "true", props.PRODUCER_GROUP: "owners"})
    await guarded.refused(RequestCode.END_TRANSACTION, end(place, named))
    ended = await guarded.ask("owner", RequestCode.END_TRANSACTION, end(place, None if named == "own" else named))
    assert ended.code == 0
    assert guarded.bench.state.store.bounds("private", 0) == (0, 1)


@pytest.mark.feature("M8", "C4")
async def test_half_messages_are_shown_to_producers_that_may_send_them(guarded: Guarded) -> None:
    strangers, owners = FakeChannel("127.0.0.1:50003"), FakeChannel("127.0.0.1:50004")
    await guarded.heartbeat("other", strangers)
    await guarded.send(**{props.TRANSACTION_PREPARED: "true", props.PRODUCER_GROUP: "owners"})
    bench = guarded.bench
    bench.schedule.start()
    for joined in (False, True):
        if joined:
            await guarded.heartbeat("owner", owners)
        strangers.sent.clear()
        for _ in range(3):
            bench.clock.advance(60)
            bench.schedule.look()
            await settle()
        assert RequestCode.CHECK_TRANSACTION_STATE not in [asked.code for asked in strangers.sent]
    assert [asked.code for asked in owners.sent].count(RequestCode.CHECK_TRANSACTION_STATE) == 3


@pytest.mark.feature("M8", "A21")
async def test_light_queues_are_named_by_those_who_may_send_to_them(guarded: Guarded) -> None:
    *_, answer = await guarded.send("other", "own", **{props.MULTI_DISPATCH: "%LMQ%private"})
    assert answer.code == ResponseCode.NO_PERMISSION and "Topic:%LMQ%private" in (answer.remark or "")
    assert guarded.bench.state.store.bounds("own", 0) == (0, 0)


@pytest.mark.feature("M8")
async def test_questions_about_a_topic_need_the_topic_too(guarded: Guarded) -> None:
    await guarded.refused(RequestCode.GET_CONSUME_STATS, GetConsumeStatsRequestHeader("others", "private"))
    await guarded.refused(RequestCode.GET_CONSUME_STATS, GetConsumeStatsRequestHeader("others", "own", "own;private"))
    await guarded.refused(RequestCode.QUERY_SUBSCRIPTION_BY_CONSUMER, QuerySubscriptionByConsumerRequestHeader("others", "private"))
    await guarded.refused(
        RequestCode.GET_PRODUCER_CONNECTION_LIST, GetProducerConnectionListRequestHeader("owners"), "Cluster:DefaultCluster"
    )
    assert (await guarded.ask("other", RequestCode.GET_CONSUME_STATS, GetConsumeStatsRequestHeader("others"))).code == 0


@pytest.mark.feature("M8", "D6")
@pytest.mark.parametrize("code", [RequestCode.SEND_REPLY_MESSAGE, RequestCode.SEND_REPLY_MESSAGE_V2])
async def test_replies_are_stored_where_their_sender_may_send_or_where_replies_belong(guarded: Guarded, code: int) -> None:
    await guarded.send()
    await guarded.send("other", "own")

    def reply(topic: str) -> Header:
        header = SendMessageRequestHeaderV2("others", topic, "TBW102", 4, 0, 0, NOW, 0, "", 0, False, None, False)
        return header if code == RequestCode.SEND_REPLY_MESSAGE_V2 else header.to_v1()

    await guarded.refused(code, reply("private"))
    await guarded.refused(code, reply(names.HALF_TOPIC), f"Topic:{names.HALF_TOPIC}")
    assert guarded.bench.state.store.bounds("private", 0) == (0, 1)
    for topic in ("own", "DefaultCluster_REPLY_TOPIC"):
        answer = await guarded.ask("other", code, reply(topic), b"stored")
        assert answer.code == ResponseCode.SYSTEM_ERROR and "is null" in (answer.remark or ""), "stored, and nobody waits for it"
        high = 2 if topic == "own" else 1
        assert guarded.bench.state.store.bounds(topic, 0) == (0, high)


@pytest.mark.feature("M8", "H1", "H2", "H4")
async def test_messages_are_taken_and_acknowledged_by_those_who_may_read_topic_and_group(guarded: Guarded) -> None:
    await guarded.send()
    receipt = f"0 {NOW} 60000 0 0 broker-a 0 0"

    def pop(topic: str, group: str) -> PopMessageRequestHeader:
        return PopMessageRequestHeader(group, topic, -1, 32, 60_000, 0, 0, 0)

    def others(topic: str, group: str) -> list[tuple[int, Header]]:
        return [
            (RequestCode.ACK_MESSAGE, AckMessageRequestHeader(group, topic, 0, receipt, 0)),
            (RequestCode.CHANGE_MESSAGE_INVISIBLETIME, ChangeInvisibleTimeRequestHeader(group, topic, 0, receipt, 0, 1)),
        ]

    looks: list[tuple[int, Header]] = [
        (RequestCode.PEEK_MESSAGE, PeekMessageRequestHeader("private", -1, 32, "others")),
        (RequestCode.NOTIFICATION, NotificationRequestHeader("others", "private", -1, 0, 0)),
        (RequestCode.POLLING_INFO, PollingInfoRequestHeader("others", "private", -1)),
    ]
    for code, header in [(RequestCode.POP_MESSAGE, pop("private", "others")), *looks, *others("private", "others")]:
        await guarded.refused(code, header)
    for code, header in [(RequestCode.POP_MESSAGE, pop("own", "owners")), *others("own", "owners")]:
        await guarded.refused(code, header, "Group:owners")
    for code, header in others("%RETRY%others_private", "others"):
        await guarded.refused(code, header)
    assert (await guarded.ask("owner", RequestCode.POP_MESSAGE, pop("private", "owners"))).code == 0
    for topic, group, resource in (("private", "others", "Topic:private"), ("own", "owners", "Group:owners")):
        body = BatchAckMessageRequestBody("broker-a", [BatchAck(group, topic, "0", 0, 0, 0, NOW, 60_000, "AQ==")])
        refused = await guarded.ask("other", RequestCode.BATCH_ACK_MESSAGE, RpcHeader(), body.encode())
        assert refused.code == ResponseCode.NO_PERMISSION and resource in (refused.remark or "")
    for code, header in others("private", "owners"):
        assert (await guarded.ask("owner", code, header)).code == 0
    for code, header in others("%RETRY%owners_private", "owners"):
        answer = await guarded.ask("owner", code, header)
        assert answer.code == ResponseCode.TOPIC_NOT_EXIST, "permitted, but nothing came back so far"
