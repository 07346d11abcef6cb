"""Heartbeats, members, locks, offsets, searches, queries."""

from __future__ import annotations

import pytest

from aiorocketmq.errors import ServiceNotAvailableError
from aiorocketmq.model.enums import ConsumeType, MessageModel
from aiorocketmq.model.filters import SQL, SubscriptionData, build_subscription
from aiorocketmq.model.offset_id import OffsetMessageId
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.bodies import (
    CheckClientRequestBody,
    ConsumerData,
    GetConsumerListByGroupResponseBody,
    HeartbeatData,
    LockBatchRequestBody,
    LockBatchResponseBody,
    ProducerData,
    SubscriptionGroupConfig,
    TopicConfig,
    UnlockBatchRequestBody,
)
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import (
    GetConsumerListByGroupRequestHeader,
    GetEarliestMsgStoretimeRequestHeader,
    GetMaxOffsetRequestHeader,
    GetMinOffsetRequestHeader,
    QueryConsumerOffsetRequestHeader,
    QueryMessageRequestHeader,
    SearchOffsetRequestHeader,
    UnregisterClientRequestHeader,
    UpdateConsumerOffsetRequestHeader,
    ViewMessageRequestHeader,
)
from aiorocketmq.protocol.message_codec import decode_messages
from tests.unit.server.harness import NOW, BrokerBench, FakeChannel, settle


def heartbeat(
    client_id: str,
    *topics: str,
    model: MessageModel = MessageModel.CLUSTERING,
    group: str = "g",
    fingerprint: int = 0,
    short: bool = False,
    version: int = 1,
) -> bytes:
    subscriptions = [build_subscription(topic, "*", version) for topic in topics]
    consumer = ConsumerData(group, ConsumeType.CONSUME_PASSIVELY, model, subscription_data_set=[] if short else subscriptions)
    return HeartbeatData(client_id, [ProducerData("p")], [consumer], fingerprint, short).encode()


async def beat(bench: BrokerBench, channel: FakeChannel, body: bytes) -> RemotingCommand:
    answer = await bench.ask(RequestCode.HEART_BEAT, None, body, channel=channel)
    assert answer.code == 0
    return answer


def notices(channel: FakeChannel) -> list[str]:
    """Groups of the change notices since the last call."""
    taken = [command.ext_fields["consumerGroup"] for command in channel.sent if command.code == RequestCode.NOTIFY_CONSUMER_IDS_CHANGED]
    assert all(command.is_oneway for command in channel.sent)
    channel.sent.clear()
    return taken


async def members(bench: BrokerBench, group: str = "g") -> set[str]:
    answer = await bench.ask(RequestCode.GET_CONSUMER_LIST_BY_GROUP, GetConsumerListByGroupRequestHeader(group))
    if answer.code != 0:
        assert answer.code == ResponseCode.SYSTEM_ERROR
        return set()
    return set(GetConsumerListByGroupResponseBody.decode(answer.body).consumer_id_list)


async def test_members_and_notices(bench: BrokerBench) -> None:
    first, second = FakeChannel("127.0.0.1:1"), FakeChannel("127.0.0.1:2")
    await beat(bench, first, heartbeat("a", "t", "%RETRY%g"))
    assert notices(first) == ["g"], "the newcomer is told too"
    await beat(bench, second, heartbeat("b", "t", "%RETRY%g"))
    assert notices(first) == notices(second) == ["g"]
    assert await members(bench) == {"a", "b"}
    await beat(bench, first, heartbeat("a", "t", "%RETRY%g", version=2))
    assert notices(first) == notices(second) == [], "nothing changed"
    bench.state.clients.channel_closed(first)  # type: ignore[arg-type]
    assert notices(second) == ["g"] and await members(bench) == {"b"}
    await bench.ask(RequestCode.UNREGISTER_CLIENT, UnregisterClientRequestHeader("b", None, "g"), channel=second)
    assert await members(bench) == set()


