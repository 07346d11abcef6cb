"""Decoders of what a peer, a store or a user wrote, on arbitrary input: a value or a `ProtocolError`, whatever is read of it."""

from __future__ import annotations

import zlib
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.offset_id import OffsetMessageId
from aiorocketmq.model.properties import decode_properties, encode_properties
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.compression import compress, decompress
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.frame import encode
from aiorocketmq.protocol.message_codec import decode_messages, encode_stored_message

int32 = st.integers(-(1 << 31), (1 << 31) - 1)
int64 = st.integers(-(1 << 63), (1 << 63) - 1)
addresses = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))
properties = st.one_of(
    st.binary(max_size=60),
    st.lists(st.tuples(st.sampled_from([b"DELAY", b"KEYS", b"TAGS", b"UNIQ_KEY", b"x"]), st.binary(max_size=12)), max_size=4).map(
        lambda pairs: b"".join(name + b"\x01" + value + b"\x02" for name, value in pairs)
    ),
)
READ = [name for name, kind in vars(ReceivedMessage).items() if isinstance(kind, property)] or [
    "body", "born_at", "born_host", "delay_level", "keys", "message_id", "offset_message_id", "properties", "stored_at", "tag",
]  # fmt: skip


def read_all(message: ReceivedMessage) -> None:
    for name in READ:
        try:
            value: Any = getattr(message, name)
        except ProtocolError:
            assert name == "body"
            continue
        assert value is not NotImplemented
        if isinstance(value, datetime):
            assert value.tzinfo is not None and value.astimezone()
    assert message.topic in repr(message)


@pytest.mark.feature("A4", "A8", "A9", "A23")
@given(st.data())
def test_every_field_of_any_record_can_be_read(data: st.DataObject) -> None:
    draw = data.draw
    born_ip, store_ip = draw(addresses), draw(addresses)
    record = encode_stored_message(
        "topic", draw(st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(compress))), draw(properties), queue_id=draw(int32),
        queue_offset=draw(int64), commit_log_offset=draw(int64), flag=draw(int32), sys_flag=draw(st.integers(0, 0x7FF)),
        born_timestamp=draw(int64), born_ip=born_ip, born_port=draw(int32), store_timestamp=draw(int64), store_ip=store_ip,
        store_port=draw(int32), reconsume_times=draw(int32), prepared_transaction_offset=draw(int64),
    )  # fmt: skip
    for message in decode_messages(record, broker_name="b", max_body=1000):
        read_all(message)


@given(st.binary(max_size=40), st.integers(0, 0xFFFF), st.integers(0, 100))
def test_any_body_is_inflated_or_refused(body: bytes, sys_flag: int, limit: int) -> None:
    for data in (body, compress(body), compress(body)[:-1], compress(body) + body, zlib.compress(body * 50)):
        try:
            assert len(decompress(data, sys_flag, limit)) <= max(limit, len(data))
        except ProtocolError:
            continue


@given(st.one_of(st.binary(max_size=80), st.text(max_size=80)))
def test_any_properties_are_a_dictionary_of_what_can_be_sent_again(data: bytes | str) -> None:
    found = decode_properties(data)
    assert all(name and value for name, value in found.items())
    assert decode_properties(encode_properties(found)) == {name: value for name, value in found.items() if "\x01" not in name}


@given(st.one_of(st.text(max_size=60), st.text("0123456789abcdefABCDEF ", min_size=30, max_size=58)))
def test_any_text_is_an_offset_id_or_none(text: str) -> None:
    try:
        where = OffsetMessageId.decode(text)
    except ProtocolError:
        return
    assert where.encode() == text.upper()


@given(st.text(max_size=20), int64, st.integers(-(1 << 70), 1 << 70))
def test_any_parts_make_an_offset_id_or_a_protocol_error(host: str, port: int, offset: int) -> None:
    for name in (host, "10.0.0.1", "::1"):
        try:
            assert OffsetMessageId.decode(OffsetMessageId(name, port, offset).encode()).offset == offset
        except ProtocolError:
            continue


@pytest.mark.feature("O13")
@given(st.data())
def test_damaged_frames_in_any_pieces(data: st.DataObject) -> None:
    """Whatever the pieces: the same commands and the same verdict as in one piece, and never more kept than has come."""
    draw = data.draw
    good = b"".join(encode(RemotingCommand(code, opaque=code, body=bytes(code))) for code in draw(st.lists(st.integers(0, 9), max_size=4)))
    stream = bytearray(good + draw(st.binary(max_size=30)))
    for _ in range(draw(st.integers(0, 3))):
        if stream:
            stream[draw(st.integers(0, len(stream) - 1))] = draw(st.integers(0, 255))
    cuts = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=6)))
    whole = feed([bytes(stream)])
    pieces = [bytes(stream[begin:end]) for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert feed(pieces) == whole


def feed(pieces: list[bytes]) -> tuple[list[RemotingCommand], bool]:
    receiver = FrameReceiver(1 << 20)
    commands: list[RemotingCommand] = []
    came = 0
    for piece in pieces:
        came += len(piece)
        try:
            commands += receiver.feed(piece)
        except ProtocolError:
            return commands + receiver.salvaged, False
        assert receiver.pending <= came
    return commands, True
