"""What the message trace says, in the layout that Java's tools read (Java: `TraceDataEncoder`, `TraceBean`). Feature E9.

One record is a line of fields, ended by U+0002 and separated by U+0001; what is missing reads `null`. A trace message holds many records,
and the ids and keys of all messages in them are its keys, so that brokers find it by any of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final, TypeAlias

FIELD_END: Final = "\x01"
RECORD_END: Final = "\x02"
DEFAULT_REGION: Final = "DefaultRegion"
"""The region of brokers that are told none."""


class TracedKind(IntEnum):
    """What kind of message was sent (Java: `MessageType`; the numbers are those of its members)."""

    NORMAL = 0
    TRANSACTION_HALF = 1
    TRANSACTION_COMMIT = 2
    DELAY = 3
    ORDER = 4


@dataclass(frozen=True, slots=True)
class Pub:
    """A message was sent, or was not.

    Attributes:
        timestamp: When the send began, in milliseconds since the epoch.
        region: Region of the broker.
        group: Producer group.
        topic: Topic.
        message_id: Unique id.
        tag: Tag.
        keys: Keys, joined by blanks.
        store_host: Address of the broker.
        body_length: Bytes of the body, as the user gave it.
        cost_ms: Milliseconds that the send took.
        kind: Kind of the message.
        offset_message_id: Where it is stored.
        success: It is stored as well as was asked for.
    """

    name: ClassVar[str] = "Pub"

    timestamp: int
    region: str | None
    group: str
    topic: str
    message_id: str
    tag: str | None
    keys: str | None
    store_host: str
    body_length: int
    cost_ms: int
    kind: TracedKind
    offset_message_id: str
    success: bool

    def fields(self) -> tuple[object, ...]:
        """The fields in their order."""
        return (
            self.timestamp, self.region, self.group, self.topic, self.message_id, self.tag, self.keys, self.store_host, self.body_length,
            self.cost_ms, int(self.kind), self.offset_message_id, self.success,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SubBefore:
    """A listener is about to get a message.

    Attributes:
        timestamp: When, in milliseconds since the epoch.
        region: Region of the broker.
        group: Consumer group.
        request_id: Id of the call, which its `SubAfter` has too.
        message_id: Unique id.
        retry_times: How often the message has failed before.
        keys: Keys, joined by blanks.
    """

    name: ClassVar[str] = "SubBefore"

    timestamp: int
    region: str | None
    group: str
    request_id: str
    message_id: str
    retry_times: int
    keys: str | None

    def fields(self) -> tuple[object, ...]:
        """The fields in their order."""
        return self.timestamp, self.region, self.group, self.request_id, self.message_id, self.retry_times, self.keys


@dataclass(frozen=True, slots=True)
class SubAfter:
    """A listener has ended with a message.

    Attributes:
        request_id: Id of the call.
        message_id: Unique id.
        cost_ms: Milliseconds that the call took, for each of its messages.
        success: The message is consumed.
        keys: Keys, joined by blanks.
        context_code: `ConsumeReturnType`, as a number.
        timestamp: When, in milliseconds since the epoch.
        group: Consumer group.
        region: Region of the broker; it chooses the topic of a cloud service, and is not written.
    """

    name: ClassVar[str] = "SubAfter"

    request_id: str
    message_id: str
    cost_ms: int
    success: bool
    keys: str | None
    context_code: int
    timestamp: int
    group: str
    region: str | None = None

    def fields(self) -> tuple[object, ...]:
        """The fields in their order."""
        return (
            self.request_id, self.message_id, self.cost_ms, self.success, self.keys, self.context_code, self.timestamp, self.group,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class EndTransaction:
    """A broker is told how a transaction has ended.

    Attributes:
        timestamp: When, in milliseconds since the epoch.
        region: Region of the broker.
        group: Producer group.
        topic: Topic.
        message_id: Unique id.
        tag: Tag.
        keys: Keys, joined by blanks.
        store_host: Address of the broker.
        transaction_id: Transaction id.
        state: `TransactionState`, as the wire names it.
        from_check: The broker has asked.
        kind: Kind of the message.
    """

    name: ClassVar[str] = "EndTransaction"

    timestamp: int
    region: str | None
    group: str
    topic: str
    message_id: str
    tag: str | None
    keys: str | None
    store_host: str
    transaction_id: str
    state: str
    from_check: bool
    kind: TracedKind = TracedKind.TRANSACTION_COMMIT

    def fields(self) -> tuple[object, ...]:
        """The fields in their order."""
        return (
            self.timestamp, self.region, self.group, self.topic, self.message_id, self.tag, self.keys, self.store_host,
            int(self.kind), self.transaction_id, self.state, self.from_check,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recall:
    """A message that was sent for later was taken back, or was not.

    Attributes:
        timestamp: When, in milliseconds since the epoch.
        region: Region of the broker.
        group: Producer group.
        topic: Topic.
        message_id: Unique id.
        success: It was taken back.
    """

    name: ClassVar[str] = "Recall"
    keys: ClassVar[None] = None

    timestamp: int
    region: str | None
    group: str
    topic: str
    message_id: str
    success: bool

    def fields(self) -> tuple[object, ...]:
        """The fields in their order."""
        return self.timestamp, self.region, self.group, self.topic, self.message_id, self.success


TraceRecord: TypeAlias = Pub | SubBefore | SubAfter | EndTransaction | Recall


def encode_record(record: TraceRecord, *, cloud: bool = False) -> str:
    """One record as text.

    Args:
        record: The record.
        cloud: For a cloud service, whose records of calls that have ended have neither time nor group.
    """
    fields = record.fields()
    if cloud and isinstance(record, SubAfter):
        fields = *fields[:-2], ""
    return FIELD_END.join([record.name, *map(_text, fields)]) + RECORD_END


def _text(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def record_keys(record: TraceRecord) -> list[str]:
    """By what brokers shall find the message with a record: the id of the traced message, and its keys."""
    return [record.message_id, *record.keys.split()] if record.keys else [record.message_id]


def joined_keys(keys: Sequence[str] | None) -> str | None:
    """The keys of a message as records have them; None for none."""
    return " ".join(keys) if keys else None
