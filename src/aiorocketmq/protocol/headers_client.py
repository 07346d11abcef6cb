"""Custom headers of clients: send, pull, offsets, routes, registration, locks, transactions, and what brokers ask of clients.

Java: the classes of the same names in `org.apache.rocketmq.remoting.protocol.header`. Requests without a header of their own
(heartbeat, locks) use `RpcHeader`.
"""

from __future__ import annotations

from typing import ClassVar

from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import Header, RpcHeader, TopicHeader, wire
from aiorocketmq.protocol.limits import (
    Address,
    AnyOffset,
    AnyQueueId,
    ClientId,
    Count,
    Expression,
    Int32,
    Int64,
    Name,
    Offset,
    OptionalName,
    PropertiesText,
    QueueId,
    Word,
)

# --- send -------------------------------------------------------------------------------------------------------------------------


class SendMessageRequestHeader(TopicHeader):
    """A send with long names (10; replies: 324)."""

    CODE: ClassVar[int | None] = RequestCode.SEND_MESSAGE

    producer_group: OptionalName
    topic: Name
    default_topic: OptionalName
    default_topic_queue_nums: Int32
    queue_id: Int32
    sys_flag: Int32
    born_timestamp: Int64
    flag: Int32
    properties: PropertiesText | None = None
    reconsume_times: Count | None = None
    unit_mode: bool | None = None
    batch: bool | None = None
    max_reconsume_times: Int32 | None = None

    def to_v2(self) -> SendMessageRequestHeaderV2:
        """The same header with short names."""
        return SendMessageRequestHeaderV2(
            self.producer_group,
            self.topic,
            self.default_topic,
            self.default_topic_queue_nums,
            self.queue_id,
            self.sys_flag,
            self.born_timestamp,
            self.flag,
            self.properties,
            self.reconsume_times,
            self.unit_mode,
            self.max_reconsume_times,
            self.batch,
            self.bname,
            ns=self.ns,
            nsd=self.nsd,
            oway=self.oway,
            lo=self.lo,
        )


class SendMessageRequestHeaderV2(TopicHeader):
    """A send with one-letter names (310; batches: 320; replies: 325). The broker name is field `n`, not `bname`."""

    CODE: ClassVar[int | None] = RequestCode.SEND_MESSAGE_V2

    producer_group: OptionalName = wire("a")
    topic: Name = wire("b")
    default_topic: OptionalName = wire("c")
    default_topic_queue_nums: Int32 = wire("d")
    queue_id: Int32 = wire("e")
    sys_flag: Int32 = wire("f")
    born_timestamp: Int64 = wire("g")
    flag: Int32 = wire("h")
    properties: PropertiesText | None = wire("i", default=None)
    reconsume_times: Count | None = wire("j", default=None)
    unit_mode: bool | None = wire("k", default=None)
    max_reconsume_times: Int32 | None = wire("l", default=None)
    batch: bool | None = wire("m", default=None)
    broker_name: OptionalName | None = wire("n", default=None)

    def to_v1(self) -> SendMessageRequestHeader:
        """The same header with long names."""
        return SendMessageRequestHeader(
            self.producer_group,
            self.topic,
            self.default_topic,
            self.default_topic_queue_nums,
            self.queue_id,
            self.sys_flag,
            self.born_timestamp,
            self.flag,
            self.properties,
            self.reconsume_times,
            self.unit_mode,
            self.batch,
            self.max_reconsume_times,
            bname=self.broker_name or self.bname,
            ns=self.ns,
            nsd=self.nsd,
            oway=self.oway,
            lo=self.lo,
        )


class SendMessageResponseHeader(Header):
    """Answer to every kind of send. `msg_id` is the offset message id; for a batch several, joined by commas."""

    msg_id: str
    queue_id: int
    queue_offset: int
    transaction_id: str | None = None
    batch_uniq_id: str | None = None
    recall_handle: str | None = None
    region_id: str | None = wire("MSG_REGION", default=None)
    trace_on: str | None = wire("TRACE_ON", default=None)


class ConsumerSendMsgBackRequestHeader(RpcHeader):
    """Give a message back for a retry (36). `offset` is its commit-log offset; delay level 0 lets the broker choose, -1 means DLQ."""

    CODE: ClassVar[int | None] = RequestCode.CONSUMER_SEND_MSG_BACK

    offset: Offset
    group: Name
    delay_level: Int32
    origin_msg_id: Word | None = None
    origin_topic: OptionalName | None = None
    unit_mode: bool = False
    max_reconsume_times: Int32 | None = None


class RecallMessageRequestHeader(TopicHeader):
    """Take a timer message back (370)."""

    CODE: ClassVar[int | None] = RequestCode.RECALL_MESSAGE

    topic: Name
    recall_handle: Word
    producer_group: OptionalName | None = None


class RecallMessageResponseHeader(Header):
    """Answer to 370: the unique id of the recalled message."""

    msg_id: str


