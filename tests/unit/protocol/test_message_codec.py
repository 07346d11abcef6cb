from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.compression import ZLIB_FLAGS, compress
from aiorocketmq.protocol.message_codec import (
    MAGIC_V1,
    MAGIC_V2,
    BatchItem,
    decode_batch,
    decode_message,
    decode_messages,
    encode_stored_message,
    stored_size,
)
from tests.support.records import encode_batch

V4 = bytes((10, 1, 2, 3))
V6 = bytes(range(16))
int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
port = st.integers(0, 65535)
ip = st.sampled_from([V4, V6])
records = st.fixed_dictionaries(
    {
        "topic": st.text("abcdefg%_", min_size=1, max_size=255),
        "body": st.binary(max_size=300),
        "properties": st.binary(max_size=300),
        "queue_id": int32,
        "queue_offset": int64,
        "commit_log_offset": st.integers(0, 2**63 - 1),
        "born_timestamp": int64,
        "born_ip": ip,
        "born_port": port,
        "store_timestamp": int64,
        "store_ip": ip,
        "store_port": port,
        "flag": int32,
        "sys_flag": st.sampled_from([0, 2, 4, 8, 0x300]),
        "reconsume_times": int32,
        "prepared_transaction_offset": int64,
    }
)


def record(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "topic": "orders", "body": b"hello", "properties": b"TAGS\x01TagA\x02", "queue_id": 3, "queue_offset": 7, "commit_log_offset": 99,
        "born_timestamp": 1, "born_ip": V4, "born_port": 5, "store_timestamp": 2, "store_ip": V4, "store_port": 6,
    }  # fmt: skip
    return encode_stored_message(**(fields | changes))


def decode(data: bytes, **options: Any) -> list[Any]:
    return decode_messages(data, **({"broker_name": "b", "max_body": 1000} | options))


@pytest.mark.feature("A7", "A8", "A9", "A23")
@given(st.lists(records, max_size=5))
def test_round_trip(all_fields: list[dict[str, Any]]) -> None:
    data = b"".join(encode_stored_message(**fields) for fields in all_fields)
    messages = decode(data)
    assert len(messages) == len(all_fields)
    for message, fields in zip(messages, all_fields, strict=True):
        assert message.queue == MessageQueue(fields["topic"], "b", fields["queue_id"])
        assert (message._raw_properties, message.body) == (fields["properties"], fields["body"])
        names = ("topic", "queue_offset", "commit_log_offset", "born_timestamp", "store_timestamp", "flag", "reconsume_times")
        assert {name: getattr(message, name) for name in names} == {name: fields[name] for name in names}
        assert message.prepared_transaction_offset == fields["prepared_transaction_offset"]
        assert message.sys_flag & 0x30 == (len(fields["born_ip"]) == 16) * 0x10 | (len(fields["store_ip"]) == 16) * 0x20
        assert message.sys_flag & ~0x30 == fields["sys_flag"]
        assert message.born_host.endswith(f":{fields['born_port']}")
        size = stored_size(fields["topic"].encode(), len(fields["body"]), len(fields["properties"]), message.sys_flag)
        assert message.store_size == size


@pytest.mark.feature("A7")
@pytest.mark.parametrize(("length", "magic"), [(1, MAGIC_V1), (127, MAGIC_V1), (128, MAGIC_V2), (255, MAGIC_V2)])
def test_long_topics_take_the_second_form(length: int, magic: int) -> None:
    data = record(topic="t" * length)
    assert struct.unpack_from(">i", data, 4) == (magic,)
    assert decode_message(data, broker_name="b", max_body=10).topic == "t" * length


@pytest.mark.feature("A8")
def test_ipv6_hosts() -> None:
    message = decode_message(record(born_ip=V6, store_ip=V6), broker_name="b", max_body=10)
    assert message.born_host == "[1:203:405:607:809:a0b:c0d:e0f]:5"
    assert message.offset_message_id == (V6 + struct.pack(">iq", 6, 99)).hex().upper()