async def test_a_member_with_an_older_subscription_does_not_take_the_newer_one_back(bench: BrokerBench) -> None:
    await bench.send("t")
    newer, older = FakeChannel("127.0.0.1:1"), FakeChannel("127.0.0.1:2")
    await beat(bench, newer, heartbeat("a", "t", version=5))
    await beat(bench, older, heartbeat("b", "t", version=3))
    for version, code in ((3, ResponseCode.SUCCESS), (5, ResponseCode.SUCCESS), (6, ResponseCode.SUBSCRIPTION_NOT_LATEST)):
        assert (await bench.pull("t", group="g", version=version, inline=False)).code == code, version


async def test_the_retry_topic_comes_with_the_first_heartbeat(bench: BrokerBench) -> None:
    await beat(bench, FakeChannel(), heartbeat("a", "t"))
    await settle()
    assert bench.state.topics.require("%RETRY%g").write_queue_nums == 1
    assert "%RETRY%g" in bench.changed_topics


async def test_the_retry_topic_comes_without_queues_where_the_group_is_to_have_none(bench: BrokerBench) -> None:
    bench.state.groups.put(SubscriptionGroupConfig("g", retry_queue_nums=0))
    await beat(bench, FakeChannel(), heartbeat("a", "t"))
    await settle()
    assert bench.state.topics.require("%RETRY%g").write_queue_nums == 0


async def test_a_lost_member_is_told_of_where_others_are_not(bench: BrokerBench) -> None:
    bench.state.groups.put(SubscriptionGroupConfig("quiet", notify_consumer_ids_changed_enable=False))
    first, second = FakeChannel(), FakeChannel("127.0.0.1:2")
    await beat(bench, first, heartbeat("a", "t", group="quiet"))
    await beat(bench, second, heartbeat("b", "t", group="quiet"))
    assert notices(first) == []
    bench.state.clients.channel_closed(second)  # type: ignore[arg-type]
    assert notices(first) == ["quiet"]


async def test_the_last_heartbeat_decides_the_groups_topics(bench: BrokerBench) -> None:
    first, second = FakeChannel(), FakeChannel()
    await beat(bench, first, heartbeat("a", "t1", "t2"))
    await beat(bench, second, heartbeat("b", "t1"))
    group = bench.state.clients.consumer_group("g")
    assert group is not None and set(group.subscriptions) == {"t1"}
    assert notices(first) == ["g", "g"]


async def test_broadcasting_and_switched_off_groups_get_no_notices(bench: BrokerBench) -> None:
    channel = FakeChannel()
    await beat(bench, channel, heartbeat("a", "t", model=MessageModel.BROADCASTING))
    bench.state.groups.put(SubscriptionGroupConfig("quiet", notify_consumer_ids_changed_enable=False))
    await beat(bench, channel, heartbeat("a", "t", group="quiet"))
    assert notices(channel) == []


async def test_clients_without_heartbeats_are_forgotten(bench: BrokerBench) -> None:
    silent, alive = FakeChannel("127.0.0.1:1"), FakeChannel("127.0.0.1:2")
    await beat(bench, silent, heartbeat("a", "t"))
    await beat(bench, alive, heartbeat("b", "t"))
    bench.clock.advance(100)
    await beat(bench, alive, heartbeat("b", "t"))
    bench.state.clients.expire()
    assert await members(bench) == {"a", "b"}
    bench.clock.advance(21)
    bench.state.clients.expire()
    assert await members(bench) == {"b"} and silent.closed and not alive.closed
    assert len(bench.state.clients.producers["p"]) == 1


