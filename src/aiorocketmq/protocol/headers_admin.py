"""Custom headers of administration: name server, topics, groups, messages, brokers.

Java: the classes of the same names in `org.apache.rocketmq.remoting.protocol.header` and `...header.namesrv`. Headers that brokers and
clients share (reset offset, running info) are in `headers_client`.
"""

from __future__ import annotations

from typing import ClassVar

from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import Header, RpcHeader, TopicHeader, wire
from aiorocketmq.protocol.limits import (
    Address,
    BrokerId,
    Count,
    Duration,
    Int32,
    Int64,
    Name,
    Names,
    Offset,
    OptionalName,
    Permissions,
    QueueCount,
    QueueId,
    Value,
    Word,
)

# --- name server ------------------------------------------------------------------------------------------------------------------


class PutKVConfigRequestHeader(Header):
    """Set a value in a name server's table (100)."""

    CODE: ClassVar[int | None] = RequestCode.PUT_KV_CONFIG

    namespace: Word
    key: Word
    value: Value


class GetKVConfigRequestHeader(Header):
    """Ask for a value of a name server's table (101)."""

    CODE: ClassVar[int | None] = RequestCode.GET_KV_CONFIG

    namespace: Word
    key: Word


class GetKVConfigResponseHeader(Header):
    """Answer to 101; code 22 says that there is none."""

    value: str | None = None


class DeleteKVConfigRequestHeader(Header):
    """Delete a value of a name server's table (102)."""

    CODE: ClassVar[int | None] = RequestCode.DELETE_KV_CONFIG

    namespace: Word
    key: Word


class GetKVListByNamespaceRequestHeader(Header):
    """Ask for all values of a namespace (219)."""

    CODE: ClassVar[int | None] = RequestCode.GET_KVLIST_BY_NAMESPACE

    namespace: Word


class RegisterBrokerRequestHeader(Header):
    """A broker tells a name server of itself (103). `body_crc32` is CRC32 of the body, 31 bits, 0 to skip the check."""

    CODE: ClassVar[int | None] = RequestCode.REGISTER_BROKER

    broker_name: Name
    broker_addr: Address
    cluster_name: Name
    ha_server_addr: Address
    broker_id: BrokerId
    heartbeat_timeout_millis: Duration | None = None
    enable_acting_master: bool | None = None
    compressed: bool = False
    body_crc32: Count = 0
    zone_name: OptionalName | None = wire("__ZONE_NAME", default=None)


class RegisterBrokerResponseHeader(Header):
    """Answer to 103: for a slave the addresses of its master."""

    ha_server_addr: Word | None = None
    master_addr: Word | None = None


class UnRegisterBrokerRequestHeader(Header):
    """A broker leaves (104)."""

    CODE: ClassVar[int | None] = RequestCode.UNREGISTER_BROKER

    broker_name: Name
    broker_addr: Address
    cluster_name: Name
    broker_id: BrokerId


class QueryDataVersionRequestHeader(Header):
    """A broker asks whether its topics changed; counts as a sign of life (322)."""

    CODE: ClassVar[int | None] = RequestCode.QUERY_DATA_VERSION

    broker_name: Name
    broker_addr: Address
    cluster_name: Name
    broker_id: BrokerId


class QueryDataVersionResponseHeader(Header):
    """Answer to 322."""

    changed: bool


class BrokerHeartbeatRequestHeader(Header):
    """Sign of life of a broker (904)."""

    CODE: ClassVar[int | None] = RequestCode.BROKER_HEARTBEAT

    cluster_name: Name
    broker_addr: Address
    broker_name: Name
    broker_id: BrokerId | None = None
    epoch: Int32 | None = None
    max_offset: Int64 | None = None
    confirm_offset: Int64 | None = None
    heartbeat_timeout_mills: Duration | None = None
    election_priority: Int32 | None = None


class GetBrokerMemberGroupRequestHeader(Header):
    """Ask for the members of a broker name (901)."""

    CODE: ClassVar[int | None] = RequestCode.GET_BROKER_MEMBER_GROUP

    cluster_name: Name
    broker_name: Name


class NotifyMinBrokerIdChangeRequestHeader(Header):
    """The acting master changed (905)."""

    CODE: ClassVar[int | None] = RequestCode.NOTIFY_MIN_BROKER_ID_CHANGE

    min_broker_id: Int64 | None = None
    broker_name: OptionalName | None = None
    min_broker_addr: Word | None = None
    offline_broker_addr: Word | None = None
    ha_broker_addr: Word | None = None


