"""Sends and batches: the checks in their order (protocol.md 6.2, 6.3), delays (6.6, 6.7), and what is stored."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from aiorocketmq.model.names import java_hash
from aiorocketmq.model.offset_id import OffsetMessageId
from aiorocketmq.protocol.bodies import TopicConfig
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.headers_client import ConsumerSendMsgBackRequestHeader, SendMessageRequestHeader
from aiorocketmq.protocol.message_codec import BatchItem, decode_message, decode_messages
from aiorocketmq.protocol.sysflag import MessageSysFlag
from tests.support.records import encode_batch
from tests.unit.server.harness import NOW, BrokerBench, FakeChannel, MakeBench, assert_memory_is_the_database, settle


async def test_a_message_is_stored_as_it_was_sent(bench: BrokerBench) -> None:
    channel = FakeChannel("192.0.2.7:4711")
    answer = await bench.send(
        "t", b"body \x00\xff", queue_id=2, properties="UNIQ_KEY\x01ID\x02TAGS\x01A\x02KEYS\x01k1 k2\x02mine\x01\u4e2d\x02", channel=channel
    )
    assert answer.code == 0
    assert answer.ext_fields["queueId"] == "2" and answer.ext_fields["queueOffset"] == "0"
    assert answer.ext_fields["transactionId"] == "ID"
    where = OffsetMessageId.decode(answer.ext_fields["msgId"])
    assert where.address == "127.0.0.1:10911"
    record = bench.state.store.record_at(where.offset)
    assert record is not None
    message = decode_message(record, broker_name="", max_body=0)
    assert (message.stored_body, message.topic, message.queue.queue_id) == (b"body \x00\xff", "t", 2)
    assert (message.born_host, message.store_host) == ("192.0.2.7:4711", "127.0.0.1:10911")
    assert (message.born_timestamp, message.store_timestamp) == (NOW, NOW)
    assert message.properties == {
        "UNIQ_KEY": "ID", "TAGS": "A", "KEYS": "k1 k2", "mine": "\u4e2d",
        "MSG_REGION": "DefaultRegion", "TRACE_ON": "true", "CLUSTER": "DefaultCluster",
    }  # fmt: skip
    queue = bench.state.store.queue("t", 2)
    assert queue is not None and bench.state.store.read(queue, 0, 1)[0].tags_code == java_hash("A")


async def test_every_answer_names_the_region(bench: BrokerBench) -> None:
    for answer in (await bench.send("t"), await bench.send("SELF_TEST_TOPIC"), await bench.send("t", b"")):
        assert (answer.ext_fields["MSG_REGION"], answer.ext_fields["TRACE_ON"]) == ("DefaultRegion", "true")


async def test_the_long_header_does_the_same(bench: BrokerBench) -> None:
    header = SendMessageRequestHeader("p", "t", "TBW102", 4, 1, 0, NOW, 0, "UNIQ_KEY\x01ID\x02", reconsume_times=0)
    answer = await bench.ask(RequestCode.SEND_MESSAGE, header, b"x")
    assert (answer.code, answer.ext_fields["queueId"]) == (0, "1")


async def test_a_missing_unique_id_is_made(bench: BrokerBench) -> None:
    answer = await bench.send("t")
    assert len(answer.ext_fields["transactionId"]) == 32


@pytest.mark.parametrize(("asked", "made"), [(3, 3), (4, 4), (16, 8)])
async def test_unknown_topics_are_made_like_the_default_topic(bench: BrokerBench, asked: int, made: int) -> None:
    assert (await bench.send("fresh", default_topic_queue_nums=asked)).code == 0
    topic = bench.state.topics.require("fresh")
    assert (topic.read_queue_nums, topic.write_queue_nums, topic.perm) == (made, made, 6)
    assert bench.changed_topics == ["fresh"]


async def test_topics_are_not_made_when_that_is_off(make_bench: MakeBench) -> None:
    bench = make_bench(auto_create_topics=False)
    answer = await bench.send("fresh")
    assert answer.code == ResponseCode.TOPIC_NOT_EXIST
    assert "topic[fresh] not exist, apply first please!" in (answer.remark or "")
    assert "fresh" not in bench.state.topics


async def test_a_topic_that_does_not_inherit_is_no_default(bench: BrokerBench) -> None:
    bench.state.topics.put(TopicConfig("plain", 4, 4, 6))
    assert (await bench.send("fresh", default_topic="plain")).code == ResponseCode.TOPIC_NOT_EXIST
    assert (await bench.send("fresh", default_topic="nothing")).code == ResponseCode.TOPIC_NOT_EXIST


@pytest.mark.parametrize("topic", ["a b", "a.b", "x" * 128])
async def test_bad_topic_names(bench: BrokerBench, topic: str) -> None:
    assert (await bench.send(topic)).code == ResponseCode.INVALID_PARAMETER


@pytest.mark.parametrize("topic", ["SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "OFFSET_MOVED_EVENT"])
async def test_the_brokers_own_topics(bench: BrokerBench, topic: str) -> None:
    answer = await bench.send(topic)
    assert (answer.code, answer.remark) == (ResponseCode.NO_PERMISSION, f"Sending message to topic[{topic}] is forbidden.")


async def test_queue_ids(bench: BrokerBench) -> None:
    assert (await bench.send("t", queue_id=4)).code == ResponseCode.INVALID_PARAMETER
    chosen = {(await bench.send("t", queue_id=-1)).ext_fields["queueId"] for _ in range(100)}
    assert chosen == {"0", "1", "2", "3"}


@pytest.mark.parametrize(
    ("body", "properties"), [(b"", ""), (bytes(101), ""), (b"x", f"a\x01{'b' * 32760}\x02")], ids=["empty", "too large", "properties"]
)
async def test_illegal_messages(make_bench: MakeBench, body: bytes, properties: str) -> None:
    bench = make_bench(max_message_size=100)
    answer = await bench.send("t", body, properties=properties)
    assert answer.code == ResponseCode.MESSAGE_ILLEGAL
    assert "msg body length limit 100B" in (answer.remark or "")
    assert (await bench.send("t", bytes(100))).code == 0


async def test_broken_headers_are_answered_not_thrown(bench: BrokerBench) -> None:
    for fields in ({}, {"b": "t"}, {"b": "t", "c": "TBW102", "d": "x"}, {"b": "t", "c": "TBW102", "d": "4", "e": "9" * 30}):
        answer = await bench.ask(RequestCode.SEND_MESSAGE_V2, fields, b"x")
        assert answer.code == ResponseCode.SYSTEM_ERROR and "the field" in (answer.remark or "")
        assert answer.ext_fields["MSG_REGION"] == "DefaultRegion", "as a real broker answers a send, whatever comes of it"
    fields = {"a": "p", "b": "t", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "0", "h": str(1 << 40)}
    answer = await bench.ask(RequestCode.SEND_MESSAGE_V2, fields, b"x")
    assert answer.code == ResponseCode.INVALID_PARAMETER and "the field 'h' is 1099511627776" in (answer.remark or "")


async def test_text_that_is_no_unicode_is_stored_all_the_same(bench: BrokerBench) -> None:
    answer = await bench.send("t", properties="KEYS\x01k\udcff\x02a\x01\ud800\x02")
    assert answer.code == 0
    assert (await bench.send("t")).code == 0


async def test_a_full_store_answers_a_code_that_producers_retry(bench: BrokerBench) -> None:
    bench.state.store.inject_error = "database or disk is full"
    answer = await bench.send("BenchmarkTest")
    assert answer.code == ResponseCode.SERVICE_NOT_AVAILABLE and "disk is full" in (answer.remark or "")
    bench.state.store.inject_error = ""
    assert (await bench.send("BenchmarkTest")).code == 0


# -- batches ----------------------------------------------------------------------------------------------------------


async def send_batch(bench: BrokerBench, topic: str, items: list[BatchItem], body: bytes | None = None):  # type: ignore[no-untyped-def]
    header = SendMessageRequestHeader("p", topic, "TBW102", 4, 0, 0, NOW, 0, "WAIT\x01true\x02", reconsume_times=0, batch=True)
    return await bench.ask(RequestCode.SEND_BATCH_MESSAGE, header.to_v2(), encode_batch(items) if body is None else body)


async def test_a_batch_becomes_single_messages(bench: BrokerBench) -> None:
    await bench.send("t")
    items = [BatchItem(number, b"%d" % number, f"UNIQ_KEY\x01U{number}\x02TAGS\x01A\x02".encode()) for number in range(3)]
    answer = await send_batch(bench, "t", items)
    assert (answer.code, answer.ext_fields["queueOffset"]) == (0, "1")
    ids = answer.ext_fields["msgId"].split(",")
    assert len(ids) == 3
    assert "transactionId" not in answer.ext_fields, "messages of a batch have ids of their own"
    for item, text in zip(items, ids, strict=True):
        record = bench.state.store.record_at(OffsetMessageId.decode(text).offset)
        assert record is not None
        message = decode_message(record, broker_name="", max_body=0)
        assert (message.flag, message.stored_body) == (item.flag, item.body)
        assert set(message.properties) == {"UNIQ_KEY", "TAGS"}, "inner properties are stored as they are"


async def test_batched_messages_may_be_empty(bench: BrokerBench) -> None:
    assert (await send_batch(bench, "t", [BatchItem(0, b"", b""), BatchItem(0, b"x", b"")])).code == 0
    assert bench.state.store.bounds("t", 0) == (0, 2)


async def test_messages_of_a_topic_with_several_tags_say_so(bench: BrokerBench) -> None:
    bench.state.topics.put(TopicConfig("t", 1, 1, topic_filter_type="MULTI_TAG"))
    await settle()
    assert (await bench.send("t")).code == 0
    assert (await send_batch(bench, "t", [BatchItem(0, b"x", b"")])).code == 0
    flags = [each.sys_flag for each in decode_messages((await bench.pull("t")).body, broker_name="", max_body=0)]
    assert flags == [MessageSysFlag.MULTI_TAGS] * 2


async def test_bad_batches_store_nothing(bench: BrokerBench) -> None:
    good = BatchItem(0, b"x", b"")
    bad = [
        await send_batch(bench, "%RETRY%g", [good]),
        await send_batch(bench, "t", [], b"\x00\x00\x00\x09broken"),
    ]
    assert [answer.code for answer in bad] == [ResponseCode.MESSAGE_ILLEGAL] * 2
    await settle()
    assert bench.state.store.bounds("t", 0) == (0, 0)


# -- delays -----------------------------------------------------------------------------------------------------------


async def deliver(bench: BrokerBench, seconds: float) -> None:
    """Let time pass, and the schedule look at it."""
    bench.clock.advance(seconds)
    bench.schedule._run()
    await settle()


async def test_delay_levels(bench: BrokerBench) -> None:
    bench.schedule.start()
    answer = await bench.send("t", b"later", queue_id=3, properties="DELAY\x012\x02TAGS\x01A\x02KEYS\x01k\x02")
    assert (answer.ext_fields["queueId"], answer.ext_fields["queueOffset"]) == ("3", "0"), "the queue asked for, the parking queue's offset"
    assert bench.state.store.bounds("SCHEDULE_TOPIC_XXXX", 1) == (0, 1)
    await deliver(bench, 4.9)
    assert await bench.bodies("t", 3) == []
    await deliver(bench, 0.2)
    assert await bench.bodies("t", 3) == [b"later"]
    queue = bench.state.store.queue("t", 3)
    assert queue is not None
    stored = bench.state.store.read(queue, 0, 1)[0]
    message = decode_message(stored.record, broker_name="", max_body=0)
    assert stored.tags_code == java_hash("A")
    assert (message.born_timestamp, message.store_timestamp) == (NOW, NOW + 5100)
    assert (message.properties["DELAY"], message.properties["REAL_TOPIC"], message.properties["REAL_QID"]) == ("2", "t", "3")
    assert bench.state.store.find_by_key("t", "k", 0, NOW * 2, 8) == [stored.record]
    await deliver(bench, 10)
    assert await bench.bodies("t", 3) == [b"later"], "it is delivered once"


async def test_a_level_beyond_the_last_is_the_last(bench: BrokerBench) -> None:
    await bench.send("t", properties="DELAY\x0199\x02")
    assert bench.state.store.bounds("SCHEDULE_TOPIC_XXXX", 17) == (0, 1)


@pytest.mark.parametrize(
    ("name", "value", "after"), [("TIMER_DELAY_MS", 1500, 1.5), ("TIMER_DELAY_SEC", 2, 2.0), ("TIMER_DELIVER_MS", NOW + 2500, 2.5)]
)
async def test_delays_to_the_millisecond(bench: BrokerBench, name: str, value: int, after: float) -> None:
    bench.schedule.start()
    answer = await bench.send("t", b"later", properties=f"{name}\x01{value}\x02UNIQ_KEY\x01ID\x02")
    version, topic, broker, _, unique = base64.urlsafe_b64decode(answer.ext_fields["recallHandle"]).decode().split(" ")
    assert (version, topic, broker, unique) == ("v1", "t", "broker-a", "ID")
    await deliver(bench, after - 0.01)
    assert await bench.bodies("t") == []
    await deliver(bench, 0.02)
    assert await bench.bodies("t") == [b"later"]
    (message,) = decode_messages((await bench.pull("t")).body, broker_name="", max_body=0)
    assert message.properties["TIMER_ENQUEUE_MS"] == str(NOW) and message.properties["TIMER_DEQUEUE_MS"] == str(bench.clock.ms)


async def test_times_in_the_past_far_away_or_unreadable(bench: BrokerBench) -> None:
    assert (await bench.send("t", b"now", properties=f"TIMER_DELIVER_MS\x01{NOW - 1}\x02")).code == 0
    assert await bench.bodies("t") == [b"now"]
    for text in (f"TIMER_DELAY_SEC\x01{4 * 86400}\x02", "TIMER_DELAY_MS\x01soon\x02", f"TIMER_DELAY_MS\x01{'9' * 5000}\x02"):
        assert (await bench.send("t", properties=text)).code == ResponseCode.MESSAGE_ILLEGAL


async def test_a_delay_level_wins_over_a_time(bench: BrokerBench) -> None:
    answer = await bench.send("t", properties="DELAY\x011\x02TIMER_DELAY_MS\x0150000\x02")
    assert "recallHandle" not in answer.ext_fields
    assert bench.state.store.bounds("SCHEDULE_TOPIC_XXXX", 0) == (0, 1)


async def test_the_schedule_survives_and_catches_up(bench: BrokerBench) -> None:
    for number in range(300):
        await bench.send("t", b"%d" % number, properties="DELAY\x013\x02")
    bench.clock.advance(3600)
    bench.schedule.start()  # as after a restart: nothing of it is in memory
    for _ in range(3):
        bench.schedule._run()
        await settle()
    assert bench.state.store.bounds("t", 0) == (0, 300)


async def test_far_entries_are_loaded_before_they_are_due(bench: BrokerBench) -> None:
    bench.schedule.start()
    await bench.send("t", b"far", properties="DELAY\x018\x02")  # 4 minutes, beyond the horizon
    for _ in range(8):
        assert await bench.bodies("t") == []
        await deliver(bench, 30)
    await deliver(bench, 0.1)
    assert await bench.bodies("t") == [b"far"]


async def test_a_delayed_message_of_a_topic_that_has_shrunk_goes_where_it_is_read(bench: BrokerBench) -> None:
    bench.schedule.start()
    await bench.send("t", b"later", queue_id=3, properties="DELAY\x011\x02")
    bench.state.topics.put(TopicConfig("t", 1, 1))
    await settle()
    await deliver(bench, 2.0)
    assert await bench.bodies("t") == [b"later"]


async def test_a_delivery_that_cannot_be_stored_is_tried_again(bench: BrokerBench) -> None:
    bench.schedule.start()
    await bench.send("t", b"later", properties="DELAY\x011\x02")
    bench.state.store.inject_error = "full"
    await deliver(bench, 2)
    assert await bench.bodies("t") == []
    bench.state.store.inject_error = ""
    bench.schedule.stop()
    bench.schedule.start()
    bench.schedule._run()
    await settle()
    assert await bench.bodies("t") == [b"later"]


async def test_a_deleted_topic_gets_no_delayed_messages(bench: BrokerBench) -> None:
    bench.schedule.start()
    await bench.send("t", properties="DELAY\x011\x02")
    bench.state.topics.delete("t")
    await deliver(bench, 2)
    await settle()
    assert bench.state.store.scheduled_between(0, NOW * 2) == []
    assert bench.state.store.bounds("t", 0) == (0, 0)


@pytest.mark.parametrize(
    ("topic", "body", "fields"),
    [
        ("fresh", b"", {}),
        ("fresh", b"x", {"queue_id": 77}),
        ("fresh", b"x", {"properties": "TIMER_DELAY_SEC\x0199999999\x02"}),
        ("%RETRY%fresh", b"", {}),
    ],
)
async def test_a_send_that_is_refused_leaves_no_topic_and_no_group(
    bench: BrokerBench, topic: str, body: bytes, fields: dict[str, Any]
) -> None:
    assert (await bench.send(topic, body, **fields)).code != 0
    await settle()
    assert topic not in bench.state.topics and bench.state.groups.get("fresh") is None
    assert not bench.changed_topics
    assert (await bench.send(topic, b"x")).code == 0, "nothing of it stands in the way of the next"
    assert topic in bench.state.topics
    assert_memory_is_the_database(bench)


@pytest.mark.parametrize("size", [100, 300_000])
async def test_a_damaged_batch_leaves_no_topic(bench: BrokerBench, size: int) -> None:
    header = SendMessageRequestHeader("p", "fresh", "TBW102", 4, 0, 0, NOW, 0, "", reconsume_times=0, batch=True).to_v2()
    answer = await bench.ask(RequestCode.SEND_BATCH_MESSAGE, header, b"\xff" * size)
    assert answer.code == ResponseCode.MESSAGE_ILLEGAL
    await settle()
    assert "fresh" not in bench.state.topics


async def test_other_refused_requests_leave_no_group(bench: BrokerBench) -> None:
    assert (await bench.pull("nosuch", group="fresh")).code == ResponseCode.TOPIC_NOT_EXIST
    back = ConsumerSendMsgBackRequestHeader(offset=12345, group="fresh", delay_level=1)
    assert (await bench.ask(RequestCode.CONSUMER_SEND_MSG_BACK, back)).code == ResponseCode.SYSTEM_ERROR
    await settle()
    assert bench.state.groups.get("fresh") is None
    assert "%RETRY%fresh" not in bench.state.topics


@pytest.mark.feature("B27")
@pytest.mark.parametrize(
    ("properties", "queue_id", "kept"),
    [
        ("_SYS_MSG_PRIORITY_\x010\x02", 0, "0"),
        ("_SYS_MSG_PRIORITY_\x012\x02", 2, "2"),
        ("_SYS_MSG_PRIORITY_\x0199\x02", 3, "99"),
        ("_SYS_MSG_PRIORITY_\x01-1\x02", 1, "-1"),
        ("_SYS_MSG_PRIORITY_\x01high\x02", 1, "high"),
        ("_SYS_MSG_PRIORITY_\x012\x02__SHARDINGKEY\x01s\x02", 1, None),
        ("_SYS_MSG_PRIORITY_\x012\x02TIMER_DELIVER_MS\x011\x02", 1, None),
    ],
)
async def test_a_priority_chooses_the_queue(bench: BrokerBench, properties: str, queue_id: int, kept: str | None) -> None:
    answer = await bench.send("t", queue_id=1, properties=properties)
    assert answer.ext_fields["queueId"] == str(queue_id)
    pulled = await bench.pull("t", queue_id=queue_id)
    (message,) = decode_messages(pulled.body, broker_name="", max_body=0)
    assert message.properties.get("_SYS_MSG_PRIORITY_") == kept


@pytest.mark.feature("A21")
async def test_light_queues_get_the_message_too(bench: BrokerBench) -> None:
    for number, light in enumerate(("%LMQ%a,%LMQ%b", "%LMQ%a,other,%LMQ%x/y,%LMQ%a", "")):
        extra = f"INNER_MULTI_DISPATCH\x01{light}\x02" if light else ""
        await bench.send("t", b"%d" % number, queue_id=1, properties=f"TAGS\x01T\x02{extra}")
    for name, wanted in (("a", [b"0", b"1"]), ("b", [b"0"]), ("c", [])):
        pulled = await bench.pull(f"%LMQ%{name}", tags="T")
        messages = decode_messages(pulled.body, broker_name="", max_body=0)
        assert [(message.body, message.queue_offset, message.topic) for message in messages] == [
            (body, offset, "t") for offset, body in enumerate(wanted)
        ]
    assert await bench.bodies("t", 1) == [b"0", b"1", b"2"]
    assert not any(name.startswith("%LMQ%") for name in bench.changed_topics), "name servers do not hear of them"
    assert bench.state.store.bounds("other", 0) == (0, 0)


@pytest.mark.feature("A21")
@pytest.mark.parametrize(("count", "body"), [(1025, 1), (70, 1024 * 1024)], ids=["too many", "too much"])
async def test_copies_in_light_queues_take_no_more_than_a_bounded_part_of_memory(bench: BrokerBench, count: int, body: int) -> None:
    light = ",".join(f"%LMQ%{number}" for number in range(count))
    answer = await bench.send("t", b"x" * body, properties=f"INNER_MULTI_DISPATCH\x01{light}\x02")
    assert answer.code == ResponseCode.MESSAGE_ILLEGAL
    assert f"is for {count} light queues (INNER_MULTI_DISPATCH): this server copies it to 1024 at most" in (answer.remark or "")
    assert bench.state.store.bounds("t", 0) == bench.state.store.bounds("%LMQ%0", 0) == (0, 0)
    light = ",".join(f"%LMQ%{number}" for number in range(1024))
    assert (await bench.send("t", properties=f"INNER_MULTI_DISPATCH\x01{light}\x02")).code == 0
    assert bench.state.store.bounds("%LMQ%1023", 0) == (0, 1)
