"""What producers give back (Java: `SendResult`)."""

from __future__ import annotations

from dataclasses import dataclass

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.checks import duration, whole
from aiorocketmq.model.enums import SendStatus
from aiorocketmq.model.queue import MessageQueue


@dataclass(slots=True, init=False)
class SendResult:
    """A stored message. Made once per message, therefore not frozen; treat it as read-only.

    Attributes:
        status: `SendStatus.SEND_OK`, or one of the three "stored, but" answers.
        message_id: The unique id that the client gave (UNIQ_KEY); for a batch the ids joined by commas.
        offset_message_id: The broker's id: store address and commit-log offset, in hex; for a batch joined by commas.
        queue: The queue that took the message.
        queue_offset: Offset in that queue (of the first message for a batch).
        transaction_id: Transaction id, or None.
        recall_handle: Handle for `Producer.recall`, or None when the message cannot be recalled.
        region_id: Region of the broker, or None.
        trace_on: False when the broker asks not to trace this message.
    """

    status: SendStatus
    message_id: str
    offset_message_id: str
    queue: MessageQueue
    queue_offset: int
    transaction_id: str | None = None
    recall_handle: str | None = None
    region_id: str | None = None
    trace_on: bool = True

    # The constructor is written out, because the compiled form runs a generated one no faster than the interpreter does. `__reduce__`, here
    # and below, is for the compiled form too: copying and pickling do not find its fields by themselves.

    def __init__(
        self,
        status: SendStatus,
        message_id: str,
        offset_message_id: str,
        queue: MessageQueue,
        queue_offset: int,
        transaction_id: str | None = None,
        recall_handle: str | None = None,
        region_id: str | None = None,
        trace_on: bool = True,
    ) -> None:
        self.status = status
        self.message_id = message_id
        self.offset_message_id = offset_message_id
        self.queue = queue
        self.queue_offset = queue_offset
        self.transaction_id = transaction_id
        self.recall_handle = recall_handle
        self.region_id = region_id
        self.trace_on = trace_on

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (
            self.status, self.message_id, self.offset_message_id, self.queue, self.queue_offset, self.transaction_id, self.recall_handle,
            self.region_id, self.trace_on,
        )  # fmt: skip

    @property
    def ok(self) -> bool:
        """True for `SEND_OK` only."""
        return self.status is SendStatus.SEND_OK


@dataclass(frozen=True, slots=True)
class Retry:
    """Returned by a listener: these messages come again later (Java: `RECONSUME_LATER` with its context fields).

    Attributes:
        delay_level: 0 lets the broker choose by the number of tries (3 + tries: 10 s, 30 s, 1 min, ...), 1 to 18 names a delay
            level, -1 sends the messages to the dead-letter topic at once. Ignored by ordered listeners.
        acknowledged: For batch listeners: how many messages from the front of the list are consumed all the same (Java: ackIndex + 1).
    """

    delay_level: int = 0
    acknowledged: int = 0

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.delay_level, self.acknowledged)

    def __post_init__(self) -> None:
        whole("delay_level of Retry", self.delay_level, -1, 18)
        whole("acknowledged of Retry", self.acknowledged, 0)


@dataclass(frozen=True, slots=True)
class Suspend:
    """Returned by an ordered listener: keep the messages and try them again after a while (Java: `SUSPEND_CURRENT_QUEUE_A_MOMENT`).

    Attributes:
        delay: Seconds before the next try, 0.01 to 30; None takes the consumer's `suspend_current_queue_time`.
    """

    delay: float | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.delay,)

    def __post_init__(self) -> None:
        if self.delay is not None and duration("delay of Suspend", self.delay, 0.01, 30.0) != self.delay:
            raise ConfigError(f"delay of Suspend {self.delay!r} is not a number", hint="use 0.01 to 30 seconds")
