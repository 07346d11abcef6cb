"""The broker's id of a message: where its commit log holds it (Java: `MessageDecoder.createMessageId`, `MessageId`). Feature A6."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Final, NamedTuple

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.parsing import format_address

_WHERE: Final = struct.Struct(">iq")


def encode_offset_id(ip: bytes, port: int, offset: int) -> str:
    """The id in hex, in capitals; Java's numbers are signed, so a damaged store's may be negative.

    Args:
        ip: Address of the store, 4 or 16 bytes.
        port: Its port, 32 bits signed.
        offset: Offset in its commit log, 64 bits signed.
    """
    return (ip + _WHERE.pack(port, offset)).hex().upper()


class OffsetMessageId(NamedTuple):
    """An offset message id in its parts. 32 hex digits with an IPv4 store host, 56 with IPv6."""

    host: str
    port: int
    offset: int

    def encode(self) -> str:
        """The hex text, in capitals.

        Raises:
            ProtocolError: The host is not an IP address, or a number is out of range.
        """
        try:
            return encode_offset_id(ip_address(self.host).packed, self.port, self.offset)
        except (ValueError, struct.error) as error:
            raise ProtocolError(f"there is no offset message id of {self.host}, {self.port} and {self.offset}: {error}") from None

    @classmethod
    def decode(cls, text: str) -> OffsetMessageId:
        """Read the hex text.

        Raises:
            ProtocolError: The text is not an offset message id.
        """
        if len(text) in (32, 56):
            try:
                data = bytes.fromhex(text)
            except ValueError:
                data = b""
            if len(data) * 2 == len(text):  # fromhex() skips blanks
                port, offset = _WHERE.unpack(data[-12:])
                return cls(str(ip_address(data[:-12])), port, offset)
        raise ProtocolError(f"{text[:64]!r} is not an offset message id", hint="it has 32 or 56 hex digits, see offset_message_id")

    @property
    def address(self) -> str:
        """`host:port`; an IPv6 host is in brackets."""
        return format_address(self.host, self.port)
