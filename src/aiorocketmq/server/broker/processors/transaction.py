"""Half messages and what becomes of them (Java: `EndTransactionProcessor`, `TransactionalMessageServiceImpl`).

A half message lies in a topic of the broker's own, beside due work that stands there as long as nobody has decided. Deciding strikes that
work, stores the message where it belongs if it is committed, and notes it in the queue of operations, all in one unit of work: a half
message is committed or rolled back, once. Java stores a half message anew for every check, and would commit both of them; here it stays
where it is, so that a decision that was on its way finds it.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Final

from aiorocketmq.errors import RocketMQError, broker_error
from aiorocketmq.model import names
from aiorocketmq.model import properties as props
from aiorocketmq.model.parsing import number_or_none
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.frame import encode
from aiorocketmq.protocol.headers_client import CheckTransactionStateRequestHeader, EndTransactionRequestHeader
from aiorocketmq.protocol.message_codec import encode_stored_message
from aiorocketmq.protocol.sysflag import MessageSysFlag
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.server.broker.metadata import missing_topic
from aiorocketmq.server.broker.processors.common import complete, copy_of, decode_record, delivered, immunity_ms, topic_at
from aiorocketmq.server.broker.schedule import Done, Schedule
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Resource, operation
from aiorocketmq.server.store.keys import encode_text
from aiorocketmq.server.store.records import HALF, DueEntry, PendingMessage

_COMMIT: Final = MessageSysFlag.TRANSACTION_COMMIT
_ROLLBACK: Final = MessageSysFlag.TRANSACTION_ROLLBACK
_CHECKS: Final = "half"
"""Kind of setting: how often was asked about the half message at an offset of the log."""
_REMOVE_TAG: Final = "d"
_MUCH_ASKED: Final = 8 * 1024 * 1024
"""Bytes of half messages that are asked about with one commit."""
_SOON_MS: Final = 100
_LATER_MS: Final = 1000
_TELL_AGAIN: Final = 60.0
_TOLD_GROUPS: Final = 1024

logger = logging.getLogger("aiorocketmq.server")


class TransactionProcessor:
    """Ends transactions, and asks producers about those that nobody ends.

    Args:
        state: The broker.
        schedule: Says when a half message has waited for too long.
    """

    def __init__(self, state: BrokerState, schedule: Schedule) -> None:
        self._state = state
        self._schedule = schedule
        self._ending: set[int] = set()
        """Half messages whose end is on its way into the store."""
        self._next: dict[int, DueEntry] = {}
        """Offset of a half message → when it is looked at next, from the moment at which that is decided: the table may not show it yet."""
        self._turn = 0
        self._asked = 0
        """Bytes of half messages that are asked about once their commit is done."""
        self._told: dict[str, tuple[float, int]] = {}
        """Group → when it may be told again that none of its producers is there, and how often that was found meanwhile."""
        schedule.register(HALF, self._check)

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """Its row of the broker's table."""
        need = Need(Action.PUB, Resource.TOPIC, self._topics)
        return (operation(RequestCode.END_TRANSACTION, EndTransactionRequestHeader, self._end, need),)

    def _topics(self, request: Plain[EndTransactionRequestHeader]) -> set[str]:
        """The half message's own topic, and the one that is named: answers to checks name the broker's own, or none."""
        return {*topic_at(self._state, request.header.commit_log_offset), request.header.topic or ""} - {"", names.HALF_TOPIC}

    # -- the end of a transaction ---------------------------------------------------------------------------------------

    def _end(self, request: Plain[EndTransactionRequestHeader]) -> None:
        header = request.header
        state = self._state
        if header.commit_or_rollback not in (_COMMIT, _ROLLBACK):
            return  # who does not know is not answered at all
        offset = header.commit_log_offset
        half, entry = self._open(header)
        checked = half.properties.get(props.CHECK_IMMUNITY_TIME)
        late = checked is not None and state.now_ms() - half.born_timestamp > immunity_ms(state, half.properties)
        if late and not header.from_transaction_check:
            remark = f"the transaction was to end within {checked} s: now its producer is asked"
            raise broker_error(ResponseCode.ILLEGAL_OPERATION, remark)
        final = self._final(half) if header.commit_or_rollback == _COMMIT else None  # before anything is written: it may be refused
        self._forget(offset, entry)
        if final is not None:
            state.store.append(final)
        state.store.append(_operation_of(half, state))
        self._ending.add(offset)
        state.store.after_commit(partial(self._ended, request, offset))

    def _open(self, header: EndTransactionRequestHeader) -> tuple[ReceivedMessage, DueEntry]:
        """The half message that is meant, and the work that it waits with.

        Raises:
            BrokerError: There is none, or it has ended already.
        """
        store = self._state.store
        record = store.record_at(header.commit_log_offset)
        half = decode_record(record) if record is not None else None
        entry = store.due_entry(HALF, header.commit_log_offset)
        wrong = ""
        if half is None or half.topic != names.HALF_TOPIC:
            wrong = "Find prepared transaction message failed"
        elif half.properties.get(props.PRODUCER_GROUP) != header.producer_group:
            wrong = "The producer group wrong"
        elif half.queue_offset != header.tran_state_table_offset:
            wrong = "The transaction state table offset wrong"
        elif entry is None or header.commit_log_offset in self._ending:
            wrong = "Find prepared transaction message failed: it has ended already"
        if wrong or half is None or entry is None:
            raise broker_error(ResponseCode.SYSTEM_ERROR, wrong)
        return half, entry

    def _forget(self, offset: int, entry: DueEntry) -> None:
        """Nobody is asked any more, nor by the check that is just on its way into the store."""
        self._schedule.cancel(entry)
        following = self._next.pop(offset, None)
        if following is not None and following != entry:
            self._schedule.cancel(following)
        self._state.store.put_setting(_CHECKS, str(offset), None)

    def _ended(self, request: Plain[EndTransactionRequestHeader], offset: int, error: RocketMQError | None) -> None:
        self._ending.discard(offset)
        request.done(error)

    def _final(self, half: ReceivedMessage) -> PendingMessage:
        """The message that consumers get."""
        message = delivered(self._state, half)
        if message is None:
            raise missing_topic(half.properties.get(props.REAL_TOPIC, ""))
        properties = dict(half.properties)
        for name in (props.REAL_TOPIC, props.REAL_QUEUE_ID):
            properties.pop(name, None)
        complete(message, properties)
        message.sys_flag |= _COMMIT
        message.prepared_offset = half.commit_log_offset
        message.done = self._committed
        return message

    def _committed(self, message: PendingMessage, error: RocketMQError | None) -> None:
        if error is None:
            self._state.stats.stored(message.topic, 1)

    # -- asking ---------------------------------------------------------------------------------------------------------

    def _check(self, entry: DueEntry, done: Done) -> None:
        """Nobody has ended this transaction yet: ask a producer of its group, or give it up."""
        state, store = self._state, self._state.store
        if entry.key in self._ending:
            store.after_commit(done)
            return
        record = store.record_at(entry.key)
        if record is None:
            store.strike(entry)
            store.after_commit(done)
            return
        half = decode_record(record)
        times = (number_or_none(store.setting(_CHECKS, str(entry.key)) or "0") or 0) + 1
        if times > state.config.transaction_check_max:
            self._give_up(half, entry, done)
            return
        # Whoever does not read what it is asked must not take all memory, and nobody was asked then: that does not count.
        producers = self._producers(half)
        if producers and not any(channel.writable for channel in producers):
            self._look_again(entry, _LATER_MS)
            store.after_commit(done)
            return
        if producers and self._asked >= _MUCH_ASKED:
            self._look_again(entry, _SOON_MS)
            store.after_commit(done)
            return
        store.put_setting(_CHECKS, str(entry.key), str(times))
        self._look_again(entry, int(state.config.transaction_check_interval * 1000))
        self._asked += len(record)
        store.after_commit(partial(self._ask, half, times, len(record), done))

    def _look_again(self, entry: DueEntry, wait_ms: int) -> None:
        store = self._state.store
        store.strike(entry)
        following = DueEntry(self._state.now_ms() + wait_ms, HALF, entry.key)
        store.put_due(following)
        self._next[entry.key] = following

    def _ask(self, half: ReceivedMessage, times: int, size: int, done: Done, error: RocketMQError | None) -> None:
        self._asked -= size
        done(error)
        if error is not None:
            return
        channel = self._producer(half)
        if channel is None:
            self._tell_of(half, half.properties.get(props.PRODUCER_GROUP, ""), times)
            return
        header = CheckTransactionStateRequestHeader(
            tran_state_table_offset=half.queue_offset,
            commit_log_offset=half.commit_log_offset,
            msg_id=half.message_id,
            transaction_id=half.message_id,
            offset_msg_id=half.offset_message_id,
            topic=half.topic,
            bname=self._state.config.name,
        )
        body = _as_asked(half, times)
        channel.send(encode(RemotingCommand.request(RequestCode.CHECK_TRANSACTION_STATE, header, body, oneway=True)))

    def _tell_of(self, half: ReceivedMessage, group: str, times: int) -> None:
        """Say that nobody can be asked; thousands of transactions of a group may be open, so once a minute for each group."""
        now = self._state.monotonic()
        again, others = self._told.get(group, (now, 0))
        if now < again:
            self._told[group] = again, others + 1
            return
        if len(self._told) >= _TOLD_GROUPS:
            self._told.clear()
        self._told[group] = now + _TELL_AGAIN, 0
        logger.warning(
            "transaction %s is open, and no producer of group %s is connected (check %d)%s",
            half.message_id,
            group,
            times,
            f"; the same was found {others} times more since that was said last" if others else "",
        )

    def _producers(self, half: ReceivedMessage) -> list[Channel]:
        """Connections to producers of the group that may know what is in the message's topic."""
        access, properties = self._state.access, half.properties
        topic = properties.get(props.REAL_TOPIC, "")
        return [
            channel
            for channel in self._state.clients.producers.get(properties.get(props.PRODUCER_GROUP, ""), ())
            if not channel.closed and (access is None or access.may_publish(channel, topic))
        ]

    def _producer(self, half: ReceivedMessage) -> Channel | None:
        """One of them; they take turns."""
        channels = self._producers(half)
        if not channels:
            return None
        self._turn += 1
        taken = [channels[(self._turn + index) % len(channels)] for index in range(len(channels))]
        return next((channel for channel in taken if channel.writable), taken[0])

    def _give_up(self, half: ReceivedMessage, entry: DueEntry, done: Done) -> None:
        """Nobody knew: the message moves to where an operator finds it."""
        state = self._state
        self._forget(entry.key, entry)
        self._ending.add(entry.key)
        logger.warning(
            "transaction %s of group %s was checked %d times and is given up: its message is in %s",
            half.message_id,
            half.properties.get(props.PRODUCER_GROUP),
            state.config.transaction_check_max,
            names.UNDECIDED_TOPIC,
        )
        topic = state.topics.create_derived(names.UNDECIDED_TOPIC, 1)
        message = copy_of(half, topic.topic_name, 0)
        complete(message, half.properties)
        state.store.append(message)
        state.store.append(_operation_of(half, state))
        state.store.after_commit(partial(self._given_up, entry.key, done))

    def _given_up(self, offset: int, done: Done, error: RocketMQError | None) -> None:
        self._ending.discard(offset)
        done(error)


