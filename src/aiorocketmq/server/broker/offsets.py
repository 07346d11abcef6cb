"""Committed offsets, pull offsets and pending resets of consumer groups (Java: `ConsumerOffsetManager`)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from aiorocketmq.server.store.records import Unit
from aiorocketmq.server.store.store import Store

_Key = tuple[str, str, int]  # topic, group, queue id


class ConsumerOffsets:
    """Offsets by (topic, group) and queue id.

    What is shown is what is committed to the database. Pull offsets and resets live in memory, as in Java.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._committed: dict[tuple[str, str], dict[int, int]] = {}
        self._pulled: dict[tuple[str, str], dict[int, int]] = {}
        self._resets: dict[tuple[str, str], dict[int, int]] = {}
        # On their way into the database: the writes of each queue that are not committed yet, and the resets among them.
        self._writing: dict[_Key, int] = {}
        self._resetting: dict[_Key, int] = {}

    def load(self) -> None:
        """Read what the database holds."""
        self._committed.clear()
        for group, topic, queue_id, offset in self._store.offsets():
            self._committed.setdefault((topic, group), {})[queue_id] = offset

    def commit(self, group: str, topic: str, queue_id: int, offset: int) -> bool:
        """Store an offset, forward or backward; False when a reset of the queue is pending and the commit is ignored."""
        if queue_id in self._resets.get((topic, group), ()) or (topic, group, queue_id) in self._resetting:
            return False
        known = self._committed.get((topic, group), {}).get(queue_id)
        if known != offset or (topic, group, queue_id) in self._writing:
            self._put(group, topic, queue_id, offset)
        return True

    def _put(self, group: str, topic: str, queue_id: int, offset: int) -> Unit:
        key = (topic, group, queue_id)
        unit = self._store.put_offset(group, topic, queue_id, offset, partial(self._apply, key, offset))
        self._writing[key] = self._writing.get(key, 0) + 1
        unit.callbacks.append(lambda error: _count_down(self._writing, key))
        return unit

    def _apply(self, key: _Key, offset: int) -> None:
        topic, group, queue_id = key
        self._committed.setdefault((topic, group), {})[queue_id] = offset

    def query(self, group: str, topic: str, queue_id: int) -> int:
        """The pending reset or committed offset; -1 when there is none."""
        reset = self._resets.get((topic, group), {}).get(queue_id, -1)
        return reset if reset >= 0 else self._committed.get((topic, group), {}).get(queue_id, -1)

    def note_pulled(self, group: str, topic: str, queue_id: int, offset: int) -> None:
        """Remember how far the group has pulled; shown in consume stats."""
        self._pulled.setdefault((topic, group), {})[queue_id] = offset

    def pulled(self, group: str, topic: str, queue_id: int) -> int:
        """How far the group has pulled in this process's life; -1 when it has not."""
        return self._pulled.get((topic, group), {}).get(queue_id, -1)

    def reset(self, group: str, topic: str, queue_id: int, offset: int) -> None:
        """Set an offset that the next pull of the queue is told of; until then commits are ignored."""
        key = (topic, group, queue_id)
        unit = self._put(group, topic, queue_id, offset)
        unit.applied.append(partial(self._apply_reset, key, offset))
        self._resetting[key] = self._resetting.get(key, 0) + 1
        unit.callbacks.append(lambda error: _count_down(self._resetting, key))

    def _apply_reset(self, key: _Key, offset: int) -> None:
        topic, group, queue_id = key
        self._resets.setdefault((topic, group), {})[queue_id] = offset

    def take_reset(self, group: str, topic: str, queue_id: int) -> int:
        """The pending reset of a queue, which is thereby done; -1 when there is none."""
        queues = self._resets.get((topic, group)) if self._resets else None
        if queues is None:
            return -1
        offset = queues.pop(queue_id, -1)
        if not queues:
            del self._resets[topic, group]
        return offset

    def topics_of(self, group: str) -> list[str]:
        """Topics on which the group has offsets."""
        return [topic for topic, owner in self._committed if owner == group]

    def groups_of(self, topic: str) -> list[str]:
        """Groups that have offsets on the topic."""
        return [group for name, group in self._committed if name == topic]

    def items(self) -> Iterator[tuple[str, str, dict[int, int]]]:
        """Topic, group, and offsets by queue id."""
        for (topic, group), queues in self._committed.items():
            yield topic, group, queues

    def pulled_items(self) -> Iterator[tuple[str, str, dict[int, int]]]:
        """The same of how far was pulled."""
        for (topic, group), queues in self._pulled.items():
            yield topic, group, queues

    def drop(self, *, group: str | None = None, topic: str | None = None) -> None:
        """Forget the offsets of a group or of a topic."""
        self._store.remove_offsets(group, topic, partial(self._apply_drop, group, topic))

    def _apply_drop(self, group: str | None, topic: str | None) -> None:
        for table in (self._committed, self._pulled, self._resets):
            for key in [key for key in table if topic in (None, key[0]) and group in (None, key[1])]:
                del table[key]


def _count_down(table: dict[_Key, int], key: _Key) -> None:
    table[key] -= 1
    if not table[key]:
        del table[key]
