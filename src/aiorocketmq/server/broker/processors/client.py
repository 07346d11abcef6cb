"""Clients: heartbeats, members, locks, offsets, searches, queries (Java: `ClientManageProcessor`, `ConsumerManageProcessor`, part of
`AdminBrokerProcessor`, `QueryMessageProcessor`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from aiorocketmq.errors import broker_error
from aiorocketmq.model import names
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.protocol.bodies import (
    CheckClientRequestBody,
    ConsumerData,
    GetConsumerListByGroupResponseBody,
    HeartbeatData,
    LockBatchRequestBody,
    LockBatchResponseBody,
    UnlockBatchRequestBody,
)
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import RpcHeader
from aiorocketmq.protocol.headers_client import (
    GetConsumerListByGroupRequestHeader,
    GetEarliestMsgStoretimeRequestHeader,
    GetEarliestMsgStoretimeResponseHeader,
    GetMaxOffsetRequestHeader,
    GetMaxOffsetResponseHeader,
    GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader,
    HeartbeatResponseHeader,
    QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader,
    QueryMessageRequestHeader,
    QueryMessageResponseHeader,
    SearchOffsetRequestHeader,
    SearchOffsetResponseHeader,
    UnregisterClientRequestHeader,
    UpdateConsumerOffsetRequestHeader,
    ViewMessageRequestHeader,
)
from aiorocketmq.server.broker.processors.common import topic_at
from aiorocketmq.server.broker.reading import filter_of
from aiorocketmq.server.broker.searching import search_offset
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Request, Resource, operation

logger = logging.getLogger("aiorocketmq.server")

_BY_TAG: Final = "T"
_UNIQUE_KEY_RESULTS: Final = 32
_KEY_RESULTS: Final = 64
"""Messages that a query by key finds at most (Java: maxMsgsNumBatch)."""
_VERSION: Final = 513
"""V5_5_0: what clients may expect of this broker, as far as they look at versions."""
_MAX_GROUPS: Final = 1024
"""Groups that one connection may heartbeat: each is kept in tables until it closes."""


class ClientProcessor:
    """Everything that producers and consumers ask besides sending and pulling."""

    def __init__(self, state: BrokerState) -> None:
        self._state = state

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """Its rows of the broker's table."""
        return (*self._about_members(), *self._about_offsets(), *self._about_messages())

    def _about_members(self) -> tuple[Operation[Any, Any], ...]:
        own_group = Need(Action.SUB, Resource.GROUP, lambda request: (request.body.consumer_group,))
        return (
            operation(
                RequestCode.HEART_BEAT,
                RpcHeader,
                self._heartbeat,
                Need(Action.SUB, Resource.GROUP, lambda request: [each.group_name for each in request.body.consumer_data_set]),
                Need(Action.SUB, Resource.TOPIC, _subscribed_topics),
                body=HeartbeatData,
            ),
            operation(RequestCode.UNREGISTER_CLIENT, UnregisterClientRequestHeader, self._unregister),
            operation(
                RequestCode.CHECK_CLIENT_CONFIG,
                RpcHeader,
                self._check_client_config,
                Need(Action.SUB, Resource.GROUP, lambda request: (request.body.group,)),
                body=CheckClientRequestBody,
            ),
            operation(
                RequestCode.GET_CONSUMER_LIST_BY_GROUP,
                GetConsumerListByGroupRequestHeader,
                self._consumer_list,
                Need(Action.SUB, Resource.GROUP, "consumer_group", (Action.GET,)),
            ),
            operation(RequestCode.LOCK_BATCH_MQ, RpcHeader, self._lock, own_group, body=LockBatchRequestBody),
            operation(RequestCode.UNLOCK_BATCH_MQ, RpcHeader, self._unlock, own_group, body=UnlockBatchRequestBody),
        )

    def _about_offsets(self) -> tuple[Operation[Any, Any], ...]:
        look = Need(Action.GET, Resource.TOPIC, "topic")
        read, write = (
            [Need(Action.SUB, kind, name, (other,)) for kind, name in ((Resource.GROUP, "consumer_group"), (Resource.TOPIC, "topic"))]
            for other in (Action.GET, Action.UPDATE)
        )
        return (
            operation(RequestCode.QUERY_CONSUMER_OFFSET, QueryConsumerOffsetRequestHeader, self._query_offset, *read),
            operation(RequestCode.UPDATE_CONSUMER_OFFSET, UpdateConsumerOffsetRequestHeader, self._update_offset, *write),
            operation(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, SearchOffsetRequestHeader, self._search_offset, look),
            operation(RequestCode.GET_MAX_OFFSET, GetMaxOffsetRequestHeader, self._max_offset, look),
            operation(RequestCode.GET_MIN_OFFSET, GetMinOffsetRequestHeader, self._min_offset, look),
            operation(RequestCode.GET_EARLIEST_MSG_STORETIME, GetEarliestMsgStoretimeRequestHeader, self._earliest_store_time, look),
        )

    def _about_messages(self) -> tuple[Operation[Any, Any], ...]:
        look = Need(Action.GET, Resource.TOPIC, "topic")
        look_there = Need(Action.GET, Resource.TOPIC, lambda request: topic_at(self._state, request.header.offset))
        query = Need(Action.SUB, Resource.TOPIC, "topic", (Action.GET,))
        return (
            operation(RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader, self._view_message, look, look_there),
            operation(RequestCode.QUERY_MESSAGE, QueryMessageRequestHeader, self._query_message, query),
        )

    # -- members ------------------------------------------------------------------------------------------------------

    def _heartbeat(self, request: Request[RpcHeader, HeartbeatData]) -> RemotingCommand:
        clients, channel, command, session = self._state.clients, request.channel, request.command, request.session
        data = request.body
        changed = data.heartbeat_fingerprint == 0
        told = session.producer_groups.union(each.group_name for each in data.producer_data_set)
        told.update(each.group_name for each in data.consumer_data_set)
        if len(told | session.consumer_groups) > _MAX_GROUPS:
            raise broker_error(ResponseCode.INVALID_PARAMETER, f"a client has {_MAX_GROUPS} groups at most on one connection")
        session.client_id = data.client_id
        for producer in data.producer_data_set:
            clients.register_producer(producer.group_name, channel, data.client_id, command.language, command.version)
            session.producer_groups.add(producer.group_name)
        for consumer in data.consumer_data_set:
            if clients.fingerprint_changed(consumer.group_name, data.heartbeat_fingerprint):
                changed = True
            if data.without_sub:
                known = clients.renew_consumer(consumer.group_name, channel, data.client_id, command.language, command.version)
                changed = changed or not known
            elif self._prepare_group(consumer):
                members = clients.consumer_group(consumer.group_name)
                before = dict(members.subscriptions) if members is not None else {}
                clients.register_consumer(consumer, channel, data.client_id, command.language, command.version)
                session.consumer_groups.add(consumer.group_name)
                self._filters_changed(consumer.group_name, before)
        answer = request.answer(header=HeartbeatResponseHeader(supports_v2=True, subscription_changed=changed))
        answer.version = _VERSION
        return answer

    def _filters_changed(self, group: str, before: Mapping[str, SubscriptionData]) -> None:
        """Carry out the pulls that wait for what a group does not want any more: for what it wants now they would not wake."""
        members = self._state.clients.consumer_group(group)
        for topic, subscription in members.subscriptions.items() if members is not None else ():
            known = before.get(topic)
            if known is not None and (known.expression, known.expression_type) != (subscription.expression, subscription.expression_type):
                self._state.polling.wake(topic)

    def _prepare_group(self, consumer: ConsumerData) -> bool:
        """Make the group and its retry topic where that is allowed; False when the group does not exist."""
        state = self._state
        group = state.groups.find(consumer.group_name)
        if group is None:
            logger.warning("broker %s: a heartbeat names the group %s, which does not exist", state.config.name, consumer.group_name)
            return False
        ordered = any((topic := state.topics.get(each.topic)) is not None and topic.order for each in consumer.subscription_data_set)
        retry = names.retry_topic(consumer.group_name)
        state.topics.create_derived(retry, group.retry_queue_nums, unit=consumer.unit_mode, order=ordered)
        return True

    def _unregister(self, request: Plain[UnregisterClientRequestHeader]) -> RemotingCommand:
        header = request.header
        self._state.clients.unregister(request.channel, header.producer_group, header.consumer_group)
        request.session.producer_groups.discard(header.producer_group or "")
        request.session.consumer_groups.discard(header.consumer_group or "")
        return request.answer()

    def _check_client_config(self, request: Request[RpcHeader, CheckClientRequestBody]) -> RemotingCommand:
        filter_of(request.body.subscription_data)
        return request.answer()

    def _consumer_list(self, request: Plain[GetConsumerListByGroupRequestHeader]) -> RemotingCommand:
        header = request.header
        group = self._state.clients.consumer_group(header.consumer_group)
        if group is None:
            raise broker_error(ResponseCode.SYSTEM_ERROR, f"no consumer for this group, {header.consumer_group}")
        body = GetConsumerListByGroupResponseBody(list(dict.fromkeys(group.client_ids())))
        return request.answer(body=body.encode())

    def _lock(self, request: Request[RpcHeader, LockBatchRequestBody]) -> RemotingCommand:
        body = request.body
        granted = self._state.locks.lock(body.consumer_group, body.client_id, body.mq_set)
        return request.answer(body=LockBatchResponseBody(granted).encode())

    def _unlock(self, request: Request[RpcHeader, UnlockBatchRequestBody]) -> RemotingCommand:
        body = request.body
        self._state.locks.unlock(body.consumer_group, body.client_id, body.mq_set)
        return request.answer()

    # -- offsets ------------------------------------------------------------------------------------------------------

    def _query_offset(self, request: Plain[QueryConsumerOffsetRequestHeader]) -> RemotingCommand:
        header = request.header
        state = self._state
        offset = state.offsets.query(header.consumer_group, header.topic, header.queue_id)
        if offset < 0:
            # A group that is new on a young topic starts at 0 whatever it asked for (6.10).
            low, _ = state.store.bounds(header.topic, header.queue_id)
            if header.set_zero_if_not_found is False:
                raise broker_error(ResponseCode.QUERY_NOT_FOUND, "Not found, do not set to zero, maybe this group boot first")
            if low > 0 or not self._first_message_in_memory(header.topic, header.queue_id):
                raise broker_error(ResponseCode.QUERY_NOT_FOUND, "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")
            offset = 0
        return request.answer(header=QueryConsumerOffsetResponseHeader(offset))

    def _first_message_in_memory(self, topic: str, queue_id: int) -> bool:
        queue = self._state.store.queue(topic, queue_id)
        return queue is not None and queue.next_offset > 0 and queue.first_recent_offset == 0

    def _update_offset(self, request: Plain[UpdateConsumerOffsetRequestHeader]) -> RemotingCommand | None:
        header = request.header
        state = self._state
        if state.groups.get(header.consumer_group) is None:
            raise broker_error(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, f"Group {header.consumer_group} not exist!")
        if state.topics.standing(header.topic) is None:
            raise broker_error(ResponseCode.TOPIC_NOT_EXIST, f"Topic {header.topic} not exist!", topic=header.topic)
        if not state.offsets.commit(header.consumer_group, header.topic, header.queue_id, header.commit_offset):
            return request.answer(remark="Offset has been previously reset")
        if not request.command.is_oneway:
            state.store.after_commit(request.done)
        return None

    def _search_offset(self, request: Plain[SearchOffsetRequestHeader]) -> RemotingCommand:
        header = request.header
        upper = (header.boundary_type or "").upper() == "UPPER"
        offset = search_offset(self._state.store, header.topic, header.queue_id, header.timestamp, upper=upper)
        return request.answer(header=SearchOffsetResponseHeader(offset))

    def _max_offset(self, request: Plain[GetMaxOffsetRequestHeader]) -> RemotingCommand:
        header = request.header
        return request.answer(header=GetMaxOffsetResponseHeader(self._state.store.bounds(header.topic, header.queue_id)[1]))

    def _min_offset(self, request: Plain[GetMinOffsetRequestHeader]) -> RemotingCommand:
        header = request.header
        return request.answer(header=GetMinOffsetResponseHeader(self._state.store.bounds(header.topic, header.queue_id)[0]))

    def _earliest_store_time(self, request: Plain[GetEarliestMsgStoretimeRequestHeader]) -> RemotingCommand:
        header = request.header
        queue = self._state.store.queue(header.topic, header.queue_id)
        stamp = self._state.store.store_timestamp_at(queue, queue.min_offset) if queue is not None else -1
        return request.answer(header=GetEarliestMsgStoretimeResponseHeader(stamp))

    # -- messages -----------------------------------------------------------------------------------------------------

    def _view_message(self, request: Plain[ViewMessageRequestHeader]) -> RemotingCommand:
        header = request.header
        record = self._state.store.record_at(header.offset)
        if record is None:
            raise broker_error(ResponseCode.SYSTEM_ERROR, f"can not find message by the offset, {header.offset}")
        return request.answer(body=record)

    def _query_message(self, request: Plain[QueryMessageRequestHeader]) -> RemotingCommand:
        header = request.header
        limit = _UNIQUE_KEY_RESULTS if header.unique_key_query else max(0, min(header.max_num, _KEY_RESULTS))
        find = (
            self._state.store.find_by_tag if header.index_type == _BY_TAG and not header.unique_key_query else self._state.store.find_by_key
        )
        records = find(header.topic, header.key, header.begin_timestamp, header.end_timestamp, limit)
        if not records:
            none = QueryMessageResponseHeader(0, 0)
            return request.answer(ResponseCode.QUERY_NOT_FOUND, "can not find message, maybe time range not correct", none)
        found = QueryMessageResponseHeader(self._state.now_ms(), self._state.store.next_physical_offset)
        return request.answer(header=found, body=b"".join(records))


def _subscribed_topics(request: Request[RpcHeader, HeartbeatData]) -> list[str]:
    return [each.topic for consumer in request.body.consumer_data_set for each in consumer.subscription_data_set]
