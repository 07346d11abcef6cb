"""What is out of queues that are taken in order (Java: `ConsumerOrderInfoManager`, in 5.5 `QueueLevelConsumerManager`).

Of each queue and group the last pop is known: its messages, which of them are acknowledged, until when the others are invisible, and how
often each was taken. The queue is blocked while one of them is out, for everybody but who repeats the same attempt. There is no check point
and no retry topic: when the time is over, the queue goes on at the first message that is not acknowledged.
"""

from __future__ import annotations

import json
from typing import Final

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.receipt import kind_of
from aiorocketmq.server.broker.tables import StoredTable
from aiorocketmq.server.store.store import Store

_KIND: Final = "pop_order"
ILLEGAL: Final = -1
"""Answer of `acknowledge`: the message was not taken."""
NOTHING: Final = -2
"""Answer of `acknowledge`: it was taken once more since then."""


class OrderInfo:
    """The last pop of one queue; never changed, but copied with changes.

    Attributes:
        attempt: Its attempt id, "" for none.
        pop_time: When it was, in milliseconds since the epoch.
        invisible: Milliseconds for which its messages are invisible.
        offsets: Its messages.
        acknowledged: Those of them that are done with.
        visible_at: Until when a message is invisible whose time was changed.
        counts: How often a message had been taken before; only those that were.
    """

    __slots__ = ("acknowledged", "attempt", "counts", "invisible", "offsets", "pop_time", "visible_at")

    def __init__(
        self,
        attempt: str,
        pop_time: int,
        invisible: int,
        offsets: tuple[int, ...],
        acknowledged: frozenset[int] = frozenset(),
        visible_at: dict[int, int] | None = None,
        counts: dict[int, int] | None = None,
    ) -> None:
        self.attempt = attempt
        self.pop_time = pop_time
        self.invisible = invisible
        self.offsets = offsets
        self.acknowledged = acknowledged
        self.visible_at = visible_at or {}
        self.counts = counts or {}

    def encode(self) -> str:
        """As it is stored."""
        changed, counts = list(self.visible_at.items()), list(self.counts.items())
        return json.dumps([self.attempt, self.pop_time, self.invisible, self.offsets, sorted(self.acknowledged), changed, counts])

    @classmethod
    def decode(cls, text: str) -> OrderInfo:
        """Read what is stored.

        Raises:
            ProtocolError: It cannot be read.
        """
        try:
            attempt, pop_time, invisible, offsets, acknowledged, changed, counts = json.loads(text)
            return cls(str(attempt), int(pop_time), int(invisible), tuple(offsets), frozenset(acknowledged), dict(changed), dict(counts))
        except (ValueError, TypeError) as error:
            raise ProtocolError(f"the order of a queue is {text[:60]!r}: {error}", cause=error) from None

    def free_at(self) -> int:
        """When the queue is free if nothing more is acknowledged, in milliseconds since the epoch; 0 when it is."""
        ends = [self.visible_at.get(offset, self.pop_time + self.invisible) for offset in self.offsets if offset not in self.acknowledged]
        return max(ends, default=0)

    def blocks(self, attempt: str, now: int) -> bool:
        """Whether somebody may take nothing of the queue now."""
        return not (attempt and attempt == self.attempt) and now < self.free_at()

    def next_offset(self) -> int:
        """The first message that is not acknowledged, or the one behind the last."""
        return next((offset for offset in self.offsets if offset not in self.acknowledged), self.offsets[-1] + 1)

    def after(self, attempt: str, pop_time: int, invisible: int, offsets: tuple[int, ...]) -> OrderInfo:
        """The next pop: messages of this one that are taken again count one more, but for a repeated attempt."""
        counts = self.counts
        if not (attempt and attempt == self.attempt):
            counts = {offset: self.counts.get(offset, 0) + 1 for offset in offsets if offset in self.offsets}
        return OrderInfo(attempt, pop_time, invisible, offsets, counts=counts)

    def count_info(self, topic: str, queue_id: int) -> list[str]:
        """How often its messages had been taken before, as answers say it."""
        kind = kind_of(topic)
        parts = [f"{kind} qo{queue_id}%{offset} {self.counts[offset]}" for offset in _as_hashed(self.counts)]
        least = min(self.counts.values()) if len(self.counts) == len(self.offsets) else 0
        return [*parts, f"{kind} {queue_id} {least}"]