class WipeWritePermOfBrokerRequestHeader(Header):
    """Take the write permission of all topics of a broker (205)."""

    CODE: ClassVar[int | None] = RequestCode.WIPE_WRITE_PERM_OF_BROKER

    broker_name: Name


class WipeWritePermOfBrokerResponseHeader(Header):
    """Answer to 205."""

    wipe_topic_count: int


class AddWritePermOfBrokerRequestHeader(Header):
    """Give the write permission back (327)."""

    CODE: ClassVar[int | None] = RequestCode.ADD_WRITE_PERM_OF_BROKER

    broker_name: Name


class AddWritePermOfBrokerResponseHeader(Header):
    """Answer to 327."""

    add_topic_count: int


class GetTopicsByClusterRequestHeader(Header):
    """Ask for the topics of a cluster (224)."""

    CODE: ClassVar[int | None] = RequestCode.GET_TOPICS_BY_CLUSTER

    cluster: Name


class DeleteTopicFromNamesrvRequestHeader(TopicHeader):
    """Delete a topic from a name server's routes (216)."""

    CODE: ClassVar[int | None] = RequestCode.DELETE_TOPIC_IN_NAMESRV

    topic: Name
    cluster_name: OptionalName | None = None


class RegisterTopicRequestHeader(TopicHeader):
    """Register one topic; the body is a route (217)."""

    CODE: ClassVar[int | None] = RequestCode.REGISTER_TOPIC_IN_NAMESRV

    topic: Name


# --- topics -----------------------------------------------------------------------------------------------------------------------


class CreateTopicRequestHeader(TopicHeader):
    """Create or change a topic on a broker (17; static topics: 513). `attributes` is `+name=value,-name`."""

    CODE: ClassVar[int | None] = RequestCode.UPDATE_AND_CREATE_TOPIC

    topic: Name
    default_topic: Name
    read_queue_nums: QueueCount
    write_queue_nums: QueueCount
    perm: Permissions
    topic_filter_type: OptionalName = "SINGLE_TAG"
    topic_sys_flag: Int32 | None = None
    order: bool = False
    attributes: Word | None = None
    force: bool | None = None


class DeleteTopicRequestHeader(TopicHeader):
    """Delete a topic on a broker (215)."""

    CODE: ClassVar[int | None] = RequestCode.DELETE_TOPIC_IN_BROKER

    topic: Name


class GetTopicConfigRequestHeader(TopicHeader):
    """Ask for the settings of a topic (351); send `lo=True`."""

    CODE: ClassVar[int | None] = RequestCode.GET_TOPIC_CONFIG

    topic: Name


class GetAllTopicConfigRequestHeader(Header):
    """Ask for the settings of all topics, in pages (21)."""

    CODE: ClassVar[int | None] = RequestCode.GET_ALL_TOPIC_CONFIG

    topic_seq: Int32 = 0
    data_version: Word | None = None
    max_topic_num: Int32 | None = None


class GetAllTopicConfigResponseHeader(Header):
    """Answer to 21 of a broker that knows pages (5.4 and newer)."""

    total_topic_num: int | None = None


class GetTopicStatsInfoRequestHeader(TopicHeader):
    """Ask for the state of a topic's queues (202)."""

    CODE: ClassVar[int | None] = RequestCode.GET_TOPIC_STATS_INFO

    topic: Name


class QueryTopicConsumeByWhoRequestHeader(TopicHeader):
    """Ask for the groups that consume a topic (300)."""

    CODE: ClassVar[int | None] = RequestCode.QUERY_TOPIC_CONSUME_BY_WHO

    topic: Name


class QueryTopicsByConsumerRequestHeader(RpcHeader):
    """Ask for the topics that a group has offsets of (343)."""

    CODE: ClassVar[int | None] = RequestCode.QUERY_TOPICS_BY_CONSUMER

    group: Name


class QuerySubscriptionByConsumerRequestHeader(TopicHeader):
    """Ask for the subscription of a group to a topic (345)."""

    CODE: ClassVar[int | None] = RequestCode.QUERY_SUBSCRIPTION_BY_CONSUMER

    group: Name
    topic: OptionalName | None = None


