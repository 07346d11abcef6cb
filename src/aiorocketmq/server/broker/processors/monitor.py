"""What administrators look at: progress, connections, statistics (Java: `AdminBrokerProcessor`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiorocketmq.errors import broker_error
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.bodies import (
    Connection,
    ConsumerConnection,
    ConsumeStats,
    GroupList,
    OffsetWrapper,
    ProducerConnection,
    ProducerInfo,
    ProducerTableInfo,
    QueryConsumeTimeSpanBody,
    QuerySubscriptionResponseBody,
    QueueTimeSpan,
    TopicList,
    TopicOffset,
    TopicStatsTable,
)
from aiorocketmq.protocol.codes import CURRENT_VERSION, LanguageCode, RequestCode, ResponseCode, version_name
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import RpcHeader
from aiorocketmq.protocol.headers_admin import (
    GetConsumeStatsRequestHeader,
    GetProducerConnectionListRequestHeader,
    GetTopicStatsInfoRequestHeader,
    QueryConsumeTimeSpanRequestHeader,
    QuerySubscriptionByConsumerRequestHeader,
    QueryTopicConsumeByWhoRequestHeader,
    QueryTopicsByConsumerRequestHeader,
)
from aiorocketmq.protocol.headers_client import GetConsumerConnectionListRequestHeader
from aiorocketmq.server.broker.registry import Member
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Request, Resource, operation


class MonitorProcessor:
    """Handlers that only look."""

    def __init__(self, state: BrokerState) -> None:
        self._state = state

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """Its rows of the broker's table."""
        topic = Need(Action.GET, Resource.TOPIC, "topic")
        looked_at = Need(Action.GET, Resource.TOPIC, _named_topics)
        group, its_group = Need(Action.GET, Resource.GROUP, "group"), Need(Action.GET, Resource.GROUP, "consumer_group")
        return (
            operation(RequestCode.GET_TOPIC_STATS_INFO, GetTopicStatsInfoRequestHeader, self._topic_stats, topic),
            operation(RequestCode.GET_CONSUME_STATS, GetConsumeStatsRequestHeader, self._consume_stats, its_group, looked_at),
            operation(RequestCode.QUERY_TOPIC_CONSUME_BY_WHO, QueryTopicConsumeByWhoRequestHeader, self._groups_of_topic, topic),
            operation(RequestCode.QUERY_TOPICS_BY_CONSUMER, QueryTopicsByConsumerRequestHeader, self._topics_of_group, group),
            operation(
                RequestCode.QUERY_SUBSCRIPTION_BY_CONSUMER,
                QuerySubscriptionByConsumerRequestHeader,
                self._subscription,
                group,
                looked_at,
            ),
            operation(RequestCode.QUERY_CONSUME_TIME_SPAN, QueryConsumeTimeSpanRequestHeader, self._time_span, topic, group),
            operation(
                RequestCode.GET_CONSUMER_CONNECTION_LIST, GetConsumerConnectionListRequestHeader, self._consumer_connections, its_group
            ),
            operation(
                RequestCode.GET_PRODUCER_CONNECTION_LIST,
                GetProducerConnectionListRequestHeader,
                self._producer_connections,
                Need(Action.GET, Resource.CLUSTER),
            ),
            operation(RequestCode.GET_ALL_PRODUCER_INFO, RpcHeader, self._producers, Need(Action.LIST, Resource.CLUSTER)),
        )

    # -- progress -----------------------------------------------------------------------------------------------------

    def _topic_stats(self, request: Plain[GetTopicStatsInfoRequestHeader]) -> RemotingCommand:
        header = request.header
        state = self._state
        topic = state.topics.require(header.topic)
        table = {}
        for queue_id in range(max(topic.read_queue_nums, topic.write_queue_nums)):
            low, high = state.store.bounds(header.topic, queue_id)
            queue = state.store.queue(header.topic, queue_id)
            stamp = queue.last_store_timestamp if queue is not None else 0
            table[MessageQueue(header.topic, state.config.name, queue_id)] = TopicOffset(low, high, stamp)
        return request.answer(body=TopicStatsTable(table, state.stats.put_tps(header.topic)).encode())

    def _consume_stats(self, request: Plain[GetConsumeStatsRequestHeader]) -> RemotingCommand:
        header = request.header
        state = self._state
        group = header.consumer_group
        topics: Iterable[str] = [name for name in (header.topic_list or header.topic or "").split(";") if name]
        if not topics:
            topics = state.offsets.topics_of(group)
        stats = ConsumeStats()
        for name in topics:
            topic = state.topics.get(name)
            if topic is None:
                continue
            members = state.clients.consumer_group(group)
            if members is not None and members.subscriptions and state.clients.subscription(group, name) is None:
                continue
            for queue_id in range(topic.read_queue_nums):
                stats.offset_table[MessageQueue(name, state.config.name, queue_id)] = self._progress(group, name, queue_id)
            stats.consume_tps += state.stats.get_tps(name, group)
        return request.answer(body=stats.encode())

    def _progress(self, group: str, topic: str, queue_id: int) -> OffsetWrapper:
        state = self._state
        committed = max(0, state.offsets.query(group, topic, queue_id))
        queue = state.store.queue(topic, queue_id)
        stamp = state.store.store_timestamp_at(queue, committed - 1) if queue is not None else -1
        high = queue.next_offset if queue is not None else 0
        return OffsetWrapper(high, committed, max(committed, state.offsets.pulled(group, topic, queue_id)), max(0, stamp))

    def _groups_of_topic(self, request: Plain[QueryTopicConsumeByWhoRequestHeader]) -> RemotingCommand:
        header = request.header
        online = [name for name, group in self._state.clients.consumers.items() if header.topic in group.subscriptions]
        groups = sorted({*online, *self._state.offsets.groups_of(header.topic)})
        return request.answer(body=GroupList(groups).encode())

    def _topics_of_group(self, request: Plain[QueryTopicsByConsumerRequestHeader]) -> RemotingCommand:
        header = request.header
        return request.answer(body=TopicList(sorted(self._state.offsets.topics_of(header.group)), self._state.address).encode())

    def _subscription(self, request: Plain[QuerySubscriptionByConsumerRequestHeader]) -> RemotingCommand:
        header = request.header
        found = self._state.clients.subscription(header.group, header.topic or "")
        return request.answer(body=QuerySubscriptionResponseBody(header.group, header.topic or "", found).encode())

    def _time_span(self, request: Plain[QueryConsumeTimeSpanRequestHeader]) -> RemotingCommand:
        header = request.header
        state = self._state
        spans = []
        for queue_id in range(state.topics.require(header.topic).write_queue_nums):
            span = QueueTimeSpan(MessageQueue(header.topic, state.config.name, queue_id), -1, -1, -1)
            queue = state.store.queue(header.topic, queue_id)
            if queue is not None:
                committed = state.offsets.query(header.group, header.topic, queue_id)
                span.min_time_stamp = state.store.store_timestamp_at(queue, queue.min_offset)
                span.max_time_stamp = queue.last_store_timestamp
                consumed = state.store.store_timestamp_at(queue, committed - 1) if committed > 0 else span.min_time_stamp
                span.consume_time_stamp = consumed
                if committed < queue.next_offset:
                    span.delay_time = max(0, state.now_ms() - state.store.store_timestamp_at(queue, max(committed, queue.min_offset)))
            spans.append(span)
        return request.answer(body=QueryConsumeTimeSpanBody(spans).encode())

    # -- connections --------------------------------------------------------------------------------------------------

    def _consumer_connections(self, request: Plain[GetConsumerConnectionListRequestHeader]) -> RemotingCommand:
        header = request.header
        group = self._state.clients.consumer_group(header.consumer_group)
        if group is None:
            raise broker_error(ResponseCode.CONSUMER_NOT_ONLINE, f"the consumer group[{header.consumer_group}] not online")
        subscriptions: dict[str, SubscriptionData] = dict(group.subscriptions)
        body = ConsumerConnection(
            [_connection(member) for member in group.members.values()],
            subscriptions,
            group.consume_type.value,
            group.message_model.value,
            group.consume_from_where,
        )
        return request.answer(body=body.encode())

    def _producer_connections(self, request: Plain[GetProducerConnectionListRequestHeader]) -> RemotingCommand:
        header = request.header
        members = self._state.clients.producers.get(header.producer_group)
        if not members:
            raise broker_error(ResponseCode.SYSTEM_ERROR, f"the producer group[{header.producer_group}] not exist")
        return request.answer(body=ProducerConnection([_connection(member) for member in members.values()]).encode())

    def _producers(self, request: Plain[RpcHeader]) -> RemotingCommand:
        ago = self._state.monotonic()
        data = {
            group: [
                ProducerInfo(
                    member.client_id,
                    f"/{member.channel.address}",
                    _language(member.language),
                    member.version,
                    self._state.now_ms() - int((ago - member.last_heartbeat) * 1000),
                )
                for member in members.values()
            ]
            for group, members in self._state.clients.producers.items()
        }
        return request.answer(body=ProducerTableInfo(data).encode())

    # -- the broker itself --------------------------------------------------------------------------------------------

    def runtime_info(self) -> dict[str, str]:
        """Figures that `mqadmin brokerStatus` and `clusterList` show; those that have no meaning here are zero."""
        state = self._state
        put = f"{state.stats.put_tps():.2f}"
        got = f"{state.stats.get_tps():.2f}"
        zeros = (
            *(f"{pool}ThreadPoolQueueSize" for pool in ("send", "pull", "ack")),
            *(f"{pool}ThreadPoolQueueHeadWaitTimeMills" for pool in ("send", "pull", "query", "ack")),
            *(f"timer{figure}" for figure in ("ReadBehind", "OffsetBehind", "CongestNum", "EnqueueTps", "DequeueTps")),
            *(f"msg{way}Total{day}Morning" for way in ("Put", "Get") for day in ("Yesterday", "Today")),
            "pageCacheLockTimeMills",
        )
        return dict.fromkeys(zeros, "0") | {
            "brokerActive": "true",
            "brokerVersion": str(CURRENT_VERSION),
            "brokerVersionDesc": version_name(CURRENT_VERSION),
            "bootTimestamp": str(state.started_ms),
            "commitLogDiskRatio": "0.0",
            "commitLogMaxOffset": str(state.store.next_physical_offset),
            "commitLogMinOffset": "0",
            "earliestMessageTimeStamp": str(state.started_ms),
            "getFoundTps": f"{got} {got} {got}",
            "getTotalTps": f"{got} {got} {got}",
            "getTransferredTps": f"{got} {got} {got}",
            "getTransferedTps": f"{got} {got} {got}",
            "msgGetTotalTodayNow": str(state.stats.got.total),
            "msgPutTotalTodayNow": str(state.stats.put.total),
            "putTps": f"{put} {put} {put}",
            "runtime": f"[ {(state.now_ms() - state.started_ms) // 1000} seconds ]",
        }


def _named_topics(request: Request[Any, Any]) -> list[str]:
    """Topics that a question names; it may name none."""
    named = getattr(request.header, "topic_list", None) or request.header.topic or ""
    return [name for name in named.split(";") if name]


def _connection(member: Member) -> Connection:
    return Connection(member.client_id, member.channel.address, _language(member.language), member.version)


def _language(number: int) -> str:
    try:
        return LanguageCode(number).name
    except ValueError:
        return LanguageCode.OTHER.name
