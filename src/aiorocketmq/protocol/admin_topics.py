"""Records of topics that only administrators use: static topics, lists of topics.

Java: `...protocol.statictopic`, `CreateTopicListRequestHeader`. What brokers, clients and administrators share is in `headers_admin` and
`bodies_admin`. Static topics came with 5.0; 4.9.7 answers 513, 18 and 351 with code 3.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from aiorocketmq.protocol.beans import Bean, field
from aiorocketmq.protocol.bodies_admin import TopicConfig
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import RpcHeader
from aiorocketmq.protocol.limits import Int32, Int64, Items, Name, OptionalName, QueueCount

__all__ = ["CreateTopicListRequestHeader", "LogicQueueMappingItem", "TopicConfigAndQueueMapping", "TopicQueueMappingDetail"]

GLOBAL_SCOPE = "__global__"
"""The scope of a static topic whose queues are spread over all clusters of a name server."""


class CreateTopicListRequestHeader(RpcHeader):
    """Create or change several topics (18); the body is a `CreateTopicListRequestBody`. From 5.2 on."""

    CODE: ClassVar[int | None] = RequestCode.UPDATE_AND_CREATE_TOPIC_LIST


class LogicQueueMappingItem(Bean):
    """One stretch of a logical queue, on one physical queue.

    Attributes:
        gen: Number of the stretch, from 0.
        queue_id: The physical queue.
        bname: The broker that has it.
        logic_offset: Logical offset of its first message; below 0 when that is not known yet.
        start_offset: Physical offset of its first message.
        end_offset: Physical offset behind its last message; -1 while it is written to.
        time_of_start: Store time of its first message, milliseconds since the epoch, or -1.
        time_of_end: Store time of its last message, or -1.
    """

    gen: Int32 = 0
    queue_id: Int32 = 0
    bname: OptionalName | None = None
    logic_offset: Int64 = 0
    start_offset: Int64 = 0
    end_offset: Int64 = -1
    time_of_start: Int64 = -1
    time_of_end: Int64 = -1


class TopicQueueMappingDetail(Bean):
    """The logical queues of a static topic that one broker hosts (body of 513, and part of the answer to 351).

    Attributes:
        topic: The topic.
        scope: `__global__`, or the cluster.
        total_queues: Logical queues that the topic has.
        bname: The broker.
        epoch: Version of the mapping, milliseconds since the epoch; only a higher one replaces it.
        dirty: True on a broker that will not serve it any more.
        curr_id_map: Logical queue → physical queue that is written to.
        hosted_queues: Logical queue → its stretches, oldest first.
    """

    topic: Name | None = None
    scope: OptionalName | None = GLOBAL_SCOPE
    total_queues: QueueCount = 0
    bname: OptionalName | None = None
    epoch: Int64 = 0
    dirty: bool = False
    curr_id_map: Annotated[dict[int, int], Items(65536)] = field(default_factory=dict)
    hosted_queues: Annotated[dict[int, list[LogicQueueMappingItem]], Items(65536)] = field(default_factory=dict)


class TopicConfigAndQueueMapping(TopicConfig):
    """Settings of a topic, and its mapping when it is static (answer to 351 of 5.x)."""

    mapping_detail: TopicQueueMappingDetail | None = None
