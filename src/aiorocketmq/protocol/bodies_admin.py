"""Bodies of administration: clusters, topics, groups, statistics, connections, registration of brokers.

Java: `org.apache.rocketmq.remoting.protocol.{admin,body,subscription,statictopic}` and `TopicConfig`.
"""

from __future__ import annotations

from typing import Annotated, Any

from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.beans import Bean, field, wire
from aiorocketmq.protocol.bodies_client import Connection
from aiorocketmq.protocol.limits import BrokerId, Int32, Items, Name, OptionalName, Permissions, QueueCount

__all__ = [
    "BrokerMemberGroup",
    "BrokerStatsData",
    "BrokerStatsItem",
    "ConsumeStats",
    "ConsumeStatsList",
    "ConsumerOffsetWrapper",
    "CreateTopicListRequestBody",
    "DataVersion",
    "DelayOffsetWrapper",
    "GetBrokerMemberGroupResponseBody",
    "GroupForbidden",
    "GroupList",
    "OffsetWrapper",
    "ProducerConnection",
    "ProducerInfo",
    "ProducerTableInfo",
    "QueryConsumeTimeSpanBody",
    "QueryCorrectionOffsetBody",
    "QuerySubscriptionResponseBody",
    "QueueTimeSpan",
    "RegisterBrokerBody",
    "SubscriptionGroupConfig",
    "SubscriptionGroupList",
    "SubscriptionGroupWrapper",
    "TopicConfig",
    "TopicConfigWrapper",
    "TopicOffset",
    "TopicStatsTable",
]

# --- clusters -----------------------------------------------------------------------------------------------------------------------


class DataVersion(Bean):
    """Version of a table; two are equal when all three numbers are."""

    state_version: int = 0
    timestamp: int = 0
    counter: int = 0


class BrokerMemberGroup(Bean):
    """Members of one broker name."""

    cluster: str = ""
    broker_name: str = ""
    broker_addrs: dict[int, str] = field(default_factory=dict)


class GetBrokerMemberGroupResponseBody(Bean):
    """Answer to 901."""

    broker_member_group: BrokerMemberGroup | None = None


# --- topics -------------------------------------------------------------------------------------------------------------------------


class TopicConfig(Bean):
    """Settings of a topic on one broker; a missing field means the default, as in Java."""

    topic_name: Name
    read_queue_nums: QueueCount = 16
    write_queue_nums: QueueCount = 16
    perm: Permissions = 6
    topic_filter_type: OptionalName = "SINGLE_TAG"
    topic_sys_flag: Int32 = 0
    order: bool = False
    attributes: Annotated[dict[str, str], Items(1000)] = field(default_factory=dict)


class TopicConfigWrapper(Bean):
    """All topics of a broker (21, and part of its registration; Java: `TopicConfigAndMappingSerializeWrapper`)."""

    topic_config_table: dict[str, TopicConfig] = field(default_factory=dict)
    data_version: DataVersion = field(default_factory=DataVersion)
    topic_queue_mapping_info_map: dict[str, Any] = field(default_factory=dict)
    topic_queue_mapping_detail_map: dict[str, Any] = field(default_factory=dict)
    mapping_data_version: DataVersion = field(default_factory=DataVersion)


class CreateTopicListRequestBody(Bean):
    """Several topics at once (18)."""

    topic_config_list: Annotated[list[TopicConfig], Items(10_000)] = field(default_factory=list)


class RegisterBrokerBody(Bean):
    """What a broker tells name servers (103)."""

    topic_config_serialize_wrapper: TopicConfigWrapper = field(default_factory=TopicConfigWrapper)
    filter_server_list: list[str] = field(default_factory=list)


class TopicOffset(Bean):
    """State of one queue; `last_update_timestamp` in milliseconds since the epoch, 0 for an empty queue."""

    min_offset: int = 0
    max_offset: int = 0
    last_update_timestamp: int = 0


class TopicStatsTable(Bean):
    """State of a topic's queues on one broker (202)."""

    offset_table: dict[MessageQueue, TopicOffset] = field(default_factory=dict)
    topic_put_tps: float = 0.0


# --- groups -------------------------------------------------------------------------------------------------------------------------


