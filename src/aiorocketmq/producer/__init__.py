"""Producers: they send messages, and know neither consumers nor admin clients."""

from aiorocketmq.producer.decisions import EndTransactionContext, EndTransactionHook
from aiorocketmq.producer.producer import Producer
from aiorocketmq.producer.selectors import QueueSelector, SelectByHash, SelectByRandom, SelectRoundRobin
from aiorocketmq.producer.transaction import Transaction, TransactionProducer

__all__ = [
    "EndTransactionContext",
    "EndTransactionHook",
    "Producer",
    "QueueSelector",
    "SelectByHash",
    "SelectByRandom",
    "SelectRoundRobin",
    "Transaction",
    "TransactionProducer",
]