# --- pull and offsets ---------------------------------------------------------------------------------------------------------------


class PullMessageRequestHeader(TopicHeader):
    """Pull from one queue (11; lite pull: 361). `suspend_timeout_millis` counts when the SUSPEND bit of `sys_flag` is set."""

    CODE: ClassVar[int | None] = RequestCode.PULL_MESSAGE

    consumer_group: Name
    topic: Name
    queue_id: QueueId
    queue_offset: Int64
    max_msg_nums: Int32
    sys_flag: Int32
    commit_offset: Int64
    suspend_timeout_millis: Int64
    sub_version: Int64
    subscription: Expression | None = None
    expression_type: OptionalName | None = None
    max_msg_bytes: Int32 | None = None
    request_source: Int32 | None = None
    proxy_froward_client_id: ClientId | None = None


class PullMessageResponseHeader(Header):
    """Answer to a pull that was found, not found, or moved; error answers carry no header."""

    suggest_which_broker_id: int
    next_begin_offset: int
    min_offset: int
    max_offset: int
    offset_delta: int | None = None
    topic_sys_flag: int | None = None
    group_sys_flag: int | None = None
    forbidden_type: int | None = None


class QueryConsumerOffsetRequestHeader(TopicHeader):
    """Ask for the committed offset of a group on one queue (14)."""

    CODE: ClassVar[int | None] = RequestCode.QUERY_CONSUMER_OFFSET

    consumer_group: Name
    topic: Name
    queue_id: QueueId
    set_zero_if_not_found: bool | None = None


class QueryConsumerOffsetResponseHeader(Header):
    """Answer to 14 with code 0; code 22 says that there is no offset."""

    offset: int


class UpdateConsumerOffsetRequestHeader(TopicHeader):
    """Commit the offset of a group on one queue (15)."""

    CODE: ClassVar[int | None] = RequestCode.UPDATE_CONSUMER_OFFSET

    consumer_group: Name
    topic: Name
    queue_id: QueueId
    commit_offset: AnyOffset


class SearchOffsetRequestHeader(TopicHeader):
    """Find the offset by store time, milliseconds (29). `boundary_type` is `LOWER` (default) or `UPPER`."""

    CODE: ClassVar[int | None] = RequestCode.SEARCH_OFFSET_BY_TIMESTAMP

    topic: Name
    queue_id: QueueId
    timestamp: Int64
    boundary_type: OptionalName | None = None


class SearchOffsetResponseHeader(Header):
    """Answer to 29."""

    offset: int


class GetMaxOffsetRequestHeader(TopicHeader):
    """Ask for the next offset to be written (30)."""

    CODE: ClassVar[int | None] = RequestCode.GET_MAX_OFFSET

    topic: Name
    queue_id: QueueId
    committed: bool = True


class GetMaxOffsetResponseHeader(Header):
    """Answer to 30."""

    offset: int


class GetMinOffsetRequestHeader(TopicHeader):
    """Ask for the smallest offset that is still stored (31)."""

    CODE: ClassVar[int | None] = RequestCode.GET_MIN_OFFSET

    topic: Name
    queue_id: QueueId


class GetMinOffsetResponseHeader(Header):
    """Answer to 31."""

    offset: int


class GetEarliestMsgStoretimeRequestHeader(TopicHeader):
    """Ask for the store time of the oldest message (32)."""

    CODE: ClassVar[int | None] = RequestCode.GET_EARLIEST_MSG_STORETIME

    topic: Name
    queue_id: QueueId


class GetEarliestMsgStoretimeResponseHeader(Header):
    """Answer to 32: milliseconds since the epoch, -1 for an empty queue."""

    timestamp: int


class ViewMessageRequestHeader(Header):
    """Fetch one message by its commit-log offset (33)."""

    CODE: ClassVar[int | None] = RequestCode.VIEW_MESSAGE_BY_ID

    offset: Offset
    topic: OptionalName | None = None


class QueryMessageRequestHeader(TopicHeader):
    """Find messages by key (12); `unique_key_query` asks for a unique id instead of a key (leave it out when requests are signed)."""

    CODE: ClassVar[int | None] = RequestCode.QUERY_MESSAGE

    topic: Name
    key: Word
    max_num: Int32
    begin_timestamp: Int64
    end_timestamp: Int64
    unique_key_query: bool | None = wire("_UNIQUE_KEY_QUERY", default=None)
    index_type: OptionalName | None = None
    last_key: Word | None = None


class QueryMessageResponseHeader(Header):
    """Answer to 12."""

    index_last_update_timestamp: int
    index_last_update_phyoffset: int


# --- routes and registration ----------------------------------------------------------------------------------------------------------


