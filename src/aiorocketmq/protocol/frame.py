"""Writing whole frames (Java: `RemotingCommand.encode`, `NettyEncoder`).

A frame is: int32 length of what follows, int32 mark (high byte: header encoding, low 24 bits: header length), header, body.
"""

from __future__ import annotations

import struct
from typing import Final

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.enums import SerializeType
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header_codec import MAX_BINARY_CODE, encode_header

PREFIX: Final = struct.Struct(">iI")
MAX_HEADER_LENGTH: Final = 0xFFFFFF
BINARY_MARK: Final = SerializeType.ROCKETMQ.value << 24


def prefix(kind_mark: int, header_length: int, body_length: int) -> bytes:
    """The first 8 bytes of a frame.

    Args:
        kind_mark: 0 for a JSON header, `BINARY_MARK` for a binary one.
        header_length: Bytes of the header, at most 2^24 - 1.
        body_length: Bytes of the body.

    Raises:
        ProtocolError: The header is too long.
    """
    if header_length > MAX_HEADER_LENGTH:
        raise ProtocolError(f"the header has {header_length} bytes, the limit is {MAX_HEADER_LENGTH}", hint="use shorter properties")
    return PREFIX.pack(4 + header_length + body_length, kind_mark | header_length)


def encode_parts(command: RemotingCommand) -> list[bytes]:
    """Encode a command without copying its body: prefix and header in one piece, then the body if there is one.

    Raises:
        ProtocolError: The header does not fit.
    """
    header = encode_header(command)
    binary = command.serialize_type is SerializeType.ROCKETMQ and command.code <= MAX_BINARY_CODE
    head = prefix(BINARY_MARK if binary else 0, len(header), len(command.body)) + header
    return [head, command.body] if command.body else [head]


def encode(command: RemotingCommand) -> bytes:
    """Encode a command to one whole frame.

    Raises:
        ProtocolError: The header does not fit.
    """
    parts = encode_parts(command)
    return parts[0] if len(parts) == 1 else b"".join(parts)
