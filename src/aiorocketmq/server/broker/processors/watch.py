"""Looks at what could be popped (Java: `PeekMessageProcessor`, `NotificationProcessor`, `PollingInfoProcessor`)."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_pop import (
    NotificationRequestHeader,
    NotificationResponseHeader,
    PeekMessageRequestHeader,
    PollingInfoRequestHeader,
    PollingInfoResponseHeader,
    PopMessageResponseHeader,
)
from aiorocketmq.server.broker.long_polling import ParkedPull
from aiorocketmq.server.broker.pop_reminders import Reminders
from aiorocketmq.server.broker.processors.pop_asking import (
    MAX_MESSAGES,
    MOST_BYTES,
    NOTHING_TAKEN,
    Watched,
    answer_again,
    check_readable,
    checked_topic,
    filter_in,
    next_offset,
    park,
    queues,
    time_left,
)
from aiorocketmq.server.broker.reading import MAX_SQL, matching
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Resource, operation

_LOOKED_AT: Final = 64
"""Up to so many messages are left, whoever wants to be told has its tags compared (Java: maxMessageFilterNumForNotification)."""
_COMPARED: Final = 32
# Fields of failures: those of the answers, without values.
_NOTHING_TOLD: Final = NotificationResponseHeader().to_ext()
_NOBODY: Final = PollingInfoResponseHeader(0).to_ext()


class WatchProcessor:
    """Says what could be popped, at once or when it is there.

    Args:
        state: The broker.
        reminders: Wakes those that wait for a blocked queue.
        choose: Takes a number below its argument by chance: which queue is first, and when retry topics are.
    """

    def __init__(self, state: BrokerState, reminders: Reminders, choose: Callable[[int], int] = random.randrange) -> None:
        self._state = state
        self._reminders = reminders
        self._choose = choose

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """Its rows of the broker's table."""
        take, look = (
            [Need(action, kind, name) for kind, name in ((Resource.GROUP, "consumer_group"), (Resource.TOPIC, "topic"))]
            for action in (Action.SUB, Action.GET)
        )
        return (
            operation(RequestCode.PEEK_MESSAGE, PeekMessageRequestHeader, self._peek, *take, failure_ext=NOTHING_TAKEN),
            operation(RequestCode.NOTIFICATION, NotificationRequestHeader, self._notify, *take, failure_ext=_NOTHING_TOLD),
            operation(RequestCode.POLLING_INFO, PollingInfoRequestHeader, self._polling_info, *look, failure_ext=_NOBODY),
        )

    def _offset(self, topic: str, group: str, queue_id: int) -> int:
        """Where a pop would begin."""
        offset = next_offset(self._state, topic, group, queue_id)
        return offset if offset >= 0 else self._state.store.bounds(topic, queue_id)[0]

    def _peek(self, request: Plain[PeekMessageRequestHeader]) -> RemotingCommand:
        check_readable(self._state, "peeking message")
        state, header = self._state, request.header
        topic = checked_topic(state, request)
        found: list[bytes] = []
        rest = size = 0
        for name, queue_id in queues(state, topic, header.consumer_group, header.queue_id, self._choose):
            low, high = state.store.bounds(name, queue_id)
            offset = self._offset(name, header.consumer_group, queue_id)
            rest += high - offset
            queue = state.store.queue(name, queue_id)
            room = min(header.max_msg_nums, MAX_MESSAGES) - len(found)
            if queue is None or room <= 0 or size >= MOST_BYTES:
                continue
            records, _ = matching(state.store, queue, min(max(offset, low), high), room)
            found += records
            size += sum(map(len, records))
        info = PopMessageResponseHeader(0, 0, 0, rest)
        if not found:
            return request.answer(ResponseCode.PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE", info)
        return request.answer(ResponseCode.SUCCESS, "FOUND", info, b"".join(found))

    def _notify(self, request: Watched) -> RemotingCommand | None:
        header, now = request.header, self._state.clients_ms()
        header.born_time = header.born_time or now
        check_readable(self._state, "peeking message")
        left = time_left(header, now)
        return self._told(request, 0.0 if left is None else self._state.monotonic() + left)

    def _told(self, request: Watched, deadline: float) -> RemotingCommand | None:
        """Say that there is something, or wait for it until the loop's time is `deadline`."""
        state, header = self._state, request.header
        topic = checked_topic(state, request)
        codes, _ = filter_in(state, header)
        looked_at = queues(state, topic, header.consumer_group, header.queue_id, self._choose)
        if any(self._has_messages(header, name, queue_id, codes) for name, queue_id in looked_at):
            return request.answer(header=NotificationResponseHeader(True, False))
        if deadline <= state.monotonic():
            return request.answer(header=NotificationResponseHeader(False, False))
        resume = partial(answer_again, state, request, partial(self._told, request, deadline))
        has_room = len(header.exp or "") <= MAX_SQL
        if not has_room or not park(state.pop_watchers, request, ParkedPull(codes, deadline, resume, request.channel)):
            return request.answer(header=NotificationResponseHeader(False, True))
        if header.order:
            blocked = [state.orders.free_at(header.topic, header.consumer_group, number) for number in range(topic.read_queue_nums)]
            self._reminders.remind(header.topic, header.consumer_group, min((at for at in blocked if at > state.now_ms()), default=0))
        return None

    def _has_messages(self, header: NotificationRequestHeader, topic: str, queue_id: int, codes: frozenset[int]) -> bool:
        state, group = self._state, header.consumer_group
        if header.order and state.orders.blocks(header.topic, group, queue_id, header.attempt_id or "", state.now_ms()):
            return False
        offset = self._offset(topic, group, queue_id)
        low, high = state.store.bounds(topic, queue_id)
        queue = state.store.queue(topic, queue_id)
        if not codes or high - offset >= _LOOKED_AT or queue is None:
            return high > offset
        return any(row.tags_code in codes for row in state.store.read(queue, max(offset, low), _COMPARED))

    def _polling_info(self, request: Plain[PollingInfoRequestHeader]) -> RemotingCommand:
        check_readable(self._state, "peeking message")
        checked_topic(self._state, request)
        header = request.header
        return request.answer(
            header=PollingInfoResponseHeader(self._state.pops.count(header.topic, header.consumer_group, header.queue_id))
        )