class GetRouteInfoRequestHeader(TopicHeader):
    """Ask a name server for the route of a topic (105). In zone mode it leaves out the brokers of other zones that have a master."""

    CODE: ClassVar[int | None] = RequestCode.GET_ROUTEINFO_BY_TOPIC

    topic: Name
    accept_standard_json_only: bool | None = None
    zone_name: OptionalName | None = wire("__ZONE_NAME", default=None)
    zone_mode: bool | None = wire("__ZONE_MODE", default=None)


class HeartbeatResponseHeader(Header):
    """Answer to a heartbeat (34); the broker's version is the `version` of the answer itself."""

    supports_v2: bool | None = wire("IS_SUPPORT_HEART_BEAT_V2", default=None)
    subscription_changed: bool | None = wire("IS_SUB_CHANGE", default=None)


class UnregisterClientRequestHeader(RpcHeader):
    """Say goodbye for a producer group or a consumer group (35)."""

    CODE: ClassVar[int | None] = RequestCode.UNREGISTER_CLIENT

    client_id: ClientId = wire("clientID")
    producer_group: OptionalName | None = None
    consumer_group: OptionalName | None = None


class GetConsumerListByGroupRequestHeader(RpcHeader):
    """Ask for the client ids of a group (38)."""

    CODE: ClassVar[int | None] = RequestCode.GET_CONSUMER_LIST_BY_GROUP

    consumer_group: Name


class GetConsumerConnectionListRequestHeader(RpcHeader):
    """Ask for the members of a consumer group (203)."""

    CODE: ClassVar[int | None] = RequestCode.GET_CONSUMER_CONNECTION_LIST

    consumer_group: Name


# --- transactions -----------------------------------------------------------------------------------------------------------------------


class EndTransactionRequestHeader(RpcHeader):
    """Commit (8), roll back (12) or leave open (0) a half message (37)."""

    CODE: ClassVar[int | None] = RequestCode.END_TRANSACTION

    producer_group: OptionalName
    tran_state_table_offset: Offset
    commit_log_offset: Offset
    commit_or_rollback: Int32
    msg_id: Word
    from_transaction_check: bool = False
    transaction_id: Word | None = None
    topic: OptionalName | None = None


class CheckTransactionStateRequestHeader(RpcHeader):
    """The broker asks how a transaction ended (39)."""

    CODE: ClassVar[int | None] = RequestCode.CHECK_TRANSACTION_STATE

    tran_state_table_offset: Offset
    commit_log_offset: Offset
    msg_id: Word | None = None
    transaction_id: Word | None = None
    offset_msg_id: Word | None = None
    topic: OptionalName | None = None


# --- requests of a broker to its clients --------------------------------------------------------------------------------------------


class NotifyConsumerIdsChangedRequestHeader(RpcHeader):
    """The members of a group changed (40)."""

    CODE: ClassVar[int | None] = RequestCode.NOTIFY_CONSUMER_IDS_CHANGED

    consumer_group: Name


class ResetOffsetRequestHeader(TopicHeader):
    """Reset offsets: asked of a client (220) or of a broker (222); all queues when `queue_id` is -1."""

    CODE: ClassVar[int | None] = RequestCode.RESET_CONSUMER_CLIENT_OFFSET

    topic: Name
    group: Name
    timestamp: Int64
    is_force: bool
    queue_id: AnyQueueId = -1
    offset: Int64 | None = None


class GetConsumerStatusRequestHeader(TopicHeader):
    """Ask for the offsets of clients: asked of a client (221) or of a broker (223)."""

    CODE: ClassVar[int | None] = RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT

    topic: Name
    group: Name
    client_addr: Word | None = None


class GetConsumerRunningInfoRequestHeader(RpcHeader):
    """Ask for the inner state of a consumer (307)."""

    CODE: ClassVar[int | None] = RequestCode.GET_CONSUMER_RUNNING_INFO

    consumer_group: Name
    client_id: ClientId
    jstack_enable: bool | None = None


class ConsumeMessageDirectlyResultRequestHeader(TopicHeader):
    """Make one consumer consume one message (309)."""

    CODE: ClassVar[int | None] = RequestCode.CONSUME_MESSAGE_DIRECTLY

    consumer_group: Name
    client_id: ClientId | None = None
    msg_id: Word | None = None
    broker_name: OptionalName | None = None
    topic: OptionalName | None = None
    topic_sys_flag: Int32 | None = None
    group_sys_flag: Int32 | None = None


class ReplyMessageRequestHeader(TopicHeader):
    """A reply that the broker hands to the requester (326); hosts are `ip:port`."""

    CODE: ClassVar[int | None] = RequestCode.PUSH_REPLY_MESSAGE_TO_CLIENT

    producer_group: OptionalName
    topic: Name
    default_topic: OptionalName
    default_topic_queue_nums: Int32
    queue_id: Int32
    sys_flag: Int32
    born_timestamp: Int64
    flag: Int32
    born_host: Address
    store_host: Address
    store_timestamp: Int64
    properties: PropertiesText | None = None
    reconsume_times: Count | None = None
    unit_mode: bool = False
