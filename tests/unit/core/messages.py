"""Received messages for tests of what happens after decoding."""

from __future__ import annotations

from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage

QUEUE = MessageQueue("orders", "broker-a", 0)


def received(offset: int, body: bytes = b"x", *, queue: MessageQueue = QUEUE, size: int = 100, reconsume_times: int = 0) -> ReceivedMessage:
    """A message as the codec makes it."""
    return ReceivedMessage(
        queue.topic, body, b"", queue, offset, offset * 1000, 0, 0, 1_700_000_000_000, b"\x7f\x00\x00\x01", 1, 1_700_000_000_000,
        b"\x7f\x00\x00\x01", 10911, reconsume_times, 0, size, 0,
    )  # fmt: skip
