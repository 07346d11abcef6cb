"""The writing half of `Store`: what requests change is collected here until the commit that ends the tick."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from aiorocketmq.errors import RocketMQError, broker_error
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.server.store.keys import keys_of_record
from aiorocketmq.server.store.records import Changes, DueEntry, PendingMessage, Unit
from aiorocketmq.server.store.transactions import (
    DELETE_DUE,
    DELETE_OFFSETS,
    DELETE_SETTING,
    DROP_TOPIC,
    INSERT_DUE,
    KEEP_LOG_OFFSET,
    PUT_OFFSET,
    PUT_SETTING,
)


class Writes(ABC):
    """Collects changes. Every method returns at once; whatever it wrote is visible to reading methods after the commit.

    Attributes:
        on_scheduled: Told of due work after the commit that stored it.
    """

    def __init__(self) -> None:
        self._changes = Changes()
        self._sealed: deque[Changes] = deque()
        self._unit: Unit | None = None
        self._in_request = False
        self._before = 0  # messages of other requests in this tick
        self._armed = False
        self.on_scheduled: Callable[[DueEntry], None] = lambda entry: None

    @abstractmethod
    def _arm(self) -> None:
        """Have the changes committed at the end of this tick."""

    # -- units of work ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A request is handled from here to `end()`: what it writes is one unit, stored whole or not at all.

        Without it every write is a unit by itself. A message that is appended before anything else is one in any case.
        """
        self._in_request = True
        self._unit = None
        self._before = len(self._changes.messages)

    def end(self) -> None:
        """The request is handled; its unit is written with the commit of this tick."""
        self._in_request = False
        self._unit = None

    def revoke(self) -> None:
        """The request at work is refused: what it has written so far is dropped, as if it had never asked."""
        unit, self._unit = self._unit, None
        changes = self._changes
        del changes.messages[self._before :]
        if unit is None:
            return
        changes.units.remove(unit)
        changes.drops = {topic: each for topic, each in changes.drops.items() if each is not unit}
        unit.error = broker_error(ResponseCode.SYSTEM_ERROR, "the request was refused")
        for callback in unit.callbacks:
            callback(unit.error)

    def unit(self) -> Unit:
        """The unit of the request at work, or one for a single write."""
        unit = self._unit
        if unit is None:
            unit = Unit()
            self._changes.units.append(unit)
            if self._in_request:
                self._unit = unit
        self._arm()
        return unit

    def build_on(self, unit: Unit) -> None:
        """What the request at work writes depends on what another has written in this tick or the one before."""
        if self._in_request and unit is not self._unit:
            self.unit().needs.append(unit)

    def write(self, statement: str, parameters: Sequence[object], applied: Callable[[], None] | None = None) -> Unit:
        """Carry out a statement with the commit of this tick; `applied` is called after it, before anybody is told."""
        unit = self.unit()
        unit.writes.append((statement, parameters))
        if applied is not None:
            unit.applied.append(applied)
        return unit

    # -- single changes ------------------------------------------------------------------------------------------------------

    def append(self, message: PendingMessage) -> None:
        """Store a message with the commit of this tick; its `done` tells the outcome."""
        message.unit = self._unit
        self._changes.messages.append(message)
        if not self._armed:
            self._arm()

    def append_all(self, messages: Sequence[PendingMessage]) -> Unit:
        """Store messages in one commit, all or none, at consecutive offsets of their queue when it is the same.

        Returns:
            Their unit, whose callbacks tell the outcome for all together.
        """
        unit = self.unit()
        for message in messages:
            message.unit = unit
        self._changes.messages += messages
        return unit

    def put_offset(self, group: str, topic: str, queue_id: int, offset: int, applied: Callable[[], None] | None = None) -> Unit:
        """Store a committed offset with the commit of this tick.

        Args:
            group, topic, queue_id: Whose offset.
            offset: What to store.
            applied: Called after the commit, before anybody is told of it; not called when it fails.
        """
        return self.write(PUT_OFFSET, (group, topic, queue_id, offset), applied)

    def remove_offsets(self, group: str | None, topic: str | None, applied: Callable[[], None] | None = None) -> Unit:
        """Remove the offsets of a group, of a topic, or of a group on a topic (None stands for all)."""
        return self.write(DELETE_OFFSETS, (group, topic), applied)

    def put_setting(self, kind: str, name: str, value: str | None, applied: Callable[[], None] | None = None) -> Unit:
        """Store a setting, or remove it (None), with the commit of this tick."""
        if value is None:
            return self.write(DELETE_SETTING, (kind, name), applied)
        return self.write(PUT_SETTING, (kind, name, value), applied)

    def put_due(self, entry: DueEntry) -> None:
        """Add due work with the commit of this tick; `on_scheduled` is told after it."""
        self.write(INSERT_DUE, entry, lambda: self.on_scheduled(entry))

    def strike(self, entry: DueEntry, applied: Callable[[], None] | None = None) -> None:
        """Remove due work, done or not, with the commit of this tick."""
        self.write(DELETE_DUE, entry, applied)

    def drop_topic(self, topic: str) -> Unit:
        """Remove a topic's messages and queues with the commit of this tick; its offsets start from 0 again."""
        if topic in self._changes.drops or any(message.topic == topic for message in self._changes.messages):
            self._seal()
        unit = self._changes.drops[topic] = self.write(KEEP_LOG_OFFSET, ())
        for statement in DROP_TOPIC:
            self.write(statement, (topic,))
        return unit

    def _seal(self) -> None:
        """What comes now belongs to a commit of its own, after the one that holds what came before."""
        self._sealed.append(self._changes)
        unit, self._changes = self._unit, Changes()
        self._before = 0
        if unit is not None and unit in self._sealed[-1].units:
            self._sealed[-1].units.remove(unit)
            self._changes.units.append(unit)

    def expire(self, records: Sequence[tuple[int, str, bytes]], bounds: Mapping[int, int], applied: Callable[[], None]) -> Unit:
        """Remove messages with the commit of this tick.

        Args:
            records: Offset of the log, topic and record of each message that goes.
            bounds: Key of each queue that loses messages, and its smallest offset afterwards.
            applied: Called after the commit.
        """
        unit = self.write(KEEP_LOG_OFFSET, (), applied)
        for physical_offset, topic, record in records:
            unit.writes.append(("DELETE FROM messages WHERE physical_offset = ?", (physical_offset,)))
            for key in keys_of_record(record):
                unit.writes.append(
                    ("DELETE FROM message_keys WHERE topic = ? AND key = ? AND physical_offset = ?", (topic, key, physical_offset))
                )
        for queue, offset in bounds.items():
            unit.writes.append(("UPDATE queues SET min_offset = ? WHERE id = ? AND min_offset < ?", (offset, queue, offset)))
        return unit

    def after_commit(self, callback: Callable[[RocketMQError | None], None]) -> None:
        """Call back when what the request has written, or all that was written so far, is committed; or with the error that kept it."""
        if self._unit is not None:
            self._unit.callbacks.append(callback)
            return
        self._changes.callbacks.append(callback)
        if not self._armed:
            self._arm()