def test_the_pulled_queue_and_the_offset_delta_count() -> None:
    queue = MessageQueue("orders", "__syslo__global__", 40)
    (message,) = decode(record(), queue=queue, offset_delta=100)
    assert message.queue is queue
    assert message.queue_offset == 107


def test_queues_are_shared_between_messages() -> None:
    messages = decode(record() + record(queue_id=4) + record())
    assert messages[0].queue is messages[2].queue
    assert [message.queue.queue_id for message in messages] == [3, 4, 3]


@pytest.mark.feature("A12")
def test_inflating_is_lazy_and_limited() -> None:
    (message,) = decode(record(body=compress(b"x" * 900), sys_flag=ZLIB_FLAGS))
    assert message.stored_body_size < 100
    assert message.body == b"x" * 900
    (message,) = decode(record(body=compress(b"x" * 1001), sys_flag=ZLIB_FLAGS))
    with pytest.raises(ProtocolError, match="more than 1000"):
        _ = message.body
    (message,) = decode(record(body=b"nonsense", sys_flag=ZLIB_FLAGS))
    with pytest.raises(ProtocolError, match="damaged"):
        _ = message.body


def test_empty_answer() -> None:
    assert decode(b"") == []


@pytest.mark.feature("A9")
def test_the_checksum_is_kept() -> None:
    assert decode(record(crc=17))[0].body_crc == 17
    assert decode(record())[0].body_crc == 0x3610A686 & 0x7FFFFFFF


def _patched(data: bytes, position: int, layout: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, position, value)
    return bytes(changed)


TOPIC_AT = 88 + 5


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (record()[:50], "cut off"),
        (record()[:-1], "size 112"),
        (_patched(record(), 0, ">i", 0), "size 0"),
        (_patched(record(), 0, ">i", -112), "size -112"),
        (_patched(record(), 0, ">i", 88), "size 88"),
        (_patched(record(), 4, ">I", 0xCBD43194), "magic number is 0xcbd43194"),
        (_patched(record(), 84, ">i", -1), "body length -1"),
        (_patched(record(), 84, ">i", 2**31 - 1), "body length 2147483647"),
        (_patched(record(), TOPIC_AT, ">B", 200), "topic is out of range"),
        (_patched(record(), TOPIC_AT + 7, ">H", 60000), "properties are out of range"),
        (_patched(record(), 36, ">i", 0x30), "out of range"),
    ],
)
def test_damage_is_named_with_its_position(data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=f"byte {len(record())} is damaged: .*{text}"):
        decode(record() + data)


@given(st.data())
def test_any_damage_gives_messages_or_a_protocol_error(data: st.DataObject) -> None:
    good = bytearray(record() + record(born_ip=V6) + record(topic="t" * 130))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        messages = decode(bytes(good[: data.draw(st.integers(0, len(good)))]))
    except ProtocolError:
        return
    assert all(message.topic is not None for message in messages)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_protocol_error_or_nothing(data: bytes) -> None:
    for read in (decode, decode_batch):
        try:
            read(data)
        except ProtocolError:
            continue


def test_exactly_one_message_is_wanted() -> None:
    with pytest.raises(ProtocolError, match="one stored message was expected, 2 came"):
        decode_message(record() * 2, broker_name="b", max_body=10)
    with pytest.raises(ProtocolError, match="0 came"):
        decode_message(b"", broker_name="b", max_body=10)


@pytest.mark.parametrize("changes", [{"properties": b"x" * 32768}, {"queue_id": 2**31}, {"topic": "t" * 40000}, {"flag": 2**31}])
def test_what_does_not_fit_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="does not fit in a record"):
        record(**changes)


@pytest.mark.feature("A15")
@given(st.lists(st.builds(BatchItem, int32, st.binary(max_size=50), st.binary(max_size=50)), max_size=6))
def test_batch_round_trip(items: list[BatchItem]) -> None:
    assert decode_batch(encode_batch(items)) == items


@pytest.mark.feature("A15")
def test_batch_layout() -> None:
    data = encode_batch([BatchItem(-2, b"body", b"p\x01v\x02")])
    assert data == struct.pack(">iiiii", 30, 0, 0, -2, 4) + b"body" + struct.pack(">h", 4) + b"p\x01v\x02"