def _as_hashed(offsets: dict[int, int]) -> list[int]:
    """In the order of Java's hash tables, which real brokers answer in."""
    size = 16
    while len(offsets) > size * 3 // 4:
        size *= 2

    def bucket(offset: int) -> int:
        value = (offset ^ offset >> 32) & 0xFFFFFFFF
        return (value ^ value >> 16) & size - 1

    return sorted(offsets, key=bucket)


class OrderTable:
    """The last pops in order, by topic, group and queue; kept in the store.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._table = StoredTable(store, _KIND, OrderInfo.encode, OrderInfo.decode, lambda name: None)

    def load(self) -> None:
        """Read the database."""
        self._table.load()

    def get(self, topic: str, group: str, queue_id: int) -> OrderInfo | None:
        """The last pop of a queue, also while it is on its way into the database: the request at work builds on it."""
        return self._table.latest(_name(topic, group, queue_id))

    def blocks(self, topic: str, group: str, queue_id: int, attempt: str, now: int) -> bool:
        """Whether somebody may take nothing of a queue now."""
        info = self.get(topic, group, queue_id)
        return info is not None and info.blocks(attempt, now)

    def free_at(self, topic: str, group: str, queue_id: int) -> int:
        """When the queue is free if nothing is acknowledged, in milliseconds since the epoch; 0 when it is."""
        info = self._table.get(_name(topic, group, queue_id))
        return info.free_at() if info is not None else 0

    def taken(
        self, topic: str, group: str, queue_id: int, attempt: str, pop_time: int, invisible: int, offsets: tuple[int, ...]
    ) -> OrderInfo:
        """Messages were taken."""
        before = self.get(topic, group, queue_id)
        info = (
            before.after(attempt, pop_time, invisible, offsets) if before is not None else OrderInfo(attempt, pop_time, invisible, offsets)
        )
        self._table.put(_name(topic, group, queue_id), info)
        return info

    def acknowledge(self, topic: str, group: str, queue_id: int, offset: int, pop_time: int) -> int:
        """A message is done with.

        Returns:
            Where the group goes on from now on; `ILLEGAL` or `NOTHING` when the receipt is not that of the last pop.
        """
        info = self.get(topic, group, queue_id)
        if info is None:
            return offset + 1
        if pop_time != info.pop_time:
            return NOTHING
        if offset not in info.offsets:
            return ILLEGAL
        done = info.acknowledged | {offset}
        changed = OrderInfo(info.attempt, info.pop_time, info.invisible, info.offsets, done, info.visible_at, info.counts)
        self._table.put(_name(topic, group, queue_id), changed)
        return changed.next_offset()

    def change_time(self, topic: str, group: str, queue_id: int, offset: int, pop_time: int, visible_at: int) -> None:
        """A message is invisible until then; does nothing when the receipt is not that of the last pop."""
        info = self.get(topic, group, queue_id)
        if info is None or pop_time != info.pop_time or offset not in info.offsets:
            return
        times = {**info.visible_at, offset: visible_at}
        changed = OrderInfo(info.attempt, info.pop_time, info.invisible, info.offsets, info.acknowledged, times, info.counts)
        self._table.put(_name(topic, group, queue_id), changed)

    def forget(self, topic: str, group: str, queue_id: int) -> None:
        """Whatever is out does not block any more: the offset was reset."""
        if self.get(topic, group, queue_id) is not None:
            self._table.put(_name(topic, group, queue_id), None)

    def forget_all(self, *, topic: str | None = None, group: str | None = None) -> None:
        """A topic or a group is gone."""
        for name in self._table.names():
            of_topic, of_group, _ = name.split("@")
            if topic in (None, of_topic) and group in (None, of_group):
                self._table.put(name, None)


def _name(topic: str, group: str, queue_id: int) -> str:
    return f"{topic}@{group}@{queue_id}"
