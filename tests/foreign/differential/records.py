"""Stored messages as servers send them, and batches as they are sent: read and written by the layout alone."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

NAME, FIELD = "\x02", "\x01"
_BORN_V6, _STORE_V6 = 1 << 4, 1 << 5


def properties_text(properties: Mapping[str, str]) -> str:
    """Properties in the form of the wire."""
    return "".join(f"{name}{FIELD}{value}{NAME}" for name, value in properties.items())


def read_properties(text: str) -> dict[str, str]:
    """The other way."""
    pairs = (part.partition(FIELD) for part in text.split(NAME) if part)
    return {name: value for name, _, value in pairs}


def batch(messages: Sequence[tuple[bytes, Mapping[str, str]]]) -> bytes:
    """The body of a batch."""
    parts = []
    for body, properties in messages:
        text = properties_text(properties).encode()
        head = struct.pack(">iiiii", 22 + len(body) + len(text), 0, 0, 0, len(body))
        parts.append(head + body + struct.pack(">h", len(text)) + text)
    return b"".join(parts)


def read_records(data: bytes) -> list[dict[str, Any]]:
    """Every field of the stored messages in a body."""
    found = []
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from(">i", data, at)
        found.append(_record(data[at : at + size]))
        at += size
    return found


def _record(data: bytes) -> dict[str, Any]:
    names = ("size", "magic", "crc", "queueId", "flag", "queueOffset", "physicalOffset", "sysFlag", "bornTime")
    record: dict[str, Any] = dict(zip(names, struct.unpack_from(">iIiiiqqiq", data), strict=True))
    at = 48
    record["bornHost"], at = _host(data, at, 16 if record["sysFlag"] & _BORN_V6 else 4)
    (record["storeTime"],) = struct.unpack_from(">q", data, at)
    record["storeHost"], at = _host(data, at + 8, 16 if record["sysFlag"] & _STORE_V6 else 4)
    record["reconsumeTimes"], record["preparedOffset"], length = struct.unpack_from(">iqi", data, at)
    at += 16
    body = data[at : at + length]
    at += length
    record["body"] = body if len(body) < 200 else (len(body), zlib.crc32(body))
    width = 2 if record["magic"] == 0xDAA320AB else 1
    topic_length = int.from_bytes(data[at : at + width], "big")
    at += width
    record["topic"] = data[at : at + topic_length].decode()
    at += topic_length
    (length,) = struct.unpack_from(">h", data, at)
    record["properties"] = read_properties(data[at + 2 : at + 2 + length].decode())
    record["rest"] = data[at + 2 + length :]
    # Ids that a server makes are longer where its computer has an address of IPv6 alone.
    record["size"] -= max(0, len(record["properties"].get("UNIQ_KEY", "")) - 32)
    return record


def _host(data: bytes, at: int, width: int) -> tuple[str, int]:
    port = struct.unpack_from(">i", data, at + width)[0]
    return f"{'.'.join(map(str, data[at : at + width]))}:{port}", at + width + 4
