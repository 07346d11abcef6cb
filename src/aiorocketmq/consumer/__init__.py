"""The consumers: they join groups, own queues, pull messages and bring them to listeners."""

from __future__ import annotations

from aiorocketmq.consumer.offset_store import LocalFileOffsetStore, OffsetStore, ReadOffset, RemoteBrokerOffsetStore
from aiorocketmq.consumer.push import PushConsumer

__all__ = ["LocalFileOffsetStore", "OffsetStore", "PushConsumer", "ReadOffset", "RemoteBrokerOffsetStore"]
