"""What several processors need: filters, delaying a message, making the message to deliver from a parked one."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import lru_cache

from aiorocketmq.errors import BrokerError, broker_error
from aiorocketmq.model import names
from aiorocketmq.model import properties as props
from aiorocketmq.model.parsing import number_or_none
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.bodies import TopicConfig
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.headers_client import SendMessageRequestHeader, SendMessageRequestHeaderV2
from aiorocketmq.protocol.message_codec import decode_message
from aiorocketmq.protocol.sysflag import MessageSysFlag
from aiorocketmq.server.broker.metadata import SCHEDULE_TOPIC, TIMER_TOPIC
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Plain
from aiorocketmq.server.store.keys import encode_text, index_keys
from aiorocketmq.server.store.records import HALF, PendingMessage

_TIMER_PRECISION_MS = 1000
_PARKING = frozenset({SCHEDULE_TOPIC, TIMER_TOPIC, names.HALF_TOPIC})

Sent = Plain[SendMessageRequestHeader] | Plain[SendMessageRequestHeaderV2]
"""A request that brings a message, with either form of the header."""
_ROOM_FOR_TIMES = props.MAX_PROPERTIES_LENGTH - 80
"""Bytes of properties that leave room for the two times of a timer message."""
_LONGEST_IMMUNITY = 10 * 365 * 24 * 3600

_hashes = lru_cache(maxsize=4096)(names.java_hash)
_KEPT_TAG = 256


def tag_hash(tag: str) -> int:
    """Java's hash of a tag. It is slow in Python, and producers use few tags: those of usual length are kept."""
    return _hashes(tag) if len(tag) <= _KEPT_TAG else names.java_hash(tag)


def choose_queue(topic: TopicConfig) -> int:
    """A random write queue."""
    return random.randrange(topic.write_queue_nums) if topic.write_queue_nums > 1 else 0


def illegal(state: BrokerState, remark: str = "") -> BrokerError:
    """The error for a message that cannot be stored."""
    limit = state.config.max_message_size
    return broker_error(
        ResponseCode.MESSAGE_ILLEGAL,
        remark
        or "the message is illegal, maybe msg body or properties length not matched. "
        f"msg body length limit {limit}B, msg properties length limit 32KB.",
    )


def decode_record(record: bytes) -> ReceivedMessage:
    """A stored message; its body stays as it is stored as long as only `stored_body` is read."""
    return decode_message(record, broker_name="", max_body=0)


def complete(message: PendingMessage, properties: dict[str, str]) -> None:
    """Fill in what follows from the properties: their text, the tag's code, the keys."""
    message.properties = encode_text(props.encode_properties(properties))
    tag = properties.get(props.TAGS)
    message.tags_code = tag_hash(tag) if tag else 0
    message.keys = index_keys(properties)


def delay(state: BrokerState, message: PendingMessage, properties: dict[str, str]) -> None:
    """Park a message whose properties ask for it: by delay level (6.6), else by time (6.7). Changes both arguments.

    Raises:
        BrokerError: Code 13, the delay cannot be read or is too long.
    """
    level = properties.get(props.DELAY)
    if level is not None and _number(state, props.DELAY, level) > 0:
        for name in (props.TIMER_DELAY_SEC, props.TIMER_DELAY_MS, props.TIMER_DELIVER_MS):
            properties.pop(name, None)
        number = min(int(level), len(state.config.delay_levels))
        properties[props.DELAY] = str(number)
        _park(message, properties, SCHEDULE_TOPIC, number - 1)
        message.deliver_at = state.now_ms() + int(state.config.delay_levels[number - 1] * 1000)
        return
    if props.TIMER_OUT_MS in properties:
        return  # it waited already: a retry of a timer message must not wait for its first delay again
    deliver_at = _deliver_time(state, properties)
    if deliver_at is None:
        return
    now = state.now_ms()
    if deliver_at - now > state.config.timer_max_delay * 1000:
        raise illegal(
            state, f"timer message illegal, the delay time should not be bigger than the max delay {state.config.timer_max_delay}s"
        )
    if deliver_at <= now:
        return
    precise = deliver_at // _TIMER_PRECISION_MS * _TIMER_PRECISION_MS
    out = precise - _TIMER_PRECISION_MS if precise == deliver_at else precise
    properties[props.TIMER_OUT_MS] = str(out)
    _park(message, properties, TIMER_TOPIC, 0)
    message.deliver_at = deliver_at


def _number(state: BrokerState, name: str, text: str) -> int:
    number = number_or_none(text)
    if number is None:
        raise illegal(state, f"the property {name} is {text[:40]!r}, not a number")
    return number


