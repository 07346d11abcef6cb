"""Half messages on the embedded broker: parked, ended once, asked about, given up; whatever is asked of it and in whatever order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.names import HALF_TOPIC, OP_TOPIC, UNDECIDED_TOPIC
from aiorocketmq.model.properties import decode_properties
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import CheckTransactionStateRequestHeader, EndTransactionRequestHeader
from aiorocketmq.protocol.message_codec import decode_message, decode_messages
from aiorocketmq.server.broker.config import BrokerConfig
from aiorocketmq.server.store.records import HALF
from tests.unit.server.harness import NOW, BrokerBench, FakeChannel, MakeBench, settle

END = RequestCode.END_TRANSACTION
COMMIT, ROLLBACK, UNKNOWN = 8, 12, 0
PROPERTIES = "TRAN_MSG\x01true\x02PGROUP\x01pay\x02UNIQ_KEY\x01TX1\x02TAGS\x01T\x02KEYS\x01k\x02"


class Half:
    """What a producer knows of its half message."""

    def __init__(self, answer: RemotingCommand) -> None:
        fields = answer.ext_fields
        self.log_offset = int(fields["msgId"][-16:], 16)
        self.queue_offset = int(fields["queueOffset"])
        self.queue_id = int(fields["queueId"])

    def end(self, decision: int, **changes: Any) -> EndTransactionRequestHeader:
        fields = {
            "producer_group": "pay",
            "tran_state_table_offset": self.queue_offset,
            "commit_log_offset": self.log_offset,
            "commit_or_rollback": decision,
            "msg_id": "TX1",
            "transaction_id": "TX1",
            "topic": "orders",
        }
        return EndTransactionRequestHeader(**(fields | changes))


async def send_half(bench: BrokerBench, topic: str = "orders", body: bytes = b"paid", properties: str = PROPERTIES, **fields: Any) -> Half:
    answer = await bench.send(topic, body, queue_id=2, properties=properties, producer_group="pay", **fields)
    assert answer.code == 0, answer.remark
    return Half(answer)


async def messages(bench: BrokerBench, topic: str, queue_id: int = 0) -> list[ReceivedMessage]:
    answer = await bench.pull(topic, queue_id=queue_id)
    return decode_messages(answer.body, broker_name="broker-a", max_body=1 << 20)


async def end(bench: BrokerBench, half: Half, decision: int, **changes: Any) -> RemotingCommand:
    return await bench.ask(END, half.end(decision, **changes))


def open_halves(bench: BrokerBench) -> int:
    return sum(entry.kind == HALF for entry in bench.state.store.scheduled_between(0, 1 << 62))


def producer(bench: BrokerBench, group: str = "pay", address: str = "127.0.0.1:50009") -> FakeChannel:
    """A connection of a producer that has said hello."""
    channel = FakeChannel(address)
    bench.state.clients.register_producer(group, channel, f"client@{address}", 12, 479)  # type: ignore[arg-type]
    return channel


def asked(channel: FakeChannel) -> list[tuple[CheckTransactionStateRequestHeader, ReceivedMessage]]:
    """What a producer was asked."""
    return [
        (CheckTransactionStateRequestHeader.from_ext(each.ext_fields), decode_message(each.body, broker_name="", max_body=1 << 20))
        for each in channel.sent
        if each.code == RequestCode.CHECK_TRANSACTION_STATE
    ]


@contextmanager
def running(bench: BrokerBench) -> Iterator[Callable[[float], Any]]:
    """The schedule at work; gives a function that lets time pass."""

    async def later(seconds: float) -> None:
        bench.clock.advance(seconds)
        bench.schedule._run()
        await settle(8)

    bench.schedule.start()
    try:
        yield later
    finally:
        bench.schedule.stop()


async def test_half_message_is_parked_with_its_real_place(bench: BrokerBench) -> None:
    half = await send_half(bench)
    assert (half.queue_id, half.queue_offset) == (2, 0)
    assert await bench.bodies("orders", 2) == []
    (parked,) = await messages(bench, HALF_TOPIC)
    assert parked.body == b"paid"
    assert parked.sys_flag & 0xC == 0
    properties = parked.properties
    assert (properties["REAL_TOPIC"], properties["REAL_QID"], properties["PGROUP"]) == ("orders", "2", "pay")
    assert properties["__transactionId__"] == "TX1"
    assert open_halves(bench) == 1


async def test_half_messages_can_be_forbidden(make_bench: MakeBench) -> None:
    bench = make_bench(reject_transactions=True)
    refused = await bench.send("new", b"paid", properties=PROPERTIES, producer_group="pay")
    assert refused.code == ResponseCode.NO_PERMISSION
    assert refused.remark == "the broker[127.0.0.1] sending transaction message is forbidden"
    assert bench.state.topics.get("new") is None, "a request that is refused leaves nothing behind"
    assert await bench.bodies(HALF_TOPIC) == []
    assert (await bench.send("orders", b"plain")).code == 0


async def test_commit_delivers_and_notes_it(bench: BrokerBench) -> None:
    half = await send_half(bench)
    assert (await end(bench, half, COMMIT)).code == 0
    (message,) = await messages(bench, "orders", 2)
    assert (message.body, message.tag, message.keys, message.transaction_id) == (b"paid", "T", ("k",), "TX1")
    assert message.sys_flag & 0xC == 0x8
    assert message.prepared_transaction_offset == half.log_offset
    assert message.born_timestamp == NOW
    assert not {"REAL_TOPIC", "REAL_QID"} & message.properties.keys()
    assert message.properties["TRAN_MSG"] == "true"
    (note,) = await messages(bench, OP_TOPIC)
    assert (note.body, note.tag) == (b"0,", "d")
    assert open_halves(bench) == 0
    assert await bench.ask(RequestCode.VIEW_MESSAGE_BY_ID, {"offset": str(message.commit_log_offset)})


async def test_rollback_delivers_nothing(bench: BrokerBench) -> None:
    half = await send_half(bench)
    assert (await end(bench, half, ROLLBACK)).code == 0
    assert await bench.bodies("orders", 2) == []
    assert len(await messages(bench, OP_TOPIC)) == 1
    assert open_halves(bench) == 0


async def test_unknown_is_not_answered_and_changes_nothing(bench: BrokerBench) -> None:
    half = await send_half(bench)
    channel = FakeChannel()
    for decision in (UNKNOWN, 4, -1):
        assert bench.handle(RemotingCommand.request(END, half.end(decision)), channel) is None
    await settle()
    assert channel.replies == []
    assert open_halves(bench) == 1


@pytest.mark.parametrize(("first", "second"), [(COMMIT, ROLLBACK), (ROLLBACK, COMMIT), (COMMIT, COMMIT)])
@pytest.mark.parametrize("same_tick", [True, False])
async def test_transaction_ends_once(bench: BrokerBench, first: int, second: int, same_tick: bool) -> None:
    half = await send_half(bench)
    channels = [FakeChannel(), FakeChannel()]
    answers = []
    for decision, channel in zip((first, second), channels, strict=True):
        answers.append(bench.handle(RemotingCommand.request(END, half.end(decision)), channel))
        if not same_tick:
            await settle()
    await settle()
    codes = [answer.code if answer is not None else channel.replies[0].code for answer, channel in zip(answers, channels, strict=True)]
    assert codes == [0, ResponseCode.SYSTEM_ERROR]
    assert await bench.bodies("orders", 2) == ([b"paid"] if first == COMMIT else [])
    assert len(await messages(bench, OP_TOPIC)) == 1


async def test_end_that_could_not_be_stored_can_be_told_again(bench: BrokerBench) -> None:
    half = await send_half(bench)
    bench.state.store.inject_error = "disk full"
    assert (await end(bench, half, COMMIT)).code == ResponseCode.SERVICE_NOT_AVAILABLE
    bench.state.store.inject_error = ""
    assert open_halves(bench) == 1
    assert (await end(bench, half, COMMIT)).code == 0
    assert await bench.bodies("orders", 2) == [b"paid"]


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ({"producer_group": "others"}, "The producer group wrong"),
        ({"tran_state_table_offset": 7}, "The transaction state table offset wrong"),
        ({"commit_log_offset": 1 << 40}, "Find prepared transaction message failed"),
    ],
)
async def test_wrong_fields_are_refused(bench: BrokerBench, changes: dict[str, Any], remark: str) -> None:
    half = await send_half(bench)
    for decision in (COMMIT, ROLLBACK):
        answer = await end(bench, half, decision, **changes)
        assert (answer.code, answer.remark) == (ResponseCode.SYSTEM_ERROR, remark)
    assert open_halves(bench) == 1


async def test_plain_message_cannot_be_committed(bench: BrokerBench) -> None:
    plain = Half(await bench.send("orders", b"plain", properties="UNIQ_KEY\x01TX1\x02PGROUP\x01pay\x02"))
    answer = await end(bench, plain, COMMIT)
    assert (answer.code, answer.remark) == (ResponseCode.SYSTEM_ERROR, "Find prepared transaction message failed")


async def test_delay_of_a_half_message_is_ignored(bench: BrokerBench) -> None:
    half = await send_half(bench, properties=PROPERTIES + "DELAY\x013\x02")
    await end(bench, half, COMMIT)
    assert await bench.bodies("orders", 2) == [b"paid"]


async def test_transactional_message_that_failed_comes_back_as_any_other(bench: BrokerBench) -> None:
    half = await send_half(bench)
    await end(bench, half, COMMIT)
    (message,) = await messages(bench, "orders", 2)
    fields = {"offset": str(message.commit_log_offset), "group": "readers", "delayLevel": "1", "originTopic": "orders"}
    assert (await bench.ask(RequestCode.CONSUMER_SEND_MSG_BACK, fields)).code == 0
    assert len(await messages(bench, HALF_TOPIC)) == 1
    assert len(await messages(bench, "SCHEDULE_TOPIC_XXXX")) == 1
    again = {"TRAN_MSG": "true", "PGROUP": "pay", "DELAY": "1", "UNIQ_KEY": "TX1"}
    text = "".join(f"{name}\x01{value}\x02" for name, value in again.items())
    assert (await bench.send("%RETRY%readers", properties=text, reconsume_times=1)).code == 0
    assert len(await messages(bench, HALF_TOPIC)) == 1


async def test_producer_is_asked_again_and_again(bench: BrokerBench) -> None:
    with running(bench) as later:
        half, channel = await send_half(bench), producer(bench)
        await later(5.9)
        assert asked(channel) == []
        await later(0.2)
        await later(29.0)
        assert len(asked(channel)) == 1
        await later(1.1)
        first, second = asked(channel)
        await end(bench, half, COMMIT, from_transaction_check=True)
        await later(100)
    assert len(asked(channel)) == 2
    header, message = first
    assert (header.tran_state_table_offset, header.commit_log_offset) == (half.queue_offset, half.log_offset)
    assert (header.msg_id, header.transaction_id, header.topic, header.bname) == ("TX1", "TX1", HALF_TOPIC, "broker-a")
    assert (message.topic, message.queue.queue_id, message.body, message.tag) == ("orders", 2, b"paid", "T")
    assert [each.properties["TRANSACTION_CHECK_TIMES"] for each in (message, second[1])] == ["1", "2"]
    assert await bench.bodies("orders", 2) == [b"paid"]


@pytest.mark.parametrize("decision", [COMMIT, ROLLBACK])
async def test_decision_that_meets_a_check_ends_the_transaction_all_the_same(bench: BrokerBench, decision: int) -> None:
    """The check is not committed yet when the decision comes: the next one must not find the half message open."""
    with running(bench) as later:
        half, channel = await send_half(bench), producer(bench)
        bench.clock.advance(6.1)
        bench.schedule._run()
        first = FakeChannel()
        assert bench.handle(RemotingCommand.request(END, half.end(decision)), first) is None  # type: ignore[arg-type]
        await settle(8)
        assert [reply.code for reply in first.replies] == [0]
        assert len(asked(channel)) == 1
        assert open_halves(bench) == 0
        answer = await end(bench, half, COMMIT, from_transaction_check=True)
        assert answer.code == ResponseCode.SYSTEM_ERROR
        await later(60)
        assert len(asked(channel)) == 1
    assert await bench.bodies("orders", 2) == ([b"paid"] if decision == COMMIT else [])
    assert bench.state.store.settings("half") == {}


async def test_decision_that_meets_the_giving_up_comes_too_late(make_bench: MakeBench) -> None:
    bench = make_bench(transaction_timeout=1, transaction_check_interval=2, transaction_check_max=1)
    with running(bench) as later:
        half = await send_half(bench)
        await later(1.1)
        bench.clock.advance(2.1)
        bench.schedule._run()
        answer = bench.handle(RemotingCommand.request(END, half.end(COMMIT)), FakeChannel())  # type: ignore[arg-type]
        assert answer is not None and answer.code == ResponseCode.SYSTEM_ERROR
        await settle(8)
    assert await bench.bodies("orders", 2) == []
    assert [message.body for message in await messages(bench, UNDECIDED_TOPIC)] == [b"paid"]


async def test_check_that_meets_a_decision_asks_nobody(bench: BrokerBench) -> None:
    with running(bench) as later:
        half, channel = await send_half(bench), producer(bench)
        bench.clock.advance(6.1)
        assert bench.handle(RemotingCommand.request(END, half.end(COMMIT)), FakeChannel()) is None  # type: ignore[arg-type]
        bench.schedule._run()
        await settle(8)
        await later(60)
    assert asked(channel) == []
    assert await bench.bodies("orders", 2) == [b"paid"]


async def test_producers_of_the_group_take_turns(bench: BrokerBench) -> None:
    with running(bench) as later:
        await send_half(bench)
        channels = [producer(bench, address=f"127.0.0.1:5000{number}") for number in range(3)]
        other = producer(bench, "others", "127.0.0.1:50010")
        channels[0].closed = True
        channels[1].reading = False
        await later(6.1)
        await later(30)
    assert [len(asked(channel)) for channel in channels] == [0, 0, 2]
    assert asked(other) == []


async def test_producers_that_all_read_take_turns(bench: BrokerBench) -> None:
    channels = [producer(bench, address=f"127.0.0.1:5000{number}") for number in range(3)]
    with running(bench) as later:
        await send_half(bench)
        await later(6.1)
        for _ in range(5):
            await later(30)
    assert [len(asked(channel)) for channel in channels] == [2, 2, 2]


async def test_immunity_time_of_a_message_delays_its_check_and_refuses_late_decisions(bench: BrokerBench) -> None:
    with running(bench) as later:
        half, channel = await send_half(bench, properties=PROPERTIES + "CHECK_IMMUNITY_TIME_IN_SECONDS\x0160\x02"), producer(bench)
        await later(59)
        assert asked(channel) == []
        await later(2)
        assert len(asked(channel)) == 1
        for decision in (COMMIT, ROLLBACK):
            assert (await end(bench, half, decision)).code == ResponseCode.ILLEGAL_OPERATION
        assert (await end(bench, half, COMMIT, from_transaction_check=True)).code == 0
    assert await bench.bodies("orders", 2) == [b"paid"]


async def test_what_nobody_decides_is_given_up(make_bench: MakeBench) -> None:
    bench = make_bench(transaction_timeout=1, transaction_check_interval=2, transaction_check_max=3)
    with running(bench) as later:
        half, channel = await send_half(bench), producer(bench)
        await later(1.1)
        for _ in range(5):
            await later(2.1)
        assert len(asked(channel)) == 3
        assert (await end(bench, half, COMMIT, from_transaction_check=True)).code == ResponseCode.SYSTEM_ERROR
    (message,) = await messages(bench, UNDECIDED_TOPIC)
    assert (message.body, message.properties["REAL_TOPIC"]) == (b"paid", "orders")
    assert open_halves(bench) == 0
    assert bench.state.store.settings("half") == {}


async def test_checks_go_on_after_a_restart(make_bench: MakeBench, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"transaction_timeout": 1, "transaction_check_interval": 2, "transaction_check_max": 3}
    path = tmp_path / "broker.db"
    first = make_bench(path=path, **settings)
    with running(first) as later:
        half = await send_half(first)
        await later(1.1)
        await later(2.1)
    await first.close()
    second = make_bench(path=path, **settings)
    second.clock.advance(60)
    with running(second) as later:
        channel = producer(second)
        await later(0)
        ((_, message),) = asked(channel)
        assert message.properties["TRANSACTION_CHECK_TIMES"] == "3"
        assert (await end(second, half, ROLLBACK, from_transaction_check=True)).code == 0
        await later(10)
    assert await messages(second, UNDECIDED_TOPIC) == []


async def test_half_message_whose_topic_is_gone_stays_open(bench: BrokerBench) -> None:
    half = await send_half(bench)
    bench.state.topics.delete("orders")
    await settle()
    assert (await end(bench, half, COMMIT)).code == ResponseCode.TOPIC_NOT_EXIST
    assert open_halves(bench) == 1
    assert (await end(bench, half, ROLLBACK)).code == 0


async def test_hostile_times_are_taken_for_what_they_can_mean(bench: BrokerBench) -> None:
    for text in ("99999999999999999", "-1", "soon", ""):
        await send_half(bench, properties=PROPERTIES + f"CHECK_IMMUNITY_TIME_IN_SECONDS\x01{text}\x02")
    assert open_halves(bench) == 4
    assert all(entry.at < NOW + 11 * 365 * 86_400_000 for entry in bench.state.store.scheduled_between(0, 1 << 62))


async def test_messages_are_asked_for_only_by_their_real_keys(bench: BrokerBench) -> None:
    half = await send_half(bench)
    query = {"topic": "orders", "key": "TX1", "maxNum": "10", "beginTimestamp": "0", "endTimestamp": str(NOW * 2)}
    assert (await bench.ask(RequestCode.QUERY_MESSAGE, query)).code == ResponseCode.QUERY_NOT_FOUND
    await end(bench, half, COMMIT)
    assert (await bench.ask(RequestCode.QUERY_MESSAGE, query)).code == 0
    assert decode_properties(PROPERTIES)["UNIQ_KEY"] == "TX1"


@pytest.mark.parametrize("field", ["transaction_timeout", "transaction_check_interval", "transaction_check_max"])
@pytest.mark.parametrize("value", [0, -1, "x", None])
def test_settings_that_cannot_work_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        BrokerConfig(**{field: value})


async def test_that_nobody_can_be_asked_is_said_once_a_minute_for_each_group(bench: BrokerBench, caplog: pytest.LogCaptureFixture) -> None:
    with running(bench) as later:
        for _ in range(50):
            await send_half(bench)
        await send_half(bench, properties=PROPERTIES.replace("PGROUP\x01pay", "PGROUP\x01ship"))
        for _ in range(4):
            await later(30.0)
    told = [record.getMessage() for record in caplog.records if "no producer of group" in record.getMessage()]
    assert [text.partition(" of group ")[2].split()[0] for text in told] == ["pay", "ship"] * 2
    assert told[0] == "transaction TX1 is open, and no producer of group pay is connected (check 1)"
    assert told[2].endswith("; the same was found 99 times more since that was said last")


async def test_producers_that_do_not_read_are_asked_once_they_do_and_that_does_not_count_before(make_bench: MakeBench) -> None:
    bench = make_bench(transaction_check_max=3)
    channel = producer(bench)
    channel.reading = False
    with running(bench) as later:
        await send_half(bench)
        for _ in range(200):
            await later(1.1)
        assert asked(channel) == [] and open_halves(bench) == 1
        channel.reading = True
        await later(1.1)
    ((_, message),) = asked(channel)
    assert message.properties["TRANSACTION_CHECK_TIMES"] == "1"


async def test_questions_of_one_commit_take_a_bounded_part_of_memory(bench: BrokerBench) -> None:
    channel = producer(bench)
    with running(bench) as later:
        for _ in range(20):
            await send_half(bench, body=bytes(1024 * 1024))
        counts = []
        await later(6.1)
        for _ in range(4):
            counts.append(len(asked(channel)))
            await later(0.1)
    assert counts == [8, 16, 20, 20]
    assert all(message.properties["TRANSACTION_CHECK_TIMES"] == "1" for _, message in asked(channel))
