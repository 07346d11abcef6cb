"""Received messages whose numbers nobody would expect; times, ids; copies of compressed ones."""

from __future__ import annotations

import copy as copying
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from aiorocketmq.model.offset_id import OffsetMessageId
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.compression import ZLIB_FLAGS, compress
from aiorocketmq.protocol.message_codec import decode_message, decode_messages, encode_stored_message
from tests.unit.model.test_message import received


@pytest.mark.feature("A23")
@pytest.mark.parametrize("milliseconds", [1_700_000_000_000_000, 2**62, 2**63 - 1, -(2**63), -(10**15)])
def test_a_time_that_is_none_is_none(milliseconds: int) -> None:
    message = received(born_timestamp=milliseconds, store_timestamp=milliseconds)
    assert message.born_at is None and message.stored_at is None
    assert message.born_timestamp == milliseconds


@pytest.mark.feature("A23")
@pytest.mark.parametrize("milliseconds", [0, 1, 1_700_000_000_123, -5, 253_402_214_400_000, -62_135_510_400_000])
def test_every_other_time_is_exact_and_can_be_shown_anywhere(milliseconds: int) -> None:
    for time in (received(born_timestamp=milliseconds).born_at, received(store_timestamp=milliseconds).stored_at):
        assert time is not None and (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) == milliseconds
        assert all(time.astimezone(timezone(timedelta(hours=hours))) == time for hours in (-23, 23))


@pytest.mark.feature("A23", "A17")
@pytest.mark.parametrize(
    ("text", "level"), [("3", 3), ("-1", -1), ("", 0), ("²", 0), ("--5", 0), ("１２", 0), ("1e3", 0), ("9" * 20, 0), ("x", 0)]
)
def test_a_delay_level_is_a_number_or_nothing(text: str, level: int) -> None:
    assert received(f"DELAY\x01{text}\x02".encode()).delay_level == level


@pytest.mark.feature("A6", "A23")
@pytest.mark.parametrize(("port", "offset", "id_"), [(1, -1, "00000001FFFFFFFFFFFFFFFF"), (-1, 1, "FFFFFFFF0000000000000001")])
def test_numbers_of_a_damaged_store_do_not_break_ids(port: int, offset: int, id_: str) -> None:
    message = received(store_port=port, commit_log_offset=offset)
    assert message.message_id == message.offset_message_id == "7F000001" + id_ and id_ in repr(message)
    where = OffsetMessageId.decode(message.offset_message_id)
    assert (where.port, where.offset) == (port, offset) and where.encode() == message.offset_message_id
    assert message.store_host == f"127.0.0.1:{port}"


@pytest.mark.feature("A12", "A23")
@pytest.mark.parametrize("again", [lambda message: pickle.loads(pickle.dumps(message)), copying.copy, copying.deepcopy])
@pytest.mark.parametrize("read_first", [False, True])
def test_a_compressed_message_can_be_pickled_and_copied(again: Callable[[ReceivedMessage], ReceivedMessage], read_first: bool) -> None:
    body = b"x" * 10_000
    record = encode_stored_message(
        "t", compress(body), b"TAGS\x01a\x02", queue_id=0, queue_offset=0, commit_log_offset=1, sys_flag=ZLIB_FLAGS,
        born_timestamp=1, born_ip=bytes(4), born_port=1, store_timestamp=1, store_ip=bytes(4), store_port=1,
    )  # fmt: skip
    message = decode_message(record, broker_name="b", max_body=20_000)
    if read_first:
        assert message.body == body
    made = again(message)
    assert (made.stored_body_size < 100) is not read_first
    assert made.body == body == message.body and made.tag == "a" and made.properties == message.properties


def compressed(**fields: Any) -> ReceivedMessage:
    record = encode_stored_message(
        "t", compress(b"x" * 10_000), b"TAGS\x01a\x02", queue_id=0, queue_offset=0, commit_log_offset=1, sys_flag=ZLIB_FLAGS,
        born_timestamp=1, born_ip=bytes(4), born_port=1, store_timestamp=1, store_ip=bytes(4), store_port=1,
    )  # fmt: skip
    return decode_messages(record, broker_name="b", max_body=20_000, **fields)[0]


@pytest.mark.feature("A14", "Q61")
def test_a_body_stays_compressed_or_is_left_out_on_request() -> None:
    packed = compress(b"x" * 10_000)
    assert compressed().body == b"x" * 10_000
    kept = compressed(decompress=False)
    assert kept.body == kept.stored_body == packed and kept.sys_flag == ZLIB_FLAGS
    for decompress in (False, True):
        bare = compressed(read_body=False, decompress=decompress)
        assert bare.body == bare.stored_body == b"" and bare.tag == "a"


@pytest.mark.feature("A12", "F25")
def test_a_copy_is_stored_compressed_until_the_body_was_read() -> None:
    packed = compress(b"x" * 10_000)
    message = compressed()
    assert message.as_stored() == (packed, ZLIB_FLAGS)
    assert message.body and message.as_stored() == (b"x" * 10_000, 0)
    assert compressed(decompress=False).as_stored() == (packed, ZLIB_FLAGS)
    assert received(sys_flag=0x300).as_stored() == (b"body", 0)
