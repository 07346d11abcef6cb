"""Bodies of routes, heartbeats, locks and consumers (Java: `org.apache.rocketmq.remoting.protocol.{route,heartbeat,body}`)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.enums import ConsumeType, MessageModel, MessageRequestMode
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.names import java_hash
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, QueueData, QueueMapping, TopicRouteData
from aiorocketmq.protocol import fastjson
from aiorocketmq.protocol.beans import Bean, decode_object, field, from_json, subscription_json, wire
from aiorocketmq.protocol.limits import ClientId, Int64, Items, Name, OptionalName
from aiorocketmq.protocol.record import Record

__all__ = [
    "CheckClientRequestBody",
    "ClusterInfo",
    "Connection",
    "ConsumeMessageDirectlyResult",
    "ConsumeStatus",
    "ConsumerConnection",
    "ConsumerData",
    "ConsumerRunningInfo",
    "GetConsumerListByGroupResponseBody",
    "GetConsumerStatusBody",
    "HeartbeatData",
    "KVTable",
    "LockBatchRequestBody",
    "LockBatchResponseBody",
    "MessageQueueAssignment",
    "PopProcessQueueInfo",
    "ProcessQueueInfo",
    "ProducerData",
    "QueryAssignmentRequestBody",
    "QueryAssignmentResponseBody",
    "ResetOffsetBody",
    "SetMessageRequestModeRequestBody",
    "TopicList",
    "UnlockBatchRequestBody",
    "broker_data_from_json",
    "broker_data_to_json",
    "decode_topic_route",
    "encode_topic_route",
]

# --- routes -------------------------------------------------------------------------------------------------------------------------


def _queue_data(value: dict[Any, Any], path: str) -> QueueData:
    def number(name: str, default: int | None = None) -> int:
        return int(from_json(int, value.get(name, default), f"{path}.{name}"))

    return QueueData(
        broker_name=from_json(str, value.get("brokerName"), f"{path}.brokerName"),
        read_queue_nums=number("readQueueNums"),
        write_queue_nums=number("writeQueueNums"),
        perm=number("perm"),
        topic_sys_flag=number("topicSysFlag", value.get("topicSynFlag", 0)),
    )


def broker_data_from_json(value: dict[Any, Any], path: str) -> BrokerData:
    """Read one broker of a route or of a cluster."""
    return BrokerData(
        cluster=from_json(str, value.get("cluster") or "", f"{path}.cluster"),
        broker_name=from_json(str, value.get("brokerName"), f"{path}.brokerName"),
        broker_addrs=from_json(dict[int, str], value.get("brokerAddrs") or {}, f"{path}.brokerAddrs"),
        enable_acting_master=from_json(bool, value.get("enableActingMaster") or False, f"{path}.enableActingMaster"),
    )


def broker_data_to_json(broker: BrokerData) -> dict[str, Any]:
    """The JSON object of one broker."""
    return {
        "brokerAddrs": dict(sorted(broker.broker_addrs.items())),
        "brokerName": broker.broker_name,
        "cluster": broker.cluster,
        "enableActingMaster": broker.enable_acting_master,
    }


def _mapping(value: dict[Any, Any], path: str) -> QueueMapping:
    def number(name: str, default: int | None = None) -> int:
        return int(from_json(int, value.get(name, default), f"{path}.{name}"))

    return QueueMapping(
        broker_name=from_json(str, value.get("bname"), f"{path}.bname"),
        scope=from_json(str, value.get("scope") or "__global__", f"{path}.scope"),
        total=number("totalQueues"),
        epoch=number("epoch", 0),
        current=from_json(dict[int, int], value.get("currIdMap") or {}, f"{path}.currIdMap"),
    )


def _mapping_to_json(topic: str, mapping: QueueMapping) -> dict[str, Any]:
    return {
        "bname": mapping.broker_name,
        "currIdMap": dict(sorted(mapping.current.items())),
        "dirty": False,
        "epoch": mapping.epoch,
        "scope": mapping.scope,
        "topic": topic,
        "totalQueues": mapping.total,
    }


def decode_topic_route(data: bytes) -> TopicRouteData:
    """Read the answer to a route query.

    Raises:
        ProtocolError: It does not parse, or a field has the wrong type.
    """
    path = "TopicRouteData"
    value = decode_object(data, path)
    queues = _objects(value.get("queueDatas"), f"{path}.queueDatas")
    brokers = _objects(value.get("brokerDatas"), f"{path}.brokerDatas")
    order = value.get("orderTopicConf")
    mappings = value.get("topicQueueMappingByBroker") or {}
    if not isinstance(mappings, dict):
        raise ProtocolError(f"{path}.topicQueueMappingByBroker is {str(mappings)[:60]!r}, not an object")
    mapped = _objects(list(mappings.values()), f"{path}.topicQueueMappingByBroker")
    return TopicRouteData(
        queue_datas=tuple(_queue_data(item, f"{path}.queueDatas[{index}]") for index, item in enumerate(queues)),
        broker_datas=tuple(broker_data_from_json(item, f"{path}.brokerDatas[{index}]") for index, item in enumerate(brokers)),
        order_topic_conf=from_json(str, order, f"{path}.orderTopicConf") if order else None,
        mappings=tuple(_mapping(item, f"{path}.topicQueueMappingByBroker[{index}]") for index, item in enumerate(mapped)),
    )


def _objects(value: Any, path: str) -> list[dict[Any, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ProtocolError(f"{path} is {str(value)[:60]!r}, not a list of objects")
    return value


def encode_topic_route(route: TopicRouteData, *, topic: str = "", strict: bool = True) -> bytes:
    """Write the answer to a route query.

    Args:
        route: The route.
        topic: The topic, which the mappings of a static one name.
        strict: Broker ids in quotes, as requesters from version 401 on want; older ones get bare numbers.
    """
    value: dict[str, Any] = {
        "brokerDatas": [broker_data_to_json(broker) for broker in route.broker_datas],
        "filterServerTable": {},
        "queueDatas": [
            {
                "brokerName": queue.broker_name,
                "perm": int(queue.perm),
                "readQueueNums": queue.read_queue_nums,
                "topicSysFlag": queue.topic_sys_flag,
                "writeQueueNums": queue.write_queue_nums,
            }
            for queue in route.queue_datas
        ],
    }
    if route.order_topic_conf:
        value["orderTopicConf"] = route.order_topic_conf
    if route.mappings:
        value["topicQueueMappingByBroker"] = {each.broker_name: _mapping_to_json(topic, each) for each in route.mappings}
    return fastjson.dumps(value, strict=strict)


class TopicList(Bean):
    """A list of topics (206, 224, 304, 305, 343); for 304 also one broker's address."""

    topic_list: list[str] = field(default_factory=list)
    broker_addr: str | None = None