def _operation_of(half: ReceivedMessage, state: BrokerState) -> PendingMessage:
    """The note that a half message is done with, as tools of Java's read it."""
    message = PendingMessage(names.OP_TOPIC, 0, b"%d," % half.queue_offset, b"", born_timestamp=state.now_ms())
    complete(message, {props.TAGS: _REMOVE_TAG})
    return message


def _as_asked(half: ReceivedMessage, times: int) -> bytes:
    """A half message as producers get it: with its own topic and queue, and the number of checks."""
    properties = {**half.properties, props.TRANSACTION_CHECK_TIMES: str(times)}
    born_ip, born_port = half.born_address
    store_ip, store_port = half.store_address
    return encode_stored_message(
        properties.get(props.REAL_TOPIC, ""),
        half.stored_body,
        encode_text(props.encode_properties(properties)),
        queue_id=number_or_none(properties.get(props.REAL_QUEUE_ID, "0"), 0) or 0,
        queue_offset=half.queue_offset,
        commit_log_offset=half.commit_log_offset,
        born_timestamp=half.born_timestamp,
        born_ip=born_ip,
        born_port=born_port,
        store_timestamp=half.store_timestamp,
        store_ip=store_ip,
        store_port=store_port,
        flag=half.flag,
        sys_flag=half.sys_flag,
        reconsume_times=half.reconsume_times,
        prepared_transaction_offset=half.prepared_transaction_offset,
    )
