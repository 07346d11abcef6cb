"""One queue that falls to the consumer, and where it is in its life (Java: `ProcessQueue`, with its flags `dropped` and `locked`).

    WAITING ──────→ OWNED ──────→ RELEASING ──→ GONE
       └───────────────────────────────────────────↑

WAITING: for its start offset, for its lock, or for the member that had it. OWNED: it is pulled and consumed. RELEASING: no call begins any
more; the running ones end, the offset is saved, the lock given back. GONE: results are ignored; whoever wants the queue begins a new life.
A state is never left for an earlier one. Who moves it is `consumer/queues.py`.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Final, Protocol

from aiorocketmq.core.ordered import OrderedAccount
from aiorocketmq.core.process_queue import ProcessQueue
from aiorocketmq.errors import RocketMQError
from aiorocketmq.model.queue import MessageQueue

FOREVER: Final = float("inf")
OVER: Final = float("-inf")


class QueueState(Enum):
    """Where a queue is in its life."""

    WAITING = "WAITING"
    OWNED = "OWNED"
    RELEASING = "RELEASING"
    GONE = "GONE"


class Pulling(Protocol):
    """The pull loop of a queue, as the rest of the consumer sees it.

    Attributes:
        next_offset: Where the next pull begins.
        pulled_at: Loop time at which a pull was last sent, 0 before.
        failure: Why the queue is not pulled any more, or None.
        end: Offset that the next message of the queue gets, as the last answer told; -1 before.
        failing_since: Loop time since which pulls fail, when there is `trouble`.
    """

    next_offset: int
    pulled_at: float
    failure: RocketMQError | None
    end: int
    failing_since: float

    @property
    def trouble(self) -> str:
        """Why pulls fail, "" when they do not."""

    def start(self) -> None:
        """Begin to pull."""

    def pull(self) -> None:
        """Pull now, unless a pull is in flight or held back."""

    def follow(self) -> None:
        """The route has changed: pull where the queue is now."""

    def stop(self) -> None:
        """Pull no more."""


class AssignedQueue:
    """Mutable, slotted; belongs to the event loop, worker threads only read it.

    Attributes:
        queue: The queue.
        state: Where it is in its life; moved by the methods here only.
        paused: Nothing is pulled and no call begins, because the user says so.
        messages: Its unfinished messages; meaningful from OWNED on.
        puller: Pulls them; set when it becomes OWNED.
        locked_until: Loop time before which its lock is held: never before OWNED and after it, for ever where none is needed.
        valid_until: Loop time before which a call of a listener may begin: `locked_until`, never while it is paused.
        locked_at: Ordered consumers: loop time of the last successful lock, 0 before.
        to_unlock: Ordered consumers: its lock was asked for and not refused since: the broker may hold it, and wants to hear of the end.
        reset_to: WAITING and RELEASING: where the group has to go on, as somebody has said meanwhile; -1 when nobody has.
        waits_for: WAITING: what for, in words, "" when it has not been tried yet.
        since: Loop time at which the state was entered.
        account: Ordered consumers: what answers do to the messages; made when the first message came.
        in_service: Ordered consumers: a worker has it, or it waits for one, or for the end of a suspension.
        timer: Ordered consumers: ends a suspension.
        consumed_at: Loop time at which messages were last handed to workers (ordered: at which a listener last ended).
    """

    __slots__ = (
        "_ends", "account", "consumed_at", "in_service", "locked_at", "locked_until", "messages", "paused", "puller", "queue", "reset_to",
        "since", "state", "timer", "to_unlock", "valid_until", "waits_for",
    )  # fmt: skip

    puller: Pulling

    def __init__(self, queue: MessageQueue, now: float) -> None:
        self.queue = queue
        self.state = QueueState.WAITING
        self.paused = False
        self.messages = ProcessQueue(queue, 0)
        self.locked_until = OVER
        self.valid_until = OVER
        self.locked_at = 0.0
        self.to_unlock = False
        self.reset_to = -1
        self.waits_for = ""
        self.since = now
        self.account: OrderedAccount | None = None
        self.in_service = False
        self.timer: asyncio.TimerHandle | None = None
        self.consumed_at = 0.0
        self._ends: list[asyncio.Future[None]] = []

    def own(self, messages: ProcessQueue, now: float, *, valid_until: float) -> None:
        """WAITING → OWNED: its start offset is certain, and its lock is held where it needs one."""
        assert self.state is QueueState.WAITING
        self.state, self.since = QueueState.OWNED, now
        self.messages = messages
        self._lock_until(valid_until)

    def _lock_until(self, until: float) -> None:
        self.locked_until = until
        self.valid_until = OVER if self.paused else until

    def pause(self) -> None:
        """Nothing is pulled and no call begins until `resume()`."""
        self.paused = True
        self.valid_until = OVER

    def resume(self) -> None:
        """It goes on where it may."""
        self.paused = False
        self.valid_until = self.locked_until

    def begin_release(self, now: float) -> bool:
        """OWNED → RELEASING: no call begins any more. False when it is not owned."""
        if self.state is not QueueState.OWNED:
            return False
        self.state, self.since = QueueState.RELEASING, now
        self._lock_until(OVER)
        return True

    def end(self, now: float) -> None:
        """Any state → GONE: forget the messages, and wake whoever waits for the end."""
        if self.state is not QueueState.GONE:
            self.state, self.since = QueueState.GONE, now
            self._lock_until(OVER)
            self.messages.drop()
        self._wake()

    def extend_lock(self, locked_at: float, valid_until: float) -> None:
        """The broker has granted or renewed the lock."""
        self.locked_at = locked_at
        if self.state is QueueState.OWNED:
            self._lock_until(valid_until)

    def leave_service(self) -> None:
        """No worker has it any more."""
        self.in_service = False
        self._wake()

    async def out_of_service(self) -> None:
        """Wait until no worker has it."""
        while self.in_service:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._ends.append(future)
            await future

    def _wake(self) -> None:
        ends, self._ends = self._ends, []
        for future in ends:
            if not future.done():
                future.set_result(None)

    def cancel_timer(self) -> bool:
        """End a suspension early; True when there was one."""
        timer, self.timer = self.timer, None
        if timer is None:
            return False
        timer.cancel()
        return True

    def __repr__(self) -> str:
        return f"<AssignedQueue {self.queue} {self.state.name}, {self.messages.count} unfinished, next offset {self.messages.next_offset}>"
