"""What operators ask of the members of a consumer group (Java: `Broker2Client`, and the part of `AdminBrokerProcessor` that calls it).

New offsets, which members are told of by the answer to their next pull or by a request of their own (`server_side_reset`); and questions,
which are carried to one member or to all, and whose answers are carried back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aiorocketmq.errors import ProtocolError, RemotingError, RequestTimeoutError, RocketMQError, broker_error
from aiorocketmq.model.offset_id import OffsetMessageId
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol import fastjson
from aiorocketmq.protocol.beans import to_json
from aiorocketmq.protocol.bodies import GetConsumerStatusBody, ResetOffsetBody
from aiorocketmq.protocol.codes import LanguageCode, RequestCode, ResponseCode, version_name
from aiorocketmq.protocol.command import RemotingCommand, next_opaque
from aiorocketmq.protocol.frame import encode
from aiorocketmq.protocol.headers_client import (
    ConsumeMessageDirectlyResultRequestHeader,
    GetConsumerRunningInfoRequestHeader,
    GetConsumerStatusRequestHeader,
    ResetOffsetRequestHeader,
)
from aiorocketmq.server.broker.processors.common import topic_at
from aiorocketmq.server.broker.registry import Member
from aiorocketmq.server.broker.searching import search_offset
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Request, Resource, operation

_V3_0_7: Final = 28
_V3_1_8: Final = 62
_STATUS_TIMEOUT: Final = 5.0
"""Seconds that each member may take to tell its offsets."""


class OperatorProcessor:
    """Handlers of requests that concern members."""

    def __init__(self, state: BrokerState) -> None:
        self._state = state

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """Its rows of the broker's table."""
        topic, group, its_group = (Resource.TOPIC, "topic"), (Resource.GROUP, "group"), (Resource.GROUP, "consumer_group")
        return (
            operation(
                RequestCode.INVOKE_BROKER_TO_RESET_OFFSET,
                ResetOffsetRequestHeader,
                self._reset_offset,
                Need(Action.UPDATE, *topic),
                Need(Action.UPDATE, *group),
            ),
            operation(
                RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS,
                GetConsumerStatusRequestHeader,
                self._consumer_status,
                Need(Action.GET, *topic),
                Need(Action.GET, *group),
            ),
            operation(
                RequestCode.GET_CONSUMER_RUNNING_INFO, GetConsumerRunningInfoRequestHeader, self._running_info, Need(Action.GET, *its_group)
            ),
            operation(
                RequestCode.CONSUME_MESSAGE_DIRECTLY,
                ConsumeMessageDirectlyResultRequestHeader,
                self._consume_directly,
                Need(Action.SUB, *its_group),
                Need(Action.SUB, Resource.TOPIC, self._handed_topic),
            ),
        )

    # -- offsets ------------------------------------------------------------------------------------------------------

    def _reset_offset(self, request: Plain[ResetOffsetRequestHeader]) -> RemotingCommand | None:
        """Set the offsets of a group (6.10)."""
        header = request.header
        state = self._state
        topic = state.topics.require_standing(header.topic)
        if not state.config.server_side_reset:
            return self._reset_at_members(request, topic.write_queue_nums)
        if state.groups.get(header.group) is None:
            raise broker_error(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, f"Group {header.group} does not exist")
        queues = [header.queue_id]
        if header.queue_id < 0:  # a single offset is no offset for all of them
            header, queues = header.replace(offset=None), list(range(topic.read_queue_nums))
        table: dict[MessageQueue, int] = {}
        for queue_id in queues:
            table[MessageQueue(header.topic, state.config.name, queue_id)] = self._reset_target(header, queue_id)
        for queue, offset in table.items():
            state.offsets.reset(header.group, header.topic, queue.queue_id, offset)

        def stored(error: RocketMQError | None) -> None:
            if error is not None:
                request.done(error)
                return
            request.reply(request.answer(body=ResetOffsetBody(table).encode()))
            state.polling.wake(header.topic)
            for waiting in (state.pops, state.pop_watchers):
                waiting.wake_group(header.topic, header.group)

        state.store.after_commit(stored)
        return None

    def _reset_target(self, header: ResetOffsetRequestHeader, queue_id: int) -> int:
        store = self._state.store
        low, high = store.bounds(header.topic, queue_id)
        if header.offset is not None and header.offset >= 0:
            if not low <= header.offset <= high + 1:
                raise broker_error(
                    ResponseCode.SYSTEM_ERROR, f"The target offset {header.offset} is not in the range [{low}, {high}] of queue {queue_id}"
                )
            return header.offset
        return high if header.timestamp < 0 else search_offset(store, header.topic, queue_id, header.timestamp)

    def _reset_at_members(self, request: Plain[ResetOffsetRequestHeader], queues: int) -> RemotingCommand:
        """Have the members set the offsets, as 4.x brokers do: this broker's own stay until one of them has saved its."""
        header = request.header
        state = self._state
        table: dict[MessageQueue, int] = {}
        for queue_id in range(queues):
            known = state.offsets.query(header.group, header.topic, queue_id)
            if known < 0:
                raise broker_error(ResponseCode.SYSTEM_ERROR, f"THe consumer group <{header.group}> not exist")
            target = self._reset_target(header.replace(offset=None), queue_id)
            table[MessageQueue(header.topic, state.config.name, queue_id)] = target if header.is_force else min(target, known)
        members = self._members(header.group)
        if not members:
            text = (
                f"Consumer not online, so can not reset offset, Group: {header.group} Topic: {header.topic} Timestamp: {header.timestamp}"
            )
            raise broker_error(ResponseCode.CONSUMER_NOT_ONLINE, text)
        body = ResetOffsetBody(table).encode()
        told = _offsets_for_c(table) if request.command.language == LanguageCode.CPP else body
        asked = ResetOffsetRequestHeader(topic=header.topic, group=header.group, timestamp=header.timestamp, is_force=False)
        command = RemotingCommand.request(RequestCode.RESET_CONSUMER_CLIENT_OFFSET, asked, told, oneway=True)
        for member in members:
            _check_version(member, _V3_0_7, f"the client does not support this feature. version={version_name(member.version)}")
            if not member.channel.closed:
                member.channel.send(encode(command))
        return request.answer(body=body)

    def _consumer_status(self, request: Plain[GetConsumerStatusRequestHeader]) -> None:
        """Where the members say that they are, each by itself."""
        header = request.header
        members = self._members(header.group)
        if not members:
            text = f"No Any Consumer online in the consumer group: [{header.group}]"
            raise broker_error(ResponseCode.SYSTEM_ERROR, text)
        for member in members:
            _check_version(member, _V3_0_7, f"the client does not support this feature. version={version_name(member.version)}")
        asked = [member for member in members if not (header.client_addr or "").strip() or member.client_id == header.client_addr]
        _StatusCall(request, asked).begin(partial(self._ask_for_offsets, header.topic, header.group))

    def _ask_for_offsets(self, topic: str, group: str, member: Member, waiter: _Status) -> None:
        header = GetConsumerStatusRequestHeader(topic=topic, group=group)
        question = RemotingCommand.request(RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT, header)
        self._state.questions.ask(member.channel, question, waiter, _STATUS_TIMEOUT)

    def _members(self, group: str) -> list[Member]:
        known = self._state.clients.consumer_group(group)
        return list(known.members.values()) if known is not None else []

    # -- questions to one member ----------------------------------------------------------------------------------------

    def _running_info(self, request: Plain[GetConsumerRunningInfoRequestHeader]) -> None:
        header = request.header
        self._relay(request, header.consumer_group, header.client_id, dict(request.command.ext_fields), b"")

    def _consume_directly(self, request: Plain[ConsumeMessageDirectlyResultRequestHeader]) -> None:
        header = request.header
        state = self._state
        record = state.store.record_at(OffsetMessageId.decode(header.msg_id or "").offset)
        if record is None:
            raise broker_error(ResponseCode.SYSTEM_ERROR, f"can not find the message {header.msg_id}")
        completed = header.replace(broker_name=state.config.name)
        if header.topic and (topic := state.topics.get(header.topic)) is not None:
            completed = completed.replace(topic_sys_flag=topic.topic_sys_flag)
        if (group := state.groups.get(header.consumer_group)) is not None:
            completed = completed.replace(group_sys_flag=group.group_sys_flag)
        self._relay(request, header.consumer_group, header.client_id or "", completed.to_ext(), record)

    def _handed_topic(self, request: Plain[ConsumeMessageDirectlyResultRequestHeader]) -> tuple[str, ...]:
        return topic_at(self._state, OffsetMessageId.decode(request.header.msg_id or "").offset)

    def _relay(self, request: Request[Any, Any], group: str, client_id: str, ext: dict[str, str], body: bytes) -> None:
        """Ask a client, and hand its answer on unchanged."""
        member = self._state.clients.consumer(group, client_id)
        if member is None:
            raise broker_error(ResponseCode.SYSTEM_ERROR, f"The Consumer <{group}> <{client_id}> not online")
        low = f"The Consumer <{client_id}> Version <{version_name(member.version)}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT"
        _check_version(member, _V3_1_8, low)
        question = RemotingCommand(request.code, opaque=next_opaque(), ext_fields=ext, body=body)
        self._state.questions.ask(member.channel, question, _Relay(request, f"<{group}> <{client_id}>"))


