"""Messages that are taken, acknowledged and come back (protocol.md 6.11)."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.errors import ConfigError, ServiceNotAvailableError
from aiorocketmq.model.receipt import Receipt, kind_of
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.bodies import SubscriptionGroupConfig, TopicConfig
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import RpcHeader
from aiorocketmq.protocol.headers_admin import DeleteTopicRequestHeader
from aiorocketmq.protocol.headers_client import ResetOffsetRequestHeader, UpdateConsumerOffsetRequestHeader
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
from aiorocketmq.protocol.message_codec import decode_messages
from aiorocketmq.server import LocalCluster
from aiorocketmq.server.broker.pop_waiting import MAX_PER_QUEUE
from tests.unit.server.harness import NOW, BrokerBench, FakeChannel, MakeBench, assert_memory_is_the_database, pull_header, settle

pytestmark = pytest.mark.feature("H1")

RETRY = "%RETRY%g_t"


def pop_header(topic: str = "t", **fields: Any) -> PopMessageRequestHeader:
    values: dict[str, Any] = {
        "consumer_group": "g", "topic": topic, "queue_id": -1, "max_msg_nums": 32, "invisible_time": 60_000, "poll_time": 0, "born_time": 0,
        "init_mode": 0,
    }  # fmt: skip
    return PopMessageRequestHeader(**{**values, **fields})


async def pop(bench: BrokerBench, topic: str = "t", **fields: Any) -> RemotingCommand:
    return await bench.ask(RequestCode.POP_MESSAGE, pop_header(topic, **fields))


def messages(answer: RemotingCommand) -> list[ReceivedMessage]:
    return decode_messages(answer.body, broker_name="broker-a", max_body=1 << 20)


def bodies(answer: RemotingCommand) -> list[bytes]:
    return [message.body for message in messages(answer)]


def receipts(answer: RemotingCommand) -> list[Receipt]:
    """What a client makes of an answer."""
    ext = answer.ext_fields
    starts = {tuple(words[:2]): int(words[2]) for words in (part.split(" ") for part in ext["startOffsetInfo"].split(";"))}
    pop_time, invisible, revive_queue = (int(ext[name]) for name in ("popTime", "invisibleTime", "reviveQid"))
    made = []
    for message in messages(answer):
        if "POP_CK" in message.properties:
            made.append(Receipt.decode(message.properties["POP_CK"]))
            continue
        queue_id = message.queue.queue_id
        kind = kind_of(message.queue.topic)
        start = starts[kind, str(queue_id)]
        made.append(Receipt(start, pop_time, invisible, revive_queue, kind, "broker-a", queue_id, message.queue_offset))
    return made


async def ack(bench: BrokerBench, receipt: Receipt, topic: str = "t", group: str = "g", **fields: Any) -> RemotingCommand:
    real = receipt.topic_of(topic, group)
    values = {
        "consumer_group": group,
        "topic": real,
        "queue_id": receipt.queue_id,
        "extra_info": receipt.encode(),
        "offset": receipt.offset,
    }
    return await bench.ask(RequestCode.ACK_MESSAGE, AckMessageRequestHeader(**{**values, **fields}))


async def change(bench: BrokerBench, receipt: Receipt, invisible: int, topic: str = "t", **fields: Any) -> RemotingCommand:
    header = ChangeInvisibleTimeRequestHeader(
        "g", receipt.topic_of(topic, "g"), receipt.queue_id, receipt.encode(), receipt.offset, invisible, **fields
    )
    return await bench.ask(RequestCode.CHANGE_MESSAGE_INVISIBLETIME, header)


async def pass_time(bench: BrokerBench, seconds: float) -> None:
    bench.clock.advance(seconds)
    bench.schedule.look()
    await settle(8)


def out(bench: BrokerBench) -> int:
    """How many messages are out."""
    return int(bench.state.store.select("SELECT count(*) FROM pop_taken")[0][0])


@pytest.fixture
async def filled(bench: BrokerBench) -> BrokerBench:
    """A broker that works, with three messages in one queue."""
    start(bench)
    for number in range(3):
        assert (await bench.send("t", b"%d" % number, default_topic_queue_nums=1, properties=f"TAGS\x01{'AB'[number % 2]}\x02")).code == 0
    return bench


def start(bench: BrokerBench) -> None:
    bench.schedule.start()
    bench.revive.start()


# -- taking ---------------------------------------------------------------------------------------------------------------------------


async def test_a_pop_says_where_its_messages_are_from(filled: BrokerBench) -> None:
    answer = await pop(filled, max_msg_nums=2)
    assert (answer.code, answer.remark) == (0, "FOUND")
    assert answer.ext_fields == {
        "popTime": str(NOW), "invisibleTime": "60000", "reviveQid": "0", "restNum": "1", "startOffsetInfo": "0 0 0",
        "msgOffsetInfo": "0 0 0,1",
    }  # fmt: skip
    assert bodies(answer) == [b"0", b"1"]
    rest = await pop(filled)
    assert bodies(rest) == [b"2"] and rest.ext_fields["reviveQid"] == "1", "check points are spread"
    nothing = await pop(filled)
    assert (nothing.code, nothing.remark) == (ResponseCode.POLLING_TIMEOUT, "NO_MESSAGE_IN_QUEUE")
    assert nothing.ext_fields["msgOffsetInfo"] == nothing.ext_fields["startOffsetInfo"] == ""
    assert filled.state.offsets.query("g", "t", 0) == 3, "operators see how far the group is"
    assert_memory_is_the_database(filled)


async def test_two_pops_of_one_tick_take_different_messages(filled: BrokerBench) -> None:
    channel = FakeChannel()
    for _ in range(2):
        filled.handle(RemotingCommand.request(RequestCode.POP_MESSAGE, pop_header(max_msg_nums=2)), channel)
    await settle()
    assert [bodies(answer) for answer in channel.replies] == [[b"0", b"1"], [b"2"]]
    assert not filled.state.taken._following and not filled.state.taken._making
    assert out(filled) == 3


async def test_a_commit_that_fails_takes_nothing(filled: BrokerBench) -> None:
    channel = FakeChannel()
    filled.state.store.inject_error = "disk full"
    for _ in range(2):
        filled.handle(RemotingCommand.request(RequestCode.POP_MESSAGE, pop_header(max_msg_nums=2)), channel)
    await settle()
    assert [answer.code for answer in channel.replies] == [ResponseCode.SERVICE_NOT_AVAILABLE] * 2
    filled.state.store.inject_error = ""
    assert bodies(await pop(filled)) == [b"0", b"1", b"2"]
    assert out(filled) == 3
    assert_memory_is_the_database(filled)
    await pass_time(filled, 60)
    assert filled.state.store.bounds(RETRY, 0) == (0, 3)


async def test_groups_do_not_see_each_other(filled: BrokerBench) -> None:
    assert len(bodies(await pop(filled))) == 3
    assert len(bodies(await pop(filled, consumer_group="h"))) == 3


async def test_where_a_group_begins(bench: BrokerBench) -> None:
    start(bench)
    for _ in range(3):
        await bench.send("t", default_topic_queue_nums=1)
    assert len(messages(await pop(bench, init_mode=1))) == 3, "a young topic from its beginning"
    queue = bench.state.store.queue("t", 0)
    assert queue is not None
    queue.skip(0, NOW)  # nothing of it is in memory any more
    assert [each.queue_offset for each in messages(await pop(bench, init_mode=1, consumer_group="h"))] == [2], "else with the last message"
    assert len(messages(await pop(bench, init_mode=0, consumer_group="i"))) == 3


async def test_all_queues_of_a_topic_are_looked_at_from_one_by_chance(bench: BrokerBench) -> None:
    bench.state.topics.put(TopicConfig("t", 4, 4))
    for number in range(4):
        await bench.send("t", b"%d" % number, queue_id=number)
    bench.chance = 42
    answer = await pop(bench, max_msg_nums=3)
    assert bodies(answer) == [b"2", b"3", b"0"]
    assert answer.ext_fields["startOffsetInfo"] == "0 2 0;0 3 0;0 0 0" and answer.ext_fields["restNum"] == "1"
    assert bodies(await pop(bench, queue_id=1)) == [b"1"]


@pytest.mark.parametrize(
    ("kind", "exp", "expected"), [("TAG", "A", [b"0", b"2"]), ("SQL92", "TAGS = 'B'", [b"1"]), ("TAG", "*", [b"0", b"1", b"2"])]
)
async def test_filters(filled: BrokerBench, kind: str, exp: str, expected: list[bytes]) -> None:
    answer = await pop(filled, exp_type=kind, exp=exp)
    assert bodies(answer) == expected
    assert [receipt.start_offset for receipt in receipts(answer)] == [0] * len(expected), "the check point begins with what was looked at"
    assert filled.state.offsets.query("g", "t", 0) == expected[-1][0] - ord("0") + 1 or exp == "A" or exp == "TAGS = 'B'"
    for receipt in receipts(answer):
        assert (await ack(filled, receipt)).code == 0
    assert out(filled) == 0


async def test_what_nobody_wants_is_passed_in_turns(bench: BrokerBench) -> None:
    start(bench)
    for number in range(2000):
        filler = bench.send("t", b"%d" % number, default_topic_queue_nums=1, properties="TAGS\x01A\x02")
        await filler
    await bench.send("t", b"wanted", properties="TAGS\x01B\x02")
    channel = FakeChannel()
    request = RemotingCommand.request(RequestCode.POP_MESSAGE, pop_header(exp_type="TAG", exp="B", poll_time=10_000))
    assert bench.handle(request, channel) is None
    await settle(20)
    assert [bodies(answer) for answer in channel.replies] == [[b"wanted"]]


async def test_a_reset_is_where_the_next_pop_begins(filled: BrokerBench) -> None:
    await pop(filled)
    header = ResetOffsetRequestHeader("t", "g", 0, True, 0, 1)
    assert (await filled.ask(RequestCode.INVOKE_BROKER_TO_RESET_OFFSET, header)).code == 0
    assert [each.queue_offset for each in messages(await pop(filled))] == [1, 2]
    assert filled.state.offsets.query("g", "t", 0) == 3


async def test_a_reset_wakes_those_that_wait(filled: BrokerBench) -> None:
    await pop(filled)
    channel = FakeChannel()
    wait(filled, channel)
    await filled.ask(RequestCode.INVOKE_BROKER_TO_RESET_OFFSET, ResetOffsetRequestHeader("t", "g", 0, True, 0, 2))
    await settle()
    assert bodies(channel.replies[0]) == [b"2"]


async def test_a_retry_topic_that_is_asked_for_itself(filled: BrokerBench) -> None:
    await filled.send("%RETRY%h", b"x", producer_group="h")
    answer = await pop(filled, "%RETRY%h", consumer_group="h")
    assert answer.ext_fields["msgOffsetInfo"] == "1 0 0"
    (message,) = messages(answer)
    assert message.queue.topic == "%RETRY%h" and "POP_CK" not in message.properties, "as a real broker: nothing was put into its place"


async def test_of_very_many_queues_those_with_messages_are_looked_at_in_turns(bench: BrokerBench) -> None:
    bench.state.topics.put(TopicConfig("t", 60_000, 60_000))
    for queue_id in (0, 30_000, 59_999):
        await bench.send("t", b"%d" % queue_id, queue_id=queue_id)
    assert sorted(bodies(await pop(bench))) == [b"0", b"30000", b"59999"]
    assert len(list(bench.state.offsets.items())) == 1, "the others got no offset"


async def test_an_offset_that_the_queue_does_not_have_is_put_right(filled: BrokerBench) -> None:
    filled.state.offsets.commit("g", "t", 0, 99)
    await settle()
    assert (await pop(filled)).code == ResponseCode.POLLING_TIMEOUT
    await settle()
    assert filled.state.offsets.query("g", "t", 0) == 3


async def test_a_limit_of_what_may_be_out(make_bench: MakeBench) -> None:
    bench = make_bench(pop_threshold=2)
    for number in range(5):
        await bench.send("t", b"%d" % number, default_topic_queue_nums=1)
    first = await pop(bench, max_msg_nums=3)
    refused = await pop(bench)
    assert (refused.code, refused.ext_fields["restNum"]) == (ResponseCode.POLLING_TIMEOUT, "2")
    assert (await ack(bench, receipts(first)[1])).code == 0
    assert bodies(await pop(bench)) == [b"3", b"4"]


# -- acknowledging --------------------------------------------------------------------------------------------------------------------


async def test_what_is_acknowledged_does_not_come_back(filled: BrokerBench) -> None:
    first, second, third = receipts(await pop(filled))
    answer = await ack(filled, first)
    assert (answer.code, answer.ext_fields) == (0, {})
    assert (await ack(filled, first)).code == 0, "twice is as well"
    assert (await ack(filled, third._replace(pop_time=NOW - 1))).code == 0, "another pop's receipt acknowledges nothing"
    assert (await ack(filled, third._replace(broker_name="broker-b"))).code == 0, "nor does another broker's"
    assert (await ack(filled, second)).code == 0
    await pass_time(filled, 60)
    again = await pop(filled)
    assert bodies(again) == [b"2"]
    (message,) = messages(again)
    assert (message.queue.topic, message.reconsume_times, message.tag) == ("t", 1, "A")
    assert message.properties["1ST_POP_TIME"] == str(NOW) and message.properties["ORIGIN_GROUP"] == "g"
    assert message.properties["POP_CK"] == f"0 {NOW + 60_000} 60000 {again.ext_fields['reviveQid']} 1 broker-a 0 0"
    assert again.ext_fields["msgOffsetInfo"] == "1 0 0"


async def test_what_is_too_late_changes_nothing(filled: BrokerBench) -> None:
    (first, *_) = receipts(await pop(filled, max_msg_nums=1))
    await pass_time(filled, 60.1)
    assert (await ack(filled, first)).code == 0
    filled.chance = 0  # the retry topic first
    answer = await pop(filled, max_msg_nums=1)
    assert bodies(answer) == [b"0"]
    assert (await ack(filled, receipts(answer)[0])).code == 0
    await pass_time(filled, 120)
    assert out(filled) == 0


async def test_many_at_once(filled: BrokerBench) -> None:
    answer = await pop(filled)
    one = receipts(answer)[0]
    bits = base64.b64encode(bytes([0b1101])).decode()  # the last one is beyond the end
    body = BatchAckMessageRequestBody("broker-a", [BatchAck("g", "t", "0", 0, 0, one.revive_queue, one.pop_time, 60_000, bits)])
    assert (await filled.ask(RequestCode.BATCH_ACK_MESSAGE, RpcHeader(), body.encode())).code == 0
    await pass_time(filled, 60)
    again = await pop(filled)
    assert bodies(again) == [b"1"]
    back = receipts(again)[0]
    ack_back = BatchAck("g", "t", back.kind, back.start_offset, back.queue_id, back.revive_queue, back.pop_time, 60_000, "AQ==")
    body = BatchAckMessageRequestBody("", [ack_back])
    assert (await filled.ask(RequestCode.BATCH_ACK_MESSAGE, RpcHeader(), body.encode())).code == 0
    assert out(filled) == 0


async def test_batches_that_say_nothing_or_too_much(filled: BrokerBench) -> None:
    one = receipts(await pop(filled))[0]
    whole = BatchAck("g", "t", "0", 0, 0, 0, one.pop_time, 60_000, "AQ==")

    async def batch(*acks: BatchAck) -> RemotingCommand:
        return await filled.ask(RequestCode.BATCH_ACK_MESSAGE, RpcHeader(), BatchAckMessageRequestBody("broker-a", list(acks)).encode())

    assert (await batch()).code == ResponseCode.NO_MESSAGE
    assert (await batch(whole.replace(retry="7"))).code == ResponseCode.SYSTEM_ERROR
    assert (await batch(whole.replace(bit_set="%"))).code == 0, "no bits at all, to Python's reader"
    assert (await batch(whole.replace(bit_set="A"))).code == ResponseCode.SYSTEM_ERROR
    assert (await batch(whole.replace(topic="nowhere"), whole.replace(queue_id=7))).code == 0
    vast = await batch(whole.replace(bit_set=base64.b64encode(b"\xff" * 300_000).decode()))
    assert vast.code == ResponseCode.INVALID_PARAMETER
    much = whole.replace(bit_set=base64.b64encode(b"\xff" * 3000).decode())
    refused = await batch(*[much] * 4)
    assert refused.code == ResponseCode.INVALID_PARAMETER and "65536" in (refused.remark or "")
    assert out(filled) == 3, "a request that is refused acknowledges nothing"


# -- coming back ----------------------------------------------------------------------------------------------------------------------


async def test_two_hours_take_no_time(filled: BrokerBench) -> None:
    await pop(filled, invisible_time=7_200_000)
    await pass_time(filled, 7_199)
    assert filled.state.store.bounds(RETRY, 0) == (0, 0)
    await pass_time(filled, 1)
    assert filled.state.store.bounds(RETRY, 0) == (0, 3)
    assert filled.state.topics.require(RETRY).read_queue_nums == 1
    assert filled.state.offsets.query("g", RETRY, 0) == 0
    assert out(filled) == 0
    assert_memory_is_the_database(filled)


async def test_it_comes_back_again_and_again_and_is_counted(filled: BrokerBench) -> None:
    seen = []
    answer = await pop(filled, max_msg_nums=1)
    filled.chance = 0
    for _ in range(20):
        await pass_time(filled, 61)
        answer = await pop(filled, max_msg_nums=1)
        seen.append((bodies(answer), messages(answer)[0].reconsume_times, messages(answer)[0].properties["1ST_POP_TIME"]))
    assert seen == [([b"0"], count, str(NOW)) for count in range(1, 21)], "brokers leave it to consumers to give up"
    assert not any("DLQ" in topic.topic_name for topic in filled.state.topics)


async def test_earlier_ones_come_back_earlier(filled: BrokerBench) -> None:
    await pop(filled, max_msg_nums=1, invisible_time=60_000)
    await pop(filled, max_msg_nums=1, invisible_time=10_000)
    await pop(filled, max_msg_nums=1, invisible_time=30_000)
    for seconds, count in ((9, 0), (1, 1), (20, 2), (29, 2), (1, 3)):
        await pass_time(filled, seconds)
        assert filled.state.store.bounds(RETRY, 0)[1] == count
    assert await filled.bodies(RETRY) == [b"1", b"2", b"0"]


async def test_more_than_one_commit_takes(bench: BrokerBench) -> None:
    start(bench)
    bench.state.topics.put(TopicConfig("t", 1, 1))
    for number in range(600):
        await bench.send("t", b"%d" % number)
    for _ in range(19):
        await pop(bench)
    bench.clock.advance(60)
    bench.schedule.look()
    await settle(40)
    assert bench.state.store.bounds(RETRY, 0) == (0, 600)


async def test_what_is_out_survives_a_restart(make_bench: MakeBench, tmp_path: Path) -> None:
    first = make_bench(path=tmp_path / "b.db")
    start(first)
    await first.send("t", b"x", default_topic_queue_nums=1)
    await first.send("t", b"y")
    kept = receipts(await pop(first))[1]
    await first.close()
    second = make_bench(path=tmp_path / "b.db")
    second.clock.advance(30)
    start(second)
    assert (await pop(second)).code == ResponseCode.POLLING_TIMEOUT
    assert (await ack(second, kept)).code == 0, "receipts of the former life are good"
    await pass_time(second, 30)
    assert await second.bodies(RETRY) == [b"x"]


async def test_a_commit_that_fails_brings_it_back_later(filled: BrokerBench) -> None:
    await pop(filled, max_msg_nums=1)
    filled.state.store.inject_error = "disk full"
    await pass_time(filled, 60)
    filled.state.store.inject_error = ""
    assert filled.state.store.bounds(RETRY, 0)[1] == 0 and out(filled) == 1
    await pass_time(filled, 2)
    assert filled.state.store.bounds(RETRY, 0)[1] == 1 and out(filled) == 0


async def test_a_damaged_message_does_not_keep_the_others_away(filled: BrokerBench, caplog: pytest.LogCaptureFixture) -> None:
    await pop(filled)
    store = filled.state.store
    queue = store.queue("t", 0)
    assert queue is not None
    queue.skip(0, NOW)  # nothing is in memory
    store._db.execute("UPDATE messages SET record = x'00' WHERE queue_offset = 1")
    await pass_time(filled, 60)
    assert await filled.bodies(RETRY) == [b"0", b"2"] and out(filled) == 0
    assert "does not come back to g, it is damaged" in caplog.text


async def test_a_store_that_cannot_be_read_now_loses_nothing(filled: BrokerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    await pop(filled)

    def fail(*_: object) -> Any:
        raise ServiceNotAvailableError("the store cannot be read")

    with monkeypatch.context() as patch:
        patch.setattr(filled.state.store, "read", fail)
        await pass_time(filled, 60)
    assert out(filled) == 3
    await pass_time(filled, 2)
    assert out(filled) == 0 and await filled.bodies(RETRY) == [b"0", b"1", b"2"]


async def test_a_message_that_is_full_to_the_brim_comes_back(bench: BrokerBench) -> None:
    start(bench)
    assert (await bench.send("t", b"x", default_topic_queue_nums=1, properties=f"a\x01{'b' * 32_600}\x02")).code == 0
    await pop(bench)
    await pass_time(bench, 60)
    answer = await pop(bench)
    assert bodies(answer) == [b"x"] and messages(answer)[0].reconsume_times == 1
    assert receipts(answer)[0].kind == "1" and (await ack(bench, receipts(answer)[0])).code == 0
    assert out(bench) == 0


@pytest.mark.parametrize(("name", "value"), [("pop_threshold", 0), ("pop_retry_first", 101), ("pop_retry_v2", 1)])
def test_settings_that_cannot_work(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        LocalCluster(**{name: value})  # type: ignore[arg-type]


async def test_operators_change_how_retry_topics_are_popped(filled: BrokerBench) -> None:
    assert (await filled.ask(RequestCode.UPDATE_BROKER_CONFIG, body=b"popFromRetryProbability=0\nenableRetryTopicV2=true")).code == 0
    assert (filled.state.config.pop_retry_first, filled.state.config.pop_retry_v2) == (0, True)
    refused = await filled.ask(RequestCode.UPDATE_BROKER_CONFIG, body=b"popFromRetryProbability=101")
    assert refused.code == ResponseCode.INVALID_PARAMETER and "from 0 to 100" in (refused.remark or "")


async def test_nothing_comes_back_of_what_is_gone(filled: BrokerBench) -> None:
    await pop(filled)
    await pop(filled, consumer_group="h")
    filled.state.groups.delete("h")
    assert (await filled.ask(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader("t"))).code == 0
    assert out(filled) == 0 and not filled.state.taken._keys
    await filled.send("t", b"new", default_topic_queue_nums=1)
    await pass_time(filled, 61)
    assert filled.state.store.bounds(RETRY, 0) == (0, 0)
    assert bodies(await pop(filled)) == [b"new"]


@pytest.mark.parametrize("what", ["pop", "ack", "many", "change", "pull", "commit", "reset"])
@pytest.mark.parametrize("anew", [False, True], ids=["", "and comes anew"])
async def test_who_comes_while_a_topic_goes_leaves_nothing_behind(filled: BrokerBench, what: str, anew: bool) -> None:
    answer = await pop(filled, max_msg_nums=1, order=what in ("ack", "many"))
    one = receipts(answer)[0]
    await settle()
    gone = FakeChannel()
    delete = RemotingCommand.request(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader("t"))
    known = filled.state.topics.require("t")
    assert filled.handle(delete, gone) is None
    if anew:
        filled.state.topics.put(known)
    many = BatchAckMessageRequestBody("broker-a", [BatchAck("g", "t", "0", 0, 0, 999, one.pop_time, 60_000, "AQ==")])
    code, header, body = {
        "pop": (RequestCode.POP_MESSAGE, pop_header(), b""),
        "ack": (RequestCode.ACK_MESSAGE, AckMessageRequestHeader("g", "t", 0, one.encode(), 0), b""),
        "many": (RequestCode.BATCH_ACK_MESSAGE, RpcHeader(), many.encode()),
        "change": (RequestCode.CHANGE_MESSAGE_INVISIBLETIME, ChangeInvisibleTimeRequestHeader("g", "t", 0, one.encode(), 0, 9), b""),
        "pull": (RequestCode.PULL_MESSAGE, pull_header("t", group="g", commit=2), b""),
        "commit": (RequestCode.UPDATE_CONSUMER_OFFSET, UpdateConsumerOffsetRequestHeader("g", "t", 0, 2), b""),
        "reset": (RequestCode.INVOKE_BROKER_TO_RESET_OFFSET, ResetOffsetRequestHeader("t", "g", 0, True, 0, 2), b""),
    }[what]
    filled.handle(RemotingCommand.request(code, header, body), FakeChannel())
    await settle()
    assert [reply.code for reply in gone.replies] == [0]
    for table in ("pop_taken", "pop_queues", "consumer_offsets"):
        assert filled.state.store.select(f"SELECT * FROM {table}") == [], table
    assert filled.state.taken.next_due() is None
    await filled.send("t", b"new", default_topic_queue_nums=1)
    assert filled.state.offsets.query("g", "t", 0) == -1
    assert bodies(await pop(filled)) == [b"new"]
    assert_memory_is_the_database(filled)


async def test_nothing_is_left_of_a_retry_topic_that_goes_while_it_is_popped(filled: BrokerBench) -> None:
    await pop(filled)
    await pass_time(filled, 61)
    for _ in range(20):  # whichever topic is looked at first
        filled.handle(RemotingCommand.request(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader(RETRY)), FakeChannel())
        filled.handle(RemotingCommand.request(RequestCode.POP_MESSAGE, pop_header()), FakeChannel())
        await settle()
        for table, column in (("pop_queues", "topic"), ("consumer_offsets", "topic")):
            assert filled.state.store.select(f"SELECT * FROM {table} WHERE {column} = ?", RETRY) == [], table
        assert out(filled) == 0
        await filled.send("t", b"new")
        await pop(filled)
        await pass_time(filled, 61)
        assert filled.state.store.bounds(RETRY, 0) == (0, 1)
    assert_memory_is_the_database(filled)


async def test_nothing_comes_back_of_a_topic_that_goes(filled: BrokerBench) -> None:
    await pop(filled)
    filled.clock.advance(61)
    filled.handle(RemotingCommand.request(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader("t")), FakeChannel())
    filled.schedule.look()
    await settle(8)
    assert RETRY not in filled.state.topics
    assert filled.state.store.bounds(RETRY, 0) == (0, 0)
    assert out(filled) == 0


@pytest.mark.parametrize("queue_id", [-1, 0, 1])
async def test_what_comes_back_wakes_who_waits_wherever_that_is(filled: BrokerBench, queue_id: int) -> None:
    filled.state.topics.put(filled.state.topics.require("t").replace(read_queue_nums=2))
    await settle()
    assert bodies(await pop(filled)) == [b"0", b"1", b"2"]
    waiting = FakeChannel()
    header = pop_header(queue_id=queue_id, poll_time=100_000, born_time=filled.state.clients_ms())
    assert filled.handle(RemotingCommand.request(RequestCode.POP_MESSAGE, header), waiting) is None
    await settle()
    assert waiting.replies == []
    await pass_time(filled, 61)
    (answer,) = waiting.replies
    assert bodies(answer) == [b"0", b"1", b"2"]


async def test_what_an_older_file_has_left_behind_does_not_keep_the_broker_busy(make_bench: MakeBench, tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    bench = make_bench(path=path)
    bench.state.store.write("INSERT INTO pop_taken VALUES (7, 0, 1, 0, 2, 0)", ())
    await settle()
    assert bench.state.taken.next_due() is None
    await bench.close()
    again = make_bench(path=path)
    await settle()
    assert again.state.store.select("SELECT * FROM pop_taken") == []
    await again.close()


async def test_a_topic_takes_its_retry_topics_with_it(filled: BrokerBench) -> None:
    await pop(filled)
    await pass_time(filled, 61)
    assert (await filled.ask(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader("t"))).code == 0
    assert RETRY not in filled.state.topics


async def test_the_newer_retry_topics(make_bench: MakeBench) -> None:
    bench = make_bench(pop_retry_v2=True)
    start(bench)
    await bench.send("t", b"x", default_topic_queue_nums=1)
    await pop(bench)
    await pass_time(bench, 60)
    assert await bench.bodies("%RETRY%g+t") == [b"x"]
    bench.chance = 50
    assert (await pop(bench)).code == ResponseCode.POLLING_TIMEOUT, "this one looks at the older form"
    bench.chance = 51
    answer = await pop(bench)
    assert answer.ext_fields["msgOffsetInfo"] == "2 0 0" and messages(answer)[0].queue.topic == "t"
    assert (await ack(bench, receipts(answer)[0])).code == 0
    assert out(bench) == 0


# -- changing the time ----------------------------------------------------------------------------------------------------------------


async def test_a_message_may_stay_away_for_longer_or_shorter(filled: BrokerBench) -> None:
    first, second, _ = receipts(await pop(filled))
    answer = await change(filled, first, 300_000)
    assert answer.ext_fields == {"popTime": str(NOW), "invisibleTime": "300000", "reviveQid": "0"}
    await change(filled, second, 1_000)
    await pass_time(filled, 1)
    assert await filled.bodies(RETRY) == [b"1"]
    await pass_time(filled, 60)
    assert await filled.bodies(RETRY) == [b"1", b"2"]
    renewed = first._replace(start_offset=first.offset, pop_time=NOW, invisible_time=300_000)
    assert (await ack(filled, renewed)).code == 0
    await pass_time(filled, 300)
    assert await filled.bodies(RETRY) == [b"1", b"2"]


async def test_what_is_suspended_does_not_count_as_tried(filled: BrokerBench) -> None:
    first, second, _ = receipts(await pop(filled))
    await change(filled, first, 1_000, suspend=True)
    await change(filled, second, 1_000)
    await pass_time(filled, 1)
    assert [each.reconsume_times for each in messages(await pop(filled))] == [0, 1]


# -- in order -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("H9")
async def test_a_queue_is_blocked_until_all_is_acknowledged(filled: BrokerBench) -> None:
    answer = await pop(filled, order=True, max_msg_nums=2)
    assert answer.ext_fields["reviveQid"] == "999" and answer.ext_fields["orderCountInfo"] == "0 0 0"
    first, second = receipts(answer)
    blocked = await pop(filled, order=True)
    assert (blocked.code, blocked.ext_fields["restNum"], blocked.ext_fields["orderCountInfo"]) == (ResponseCode.POLLING_TIMEOUT, "0", "")
    assert (await ack(filled, second)).code == 0
    assert filled.state.offsets.query("g", "t", 0) == 0
    assert (await pop(filled, order=True)).code == ResponseCode.POLLING_TIMEOUT
    assert (await ack(filled, first)).code == 0
    assert filled.state.offsets.query("g", "t", 0) == 2
    assert bodies(await pop(filled, order=True)) == [b"2"]
    assert out(filled) == 0, "there is no check point"


@pytest.mark.feature("H9")
async def test_when_the_time_is_over_the_same_messages_come_again_and_count(filled: BrokerBench) -> None:
    first, _ = receipts(await pop(filled, order=True, max_msg_nums=2))
    await ack(filled, first)
    filled.clock.advance(60)
    again = await pop(filled, order=True)
    assert bodies(again) == [b"1", b"2"]
    assert again.ext_fields["orderCountInfo"] == "0 qo0%1 1;0 0 0"
    filled.clock.advance(60)
    assert (await pop(filled, order=True)).ext_fields["orderCountInfo"] == "0 qo0%1 2;0 qo0%2 1;0 0 1"
    assert (await ack(filled, first._replace(offset=1))).code == 0, "an older pop's receipt"
    refused = await ack(filled, receipts(again)[0]._replace(pop_time=NOW + 120_000, offset=3))
    assert refused.code == ResponseCode.MESSAGE_ILLEGAL and "key:t@g@0, old:1, commit:3, next:-1" in (refused.remark or "")


@pytest.mark.feature("H9")
async def test_who_asks_again_with_the_same_attempt_is_not_blocked(filled: BrokerBench) -> None:
    assert bodies(await pop(filled, order=True, attempt_id="a", max_msg_nums=1)) == [b"0"]
    assert (await pop(filled, order=True, attempt_id="b")).code == ResponseCode.POLLING_TIMEOUT
    again = await pop(filled, order=True, attempt_id="a")
    assert bodies(again) == [b"0", b"1", b"2"] and again.ext_fields["orderCountInfo"] == "0 0 0"


@pytest.mark.feature("H9")
async def test_the_time_of_a_message_in_order_may_be_changed(filled: BrokerBench) -> None:
    (first,) = receipts(await pop(filled, order=True, max_msg_nums=1))
    filled.clock.advance(10)
    answer = await change(filled, first, 100_000)
    assert answer.ext_fields == {"popTime": str(NOW), "invisibleTime": "110000", "reviveQid": "999"}
    filled.clock.advance(60)
    assert (await pop(filled, order=True)).code == ResponseCode.POLLING_TIMEOUT
    filled.clock.advance(40)
    assert bodies(await pop(filled, order=True, max_msg_nums=1)) == [b"0"]


@pytest.mark.feature("H9")
async def test_the_order_survives_a_restart(make_bench: MakeBench, tmp_path: Path) -> None:
    first = make_bench(path=tmp_path / "b.db")
    await first.send("t", b"x", default_topic_queue_nums=1)
    await first.send("t", b"y")
    one, two = receipts(await pop(first, order=True))
    await ack(first, one)
    await first.close()
    second = make_bench(path=tmp_path / "b.db")
    assert (await pop(second, order=True)).code == ResponseCode.POLLING_TIMEOUT
    assert (await ack(second, two)).code == 0
    assert second.state.offsets.query("g", "t", 0) == 2


@pytest.mark.feature("H9")
async def test_a_commit_that_fails_blocks_nothing(filled: BrokerBench) -> None:
    filled.state.store.inject_error = "disk full"
    assert (await pop(filled, order=True)).code == ResponseCode.SERVICE_NOT_AVAILABLE
    filled.state.store.inject_error = ""
    assert len(bodies(await pop(filled, order=True))) == 3


# -- waiting --------------------------------------------------------------------------------------------------------------------------


def wait(bench: BrokerBench, channel: FakeChannel, code: int = RequestCode.POP_MESSAGE, **fields: Any) -> None:
    """Send a pop that is expected to wait."""
    header: Any = pop_header(poll_time=10_000, **fields)
    if code == RequestCode.NOTIFICATION:
        header = NotificationRequestHeader("g", "t", -1, 10_000, 0, **fields)
    assert bench.handle(RemotingCommand.request(code, header), channel) is None


@pytest.fixture
async def empty(bench: BrokerBench) -> BrokerBench:
    start(bench)
    bench.state.topics.put(TopicConfig("t", 2, 2))
    await settle()
    return bench


async def test_a_message_wakes_one_of_a_group_and_whoever_leaves_some_the_next(empty: BrokerBench) -> None:
    first, second, other = FakeChannel(), FakeChannel(), FakeChannel()
    wait(empty, first, max_msg_nums=1)
    wait(empty, second)
    wait(empty, other, consumer_group="h", queue_id=1)
    assert empty.state.pops.count("t", "g", -1) == 2
    _, undisturbed = empty.state.polling._parked["t@g@pop", -1]
    await empty.send("t", b"x")
    await settle()
    assert [bodies(answer) for answer in first.replies] == [[b"x"]] and not second.replies and not other.replies
    assert list(empty.state.polling._parked["t@g@pop", -1]) == [undisturbed]
    wait(empty, first, max_msg_nums=1)
    for body in (b"y", b"z"):
        await empty.send("t", body, queue_id=1)
    await settle()
    assert [bodies(answer) for answer in second.replies] == [[b"y"]] and bodies(first.replies[1]) == [b"z"]
    assert bodies(other.replies[0]) == [b"y"]


async def test_whoever_leaves_messages_wakes_the_next(filled: BrokerBench) -> None:
    await pop(filled)
    channel = FakeChannel()
    wait(filled, channel)
    filled.state.offsets.commit("g", "t", 0, 1)  # which wakes nobody
    assert bodies(await pop(filled, max_msg_nums=1)) == [b"1"]
    await settle()
    assert bodies(channel.replies[0]) == [b"2"]


async def test_a_filter_is_not_woken_for_what_it_does_not_want(empty: BrokerBench) -> None:
    tags, sql = FakeChannel(), FakeChannel()
    wait(empty, tags, exp_type="TAG", exp="A")
    wait(empty, sql, exp_type="SQL92", exp="n > 1", consumer_group="h")
    await empty.send("t", b"x", properties="TAGS\x01B\x02n\x011\x02")
    await settle()
    assert not tags.replies and not sql.replies
    await empty.send("t", b"y", properties="TAGS\x01A\x02n\x012\x02")
    await settle()
    assert bodies(tags.replies[0]) == [b"y"] and bodies(sql.replies[0]) == [b"y"]


async def test_what_comes_back_wakes_too(filled: BrokerBench) -> None:
    await pop(filled, invisible_time=5_000)
    channel, watcher = FakeChannel(), FakeChannel()
    wait(filled, watcher, RequestCode.NOTIFICATION)
    await pass_time(filled, 5)
    assert watcher.replies[0].ext_fields["hasMsg"] == "true"
    assert len(messages(await pop(filled, invisible_time=5_000))) == 3
    wait(filled, channel)
    await pass_time(filled, 5)
    assert sorted(bodies(channel.replies[0])) == [b"0", b"1", b"2"]


@pytest.mark.feature("H9")
async def test_a_queue_that_is_free_again_wakes(filled: BrokerBench) -> None:
    first = receipts(await pop(filled, order=True, max_msg_nums=1))[0]
    channel, watcher = FakeChannel(), FakeChannel()
    wait(filled, channel, order=True, max_msg_nums=1)
    wait(filled, watcher, RequestCode.NOTIFICATION, order=True)
    await ack(filled, first)
    await settle()
    assert bodies(channel.replies[0]) == [b"1"] and watcher.replies == []
    wait(filled, channel, order=True, max_msg_nums=1)
    await pass_time(filled, 60)
    assert bodies(channel.replies[1]) == [b"1"], "its time was over"


@pytest.mark.feature("H9")
@pytest.mark.parametrize("code", [RequestCode.POP_MESSAGE, RequestCode.NOTIFICATION])
async def test_a_queue_whose_time_is_over_wakes(filled: BrokerBench, code: int) -> None:
    await pop(filled, order=True, invisible_time=5_000)
    channel = FakeChannel()
    wait(filled, channel, code, order=True)
    await pass_time(filled, 4.9)
    assert not channel.replies
    await pass_time(filled, 0.1)
    assert channel.replies[0].code == 0 and channel.replies[0].ext_fields.get("hasMsg", "true") == "true"


@pytest.mark.feature("H9")
async def test_a_time_that_was_made_shorter_wakes(filled: BrokerBench) -> None:
    (first,) = receipts(await pop(filled, order=True, max_msg_nums=1))
    channel = FakeChannel()
    wait(filled, channel, order=True)
    await change(filled, first, 1_000)
    await pass_time(filled, 1)
    assert bodies(channel.replies[0]) == [b"0", b"1", b"2"]


async def test_one_that_does_not_read_is_the_last_to_be_woken(empty: BrokerBench) -> None:
    deaf, reading = FakeChannel(), FakeChannel()
    wait(empty, deaf)
    wait(empty, reading)
    deaf.reading = False
    await empty.send("t", b"x")
    await settle()
    assert [bodies(answer) for answer in reading.replies] == [[b"x"]] and not deaf.replies


async def test_a_filter_that_takes_much_memory_is_not_kept(empty: BrokerBench) -> None:
    long = "||".join(f"tag{number}" for number in range(3000))
    answer = await pop(empty, poll_time=10_000, exp_type="TAG", exp=long)
    assert answer.code == ResponseCode.POLLING_FULL


async def test_too_many_may_not_wait(empty: BrokerBench) -> None:
    channel = FakeChannel()
    for _ in range(MAX_PER_QUEUE):
        wait(empty, channel)
    full = await pop(empty, poll_time=10_000)
    assert (full.code, full.remark) == (ResponseCode.POLLING_FULL, "NO_MESSAGE_IN_QUEUE")
    count = await empty.ask(RequestCode.POLLING_INFO, PollingInfoRequestHeader("g", "t", -1))
    assert count.ext_fields == {"pollingNum": str(MAX_PER_QUEUE)}
    assert (await pop(empty, poll_time=10_000, queue_id=0, born_time=NOW - 10_000)).code == ResponseCode.POLLING_TIMEOUT
    assert empty.state.polling.cancel_all(channel) == MAX_PER_QUEUE


async def test_a_topic_that_goes_answers_those_that_wait(empty: BrokerBench) -> None:
    channel = FakeChannel()
    wait(empty, channel)
    await empty.ask(RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader("t"))
    await settle()
    assert channel.replies[0].code == ResponseCode.TOPIC_NOT_EXIST


# -- looking --------------------------------------------------------------------------------------------------------------------------


async def test_looking_takes_nothing(filled: BrokerBench) -> None:
    answer = await filled.ask(RequestCode.PEEK_MESSAGE, PeekMessageRequestHeader("t", -1, 2, "g"))
    assert (answer.code, answer.remark, answer.ext_fields["restNum"]) == (0, "FOUND", "3") and bodies(answer) == [b"0", b"1"]
    told = await filled.ask(RequestCode.NOTIFICATION, NotificationRequestHeader("g", "t", -1, 0, 0))
    assert told.ext_fields == {"hasMsg": "true", "pollingFull": "false"}
    none = await filled.ask(RequestCode.NOTIFICATION, NotificationRequestHeader("g", "t", -1, 0, 0, exp_type="TAG", exp="C"))
    assert none.ext_fields["hasMsg"] == "false"
    assert filled.state.offsets.query("g", "t", 0) == -1
    assert len(bodies(await pop(filled))) == 3
    nothing = await filled.ask(RequestCode.PEEK_MESSAGE, PeekMessageRequestHeader("t", -1, 2, "g"))
    assert (nothing.code, nothing.remark) == (ResponseCode.PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE")


async def test_what_a_roll_back_finds_is_where_it_should_be(filled: BrokerBench) -> None:
    await pop(filled)
    assert (await filled.ask(RequestCode.POP_ROLLBACK)).code == 0
    assert out(filled) == 3


# -- what is refused ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"max_msg_nums": 33}, 29, "greater than 32"),
        ({"max_msg_nums": -1}, 1, "negative"),
        ({"invisible_time": -1}, 1, "negative"),
        ({"topic": "missing"}, 17, "not exist"),
        ({"queue_id": 9}, 29, "queueId[9] is illegal"),
        ({"exp": "a = = b", "exp_type": "SQL92"}, 23, ""),
        ({"exp": "x", "exp_type": "XPATH"}, 23, "XPATH"),
        ({"born_time": NOW - 501}, 210, "timeout too much"),
        ({"topic": "closed"}, 16, "forbidden"),
        ({"consumer_group": "off"}, 16, "no permission"),
        ({"consumer_group": "b@d"}, 26, "not exist"),
    ],
)
async def test_pops_that_are_refused(filled: BrokerBench, fields: dict[str, Any], code: int, words: str) -> None:
    filled.state.topics.put(TopicConfig("closed", 1, 1, perm=2))
    filled.state.groups.put(SubscriptionGroupConfig("off", consume_enable=False))
    answer = await pop(filled, **fields)
    assert answer.code == code and words in (answer.remark or "") and answer.ext_fields["restNum"] == "0"
    assert out(filled) == 0


async def test_a_broker_that_may_not_be_read(filled: BrokerBench) -> None:
    filled.state.perm = 2
    assert (await pop(filled)).code == ResponseCode.NO_PERMISSION
    assert (await filled.ask(RequestCode.PEEK_MESSAGE, PeekMessageRequestHeader("t", -1, 2, "g"))).code == ResponseCode.NO_PERMISSION


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"topic": "missing"}, 17, "not exist"),
        ({"queue_id": 1}, 13, "queueId[1] is illegal"),
        ({"offset": 4}, 208, "offset is illegal, key:t@0, commit:4, store:0~3"),
        ({"extra_info": "nonsense"}, 1, "is none"),
    ],
)
async def test_acknowledgements_that_are_refused(filled: BrokerBench, fields: dict[str, Any], code: int, words: str) -> None:
    one = receipts(await pop(filled))[0]
    answer = await ack(filled, one, **fields)
    assert answer.code == code and words in (answer.remark or "")
    assert out(filled) == 3
