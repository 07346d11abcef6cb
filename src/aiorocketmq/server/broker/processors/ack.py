"""Acknowledgements, and changes of the time for which a message is invisible (Java: `AckMessageProcessor`,
`ChangeInvisibleTimeProcessor`).

A receipt that finds nothing is answered like any other, as with a real broker: the message is acknowledged already, or came back.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from aiorocketmq.errors import BrokerError, ConfigError, RocketMQError, broker_error
from aiorocketmq.model import names
from aiorocketmq.model.receipt import ORDERED, Receipt, real_topic
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import RpcHeader
from aiorocketmq.protocol.headers_pop import (
    AckMessageRequestHeader,
    BatchAck,
    BatchAckMessageRequestBody,
    ChangeInvisibleTimeRequestHeader,
    ChangeInvisibleTimeResponseHeader,
)
from aiorocketmq.server.broker.pop_order import ILLEGAL
from aiorocketmq.server.broker.pop_reminders import Reminders
from aiorocketmq.server.broker.processors.pop_asking import go_on_at, next_offset
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Request, Resource, operation
from aiorocketmq.server.store.taken import Taken

_MOST_ACKS: Final = 64 * 1024
"""Messages that one request may acknowledge: each bit of a small body is one."""
_LONGEST: Final = 1 << 62
"""Milliseconds of the longest time for which a message may be invisible."""

_UNCHANGED: Final = ChangeInvisibleTimeResponseHeader().to_ext()
"""Fields of a failure: those of the answer, without values."""

Acked = Plain[AckMessageRequestHeader]
Changed = Plain[ChangeInvisibleTimeRequestHeader]
AckedMany = Request[RpcHeader, BatchAckMessageRequestBody]


class AckProcessor:
    """Lets messages go, or stay away for longer.

    Args:
        state: The broker.
        reminders: Wakes pops that wait for a queue that is free now.
    """

    def __init__(self, state: BrokerState, reminders: Reminders) -> None:
        self._state = state
        self._reminders = reminders

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """Its rows of the broker's table."""
        needs = Need(Action.SUB, Resource.GROUP, "consumer_group"), Need(Action.SUB, Resource.TOPIC, _asked_topic)
        groups = Need(Action.SUB, Resource.GROUP, lambda request: {each.consumer_group for each in request.body.acks})
        topics = Need(Action.SUB, Resource.TOPIC, lambda request: {each.topic for each in request.body.acks})
        return (
            operation(RequestCode.ACK_MESSAGE, AckMessageRequestHeader, self._ack, *needs),
            operation(RequestCode.BATCH_ACK_MESSAGE, RpcHeader, self._ack_many, groups, topics, body=BatchAckMessageRequestBody),
            operation(
                RequestCode.CHANGE_MESSAGE_INVISIBLETIME, ChangeInvisibleTimeRequestHeader, self._change, *needs, failure_ext=_UNCHANGED
            ),
        )

    # -- acknowledging --------------------------------------------------------------------------------------------------

    def _ack(self, request: Acked) -> None:
        header = request.header
        low, high = self._checked(request)
        if not low <= header.offset <= high:
            text = f"offset is illegal, key:{header.topic}@{header.queue_id}, commit:{header.offset}, store:{low}~{high}"
            raise broker_error(ResponseCode.NO_MESSAGE, text, topic=header.topic)
        receipt = _receipt(header.extra_info)
        if receipt.ordered:
            refusal = self._ack_in_order(
                request.session.address, header.topic, header.consumer_group, header.queue_id, header.offset, receipt.pop_time
            )
            if refusal is not None:
                raise refusal
        elif self._is_ours(receipt.broker_name):
            taken = Taken(receipt.start_offset, receipt.pop_time, header.offset)
            self._state.taken.give_back((header.topic, header.consumer_group, header.queue_id), taken)
        self._state.store.after_commit(request.done)

    def _checked(self, request: Acked | Changed) -> tuple[int, int]:
        """Bounds of the queue that is meant."""
        header, state = request.header, self._state
        topic = state.topics.require_standing(header.topic)
        if not 0 <= header.queue_id < topic.read_queue_nums:
            text = (
                f"queueId[{header.queue_id}] is illegal, topic:[{header.topic}] topicConfig.readQueueNums:[{topic.read_queue_nums}] "
                f"consumer:[/{request.session.address}]"
            )
            raise broker_error(ResponseCode.MESSAGE_ILLEGAL, text, topic=header.topic)
        return state.store.bounds(header.topic, header.queue_id)

    def _is_ours(self, broker_name: str) -> bool:
        return broker_name in ("", self._state.config.name)

    def _ack_in_order(self, address: str, topic: str, group: str, queue_id: int, offset: int, pop_time: int) -> BrokerError | None:
        """A message of a queue that is taken in order is done with; what is wrong with that, or None."""
        state = self._state
        old = next_offset(state, topic, group, queue_id)
        if offset < old:
            return None
        target = state.orders.acknowledge(topic, group, queue_id, offset, pop_time)
        if target == ILLEGAL:
            text = f"offset is illegal, key:{topic}@{group}@{queue_id}, old:{old}, commit:{offset}, next:{target}, /{address}"
            return broker_error(ResponseCode.MESSAGE_ILLEGAL, text, topic=topic)
        if target >= 0:
            go_on_at(state, topic, group, queue_id, target)
            state.store.after_commit(partial(self._freed, topic, group, queue_id))
        return None

    def _freed(self, topic: str, group: str, queue_id: int, error: RocketMQError | None) -> None:
        if error is None:
            self._reminders.free(topic, group, queue_id)

    def _ack_many(self, request: AckedMany) -> RemotingCommand | None:
        body = request.body
        if not body.acks:
            return request.answer(ResponseCode.NO_MESSAGE)
        room = _MOST_ACKS
        refusal: BrokerError | None = None
        for each in body.acks:
            topic = self._topic_of(each)
            queue = self._state.store.queue(topic, each.queue_id)
            if queue is None or self._state.topics.standing(topic) is None:
                continue
            bits = _bits(each)
            room -= bits.bit_count()
            if room < 0:
                text = f"the request acknowledges more than {_MOST_ACKS} messages: send several"
                raise broker_error(ResponseCode.INVALID_PARAMETER, text, topic=topic)
            for offset in _offsets(each.start_offset, bits):
                if not queue.min_offset <= offset <= queue.next_offset:
                    continue
                if each.revive_queue_id == ORDERED:
                    address = request.session.address
                    wrong = self._ack_in_order(address, topic, each.consumer_group, each.queue_id, offset, each.pop_time)
                    refusal = wrong or refusal
                elif self._is_ours(body.broker_name):
                    taken = Taken(each.start_offset, each.pop_time, offset)
                    self._state.taken.give_back((topic, each.consumer_group, each.queue_id), taken)
        # One that is refused does not keep the others from being acknowledged.
        self._state.store.after_commit(partial(self._acked_many, request, refusal))
        return None

    def _acked_many(self, request: AckedMany, refusal: BrokerError | None, error: RocketMQError | None) -> None:
        request.done(error or refusal)

    def _topic_of(self, ack: BatchAck) -> str:
        try:
            return real_topic(ack.retry, ack.topic, ack.consumer_group)
        except ConfigError as error:
            raise broker_error(ResponseCode.SYSTEM_ERROR, error.message, topic=ack.topic) from None

    # -- changing the time ----------------------------------------------------------------------------------------------

    def _change(self, request: Changed) -> RemotingCommand | None:
        header, state = request.header, self._state
        low, high = self._checked(request)
        if not low <= header.offset < high:
            raise broker_error(ResponseCode.NO_MESSAGE, "", topic=header.topic)
        receipt = _receipt(header.extra_info)
        topic, group, queue_id, offset = header.topic, header.consumer_group, header.queue_id, header.offset
        now = state.now_ms()
        invisible = min(header.invisible_time, _LONGEST)
        if receipt.ordered:
            if offset < next_offset(state, topic, group, queue_id):
                return request.answer(header=ChangeInvisibleTimeResponseHeader())
            state.orders.change_time(topic, group, queue_id, offset, receipt.pop_time, now + invisible)
            answer = ChangeInvisibleTimeResponseHeader(receipt.pop_time, now + invisible - receipt.pop_time, receipt.revive_queue)
            state.store.after_commit(partial(self._freed, topic, group, queue_id))
        else:
            # A real broker brings back whatever is named here, also what was acknowledged before.
            name = (topic, group, queue_id)
            if self._is_ours(receipt.broker_name):
                state.taken.give_back(name, Taken(receipt.start_offset, receipt.pop_time, offset))
            state.taken.take(name, offset, now, [offset], invisible, suspended=bool(header.suspend))
            answer = ChangeInvisibleTimeResponseHeader(now, invisible, receipt.revive_queue)
        state.store.after_commit(partial(self._changed, request, answer))
        return None

    def _changed(self, request: Changed, answer: ChangeInvisibleTimeResponseHeader, error: RocketMQError | None) -> None:
        request.reply(request.failure(error) if error is not None else request.answer(header=answer))


