"""What producers write into the message trace (Java: `SendMessageTraceHookImpl`, `EndTransactionTraceHookImpl`). Features C9, E7-E10."""

from __future__ import annotations

import time

from aiorocketmq.client.trace import TraceDispatcher
from aiorocketmq.core.clock import epoch_ms
from aiorocketmq.model import properties as props
from aiorocketmq.model.enums import SendStatus
from aiorocketmq.model.message import Message
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.producer.decisions import EndTransactionContext
from aiorocketmq.producer.hooks import SendContext
from aiorocketmq.protocol.trace import DEFAULT_REGION, EndTransaction, Pub, Recall, TracedKind, joined_keys


class SendTrace:
    """The hook that writes what a producer does.

    Sends that nobody answered are not written: whether a broker has them nobody knows. Failed ones are, unlike in Java.

    Args:
        dispatcher: Takes the records.
    """

    def __init__(self, dispatcher: TraceDispatcher) -> None:
        self.dispatcher = dispatcher

    def before_send(self, context: SendContext) -> None:
        """See `SendHook.before_send`: nothing to do."""

    def after_send(self, context: SendContext) -> None:
        """See `SendHook.after_send`."""
        result = context.result
        if context.oneway or self.dispatcher.writes_to(context.message.topic) or (result is not None and not result.trace_on):
            return
        offset_ids = result.offset_message_id.split(",") if result is not None else []
        cost = round(context.seconds * 1000)
        for place, (message, message_id) in enumerate(zip(context.messages, context.message_ids, strict=False)):
            self.dispatcher.add(
                Pub(
                    timestamp=round(context.started_at * 1000),
                    region=(result.region_id if result is not None else None) or DEFAULT_REGION,
                    group=context.group,
                    topic=message.topic,
                    message_id=message_id,
                    tag=message.tag,
                    keys=joined_keys(message.keys),
                    store_host=context.broker_address,
                    body_length=len(message.body),
                    cost_ms=cost,
                    kind=TracedKind.TRANSACTION_HALF if context.half else TracedKind.DELAY if message.delayed else TracedKind.NORMAL,
                    offset_message_id=offset_ids[place] if place < len(offset_ids) else "",
                    success=result is not None and result.status is SendStatus.SEND_OK,
                )
            )

    def end_transaction(self, context: EndTransactionContext) -> None:
        """See `EndTransactionHook.end_transaction`."""
        message: Message | ReceivedMessage = context.message
        self.dispatcher.add(
            EndTransaction(
                timestamp=epoch_ms(time.time),
                region=message.properties.get(props.MSG_REGION) or DEFAULT_REGION,
                group=context.group,
                topic=message.topic,
                message_id=context.message_id,
                tag=message.tag,
                keys=joined_keys(message.keys),
                store_host=context.broker_address,
                transaction_id=context.transaction_id,
                state=context.state.value,
                from_check=context.from_transaction_check,
            )
        )

    def recalled(self, group: str, topic: str, message_id: str, *, success: bool) -> None:
        """A message that was sent for later was taken back, or was not."""
        self.dispatcher.add(Recall(epoch_ms(time.time), DEFAULT_REGION, group, topic, message_id, success))
