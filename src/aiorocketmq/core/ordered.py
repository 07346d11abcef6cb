"""What the answers of an ordered listener do to its queue (Java: `ConsumeMessageOrderlyService.processConsumeResult`). Features F2, F29.

The messages of a queue stand in a row: consumed but not committed (with manual commits only), then those that a worker has in hand, then
the rest. Everything that an answer can do is here, so that it can be tested without workers, tasks or brokers.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiorocketmq.core.process_queue import ProcessQueue
from aiorocketmq.model.received import ReceivedMessage


class OrderedAccount:
    """The accounting of one ordered queue. Mutable; belongs to the event loop.

    `take()` gives messages out; for each call of the listener with them one of `succeeded()`, `commit()`, `rolled_back()` and `failed()`
    follows, and `return_rest()` before the last three when more were taken than called. After `failed()`, `to_bury()` names one message
    after the other that has had its tries, and `buried()` says that it is safe elsewhere; `try_again()` counts a try for all that failed
    and are left.

    Args:
        messages: The messages of the queue.
        auto_commit: A message that succeeded is committed; else everything up to it is, when the listener says COMMIT.
        max_tries: Tries after which a message is buried; -1 for none.
    """

    __slots__ = ("_buried", "_failed", "auto_commit", "max_tries", "messages")

    def __init__(self, messages: ProcessQueue, *, auto_commit: bool, max_tries: int) -> None:
        self.messages = messages
        self.auto_commit = auto_commit
        self.max_tries = max_tries
        self._failed: list[ReceivedMessage] = []
        self._buried: set[int] = set()

    @property
    def failed_messages(self) -> Sequence[ReceivedMessage]:
        """Messages whose call failed and that are neither buried nor counted yet."""
        return self._failed

    def take(self, limit: int) -> list[ReceivedMessage]:
        """The next messages in order, at most `limit`; empty when all are in hand or uncommitted."""
        batch = self.messages.take(limit)
        # A roll-back reaches messages that are in the dead-letter topic already: nobody gets those again.
        while self._buried and batch and batch[0].queue_offset in self._buried:
            self.messages.roll_back(len(batch) - 1)
            batch = self.messages.take(limit)
        if self._buried:
            living = next((index for index, message in enumerate(batch) if message.queue_offset in self._buried), len(batch))
            self.messages.roll_back(len(batch) - living)
            del batch[living:]
        return batch

    def return_rest(self, count: int) -> None:
        """The last `count` messages that were taken were not called: they will be taken again."""
        self.messages.roll_back(count)

    def succeeded(self) -> None:
        """All messages in hand are consumed."""
        if self.auto_commit:
            self.messages.commit()

    def commit(self) -> None:
        """All messages in hand are consumed, and they and all before them are committed."""
        self.messages.commit()
        if self._buried:
            first = self.messages.min_offset
            self._buried = {offset for offset in self._buried if 0 <= first <= offset}

    def rolled_back(self, called: Sequence[ReceivedMessage]) -> None:
        """The listener wants to go back to the last commit: no try is counted and nothing is buried.

        Args:
            called: The messages of the call that said so; with automatic commits they alone come again.
        """
        if self.auto_commit:
            self.messages.commit(keep=len(called))
        else:
            self.messages.roll_back()

    def failed(self, failed: Sequence[ReceivedMessage]) -> None:
        """The last messages in hand failed; those before them are consumed.

        Args:
            failed: The messages, in order.
        """
        if self.auto_commit:
            self.messages.commit(keep=len(failed))
        else:
            self.messages.roll_back(len(failed))
        self._failed = list(failed)

    def to_bury(self) -> ReceivedMessage | None:
        """The next message that has had all its tries and stands first, or None."""
        first = self._failed[0] if self._failed else None
        return first if first is not None and 0 <= self.max_tries <= first.reconsume_times else None

    def buried(self) -> None:
        """What `to_bury()` named is safe elsewhere: it counts as consumed."""
        (message,) = self.messages.take(1)
        del self._failed[0]
        if self.auto_commit:
            self.messages.commit()
        else:
            self._buried.add(message.queue_offset)

    def try_again(self) -> None:
        """The messages that failed and are left come again, one try older."""
        for message in self._failed:
            message.reconsume_times += 1
        self._failed = []
