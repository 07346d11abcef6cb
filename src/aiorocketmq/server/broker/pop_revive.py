"""What was taken and not acknowledged in time comes back (Java: `PopReviveService`).

Each message is stored once more, in the retry topic that the group has for its topic, with one more try on its count; taking it out of the
table and storing it are one unit of work. Java waits two seconds more before it does that, and looks once a second; here messages come
back to the moment. Neither counts tries, nor moves anything to a dead-letter topic: that is up to consumers.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

from aiorocketmq.errors import ProtocolError, RocketMQError
from aiorocketmq.model import names
from aiorocketmq.model import properties as props
from aiorocketmq.model.receipt import NORMAL, kind_of
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.server.broker.processors.common import complete, copy_of, decode_record
from aiorocketmq.server.broker.schedule import Done, Schedule
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.store.records import DueEntry, PendingMessage
from aiorocketmq.server.store.taken import Overdue

logger = logging.getLogger("aiorocketmq.server")

REVIVE: Final = "pop"
"""Kind of due work: a message comes back."""
_BATCH: Final = 256
"""Messages that come back with one commit at most."""
_BATCH_BYTES: Final = 4 * 1024 * 1024
"""Bytes of them, but for a first one that is larger."""


class Revive:
    """Brings messages back. Belongs to one event loop.

    Args:
        state: The broker.
        schedule: Says when.
    """

    def __init__(self, state: BrokerState, schedule: Schedule) -> None:
        self._state = state
        self._schedule = schedule
        self._looks = 0
        self._at: int | None = None
        self._working = False
        schedule.register(REVIVE, self._look)
        state.taken.on_taken = self._arm

    def start(self) -> None:
        """Look for what was out when the broker ended; the schedule must run."""
        self._at = None
        self._working = False
        self._arm_next()

    def _arm(self, due: int) -> None:
        """Something comes back at a time."""
        if self._working or (self._at is not None and self._at <= due):
            return
        self._at = due
        self._looks += 1
        self._schedule.remind(DueEntry(due, REVIVE, self._looks))

    def _arm_next(self) -> None:
        due = self._state.taken.next_due()
        if due is not None:
            self._arm(due)

    def _look(self, entry: DueEntry, done: Done) -> None:
        if self._working or (self._at is not None and self._at != entry.at):
            done(None)  # another look does what there is to do
            return
        state = self._state
        size = 0
        for each in state.taken.overdue(state.now_ms(), _BATCH):
            size += self._bring_back(each)
            if size >= _BATCH_BYTES:
                break
        self._working = True
        state.store.after_commit(partial(self._looked, done))

    def _looked(self, done: Done, error: RocketMQError | None) -> None:
        self._working = False
        if error is None:
            self._at = None
        done(error)  # after an error the schedule looks again, later
        if error is None:
            self._arm_next()

    def _bring_back(self, each: Overdue) -> int:
        """Returns the bytes of the message's record."""
        state = self._state
        topic, group, _ = each.name
        record = self._record(each)
        message = None
        if record is not None:
            try:
                message = self._again(each, decode_record(record))
            except ProtocolError as error:  # the others must not wait for it
                logger.error("a message of %s:%d does not come back to %s, it is damaged: %s", topic, each.name[2], group, error)
        state.taken.give_back(each.name, each.taken)  # from here on nothing fails
        if message is None or record is None:
            return 0
        if state.topics.latest(message.topic) is None:
            state.topics.create_derived(message.topic, 1)
            if state.offsets.query(group, message.topic, 0) < 0:
                state.offsets.commit(group, message.topic, 0, 0)
        asked = topic if message.topic != topic else topic.removeprefix(names.RETRY_PREFIX)[len(group) + 1 :]
        message.done = partial(self._came_back, asked, group)
        state.store.append(message)
        return len(record)

    def _record(self, each: Overdue) -> bytes | None:
        """The message as it is stored; None when it has left the store, or nobody could get it any more."""
        state = self._state
        topic, group, queue_id = each.name
        queue = state.store.queue(topic, queue_id)
        if queue is None or state.topics.standing(topic) is None or state.groups.get(group) is None:
            return None
        if not queue.min_offset <= each.taken.offset < queue.next_offset:
            return None
        rows = state.store.read(queue, each.taken.offset, 1)
        return rows[0].record if rows else None

    def _again(self, each: Overdue, stored: ReceivedMessage) -> PendingMessage:
        """The message for the retry topic; what comes from one goes there again."""
        topic, group, _ = each.name
        retry = topic if kind_of(topic) != NORMAL else names.pop_retry_topic(group, topic, v2=self._state.config.pop_retry_v2)
        message = copy_of(stored, retry, 0)
        message.reconsume_times += not each.suspended
        message.born_host, message.born_port = self._state.store.store_host
        properties = dict(stored.properties)
        if stored.reconsume_times == 0 or props.FIRST_POP_TIME not in properties:
            properties[props.FIRST_POP_TIME] = str(each.taken.pop_time)
        properties[props.ORIGIN_GROUP] = group
        complete(message, properties)
        if len(message.properties) > props.MAX_PROPERTIES_LENGTH:
            complete(message, stored.properties)  # what a producer filled to the brim has room for nothing else
        return message

    def _came_back(self, topic: str, group: str, message: PendingMessage, error: RocketMQError | None) -> None:
        if error is not None:
            return
        self._state.stats.stored(message.topic, 1)
        for waiting in (self._state.pops, self._state.pop_watchers):
            waiting.wake_each(topic, group)
