"""Records of lite topics (200074 to 200079; Java: `Get*Lite*`, `GetParentTopicInfo*`, `TriggerLiteDispatchRequestHeader`). From 5.5 on."""

from __future__ import annotations

from typing import ClassVar

from aiorocketmq.protocol.beans import Bean, field
from aiorocketmq.protocol.bodies_admin import OffsetWrapper, TopicOffset
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import Header
from aiorocketmq.protocol.limits import ClientId, Count, Name, OptionalName

__all__ = [
    "ClientGroup",
    "GetBrokerLiteInfoResponseBody",
    "GetLiteClientInfoRequestHeader",
    "GetLiteClientInfoResponseBody",
    "GetLiteGroupInfoRequestHeader",
    "GetLiteGroupInfoResponseBody",
    "GetLiteTopicInfoRequestHeader",
    "GetLiteTopicInfoResponseBody",
    "GetParentTopicInfoRequestHeader",
    "GetParentTopicInfoResponseBody",
    "LiteLagInfo",
    "TriggerLiteDispatchRequestHeader",
]


class GetParentTopicInfoRequestHeader(Header):
    """Ask for a topic that has lite topics (200075)."""

    CODE: ClassVar[int | None] = RequestCode.GET_PARENT_TOPIC_INFO

    topic: Name


class GetLiteTopicInfoRequestHeader(Header):
    """Ask for one lite topic (200076)."""

    CODE: ClassVar[int | None] = RequestCode.GET_LITE_TOPIC_INFO

    parent_topic: Name
    lite_topic: Name


class GetLiteClientInfoRequestHeader(Header):
    """Ask what one client subscribes to (200077), `max_count` lite topics at most."""

    CODE: ClassVar[int | None] = RequestCode.GET_LITE_CLIENT_INFO

    group: Name
    client_id: ClientId
    parent_topic: OptionalName | None = None
    max_count: Count = 1000


class GetLiteGroupInfoRequestHeader(Header):
    """Ask how far a group is (200078): with one lite topic, or with the `top_k` worst ones."""

    CODE: ClassVar[int | None] = RequestCode.GET_LITE_GROUP_INFO

    group: Name
    lite_topic: OptionalName | None = None
    top_k: Count = 20


class TriggerLiteDispatchRequestHeader(Header):
    """Let a broker look again for messages of a group, or of one of its clients (200079)."""

    CODE: ClassVar[int | None] = RequestCode.TRIGGER_LITE_DISPATCH

    group: Name
    client_id: ClientId | None = None


class GetBrokerLiteInfoResponseBody(Bean):
    """What lite topics cost a broker (200074).

    Attributes:
        store_type: How messages are stored.
        max_lmq_num: Lite topics that it may have.
        current_lmq_num: Those that it has.
        lite_subscription_count: Subscriptions to them.
        order_info_count: Entries that keep an order.
        cq_table_size: Queues open.
        offset_table_size: Offsets kept.
        event_map_size: Clients with something to get.
        topic_meta: Parent topic → minutes that its lite topics live, -1 for ever.
        group_meta: Parent topic → groups that consume it.
    """

    store_type: str | None = None
    max_lmq_num: int = 0
    current_lmq_num: int = 0
    lite_subscription_count: int = 0
    order_info_count: int = 0
    cq_table_size: int = 0
    offset_table_size: int = 0
    event_map_size: int = 0
    topic_meta: dict[str, int] = field(default_factory=dict)
    group_meta: dict[str, set[str]] = field(default_factory=dict)


class GetParentTopicInfoResponseBody(Bean):
    """A topic that has lite topics (200075); `ttl` in minutes, -1 for ever."""

    topic: str | None = None
    ttl: int = 0
    groups: set[str] = field(default_factory=set)
    lmq_num: int = 0
    lite_topic_count: int = 0


class ClientGroup(Bean):
    """A client of a group."""

    client_id: str | None = None
    group: str | None = None


class GetLiteTopicInfoResponseBody(Bean):
    """One lite topic (200076)."""

    parent_topic: str | None = None
    lite_topic: str | None = None
    subscriber: list[ClientGroup] = field(default_factory=list)
    topic_offset: TopicOffset | None = None
    sharding_to_broker: bool = False


class GetLiteClientInfoResponseBody(Bean):
    """What one client subscribes to (200077); times are milliseconds since the epoch."""

    parent_topic: str | None = None
    group: str | None = None
    client_id: str | None = None
    last_access_time: int = 0
    last_consume_time: int = 0
    lite_topic_count: int = 0
    lite_topic_set: set[str] = field(default_factory=set)


class LiteLagInfo(Bean):
    """How far a group is behind on one lite topic."""

    lite_topic: str | None = None
    lag_count: int = 0
    earliest_unconsumed_timestamp: int = 0


class GetLiteGroupInfoResponseBody(Bean):
    """How far a group is (200078)."""

    group: str | None = None
    parent_topic: str | None = None
    lite_topic: str | None = None
    earliest_unconsumed_timestamp: int = 0
    total_lag_count: int = 0
    lite_topic_offset_wrapper: OffsetWrapper | None = None
    lag_count_top_k: list[LiteLagInfo] = field(default_factory=list)
    lag_timestamp_top_k: list[LiteLagInfo] = field(default_factory=list)
