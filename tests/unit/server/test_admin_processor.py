"""Administration: topics, groups, resets, settings, progress, connections, questions relayed to clients."""

from __future__ import annotations

import pytest

from aiorocketmq.errors import ConnectionLostError, RequestTimeoutError
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.bodies import (
    ConsumerConnection,
    ConsumeStats,
    GroupList,
    KVTable,
    ProducerConnection,
    ResetOffsetBody,
    SubscriptionGroupConfig,
    SubscriptionGroupWrapper,
    TopicConfig,
    TopicConfigWrapper,
    TopicStatsTable,
)
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_admin import (
    CreateTopicRequestHeader,
    DeleteSubscriptionGroupRequestHeader,
    DeleteTopicRequestHeader,
    GetAllTopicConfigRequestHeader,
    GetConsumeStatsRequestHeader,
    GetProducerConnectionListRequestHeader,
    GetSubscriptionGroupConfigRequestHeader,
    GetTopicConfigRequestHeader,
    GetTopicStatsInfoRequestHeader,
    QueryTopicConsumeByWhoRequestHeader,
)
from aiorocketmq.protocol.headers_client import (
    GetConsumerConnectionListRequestHeader,
    GetConsumerRunningInfoRequestHeader,
    ResetOffsetRequestHeader,
)
from tests.unit.server.harness import NOW, BrokerBench, FakeChannel, settle
from tests.unit.server.test_client_processor import beat, commit, heartbeat


async def create(bench: BrokerBench, topic: str, queues: int = 4, **fields: object) -> RemotingCommand:
    header = CreateTopicRequestHeader(topic, "TBW102", queues, queues, 6, **fields)  # type: ignore[arg-type]
    return await bench.ask(RequestCode.UPDATE_AND_CREATE_TOPIC, header)


async def test_topics(bench: BrokerBench) -> None:
    assert (await create(bench, "t", 3, order=True, attributes="+message.type=FIFO")).code == 0
    assert bench.changed_topics == ["t"], "the name servers are told"
    answer = await bench.ask(RequestCode.GET_TOPIC_CONFIG, GetTopicConfigRequestHeader("t"))
    assert TopicConfig.decode(answer.body) == TopicConfig("t", 3, 3, 6, order=True, attributes={"message.type": "FIFO"})
    await create(bench, "t", 5, attributes="+lite.topic.expiration=5,-message.type")
    answer = await bench.ask(RequestCode.GET_ALL_TOPIC_CONFIG, GetAllTopicConfigRequestHeader())
    table = TopicConfigWrapper.decode(answer.body).topic_config_table
    assert (table["t"].read_queue_nums, table["t"].attributes) == (5, {"lite.topic.expiration": "5"})
    assert answer.ext_fields["totalTopicNum"] == str(len(table))
    for bad in ("TBW102", "SCHEDULE_TOPIC_XXXX", "a b", "broker-a", "rmq_sys_mine"):
        assert (await create(bench, bad)).code == ResponseCode.INVALID_PARAMETER
    negative = CreateTopicRequestHeader("t", "TBW102", 4, 4, 6).to_ext() | {"writeQueueNums": "-1"}
    assert (await bench.ask(RequestCode.UPDATE_AND_CREATE_TOPIC, negative)).code == ResponseCode.INVALID_PARAMETER
    unknown_filter = CreateTopicRequestHeader("t", "TBW102", 4, 4, 6, topic_filter_type="NONE")
    assert (await bench.ask(RequestCode.UPDATE_AND_CREATE_TOPIC, unknown_filter)).code == ResponseCode.SYSTEM_ERROR
    assert (await create(bench, "t", attributes="?x")).code == ResponseCode.SYSTEM_ERROR
    mixed = await create(bench, "t", attributes="+message.type=MIXED")
    assert (mixed.code, mixed.remark) == (ResponseCode.INVALID_PARAMETER, "MIXED message type is not supported.")
    missing = await bench.ask(RequestCode.GET_TOPIC_CONFIG, GetTopicConfigRequestHeader("missing"))
    assert missing.code == ResponseCode.TOPIC_NOT_EXIST


