"""The messages of one queue between their arrival and their commit (Java: `ProcessQueue`). Features F10, F31, F32, F34.

Messages arrive in the order of their offsets, so no sorted map is needed: a deque holds the messages that are not finished, and a set
the offsets that finished before an earlier one did. Every operation is O(1) amortised per message.

Two ways of consuming share the class. Concurrently: `finish()` in any order. In order: `take()`, then `commit()` or `roll_back()`.
`PolledQueue` is the third one: its messages are given to whoever asks for them. The classes are not thread-safe; they belong to the
event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage


class ProcessQueue:
    """Unfinished messages of one queue, and the offset that may be committed. Mutable, slotted: it is on the hot path.

    Attributes:
        queue: The queue.
        count: Messages that are not finished.
        size: Bytes of their records as the broker stored them.
        next_offset: Every message below this offset has been put here, or was filtered out.
        closing: The queue is being given up: no message of it is begun any more, results still count.
        dropped: The queue belongs to this consumer no more: results are ignored and nothing is committed. See `drop()`.
        low_water: When `count` has fallen to this, `on_low_water` is called once; -1 switches it off.
        on_low_water: Called when pulling was held back and there is room again.
    """

    __slots__ = (
        "_done", "_fresh", "_taken", "_unfinished", "closing", "count", "dropped", "low_water", "next_offset", "on_low_water", "queue",
        "size",
    )  # fmt: skip

    def __init__(self, queue: MessageQueue, next_offset: int, *, commit_start: bool = False) -> None:
        """Start at an offset.

        Args:
            queue: The queue.
            next_offset: The first offset that will be pulled.
            commit_start: The group has no committed offset and `next_offset` came from the rules for new groups: it may be committed
                before anything is consumed, so that a restart does not apply the rules again and skip what came in between.
        """
        self.queue = queue
        self.next_offset = next_offset
        self.count = 0
        self.size = 0
        self.closing = False
        self.dropped = False
        self.low_water = -1
        self.on_low_water: Callable[[], None] | None = None
        self._unfinished: deque[ReceivedMessage] = deque()
        self._done: set[int] = set()
        self._taken = 0
        # An offset that was only read must not be written back: another member may have committed a higher one since.
        self._fresh = not commit_start

    @property
    def commit_offset(self) -> int:
        """The offset to commit: everything below it is finished. -1 while there is nothing new to commit, and for a dropped queue."""
        if self._fresh or self.dropped:
            return -1
        return self._unfinished[0].queue_offset if self._unfinished else self.next_offset

    @property
    def consumed(self) -> int:
        """Everything below it is finished, or did not match the filter."""
        return self._unfinished[0].queue_offset if self._unfinished else self.next_offset

    @property
    def min_offset(self) -> int:
        """Lowest unfinished offset, or -1."""
        return self._unfinished[0].queue_offset if self._unfinished else -1

    @property
    def max_offset(self) -> int:
        """Highest unfinished offset, or -1."""
        return self._unfinished[-1].queue_offset if self._unfinished else -1

    @property
    def span(self) -> int:
        """Distance between the lowest and the highest unfinished offset."""
        unfinished = self._unfinished
        return unfinished[-1].queue_offset - unfinished[0].queue_offset if unfinished else 0

    @property
    def taken(self) -> int:
        """Messages that `take()` gave out and that are neither committed nor rolled back."""
        return self._taken

    def put(self, messages: Sequence[ReceivedMessage], next_offset: int) -> Sequence[ReceivedMessage]:
        """Take in what a pull brought.

        Args:
            messages: Messages, in the order of their offsets in every answer but a strange one, which is put in order here.
            next_offset: Where the broker says the next pull begins; what lies between the messages and it did not match the filter.

        Returns:
            The messages to consume. Those whose offset was seen before are left out: a peer that jumps back cannot cause a second delivery.
        """
        seen = self.next_offset
        size = 0
        clean = True
        for message in messages:
            offset = message.queue_offset
            if offset < seen:
                clean = False
                break
            seen = offset + 1
            size += message.store_size
        if not clean:
            messages = self._in_order(messages)
            seen = messages[-1].queue_offset + 1 if messages else self.next_offset
            size = sum(message.store_size for message in messages)
        self._unfinished.extend(messages)
        self.count += len(messages)
        self.size += size
        self.advance(max(seen, next_offset))
        return messages

    def _in_order(self, messages: Sequence[ReceivedMessage]) -> list[ReceivedMessage]:
        """What is new of an answer that repeats messages or holds them in another order than the queue."""
        new = {message.queue_offset: message for message in reversed(messages) if message.queue_offset >= self.next_offset}
        return [new[offset] for offset in sorted(new)]

    def advance(self, next_offset: int) -> None:
        """Nothing below `next_offset` is still to come; with an empty queue that alone moves the commit offset (F34)."""
        if next_offset > self.next_offset:
            self.next_offset = next_offset
            if not self._unfinished:
                self._fresh = False

    def finish(self, message: ReceivedMessage) -> None:
        """A message is consumed, or is safe elsewhere. Calling it again for the same message changes nothing."""
        unfinished = self._unfinished
        offset = message.queue_offset
        if unfinished and unfinished[0].queue_offset == offset:
            unfinished.popleft()
            done = self._done
            while done and unfinished and unfinished[0].queue_offset in done:
                done.discard(unfinished.popleft().queue_offset)
            self._fresh = False
        elif self.is_unfinished(message):
            self._done.add(offset)
        else:
            return
        self.size -= message.store_size
        self.count = count = self.count - 1
        if count <= self.low_water:
            self._tell_low_water()

    def _tell_low_water(self) -> None:
        self.low_water = -1
        if self.on_low_water is not None:
            self.on_low_water()

    def is_unfinished(self, message: ReceivedMessage) -> bool:
        """True while the message waits for its result."""
        unfinished = self._unfinished
        offset = message.queue_offset
        return bool(unfinished) and unfinished[0].queue_offset <= offset < self.next_offset and offset not in self._done

    def take(self, limit: int) -> list[ReceivedMessage]:
        """The next messages in order, at most `limit`; empty when all are taken."""
        taken = self._taken
        batch = list(islice(self._unfinished, taken, taken + limit))
        self._taken = taken + len(batch)
        return batch

    def commit_first(self, message: ReceivedMessage) -> None:
        """The first message taken is consumed; the others stay taken. Does nothing for a dropped queue."""
        if not self._taken:
            return
        self._unfinished.popleft()
        self.size -= message.store_size
        self._taken -= 1
        self._fresh = False
        self.count = count = self.count - 1
        if count <= self.low_water:
            self._tell_low_water()

    def commit(self, keep: int = 0) -> None:
        """Everything taken is consumed, but the last `keep` messages, which go back to be taken again."""
        unfinished = self._unfinished
        for _ in range(self._taken - keep):
            message = unfinished.popleft()
            self.count -= 1
            self.size -= message.store_size
            self._fresh = False
        self._taken = 0
        if self.count <= self.low_water:
            self._tell_low_water()

    def roll_back(self, count: int | None = None) -> None:
        """The last `count` messages taken, or all, will be taken again."""
        self._taken = 0 if count is None else self._taken - count

    def drop(self) -> None:
        """The queue belongs to this consumer no more: forget its messages."""
        self.closing = self.dropped = True
        self._unfinished.clear()
        self._done.clear()
        self._taken = self.count = self.size = 0


class PolledQueue(ProcessQueue):
    """The messages of one queue whose consumer asks for them (Java: `ProcessQueue` and `MessageQueueState` of a lite pull consumer).

    What was given is not kept. It is *held* until the consumer says that it has done with it: by asking for more (`settle()`), or for
    single messages (`done_below()`).

    Attributes:
        auto: What is not held any more is committed by itself; else only what `mark()` and `committed` say.
        committed: The last offset that the consumer has committed by itself, -1 for none.
        reset_to: Where somebody has set the group's offset to, when it begins there; else -1.
    """

    __slots__ = ("_held", "auto", "committed", "reset_to")

    def __init__(self, queue: MessageQueue, next_offset: int, *, commit_start: bool = False, auto: bool = True) -> None:
        """Start at an offset; see `ProcessQueue`."""
        super().__init__(queue, next_offset, commit_start=commit_start)
        self.auto = auto
        self.committed = next_offset if commit_start else -1
        self.reset_to = -1
        self._held = -1

    @property
    def position(self) -> int:
        """Offset of the message that is given next, as far as that is known."""
        return self._unfinished[0].queue_offset if self._unfinished else self.next_offset

    @property
    def consumed(self) -> int:
        """See `ProcessQueue.consumed`: what is held is not."""
        return self._held if self._held >= 0 else self.position

    @property
    def commit_offset(self) -> int:
        """See `ProcessQueue.commit_offset`."""
        if self.dropped:
            return -1
        if not self.auto:
            return self.committed
        return -1 if self._fresh else self.consumed

    def give(self, limit: int) -> list[ReceivedMessage]:
        """The next messages, at most `limit`; they are held."""
        unfinished = self._unfinished
        given = [unfinished.popleft() for _ in range(min(limit, len(unfinished)))]
        if given:
            if self._held < 0:
                self._held = given[0].queue_offset
            for message in given:
                self.size -= message.store_size
            self._fewer(len(given))
        return given

    def give_one(self) -> ReceivedMessage:
        """The next message of a queue that has one; it is held, and those given before are not any more."""
        message = self._unfinished.popleft()
        if self._held >= 0:
            self._fresh = False
        self._held = message.queue_offset
        self.size -= message.store_size
        self._fewer(1)
        return message

    def _fewer(self, given: int) -> None:
        self.count = count = self.count - given
        if count <= self.low_water:
            self._tell_low_water()

    def settle(self) -> None:
        """The consumer has done with everything it was given."""
        if self._held >= 0:
            self._held = -1
            self._fresh = False

    def done_below(self, offset: int) -> None:
        """The consumer has done with what it was given below an offset."""
        if self._held >= 0 and offset > self._held:
            self._held = offset if offset < self.position else -1
            self._fresh = False

    def mark(self) -> int:
        """Everything that was given is consumed: gives back the offset to commit, -1 when nothing has happened yet."""
        self.settle()
        if not self._fresh:
            self.committed = self.position
        return -1 if self._fresh else self.committed

    def is_outdated(self, message: ReceivedMessage) -> bool:
        """The message was given before the group's offset was reset: that it is consumed must not undo that."""
        return self.reset_to >= 0 and not self.reset_to <= message.queue_offset < self.position

    def take_back(self, messages: Sequence[ReceivedMessage]) -> bool:
        """Messages that were given last will be given again; False when it is another queue's life that they were given in.

        Args:
            messages: The last ones that were given, or some of them from a first one on, in order.
        """
        first = messages[0].queue_offset
        if not 0 <= self._held <= first or messages[-1].queue_offset >= self.position:
            return False
        self._unfinished.extendleft(reversed(messages))
        self.count += len(messages)
        for message in messages:
            self.size += message.store_size
        if first == self._held:
            self._held = -1
        return True


