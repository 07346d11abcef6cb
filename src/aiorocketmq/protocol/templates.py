"""Prepared frames of the two hot requests, sends and pulls: the parts that never change are encoded once.

What comes out is equal on the wire to `frame.encode(RemotingCommand.request(...))` with the same fields. A template cannot carry fields
that a hook adds per request; clients with such hooks take the slow path. Signatures it can.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

from aiorocketmq.model.enums import SerializeType
from aiorocketmq.protocol import jsoncodec
from aiorocketmq.protocol.codes import CURRENT_VERSION, LanguageCode, RequestCode
from aiorocketmq.protocol.frame import BINARY_MARK, MAX_HEADER_LENGTH, PREFIX, prefix
from aiorocketmq.protocol.header_codec import encode_text
from aiorocketmq.protocol.signing import SIGNATURE, SigningKey, sorted_names

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

    Attributes:
        constants: The fields that never change.
    """

    __slots__ = ("_batch_start", "_binary", "_binary_constants", "_code_flag", "_single_start", "constants")

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
        self.constants = constants
        self._binary = serialize_type is SerializeType.ROCKETMQ
        self._code_flag = 2 if oneway else 0
        self._single_start, self._batch_start = _send_starts(constants, self._code_flag, "")
        self._binary_constants = _binary_entries(constants)

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


_HOLES: Final = {"e": "%d", "f": "%d", "g": "%d", "h": "%d", "i": "%s"}
"""The fields of a send that change, in the order of their names: that is the order in which they are signed."""


_Prepared = tuple[SigningKey, tuple[bytes, bytes], tuple[bytes, bytes], bytes]
"""The key; headers, and signed contents, of single messages and of batches; the constant entries of a binary header."""


class SignedSendTemplate(SendTemplate):
    """Frames of the same sends, each signed (Java: `AclClientRPCHook`).

    Args:
        plain: The template of the same frames without a signature.
        current: Tells the key to sign with now; asked for each frame.
    """

    __slots__ = ("_current", "_prepared")

    def __init__(self, plain: SendTemplate, current: Callable[[], SigningKey]) -> None:
        self.constants = plain.constants
        self._binary = plain._binary
        self._code_flag = plain._code_flag
        self._single_start = self._batch_start = self._binary_constants = b""
        self._current = current
        self._prepared = self._prepare(current())

    def _prepare(self, key: SigningKey) -> _Prepared:
        constants = self.constants | key.fields
        single, batch = _send_starts(constants, self._code_flag, ',"Signature":"%s"')
        contents = _content(constants | {"m": "false"}), _content(constants | {"m": "true"})
        return key, (single, batch), contents, _binary_entries(constants)

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
        """Make one frame; arguments and errors as in `SendTemplate.frame()`, and those of asking for the key."""
        key = self._current()
        prepared = self._prepared
        if key is not prepared[0]:
            prepared = self._prepared = self._prepare(key)  # as a whole: several threads may make frames
        text = properties.encode("utf-8", "replace")
        content = prepared[2][batch] % (queue_id, sys_flag, born_timestamp, flag, text)
        signature = key.signature(content, body)
        if self._binary:
            code = RequestCode.SEND_BATCH_MESSAGE if batch else RequestCode.SEND_MESSAGE_V2
            values = b"%d" % queue_id, b"%d" % sys_flag, b"%d" % born_timestamp, b"%d" % flag, text
            entries = [_binary_entry(name, value) for name, value in zip("efghi", values, strict=True) if value]
            entries += [prepared[3], _BATCH if batch else _SINGLE, _binary_entry(SIGNATURE, signature)]
            return _binary_frame(code, self._code_flag, opaque, b"".join(entries), body)
        header = prepared[1][batch] % (queue_id, sys_flag, born_timestamp, flag, jsoncodec.quote(properties), signature, opaque)
        length = len(header)
        if length > MAX_HEADER_LENGTH:
            prefix(0, length, 0)  # raises with the right text
        return b"".join((PREFIX.pack(4 + length + len(body), length), header, body))


def _send_starts(constants: Mapping[str, str], flag: int, more: str) -> tuple[bytes, bytes]:
    """JSON headers with holes, of single messages and of batches; `more` stands behind the fields that change."""
    holes = '"e":"%d","f":"%d","g":"%d","h":"%d","i":%s' + more + '},"opaque":%d}'
    single = _json_start(RequestCode.SEND_MESSAGE_V2, flag, {**constants, "m": "false"})
    batch = _json_start(RequestCode.SEND_BATCH_MESSAGE, flag, {**constants, "m": "true"})
    return (single + holes).encode("ascii"), (batch + holes).encode("ascii")


def _content(constants: Mapping[str, str]) -> bytes:
    """What is signed of a send but for its body, as a %-template with the holes of `_HOLES`."""
    fields = {name: value.replace("%", "%%") for name, value in constants.items()} | _HOLES
    return "".join([fields[name] for name in sorted_names(fields)]).encode("utf-8", "replace")


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
