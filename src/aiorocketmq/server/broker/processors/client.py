"""Clients: heartbeats, members, locks, offsets, searches, queries (Java: `ClientManageProcessor`, `ConsumerManageProcessor`, part of
`AdminBrokerProcessor`, `QueryMessageProcessor`)."""

from __future__ import annotations

import logging
from typing import Final

from aiorocketmq.errors import BrokerError, ProtocolError, RocketMQError, broker_error
from aiorocketmq.model import names
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
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.server.broker.metadata import missing_group
from aiorocketmq.server.broker.searching import search_offset
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Handler, failure, guarded

logger = logging.getLogger("aiorocketmq.server")

_UNIQUE_KEY_RESULTS: Final = 32


class ClientProcessor:
    """Everything that producers and consumers ask besides sending and pulling."""

    def __init__(self, state: BrokerState) -> None:
        self._state = state

    def handlers(self) -> dict[int, Handler]:
        """Handlers by request code."""
        plain: dict[int, Handler] = {
            RequestCode.HEART_BEAT: self._heartbeat,
            RequestCode.UNREGISTER_CLIENT: self._unregister,
            RequestCode.CHECK_CLIENT_CONFIG: self._check_client_config,
            RequestCode.GET_CONSUMER_LIST_BY_GROUP: self._consumer_list,
            RequestCode.LOCK_BATCH_MQ: self._lock,
            RequestCode.UNLOCK_BATCH_MQ: self._unlock,
            RequestCode.QUERY_CONSUMER_OFFSET: self._query_offset,
            RequestCode.UPDATE_CONSUMER_OFFSET: self._update_offset,
            RequestCode.SEARCH_OFFSET_BY_TIMESTAMP: self._search_offset,
            RequestCode.GET_MAX_OFFSET: self._max_offset,
            RequestCode.GET_MIN_OFFSET: self._min_offset,
            RequestCode.GET_EARLIEST_MSG_STORETIME: self._earliest_store_time,
            RequestCode.VIEW_MESSAGE_BY_ID: self._view_message,
            RequestCode.QUERY_MESSAGE: self._query_message,
        }
        return {code: guarded(handler) for code, handler in plain.items()}

    # -- members ------------------------------------------------------------------------------------------------------

    def _heartbeat(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        clients = self._state.clients
        data = HeartbeatData.decode(request.body)
        changed = data.heartbeat_fingerprint == 0
        for producer in data.producer_data_set:
            clients.register_producer(producer.group_name, channel, data.client_id, request.language, request.version)
        for consumer in data.consumer_data_set:
            if clients.fingerprint_changed(consumer.group_name, data.heartbeat_fingerprint):
                changed = True
            if data.without_sub:
                known = clients.renew_consumer(consumer.group_name, channel, data.client_id, request.language, request.version)
                changed = changed or not known
            elif self._prepare_group(consumer):
                clients.register_consumer(consumer, channel, data.client_id, request.language, request.version)
        return RemotingCommand.response(request, header=HeartbeatResponseHeader(supports_v2=True, subscription_changed=changed))

    def _prepare_group(self, consumer: ConsumerData) -> bool:
        """Make the group and its retry topic where that is allowed; False when the group does not exist."""
        state = self._state
        group = state.groups.find(consumer.group_name)
        if group is None:
            logger.warning("broker %s: a heartbeat names the group %s, which does not exist", state.config.name, consumer.group_name)
            return False
        ordered = any((topic := state.topics.get(each.topic)) is not None and topic.order for each in consumer.subscription_data_set)
        if group.retry_queue_nums > 0:
            retry = names.retry_topic(consumer.group_name)
            state.topics.create_derived(retry, group.retry_queue_nums, unit=consumer.unit_mode, order=ordered)
        return True

    def _unregister(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = UnregisterClientRequestHeader.from_ext(request.ext_fields)
        self._state.clients.unregister(channel, header.producer_group, header.consumer_group)
        return RemotingCommand.response(request)

    def _check_client_config(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        body = CheckClientRequestBody.decode(request.body)
        if not body.subscription_data.is_tag:
            raise broker_error(
                ResponseCode.SYSTEM_ERROR,
                f"The broker does not support consumer to filter message by {body.subscription_data.expression_type}",
            )
        return RemotingCommand.response(request)

    def _consumer_list(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = GetConsumerListByGroupRequestHeader.from_ext(request.ext_fields)
        group = self._state.clients.consumer_group(header.consumer_group)
        if group is None:
            raise broker_error(ResponseCode.SYSTEM_ERROR, f"no consumer for this group, {header.consumer_group}")
        body = GetConsumerListByGroupResponseBody(list(dict.fromkeys(group.client_ids())))
        return RemotingCommand.response(request, body=body.encode())

    def _lock(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        body = LockBatchRequestBody.decode(request.body)
        granted = self._state.locks.lock(body.consumer_group, body.client_id, body.mq_set)
        return RemotingCommand.response(request, body=LockBatchResponseBody(granted).encode())

    def _unlock(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        body = UnlockBatchRequestBody.decode(request.body)
        self._state.locks.unlock(body.consumer_group, body.client_id, body.mq_set)
        return RemotingCommand.response(request)

    # -- offsets ------------------------------------------------------------------------------------------------------

    def _query_offset(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = QueryConsumerOffsetRequestHeader.from_ext(request.ext_fields)
        state = self._state
        offset = state.offsets.query(header.consumer_group, header.topic, header.queue_id)
        if offset < 0:
            # A group that is new on a young topic starts at 0 whatever it asked for (6.10).
            low, _ = state.store.bounds(header.topic, header.queue_id)
            if header.set_zero_if_not_found is False or low > 0 or not self._first_message_in_memory(header.topic, header.queue_id):
                raise broker_error(ResponseCode.QUERY_NOT_FOUND, "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")
            offset = 0
        return RemotingCommand.response(request, header=QueryConsumerOffsetResponseHeader(offset))

    def _first_message_in_memory(self, topic: str, queue_id: int) -> bool:
        queue = self._state.store.queue(topic, queue_id)
        return queue is not None and queue.next_offset > 0 and queue.first_recent_offset == 0

    def _update_offset(self, request: RemotingCommand, channel: Channel) -> RemotingCommand | None:
        header = UpdateConsumerOffsetRequestHeader.from_ext(request.ext_fields)
        state = self._state
        if state.groups.get(header.consumer_group) is None:
            raise missing_group(header.consumer_group)
        state.topics.require(header.topic)
        if not state.offsets.commit(header.consumer_group, header.topic, header.queue_id, header.commit_offset):
            return RemotingCommand.response(request, remark="Offset has been previously reset")
        if request.is_oneway:
            return None

        def committed(error: RocketMQError | None) -> None:
            answer = RemotingCommand.response(request) if error is None else _failed(request, error)
            channel.reply(request, answer)

        state.store.after_commit(committed)
        return None

    def _search_offset(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = SearchOffsetRequestHeader.from_ext(request.ext_fields)
        upper = (header.boundary_type or "").upper() == "UPPER"
        offset = search_offset(self._state.store, header.topic, header.queue_id, header.timestamp, upper=upper)
        return RemotingCommand.response(request, header=SearchOffsetResponseHeader(offset))

    def _max_offset(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = GetMaxOffsetRequestHeader.from_ext(request.ext_fields)
        return RemotingCommand.response(
            request, header=GetMaxOffsetResponseHeader(self._state.store.bounds(header.topic, header.queue_id)[1])
        )

    def _min_offset(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = GetMinOffsetRequestHeader.from_ext(request.ext_fields)
        return RemotingCommand.response(
            request, header=GetMinOffsetResponseHeader(self._state.store.bounds(header.topic, header.queue_id)[0])
        )

    def _earliest_store_time(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = GetEarliestMsgStoretimeRequestHeader.from_ext(request.ext_fields)
        queue = self._state.store.queue(header.topic, header.queue_id)
        stamp = self._state.store.store_timestamp_at(queue, queue.min_offset) if queue is not None else -1
        return RemotingCommand.response(request, header=GetEarliestMsgStoretimeResponseHeader(stamp))

    # -- messages -----------------------------------------------------------------------------------------------------

    def _view_message(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = ViewMessageRequestHeader.from_ext(request.ext_fields)
        record = self._state.store.record_at(header.offset)
        if record is None:
            raise broker_error(ResponseCode.SYSTEM_ERROR, f"can not find message by the offset, {header.offset}")
        return RemotingCommand.response(request, body=record)

    def _query_message(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = QueryMessageRequestHeader.from_ext(request.ext_fields)
        limit = _UNIQUE_KEY_RESULTS if header.unique_key_query else max(1, min(header.max_num, 1024))
        records = self._state.store.find_by_key(header.topic, header.key, header.begin_timestamp, header.end_timestamp, limit)
        if not records:
            raise broker_error(ResponseCode.QUERY_NOT_FOUND, "can not find message, maybe time range not correct")
        found = QueryMessageResponseHeader(self._state.now_ms(), self._state.store.next_physical_offset)
        return RemotingCommand.response(request, header=found, body=b"".join(records))


def _failed(request: RemotingCommand, error: RocketMQError) -> RemotingCommand:
    if isinstance(error, BrokerError | ProtocolError):
        return failure(request, error)
    return RemotingCommand.response(request, ResponseCode.SYSTEM_ERROR, error.message)
