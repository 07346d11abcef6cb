"""The broker's tables in memory follow the database: what a commit refuses was never there."""

from __future__ import annotations

import pytest

from aiorocketmq.errors import InvalidParameterError
from aiorocketmq.protocol.bodies import CreateTopicListRequestBody, SubscriptionGroupConfig, TopicConfig
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_admin import CreateTopicRequestHeader, DeleteTopicRequestHeader
from aiorocketmq.protocol.headers_client import SendMessageRequestHeader
from tests.unit.server.harness import NOW, BrokerBench, FakeChannel, assert_memory_is_the_database, settle


def send_request(topic: str, queues: int = 4, queue_id: int = 0) -> RemotingCommand:
    header = SendMessageRequestHeader(
        "p", topic, "TBW102", queues, queue_id, 0, NOW, 0, "", reconsume_times=0, unit_mode=False, batch=False
    )
    return RemotingCommand.request(RequestCode.SEND_MESSAGE_V2, header.to_v2(), b"x")


def topic_request(topic: str, queues: int) -> RemotingCommand:
    header = CreateTopicRequestHeader(topic, "TBW102", queues, queues, 6, "SINGLE_TAG", 0, False)
    return RemotingCommand.request(RequestCode.UPDATE_AND_CREATE_TOPIC, header)


def delete_request(topic: str) -> RemotingCommand:
    return RemotingCommand.request(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader(topic))


async def in_one_tick(bench: BrokerBench, *requests: RemotingCommand) -> list[int]:
    """Codes of the answers."""
    channel = FakeChannel()
    for request in requests:
        answer = bench.handle(request, channel)
        if answer is not None:
            channel.reply(request, answer)
    await settle(12)
    return [answer.code for answer in channel.replies]


async def test_a_failed_deletion_leaves_the_topic_as_it_was(bench: BrokerBench) -> None:
    assert await in_one_tick(bench, send_request("t")) == [0]
    bench.state.offsets.commit("g", "t", 0, 1)
    await settle()
    bench.state.store.inject_error = "disk full"
    assert await in_one_tick(bench, delete_request("t")) == [ResponseCode.SERVICE_NOT_AVAILABLE]
    bench.state.store.inject_error = ""
    assert "t" in bench.state.topics and bench.state.offsets.query("g", "t", 0) == 1
    assert await bench.bodies("t") == [b"x"]
    await settle()
    assert_memory_is_the_database(bench)
    assert await in_one_tick(bench, delete_request("t"), send_request("t")) == [0, 0]
    assert bench.state.store.bounds("t", 0) == (0, 1), "the new topic has the new message only"
    assert bench.state.offsets.query("g", "t", 0) == -1
    assert_memory_is_the_database(bench)


async def test_a_failed_creation_leaves_nothing(bench: BrokerBench) -> None:
    await settle()
    bench.state.store.inject_error = "disk full"
    assert set(await in_one_tick(bench, send_request("t"), topic_request("u", 2))) == {ResponseCode.SERVICE_NOT_AVAILABLE}
    bench.state.groups.find("g")
    await settle()
    bench.state.store.inject_error = ""
    assert "t" not in bench.state.topics and "u" not in bench.state.topics and bench.state.groups.get("g") is None
    assert bench.changed_topics == [], "the name servers hear of what is stored"
    assert_memory_is_the_database(bench)


async def test_nobody_sees_a_change_before_its_commit(bench: BrokerBench) -> None:
    await settle()
    bench.handle(topic_request("t", 2), FakeChannel())
    bench.state.groups.put(SubscriptionGroupConfig("g"))
    bench.state.offsets.commit("g", "t", 0, 7)
    assert "t" not in bench.state.topics and bench.state.groups.get("g") is None
    assert bench.state.offsets.query("g", "t", 0) == -1
    await settle()
    assert "t" in bench.state.topics and bench.state.groups.get("g") is not None
    assert bench.state.offsets.query("g", "t", 0) == 7
    assert_memory_is_the_database(bench)


async def test_requests_of_one_tick_build_on_each_other(bench: BrokerBench) -> None:
    assert await in_one_tick(bench, topic_request("t", 2), send_request("t", 8), send_request("t", 8, queue_id=1)) == [0, 0, 0]
    assert bench.state.topics.require("t").write_queue_nums == 2, "the topic that is on its way counts, not a likeness of TBW102"
    assert await in_one_tick(bench, send_request("t"), delete_request("t"), send_request("t", 3)) == [0, 0, 0]
    assert bench.state.topics.require("t").write_queue_nums == 3
    assert bench.state.store.bounds("t", 0) == (0, 1)
    assert_memory_is_the_database(bench)