def _asked_topic(request: Acked | Changed) -> tuple[str]:
    """The topic that permissions are about: for a message that came back the one that it came from."""
    header = request.header
    for v2 in (False, True):
        prefix = names.pop_retry_topic(header.consumer_group, "", v2=v2)
        if header.topic.startswith(prefix):
            return (header.topic.removeprefix(prefix),)
    return (header.topic,)


def _receipt(text: str) -> Receipt:
    try:
        return Receipt.decode(text)
    except ConfigError as error:
        raise broker_error(ResponseCode.SYSTEM_ERROR, error.message) from None


def _bits(ack: BatchAck) -> int:
    """Which messages are meant, one bit for each."""
    try:
        return int.from_bytes(base64.b64decode(ack.bit_set), "little")
    except (binascii.Error, ValueError):
        text = f"the bits {ack.bit_set[:40]!r} of messages to acknowledge are no base64"
        raise broker_error(ResponseCode.SYSTEM_ERROR, text, topic=ack.topic) from None


def _offsets(start: int, bits: int) -> Iterator[int]:
    """The offsets that a set of bits names, byte by byte: steps on the whole number would cost its length each."""
    for place, byte in enumerate(bits.to_bytes((bits.bit_length() + 7) // 8, "little")):
        while byte:
            lowest = byte & -byte
            yield start + place * 8 + lowest.bit_length() - 1
            byte ^= lowest