class QueryConsumeTimeSpanRequestHeader(TopicHeader):
    """Ask how old the messages are that a group works on (303)."""

    CODE: ClassVar[int | None] = RequestCode.QUERY_CONSUME_TIME_SPAN

    topic: Name
    group: Name


class QueryCorrectionOffsetHeader(TopicHeader):
    """Ask for the smallest offsets over groups (308)."""

    CODE: ClassVar[int | None] = RequestCode.QUERY_CORRECTION_OFFSET

    compare_group: Name
    topic: Name
    filter_groups: Names | None = None


# --- groups -----------------------------------------------------------------------------------------------------------------------


class GetAllSubscriptionGroupRequestHeader(Header):
    """Ask for the settings of all groups, in pages (201)."""

    CODE: ClassVar[int | None] = RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG

    group_seq: Int32 = 0
    data_version: Word | None = None
    max_group_num: Int32 | None = None


class GetAllSubscriptionGroupResponseHeader(Header):
    """Answer to 201 of a broker that knows pages."""

    total_group_num: int | None = None


class GetSubscriptionGroupConfigRequestHeader(RpcHeader):
    """Ask for the settings of a group (352)."""

    CODE: ClassVar[int | None] = RequestCode.GET_SUBSCRIPTIONGROUP_CONFIG

    group: Name


class DeleteSubscriptionGroupRequestHeader(RpcHeader):
    """Delete a group, and its offsets when wanted (207).

    Attributes:
        group_name: The group.
        clean_offset: Delete its offsets too, as 5.x reads it.
        remove_offset: The same as 4.x reads it; each ignores the other's field, so a request to either has both.
    """

    CODE: ClassVar[int | None] = RequestCode.DELETE_SUBSCRIPTIONGROUP

    group_name: Name
    clean_offset: bool = False
    remove_offset: bool = False


class UpdateGroupForbiddenRequestHeader(TopicHeader):
    """Allow or forbid a group to read a topic; ask only, when `readable` is None (353)."""

    CODE: ClassVar[int | None] = RequestCode.UPDATE_AND_GET_GROUP_FORBIDDEN

    group: Name
    topic: Name
    readable: bool | None = None


class GetProducerConnectionListRequestHeader(RpcHeader):
    """Ask for the members of a producer group (204)."""

    CODE: ClassVar[int | None] = RequestCode.GET_PRODUCER_CONNECTION_LIST

    producer_group: Name


class GetConsumeStatsRequestHeader(TopicHeader):
    """Ask for the progress of a group (208); `topic_list` is joined by `;`."""

    CODE: ClassVar[int | None] = RequestCode.GET_CONSUME_STATS

    consumer_group: Name
    topic: OptionalName | None = None
    topic_list: Names | None = None


class GetConsumeStatsInBrokerHeader(Header):
    """Ask for the progress of all groups (317)."""

    CODE: ClassVar[int | None] = RequestCode.GET_BROKER_CONSUME_STATS

    is_order: bool


class CloneGroupOffsetRequestHeader(RpcHeader):
    """Copy the offsets of a group (314)."""

    CODE: ClassVar[int | None] = RequestCode.CLONE_GROUP_OFFSET

    src_group: Name
    dest_group: Name
    topic: OptionalName | None = None
    offline: bool | None = None


# --- messages and brokers ---------------------------------------------------------------------------------------------------------


class QueryConsumeQueueRequestHeader(TopicHeader):
    """Read entries of a queue's index (321)."""

    CODE: ClassVar[int | None] = RequestCode.QUERY_CONSUME_QUEUE

    topic: OptionalName | None = None
    queue_id: QueueId | None = None
    index: Offset | None = None
    count: Int32 | None = None
    consumer_group: OptionalName | None = None


class ResumeCheckHalfMessageRequestHeader(Header):
    """Let a given-up half message be checked again (323); `msg_id` is its offset id."""

    CODE: ClassVar[int | None] = RequestCode.RESUME_CHECK_HALF_MESSAGE

    topic: OptionalName | None = None
    msg_id: Word | None = None


class GetBrokerConfigResponseHeader(Header):
    """Answer to 26: version of the settings, as JSON."""

    version: str | None = None


class ViewBrokerStatsDataRequestHeader(Header):
    """Ask for one statistic (315)."""

    CODE: ClassVar[int | None] = RequestCode.VIEW_BROKER_STATS_DATA

    stats_name: OptionalName
    stats_key: Word
