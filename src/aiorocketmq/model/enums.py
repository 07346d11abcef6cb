"""Enumerations of the public API; members keep the names of their Java twins."""

from __future__ import annotations

from enum import Enum, IntFlag


class SendStatus(Enum):
    """What the broker said of a stored message (Java: `SendStatus`). Only `SEND_OK` is a full success."""

    SEND_OK = 0
    FLUSH_DISK_TIMEOUT = 10
    SLAVE_NOT_AVAILABLE = 11
    FLUSH_SLAVE_TIMEOUT = 12


class ServiceState(Enum):
    """Life of a client (Java: `ServiceState`)."""

    CREATE_JUST = "CREATE_JUST"
    RUNNING = "RUNNING"
    SHUTDOWN_ALREADY = "SHUTDOWN_ALREADY"
    START_FAILED = "START_FAILED"


class MessageModel(Enum):
    """How a group shares a topic (Java: `MessageModel`)."""

    CLUSTERING = "CLUSTERING"
    BROADCASTING = "BROADCASTING"


class ConsumeType(Enum):
    """How a consumer gets its messages, as told in heartbeats (Java: `ConsumeType`)."""

    CONSUME_ACTIVELY = "CONSUME_ACTIVELY"
    CONSUME_PASSIVELY = "CONSUME_PASSIVELY"
    CONSUME_POP = "CONSUME_POP"


class MessageRequestMode(Enum):
    """How a member of a group gets the messages of a queue; brokers tell it with the queues that they assign."""

    PULL = "PULL"
    POP = "POP"


class AccessChannel(Enum):
    """Where the brokers are (Java: `AccessChannel`): in the cloud, the message trace goes to a topic of its region."""

    LOCAL = "LOCAL"
    CLOUD = "CLOUD"


class StartFrom(Enum):
    """Where a group without a committed offset starts (Java: `ConsumeFromWhere`); the value is the name on the wire."""

    LAST = "CONSUME_FROM_LAST_OFFSET"
    FIRST = "CONSUME_FROM_FIRST_OFFSET"
    TIMESTAMP = "CONSUME_FROM_TIMESTAMP"


class PullStatus(Enum):
    """What a pull met (Java: `PullStatus`)."""

    FOUND = "FOUND"
    NO_NEW_MSG = "NO_NEW_MSG"
    NO_MATCHED_MSG = "NO_MATCHED_MSG"
    OFFSET_ILLEGAL = "OFFSET_ILLEGAL"


class ConsumeResult(Enum):
    """What a listener may return instead of None (Java: `ConsumeConcurrentlyStatus`, `ConsumeOrderlyStatus`)."""

    SUCCESS = "SUCCESS"
    RECONSUME_LATER = "RECONSUME_LATER"
    SUSPEND_CURRENT_QUEUE_A_MOMENT = "SUSPEND_CURRENT_QUEUE_A_MOMENT"
    COMMIT = "COMMIT"
    ROLLBACK = "ROLLBACK"


class ConsumeReturnType(Enum):
    """How a call of a listener has ended (Java: `ConsumeReturnType`); the number is that of the message trace.

    `TIME_OUT`: it took `consume_timeout` or longer. `EXCEPTION`: it raised. `FAILED`: it has returned that the messages shall come again.
    `RETURNNULL` is what Java listeners do that return nothing; here that is `SUCCESS`.
    """

    SUCCESS = 0
    TIME_OUT = 1
    EXCEPTION = 2
    RETURNNULL = 3
    FAILED = 4


class CompressionType(Enum):
    """How a producer compresses large bodies (Java: `CompressionType`); LZ4 and ZSTD need the extra `compression`."""

    LZ4 = 1
    ZSTD = 2
    ZLIB = 3


class TransactionState(Enum):
    """How a transaction has ended (Java: `LocalTransactionState`); the value is Java's name."""

    COMMIT = "COMMIT_MESSAGE"
    ROLLBACK = "ROLLBACK_MESSAGE"
    UNKNOWN = "UNKNOW"


class SerializeType(Enum):
    """Encoding of the frame header (Java: `SerializeType`)."""

    JSON = 0
    ROCKETMQ = 1


class Permission(IntFlag):
    """Permission bits of a queue or topic (Java: `PermName`)."""

    NONE = 0
    INHERIT = 1
    WRITE = 2
    READ = 4
    PRIORITY = 8


class ExpressionType:
    """Names of the filter languages on the wire (Java: `ExpressionType`)."""

    TAG = "TAG"
    SQL92 = "SQL92"