async def test_short_heartbeats(bench: BrokerBench) -> None:
    channel = FakeChannel()
    first = await beat(bench, channel, heartbeat("a", "t", fingerprint=7))
    assert first.ext_fields == {"IS_SUPPORT_HEART_BEAT_V2": "true", "IS_SUB_CHANGE": "false"}
    assert (await beat(bench, channel, heartbeat("a", "t", fingerprint=7, short=True))).ext_fields["IS_SUB_CHANGE"] == "false"
    group = bench.state.clients.consumer_group("g")
    assert group is not None and set(group.subscriptions) == {"t"}
    assert (await beat(bench, channel, heartbeat("a", "t", "u", fingerprint=8))).ext_fields["IS_SUB_CHANGE"] == "true"
    unknown = await beat(bench, FakeChannel(), heartbeat("a", "t", group="new", fingerprint=9, short=True))
    assert unknown.ext_fields["IS_SUB_CHANGE"] == "true", "a broker that does not know the subscriptions asks for them"
    assert (await beat(bench, channel, heartbeat("a", "t"))).ext_fields["IS_SUB_CHANGE"] == "true"


@pytest.mark.parametrize("leaves", ["by a goodbye", "by its connection"])
async def test_a_group_that_comes_back_begins_anew(bench: BrokerBench, leaves: str) -> None:
    first = FakeChannel("127.0.0.1:1")
    await beat(bench, first, heartbeat("a", "t", fingerprint=7))
    if leaves == "by a goodbye":
        await bench.ask(RequestCode.UNREGISTER_CLIENT, UnregisterClientRequestHeader("a", None, "g"), channel=first)
    else:
        bench.state.clients.channel_closed(first)  # type: ignore[arg-type]
    again = await beat(bench, FakeChannel("127.0.0.1:2"), heartbeat("b", "u", fingerprint=8))
    assert again.ext_fields["IS_SUB_CHANGE"] == "false", "nothing was known that could have changed"


