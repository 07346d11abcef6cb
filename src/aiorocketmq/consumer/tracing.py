"""What consumers write into the message trace (Java: `ConsumeMessageTraceHookImpl`). Features E7-E9, F47."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Final

from aiorocketmq.client.trace import TraceDispatcher
from aiorocketmq.consumer.hooks import ConsumeContext
from aiorocketmq.core.clock import epoch_ms
from aiorocketmq.model import properties as props
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.trace import DEFAULT_REGION, SubAfter, SubBefore, joined_keys

_NOTE: Final = "aiorocketmq.trace"


class ConsumeTrace:
    """The hook that writes what the listeners of a consumer do, for every message of a call.

    Args:
        dispatcher: Takes the records.
    """

    def __init__(self, dispatcher: TraceDispatcher) -> None:
        self.dispatcher = dispatcher

    def before_consume(self, context: ConsumeContext) -> None:
        """See `ConsumeHook.before_consume`."""
        request_id = context.notes[_NOTE] = secrets.token_hex(16).upper()
        at = round(context.started_at * 1000)
        for message in self._traced(context.messages):
            region = _region_of(message)
            keys = joined_keys(message.keys)
            self.dispatcher.add(SubBefore(at, region, context.group, request_id, message.message_id, message.reconsume_times, keys))

    def after_consume(self, context: ConsumeContext) -> None:
        """See `ConsumeHook.after_consume`."""
        request_id, status = context.notes.get(_NOTE), context.status
        if request_id is None or status is None:
            return
        at = epoch_ms(time.time)
        cost = round(context.seconds * 1000 / len(context.messages))
        for message in self._traced(context.messages):
            region, keys = _region_of(message), joined_keys(message.keys)
            took = (cost, context.success, keys, status.value, at, context.group, region)
            self.dispatcher.add(SubAfter(request_id, message.message_id, *took))

    def _traced(self, messages: Sequence[ReceivedMessage]) -> list[ReceivedMessage]:
        own = self.dispatcher.writes_to
        return [message for message in messages if not own(message.topic) and message.properties.get(props.TRACE_ON) != "false"]


def _region_of(message: ReceivedMessage) -> str:
    return message.properties.get(props.MSG_REGION) or DEFAULT_REGION
