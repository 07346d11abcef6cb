"""Messages as users read them (Java: `MessageExt`). Features A1-A4, A17, A18, A23."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from ipaddress import ip_address
from typing import Final, Unpack
from zlib import crc32

from aiorocketmq.model import properties as props
from aiorocketmq.model.message import Message
from aiorocketmq.model.message_fields import MessageFields
from aiorocketmq.model.offset_id import encode_offset_id
from aiorocketmq.model.parsing import INT32_MAX, format_address, number_or_none, time_or_none
from aiorocketmq.model.queue import MessageQueue

_COMPRESSED: Final = 0x1
_COMPRESSION: Final = 0x701
"""Bits of the system flag: that the body is compressed, and how."""
_WRAPPED: Final = 0xC0


class ReceivedMessage:
    """A message as a broker stored it (Java: `MessageExt`).

    Made by the message codec, once per message on the hot path: mutable slots, and properties, hosts, ids and a compressed body are
    worked out only when they are read.

    Attributes:
        topic: Topic as the application knows it (a retried message shows its original topic to listeners).
        queue: Queue that holds the message.
        queue_offset: Offset in that queue.
        flag: The sender's own number.
        sys_flag: Bits of the wire, as stored.
        born_timestamp: Milliseconds since the epoch at which the sender made it.
        store_timestamp: Milliseconds since the epoch at which the broker stored it.
        reconsume_times: How often listeners of the group have failed on it; of a dead letter, too, whatever the kind of consumer.
        prepared_transaction_offset: Commit-log offset of the half message, 0 for a plain one.
        commit_log_offset: Where the broker's log holds it.
        store_size: Bytes that the broker's record takes.
        body_crc: CRC32 of the stored body, 31 bits.
    """

    __slots__ = (
        "_body", "_born_ip", "_born_port", "_inflate", "_properties", "_raw_properties", "_store_ip", "_store_port", "body_crc",
        "born_timestamp", "commit_log_offset", "flag", "prepared_transaction_offset", "queue", "queue_offset", "reconsume_times",
        "store_size", "store_timestamp", "sys_flag", "topic",
    )  # fmt: skip

    def __init__(
        self,
        topic: str,
        body: bytes,
        raw_properties: bytes,
        queue: MessageQueue,
        queue_offset: int,
        commit_log_offset: int,
        flag: int,
        sys_flag: int,
        born_timestamp: int,
        born_ip: bytes,
        born_port: int,
        store_timestamp: int,
        store_ip: bytes,
        store_port: int,
        reconsume_times: int,
        prepared_transaction_offset: int,
        store_size: int,
        body_crc: int,
        inflate: Callable[[bytes, int], bytes] | None = None,
    ) -> None:
        self.topic = topic
        self._body = body
        self._raw_properties = raw_properties
        self._properties: dict[str, str] | None = None
        self.queue = queue
        self.queue_offset = queue_offset
        self.commit_log_offset = commit_log_offset
        self.flag = flag
        self.sys_flag = sys_flag
        self.born_timestamp = born_timestamp
        self._born_ip = born_ip
        self._born_port = born_port
        self.store_timestamp = store_timestamp
        self._store_ip = store_ip
        self._store_port = store_port
        self.reconsume_times = reconsume_times
        self.prepared_transaction_offset = prepared_transaction_offset
        self.store_size = store_size
        self.body_crc = body_crc
        self._inflate = inflate

    @property
    def body(self) -> bytes:
        """The body as it was sent; a compressed one is decompressed at the first read.

        Raises:
            ProtocolError: The stored body is damaged or larger than the limit; in a listener that makes the message a retry.
        """
        inflate = self._inflate
        if inflate is not None:
            self._body = inflate(self._body, self.sys_flag)
            self._inflate = None
        return self._body

    def place_in(self, light_queue: str) -> None:
        """Let `queue_offset` be that of a light queue, where the broker says what it is there; for who reads one (A21)."""
        names = self.properties.get(props.MULTI_DISPATCH, "").split(",")
        offsets = self.properties.get(props.MULTI_QUEUE_OFFSET, "").split(",")
        if light_queue in names and len(names) == len(offsets):
            offset = number_or_none(offsets[names.index(light_queue)], 0)
            self.queue_offset = self.queue_offset if offset is None else offset

    def has_property(self, name: str) -> bool:
        """Whether it has a property, without reading all of them."""
        if self._properties is not None:
            return name in self._properties
        start = f"{name}\x01".encode()
        return self._raw_properties.startswith(start) or b"\x02" + start in self._raw_properties

    def add_properties(self, text: str) -> None:
        """Give it properties that it does not have, in the form of the wire; for whoever receives it (H7)."""
        self._raw_properties = text.encode() + self._raw_properties
        if self._properties is not None:
            self._properties |= props.decode_properties(text)

    def set_property(self, name: str, value: str) -> None:
        """Give one property another value; for whoever receives it (H4)."""
        self.properties[name] = value

    def keep_body(self, stored: bool) -> None:
        """Let `body` be what is stored, compressed or not, or with False nothing at all; for the codec (A14)."""
        self._inflate = None
        if not stored:
            self._body = b""

    def as_stored(self) -> tuple[bytes, int]:
        """The body that a copy of this message is stored with, and the bits of its system flag: still compressed if nobody has read it."""
        compressed = self.sys_flag & _COMPRESSION if self.sys_flag & _COMPRESSED else 0
        if compressed and self._inflate is None and crc32(self._body) & 0x7FFFFFFF != self.body_crc:
            compressed = 0  # it was read
        return self._body, compressed

    @property
    def unwrapped(self) -> bool:
        """True when the broker holds it in one record with the rest of its batch: what it does, it does with all of them (A16)."""
        return self.sys_flag & _WRAPPED == _WRAPPED

    @property
    def stored_body(self) -> bytes:
        """The body as the broker stores it: still compressed when `sys_flag` says so and `body` was not read yet."""
        return self._body

    @property
    def born_address(self) -> tuple[bytes, int]:
        """IP address (4 or 16 bytes) and port of the sender as the broker saw it."""
        return self._born_ip, self._born_port

    @property
    def store_address(self) -> tuple[bytes, int]:
        """IP address (4 or 16 bytes) and port of the broker that stored it."""
        return self._store_ip, self._store_port

    @property
    def stored_body_size(self) -> int:
        """Bytes that the body takes in memory now: the compressed size until `body` is read."""
        return len(self._body)

    @property
    def properties(self) -> dict[str, str]:
        """All properties, the reserved ones included."""
        parsed = self._properties
        if parsed is None:
            parsed = self._properties = props.decode_properties(self._raw_properties)
        return parsed

    @property
    def tag(self) -> str | None:
        return self.properties.get(props.TAGS)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self.properties.get(props.KEYS, "").split())

    @property
    def sharding_key(self) -> str | None:
        return self.properties.get(props.SHARDING_KEY)

    @property
    def transaction_id(self) -> str | None:
        return self.properties.get(props.TRANSACTION_ID) or self.properties.get(props.UNIQ_KEY)

    @property
    def receipt_handle(self) -> str | None:
        """What acknowledges a message that a `PopConsumer` has received; None for messages of other consumers."""
        return self.properties.get(props.POP_CK)

    @property
    def delay_level(self) -> int:
        """Delay level it was sent with; 0 for none, and for a property that is no number."""
        return number_or_none(self.properties.get(props.DELAY, ""), -INT32_MAX, INT32_MAX) or 0

    @property
    def user_properties(self) -> dict[str, str]:
        """The sender's own properties, without the reserved names; a new dictionary."""
        return {name: value for name, value in self.properties.items() if name not in props.RESERVED}

    @property
    def origin_topic(self) -> str:
        """The topic that it was sent to; for messages of a retry or dead-letter topic the one in which they failed first."""
        properties = self.properties
        return properties.get(props.DLQ_ORIGIN_TOPIC) or properties.get(props.RETRY_TOPIC) or self.topic

    def to_message(self, **changes: Unpack[MessageFields]) -> Message:
        """A message to send with the same content: a dead letter once more to `origin_topic`, for example.

        It has the body, tag, keys, sharding key, flag, buyer id, and the sender's own properties; no delay, no priority, no light queues,
        and it gets a new id.

        Args:
            changes: Arguments of `Message` that take the place of what was received, for example `topic="repaired"`.

        Raises:
            ProtocolError: The stored body cannot be decompressed.
            InvalidMessageError: What another client has sent, or one of the changes, cannot be sent.
        """
        properties = self.properties
        fields: MessageFields = {
            "topic": self.origin_topic,
            "tag": self.tag,
            "keys": self.keys,
            "properties": self.user_properties,
            "sharding_key": self.sharding_key,
            "flag": self.flag,
            "buyer_id": properties.get(props.BUYER_ID),
        }
        if "body" not in changes:
            fields["body"] = self.body
        return Message(**(fields | changes))

    @property
    def message_id(self) -> str:
        """The sender's unique id (UNIQ_KEY) when there is one, else the offset id."""
        return self.properties.get(props.UNIQ_KEY) or self.offset_message_id

    @property
    def offset_message_id(self) -> str:
        """The broker's id in hex: store address, port and commit-log offset."""
        return encode_offset_id(self._store_ip, self._store_port, self.commit_log_offset)

    @property
    def born_at(self) -> datetime | None:
        """When the sender made it, in UTC; None when `born_timestamp` is no time, as from a sender that writes microseconds."""
        return time_or_none(self.born_timestamp)

    @property
    def stored_at(self) -> datetime | None:
        """When the broker stored it, in UTC; None when `store_timestamp` is no time."""
        return time_or_none(self.store_timestamp)

    @property
    def born_host(self) -> str:
        """`host:port` of the sender as the broker saw it; an IPv6 host is in brackets."""
        return format_address(str(ip_address(self._born_ip)), self._born_port)

    @property
    def store_host(self) -> str:
        """`host:port` of the broker that stored it; an IPv6 host is in brackets."""
        return format_address(str(ip_address(self._store_ip)), self._store_port)

    @property
    def broker_name(self) -> str:
        return self.queue.broker_name

    def __reduce__(self) -> tuple[object, ...]:
        # Copying and pickling find slots by themselves, but not the fields of the compiled form.
        arguments = (
            self.topic, self._body, self._raw_properties, self.queue, self.queue_offset, self.commit_log_offset, self.flag, self.sys_flag,
            self.born_timestamp, self._born_ip, self._born_port, self.store_timestamp, self._store_ip, self._store_port,
            self.reconsume_times, self.prepared_transaction_offset, self.store_size, self.body_crc, self._inflate,
        )  # fmt: skip
        return type(self), arguments, (None, {"_properties": self._properties})

    def __repr__(self) -> str:
        return (
            f"ReceivedMessage(topic={self.topic!r}, queue={self.queue.broker_name}:{self.queue.queue_id}, offset={self.queue_offset}, "
            f"message_id={self.message_id!r}, body=<{len(self._body)} bytes>, reconsume_times={self.reconsume_times})"
        )