async def test_deleting_a_topic(bench: BrokerBench) -> None:
    await bench.send("t")
    bench.state.groups.find("g")
    await commit(bench, "g", 1)
    assert (await bench.ask(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader("t"))).code == 0
    assert "t" not in bench.state.topics and bench.state.store.bounds("t", 0) == (0, 0)
    assert list(bench.state.store.offsets()) == [] and bench.state.offsets.query("g", "t", 0) == -1
    assert (await bench.ask(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader("t"))).code == 0, "absent is success"
    system = await bench.ask(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader("TBW102"))
    assert system.code == ResponseCode.INVALID_PARAMETER


async def test_rates_end_with_their_topic_or_group(bench: BrokerBench) -> None:
    stats = bench.state.stats
    for topic in ("t", "u"):
        await bench.send(topic)
        for group in ("g", "h"):
            assert (await bench.pull(topic, group=group)).code == 0
    assert (await bench.ask(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader("t"))).code == 0
    assert (await bench.ask(RequestCode.DELETE_SUBSCRIPTIONGROUP, DeleteSubscriptionGroupRequestHeader("g", True))).code == 0
    assert (stats.put_tps("t"), stats.get_tps("t", "h"), stats.get_tps("u", "g")) == (0, 0, 0)
    assert stats.put_tps("u") > 0 and stats.get_tps("u", "h") > 0
    assert (list(stats._put_by_topic), list(stats._got_by_group)) == (["u"], [("u", "h")])
    assert (stats.put.total, stats.got.total) == (2, 4)


async def test_groups(bench: BrokerBench) -> None:
    body = SubscriptionGroupConfig("g", retry_max_times=3).encode()
    assert (await bench.ask(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, None, body)).code == 0
    answer = await bench.ask(RequestCode.GET_SUBSCRIPTIONGROUP_CONFIG, GetSubscriptionGroupConfigRequestHeader("g"))
    assert SubscriptionGroupConfig.decode(answer.body).retry_max_times == 3
    answer = await bench.ask(RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG)
    assert "g" in SubscriptionGroupWrapper.decode(answer.body).subscription_group_table
    bad = SubscriptionGroupConfig("a b").encode()
    assert (await bench.ask(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, None, bad)).code == ResponseCode.INVALID_PARAMETER
    await bench.send("t")
    await commit(bench, "g", 1)
    assert (await bench.ask(RequestCode.DELETE_SUBSCRIPTIONGROUP, DeleteSubscriptionGroupRequestHeader("g", True))).code == 0
    assert bench.state.groups.get("g") is None and list(bench.state.store.offsets()) == []


@pytest.mark.parametrize(("by_5", "by_4"), [(True, False), (False, True), (False, False)])
async def test_a_group_that_is_deleted_keeps_its_offsets_unless_they_are_to_go(bench: BrokerBench, by_5: bool, by_4: bool) -> None:
    clean = by_5 or by_4
    await bench.send("t")
    bench.state.groups.put(SubscriptionGroupConfig("g"))
    await settle()
    await commit(bench, "g", 1)
    assert (await bench.ask(RequestCode.DELETE_SUBSCRIPTIONGROUP, DeleteSubscriptionGroupRequestHeader("g", by_5, by_4))).code == 0
    assert bench.state.groups.get("g") is None
    assert (list(bench.state.store.offsets()) == []) is clean
    assert bench.state.offsets.query("g", "t", 0) == (-1 if clean else 1)


async def test_metadata_comes_back_from_the_store(bench: BrokerBench) -> None:
    await create(bench, "t", 3)
    bench.state.groups.put(SubscriptionGroupConfig("g", retry_max_times=3))
    await bench.send("t")
    await commit(bench, "g", 1)
    state = bench.state
    state.topics.load()
    state.groups.load()
    state.offsets.load()
    assert state.topics.require("t").write_queue_nums == 3
    assert state.groups.require("g").retry_max_times == 3
    assert state.offsets.query("g", "t", 0) == 1


async def reset(bench: BrokerBench, stamp: int = -1, offset: int | None = None, queue_id: int = -1) -> RemotingCommand:
    header = ResetOffsetRequestHeader("t", "g", stamp, True, queue_id, offset)
    return await bench.ask(RequestCode.INVOKE_BROKER_TO_RESET_OFFSET, header)


