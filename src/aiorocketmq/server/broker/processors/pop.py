"""Pops (Java: `PopMessageProcessor`).

A pop goes from queue to queue until it has enough messages. What it takes of a queue is invisible to the others of the group from then on,
and the group's offset moves behind it with the same commit; the answer leaves after that commit. A pop that finds nothing waits.
"""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aiorocketmq.errors import RocketMQError, broker_error
from aiorocketmq.model import names
from aiorocketmq.model import properties as props
from aiorocketmq.model.receipt import ORDERED, Receipt, kind_of
from aiorocketmq.model.sql92 import Condition
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import RpcHeader
from aiorocketmq.protocol.headers_pop import (
    PopMessageRequestHeader,
    PopMessageResponseHeader,
)
from aiorocketmq.protocol.message_codec import encode_stored_message
from aiorocketmq.server.broker.long_polling import ParkedPull
from aiorocketmq.server.broker.pop_reminders import Reminders
from aiorocketmq.server.broker.processors.common import decode_record
from aiorocketmq.server.broker.processors.pop_asking import (
    MAX_MESSAGES,
    MOST_BYTES,
    NOTHING_TAKEN,
    Popped,
    answer_again,
    check_readable,
    checked_topic,
    filter_in,
    go_on_at,
    next_offset,
    park,
    queues,
    time_left,
)
from aiorocketmq.server.broker.reading import MAX_SQL, matching
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Resource, operation
from aiorocketmq.server.store.keys import encode_text

_REVIVE_QUEUES: Final = 8
"""Real brokers spread check points over so many queues; here the number in a receipt means nothing."""
_TIME: Final = 0.05
"""Seconds of work after which a pop ends where it is, however many queues there are: others wait meanwhile."""
_TOO_LATE_MS: Final = 500
_OFFSET: Final = struct.Struct(">q")
_OFFSET_AT: Final = 20
"""Where a record says its offset in the queue."""


class _Pop:
    """One pop and what it has taken so far; mutable."""

    __slots__ = (
        "codes", "condition", "counts", "found", "free_at", "header", "kinds", "messages", "more", "now", "request", "rest", "revive_queue",
        "size", "starts",
    )  # fmt: skip

    def __init__(self, request: Popped, codes: frozenset[int], condition: Condition | None, now: int, revive_queue: int) -> None:
        self.request = request
        self.header = request.header
        self.codes = codes
        self.condition = condition
        self.now = now
        self.revive_queue = revive_queue
        self.found: list[bytes] = []
        self.size = 0
        self.rest = 0
        self.starts: list[str] = []
        self.messages: list[str] = []
        self.counts: list[str] = []
        self.more = False
        """Messages are left that were not looked at."""
        self.free_at = 0
        """When a blocked queue is free again."""

    @property
    def full(self) -> bool:
        return len(self.found) >= self.header.max_msg_nums or self.size >= MOST_BYTES

    def wants(self, properties: bytes) -> bool:
        """Whether its condition lets a message with this property text through."""
        return self.condition is None or self.condition.matches(props.decode_properties(properties))

    def answer_header(self) -> PopMessageResponseHeader:
        header = self.header
        return PopMessageResponseHeader(
            self.now,
            header.invisible_time,
            self.revive_queue,
            self.rest,
            ";".join(self.starts),
            ";".join(self.messages),
            ";".join(self.counts) if header.order else None,
        )