async def test_groups_that_may_not_be_made(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(auto_create_groups=False)
    await beat(bench, FakeChannel(), heartbeat("a", "t"))
    assert await members(bench) == set()


async def test_client_checks(bench: BrokerBench) -> None:
    tag = CheckClientRequestBody("c", "g", build_subscription("t", "A", 1))
    assert (await bench.ask(RequestCode.CHECK_CLIENT_CONFIG, None, tag.encode())).code == 0
    sql = CheckClientRequestBody("c", "g", build_subscription("t", SQL("a > 1"), 1))
    assert (await bench.ask(RequestCode.CHECK_CLIENT_CONFIG, None, sql.encode())).code == 0
    for subscription, words in (
        (build_subscription("t", SQL("a > AND"), 1), "column 5: a property, a number"),
        (SubscriptionData("t", "a", expression_type="XPATH"), "'XPATH' is unknown"),
    ):
        body = CheckClientRequestBody("c", "g", subscription)
        refused = await bench.ask(RequestCode.CHECK_CLIENT_CONFIG, None, body.encode())
        assert refused.code == ResponseCode.SUBSCRIPTION_PARSE_FAILED and words in (refused.remark or "")


# -- locks ------------------------------------------------------------------------------------------------------------

QUEUES = [MessageQueue("t", "broker-a", number) for number in range(3)]


async def lock(bench: BrokerBench, client: str, queues: list[MessageQueue]) -> set[int]:
    answer = await bench.ask(RequestCode.LOCK_BATCH_MQ, None, LockBatchRequestBody("g", client, queues).encode())
    return {queue.queue_id for queue in LockBatchResponseBody.decode(answer.body).lock_ok_mq_set}


async def test_locks(bench: BrokerBench) -> None:
    assert await lock(bench, "a", QUEUES[:2]) == {0, 1}
    assert await lock(bench, "b", QUEUES) == {2}
    bench.clock.advance(59)
    assert await lock(bench, "a", QUEUES[:1]) == {0}
    bench.clock.advance(2)
    assert await lock(bench, "b", QUEUES) == {1, 2}, "60 s after its last renewal a lock falls"
    body = UnlockBatchRequestBody("g", "b", QUEUES).encode()
    assert (await bench.ask(RequestCode.UNLOCK_BATCH_MQ, None, body)).code == 0
    assert await lock(bench, "c", QUEUES) == {1, 2}, "one's own locks only"


# -- offsets ----------------------------------------------------------------------------------------------------------


async def commit(bench: BrokerBench, group: str, offset: int, topic: str = "t") -> RemotingCommand:
    return await bench.ask(RequestCode.UPDATE_CONSUMER_OFFSET, UpdateConsumerOffsetRequestHeader(group, topic, 0, offset))


async def query(bench: BrokerBench, *, zero: bool | None = None) -> RemotingCommand:
    return await bench.ask(RequestCode.QUERY_CONSUMER_OFFSET, QueryConsumerOffsetRequestHeader("g", "t", 0, zero))


async def test_commits(bench: BrokerBench) -> None:
    await bench.send("t")
    assert (await commit(bench, "g", 1)).code == ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, "a commit makes no group"
    bench.state.groups.find("g")
    assert (await commit(bench, "g", 1, "missing")).code == ResponseCode.TOPIC_NOT_EXIST
    assert (await commit(bench, "g", 5)).code == 0
    assert (await query(bench)).ext_fields["offset"] == "5"
    assert (await commit(bench, "g", 2)).code == 0
    assert (await query(bench)).ext_fields["offset"] == "2", "back is allowed"
    bench.state.offsets.reset("g", "t", 0, 1)
    ignored = await commit(bench, "g", 9)
    assert (ignored.code, ignored.remark) == (0, "Offset has been previously reset")
    assert (await query(bench)).ext_fields["offset"] == "1"


async def test_a_commit_is_acknowledged_after_it_is_stored(bench: BrokerBench) -> None:
    await bench.send("t")
    bench.state.groups.find("g")
    await settle()
    bench.state.store.inject_error = "full"
    failed = await commit(bench, "g", 1)
    assert failed.code == ServiceNotAvailableError.default_code
    bench.state.store.inject_error = ""
    await commit(bench, "g", 1)
    assert list(bench.state.store.offsets()) == [("g", "t", 0, 1)]


async def test_a_group_that_is_new_on_a_young_topic_starts_at_zero(bench: BrokerBench) -> None:
    bench.state.groups.find("g")
    assert (await query(bench)).code == ResponseCode.QUERY_NOT_FOUND, "there is nothing yet"
    await bench.send("t")
    assert (await query(bench)).ext_fields["offset"] == "0"
    assert (await query(bench, zero=False)).code == ResponseCode.QUERY_NOT_FOUND


async def test_an_old_topic_has_no_such_zero(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(recent_bytes=1000)
    for _ in range(20):
        await bench.send("t", bytes(100))
    assert (await query(bench)).code == ResponseCode.QUERY_NOT_FOUND


async def test_bounds_and_times(bench: BrokerBench) -> None:
    for seconds in (0, 10, 0, 10):
        bench.clock.advance(seconds)
        await bench.send("t")

    async def ask(code: int, header: object, field: str = "offset") -> int:
        return int((await bench.ask(code, header)).ext_fields[field])  # type: ignore[arg-type]

    assert await ask(RequestCode.GET_MAX_OFFSET, GetMaxOffsetRequestHeader("t", 0)) == 4
    assert await ask(RequestCode.GET_MIN_OFFSET, GetMinOffsetRequestHeader("t", 0)) == 0
    assert await ask(RequestCode.GET_EARLIEST_MSG_STORETIME, GetEarliestMsgStoretimeRequestHeader("t", 0), "timestamp") == NOW
    assert await ask(RequestCode.GET_EARLIEST_MSG_STORETIME, GetEarliestMsgStoretimeRequestHeader("t", 1), "timestamp") == -1
    lower = {NOW - 1: 0, NOW: 0, NOW + 1: 1, NOW + 10_000: 1, NOW + 10_001: 3, NOW + 20_000: 3, NOW + 20_001: 4}
    upper = {NOW - 1: 0, NOW: 0, NOW + 9_999: 0, NOW + 10_000: 2, NOW + 19_999: 2, NOW + 20_000: 3, NOW + 99_000: 3}
    for boundary, expected in ((None, lower), ("lower", lower), ("UPPER", upper)):
        for stamp, offset in expected.items():
            assert await ask(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, SearchOffsetRequestHeader("t", 0, stamp, boundary)) == offset


# -- messages ---------------------------------------------------------------------------------------------------------


async def test_views_and_queries(bench: BrokerBench) -> None:
    answers = [
        await bench.send("t", b"%d" % number, properties=f"UNIQ_KEY\x01U{number}\x02KEYS\x01k odd{number % 2}\x02") for number in range(5)
    ]
    where = OffsetMessageId.decode(answers[3].ext_fields["msgId"]).offset
    viewed = await bench.ask(RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader(where))
    assert viewed.code == 0 and b"U3" in viewed.body
    assert (await bench.ask(RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader(where + 1))).code == ResponseCode.SYSTEM_ERROR

    async def find(key: str, limit: int = 32, begin: int = 0, end: int = (1 << 63) - 1, *, unique: bool = False) -> int:
        header = QueryMessageRequestHeader("t", key, limit, begin, end, unique)
        answer = await bench.ask(RequestCode.QUERY_MESSAGE, header)
        assert answer.code in (0, ResponseCode.QUERY_NOT_FOUND)
        return answer.body.count(b"UNIQ_KEY")

    assert await find("odd1") == 2
    assert await find("k") == 5 and await find("k", 2) == 2
    assert await find("U3", 1, unique=True) == 1
    assert await find("k", begin=NOW + 1) == 0
    assert await find("k", end=NOW - 1) == 0
    assert await find("nothing") == 0


async def test_a_retry_topic_is_ordered_as_long_as_the_group_wants_an_ordered_topic(bench: BrokerBench) -> None:
    bench.state.topics.put(TopicConfig("ordered", 1, 1, order=True))
    channel = FakeChannel()
    for number, topic in enumerate(("t", "ordered", "t"), 1):
        await beat(bench, channel, heartbeat("c", topic, version=number))
        await settle()
        assert bench.state.topics.require("%RETRY%g").order is (topic == "ordered")


async def test_queries_answer_as_a_real_broker(bench: BrokerBench) -> None:
    for number in range(70):
        await bench.send("t", properties=f"UNIQ_KEY\x01U{number}\x02KEYS\x01k\x02TAGS\x01{'A' if number % 2 else 'B'}\x02")

    async def find(key: str, limit: int, kind: str | None = None) -> tuple[int, list[str], str]:
        answer = await bench.ask(RequestCode.QUERY_MESSAGE, QueryMessageRequestHeader("t", key, limit, 0, NOW * 2, index_type=kind))
        found = [each.message_id for each in decode_messages(answer.body, broker_name="", max_body=0)]
        return answer.code, found, answer.ext_fields["indexLastUpdateTimestamp"]

    assert await find("k", 3) == (0, ["U67", "U68", "U69"], str(NOW)), "the newest, in the order in which they were stored"
    assert len((await find("k", 1000))[1]) == 64
    nothing = (ResponseCode.QUERY_NOT_FOUND, [], "0")
    assert await find("k", 0) == await find("none", 3) == await find("k", 3, "T") == await find("", 3, "T") == nothing
    assert (await find("A", 2, "T"))[1] == ["U67", "U69"], "by tag"


async def test_a_pull_saves_any_offset_that_it_brings(bench: BrokerBench) -> None:
    await bench.send("t")
    bench.state.groups.find("g")
    await commit(bench, "g", 7)
    assert (await bench.pull("t", group="g", commit=-1)).code == 0
    assert (await query(bench, zero=False)).code == ResponseCode.QUERY_NOT_FOUND


@pytest.mark.parametrize("code", [RequestCode.HEART_BEAT, RequestCode.LOCK_BATCH_MQ, RequestCode.CHECK_CLIENT_CONFIG])
@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'{"clientID":7,"consumerDataSet":{}}', b"{" * 5000])
async def test_broken_bodies_are_answered(bench: BrokerBench, code: int, body: bytes) -> None:
    answer = await bench.ask(code, None, body)
    assert answer.code == ResponseCode.SYSTEM_ERROR and answer.remark
