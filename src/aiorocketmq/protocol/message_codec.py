"""Records of stored messages and of batches (Java: `MessageDecoder`, `MessageExtEncoder`). Features A7-A9, A14-A16.

A stored message: int32 size, magic, CRC, queue id, flag, int64 queue offset, commit-log offset, int32 system flag, int64 born time,
born host, int64 store time, store host, int32 reconsume times, int64 prepared-transaction offset, int32 + body, topic (its length takes
1 byte under the first magic, 2 under the second), int16 + properties. A host is 4 or 16 bytes and an int32 port. Pull answers hold such
records back to back.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple, NoReturn, TypeAlias

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.compression import inflater
from aiorocketmq.protocol.sysflag import MessageSysFlag

MAGIC_V1: Final = -626843481
MAGIC_V2: Final = -626843477
MAX_V1_TOPIC: Final = 127
"""Bytes of a topic name from which on the second form of the record is used."""

_HEADS: Final = tuple(
    struct.Struct(f">iiIiiqqiq{16 if born_v6 else 4}siq{16 if store_v6 else 4}siiqi")
    for store_v6 in (False, True)
    for born_v6 in (False, True)
)
"""Everything before the body, by (system flag >> 4) & 3."""
_Head: TypeAlias = tuple[int, int, int, int, int, int, int, int, int, bytes, int, int, bytes, int, int, int, int]
_PLAIN_HEAD: Final = _HEADS[0]
_HOST_FLAGS: Final = MessageSysFlag.BORN_HOST_V6 | MessageSysFlag.STORE_HOST_V6
_COMPRESSED: Final = MessageSysFlag.COMPRESSED
_WRAPPED: Final = MessageSysFlag.INNER_BATCH | MessageSysFlag.NEED_UNWRAP
_SHORT: Final = struct.Struct(">h")
_SYS_FLAG: Final = struct.Struct(">i")
_SYS_FLAG_AT: Final = 36
_BATCH_HEAD: Final = struct.Struct(">iiiii")
_BATCH_OVERHEAD: Final = 22


def decode_messages(
    data: bytes,
    *,
    broker_name: str,
    max_body: int,
    queue: MessageQueue | None = None,
    offset_delta: int = 0,
    read_body: bool = True,
    decompress: bool = True,
) -> list[ReceivedMessage]:
    """Decode records that stand back to back, in one pass.

    Properties are kept as bytes and compressed bodies as they are until someone reads them.

    Args:
        data: Body of a pull, query or view answer.
        broker_name: Broker that answered.
        max_body: Limit in bytes for a body once it is decompressed.
        queue: The queue that was pulled; None takes topic and queue id from each record.
        offset_delta: Added to each queue offset (static topics).
        read_body: False leaves all bodies empty (A14); of batches stored as one record, those of their messages.
        decompress: False leaves compressed bodies as they are stored.

    Raises:
        ProtocolError: A record is damaged; the text names its position. Nothing is returned, so that nothing is skipped.
    """
    messages: list[ReceivedMessage] = []
    size = len(data)
    unpack = _PLAIN_HEAD.unpack_from
    head_size: int = _PLAIN_HEAD.size
    head: _Head
    inflate = inflater(max_body)
    topic_bytes, topic = b"", ""
    queues: dict[tuple[str, int], MessageQueue] = {}
    start = 0
    while start < size:
        body_at = start + head_size
        if body_at > size:
            _damaged(start, "it is cut off")
        head = unpack(data, start)
        sys_flag = head[7]
        if sys_flag & _HOST_FLAGS:
            wide = _HEADS[sys_flag >> 4 & 3]
            body_at = start + wide.size
            if body_at > size:
                _damaged(start, "it is cut off")
            head = wide.unpack_from(data, start)
        (total, magic, crc, queue_id, flag, queue_offset, log_offset, sys_flag, born, born_ip, born_port, stored, store_ip, store_port,
         reconsume_times, prepared, body_length) = head  # fmt: skip
        end = start + total
        body_end = body_at + body_length
        if end > size or body_length < 0 or body_end + 4 > end:
            _damaged(start, f"its size {total} or body length {body_length} is out of range")
        if magic == MAGIC_V1:
            topic_at = body_end + 1
            topic_end = topic_at + data[body_end]
        elif magic == MAGIC_V2:
            topic_at = body_end + 2
            topic_end = topic_at + (data[body_end] << 8 | data[body_end + 1])
        else:
            _damaged(start, f"its magic number is {magic & 0xFFFFFFFF:#x}")
        properties_at = topic_end + 2
        if properties_at > end:
            _damaged(start, "its topic is out of range")
        properties_end = properties_at + (data[topic_end] << 8 | data[topic_end + 1])
        if properties_end > end:
            _damaged(start, "its properties are out of range")
        name = data[topic_at:topic_end]
        if name != topic_bytes:
            topic_bytes, topic = name, name.decode("utf-8", "replace")
        holder = queue
        if holder is None:
            holder = queues.get((topic, queue_id))
            if holder is None:
                holder = queues[topic, queue_id] = MessageQueue(topic, broker_name, queue_id)
        messages.append(ReceivedMessage(
            topic, data[body_at:body_end], data[properties_at:properties_end], holder, queue_offset + offset_delta, log_offset, flag,
            sys_flag, born, born_ip, born_port, stored, store_ip, store_port, reconsume_times, prepared, total, crc,
            inflate if sys_flag & _COMPRESSED else None,
        ))  # fmt: skip
        if sys_flag & _WRAPPED == _WRAPPED:
            messages += _unwrapped(messages.pop())
        start = end
    if not (read_body and decompress):
        for message in messages:
            message.keep_body(read_body)
    return messages


def _unwrapped(outer: ReceivedMessage) -> list[ReceivedMessage]:
    """The messages of a batch that was stored as one record (topics of the type `BatchCQ`); its offset is that of the first (A16).

    One that cannot be read stays one message, as in Java: whoever listens shall decide, and the queue goes on.
    """
    try:
        items = decode_batch(outer.body)
    except ProtocolError:
        return [outer]
    queue, sys_flag = outer.queue, outer.sys_flag & ~_COMPRESSED
    (born_ip, born_port), (store_ip, store_port) = outer.born_address, outer.store_address
    return [
        ReceivedMessage(
            outer.topic, body, properties, queue, outer.queue_offset + index, outer.commit_log_offset, flag, sys_flag,
            outer.born_timestamp, born_ip, born_port, outer.store_timestamp, store_ip, store_port, outer.reconsume_times,
            outer.prepared_transaction_offset, _BATCH_OVERHEAD + len(body) + len(properties), body_crc(body),
        )
        for index, (flag, body, properties) in enumerate(items)
    ]  # fmt: skip


def _damaged(start: int, what: str) -> NoReturn:
    raise ProtocolError(f"the stored message at byte {start} is damaged: {what}")


def decode_message(data: bytes, *, broker_name: str, max_body: int, queue: MessageQueue | None = None) -> ReceivedMessage:
    """Decode a body that holds exactly one record.

    Raises:
        ProtocolError: The record is damaged, or there is not exactly one.
    """
    messages = decode_messages(data, broker_name=broker_name, max_body=max_body, queue=queue)
    if len(messages) != 1:
        raise ProtocolError(f"one stored message was expected, {len(messages)} came")
    return messages[0]


def body_crc(body: bytes) -> int:
    """CRC32 of a stored body, 31 bits."""
    return zlib.crc32(body) & 0x7FFFFFFF


def stored_size(topic: bytes, body_length: int, properties_length: int, sys_flag: int) -> int:
    """Bytes that the record of such a message takes."""
    topic_field = 1 if len(topic) <= MAX_V1_TOPIC else 2
    return _HEADS[sys_flag >> 4 & 3].size + body_length + topic_field + len(topic) + 2 + properties_length


def encode_stored_message(
    topic: str,
    body: bytes,
    properties: bytes,
    *,
    queue_id: int,
    queue_offset: int,
    commit_log_offset: int,
    born_timestamp: int,
    born_ip: bytes,
    born_port: int,
    store_timestamp: int,
    store_ip: bytes,
    store_port: int,
    flag: int = 0,
    sys_flag: int = 0,
    reconsume_times: int = 0,
    prepared_transaction_offset: int = 0,
    crc: int | None = None,
) -> bytes:
    """Encode one record; topics of more than 127 bytes take the second form.

    Args:
        topic: Topic name.
        body: Body as it is stored, that is compressed when the system flag says so.
        properties: Property text in UTF-8, at most 32,767 bytes.
        queue_id: Queue of the topic.
        queue_offset: Offset in that queue.
        commit_log_offset: Offset in the broker's log.
        born_timestamp: Milliseconds since the epoch.
        born_ip: 4 or 16 bytes; sets the flag bit for IPv6 by itself, as does `store_ip`.
        born_port: Port of the sender.
        store_timestamp: Milliseconds since the epoch.
        store_ip: 4 or 16 bytes.
        store_port: Port of the broker.
        flag: The sender's number.
        sys_flag: System flag.
        reconsume_times: Failures so far.
        prepared_transaction_offset: Commit-log offset of the half message.
        crc: `body_crc(body)` when it is known already.

    Raises:
        ProtocolError: A field does not fit.
    """
    hosts = (len(born_ip) == 16) * MessageSysFlag.BORN_HOST_V6 | (len(store_ip) == 16) * MessageSysFlag.STORE_HOST_V6
    sys_flag = sys_flag & ~_HOST_FLAGS | hosts
    name = topic.encode()
    try:
        if len(name) <= MAX_V1_TOPIC:
            magic, name_field = MAGIC_V1, bytes((len(name),))
        else:
            magic, name_field = MAGIC_V2, _SHORT.pack(len(name))
        head = _HEADS[hosts >> 4].pack(
            stored_size(name, len(body), len(properties), sys_flag),
            magic,
            body_crc(body) if crc is None else crc,
            queue_id,
            flag,
            queue_offset,
            commit_log_offset,
            sys_flag,
            born_timestamp,
            born_ip,
            born_port,
            store_timestamp,
            store_ip,
            store_port,
            reconsume_times,
            prepared_transaction_offset,
            len(body),
        )
        return b"".join((head, body, name_field, name, _SHORT.pack(len(properties)), properties))
    except struct.error as error:
        raise ProtocolError(f"the message of topic {topic!r} does not fit in a record: {error}") from None


class BatchItem(NamedTuple):
    """One message inside a batch: the sender's number, the body, and the property text in UTF-8."""

    flag: int
    body: bytes
    properties: bytes


