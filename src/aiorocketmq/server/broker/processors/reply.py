"""Replies to requests: handed to the client that waits, and stored (Java: `ReplyMessageProcessor`). Features D5-D7.

As on a real broker the reply is stored whether or not it could be handed over; the answer to its sender says which.
"""

from __future__ import annotations

from typing import Any

from aiorocketmq.errors import RemotingError, RocketMQError, TooManyRequestsError, broker_error
from aiorocketmq.model import properties as props
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand, next_opaque
from aiorocketmq.protocol.headers_client import ReplyMessageRequestHeader, SendMessageRequestHeader, SendMessageRequestHeaderV2
from aiorocketmq.server.broker.processors.common import Sent, choose_queue, complete, illegal, message_of
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Action, Need, Operation, Resource, operation
from aiorocketmq.server.store.records import PendingMessage


class ReplyProcessor:
    """Takes what responders send."""

    def __init__(self, state: BrokerState) -> None:
        self._state = state

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """Its rows of the broker's table.

        The topic of the replies needs no permission, as on 4.9.7 and 5.5.0: who was sent a request may answer it, though few may write
        there. Any other topic needs the one to send, as a reply is stored in the topic that it names.
        """
        trace, store = self._state.trace_fields, Need(Action.PUB, Resource.TOPIC, self._other_topic)
        return (
            operation(RequestCode.SEND_REPLY_MESSAGE, SendMessageRequestHeader, self._take, store, failure_ext=trace),
            operation(RequestCode.SEND_REPLY_MESSAGE_V2, SendMessageRequestHeaderV2, self._take, store, failure_ext=trace),
        )

    def _other_topic(self, request: Sent) -> tuple[str, ...]:
        topic = request.header.topic
        return () if topic == f"{self._state.config.cluster}_REPLY_TOPIC" else (topic,)

    def _take(self, request: Sent) -> None:
        state, header = self._state, request.header
        topic = state.topics.require_standing(header.topic)
        if not request.body or len(request.body) > state.config.max_message_size:
            raise illegal(state)
        queue_id = header.queue_id if header.queue_id >= 0 else choose_queue(topic)
        if queue_id >= max(topic.write_queue_nums, topic.read_queue_nums):
            raise broker_error(
                ResponseCode.INVALID_PARAMETER, f"request queueId[{queue_id}] is illegal, topic[{topic.topic_name}]", topic=header.topic
            )
        properties = props.decode_properties(header.properties or "")
        message = message_of(request, header.topic, queue_id)
        delivery = _Delivery(request, state)
        complete(message, properties)
        if len(message.properties) > props.MAX_PROPERTIES_LENGTH:
            raise illegal(state)
        message.done = delivery.stored
        state.store.append(message)
        self._push(delivery, properties)

    def _push(self, delivery: _Delivery, properties: dict[str, str]) -> None:
        state, request = self._state, delivery.request
        header = request.header
        client_id = properties.get(props.REPLY_TO_CLIENT)
        if client_id is None:
            delivery.pushed(f"reply message properties[{props.REPLY_TO_CLIENT}] is null")
            return
        member = state.clients.producer(client_id)
        if member is None or member.channel.closed:
            delivery.pushed(f"push reply message fail, channel of <{client_id}> not found.")
            return
        properties[props.PUSH_REPLY_TIME] = str(state.now_ms())
        handed = ReplyMessageRequestHeader(
            producer_group=header.producer_group,
            topic=header.topic,
            default_topic=header.default_topic,
            default_topic_queue_nums=header.default_topic_queue_nums,
            queue_id=header.queue_id,
            sys_flag=header.sys_flag,
            born_timestamp=header.born_timestamp,
            flag=header.flag,
            born_host=request.session.address,
            store_host=state.address,
            store_timestamp=state.now_ms(),
            properties=props.encode_properties(properties),
            reconsume_times=header.reconsume_times,
            unit_mode=bool(header.unit_mode),
        )
        question = RemotingCommand(
            RequestCode.PUSH_REPLY_MESSAGE_TO_CLIENT, opaque=next_opaque(), ext_fields=handed.to_ext(), body=request.body
        )
        state.questions.ask(member.channel, question, _Pushed(delivery, client_id))


class _Delivery:
    """One reply on its way: answered when it is stored, and when the client has it or will not get it. Mutable."""

    __slots__ = ("_failure", "_message", "_pushed", "_state", "request")

    def __init__(self, request: Sent, state: BrokerState) -> None:
        self.request = request
        self._state = state
        self._message: PendingMessage | None = None
        self._pushed = False
        self._failure: str | None = None

    def stored(self, message: PendingMessage, error: RocketMQError | None) -> None:
        """The commit of the reply."""
        if error is not None:
            self.request.done(error)
            return
        self._state.stats.stored(message.topic, 1)
        self._message = message
        self._answer()

    def pushed(self, failure: str | None) -> None:
        """The client has it, or why it does not."""
        self._pushed = True
        self._failure = failure
        self._answer()

    def _answer(self) -> None:
        message = self._message
        if message is None or not self._pushed:
            return
        code = ResponseCode.SUCCESS if self._failure is None else ResponseCode.SYSTEM_ERROR
        answer = self.request.answer(code, self._failure)
        answer.ext_fields = {
            "msgId": self._state.message_id(message.physical_offset),
            "queueId": str(message.queue_id),
            "queueOffset": str(message.queue_offset),
            **self._state.trace_fields,
        }
        self.request.reply(answer)


class _Pushed:
    """Waits for the client's acknowledgement."""

    __slots__ = ("_client_id", "_delivery")

    def __init__(self, delivery: _Delivery, client_id: str) -> None:
        self._delivery = delivery
        self._client_id = client_id

    def on_response(self, command: RemotingCommand) -> None:
        self._delivery.pushed(None if command.code == ResponseCode.SUCCESS else f"push reply message to {self._client_id}fail.")

    def on_error(self, error: RemotingError) -> None:
        text = f"push reply message to {self._client_id}fail."
        self._delivery.pushed(f"{text} {error.message}" if isinstance(error, TooManyRequestsError) else text)