async def test_offset_resets(bench: BrokerBench) -> None:
    for _ in range(3):
        await bench.send("t")
        bench.clock.advance(1)
    assert (await reset(bench)).code == ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, "a reset makes no group"
    bench.state.groups.find("g")
    await settle()
    table = ResetOffsetBody.decode((await reset(bench, NOW + 1000)).body).offset_table
    assert table == {MessageQueue("t", "broker-a", number): 1 if number == 0 else 0 for number in range(4)}
    assert ResetOffsetBody.decode((await reset(bench)).body).offset_table[MessageQueue("t", "broker-a", 0)] == 3
    assert ResetOffsetBody.decode((await reset(bench, 0, 2, 0)).body).offset_table == {MessageQueue("t", "broker-a", 0): 2}
    assert ResetOffsetBody.decode((await reset(bench, 0, 2)).body).offset_table[MessageQueue("t", "broker-a", 0)] == 0, "that of one queue"
    assert ResetOffsetBody.decode((await reset(bench, 0, 2, 0)).body).offset_table == {MessageQueue("t", "broker-a", 0): 2}
    assert (await reset(bench, 0, 99, 0)).code == ResponseCode.SYSTEM_ERROR
    moved = await bench.pull("t", 0, group="g")
    assert (moved.code, moved.ext_fields["nextBeginOffset"]) == (ResponseCode.PULL_OFFSET_MOVED, "2")


async def test_settings(bench: BrokerBench) -> None:
    answer = await bench.ask(RequestCode.GET_BROKER_CONFIG)
    assert "brokerName=broker-a\n" in answer.body.decode() and answer.ext_fields["version"]
    assert (await bench.ask(RequestCode.UPDATE_BROKER_CONFIG, None, b"autoCreateTopicEnable=false\n")).code == 0
    assert (await bench.send("fresh")).code == ResponseCode.TOPIC_NOT_EXIST
    assert (await bench.ask(RequestCode.UPDATE_BROKER_CONFIG, None, answer.body)).code == 0, "its own text is a legal change"


@pytest.mark.parametrize(
    "line", ["rocketmqHome=/tmp", "storePathRootDir=/", "filterServerNums=1", "brokerConfigPath=x", "namesrvAddr=evil:1", "listenPort=1"]
)
async def test_no_path_command_or_address_can_be_changed(bench: BrokerBench, line: str) -> None:
    answer = await bench.ask(RequestCode.UPDATE_BROKER_CONFIG, None, f"autoCreateTopicEnable=false\n{line}\n".encode())
    assert answer.code == ResponseCode.NO_PERMISSION
    assert bench.state.config.auto_create_topics, "one forbidden line, and nothing is changed"


@pytest.mark.parametrize("body", [b"\xff", b"no separator", b"brokerPermission=x", b"brokerPermission=99"])
async def test_broken_settings(bench: BrokerBench, body: bytes) -> None:
    assert (await bench.ask(RequestCode.UPDATE_BROKER_CONFIG, None, body)).code != 0


async def test_progress(bench: BrokerBench) -> None:
    for _ in range(3):
        await bench.send("t")
    stats = await bench.ask(RequestCode.GET_TOPIC_STATS_INFO, GetTopicStatsInfoRequestHeader("t"))
    table = TopicStatsTable.decode(stats.body).offset_table
    assert len(table) == 4
    queue = table[MessageQueue("t", "broker-a", 0)]
    assert (queue.min_offset, queue.max_offset, queue.last_update_timestamp) == (0, 3, NOW)
    bench.state.groups.find("g")
    await commit(bench, "g", 2)
    answer = await bench.ask(RequestCode.GET_CONSUME_STATS, GetConsumeStatsRequestHeader("g"))
    progress = ConsumeStats.decode(answer.body).offset_table[MessageQueue("t", "broker-a", 0)]
    assert (progress.broker_offset, progress.consumer_offset, progress.last_timestamp) == (3, 2, NOW)
    named = await bench.ask(RequestCode.GET_CONSUME_STATS, GetConsumeStatsRequestHeader("g", None, "t;missing"))
    assert len(ConsumeStats.decode(named.body).offset_table) == 4
    groups = await bench.ask(RequestCode.QUERY_TOPIC_CONSUME_BY_WHO, QueryTopicConsumeByWhoRequestHeader("t"))
    assert GroupList.decode(groups.body).group_list == ["g"]


