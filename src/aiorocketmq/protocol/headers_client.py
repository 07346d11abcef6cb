"""Custom headers of clients: send, pull, offsets, routes, registration, locks, transactions, and what brokers ask of clients.

Java: the classes of the same names in `org.apache.rocketmq.remoting.protocol.header`. Requests without a header of their own
(heartbeat, locks) use `RpcHeader`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import Header, RpcHeader, TopicHeader, wire

# --- send -------------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True, repr=False, eq=False)
class SendMessageRequestHeader(TopicHeader):
    """A send with long names (10; replies: 324)."""

    CODE: ClassVar[int | None] = RequestCode.SEND_MESSAGE

    producer_group: str
    topic: str
    default_topic: str
    default_topic_queue_nums: int
    queue_id: int
    sys_flag: int
    born_timestamp: int
    flag: int
    properties: str | None = None
    reconsume_times: int | None = None
    unit_mode: bool | None = None
    batch: bool | None = None
    max_reconsume_times: int | None = None

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


@dataclass(slots=True, repr=False, eq=False)
class SendMessageRequestHeaderV2(TopicHeader):
    """A send with one-letter names (310; batches: 320; replies: 325). The broker name is field `n`, not `bname`."""

    CODE: ClassVar[int | None] = RequestCode.SEND_MESSAGE_V2

    producer_group: str = wire("a")
    topic: str = wire("b")
    default_topic: str = wire("c")
    default_topic_queue_nums: int = wire("d")
    queue_id: int = wire("e")
    sys_flag: int = wire("f")
    born_timestamp: int = wire("g")
    flag: int = wire("h")
    properties: str | None = wire("i", None)
    reconsume_times: int | None = wire("j", None)
    unit_mode: bool | None = wire("k", None)
    max_reconsume_times: int | None = wire("l", None)
    batch: bool | None = wire("m", None)
    broker_name: str | None = wire("n", None)

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


@dataclass(slots=True, repr=False, eq=False)
class SendMessageResponseHeader(Header):
    """Answer to every kind of send. `msg_id` is the offset message id; for a batch several, joined by commas."""

    msg_id: str
    queue_id: int
    queue_offset: int
    transaction_id: str | None = None
    batch_uniq_id: str | None = None
    recall_handle: str | None = None
    region_id: str | None = wire("MSG_REGION", None)
    trace_on: str | None = wire("TRACE_ON", None)


@dataclass(slots=True, repr=False, eq=False)
class ConsumerSendMsgBackRequestHeader(RpcHeader):
    """Give a message back for a retry (36). `offset` is its commit-log offset; delay level 0 lets the broker choose, -1 means DLQ."""

    CODE: ClassVar[int | None] = RequestCode.CONSUMER_SEND_MSG_BACK

    offset: int
    group: str
    delay_level: int
    origin_msg_id: str | None = None
    origin_topic: str | None = None
    unit_mode: bool = False
    max_reconsume_times: int | None = None


@dataclass(slots=True, repr=False, eq=False)
class RecallMessageRequestHeader(TopicHeader):
    """Take a timer message back (370)."""

    CODE: ClassVar[int | None] = RequestCode.RECALL_MESSAGE

    topic: str
    recall_handle: str
    producer_group: str | None = None


@dataclass(slots=True, repr=False, eq=False)
class RecallMessageResponseHeader(Header):
    """Answer to 370: the unique id of the recalled message."""

    msg_id: str


# --- pull and offsets ---------------------------------------------------------------------------------------------------------------


@dataclass(slots=True, repr=False, eq=False)
class PullMessageRequestHeader(TopicHeader):
    """Pull from one queue (11; lite pull: 361). `suspend_timeout_millis` counts when the SUSPEND bit of `sys_flag` is set."""

    CODE: ClassVar[int | None] = RequestCode.PULL_MESSAGE

    consumer_group: str
    topic: str
    queue_id: int
    queue_offset: int
    max_msg_nums: int
    sys_flag: int
    commit_offset: int
    suspend_timeout_millis: int
    sub_version: int
    subscription: str | None = None
    expression_type: str | None = None
    max_msg_bytes: int | None = None
    request_source: int | None = None
    proxy_froward_client_id: str | None = None


@dataclass(slots=True, repr=False, eq=False)
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


@dataclass(slots=True, repr=False, eq=False)
class QueryConsumerOffsetRequestHeader(TopicHeader):
    """Ask for the committed offset of a group on one queue (14)."""

    CODE: ClassVar[int | None] = RequestCode.QUERY_CONSUMER_OFFSET

    consumer_group: str
    topic: str
    queue_id: int
    set_zero_if_not_found: bool | None = None


@dataclass(slots=True, repr=False, eq=False)
class QueryConsumerOffsetResponseHeader(Header):
    """Answer to 14 with code 0; code 22 says that there is no offset."""

    offset: int


@dataclass(slots=True, repr=False, eq=False)
class UpdateConsumerOffsetRequestHeader(TopicHeader):
    """Commit the offset of a group on one queue (15)."""

    CODE: ClassVar[int | None] = RequestCode.UPDATE_CONSUMER_OFFSET

    consumer_group: str
    topic: str
    queue_id: int
    commit_offset: int


@dataclass(slots=True, repr=False, eq=False)
class SearchOffsetRequestHeader(TopicHeader):
    """Find the offset by store time, milliseconds (29). `boundary_type` is `LOWER` (default) or `UPPER`."""

    CODE: ClassVar[int | None] = RequestCode.SEARCH_OFFSET_BY_TIMESTAMP

    topic: str
    queue_id: int
    timestamp: int
    boundary_type: str | None = None


@dataclass(slots=True, repr=False, eq=False)
class SearchOffsetResponseHeader(Header):
    """Answer to 29."""

    offset: int


@dataclass(slots=True, repr=False, eq=False)
class GetMaxOffsetRequestHeader(TopicHeader):
    """Ask for the next offset to be written (30)."""

    CODE: ClassVar[int | None] = RequestCode.GET_MAX_OFFSET

    topic: str
    queue_id: int
    committed: bool = True


@dataclass(slots=True, repr=False, eq=False)
class GetMaxOffsetResponseHeader(Header):
    """Answer to 30."""

    offset: int


@dataclass(slots=True, repr=False, eq=False)
class GetMinOffsetRequestHeader(TopicHeader):
    """Ask for the smallest offset that is still stored (31)."""

    CODE: ClassVar[int | None] = RequestCode.GET_MIN_OFFSET

    topic: str
    queue_id: int


@dataclass(slots=True, repr=False, eq=False)
class GetMinOffsetResponseHeader(Header):
    """Answer to 31."""

    offset: int


@dataclass(slots=True, repr=False, eq=False)
class GetEarliestMsgStoretimeRequestHeader(TopicHeader):
    """Ask for the store time of the oldest message (32)."""

    CODE: ClassVar[int | None] = RequestCode.GET_EARLIEST_MSG_STORETIME

    topic: str
    queue_id: int


@dataclass(slots=True, repr=False, eq=False)
class GetEarliestMsgStoretimeResponseHeader(Header):
    """Answer to 32: milliseconds since the epoch, -1 for an empty queue."""

    timestamp: int


@dataclass(slots=True, repr=False, eq=False)
class ViewMessageRequestHeader(Header):
    """Fetch one message by its commit-log offset (33)."""

    CODE: ClassVar[int | None] = RequestCode.VIEW_MESSAGE_BY_ID

    offset: int
    topic: str | None = None


@dataclass(slots=True, repr=False, eq=False)
class QueryMessageRequestHeader(TopicHeader):
    """Find messages by key (12); `unique_key_query` asks for a unique id instead of a key (leave it out when requests are signed)."""

    CODE: ClassVar[int | None] = RequestCode.QUERY_MESSAGE

    topic: str
    key: str
    max_num: int
    begin_timestamp: int
    end_timestamp: int
    unique_key_query: bool | None = wire("_UNIQUE_KEY_QUERY", None)
    index_type: str | None = None
    last_key: str | None = None


@dataclass(slots=True, repr=False, eq=False)
class QueryMessageResponseHeader(Header):
    """Answer to 12."""

    index_last_update_timestamp: int
    index_last_update_phyoffset: int


# --- routes and registration ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, repr=False, eq=False)
class GetRouteInfoRequestHeader(TopicHeader):
    """Ask a name server for the route of a topic (105)."""

    CODE: ClassVar[int | None] = RequestCode.GET_ROUTEINFO_BY_TOPIC

    topic: str
    accept_standard_json_only: bool | None = None


@dataclass(slots=True, repr=False, eq=False)
class HeartbeatResponseHeader(Header):
    """Answer to a heartbeat (34); the broker's version is the `version` of the answer itself."""

    supports_v2: bool | None = wire("IS_SUPPORT_HEART_BEAT_V2", None)
    subscription_changed: bool | None = wire("IS_SUB_CHANGE", None)