class BatchEncoder:
    """The body of a batch send, message by message. Hot: `add()` runs once per message."""

    __slots__ = ("_body_size", "_flag", "_head", "_parts", "_properties_size", "_short")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        # Messages of one batch are often alike: then the numbers before and behind the body are those of the message before.
        self._flag, self._body_size, self._properties_size = 0, -1, -1
        self._head = self._short = b""

    def __len__(self) -> int:
        return len(self._parts) // 4

    def add(self, flag: int, body: bytes, properties: bytes) -> None:
        """Add one message: the sender's number, the body, and the property text in UTF-8.

        Raises:
            ProtocolError: A field does not fit.
        """
        body_size, size = len(body), len(properties)
        if body_size != self._body_size or size != self._properties_size or flag != self._flag:
            try:
                self._head = _BATCH_HEAD.pack(_BATCH_OVERHEAD + body_size + size, 0, 0, flag, body_size)
                self._short = _SHORT.pack(size)
            except struct.error as error:
                raise ProtocolError(f"message {len(self)} does not fit in a batch: {error}") from None
            self._flag, self._body_size, self._properties_size = flag, body_size, size
        parts = self._parts
        parts.append(self._head)
        parts.append(body)
        parts.append(self._short)
        parts.append(properties)

    def encoded(self) -> bytes:
        """All messages that were added."""
        return b"".join(self._parts)


def decode_batch(data: bytes) -> list[BatchItem]:
    """Decode the body of a batch send.

    Raises:
        ProtocolError: The body is damaged; the text names the position.
    """
    items: list[BatchItem] = []
    size = len(data)
    start = 0
    while start < size:
        body_at = start + _BATCH_HEAD.size
        if body_at > size:
            raise ProtocolError(f"the batched message at byte {start} is damaged: it is cut off")
        total, _magic, _crc, flag, body_length = _BATCH_HEAD.unpack_from(data, start)
        body_end = body_at + body_length
        end = start + total
        if body_length < 0 or end > size or body_end + 2 > end:
            raise ProtocolError(f"the batched message at byte {start} is damaged: size {total}, body length {body_length}")
        (properties_length,) = _SHORT.unpack_from(data, body_end)
        if properties_length < 0 or body_end + 2 + properties_length != end:
            raise ProtocolError(f"the batched message at byte {start} is damaged: properties of {properties_length} bytes")
        items.append(BatchItem(flag, data[body_at:body_end], data[body_end + 2 : end]))
        start = end
    return items