async def test_connections(bench: BrokerBench) -> None:
    offline = await bench.ask(RequestCode.GET_CONSUMER_CONNECTION_LIST, GetConsumerConnectionListRequestHeader("g"))
    assert offline.code == ResponseCode.CONSUMER_NOT_ONLINE
    await beat(bench, FakeChannel("127.0.0.1:7"), heartbeat("me", "t"))
    answer = await bench.ask(RequestCode.GET_CONSUMER_CONNECTION_LIST, GetConsumerConnectionListRequestHeader("g"))
    consumers = ConsumerConnection.decode(answer.body)
    assert [(each.client_id, each.client_addr, each.language, each.version) for each in consumers.connection_set] == [
        ("me", "127.0.0.1:7", "PYTHON", 479)
    ]
    assert (consumers.consume_type, consumers.message_model, set(consumers.subscription_table)) == (
        "CONSUME_PASSIVELY",
        "CLUSTERING",
        {"t"},
    )
    answer = await bench.ask(RequestCode.GET_PRODUCER_CONNECTION_LIST, GetProducerConnectionListRequestHeader("p"))
    assert len(ProducerConnection.decode(answer.body).connection_set) == 1
    missing = await bench.ask(RequestCode.GET_PRODUCER_CONNECTION_LIST, GetProducerConnectionListRequestHeader("none"))
    assert missing.code == ResponseCode.SYSTEM_ERROR


async def test_runtime_info(bench: BrokerBench) -> None:
    await bench.send("t")
    table = KVTable.decode((await bench.ask(RequestCode.GET_BROKER_RUNTIME_INFO)).body).table
    assert table["brokerVersionDesc"] == "V5_3_3" and table["msgPutTotalTodayNow"] == "1"


# -- questions to clients ---------------------------------------------------------------------------------------------


def ask_running_info(bench: BrokerBench, admin: FakeChannel, client_id: str = "me") -> RemotingCommand | None:
    request = RemotingCommand.request(RequestCode.GET_CONSUMER_RUNNING_INFO, GetConsumerRunningInfoRequestHeader("g", client_id, False))
    return bench.table.handle(request, admin)  # type: ignore[arg-type]


async def test_a_question_is_relayed_and_its_answer_too(bench: BrokerBench) -> None:
    client, admin = FakeChannel(), FakeChannel()
    await beat(bench, client, heartbeat("me", "t"))
    client.sent.clear()
    assert ask_running_info(bench, admin) is None
    question = client.sent[0]
    assert (question.code, question.ext_fields["clientId"], question.is_oneway) == (RequestCode.GET_CONSUMER_RUNNING_INFO, "me", False)
    client.waiters[0].on_response(RemotingCommand.response(question, 1, "my remark", body=b"{}"))
    assert [(answer.code, answer.remark, answer.body) for answer in admin.replies] == [(1, "my remark", b"{}")]


@pytest.mark.parametrize(
    ("error", "code"),
    [(RequestTimeoutError("late"), ResponseCode.CONSUME_MSG_TIMEOUT), (ConnectionLostError("gone"), ResponseCode.SYSTEM_ERROR)],
)
async def test_clients_that_do_not_answer(bench: BrokerBench, error: RequestTimeoutError, code: int) -> None:
    client, admin = FakeChannel(), FakeChannel()
    await beat(bench, client, heartbeat("me", "t"))
    ask_running_info(bench, admin)
    client.waiters[0].on_error(error)
    assert [answer.code for answer in admin.replies] == [code]


async def test_clients_that_are_not_there(bench: BrokerBench) -> None:
    answer = ask_running_info(bench, FakeChannel())
    assert answer is not None and answer.code == ResponseCode.SYSTEM_ERROR and "not online" in (answer.remark or "")
