"""Offsets by store time (Java: `ConsumeQueue.getOffsetInQueueByTime`)."""

from __future__ import annotations

from aiorocketmq.server.store.store import Store


def search_offset(store: Store, topic: str, queue_id: int, timestamp: int, *, upper: bool = False) -> int:
    """The offset in a queue that a store time stands for (6.10); store times never fall within a queue.

    Args:
        store: Where the queue is.
        topic: Topic of the queue.
        queue_id: Number of the queue.
        timestamp: Milliseconds since the epoch.
        upper: False finds the first message stored at or after the time (the offset behind the last one when there is none); True the
            last message stored at or before it (the smallest offset when there is none).
    """
    queue = store.queue(topic, queue_id)
    if queue is None:
        return 0
    low, high = queue.min_offset, queue.next_offset
    # Invariant: messages before `low` are stored before the bound, those from `high` on at or after it.
    bound = timestamp + 1 if upper else timestamp
    while low < high:
        middle = (low + high) // 2
        if store.store_timestamp_at(queue, middle) < bound:
            low = middle + 1
        else:
            high = middle
    return max(queue.min_offset, low - 1) if upper else low
