from __future__ import annotations

import pytest

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.enums import SerializeType
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.frame import BINARY_MARK, encode, encode_parts, prefix


@pytest.mark.feature("O1")
def test_layout(codec: str) -> None:
    frame = encode(RemotingCommand(105, body=b"body", opaque=9))
    header_length = int.from_bytes(frame[4:8], "big")
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert frame[4] == 0
    assert frame[8 : 8 + header_length].startswith(b'{"code":105')
    assert frame[8 + header_length :] == b"body"


@pytest.mark.feature("O1", "O3")
def test_layout_of_a_binary_header() -> None:
    frame = encode(RemotingCommand(105, serialize_type=SerializeType.ROCKETMQ))
    assert frame[4] == 1
    assert int.from_bytes(frame[5:8], "big") == 21 == len(frame) - 8


def test_parts_do_not_copy_the_body() -> None:
    body = b"x" * 100_000
    head, tail = encode_parts(RemotingCommand(10, body=body))
    assert tail is body
    assert head + tail == encode(RemotingCommand(10, body=body))
    assert len(encode_parts(RemotingCommand(10))) == 1


def test_header_too_long() -> None:
    with pytest.raises(ProtocolError, match="16777216 bytes, the limit is 16777215"):
        prefix(0, 1 << 24, 0)
    with pytest.raises(ProtocolError, match="limit"):
        encode(RemotingCommand(10, ext_fields={"properties": "x" * (1 << 24)}))


def test_a_binary_mark_for_pop_codes_is_not_written() -> None:
    frame = encode(RemotingCommand(200050, serialize_type=SerializeType.ROCKETMQ))
    assert int.from_bytes(frame[4:8], "big") & BINARY_MARK == 0