async def test_who_builds_on_what_is_refused_is_refused_too(bench: BrokerBench) -> None:
    """Two sends of one tick, the first of which makes the topic; what that wrote besides cannot be stored."""
    store = bench.state.store
    channel = FakeChannel()
    store.begin()
    bench.table.handle(send_request("t"), channel)  # type: ignore[arg-type]
    store.put_setting("topic", "\udcff", "{}")
    store.end()
    bench.handle(send_request("t"), channel)
    await settle()
    assert sorted(answer.code for answer in channel.replies) == [ResponseCode.SYSTEM_ERROR, ResponseCode.SERVICE_NOT_AVAILABLE]
    assert "t" not in bench.state.topics and bench.state.store.queue("t", 0) is None
    assert_memory_is_the_database(bench)
    assert await in_one_tick(bench, send_request("t"), send_request("t")) == [0, 0], "trying again helps"
    assert_memory_is_the_database(bench)


async def test_a_refused_deletion_changes_nothing_for_the_sends_after_it(bench: BrokerBench) -> None:
    assert await in_one_tick(bench, topic_request("t", 3), send_request("t")) == [0, 0]
    store = bench.state.store
    channel = FakeChannel()
    store.begin()
    bench.table.handle(delete_request("t"), channel)  # type: ignore[arg-type]
    store.put_setting("topic", "\udcff", "{}")
    store.end()
    bench.handle(send_request("t", 2), channel)
    await settle(12)
    assert sorted(answer.code for answer in channel.replies) == [ResponseCode.SYSTEM_ERROR, ResponseCode.SERVICE_NOT_AVAILABLE]
    assert bench.state.topics.require("t").write_queue_nums == 3 and store.bounds("t", 0) == (0, 1)
    assert await in_one_tick(bench, send_request("t")) == [0]
    assert store.bounds("t", 0) == (0, 2)
    assert_memory_is_the_database(bench)


@pytest.mark.parametrize(("queues", "queue_id"), [(0, -1), (0, 0), (-1, -1), (-(2**31), 0)])
async def test_a_topic_without_queues_is_not_made_for_a_send(bench: BrokerBench, queues: int, queue_id: int) -> None:
    assert await in_one_tick(bench, send_request("t", queues, queue_id)) == [ResponseCode.INVALID_PARAMETER]
    assert "t" not in bench.state.topics and bench.state.store.queue("t", 0) is None
    with pytest.raises(InvalidParameterError, match="with 0 queues"):
        bench.state.topics.create_from_default("t", "TBW102", 0, unit=False)
    assert_memory_is_the_database(bench)


async def test_commits_and_resets_of_one_tick(bench: BrokerBench) -> None:
    offsets = bench.state.offsets
    assert offsets.commit("g", "t", 0, 5)
    assert offsets.commit("g", "t", 0, 6)
    offsets.reset("g", "t", 0, 2)
    assert not offsets.commit("g", "t", 0, 9), "an old commit must not undo a reset that is on its way"
    await settle()
    assert offsets.query("g", "t", 0) == 2 and not offsets.commit("g", "t", 0, 9)
    assert offsets.take_reset("g", "t", 0) == 2 and offsets.take_reset("g", "t", 0) == -1
    assert offsets.commit("g", "t", 0, 9)
    await settle()
    assert offsets.query("g", "t", 0) == 9
    assert_memory_is_the_database(bench)


async def test_a_failed_reset_does_not_block_commits(bench: BrokerBench) -> None:
    offsets = bench.state.offsets
    await settle()
    bench.state.store.inject_error = "disk full"
    offsets.reset("g", "t", 0, 2)
    await settle()
    bench.state.store.inject_error = ""
    assert offsets.query("g", "t", 0) == -1 and offsets.take_reset("g", "t", 0) == -1
    assert offsets.commit("g", "t", 0, 3)
    await settle()
    assert offsets.query("g", "t", 0) == 3
    assert_memory_is_the_database(bench)


async def test_a_repeated_commit_is_not_acknowledged_before_the_first_is_stored(bench: BrokerBench) -> None:
    offsets = bench.state.offsets
    told: list[object] = []
    await settle()
    bench.state.store.inject_error = "disk full"
    for _ in range(2):
        offsets.commit("g", "t", 0, 4)
        bench.state.store.after_commit(told.append)
    await settle()
    bench.state.store.inject_error = ""
    assert len(told) == 2 and None not in told
    offsets.commit("g", "t", 0, 4)
    await settle()
    assert offsets.query("g", "t", 0) == 4
    assert_memory_is_the_database(bench)


async def test_a_delayed_message_does_not_go_where_nobody_reads(bench: BrokerBench) -> None:
    bench.schedule.start()
    bench.state.topics.put(TopicConfig("t", 8, 8))
    await bench.send("t", b"late", queue_id=7, properties="DELAY\x011\x02")
    bench.state.topics.put(TopicConfig("t", 1, 1))
    await settle()
    bench.clock.advance(2)
    bench.schedule._run()
    await settle()
    assert await bench.bodies("t", 0) == [b"late"]