@dataclass(slots=True, repr=False, eq=False)
class UnregisterClientRequestHeader(RpcHeader):
    """Say goodbye for a producer group or a consumer group (35)."""

    CODE: ClassVar[int | None] = RequestCode.UNREGISTER_CLIENT

    client_id: str = wire("clientID")
    producer_group: str | None = None
    consumer_group: str | None = None


@dataclass(slots=True, repr=False, eq=False)
class GetConsumerListByGroupRequestHeader(RpcHeader):
    """Ask for the client ids of a group (38)."""

    CODE: ClassVar[int | None] = RequestCode.GET_CONSUMER_LIST_BY_GROUP

    consumer_group: str


# --- transactions -----------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True, repr=False, eq=False)
class EndTransactionRequestHeader(RpcHeader):
    """Commit (8), roll back (12) or leave open (0) a half message (37)."""

    CODE: ClassVar[int | None] = RequestCode.END_TRANSACTION

    producer_group: str
    tran_state_table_offset: int
    commit_log_offset: int
    commit_or_rollback: int
    msg_id: str
    from_transaction_check: bool = False
    transaction_id: str | None = None
    topic: str | None = None


@dataclass(slots=True, repr=False, eq=False)
class CheckTransactionStateRequestHeader(RpcHeader):
    """The broker asks how a transaction ended (39)."""

    CODE: ClassVar[int | None] = RequestCode.CHECK_TRANSACTION_STATE

    tran_state_table_offset: int
    commit_log_offset: int
    msg_id: str | None = None
    transaction_id: str | None = None
    offset_msg_id: str | None = None
    topic: str | None = None


