"""Failed messages against a scripted broker on virtual time: every way back, and none that loses a message."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from aiorocketmq.consumer.runtime import PushRuntime
from aiorocketmq.model.enums import ConsumeResult
from aiorocketmq.model.properties import decode_properties
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import Retry
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.compression import ZLIB_FLAGS, compress
from aiorocketmq.protocol.headers_client import SendMessageRequestHeaderV2
from aiorocketmq.protocol.message_codec import BatchItem, encode_stored_message
from tests.support.records import encode_batch
from tests.unit.consumer.test_pulling import SETTLED
from tests.unit.consumer.world import GROUP, QUEUE, RETRY, TOPIC, ScriptedBroker, consuming, virtual_time


def unfinished(runtime: PushRuntime) -> int:
    return runtime.rebalancer.assigned[QUEUE].messages.count


def accept_sends(broker: ScriptedBroker) -> None:
    def stored(request: RemotingCommand, _: object) -> RemotingCommand:
        return RemotingCommand.response(request, header={"msgId": "00", "queueId": "0", "queueOffset": "0"})

    broker.peer.on(RequestCode.SEND_MESSAGE_V2, stored)


@pytest.mark.feature("F24", "F23", "F26")
@pytest.mark.parametrize(
    ("answer", "level"),
    [(ConsumeResult.RECONSUME_LATER, "0"), (Retry(delay_level=5), "5"), (Retry(delay_level=-1), "-1"), (ValueError("x"), "0")],
)
def test_failed_message_is_given_back_to_its_broker(answer: object, level: str) -> None:
    @virtual_time
    async def run() -> None:
        broker = ScriptedBroker()
        broker.append(b"0", b"bad", b"2")

        async def listener(message: ReceivedMessage) -> object:
            if message.body != b"bad":
                return None
            if isinstance(answer, Exception):
                raise answer
            return answer

        async with consuming(broker, listener) as runtime:
            await asyncio.sleep(SETTLED)
            assert unfinished(runtime) == 0
            (back,) = broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)
            fields = back.command.ext_fields
            assert fields["offset"] == "1000"
            assert fields["group"] == GROUP
            assert fields["delayLevel"] == level
            assert fields["originTopic"] == TOPIC
            assert fields["maxReconsumeTimes"] == "16"
            assert runtime.send_back is not None
            assert runtime.send_back.counters.by_broker == 1
        assert broker.offsets[TOPIC] == 3

    run()


@pytest.mark.feature("A16", "F25")
@virtual_time
async def test_one_failed_message_of_a_batch_that_is_one_record_goes_back_alone() -> None:
    broker = ScriptedBroker()
    broker.batch = 1
    items = [BatchItem(number, body, b"UNIQ_KEY\x01K%d\x02" % number) for number, body in enumerate((b"0", b"1", b"bad", b"3"))]
    body = compress(encode_batch(items))
    broker.append(body, b"x", b"x", b"x")
    outer = encode_stored_message(
        TOPIC, body, b"INNER_NUM\x014\x02", queue_id=0, queue_offset=0, commit_log_offset=77, sys_flag=0xC0 | ZLIB_FLAGS, born_timestamp=1,
        born_port=1, born_ip=b"\x7f\0\0\1", store_timestamp=1, store_ip=b"\x7f\0\0\1", store_port=1,
    )  # fmt: skip
    broker.peer.on(
        RequestCode.PULL_MESSAGE,
        lambda request, connection: (
            broker.pull_answer(request, ResponseCode.SUCCESS, 4, outer)
            if request.ext_fields["queueOffset"] < "4" and request.ext_fields["topic"] == TOPIC
            else broker._park(request, connection)
        ),
    )
    broker.offsets[TOPIC] = 1  # in the middle of the batch
    accept_sends(broker)
    seen = []

    async def listener(message: ReceivedMessage) -> object:
        seen.append(message.body)
        return ConsumeResult.RECONSUME_LATER if message.body == b"bad" else None

    async with consuming(broker, listener) as runtime:
        await asyncio.sleep(SETTLED)
        assert sorted(seen) == [b"1", b"3", b"bad"] and unfinished(runtime) == 0
        (sent,) = broker.peer.of(RequestCode.SEND_MESSAGE_V2)
        assert not broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)  # the broker would send all four
        header = SendMessageRequestHeaderV2.from_ext(sent.command.ext_fields)
        assert (header.topic, sent.command.body, header.sys_flag, header.flag) == (RETRY, b"bad", 0, 2)
        assert decode_properties(header.properties or "")["UNIQ_KEY"] == "K2"
    assert broker.offsets[TOPIC] == 4


@pytest.mark.feature("A12", "F25")
@pytest.mark.parametrize("good", [True, False])
def test_a_body_that_nobody_has_read_goes_to_the_retry_topic_as_it_is_stored(good: bool) -> None:
    """That keeps one whose decompression fails from being tried here for ever, and a small one small."""

    @virtual_time
    async def run() -> None:
        broker = ScriptedBroker()
        body = compress(b"x" * 9000) if good else b"nothing that zlib knows"
        record = encode_stored_message(
            TOPIC, body, b"", queue_id=0, queue_offset=0, commit_log_offset=0, sys_flag=ZLIB_FLAGS, born_timestamp=1,
            born_port=1, born_ip=b"\x7f\0\0\1", store_timestamp=1, store_ip=b"\x7f\0\0\1", store_port=1,
        )  # fmt: skip
        broker.logs[TOPIC].append(record)
        broker.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK, ResponseCode.SYSTEM_ERROR, "scripted")
        accept_sends(broker)

        async def listener(message: ReceivedMessage) -> object:
            return ConsumeResult.RECONSUME_LATER if good else message.body

        async with consuming(broker, listener) as runtime:
            await asyncio.sleep(SETTLED)
            assert unfinished(runtime) == 0
        (sent,) = broker.peer.of(RequestCode.SEND_MESSAGE_V2)
        header = SendMessageRequestHeaderV2.from_ext(sent.command.ext_fields)
        assert (sent.command.body, header.sys_flag) == (body, ZLIB_FLAGS)

    run()


@pytest.mark.feature("F25")
@virtual_time
async def test_message_that_its_broker_refuses_is_sent_to_the_retry_topic() -> None:
    broker = ScriptedBroker()
    broker.append(b"bad", properties=b"TAGS\x01T\x02UNIQ_KEY\x01K1\x02TRAN_MSG\x01true\x02")
    broker.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK, ResponseCode.SYSTEM_ERROR, "scripted")
    accept_sends(broker)

    async def listener(message: ReceivedMessage) -> object:
        return ConsumeResult.RECONSUME_LATER

    async with consuming(broker, listener, max_reconsume_times=5) as runtime:
        await asyncio.sleep(SETTLED)
        assert unfinished(runtime) == 0
        assert runtime.send_back is not None
        assert runtime.send_back.counters.by_send == 1
    (sent,) = broker.peer.of(RequestCode.SEND_MESSAGE_V2)
    fields = sent.command.ext_fields
    properties = decode_properties(fields["i"])
    assert fields["b"] == RETRY
    assert (fields["j"], fields["l"]) == ("1", "5")
    assert properties["RETRY_TOPIC"] == TOPIC
    assert properties["DELAY"] == "3"
    assert properties["TAGS"] == "T"
    assert properties["UNIQ_KEY"] == "K1"
    assert "TRAN_MSG" not in properties
    assert sent.command.body == b"bad"
    assert broker.offsets[TOPIC] == 1


@pytest.mark.feature("F25", "F26")
@pytest.mark.parametrize(("tries", "limit"), [(0, 5), (5, 5), (3, -1)])
@virtual_time
async def test_dead_letter_that_is_sent_counts_what_has_failed(tries: int, limit: int, caplog: pytest.LogCaptureFixture) -> None:
    broker = ScriptedBroker()
    broker.append(b"bad", properties=b"DELAY\x013\x02")
    broker.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK, ResponseCode.SYSTEM_ERROR, "scripted")
    accept_sends(broker)

    async def listener(message: ReceivedMessage) -> object:
        message.reconsume_times = tries
        return Retry(delay_level=-1)

    async with consuming(broker, listener, max_reconsume_times=limit):
        await asyncio.sleep(SETTLED)
    (sent,) = broker.peer.of(RequestCode.SEND_MESSAGE_V2)
    fields = sent.command.ext_fields
    assert (fields["j"], fields["l"]) == (str(tries + 1), str(tries))
    assert "DELAY" not in decode_properties(fields["i"]), "4.x brokers would let the dead wait"
    assert f"has failed {tries + 1} time(s) and is in the dead-letter topic %DLQ%" in caplog.text


@pytest.mark.feature("F25", "F26")
@pytest.mark.parametrize(
    ("tries", "answer", "level"),
    [
        (0, ConsumeResult.RECONSUME_LATER, 3),
        (1, ConsumeResult.RECONSUME_LATER, 4),
        (7, ConsumeResult.RECONSUME_LATER, 10),
        (7, Retry(delay_level=2), 2),
    ],
)
def test_retries_that_are_sent_by_hand_come_later_and_later(tries: int, answer: object, level: int) -> None:
    @virtual_time
    async def run() -> None:
        broker = ScriptedBroker()
        broker.append(b"bad", reconsume_times=tries)
        broker.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK, ResponseCode.SYSTEM_ERROR, "scripted")
        accept_sends(broker)

        async def listener(message: ReceivedMessage) -> object:
            return answer

        async with consuming(broker, listener):
            await asyncio.sleep(SETTLED)
        (sent,) = broker.peer.of(RequestCode.SEND_MESSAGE_V2)
        assert decode_properties(sent.command.ext_fields["i"])["DELAY"] == str(level)
        assert sent.command.ext_fields["j"] == str(tries + 1)

    run()


@pytest.mark.feature("F27")
@virtual_time
async def test_message_that_nobody_takes_is_tried_again_here_after_5_s_and_not_committed() -> None:
    broker = ScriptedBroker()
    broker.append(b"bad", b"good")
    broker.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK, ResponseCode.SYSTEM_ERROR, "scripted")
    broker.peer.answer(RequestCode.SEND_MESSAGE_V2, ResponseCode.NO_PERMISSION, "scripted")
    tries: list[tuple[float, int]] = []

    async def listener(message: ReceivedMessage) -> object:
        if message.body == b"good":
            return None
        tries.append((asyncio.get_running_loop().time(), message.reconsume_times))
        return ConsumeResult.RECONSUME_LATER if len(tries) < 3 else None

    async with consuming(broker, listener) as runtime:
        await asyncio.sleep(SETTLED)
        await runtime.persist_offsets()
        assert TOPIC not in broker.offsets, "the message is nowhere but here"
        await asyncio.sleep(12)
        assert [count for _, count in tries] == [0, 1, 2]
        assert tries[1][0] - tries[0][0] == pytest.approx(5.0, abs=0.1)
        assert unfinished(runtime) == 0
    assert broker.offsets[TOPIC] == 2


@pytest.mark.feature("F28")
@virtual_time
async def test_listener_that_hangs_is_reported_and_its_message_comes_again_with_level_3() -> None:
    broker, release = ScriptedBroker(), asyncio.Event()
    broker.append(b"hangs", b"good")

    async def listener(message: ReceivedMessage) -> None:
        if message.body == b"hangs":
            await release.wait()
            raise ValueError("too late to matter")

    async with consuming(broker, listener, consume_timeout=60.0) as runtime:
        await asyncio.sleep(50)
        assert unfinished(runtime) == 2 - 1
        await asyncio.sleep(40)
        assert unfinished(runtime) == 0
        release.set()
        await asyncio.sleep(1)
        (back,) = broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)
        assert back.command.ext_fields["delayLevel"] == "3"
    assert broker.offsets[TOPIC] == 2


@virtual_time
async def test_retried_message_of_a_topic_without_a_listener_is_given_back() -> None:
    broker = ScriptedBroker()
    broker.append(b"lost child", topic=RETRY, properties=b"RETRY_TOPIC\x01gone\x02", reconsume_times=1)
    seen: list[bytes] = []

    async def listener(message: ReceivedMessage) -> None:
        seen.append(message.body)

    async with consuming(broker, listener):
        await asyncio.sleep(SETTLED)
        (back,) = broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)
        assert back.command.ext_fields["originTopic"] == "gone"
    assert seen == []


@pytest.mark.feature("F29")
@virtual_time
async def test_ordered_message_that_cannot_be_buried_keeps_its_place() -> None:
    broker = ScriptedBroker()
    broker.append(b"bad", b"next")
    broker.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK, ResponseCode.SYSTEM_ERROR, "scripted")
    broker.peer.answer(RequestCode.SEND_MESSAGE_V2, ResponseCode.NO_PERMISSION, "scripted")
    seen: list[bytes] = []

    async def listener(message: ReceivedMessage) -> None:
        seen.append(message.body)
        if message.body == b"bad":
            raise ValueError("again")

    async with consuming(broker, listener, ordered=True, max_reconsume_times=1) as runtime:
        await asyncio.sleep(20)
        assert set(seen) == {b"bad"}
        assert unfinished(runtime) == 2
        broker.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK)
        await asyncio.sleep(10)
        assert seen[-1] == b"next"
        back = broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)[-1].command.ext_fields
        assert back["delayLevel"] == "-1"


@pytest.mark.feature("F29")
@virtual_time
async def test_ordered_message_is_tried_without_end_by_default() -> None:
    broker = ScriptedBroker()
    broker.append(b"bad")
    tries: list[float] = []

    async def listener(message: ReceivedMessage) -> object:
        tries.append(asyncio.get_running_loop().time())
        return ConsumeResult.SUSPEND_CURRENT_QUEUE_A_MOMENT

    async with consuming(broker, listener, ordered=True):
        await asyncio.sleep(60)
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert len(tries) > 50
    assert gaps == pytest.approx([1.0] * len(gaps), abs=0.01)
    assert broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK) == []


@pytest.mark.feature("F2", "F29")
@virtual_time
async def test_ordered_roll_back_neither_counts_tries_nor_buries() -> None:
    broker = ScriptedBroker()
    calls: list[tuple[float, bytes, int]] = []

    async def listener(message: ReceivedMessage) -> ConsumeResult:
        calls.append((asyncio.get_running_loop().time(), message.body, message.reconsume_times))
        return ConsumeResult.ROLLBACK if message.body == b"1" else ConsumeResult.SUCCESS

    broker.append(b"0", b"1", b"2")
    async with consuming(broker, listener, ordered=True, auto_commit=False, max_reconsume_times=1, suspend_current_queue_time=1.0):
        await asyncio.sleep(20)
    times = [at for at, body, _ in calls if body == b"1"]
    assert [body for _, body, _ in calls[:4]] == [b"0", b"1", b"0", b"1"]
    assert all(later - earlier == pytest.approx(1.0) for earlier, later in itertools.pairwise(times))
    assert {tries for _, _, tries in calls} == {0}
    assert broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK) == []
    assert broker.offsets.get(TOPIC, 0) == 0


@pytest.mark.feature("F29")
@virtual_time
async def test_burial_that_failed_counts_as_a_try_and_is_tried_again() -> None:
    broker = ScriptedBroker()
    broker.append(b"bad", b"good")
    seen: list[tuple[bytes, int]] = []
    broker.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK, ResponseCode.SYSTEM_ERROR, "scripted")
    broker.peer.answer(RequestCode.SEND_MESSAGE_V2, ResponseCode.NO_PERMISSION, "scripted")

    async def listener(message: ReceivedMessage) -> None:
        seen.append((message.body, message.reconsume_times))
        if message.body == b"bad":
            raise ValueError("scripted")

    async with consuming(broker, listener, ordered=True, max_reconsume_times=1, suspend_current_queue_time=0.5):
        await asyncio.sleep(SETTLED)
        assert {body for body, _ in seen} == {b"bad"}
        assert [tries for _, tries in seen] == list(range(len(seen)))
        assert len(seen) >= 3
        broker.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK)
        await asyncio.sleep(2)
        assert seen[-1] == (b"good", 0)
    assert broker.offsets[TOPIC] == 2


@pytest.mark.feature("F27", "F21")
@virtual_time
async def test_message_kept_for_another_try_goes_back_when_its_topic_was_unsubscribed() -> None:
    broker = ScriptedBroker()

    async def listener(message: ReceivedMessage) -> None:
        raise ValueError("scripted")

    async with consuming(broker, listener) as runtime:
        await asyncio.sleep(SETTLED)
        broker.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK, ResponseCode.SYSTEM_ERROR, "scripted")
        broker.peer.answer(RequestCode.SEND_MESSAGE_V2, ResponseCode.SYSTEM_ERROR, "scripted")
        broker.append(b"r", topic=RETRY, properties=f"RETRY_TOPIC\x01{TOPIC}\x02".encode())
        await asyncio.sleep(3.5)
        assert runtime.send_back is not None
        assert runtime.send_back.backlog == 1
        runtime.subscriptions_table.remove(TOPIC)
        await runtime.subscription_changed(TOPIC)
        broker.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK)
        await asyncio.sleep(10)
        assert runtime.send_back.backlog == 0
        assert runtime.offsets(RETRY) == {QUEUE._replace(topic=RETRY): 1}


@pytest.mark.feature("F24", "F29")
@virtual_time
async def test_message_that_is_too_long_to_be_stored_again_is_buried_without_its_longest_property() -> None:
    broker = ScriptedBroker()
    broker.append(b"full", b"after", properties=f"small\x01kept\x02large\x01{'v' * 32600}\x02".encode())
    sent: list[dict[str, str]] = []
    broker.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK, ResponseCode.MESSAGE_ILLEGAL, "too long")

    def store(request: RemotingCommand, _: object) -> RemotingCommand:
        properties = request.ext_fields["i"]
        if len(properties) > 32767 - 200:
            return RemotingCommand.response(request, ResponseCode.MESSAGE_ILLEGAL, "too long")
        sent.append(dict(decode_properties(properties)) | {"tries": request.ext_fields["j"]})
        return RemotingCommand.response(request, header={"msgId": "x", "queueId": "0", "queueOffset": "0"})

    broker.peer.on(RequestCode.SEND_MESSAGE_V2, store)
    tries: list[int] = []

    async def listener(message: ReceivedMessage) -> None:
        tries.append(message.reconsume_times)
        raise ValueError("scripted")

    async with consuming(broker, listener, max_reconsume_times=2) as runtime:
        await asyncio.sleep(30)
        assert unfinished(runtime) == 0
    assert sorted(tries) == [0, 0, 1, 1, 2, 2]
    assert [(letter["small"], letter["tries"], "large" in letter) for letter in sent] == [("kept", "3", False)] * 2
    assert broker.offsets[TOPIC] == 2