async def test_all_is_in_the_file_after_a_restart(tmp_path: object, make_bench: object) -> None:
    first: BrokerBench = make_bench(path=tmp_path / "b.db")  # type: ignore[operator]
    await in_one_tick(first, topic_request("t", 3), send_request("u", 2))
    first.state.groups.put(SubscriptionGroupConfig("g", retry_queue_nums=7))
    first.state.offsets.commit("g", "t", 1, 4)
    await first.close()
    second: BrokerBench = make_bench(path=tmp_path / "b.db")  # type: ignore[operator]
    group = second.state.groups.get("g")
    assert second.state.topics.require("t").write_queue_nums == 3 and second.state.topics.require("u").write_queue_nums == 2
    assert group is not None and group.retry_queue_nums == 7 and second.state.offsets.query("g", "t", 1) == 4
    await settle()
    assert_memory_is_the_database(second)


async def test_a_list_with_one_illegal_topic_creates_none(bench: BrokerBench) -> None:
    body = CreateTopicListRequestBody([TopicConfig("good", 2, 2), TopicConfig("not good", 2, 2)]).encode()
    answer = await bench.ask(RequestCode.UPDATE_AND_CREATE_TOPIC_LIST, None, body)
    assert answer.code == ResponseCode.INVALID_PARAMETER
    await settle()
    assert "good" not in bench.state.topics
    assert_memory_is_the_database(bench)


async def test_a_list_changes_attributes_as_a_single_topic_does(bench: BrokerBench) -> None:
    bench.state.topics.put(TopicConfig("t", 8, 8, attributes={"message.type": "FIFO"}))

    async def ask(*topics: TopicConfig) -> int:
        body = CreateTopicListRequestBody(list(topics)).encode()
        return (await bench.ask(RequestCode.UPDATE_AND_CREATE_TOPIC_LIST, None, body)).code

    new = TopicConfig("new", 2, 2, attributes={"+message.type": "DELAY"})
    assert await ask(TopicConfig("t", 2, 2), new) == 0
    assert bench.state.topics.require("t").attributes == {"message.type": "FIFO"}
    assert bench.state.topics.require("new").attributes == {"message.type": "DELAY"}
    nonsense, mixed = ({"nonsense": "x"}, ResponseCode.SYSTEM_ERROR), ({"+message.type": "MIXED"}, ResponseCode.INVALID_PARAMETER)
    for attributes, code in (nonsense, mixed):
        assert await ask(TopicConfig("other", 2, 2), TopicConfig("u", 2, 2, attributes=attributes)) == code
    assert "other" not in bench.state.topics and "u" not in bench.state.topics
    assert await ask(new.replace(attributes={"-message.type": ""})) == 0
    assert bench.state.topics.require("new").attributes == {}
    assert_memory_is_the_database(bench)


async def test_request_17_keeps_attributes_alone(bench: BrokerBench) -> None:
    bench.state.topics.put(TopicConfig("t", 8, 8, topic_sys_flag=2, attributes={"message.type": "FIFO"}))
    header = {
        "topic": "t",
        "defaultTopic": "TBW102",
        "readQueueNums": "8",
        "writeQueueNums": "8",
        "perm": "4",
        "topicFilterType": "SINGLE_TAG",
    }
    answer = await bench.ask(RequestCode.UPDATE_AND_CREATE_TOPIC, header)
    assert answer.code == 0, answer.remark
    topic = bench.state.topics.require("t")
    assert (topic.perm, topic.topic_sys_flag, topic.attributes) == (4, 0, {"message.type": "FIFO"})


async def test_an_offset_that_goes_back_to_what_is_stored_while_another_is_written_is_the_last_word(bench: BrokerBench) -> None:
    offsets = bench.state.offsets
    assert offsets.commit("g", "t", 0, 5)
    await settle()
    assert offsets.commit("g", "t", 0, 9)
    assert offsets.commit("g", "t", 0, 5)
    await settle()
    assert offsets.query("g", "t", 0) == 5
    assert_memory_is_the_database(bench)


async def test_a_pending_reset_goes_with_its_group(bench: BrokerBench) -> None:
    offsets = bench.state.offsets
    offsets.reset("g", "t", 0, 2)
    offsets.reset("other", "t", 0, 3)
    await settle()
    offsets.drop(group="g")
    await settle()
    assert offsets.query("g", "t", 0) == -1 and offsets.take_reset("g", "t", 0) == -1
    assert offsets.commit("g", "t", 0, 4), "nothing stands in the way of a group of the same name"
    assert offsets.take_reset("other", "t", 0) == 3
    await settle()
    assert offsets.query("g", "t", 0) == 4