class _Relay:
    """Hands a client's answer on to the operator who asked."""

    __slots__ = ("_request", "_who")

    def __init__(self, request: Request[Any, Any], who: str) -> None:
        self._request = request
        self._who = who

    def on_response(self, command: RemotingCommand) -> None:
        command.serialize_type = self._request.command.serialize_type
        self._request.reply(command)

    def on_error(self, error: RemotingError) -> None:
        timed_out = isinstance(error, RequestTimeoutError)
        code = ResponseCode.CONSUME_MSG_TIMEOUT if timed_out else ResponseCode.SYSTEM_ERROR
        self._request.reply(self._request.answer(code, f"consumer {self._who} did not answer: {error.message}"))


class _StatusCall:
    """Asks some members where they are, and answers when all of them have told it, or will not."""

    def __init__(self, request: Request[Any, Any], members: list[Member]) -> None:
        self._request = request
        self._members = members
        self._left = len(members)
        self._body = GetConsumerStatusBody()

    def begin(self, ask: Callable[[Member, _Status], None]) -> None:
        """Ask them."""
        if not self._members:
            self._answer()
        for member in self._members:
            ask(member, _Status(self, member.client_id))

    def told(self, client_id: str, offsets: dict[MessageQueue, int] | None) -> None:
        """A member has answered; None for one that has not."""
        if offsets is not None:
            self._body.consumer_table[client_id] = offsets
        self._left -= 1
        if not self._left:
            self._answer()

    def _answer(self) -> None:
        self._request.reply(self._request.answer(body=self._body.encode()))


class _Status:
    """Waits for the offsets of one member."""

    __slots__ = ("_call", "_client_id")

    def __init__(self, call: _StatusCall, client_id: str) -> None:
        self._call = call
        self._client_id = client_id

    def on_response(self, command: RemotingCommand) -> None:
        offsets = None
        if command.code == ResponseCode.SUCCESS and command.body:
            try:
                offsets = GetConsumerStatusBody.decode(command.body).message_queue_table
            except ProtocolError:
                offsets = None  # what it says is not to be read: as if it had said nothing
        self._call.told(self._client_id, offsets)

    def on_error(self, error: RemotingError) -> None:
        self._call.told(self._client_id, None)


def _check_version(member: Member, lowest: int, text: str) -> None:
    if member.version < lowest:
        raise broker_error(ResponseCode.SYSTEM_ERROR, text)


def _offsets_for_c(table: dict[MessageQueue, int]) -> bytes:
    """The table as C++ clients read it: a list (Java: `ResetOffsetBodyForC`)."""
    return fastjson.dumps({"offsetTable": [{**to_json(queue), "offset": offset} for queue, offset in table.items()]})
