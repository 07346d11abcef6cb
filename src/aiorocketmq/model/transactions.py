"""What the local half of a transaction gets and gives (Java: `Message.transactionId`, `TransactionSendResult`). Features C2, C10."""

from __future__ import annotations

from dataclasses import dataclass

from aiorocketmq.model.enums import SendStatus, TransactionState
from aiorocketmq.model.message import Message
from aiorocketmq.model.results import SendResult


class HalfMessage(Message):
    """A message that is stored, and that no consumer sees until its transaction is committed.

    Attributes:
        transaction_id: The transaction id: the unique id of the message. Keep it with what the transaction changes, so that `check` can
            find out how that ended.
    """

    __slots__ = ("transaction_id",)

    transaction_id: str

    @classmethod
    def of(cls, message: Message, transaction_id: str) -> HalfMessage:
        """The same message with its transaction id."""
        fields = message._fields()
        half = cls(fields.pop("topic"), fields.pop("body"), **fields)
        half.transaction_id = transaction_id
        return half


@dataclass(frozen=True, slots=True)
class TransactionSendResult:
    """What became of a message that was sent in a transaction.

    Attributes:
        half: Where the half message is stored. Consumers get the message from another place, once it is committed.
        state: What was decided; `UNKNOWN` leaves it to `check`, which the broker will ask.
        error: The exception of the local transaction, when that is why `state` is `UNKNOWN`.
        told: The decision was handed to the connection to the broker. Else the broker will ask, and gets the same decision from this
            producer as long as it runs, or that of `check` from another one of the group.
    """

    half: SendResult
    state: TransactionState
    error: Exception | None = None
    told: bool = True

    @property
    def transaction_id(self) -> str:
        """The transaction id, which is the unique id of the message."""
        return self.half.message_id

    @property
    def message_id(self) -> str:
        """The unique id of the message."""
        return self.half.message_id

    @property
    def status(self) -> SendStatus:
        """What the broker said of the half message; with another status than `SEND_OK` it is rolled back."""
        return self.half.status