def _deliver_time(state: BrokerState, properties: Mapping[str, str]) -> int | None:
    if (text := properties.get(props.TIMER_DELAY_SEC)) is not None:
        return state.now_ms() + _number(state, props.TIMER_DELAY_SEC, text) * 1000
    if (text := properties.get(props.TIMER_DELAY_MS)) is not None:
        return state.now_ms() + _number(state, props.TIMER_DELAY_MS, text)
    if (text := properties.get(props.TIMER_DELIVER_MS)) is not None:
        return _number(state, props.TIMER_DELIVER_MS, text)
    return None


def _park(message: PendingMessage, properties: dict[str, str], topic: str, queue_id: int) -> None:
    properties[props.REAL_TOPIC] = message.topic
    properties[props.REAL_QUEUE_ID] = str(message.queue_id)
    message.topic = topic
    message.queue_id = queue_id


def prepare_half(state: BrokerState, message: PendingMessage, properties: dict[str, str]) -> None:
    """Park a message until its transaction has ended (6.8). Changes both arguments."""
    if unique := properties.get(props.UNIQ_KEY):
        properties[props.TRANSACTION_ID] = unique
    _park(message, properties, names.HALF_TOPIC, 0)
    message.sys_flag = MessageSysFlag.with_transaction_type(message.sys_flag, MessageSysFlag.TRANSACTION_NOT)
    message.due_kind = HALF
    now = state.now_ms()
    message.deliver_at = max(now, min(now, message.born_timestamp) + immunity_ms(state, properties))


def immunity_ms(state: BrokerState, properties: Mapping[str, str]) -> int:
    """For how many milliseconds after it was made nobody is asked about a half message."""
    seconds = number_or_none(properties.get(props.CHECK_IMMUNITY_TIME, ""), 0)
    return int(state.config.transaction_timeout * 1000) if seconds is None else min(seconds, _LONGEST_IMMUNITY) * 1000


def topic_at(state: BrokerState, offset: int) -> tuple[str, ...]:
    """Where the message at an offset of the log belongs, also while it is parked; nothing when there is no message.

    Requests that name a message by its offset name a topic besides, which may be any: this is the one that permissions are about.
    """
    record = state.store.record_at(offset)
    if record is None:
        return ()
    message = decode_record(record)
    return (message.properties.get(props.REAL_TOPIC, message.topic) if message.topic in _PARKING else message.topic,)


def restore(state: BrokerState, record: bytes) -> PendingMessage | None:
    """The message to deliver from a parked record; None when its topic is gone."""
    return delivered(state, decode_record(record))


def delivered(state: BrokerState, parked: ReceivedMessage) -> PendingMessage | None:
    """The message to deliver from a parked one; None when its topic is gone."""
    properties = parked.properties
    topic = properties.get(props.REAL_TOPIC, "")
    queue_id = number_or_none(properties.get(props.REAL_QUEUE_ID, "0"), 0)
    config = state.topics.latest(topic)
    if config is None or queue_id is None:
        return None
    if queue_id >= max(config.read_queue_nums, config.write_queue_nums):
        queue_id = choose_queue(config)  # the topic has shrunk meanwhile: not where nobody reads
    message = copy_of(parked, topic, queue_id)
    complete(message, properties)
    if parked.topic == TIMER_TOPIC and len(message.properties) <= _ROOM_FOR_TIMES:
        times = {props.TIMER_ENQUEUE_MS: str(parked.store_timestamp), props.TIMER_DEQUEUE_MS: str(state.now_ms())}
        complete(message, {**properties, **times})
    return message


def copy_of(stored: ReceivedMessage, topic: str, queue_id: int) -> PendingMessage:
    """A stored message once more, for another queue: its body, sender and times as they are, its properties yet to be filled in."""
    host, port = stored.born_address
    return PendingMessage(
        topic, queue_id, stored.stored_body, b"", flag=stored.flag, sys_flag=stored.sys_flag, born_timestamp=stored.born_timestamp,
        born_host=host, born_port=port, reconsume_times=stored.reconsume_times,
    )  # fmt: skip


def message_of(request: Sent, topic: str, queue_id: int) -> PendingMessage:
    """What a request asks to store, its properties yet to be filled in."""
    header = request.header
    host, port = request.session.host
    return PendingMessage(
        topic, queue_id, request.body, b"", flag=header.flag, sys_flag=header.sys_flag, born_timestamp=header.born_timestamp,
        born_host=host, born_port=port, reconsume_times=header.reconsume_times or 0,
    )  # fmt: skip
