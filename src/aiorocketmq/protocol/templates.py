"""Prepared frames of the two hot requests, sends and pulls: the parts that never change are encoded once.

What comes out is equal on the wire to `frame.encode(RemotingCommand.request(...))` with the same fields. A template cannot carry fields
that a hook adds per request (signatures); clients with such hooks take the slow path.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from aiorocketmq.model.enums import SerializeType
from aiorocketmq.protocol import jsoncodec
from aiorocketmq.protocol.codes import CURRENT_VERSION, LanguageCode, RequestCode
from aiorocketmq.protocol.frame import BINARY_MARK, MAX_HEADER_LENGTH, PREFIX, prefix
from aiorocketmq.protocol.header_codec import encode_text

_PYTHON: Final = LanguageCode.PYTHON
_BINARY_FIXED: Final = struct.Struct(">hBhiii")
_INT: Final = struct.Struct(">i")
_SHORT: Final = struct.Struct(">h")


def _json_start(code: int, flag: int, constants: Mapping[str, str]) -> str:
    """A JSON header up to the open end of its extFields, with a trailing comma."""
    fields = jsoncodec.std_dumps(dict(constants)).decode("ascii")[1:-1]
    head = f'{{"code":{int(code)},"flag":{flag},"language":"{_PYTHON.name}","version":{CURRENT_VERSION},"extFields":{{'
    # The result is a %-template, so percent signs of names (retry topics begin with one) are doubled.
    return (head + fields + ("," if fields else "")).replace("%", "%%")


def _binary_entry(name: str, value: bytes) -> bytes:
    key = encode_text(name)
    return b"".join((_SHORT.pack(len(key)), key, _INT.pack(len(value)), value))


def _binary_entries(constants: Mapping[str, str]) -> bytes:
    return b"".join([_binary_entry(name, encode_text(value)) for name, value in constants.items() if name and value])


_LENGTHS: Final = tuple(_INT.pack(length) for length in range(21))
"""Length fields of numbers, which have at most 20 digits."""
_SINGLE: Final = _binary_entry("m", b"false")
_BATCH: Final = _binary_entry("m", b"true")


class SendTemplate:
    """Frames of sends of one group to one topic on one broker (SEND_MESSAGE_V2, SEND_BATCH_MESSAGE).

    Args:
        producer_group: Producer group.
        topic: Topic.
        default_topic: Topic whose settings a new topic inherits.
        default_topic_queue_nums: Queues that a new topic gets.
        broker_name: Broker that the frames go to.
        unit_mode: Whether the client belongs to a unit.
        oneway: True for frames that are never answered.
        extra: More constant fields, for example the namespace (`ns`, `nsd`).
        serialize_type: Encoding of the header.
    """

    __slots__ = ("_batch_start", "_binary", "_binary_constants", "_code_flag", "_single_start")

    def __init__(
        self,
        producer_group: str,
        topic: str,
        default_topic: str,
        default_topic_queue_nums: int,
        broker_name: str | None,
        *,
        unit_mode: bool = False,
        oneway: bool = False,
        extra: Mapping[str, str] | None = None,
        serialize_type: SerializeType = SerializeType.JSON,
    ) -> None:
        constants = {"a": producer_group, "b": topic, "c": default_topic, "d": str(default_topic_queue_nums), "j": "0"}
        constants["k"] = "true" if unit_mode else "false"
        if broker_name is not None:
            constants["n"] = broker_name
        constants.update(extra or {})
        flag = 2 if oneway else 0
        holes = '"e":"%d","f":"%d","g":"%d","h":"%d","i":%s},"opaque":%d}'
        single = _json_start(RequestCode.SEND_MESSAGE_V2, flag, constants | {"m": "false"})
        batch = _json_start(RequestCode.SEND_BATCH_MESSAGE, flag, constants | {"m": "true"})
        self._single_start = (single + holes).encode("ascii")
        self._batch_start = (batch + holes).encode("ascii")
        self._binary = serialize_type is SerializeType.ROCKETMQ
        self._binary_constants = _binary_entries(constants)
        self._code_flag = flag

    def frame(
        self,
        opaque: int,
        queue_id: int,
        sys_flag: int,
        born_timestamp: int,
        flag: int,
        properties: str,
        body: bytes,
        batch: bool = False,
    ) -> bytes:
        """Make one frame.

        Args:
            opaque: Correlation id.
            queue_id: Queue of the broker.
            sys_flag: System flag of the message.
            born_timestamp: Milliseconds since the epoch.
            flag: The sender's number.
            properties: Property text.
            body: Body as it goes over the wire.
            batch: True when the body is a batch.

        Raises:
            ProtocolError: The properties are too long for a frame.
        """
        if self._binary:
            return self._binary_frame(opaque, queue_id, sys_flag, born_timestamp, flag, properties, body, batch)
        start = self._batch_start if batch else self._single_start
        header = start % (queue_id, sys_flag, born_timestamp, flag, jsoncodec.quote(properties), opaque)
        length = len(header)
        if length > MAX_HEADER_LENGTH:
            prefix(0, length, 0)  # raises with the right text
        return b"".join((PREFIX.pack(4 + length + len(body), length), header, body))

    def _binary_frame(
        self, opaque: int, queue_id: int, sys_flag: int, born_timestamp: int, flag: int, properties: str, body: bytes, batch: bool
    ) -> bytes:
        code = RequestCode.SEND_BATCH_MESSAGE if batch else RequestCode.SEND_MESSAGE_V2
        text = encode_text(properties)
        e, f, g, h = b"%d" % queue_id, b"%d" % sys_flag, b"%d" % born_timestamp, b"%d" % flag
        entries = b"".join(
            (
                self._binary_constants,
                _BATCH if batch else _SINGLE,
                b"\0\1e", _LENGTHS[len(e)], e,
                b"\0\1f", _LENGTHS[len(f)], f,
                b"\0\1g", _LENGTHS[len(g)], g,
                b"\0\1h", _LENGTHS[len(h)], h,
                b"\0\1i" + _INT.pack(len(text)) if text else b"", text,
            )
        )  # fmt: skip
        return _binary_frame(code, self._code_flag, opaque, entries, body)


def _binary_frame(code: int, flag: int, opaque: int, entries: bytes, body: bytes) -> bytes:
    length = _BINARY_FIXED.size + 4 + len(entries)
    fixed = _BINARY_FIXED.pack(code, _PYTHON, CURRENT_VERSION, opaque, flag, 0)
    return b"".join((prefix(BINARY_MARK, length, len(body)), fixed, _INT.pack(len(entries)), entries, body))


class PullTemplate:
    """Frames of pulls from one queue (PULL_MESSAGE, LITE_PULL_MESSAGE).

    Args:
        consumer_group: Consumer group.
        topic: Topic.
        queue_id: Queue of the broker.
        broker_name: Broker that the frames go to.
        max_msg_nums: Most messages of one answer.
        max_msg_bytes: Most bytes of one answer, as a wish.
        suspend_timeout_millis: How long the broker may hold the request.
        sub_version: Version of the subscription, milliseconds since the epoch.
        subscription: Expression, when the request itself is to carry it, else None.
        expression_type: `TAG` or `SQL92`.
        lite: True for lite pulls, which the broker serves from other threads.
        extra: More constant fields, for example the namespace (`ns`, `nsd`).
        serialize_type: Encoding of the header.
    """

    __slots__ = ("_binary", "_binary_constants", "_code", "_start")

    def __init__(
        self,
        consumer_group: str,
        topic: str,
        queue_id: int,
        broker_name: str | None,
        *,
        max_msg_nums: int,
        max_msg_bytes: int,
        suspend_timeout_millis: int,
        sub_version: int,
        subscription: str | None = None,
        expression_type: str | None = None,
        lite: bool = False,
        extra: Mapping[str, str] | None = None,
        serialize_type: SerializeType = SerializeType.JSON,
    ) -> None:
        constants = {
            "consumerGroup": consumer_group,
            "topic": topic,
            "queueId": str(queue_id),
            "maxMsgNums": str(max_msg_nums),
            "maxMsgBytes": str(max_msg_bytes),
            "suspendTimeoutMillis": str(suspend_timeout_millis),
            "subVersion": str(sub_version),
        }
        if subscription is not None:
            constants["subscription"] = subscription
        if expression_type is not None:
            constants["expressionType"] = expression_type
        if broker_name is not None:
            constants["bname"] = broker_name
        constants.update(extra or {})
        self._code = RequestCode.LITE_PULL_MESSAGE if lite else RequestCode.PULL_MESSAGE
        holes = '"queueOffset":"%d","sysFlag":"%d","commitOffset":"%d"},"opaque":%d}'
        self._start = (_json_start(self._code, 0, constants) + holes).encode("ascii")
        self._binary = serialize_type is SerializeType.ROCKETMQ
        self._binary_constants = _binary_entries(constants)

    def frame(self, opaque: int, queue_offset: int, sys_flag: int, commit_offset: int) -> bytes:
        """Make one frame.

        Args:
            opaque: Correlation id.
            queue_offset: Offset to pull from.
            sys_flag: Bits of `PullSysFlag`.
            commit_offset: Offset to commit, counts when the COMMIT_OFFSET bit is set.
        """
        if self._binary:
            entries = b"".join(
                (
                    self._binary_constants,
                    _binary_entry("queueOffset", b"%d" % queue_offset),
                    _binary_entry("sysFlag", b"%d" % sys_flag),
                    _binary_entry("commitOffset", b"%d" % commit_offset),
                )
            )
            return _binary_frame(self._code, 0, opaque, entries, b"")
        header = self._start % (queue_offset, sys_flag, commit_offset, opaque)
        return PREFIX.pack(4 + len(header), len(header)) + header