class PoppedMessages(ProcessQueue):
    """The messages of one pop, each of which ends by itself: there is no offset to commit (Java: `PopProcessQueue`).

    Attributes:
        pop_time: When they were popped, in milliseconds since the epoch, by the broker's clock.
    """

    __slots__ = ("_ended", "_failed", "_left", "_open", "pop_time")

    def __init__(
        self,
        queue: MessageQueue,
        messages: Sequence[ReceivedMessage],
        pop_time: int,
        *,
        left: Callable[[PoppedMessages], None],
        ended: Callable[[ReceivedMessage], None],
        failed: Callable[[ReceivedMessage, int], None],
    ) -> None:
        """Begin with all of them.

        Args:
            queue: What was popped.
            messages: What came.
            pop_time: See `pop_time`.
            left: Called once for each message that is in nobody's hands any more.
            ended: Called with each message that is consumed.
            failed: Called with each one that is not, and the delay level that its listener wants.
        """
        super().__init__(queue, 0)
        self.pop_time = pop_time
        self.count = len(messages)
        self._open: dict[int, ReceivedMessage] = {id(message): message for message in messages}
        self._left = left
        self._ended = ended
        self._failed = failed

    @property
    def open(self) -> list[ReceivedMessage]:
        """Those that are in somebody's hands."""
        return list(self._open.values())

    def leave(self, message: ReceivedMessage) -> bool:
        """A message is in nobody's hands any more, whatever becomes of it; False when that is known."""
        if self._open.pop(id(message), None) is None:
            return False
        self.count -= 1
        self._left(self)
        return True

    def finish(self, message: ReceivedMessage) -> None:
        """See `ProcessQueue.finish`."""
        if self.leave(message) and not self.dropped:
            self._ended(message)

    def fail(self, message: ReceivedMessage, delay_level: int) -> None:
        """A message is not consumed: it has to come again after a delay level, 0 for one by its tries, -1 for never."""
        if self.leave(message) and not self.dropped:
            self._failed(message, delay_level)

    def is_unfinished(self, message: ReceivedMessage) -> bool:
        """See `ProcessQueue.is_unfinished`."""
        return id(message) in self._open

    def drop(self) -> None:
        """See `ProcessQueue.drop`: their time is over, they come again to whoever pops them. Some may still be in somebody's hands."""
        self.closing = self.dropped = True
