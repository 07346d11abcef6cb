"""How messages get their receipts from the answer to a pop, and how receipts are joined (Java: `processPopResponse`, `ExtraInfoUtil`).

Answers hold what the receipts of their messages are made of in three texts of entries `kind key value`, joined by `;`; the kind is that of
`model.receipt`. Brokers write the receipts of messages from retry topics themselves. Features H3, H7, H8.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.parsing import number_or_none
from aiorocketmq.model.properties import FIRST_POP_TIME, POP_CK
from aiorocketmq.model.receipt import Receipt, kind_of
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.headers_pop import BatchAck, PopMessageResponseHeader

_ByKey: TypeAlias = dict[tuple[str, str], int]


def _split(text: str, separator: str) -> list[str]:
    """As Java splits: nothing behind the last separators counts."""
    text = text.rstrip(separator)
    return text.split(separator) if text else []


def _entries(text: str | None, what: str) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for entry in _split(text or "", ";"):
        parts = entry.split(" ")
        if len(parts) != 3 or (parts[0], parts[1]) in found:
            raise ProtocolError(f"{what} of a pop is damaged: {entry[:100]!r}")
        found[parts[0], parts[1]] = parts[2]
    return found


def _number(text: str, what: str) -> int:
    value = number_or_none(text)
    if value is None:
        raise ProtocolError(f"{what} of a pop is damaged: {text[:40]!r} is no number")
    return value


def start_offsets(text: str | None) -> _ByKey:
    """`startOffsetInfo`: (kind, queue id) → first offset of the check point.

    Raises:
        ProtocolError: The text is damaged.
    """
    return {key: _number(value, "startOffsetInfo") for key, value in _entries(text, "startOffsetInfo").items()}


def message_offsets(text: str | None) -> dict[tuple[str, str], list[int]]:
    """`msgOffsetInfo`: (kind, queue id) → the offsets of the messages.

    Raises:
        ProtocolError: The text is damaged.
    """
    name = "msgOffsetInfo"
    return {key: [_number(each, name) for each in _split(value, ",")] for key, value in _entries(text, name).items()}


def order_counts(text: str | None) -> _ByKey:
    """`orderCountInfo`: (kind, queue id or `qo<queue id>%<offset>`) → how often the messages, or this one, were popped before.

    Raises:
        ProtocolError: The text is damaged.
    """
    return {key: _number(value, "orderCountInfo") for key, value in _entries(text, "orderCountInfo").items()}


def give_receipts(
    messages: Sequence[ReceivedMessage], header: PopMessageResponseHeader, *, broker_name: str, popped: str, more: str = ""
) -> None:
    """Write receipts into the messages of a pop, as property `POP_CK`, and what they are called by users: the topic that was popped.

    Args:
        messages: As decoded from the answer.
        header: Its header.
        broker_name: The broker that answered.
        popped: The topic that was asked for.
        more: Other properties that the messages get, in the form of the wire.

    Raises:
        ProtocolError: A text of the header is damaged.
    """
    starts, listed = start_offsets(header.start_offset_info), message_offsets(header.msg_offset_info)
    counts = order_counts(header.order_count_info)
    first_pop = f"{more}{FIRST_POP_TIME}\x01{header.pop_time}\x02"
    own: dict[tuple[str, str], list[ReceivedMessage]] = {}
    for message in messages:
        if message.has_property(POP_CK):
            message.add_properties(more if message.has_property(FIRST_POP_TIME) else first_pop)
        else:
            own.setdefault((kind_of(message.topic), str(message.queue.queue_id)), []).append(message)
    for key, batch in own.items():
        batch.sort(key=_offset)
        # A broker says what the offset of a message is where the message itself may say otherwise: in order, one by one.
        offsets = listed.get(key, [])
        if len(offsets) != len(batch):
            offsets = [message.queue_offset for message in batch]
        start = starts.get(key, offsets[0])
        text = f"{POP_CK}\x01{start} {header.pop_time} {header.invisible_time} {header.revive_qid} {key[0]} {broker_name} {key[1]} "
        of_queue = counts.get(key, 0)
        for message, offset in zip(batch, offsets, strict=True):
            message.add_properties(f"{text}{offset}\x02{more if message.has_property(FIRST_POP_TIME) else first_pop}")
            if counts and (count := counts.get((key[0], f"qo{key[1]}%{message.queue_offset}"), of_queue)) > 0:
                message.reconsume_times = count
    for message in messages:
        message.topic = popped


def _offset(message: ReceivedMessage) -> int:
    return message.queue_offset


def batch_acks(receipts: Iterable[tuple[str, Receipt]], group: str) -> list[BatchAck]:
    """The acknowledgements of messages of one broker, joined by what they have in common.

    Args:
        receipts: Popped topics and receipts.
        group: The group that has popped them.
    """
    bits: dict[tuple[str, Receipt], int] = {}
    for topic, receipt in receipts:
        common = topic, receipt._replace(offset=0)
        bits[common] = bits.get(common, 0) | 1 << receipt.offset - receipt.start_offset
    return [
        BatchAck(
            group, topic, common.kind, common.start_offset, common.queue_id, common.revive_queue, common.pop_time, common.invisible_time,
            b64encode(value.to_bytes((value.bit_length() + 7) // 8, "little")).decode(),
        )
        for (topic, common), value in bits.items()
    ]  # fmt: skip
