"""What administrators are told, in the form in which real brokers tell it."""

from __future__ import annotations

from aiorocketmq.model import names
from aiorocketmq.model.enums import ConsumeType, MessageModel
from aiorocketmq.model.filters import build_subscription
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.bodies import (
    ConsumerData,
    ConsumerOffsetWrapper,
    ConsumeStats,
    HeartbeatData,
    LockBatchRequestBody,
    LockBatchResponseBody,
    QueryConsumeTimeSpanBody,
    QuerySubscriptionResponseBody,
    TopicList,
)
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.headers_admin import (
    GetConsumeStatsRequestHeader,
    QueryConsumeTimeSpanRequestHeader,
    QuerySubscriptionByConsumerRequestHeader,
    QueryTopicsByConsumerRequestHeader,
)
from aiorocketmq.protocol.headers_client import UnregisterClientRequestHeader, UpdateConsumerOffsetRequestHeader
from tests.unit.server.harness import NOW, BrokerBench, FakeChannel


async def beat(bench: BrokerBench, channel: FakeChannel, topic: str) -> None:
    consumer = ConsumerData(
        "g", ConsumeType.CONSUME_PASSIVELY, MessageModel.CLUSTERING, "CONSUME_FROM_LAST_OFFSET", [build_subscription(topic, "*", 1)]
    )
    assert (await bench.ask(RequestCode.HEART_BEAT, None, HeartbeatData("c", [], [consumer], 0, False).encode(), channel=channel)).code == 0


async def commit(bench: BrokerBench, offset: int) -> None:
    bench.state.groups.find("g")
    header = UpdateConsumerOffsetRequestHeader("g", "t", 0, offset)
    assert (await bench.ask(RequestCode.UPDATE_CONSUMER_OFFSET, header)).code == 0


async def test_progress_is_of_topics_that_the_group_wants(bench: BrokerBench) -> None:
    await bench.send("t")
    await commit(bench, 1)

    async def topics() -> set[str]:
        answer = await bench.ask(RequestCode.GET_CONSUME_STATS, GetConsumeStatsRequestHeader("g"))
        return {queue.topic for queue in ConsumeStats.decode(answer.body).offset_table}

    assert await topics() == {"t"}
    await beat(bench, FakeChannel(), "other")
    assert await topics() == set(), "it has an offset there, and members that want something else"
    assert (await bench.pull("t", group="g")).code == 0
    assert await topics() == {"t"}, "a pull says what it wants, too"


async def test_a_pull_tells_what_its_group_wants(bench: BrokerBench) -> None:
    await bench.send("t")
    await bench.pull("t", group="g", tags=" A || B")
    answer = await bench.ask(RequestCode.QUERY_SUBSCRIPTION_BY_CONSUMER, QuerySubscriptionByConsumerRequestHeader("g", "t"))
    told = QuerySubscriptionResponseBody.decode(answer.body).subscription_data
    assert told is not None and (told.expression, told.tags, told.version) == (" A || B", {"A", "B"}, NOW)


async def test_offsets_of_all_groups(bench: BrokerBench) -> None:
    await bench.send("t")
    await commit(bench, -1)
    await bench.pull("t", 7, group="g")
    await bench.pull("t", 0, queue_id=1, group="g")
    table = ConsumerOffsetWrapper.decode((await bench.ask(RequestCode.GET_ALL_CONSUMER_OFFSET, None)).body)
    assert table.offset_table == {"t@g": {0: -1}}
    assert table.pull_offset_table == {"t@g": {0: 1, 1: 0}}, "whatever the pull found"
    assert table.group_topic_map == {"g": ["t"]} and table.data_version is not None
    topics = TopicList.decode((await bench.ask(RequestCode.QUERY_TOPICS_BY_CONSUMER, QueryTopicsByConsumerRequestHeader("g"))).body)
    assert topics == TopicList(["t"], bench.state.address)


async def test_times_of_empty_queues(bench: BrokerBench) -> None:
    await bench.send("t", queue_id=0)
    answer = await bench.ask(RequestCode.QUERY_CONSUME_TIME_SPAN, QueryConsumeTimeSpanRequestHeader("t", "g"))
    spans = QueryConsumeTimeSpanBody.decode(answer.body).consume_time_span_set
    assert [(span.min_time_stamp, span.max_time_stamp, span.consume_time_stamp) for span in spans[:2]] == [(NOW,) * 3, (-1,) * 3]


async def test_system_topics_are_told_whether_they_exist_or_not(bench: BrokerBench) -> None:
    topics = TopicList.decode((await bench.ask(RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_BROKER, None)).body).topic_list
    assert {*names.SYSTEM_TOPICS, "broker-a", "DefaultCluster"} <= set(topics)


async def test_a_queue_is_locked_once(bench: BrokerBench) -> None:
    queue = MessageQueue("t", "broker-a", 0)
    answer = await bench.ask(RequestCode.LOCK_BATCH_MQ, None, LockBatchRequestBody("g", "c", [queue, queue]).encode())
    assert LockBatchResponseBody.decode(answer.body).lock_ok_mq_set == [queue]


async def test_a_goodbye_of_somebody_else_is_told_to_the_group(bench: BrokerBench) -> None:
    member = FakeChannel("127.0.0.1:1")
    await beat(bench, member, "t")
    member.sent.clear()
    goodbye = UnregisterClientRequestHeader("stranger", consumer_group="g")
    assert (await bench.ask(RequestCode.UNREGISTER_CLIENT, goodbye, channel=FakeChannel("127.0.0.1:2"))).code == 0
    assert [each.code for each in member.sent] == [RequestCode.NOTIFY_CONSUMER_IDS_CHANGED]
