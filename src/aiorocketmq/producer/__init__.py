"""Producers: they send messages, and know neither consumers nor admin clients."""

from aiorocketmq.producer.producer import Producer
from aiorocketmq.producer.selectors import QueueSelector, SelectByHash, SelectByRandom, SelectRoundRobin

__all__ = [
    "Producer",
    "QueueSelector",
    "SelectByHash",
    "SelectByRandom",
    "SelectRoundRobin",
]