class KVTable(Bean):
    """A table of strings (28, 219, and the answer to a broker's registration)."""

    table: dict[str, str] = field(default_factory=dict)


class ClusterInfo(Record):
    """All brokers that a name server knows (106)."""

    broker_addr_table: dict[str, BrokerData] = field(default_factory=dict)
    cluster_addr_table: dict[str, list[str]] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The body's bytes; broker ids are bare numbers, as Java writes them."""
        return fastjson.dumps(
            {
                "brokerAddrTable": {name: broker_data_to_json(broker) for name, broker in self.broker_addr_table.items()},
                "clusterAddrTable": self.cluster_addr_table,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a body.

        Raises:
            ProtocolError: It does not parse, or a field has the wrong type.
        """
        value = decode_object(data, "ClusterInfo")
        brokers = from_json(dict[str, Any], value.get("brokerAddrTable") or {}, "ClusterInfo.brokerAddrTable")
        table = {}
        for name, item in brokers.items():
            path = f"ClusterInfo.brokerAddrTable[{name}]"
            if not isinstance(item, dict):
                raise ProtocolError(f"{path} is {str(item)[:60]!r}, not an object")
            table[name] = broker_data_from_json(item, path)
        clusters = from_json(dict[str, list[str]], value.get("clusterAddrTable") or {}, "ClusterInfo.clusterAddrTable")
        return cls(table, clusters)


MAX_GROUPS: Final = 256
"""Producer groups, and consumer groups, that one client tells a broker of."""

# --- heartbeat ----------------------------------------------------------------------------------------------------------------------


class ProducerData(Bean):
    """One producer group of a heartbeat."""

    group_name: Name


class ConsumerData(Bean):
    """One consumer group of a heartbeat. `consume_from_where` is the wire's name, see `StartFrom`."""

    group_name: Name
    consume_type: ConsumeType = ConsumeType.CONSUME_PASSIVELY
    message_model: MessageModel = MessageModel.CLUSTERING
    consume_from_where: OptionalName = "CONSUME_FROM_LAST_OFFSET"
    subscription_data_set: Annotated[list[SubscriptionData], Items(4096)] = field(default_factory=list)
    unit_mode: bool = False


class HeartbeatData(Bean):
    """Body of a heartbeat (34).

    Attributes:
        client_id: Client id.
        producer_data_set: Producer groups.
        consumer_data_set: Consumer groups with their subscriptions.
        heartbeat_fingerprint: 0 in a heartbeat of the first form, else see `fingerprint()`.
        without_sub: True when the subscriptions are left out because the broker knows them.
    """

    client_id: ClientId = wire("clientID")
    producer_data_set: Annotated[list[ProducerData], Items(MAX_GROUPS)] = field(default_factory=list)
    consumer_data_set: Annotated[list[ConsumerData], Items(MAX_GROUPS)] = field(default_factory=list)
    heartbeat_fingerprint: Int64 = 0
    without_sub: bool = False

    def fingerprint(self) -> int:
        """A number, never 0, that changes when groups or subscriptions do; client id and subscription times do not count (K9)."""
        groups = []
        for consumer in sorted(self.consumer_data_set, key=lambda consumer: consumer.group_name):
            topics = sorted((subscription_json(data) | {"subVersion": 0} for data in consumer.subscription_data_set), key=str)
            groups.append(f"{consumer.group_name}{consumer.consume_type}{consumer.message_model}{consumer.consume_from_where}{topics}")
        producers = sorted(producer.group_name for producer in self.producer_data_set)
        return java_hash(f"{producers}{groups}") or 1


class CheckClientRequestBody(Bean):
    """Ask a broker whether it can filter as wanted (46)."""

    client_id: ClientId
    group: Name
    subscription_data: SubscriptionData
    namespace: str | None = None


class GetConsumerListByGroupResponseBody(Bean):
    """Client ids of a group (38)."""

    consumer_id_list: list[str] = field(default_factory=list)


# --- locks and assignment -------------------------------------------------------------------------------------------------------------


class LockBatchRequestBody(Bean):
    """Lock queues for an ordered consumer (41)."""

    consumer_group: Name
    client_id: ClientId
    mq_set: Annotated[list[MessageQueue], Items(8192)] = field(default_factory=list)
    only_this_broker: bool = False


class LockBatchResponseBody(Bean):
    """The queues that the caller holds now (41)."""

    lock_ok_mq_set: list[MessageQueue] = wire("lockOKMQSet", default_factory=list)


class UnlockBatchRequestBody(Bean):
    """Give locks back (42)."""

    consumer_group: Name
    client_id: ClientId
    mq_set: Annotated[list[MessageQueue], Items(8192)] = field(default_factory=list)
    only_this_broker: bool = False


class QueryAssignmentRequestBody(Bean):
    """Ask a broker for the queues of a client (400)."""

    topic: Name
    consumer_group: Name
    client_id: ClientId
    strategy_name: str
    message_model: MessageModel = MessageModel.CLUSTERING


class MessageQueueAssignment(Bean):
    """One assigned queue; a mode that is missing is `PULL`."""

    message_queue: MessageQueue | None = None
    mode: MessageRequestMode | None = None
    attachments: dict[str, str] | None = None


class QueryAssignmentResponseBody(Bean):
    """Answer to 400; None means that the broker has nothing to say."""

    message_queue_assignments: list[MessageQueueAssignment] | None = None


class SetMessageRequestModeRequestBody(Bean):
    """Set whether a group pulls or pops a topic (401)."""

    topic: Name
    consumer_group: Name
    mode: MessageRequestMode = MessageRequestMode.PULL
    pop_share_queue_num: int = 0


# --- members ----------------------------------------------------------------------------------------------------------------------


class Connection(Bean):
    """One client; `language` is a name of `LanguageCode`, `version` a number of `codes.version_name`."""

    client_id: str = ""
    client_addr: str = ""
    language: str = "JAVA"
    version: int = 0


class ConsumerConnection(Bean):
    """Members of a consumer group (203)."""

    connection_set: list[Connection] = field(default_factory=list)
    subscription_table: dict[str, SubscriptionData] = field(default_factory=dict)
    consume_type: str | None = None
    message_model: str | None = None
    consume_from_where: str | None = None


# --- what brokers ask of consumers ----------------------------------------------------------------------------------------------------


class ResetOffsetBody(Bean):
    """New offsets of queues (220, 222): a map, or for C++ clients a list of queues, each with its offset."""

    offset_table: dict[MessageQueue, int] = field(default_factory=dict)

    @classmethod
    def decode(cls, data: bytes, *, max_dialect: int | None = None) -> Self:
        """See `Bean.decode`; takes both forms."""
        fields = decode_object(data, cls.__name__, max_dialect)
        table = fields.get("offsetTable")
        if isinstance(table, list):
            path = f"{cls.__name__}.offsetTable"
            entries = [(each, f"{path}[{index}]") for index, each in enumerate(table)]
            return cls({from_json(MessageQueue, each, where): _offset_of(each, where) for each, where in entries})
        return cls(from_json(dict[MessageQueue, int], table or {}, f"{cls.__name__}.offsetTable"))


def _offset_of(entry: dict[Any, Any], path: str) -> int:
    return int(from_json(int, entry.get("offset"), f"{path}.offset"))


class GetConsumerStatusBody(Bean):
    """Offsets of a client's queues (221), or of all clients of a group (223)."""

    message_queue_table: dict[MessageQueue, int] = field(default_factory=dict)
    consumer_table: dict[str, dict[MessageQueue, int]] = field(default_factory=dict)


class ProcessQueueInfo(Bean):
    """State of one queue that a consumer works on; times are milliseconds since the epoch."""

    commit_offset: int = 0
    cached_msg_min_offset: int = 0
    cached_msg_max_offset: int = 0
    cached_msg_count: int = 0
    cached_msg_size_in_mib: int = wire("cachedMsgSizeInMiB", default=0)
    transaction_msg_min_offset: int = 0
    transaction_msg_max_offset: int = 0
    transaction_msg_count: int = 0
    locked: bool = False
    try_unlock_times: int = 0
    last_lock_timestamp: int = 0
    dropped: bool = wire("droped", default=False)
    last_pull_timestamp: int = 0
    last_consume_timestamp: int = 0


class PopProcessQueueInfo(Bean):
    """State of one queue that a consumer pops from."""

    wait_ack_count: int = 0
    dropped: bool = wire("droped", default=False)
    last_pop_timestamp: int = 0


class ConsumeStatus(Bean):
    """Rates of one topic: messages per second, and milliseconds."""

    pull_rt: float = wire("pullRT", default=0.0)
    pull_tps: float = wire("pullTPS", default=0.0)
    consume_rt: float = wire("consumeRT", default=0.0)
    consume_ok_tps: float = wire("consumeOKTPS", default=0.0)
    consume_failed_tps: float = wire("consumeFailedTPS", default=0.0)
    consume_failed_msgs: int = 0


class ConsumerRunningInfo(Bean):
    """Inner state of a consumer (307). Admin tools need the property `PROP_CONSUMER_START_TIMESTAMP`."""

    properties: dict[str, str] = field(default_factory=dict)
    subscription_set: list[SubscriptionData] = field(default_factory=list)
    mq_table: dict[MessageQueue, ProcessQueueInfo] = field(default_factory=dict)
    mq_pop_table: dict[MessageQueue, PopProcessQueueInfo] = field(default_factory=dict)
    status_table: dict[str, ConsumeStatus] = field(default_factory=dict)
    user_consumer_info: dict[str, str] = field(default_factory=dict)
    jstack: str | None = None


class ConsumeMessageDirectlyResult(Bean):
    """How one message was consumed on demand (309); `consume_result` is `CR_SUCCESS`, `CR_LATER`, `CR_ROLLBACK`, ..."""

    consume_result: str
    order: bool = False
    auto_commit: bool = True
    remark: str | None = None
    spent_time_mills: int = 0
