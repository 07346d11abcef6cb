"""Takes back messages whose time has not come yet (Java: `RecallMessageProcessor`). Feature A19.

A real broker stores an order that meets the message when both are due, so it answers the same whether there is such a message or not. Here
the message is looked for and its delivery struck at once; the answer is the same.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from aiorocketmq.errors import ConfigError, RocketMQError, broker_error
from aiorocketmq.model import properties as props
from aiorocketmq.model.recall import RecallHandle
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.headers_client import RecallMessageRequestHeader, RecallMessageResponseHeader
from aiorocketmq.server.broker.metadata import TIMER_TOPIC
from aiorocketmq.server.broker.processors.common import decode_record
from aiorocketmq.server.broker.schedule import Schedule
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Resource, operation
from aiorocketmq.server.store.keys import recall_key
from aiorocketmq.server.store.records import DELAY

_ALWAYS = (0, 0x7FFFFFFFFFFFFFFF)
_MANY = 64
"""Messages of one id: only senders that give ids themselves can have several."""

Asked = Plain[RecallMessageRequestHeader]


class RecallProcessor:
    """Strikes deliveries from the schedule."""

    def __init__(self, state: BrokerState, schedule: Schedule) -> None:
        self._state = state
        self._schedule = schedule

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """Its row of the broker's table."""
        publish = Need(Action.PUB, Resource.TOPIC, "topic")
        region = {"MSG_REGION": self._state.config.region_id}
        return (operation(RequestCode.RECALL_MESSAGE, RecallMessageRequestHeader, self._recall, publish, failure_ext=region),)

    def _recall(self, request: Asked) -> None:
        handle = self._checked(request.header)
        store = self._state.store
        for key in recall_key({props.REAL_TOPIC: handle.topic, props.UNIQ_KEY: handle.message_id}):
            for record in store.find_by_key(TIMER_TOPIC, key, *_ALWAYS, _MANY):
                entry = store.due_entry(DELAY, decode_record(record).commit_log_offset)
                if entry is not None:
                    self._schedule.cancel(entry)
        store.after_commit(partial(self._answer, request, handle.message_id))

    def _checked(self, header: RecallMessageRequestHeader) -> RecallHandle:
        """The handle, after the checks of a real broker in their order."""
        state = self._state
        if not state.config.recall_messages:
            raise broker_error(ResponseCode.NO_PERMISSION, "recall failed, operation is forbidden")
        if not state.writable:
            raise broker_error(ResponseCode.SERVICE_NOT_AVAILABLE, "recall failed, broker service not available")
        if state.topics.get(header.topic) is None:
            raise broker_error(ResponseCode.TOPIC_NOT_EXIST, f"recall failed, the topic[{header.topic}] not exist", topic=header.topic)
        try:
            handle = RecallHandle.decode(header.recall_handle)
        except ConfigError:
            raise _illegal("recall handle is invalid") from None
        if handle.topic != header.topic:
            raise _illegal("recall failed, topic not match")
        if handle.broker_name != state.config.name:
            raise _illegal("recall failed, broker service not available")
        left = handle.deliver_ms - state.now_ms()
        if left <= 0 or left >= state.config.timer_max_delay * 1000:
            raise _illegal("recall failed, timestamp invalid")
        return handle

    def _answer(self, request: Asked, message_id: str, error: RocketMQError | None) -> None:
        if error is not None:
            request.done(error)
        else:
            answer = request.answer(header=RecallMessageResponseHeader(message_id))
            answer.ext_fields["MSG_REGION"] = self._state.config.region_id
            request.reply(answer)


def _illegal(remark: str) -> RocketMQError:
    return broker_error(ResponseCode.ILLEGAL_OPERATION, remark)