# --- requests of a broker to its clients --------------------------------------------------------------------------------------------


@dataclass(slots=True, repr=False, eq=False)
class NotifyConsumerIdsChangedRequestHeader(RpcHeader):
    """The members of a group changed (40)."""

    CODE: ClassVar[int | None] = RequestCode.NOTIFY_CONSUMER_IDS_CHANGED

    consumer_group: str


@dataclass(slots=True, repr=False, eq=False)
class ResetOffsetRequestHeader(TopicHeader):
    """Reset offsets: asked of a client (220) or of a broker (222); all queues when `queue_id` is -1."""

    CODE: ClassVar[int | None] = RequestCode.RESET_CONSUMER_CLIENT_OFFSET

    topic: str
    group: str
    timestamp: int
    is_force: bool
    queue_id: int = -1
    offset: int | None = None


@dataclass(slots=True, repr=False, eq=False)
class GetConsumerStatusRequestHeader(TopicHeader):
    """Ask for the offsets of clients: asked of a client (221) or of a broker (223)."""

    CODE: ClassVar[int | None] = RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT

    topic: str
    group: str
    client_addr: str | None = None


@dataclass(slots=True, repr=False, eq=False)
class GetConsumerRunningInfoRequestHeader(RpcHeader):
    """Ask for the inner state of a consumer (307)."""

    CODE: ClassVar[int | None] = RequestCode.GET_CONSUMER_RUNNING_INFO

    consumer_group: str
    client_id: str
    jstack_enable: bool | None = None


@dataclass(slots=True, repr=False, eq=False)
class ConsumeMessageDirectlyResultRequestHeader(TopicHeader):
    """Make one consumer consume one message (309)."""

    CODE: ClassVar[int | None] = RequestCode.CONSUME_MESSAGE_DIRECTLY

    consumer_group: str
    client_id: str | None = None
    msg_id: str | None = None
    broker_name: str | None = None
    topic: str | None = None
    topic_sys_flag: int | None = None
    group_sys_flag: int | None = None


@dataclass(slots=True, repr=False, eq=False)
class ReplyMessageRequestHeader(TopicHeader):
    """A reply that the broker hands to the requester (326); hosts are `ip:port`."""

    CODE: ClassVar[int | None] = RequestCode.PUSH_REPLY_MESSAGE_TO_CLIENT

    producer_group: str
    topic: str
    default_topic: str
    default_topic_queue_nums: int
    queue_id: int
    sys_flag: int
    born_timestamp: int
    flag: int
    born_host: str
    store_host: str
    store_timestamp: int
    properties: str | None = None
    reconsume_times: int | None = None
    unit_mode: bool = False
