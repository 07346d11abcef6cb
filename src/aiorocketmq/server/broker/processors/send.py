"""Sends, batches and messages that consumers send back (Java: `SendMessageProcessor`, `AbstractSendMessageProcessor`).

A send is answered after the commit of its loop tick. The order of the checks is that of a real broker, so that a request with two faults
gets the same answer from both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from aiorocketmq.errors import BrokerError, ProtocolError, RocketMQError, broker_error
from aiorocketmq.model import names
from aiorocketmq.model import properties as props
from aiorocketmq.model.enums import Permission
from aiorocketmq.model.parsing import INT32_MAX, number_or_none
from aiorocketmq.model.recall import RecallHandle
from aiorocketmq.protocol.bodies import TopicConfig
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import (
    ConsumerSendMsgBackRequestHeader,
    SendMessageRequestHeader,
    SendMessageRequestHeaderV2,
)
from aiorocketmq.protocol.message_codec import decode_batch
from aiorocketmq.protocol.sysflag import MessageSysFlag
from aiorocketmq.server.broker.metadata import TIMER_TOPIC, missing_group
from aiorocketmq.server.broker.processors.common import (
    Sent,
    choose_queue,
    complete,
    copy_of,
    decode_record,
    delay,
    illegal,
    message_of,
    prepare_half,
    topic_at,
)
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Resource, operation
from aiorocketmq.server.store.keys import recall_key
from aiorocketmq.server.store.records import DELAY, PendingMessage

_WRITE: Final = int(Permission.WRITE)
_V3_4_9: Final = 121
"""Clients from this version on may say how often a message is tried (1.6)."""
_LARGE_BATCH: Final = 256 * 1024
"""Bytes of a batch beyond which its messages are made on another thread."""
_MAX_LIGHT_QUEUES: Final = 1024
"""Light queues of one message here."""
_MAX_LIGHT_BYTES: Final = 64 * 1024 * 1024
"""Bytes of all copies of one message in light queues: a message of 4 MiB that names thousands of them would take all memory."""
_OTHER_KINDS: Final = frozenset({props.DELAY, props.TIMER_DELIVER_MS, props.TIMER_DELAY_SEC, props.TIMER_DELAY_MS, props.SHARDING_KEY})
"""Properties of messages that have no priority (Java: `TopicMessageType.parseFromMessageProperty`)."""


class SendProcessor:
    """Stores what producers send."""

    def __init__(self, state: BrokerState) -> None:
        self._state = state
        self._trace = state.trace_fields

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """Its rows of the broker's table; answers to sends name the region, failures too."""
        trace = self._trace
        publish = Need(Action.PUB, Resource.TOPIC, "topic")
        dispatch = Need(Action.PUB, Resource.TOPIC, _light_queues)
        own_group = Need(Action.SUB, Resource.GROUP, "group")
        read = Need(Action.SUB, Resource.TOPIC, lambda request: topic_at(self._state, request.header.offset))
        return (
            operation(RequestCode.SEND_MESSAGE, SendMessageRequestHeader, self._send, publish, dispatch, failure_ext=trace),
            operation(RequestCode.SEND_MESSAGE_V2, SendMessageRequestHeaderV2, self._send, publish, dispatch, failure_ext=trace),
            operation(RequestCode.SEND_BATCH_MESSAGE, SendMessageRequestHeaderV2, self._send_batch, publish, failure_ext=trace),
            operation(RequestCode.CONSUMER_SEND_MSG_BACK, ConsumerSendMsgBackRequestHeader, self._send_back, own_group, read),
        )

    # -- one message --------------------------------------------------------------------------------------------------

    def _send(self, request: Sent) -> None:
        state = self._state
        header = request.header
        name = header.topic
        topic = self._topic(header)
        queue_id = self._queue_id(topic, header.queue_id)
        properties = props.decode_properties(header.properties or "")
        properties.pop(props.POP_CK, None)
        properties.update(self._trace)
        dead = False
        if name.startswith(names.RETRY_PREFIX) and self._is_dead(request):
            topic = state.topics.create_derived(names.dlq_topic(name.removeprefix(names.RETRY_PREFIX)), 1)
            dead = True
            properties[props.DELAY] = "-1"
        if props.UNIQ_KEY not in properties:
            properties[props.UNIQ_KEY] = state.message_ids.next_id(state.now_ms())
        if props.PRIORITY in properties:
            queue_id = self._queue_of_priority(topic, queue_id, properties)
        self._check_size(name, request.body)
        properties[props.CLUSTER] = state.config.cluster
        message = message_of(request, topic.topic_name, 0 if dead else queue_id)  # the answer names the queue that was asked for
        message.sys_flag |= _topic_flag(topic)
        self._finish(message, properties)
        handle = self._recall_handle(message, properties)
        message.done = partial(self._stored, request, properties[props.UNIQ_KEY], queue_id, handle)
        state.store.append(message)
        if props.MULTI_DISPATCH in properties and message.topic == topic.topic_name:  # not parked
            self._dispatch(request, message, _light_queues_of(properties))

    def _dispatch(self, request: Sent, message: PendingMessage, light_queues: list[str]) -> None:
        """Put a message into light queues, too (A21). Each has a copy here: one record is in one queue."""
        count, size = len(light_queues), len(message.body) + len(message.properties)
        if count > _MAX_LIGHT_QUEUES or count * size > _MAX_LIGHT_BYTES:
            raise illegal(
                self._state,
                f"the message of {size} bytes is for {count} light queues ({props.MULTI_DISPATCH}): this server copies it to "
                f"{_MAX_LIGHT_QUEUES} at most, and {_MAX_LIGHT_BYTES} bytes in all",
            )
        for name in light_queues:
            copy = message_of(request, name, 0)
            copy.record_topic, copy.properties, copy.tags_code = message.topic, message.properties, message.tags_code
            self._state.store.append(copy)

    def _finish(self, message: PendingMessage, properties: dict[str, str], *, given_back: bool = False) -> None:
        """Park the message if its properties ask for it, and fill in what follows from them."""
        retried = message.reconsume_times > 0 and (number_or_none(properties.get(props.DELAY, "")) or 0) > 0
        if properties.get(props.TRANSACTION_PREPARED) == "true" and not retried and not given_back:
            if self._state.config.reject_transactions:
                text = f"the broker[{self._state.ip}] sending transaction message is forbidden"
                raise broker_error(ResponseCode.NO_PERMISSION, text, topic=message.topic)
            prepare_half(self._state, message, properties)
        else:
            delay(self._state, message, properties)
        complete(message, properties)
        if message.deliver_at and message.due_kind == DELAY:
            message.tags_code, message.keys = 0, ()  # found by key and tag once it is delivered
            if message.topic == TIMER_TOPIC:
                message.keys = recall_key(properties)
        if len(message.properties) > props.MAX_PROPERTIES_LENGTH:
            raise illegal(self._state)

    def _topic(self, header: SendMessageRequestHeader | SendMessageRequestHeaderV2) -> TopicConfig:
        """Check the topic, and create it where that is allowed (6.2, 6.3)."""
        state = self._state
        name = header.topic
        topic = state.topics.latest(name)
        if topic is not None and topic.order and not state.writable:
            raise broker_error(ResponseCode.NO_PERMISSION, f"the broker[{state.ip}] sending message is forbidden", topic=name)
        if topic is None:
            names.check_topic(name)
        if name in names.NOT_ALLOWED_SEND_TOPICS:
            raise broker_error(ResponseCode.NO_PERMISSION, f"Sending message to topic[{name}] is forbidden.", topic=name)
        if topic is None:
            if header.default_topic_queue_nums < 1:
                raise broker_error(
                    ResponseCode.INVALID_PARAMETER,
                    f"topic[{name}] cannot be created with {header.default_topic_queue_nums} queues (defaultTopicQueueNums)",
                    topic=name,
                )
            topic = state.topics.create_from_default(
                name, header.default_topic, header.default_topic_queue_nums, unit=bool(header.unit_mode)
            )
        return topic

    def _queue_id(self, topic: TopicConfig, queue_id: int) -> int:
        most = max(topic.write_queue_nums, topic.read_queue_nums) if queue_id >= 0 else topic.write_queue_nums
        if queue_id >= most or not most:
            raise broker_error(
                ResponseCode.INVALID_PARAMETER,
                f"request queueId[{queue_id}] is illegal, topic[{topic.topic_name}] read queues {topic.read_queue_nums}, "
                f"write queues {topic.write_queue_nums}",
                topic=topic.topic_name,
            )
        return queue_id if queue_id >= 0 else choose_queue(topic)

    def _queue_of_priority(self, topic: TopicConfig, queue_id: int, properties: dict[str, str]) -> int:
        """The queue for a message with a priority; without its property when that means nothing, as for a delayed one (B27)."""
        priority = number_or_none(properties[props.PRIORITY], 0, INT32_MAX)
        if priority is None:
            return queue_id
        if properties.get(props.TRANSACTION_PREPARED) == "true" or not _OTHER_KINDS.isdisjoint(properties):
            del properties[props.PRIORITY]
            return queue_id
        return min(priority, topic.write_queue_nums - 1)

    def _is_dead(self, request: Sent) -> bool:
        """True when a message to a retry topic was tried often enough, or belongs to an ordered group, which has no retry topic."""
        state = self._state
        header = request.header
        group_name = header.topic.removeprefix(names.RETRY_PREFIX)
        group = state.groups.find(group_name)
        if group is None:
            raise missing_group(group_name)
        most = group.retry_max_times
        if request.version >= _V3_4_9 and header.max_reconsume_times is not None:
            most = header.max_reconsume_times
        return (header.reconsume_times or 0) > most or state.locks.any_live(group_name)

    def _check_size(self, topic: str, body: bytes) -> None:
        too_long = len(topic) > names.MAX_TOPIC_LENGTH and not topic.startswith((names.RETRY_PREFIX, names.DLQ_PREFIX))
        if not body or len(body) > self._state.config.max_message_size or too_long:
            raise illegal(self._state)

    def _recall_handle(self, message: PendingMessage, properties: Mapping[str, str]) -> str | None:
        out = number_or_none(properties.get(props.TIMER_OUT_MS, ""))  # what a producer writes there itself may be anything
        topic = properties.get(props.REAL_TOPIC, "")
        if not message.deliver_at or out is None or topic.startswith(names.RETRY_PREFIX):
            return None
        return RecallHandle(topic, self._state.config.name, out + 1, properties[props.UNIQ_KEY]).encode()

    def _stored(
        self, request: Sent, unique: str, queue_id: int, handle: str | None, message: PendingMessage, error: RocketMQError | None
    ) -> None:
        """After the commit: answer the producer."""
        if error is not None:
            request.done(error)
            return
        self._state.stats.stored(message.topic, 1)
        ext = {
            "msgId": self._state.message_id(message.physical_offset),
            "queueId": str(queue_id),
            "queueOffset": str(message.queue_offset),
            "transactionId": unique,
            **self._trace,
        }
        if handle is not None:
            ext["recallHandle"] = handle
        answer = request.answer()
        answer.ext_fields = ext
        request.reply(answer)

    # -- batches ------------------------------------------------------------------------------------------------------

    def _send_batch(self, request: Plain[SendMessageRequestHeaderV2]) -> None:
        state = self._state
        header = request.header
        name = header.topic
        topic = self._topic(header)
        queue_id = self._queue_id(topic, header.queue_id)
        if len(name) > names.MAX_TOPIC_LENGTH:
            raise illegal(state, f"message topic length over limit, {len(name)}, max: {names.MAX_TOPIC_LENGTH}")
        if name.startswith(names.RETRY_PREFIX):
            raise illegal(state, "batch request does not support retry group " + name)
        self._check_size(name, request.body)
        if len(request.body) <= _LARGE_BATCH:
            self._store_batch(request, queue_id, self._batched(request, topic, queue_id))
            return
        # Thousands of small messages: others must not wait while they are made. A topic that this made is made again with them, or never.
        state.store.revoke()
        loop = asyncio.get_running_loop()
        made = loop.run_in_executor(state.store.workers, self._batched, request, topic, queue_id)
        made.add_done_callback(partial(self._batch_made, request, queue_id))

    def _batch_made(self, request: Plain[SendMessageRequestHeaderV2], queue_id: int, made: asyncio.Future[list[PendingMessage]]) -> None:
        store = self._state.store
        if made.cancelled() or store.closed:
            return
        store.begin()
        try:
            self._topic(request.header)  # it may have gone meanwhile
            self._store_batch(request, queue_id, made.result())
        except (BrokerError, ProtocolError) as error:
            store.revoke()
            request.done(error)
        finally:
            store.end()

    def _batched(self, request: Plain[SendMessageRequestHeaderV2], topic: TopicConfig, queue_id: int) -> list[PendingMessage]:
        """The messages of a batch; may run on another thread.

        Raises:
            BrokerError: Code 13, the batch is damaged or one of its messages is illegal.
        """
        header = request.header
        try:
            items = decode_batch(request.body)
        except ProtocolError as error:
            raise illegal(self._state, f"the batch is damaged: {error.message}") from None
        host, port = request.session.host
        sys_flag = header.sys_flag | _topic_flag(topic)
        messages = []
        for item in items:
            message = PendingMessage(
                header.topic, queue_id, item.body, item.properties, flag=item.flag, sys_flag=sys_flag,
                born_timestamp=header.born_timestamp, born_host=host, born_port=port,
            )  # fmt: skip
            if item.properties:
                complete(message, props.decode_properties(item.properties))
                message.properties = item.properties  # batched messages keep theirs byte for byte
            messages.append(message)
        return messages

    def _store_batch(self, request: Plain[SendMessageRequestHeaderV2], queue_id: int, messages: list[PendingMessage]) -> None:
        unit = self._state.store.append_all(messages)
        unit.callbacks.append(partial(self.batch_stored, request, queue_id, messages))

    def batch_stored(
        self, request: Plain[SendMessageRequestHeaderV2], queue_id: int, messages: list[PendingMessage], error: RocketMQError | None
    ) -> None:
        """After the commit of a whole batch: answer the producer."""
        if error is not None:
            request.done(error)
            return
        self._state.stats.stored(messages[0].topic, len(messages))
        answer = request.answer()
        answer.ext_fields = {
            "msgId": ",".join([self._state.message_id(message.physical_offset) for message in messages]),
            "queueId": str(queue_id),
            "queueOffset": str(messages[0].queue_offset),
            **self._trace,
        }
        request.reply(answer)

    # -- send-back ----------------------------------------------------------------------------------------------------

    def _send_back(self, request: Plain[ConsumerSendMsgBackRequestHeader]) -> RemotingCommand | None:
        """A consumer gives a message back: to the retry topic with a delay, or to the dead-letter topic (6.6)."""
        state = self._state
        header = request.header
        group = state.groups.require(header.group)
        if not state.writable:
            raise broker_error(ResponseCode.NO_PERMISSION, f"the broker[{state.ip}] sending message is forbidden")
        if group.retry_queue_nums <= 0:
            return request.answer()
        retry = state.topics.create_derived(names.retry_topic(header.group), group.retry_queue_nums, unit=header.unit_mode)
        if not retry.perm & _WRITE:
            text = f"the topic[{retry.topic_name}] sending message is forbidden"
            raise broker_error(ResponseCode.NO_PERMISSION, text, topic=retry.topic_name)
        record = state.store.record_at(header.offset)
        if record is None:
            raise broker_error(ResponseCode.SYSTEM_ERROR, f"look message by offset failed, {header.offset}")
        origin = decode_record(record)
        if not origin.stored_body:  # as a batch may hold it
            raise broker_error(ResponseCode.SYSTEM_ERROR, "MESSAGE_ILLEGAL")
        properties = dict(origin.properties)
        properties.setdefault(props.RETRY_TOPIC, origin.topic)
        properties.setdefault(props.ORIGIN_MESSAGE_ID, origin.offset_message_id)
        properties[props.WAIT] = "false"
        most = group.retry_max_times
        if request.version >= _V3_4_9 and header.max_reconsume_times is not None:
            most = header.max_reconsume_times
        if origin.reconsume_times >= most or header.delay_level < 0:
            target = state.topics.create_derived(names.dlq_topic(header.group), 1)
            properties[props.DELAY] = "0"
        else:
            target = retry
            properties[props.DELAY] = str(header.delay_level or 3 + origin.reconsume_times)
        message = copy_of(origin, target.topic_name, choose_queue(target))
        message.reconsume_times += 1
        message.done = lambda _, error: request.done(error)
        self._finish(message, properties, given_back=True)
        state.store.append(message)
        return None


def _topic_flag(topic: TopicConfig) -> int:
    """What all messages of a topic carry in their flags."""
    return MessageSysFlag.MULTI_TAGS if topic.topic_filter_type == "MULTI_TAG" else 0


def _light_queues_of(properties: Mapping[str, str]) -> list[str]:
    found = dict.fromkeys(properties.get(props.MULTI_DISPATCH, "").split(","))
    return [name for name in found if name.startswith(names.LMQ_PREFIX) and names.is_legal(name)]


def _light_queues(request: Sent) -> list[str]:
    """Light queues that a message is for besides its topic."""
    text = request.header.properties or ""
    return _light_queues_of(props.decode_properties(text)) if props.MULTI_DISPATCH in text else []