BATCH = encode_batch([BatchItem(0, b"body", b"prop")])


@pytest.mark.parametrize(
    "data",
    [
        BATCH[:10],
        BATCH[:-1],
        _patched(BATCH, 0, ">i", 0),
        _patched(BATCH, 0, ">i", -30),
        _patched(BATCH, 0, ">i", 31),
        _patched(BATCH, 16, ">i", -1),
        _patched(BATCH, 16, ">i", 5),
        _patched(BATCH, 16, ">i", 2**31 - 1),
        _patched(BATCH, 24, ">h", -1),
        _patched(BATCH, 24, ">h", 3),
    ],
)
def test_damaged_batch(data: bytes) -> None:
    with pytest.raises(ProtocolError, match=f"byte {len(BATCH)} is damaged"):
        decode_batch(BATCH + data)


def test_batch_item_too_large() -> None:
    with pytest.raises(ProtocolError, match="message 1 does not fit"):
        encode_batch([BatchItem(0, b"", b""), BatchItem(0, b"", b"x" * 40000)])


@pytest.mark.feature("A4")
def test_a_record_that_is_cut_anywhere_is_damaged() -> None:
    whole = record(body=b"body", properties=b"TAGS\x01a\x02")
    for length in range(4, len(whole)):
        cut = length.to_bytes(4) + whole[4:length]  # as short as it says
        with pytest.raises(ProtocolError):
            decode(cut)
        with pytest.raises(ProtocolError):
            decode(record() + whole[:length])


@pytest.mark.feature("A16")
def test_a_batch_that_is_stored_as_one_record_is_unwrapped() -> None:
    items = [BatchItem(1, b"one", b"UNIQ_KEY\x01A\x02"), BatchItem(-2, b"two" * 9, b"UNIQ_KEY\x01B\x02TAGS\x01t\x02")]
    body = encode_batch(items)
    for stored, sys_flag in ((body, 0xC0), (compress(body, 5), 0xC0 | ZLIB_FLAGS)):
        inner = record(body=stored, properties=b"INNER_NUM\x012\x02", sys_flag=sys_flag, queue_offset=7, reconsume_times=3)
        before, first, second, after = decode(record(queue_offset=6) + inner + record(queue_offset=9), offset_delta=100)
        assert [message.queue_offset for message in (before, first, second, after)] == [106, 107, 108, 109]
        assert [(message.flag, message.body, message._raw_properties) for message in (first, second)] == items
        assert (first.message_id, second.message_id, second.tag) == ("A", "B", "t")
        for message in (first, second):
            assert (message.topic, message.queue, message.born_host, message.store_host) == (
                before.topic, before.queue, before.born_host, before.store_host,
            )  # fmt: skip
            assert (message.commit_log_offset, message.reconsume_times, message.sys_flag & 1) == (99, 3, 0)


@pytest.mark.feature("A16")
@pytest.mark.parametrize("sys_flag", [0x40, 0x80])
def test_half_of_the_mark_of_a_batch_is_none(sys_flag: int) -> None:
    (message,) = decode(record(sys_flag=sys_flag))
    assert message.body == b"hello"


@pytest.mark.parametrize("body", [b"not a batch", encode_batch([BatchItem(0, b"x", b"")])[:-1], b"\0" * 40])
def test_a_damaged_batch_inside_a_record_stays_one_message(body: bytes) -> None:
    before, odd, after = decode(record() + record(body=body, sys_flag=0xC0) + record())
    assert odd.body == body and before.body == after.body == b"hello"
    (unread,) = decode(record(body=body, sys_flag=0xC0 | ZLIB_FLAGS))
    with pytest.raises(ProtocolError, match="damaged"):
        _ = unread.body


def test_a_record_that_ends_behind_its_body_is_damaged() -> None:
    whole = record(topic="t", body=b"body", properties=b"")
    for cut in range(whole.index(b"body") + 4, len(whole)):
        with pytest.raises(ProtocolError, match="damaged"):
            decode(struct.pack(">i", cut) + whole[4:cut])
