"""Sharing the queues of a topic out to the members of a group, to be pulled or popped (Java: `QueryAssignmentProcessor`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from aiorocketmq.core.allocate import AllocateAveragely, AllocateStrategy
from aiorocketmq.core.strategies import AllocateAveragelyByCircle
from aiorocketmq.errors import broker_error
from aiorocketmq.model.enums import MessageModel, MessageRequestMode
from aiorocketmq.model.names import LMQ_PREFIX, is_retry_topic
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.beans import to_json
from aiorocketmq.protocol.bodies_client import (
    MessageQueueAssignment,
    QueryAssignmentRequestBody,
    QueryAssignmentResponseBody,
    SetMessageRequestModeRequestBody,
)
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.fastjson import dumps
from aiorocketmq.protocol.header import RpcHeader
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.broker.topic_queues import Queues, TopicQueues
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Request, Resource, operation

_STRATEGIES: Final[dict[str, AllocateStrategy]] = {each.name: each for each in (AllocateAveragely(), AllocateAveragelyByCircle())}
ALL_QUEUES: Final = -1
"""Queue id that stands for all queues of a broker."""

Query = Request[RpcHeader, QueryAssignmentRequestBody]


class AssignmentProcessor:
    """Answers members of groups that let brokers share the queues out, and administrators who say how."""

    def __init__(self, state: BrokerState, queues: TopicQueues) -> None:
        self._state = state
        self._queues = queues

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """Its rows of the broker's table."""
        group = Need(Action.SUB, Resource.GROUP, lambda request: (request.body.consumer_group,))
        topic = Need(Action.SUB, Resource.TOPIC, lambda request: (request.body.topic,))
        change = [
            Need(Action.UPDATE, Resource.TOPIC, lambda request: (request.body.topic,)),
            Need(Action.UPDATE, Resource.GROUP, lambda request: (request.body.consumer_group,)),
        ]
        return (
            operation(RequestCode.QUERY_ASSIGNMENT, RpcHeader, self._query, group, topic, body=QueryAssignmentRequestBody),
            operation(RequestCode.SET_MESSAGE_REQUEST_MODE, RpcHeader, self._set_mode, *change, body=SetMessageRequestModeRequestBody),
            operation(RequestCode.GET_ALL_MESSAGE_REQUEST_MODE, RpcHeader, self._all_modes, Need(Action.GET, Resource.CLUSTER)),
        )

    # -- modes --------------------------------------------------------------------------------------------------------

    def _set_mode(self, request: Request[RpcHeader, SetMessageRequestModeRequestBody]) -> None:
        state, mode = self._state, request.body
        if is_retry_topic(mode.topic):
            raise broker_error(ResponseCode.NO_PERMISSION, "retry topic is not allowed to set mode", topic=mode.topic)
        if state.topics.latest(mode.topic) is None:
            raise broker_error(ResponseCode.TOPIC_NOT_EXIST, f"topic[{mode.topic}] not exist", topic=mode.topic)
        if state.groups.find(mode.consumer_group) is None:
            raise broker_error(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, "subscription group does not exist")
        state.request_modes.put(mode)
        state.store.after_commit(request.done)

    def _all_modes(self, request: Plain[RpcHeader]) -> RemotingCommand:
        table: dict[str, dict[str, Any]] = {}
        for mode in self._state.request_modes:
            table.setdefault(mode.topic, {})[mode.consumer_group] = to_json(mode)
        return request.answer(body=dumps({"messageRequestModeMap": table}))

    # -- queues -------------------------------------------------------------------------------------------------------

    def _query(self, request: Query) -> RemotingCommand | None:
        topic = request.body.topic
        if topic.startswith(LMQ_PREFIX) and request.body.message_model is MessageModel.CLUSTERING:
            return self._answer(request, (MessageQueue(topic, self._state.config.name, 0),))
        found = self._queues.find(topic, lambda queues: request.reply(self._answer(request, queues)))
        return self._answer(request, found.queues) if found is not None else None

    def _answer(self, request: Query, queues: Queues | None) -> RemotingCommand:
        body = request.body
        mode = self._state.request_modes.get(body.topic, body.consumer_group)
        shared = self._share(body, mode, queues)
        told = None
        if shared is not None:
            told = [MessageQueueAssignment(message_queue=queue, mode=mode.mode) for queue in dict.fromkeys(shared)]
        return request.answer(body=QueryAssignmentResponseBody(message_queue_assignments=told).encode())

    def _share(
        self, body: QueryAssignmentRequestBody, mode: SetMessageRequestModeRequestBody, queues: Queues | None
    ) -> Sequence[MessageQueue] | None:
        """The share of the client that asks; None when that cannot be told, which changes nothing for it."""
        if queues is None or body.message_model is MessageModel.BROADCASTING:
            return queues
        group = self._state.clients.consumer_group(body.consumer_group)
        strategy = _STRATEGIES.get(body.strategy_name)
        if group is None or strategy is None or not queues:
            return None
        ordered, members = sorted(queues), sorted(set(group.client_ids()))
        if mode.mode is MessageRequestMode.PULL:
            return strategy.allocate(body.consumer_group, body.client_id, ordered, members)
        return popped(strategy, body.consumer_group, body.client_id, ordered, members, mode.pop_share_queue_num)


def popped(
    strategy: AllocateStrategy, group: str, client_id: str, queues: Sequence[MessageQueue], members: Sequence[str], shared_with: int
) -> Sequence[MessageQueue]:
    """What a member pops: everything, or its own share and those of the members that follow it.

    Args:
        strategy: Makes the shares.
        group: The group.
        client_id: The member.
        queues: All queues, sorted.
        members: All members, sorted.
        shared_with: Members whose shares it pops besides its own; 0, or almost all of them, is everything.
    """
    if shared_with <= 0 or shared_with >= len(members) - 1:
        return [MessageQueue(queue.topic, queue.broker_name, ALL_QUEUES) for queue in queues]
    if client_id not in members:
        return []
    place = members.index(client_id)
    if len(members) > len(queues):
        return [queues[place % len(queues)]]  # nobody goes empty-handed
    them = [members[(place + step) % len(members)] for step in range(shared_with + 1)]
    return [queue for member in them for queue in strategy.allocate(group, member, queues, members)]