class PopProcessor:
    """Lets groups take messages.

    Args:
        state: The broker.
        reminders: Wakes pops that wait for a blocked queue.
        choose: Takes a number below its argument by chance: which queue is first, and when retry topics are.
    """

    def __init__(self, state: BrokerState, reminders: Reminders, choose: Callable[[int], int] = random.randrange) -> None:
        self._state = state
        self._reminders = reminders
        self._choose = choose
        self._pops = 0

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """Its rows of the broker's table."""
        needs = [Need(Action.SUB, kind, name) for kind, name in ((Resource.GROUP, "consumer_group"), (Resource.TOPIC, "topic"))]
        return (
            operation(RequestCode.POP_MESSAGE, PopMessageRequestHeader, self._pop, *needs, failure_ext=NOTHING_TAKEN),
            operation(RequestCode.POP_ROLLBACK, RpcHeader, self._roll_back, Need(Action.UPDATE, Resource.CLUSTER)),
        )

    def _roll_back(self, request: Plain[RpcHeader]) -> RemotingCommand:
        """There is one place for what is out: nothing has to move."""
        return request.answer()

    def _pop(self, request: Popped) -> RemotingCommand | None:
        header, state = request.header, self._state
        now = state.clients_ms()
        header.born_time = header.born_time or now
        if now - header.born_time - header.poll_time > _TOO_LATE_MS:
            raise broker_error(ResponseCode.POLLING_TIMEOUT, f"the broker[{state.ip}] pop message is timeout too much")
        check_readable(state, "pop message")
        if header.max_msg_nums > MAX_MESSAGES:
            raise broker_error(ResponseCode.INVALID_PARAMETER, f"the broker[{state.ip}] pop message's num is greater than {MAX_MESSAGES}")
        left = time_left(header, now)
        return self._answer(request, 0.0 if left is None else state.monotonic() + left)

    def _answer(self, request: Popped, deadline: float) -> RemotingCommand | None:
        """Take what is there and answer with it after the commit, or wait until the loop's time is `deadline`."""
        header, state = request.header, self._state
        topic = checked_topic(state, request)
        if header.max_msg_nums < 0 or header.invisible_time < 0:
            text = f"maxMsgNums {header.max_msg_nums} or invisibleTime {header.invisible_time} is negative"
            raise broker_error(ResponseCode.SYSTEM_ERROR, text, topic=header.topic)
        codes, condition = filter_in(state, header)
        revive_queue = ORDERED if header.order else self._pops % _REVIVE_QUEUES
        self._pops += not header.order
        pop = _Pop(request, codes, condition, state.now_ms(), revive_queue)
        stop = time.thread_time() + _TIME
        for name, queue_id in queues(state, topic, header.consumer_group, header.queue_id, self._choose, ordered=bool(header.order)):
            self._take(pop, name, queue_id)
            if time.thread_time() >= stop:
                pop.more = True
                break
        if not pop.found:
            return self._wait(pop, deadline)
        state.store.after_commit(partial(self._taken, pop))
        return None

    def _take(self, pop: _Pop, topic: str, queue_id: int) -> None:
        """Take what there is of one queue."""
        state, header = self._state, pop.header
        group = header.consumer_group
        name = (topic, group, queue_id)
        low, high = state.store.bounds(topic, queue_id)
        start = offset = self._begin(topic, group, queue_id, header.init_mode)
        most = state.config.pop_threshold
        if most is not None and not header.order and state.taken.count(name, most + 1) > most:
            pop.rest += high - offset
            return
        if header.order:
            info = state.orders.get(topic, group, queue_id)
            if info is not None and info.blocks(header.attempt_id or "", pop.now):
                pop.free_at = min(pop.free_at or info.free_at(), info.free_at())
                return  # what is there of it is no reason to look again
        if pop.full:
            pop.rest += high - offset
            return
        queue = state.store.queue(topic, queue_id)
        if queue is None or not high:
            return
        if not low <= offset <= high:
            offset = low if offset < low else high
            go_on_at(state, topic, group, queue_id, offset)
        if offset == high:
            return
        room = header.max_msg_nums - len(pop.found)
        records, following = matching(state.store, queue, offset, room, pop.codes, pop.condition)
        pop.rest += high - following
        if not records:
            pop.more = pop.more or following < high
            go_on_at(state, topic, group, queue_id, following)
            return
        offsets = [_OFFSET.unpack_from(record, _OFFSET_AT)[0] for record in records]
        kind = kind_of(topic)
        if header.order:
            ordered = state.orders.taken(topic, group, queue_id, header.attempt_id or "", pop.now, header.invisible_time, tuple(offsets))
            pop.counts += ordered.count_info(topic, queue_id)
        else:
            state.taken.take(name, start, pop.now, offsets, header.invisible_time)
            go_on_at(state, topic, group, queue_id, following)
        pop.starts.append(f"{kind} {queue_id} {start}")
        pop.messages.append(f"{kind} {queue_id} {','.join(map(str, offsets))}")
        if topic != header.topic:
            records = [self._as_asked(pop, record, start, kind, queue_id) for record in records]
        pop.found += records
        pop.size += sum(map(len, records))
        state.stats.pulled(topic, group, len(records))

    def _begin(self, topic: str, group: str, queue_id: int, init_mode: int) -> int:
        """Where to go on in a queue; a group without an offset gets one."""
        state = self._state
        reset = state.offsets.take_reset(group, topic, queue_id)
        if reset >= 0:
            state.orders.forget(topic, group, queue_id)
            state.taken.forget_following((topic, group, queue_id))
            return reset
        offset = next_offset(state, topic, group, queue_id)
        if offset < 0:
            offset = self._first(topic, queue_id, init_mode)
            go_on_at(state, topic, group, queue_id, offset)
        return offset

    def _first(self, topic: str, queue_id: int, init_mode: int) -> int:
        low, high = self._state.store.bounds(topic, queue_id)
        if init_mode == 0 or topic.startswith(names.RETRY_PREFIX):
            return low
        queue = self._state.store.queue(topic, queue_id)
        # As with pulls, a new group takes a young topic from its beginning; else the last message is its first.
        young = low <= 0 and queue is not None and high > 0 and queue.first_recent_offset == 0
        return 0 if young else max(0, high - 1)

    def _as_asked(self, pop: _Pop, record: bytes, start: int, kind: str, queue_id: int) -> bytes:
        """A message of a retry topic as consumers get it: with the topic that they asked for, and its receipt."""
        stored = decode_record(record)
        receipt = Receipt(
            start, pop.now, pop.header.invisible_time, pop.revive_queue, kind, self._state.config.name, queue_id, stored.queue_offset
        )
        properties = {**stored.properties}
        properties.setdefault(props.POP_CK, receipt.encode())
        text = encode_text(props.encode_properties(properties))
        if len(text) > props.MAX_PROPERTIES_LENGTH:
            return record  # full to the brim: it goes as it is stored, as from brokers that never change the topic
        born_ip, born_port = stored.born_address
        store_ip, store_port = stored.store_address
        return encode_stored_message(
            pop.header.topic,
            stored.stored_body,
            text,
            queue_id=queue_id,
            queue_offset=stored.queue_offset,
            commit_log_offset=stored.commit_log_offset,
            born_timestamp=stored.born_timestamp,
            born_ip=born_ip,
            born_port=born_port,
            store_timestamp=stored.store_timestamp,
            store_ip=store_ip,
            store_port=store_port,
            flag=stored.flag,
            sys_flag=stored.sys_flag,
            reconsume_times=stored.reconsume_times,
            prepared_transaction_offset=stored.prepared_transaction_offset,
        )

    def _taken(self, pop: _Pop, error: RocketMQError | None) -> None:
        """After the commit: the messages are out."""
        request = pop.request
        if error is not None:
            request.done(error)
            return
        request.reply(request.answer(ResponseCode.SUCCESS, "FOUND", pop.answer_header(), b"".join(pop.found)))
        if pop.rest > 0 or pop.more:
            self._state.pops.wake(pop.header.topic, pop.header.consumer_group, pop.header.queue_id)

    def _wait(self, pop: _Pop, deadline: float) -> RemotingCommand | None:
        """Nothing was found: wait, or say so."""
        state, header, request = self._state, pop.header, pop.request
        if deadline <= state.monotonic():
            return request.answer(ResponseCode.POLLING_TIMEOUT, "NO_MESSAGE_IN_QUEUE", pop.answer_header())
        has_room = len(header.exp or "") <= MAX_SQL and (pop.condition is None or state.filters.has_room_for(pop.condition))
        wants = pop.wants if pop.condition is not None else None
        resume = partial(answer_again, state, request, partial(self._answer, request, deadline))
        if not has_room or not park(state.pops, request, ParkedPull(pop.codes, deadline, resume, request.channel, wants)):
            return request.answer(ResponseCode.POLLING_FULL, "NO_MESSAGE_IN_QUEUE", pop.answer_header())
        if pop.more:  # in the next turn of the loop: there may be any number of messages that nobody wants
            asyncio.get_running_loop().call_soon(state.pops.wake, header.topic, header.consumer_group, header.queue_id)
        self._reminders.remind(header.topic, header.consumer_group, pop.free_at)
        return None
