"""The index of a queue, entry by entry (321; Java: `QueryConsumeQueueResponseBody`, `ConsumeQueueData`).

The request is in `headers_admin`.
"""

from __future__ import annotations

from typing import Annotated

from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.protocol.beans import Bean, field
from aiorocketmq.protocol.limits import Items

__all__ = ["ConsumeQueueData", "QueryConsumeQueueResponseBody"]


class ConsumeQueueData(Bean):
    """One entry of a queue's index.

    Attributes:
        physic_offset: Where the message is in the commit log.
        physic_size: Its bytes there.
        tags_code: Hash of its tag, or for a delayed message the time when it is due.
        extend_data_json: More of the entry, as JSON, when the broker keeps extended entries.
        bit_map: Which groups' filters it passes, as bits, when the broker computes them.
        eval: Whether it passes the filter of the group that was asked for.
        msg: What the broker could not find out, as text.
    """

    physic_offset: int = 0
    physic_size: int = 0
    tags_code: int = 0
    extend_data_json: str | None = None
    bit_map: str | None = None
    eval: bool = False
    msg: str | None = None


class QueryConsumeQueueResponseBody(Bean):
    """Answer to 321.

    Attributes:
        subscription_data: Subscription of the group that was asked for.
        filter_data: Its filter as the broker keeps it, as text.
        queue_data: The entries; at most 16 are given.
        max_queue_index: Offset behind the newest entry.
        min_queue_index: Offset of the oldest one.
    """

    subscription_data: SubscriptionData | None = None
    filter_data: str | None = None
    queue_data: Annotated[list[ConsumeQueueData], Items(65536)] = field(default_factory=list)
    max_queue_index: int = 0
    min_queue_index: int = 0
