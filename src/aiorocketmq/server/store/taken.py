"""Messages that a group took and has not acknowledged (Java: `PopCheckPoint`, `PopBufferMergeService`, the revive topic).

A table has one row for each such message, with the time at which it comes back; acknowledging removes the row. Java writes a check point
for each pop and a message for each acknowledgement into a topic of its own, and matches them when the time is over. What a receipt says
finds the row: queue, offset, pop time and start of the check point. One that finds none changes nothing.

Rows say which queue by a number, which is kept with its names for as long as the topic lives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from aiorocketmq.errors import RocketMQError
from aiorocketmq.model.parsing import INT64_MAX
from aiorocketmq.server.store.records import Unit
from aiorocketmq.server.store.store import Store

QueueName = tuple[str, str, int]
"""Topic, group and queue id."""

_INSERT_QUEUE: Final = "INSERT INTO pop_queues VALUES (?, ?, ?, ?)"
_INSERT: Final = "INSERT OR REPLACE INTO pop_taken VALUES (?, ?, ?, ?, ?, ?)"
_DELETE: Final = "DELETE FROM pop_taken WHERE queue = ? AND queue_offset = ? AND pop_time = ? AND start_offset = ?"
_DUE: Final = (
    "SELECT topic, consumer_group, queue_id, start_offset, pop_time, queue_offset, suspended"
    " FROM pop_taken JOIN pop_queues ON id = queue WHERE due <= ? ORDER BY due LIMIT ?"
)


class Taken(NamedTuple):
    """One message that is out.

    Attributes:
        start_offset: Where its check point starts.
        pop_time: When it was taken, in milliseconds since the epoch.
        offset: Its offset in the queue.
    """

    start_offset: int
    pop_time: int
    offset: int


class Overdue(NamedTuple):
    """One message whose time is over.

    Attributes:
        name: Topic, group and queue it was taken from.
        taken: What its receipt says.
        suspended: It does not count as tried.
    """

    name: QueueName
    taken: Taken
    suspended: bool


class TakenMessages:
    """What is out. Belongs to one event loop.

    Args:
        store: Where it is kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: dict[QueueName, int] = {}
        self._next_key = 1
        # On their way into the database: numbers of queues, and where the next pop of a queue goes on.
        self._making: dict[QueueName, tuple[Unit, int]] = {}
        self._following: dict[QueueName, tuple[Unit, int]] = {}
        self.on_taken: Callable[[int], None] = lambda due: None
        """Told of the time at which messages come back, after the commit that lets them go out."""

    def load(self) -> None:
        """Read which queues are known; what is out of a queue that is not comes back to nobody."""
        self._store.write("DELETE FROM pop_taken WHERE queue NOT IN (SELECT id FROM pop_queues)", ())
        rows = self._store.select("SELECT id, consumer_group, topic, queue_id FROM pop_queues")
        self._keys = {(topic, group, queue_id): key for key, group, topic, queue_id in rows}
        self._next_key = max(self._keys.values(), default=0) + 1

    # -- where a pop begins ---------------------------------------------------------------------------------------------

    def following(self, name: QueueName) -> int | None:
        """Where a pop under way leaves a queue, which the request at work builds on; None when none is."""
        known = self._following.get(name)
        if known is None:
            return None
        self._store.build_on(known[0])
        return known[1]

    def leave_at(self, name: QueueName, offset: int) -> None:
        """The request at work leaves a queue at an offset, by a write that belongs to its unit."""
        unit = self._store.unit()
        self._following[name] = unit, offset
        unit.callbacks.append(partial(_settled, self._following, name, unit))

    def forget_following(self, name: QueueName) -> None:
        """The queue goes on somewhere else: its offset was reset."""
        self._following.pop(name, None)

    # -- what is out ----------------------------------------------------------------------------------------------------

    def take(self, name: QueueName, start: int, pop_time: int, offsets: Sequence[int], invisible: int, *, suspended: bool = False) -> None:
        """Messages go out with the commit of this tick, for `invisible` milliseconds."""
        key = self._key(name)
        due = min(pop_time + max(0, invisible), INT64_MAX)
        for offset in offsets:
            self._store.write(_INSERT, (key, offset, pop_time, start, due, suspended))
        self._store.unit().applied.append(lambda: self.on_taken(due))

    def _key(self, name: QueueName) -> int:
        key = self._keys.get(name)
        if key is not None:
            return key
        making = self._making.get(name)
        if making is not None:
            self._store.build_on(making[0])
            return making[1]
        key = self._next_key
        self._next_key += 1
        topic, group, queue_id = name
        unit = self._store.write(_INSERT_QUEUE, (key, group, topic, queue_id), partial(self._keys.__setitem__, name, key))
        self._making[name] = unit, key
        unit.callbacks.append(partial(_settled, self._making, name, unit))
        return key

    def give_back(self, name: QueueName, taken: Taken) -> None:
        """A message is not out any more, with the commit of this tick; nothing happens when it is not, or with another receipt."""
        key = self._keys.get(name)
        if key is not None:
            self._store.write(_DELETE, (key, taken.offset, taken.pop_time, taken.start_offset))

    def count(self, name: QueueName, most: int) -> int:
        """How many messages of a queue are out; `most` when there are that many or more."""
        key = self._keys.get(name)
        if key is None:
            return 0
        rows = self._store.select("SELECT count(*) FROM (SELECT 1 FROM pop_taken WHERE queue = ? LIMIT ?)", key, most)
        return int(rows[0][0])

    def overdue(self, now: int, limit: int) -> list[Overdue]:
        """Messages whose time is over, those that wait longest first."""
        return [
            Overdue((topic, group, queue_id), Taken(start, pop_time, offset), bool(suspended))
            for topic, group, queue_id, start, pop_time, offset, suspended in self._store.select(_DUE, now, limit)
        ]

    def next_due(self) -> int | None:
        """When the next message comes back, in milliseconds since the epoch; None when none is out."""
        rows = self._store.select("SELECT due FROM pop_taken JOIN pop_queues ON id = queue ORDER BY due LIMIT 1")
        return int(rows[0][0]) if rows else None

    def forget_topic(self, topic: str) -> None:
        """The topic is gone, and with it what was out: to be called after the commit that says so."""
        for name in [name for name in self._keys if name[0] == topic]:
            del self._keys[name]


def _settled(table: dict[QueueName, tuple[Unit, int]], name: QueueName, unit: Unit, error: RocketMQError | None) -> None:
    known = table.get(name)
    if known is not None and known[0] is unit:
        del table[name]