class SubscriptionGroupConfig(Bean):
    """Settings of a consumer group; a missing field means the default, as in Java."""

    group_name: Name
    consume_enable: bool = True
    consume_from_min_enable: bool = True
    consume_broadcast_enable: bool = True
    consume_message_orderly: bool = False
    retry_queue_nums: QueueCount = 1
    retry_max_times: Int32 = 16
    group_retry_policy: dict[str, Any] | None = None
    broker_id: BrokerId = 0
    which_broker_when_consume_slowly: BrokerId = 1
    notify_consumer_ids_changed_enable: bool = True
    group_sys_flag: Int32 = 0
    consume_timeout_minute: Int32 = 15
    subscription_data_set: list[dict[str, Any]] | None = None
    attributes: Annotated[dict[str, str], Items(1000)] = field(default_factory=dict)


class SubscriptionGroupWrapper(Bean):
    """All groups of a broker (201)."""

    subscription_group_table: dict[str, SubscriptionGroupConfig] = field(default_factory=dict)
    forbidden_table: dict[str, dict[str, int]] = field(default_factory=dict)
    data_version: DataVersion = field(default_factory=DataVersion)


class SubscriptionGroupList(Bean):
    """Several groups at once (225)."""

    group_config_list: Annotated[list[SubscriptionGroupConfig], Items(10_000)] = field(default_factory=list)


class GroupList(Bean):
    """Groups that consume a topic (300)."""

    group_list: list[str] = field(default_factory=list)


class GroupForbidden(Bean):
    """Whether a group may read a topic (353)."""

    group: str
    topic: str
    readable: bool | None = None


class QuerySubscriptionResponseBody(Bean):
    """Subscription of a group to a topic (345)."""

    group: str
    topic: str
    subscription_data: SubscriptionData | None = None


class OffsetWrapper(Bean):
    """Progress of a group on one queue."""

    broker_offset: int = 0
    consumer_offset: int = 0
    pull_offset: int = 0
    last_timestamp: int = 0


class ConsumeStats(Bean):
    """Progress of a group on one broker (208)."""

    offset_table: dict[MessageQueue, OffsetWrapper] = field(default_factory=dict)
    consume_tps: float = 0.0


class ConsumeStatsList(Bean):
    """Progress of all groups of a broker (317)."""

    broker_addr: str | None = None
    total_diff: int = 0
    total_inflight_diff: int = 0
    consume_stats_list: list[dict[str, list[ConsumeStats]]] = field(default_factory=list)


class ConsumerOffsetWrapper(Bean):
    """All committed offsets of a broker (43): `topic@group` → queue id → offset; from 5.x also how far was pulled, and topics by group."""

    offset_table: dict[str, dict[int, int]] = field(default_factory=dict)
    data_version: DataVersion | None = None
    pull_offset_table: dict[str, dict[int, int]] | None = None
    group_topic_map: dict[str, list[str]] | None = None


class DelayOffsetWrapper(Bean):
    """Progress of a broker's delay levels (45): level → offset."""

    offset_table: dict[int, int] = field(default_factory=dict)
    data_version: DataVersion | None = None


class QueueTimeSpan(Bean):
    """Times of one queue, milliseconds since the epoch."""

    message_queue: MessageQueue
    min_time_stamp: int = 0
    max_time_stamp: int = 0
    consume_time_stamp: int = 0
    delay_time: int = 0


class QueryConsumeTimeSpanBody(Bean):
    """How old the messages are that a group works on (303)."""

    consume_time_span_set: list[QueueTimeSpan] = field(default_factory=list)


class QueryCorrectionOffsetBody(Bean):
    """Smallest offsets of a topic over groups (308): queue id → offset."""

    correction_offsets: dict[int, int] = field(default_factory=dict)


# --- connections ----------------------------------------------------------------------------------------------------------------------


class ProducerConnection(Bean):
    """Members of a producer group (204)."""

    connection_set: list[Connection] = field(default_factory=list)


class ProducerInfo(Bean):
    """One producer."""

    client_id: str = ""
    remote_ip: str = wire("remoteIP", default="")
    language: str = "JAVA"
    version: int = 0
    last_update_timestamp: int = 0


class ProducerTableInfo(Bean):
    """All producers of a broker, by group (328)."""

    data: dict[str, list[ProducerInfo]] = field(default_factory=dict)


# --- statistics -----------------------------------------------------------------------------------------------------------------------


class BrokerStatsItem(Bean):
    """Sum, rate per second, and average per call over one span."""

    sum: int = 0
    tps: float = 0.0
    avgpt: float = 0.0


class BrokerStatsData(Bean):
    """One statistic of a broker (315)."""

    stats_minute: BrokerStatsItem = field(default_factory=BrokerStatsItem)
    stats_hour: BrokerStatsItem = field(default_factory=BrokerStatsItem)
    stats_day: BrokerStatsItem = field(default_factory=BrokerStatsItem)
