"""The blocking twins of the asyncio classes, for programs without an event loop: the same names, no `await`.

    import aiorocketmq.sync as rmq

    with rmq.Producer("127.0.0.1:9876", group="orders") as producer:
        producer.send(rmq.Message("orders", b"1"))

All clients of a process share one event loop on one daemon thread, started with the first client and ended with the last one. Any thread
may call any method. Ctrl-C during a call cancels it. Clients belong to the process that started them: start them after a fork.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiorocketmq.names import CONSUME_HOOKS as _CONSUME_HOOKS
from aiorocketmq.names import DECISIONS as _DECISIONS
from aiorocketmq.names import HEALTH as _HEALTH
from aiorocketmq.names import RESULTS as _RESULTS
from aiorocketmq.names import SELECTORS as _SELECTORS
from aiorocketmq.names import SEND_HOOKS as _SEND_HOOKS
from aiorocketmq.names import STRATEGIES as _STRATEGIES
from aiorocketmq.names import TRANSACTIONS as _TRANSACTIONS
from aiorocketmq.names import find as _find

if TYPE_CHECKING:
    from aiorocketmq.admin import (
        BrokerInfo,
        ClientConnection,
        ConsumeProgress,
        GroupConnections,
        Policy,
        QueueProgress,
        QueueRead,
        QueueStats,
        TopicStats,
        User,
    )
    from aiorocketmq.client.health import (
        BrokerHealth,
        Health,
        HealthStatus,
        ListenerHealth,
        NameServerHealth,
        PingResult,
        QueueHealth,
        RouteHealth,
        StateChange,
        StateChangeKind,
        TaskHealth,
    )
    from aiorocketmq.config import TLS, ClientConfig, Credentials, CredentialsFile
    from aiorocketmq.consumer.hooks import ConsumeContext, ConsumeHook, FilterHook
    from aiorocketmq.core.allocate import AllocateAveragely, AllocateStrategy
    from aiorocketmq.core.strategies import (
        AllocateAveragelyByCircle,
        AllocateByConfig,
        AllocateByMachineRoom,
        AllocateConsistentHash,
        AllocateMachineRoomNearby,
        AllocateSticky,
    )
    from aiorocketmq.errors import (
        AccessDeniedError,
        AccessError,
        AlreadyExistsError,
        AuthenticationError,
        BrokerBusyError,
        BrokerError,
        BrokerNotFoundError,
        ClientClosedError,
        ClientStateError,
        ConfigError,
        ConnectError,
        ConnectionLostError,
        ConsumerNotOnlineError,
        CredentialsError,
        ExpiredTokenError,
        ForkedClientError,
        GroupAlreadyRegisteredError,
        GroupNotExistError,
        InvalidMessageError,
        InvalidNameError,
        InvalidParameterError,
        ListenerError,
        MessageIllegalError,
        MessageRefusedError,
        MissingCredentialsError,
        NoAnswerError,
        NoNameServerError,
        NoPermissionError,
        NotSupportedByBrokerError,
        OffsetNotFoundError,
        PartialError,
        ProtocolError,
        QueryNotFoundError,
        ReceiptError,
        RefusedError,
        RemotingError,
        ReplyTimeoutError,
        RequestTimeoutError,
        RocketMQError,
        RouteError,
        SendDeniedError,
        SendError,
        SendRefusedError,
        SendTimeoutError,
        SendUnreachableError,
        ServiceNotAvailableError,
        SubscriptionError,
        TLSError,
        TooManyRequestsError,
        TopicNotExistError,
        TopicNotFoundError,
        UnknownAccessKeyError,
        UnreachableError,
        UnsupportedRequestError,
        UsageError,
        WindowFullError,
        WrongProtocolError,
        WrongSignatureError,
    )
    from aiorocketmq.model.enums import (
        AccessChannel,
        CompressionType,
        ConsumeResult,
        ConsumeReturnType,
        ConsumeType,
        MessageModel,
        Permission,
        PullStatus,
        SendStatus,
        SerializeType,
        ServiceState,
        StartFrom,
        TransactionState,
    )
    from aiorocketmq.model.filters import SQL
    from aiorocketmq.model.message import Message
    from aiorocketmq.model.progress import QueueTimeSpan
    from aiorocketmq.model.pulled import PullResult
    from aiorocketmq.model.queue import MessageQueue
    from aiorocketmq.model.received import ReceivedMessage
    from aiorocketmq.model.results import Retry, SendResult, Suspend
    from aiorocketmq.model.transactions import HalfMessage, TransactionSendResult
    from aiorocketmq.producer.decisions import EndTransactionContext, EndTransactionHook
    from aiorocketmq.producer.hooks import CheckForbiddenHook, SendContext, SendHook
    from aiorocketmq.producer.selectors import QueueSelector, SelectByHash, SelectByRandom, SelectRoundRobin
    from aiorocketmq.sync.admin import AdminClient
    from aiorocketmq.sync.cluster import LocalCluster
    from aiorocketmq.sync.consumer import PushConsumer
    from aiorocketmq.sync.lite_pull import LitePullConsumer
    from aiorocketmq.sync.pop import PopConsumer
    from aiorocketmq.sync.producer import Producer
    from aiorocketmq.sync.pull import PullConsumer
    from aiorocketmq.sync.transaction import TransactionProducer
    from aiorocketmq.sync.transactions import Transaction

_HOMES = {
    "AdminClient": "sync.admin",
    "LitePullConsumer": "sync.lite_pull",
    "LocalCluster": "sync.cluster",
    "PopConsumer": "sync.pop",
    "Producer": "sync.producer",
    "PullConsumer": "sync.pull",
    "PullResult": "model.pulled",
    "PushConsumer": "sync.consumer",
    "Transaction": "sync.transactions",
    "TransactionProducer": "sync.transaction",
    **dict.fromkeys(_TRANSACTIONS, "model.transactions"),
    **dict.fromkeys(_DECISIONS, "producer.decisions"),
    **_RESULTS,
    "QueueTimeSpan": "model.progress",
    **dict.fromkeys(_HEALTH, "client.health"),
    **dict.fromkeys(_SEND_HOOKS, "producer.hooks"),
    **dict.fromkeys(_CONSUME_HOOKS, "consumer.hooks"),
    **dict.fromkeys(_SELECTORS, "producer.selectors"),
    **dict.fromkeys(_STRATEGIES, "core.strategies"),
    **dict.fromkeys(("AllocateAveragely", "AllocateStrategy"), "core.allocate"),
}

__all__ = [
    # clients
    "AdminClient",
    "LitePullConsumer",
    "LocalCluster",
    "PopConsumer",
    "Producer",
    "PullConsumer",
    "PushConsumer",
    "TransactionProducer",
    # values
    "SQL",
    "TLS",
    "AllocateAveragely",
    "AllocateAveragelyByCircle",
    "AllocateByConfig",
    "AllocateByMachineRoom",
    "AllocateConsistentHash",
    "AllocateMachineRoomNearby",
    "AllocateSticky",
    "AllocateStrategy",
    "CheckForbiddenHook",
    "ClientConfig",
    "ConsumeContext",
    "ConsumeHook",
    "Credentials",
    "CredentialsFile",
    "EndTransactionContext",
    "EndTransactionHook",
    "FilterHook",
    "HalfMessage",
    "Message",
    "MessageQueue",
    "PullResult",
    "QueueSelector",
    "ReceivedMessage",
    "Retry",
    "SelectByHash",
    "SelectByRandom",
    "SelectRoundRobin",
    "SendContext",
    "SendHook",
    "SendResult",
    "Suspend",
    "Transaction",
    "TransactionSendResult",
    # what administration tells
    "BrokerInfo",
    "ClientConnection",
    "ConsumeProgress",
    "GroupConnections",
    "Policy",
    "QueueProgress",
    "QueueRead",
    "QueueStats",
    "QueueTimeSpan",
    "TopicStats",
    "User",
    # how clients are
    "BrokerHealth",
    "Health",
    "HealthStatus",
    "ListenerHealth",
    "NameServerHealth",
    "PingResult",
    "QueueHealth",
    "RouteHealth",
    "StateChange",
    "StateChangeKind",
    "TaskHealth",
    # enums
    "AccessChannel",
    "CompressionType",
    "ConsumeResult",
    "ConsumeReturnType",
    "ConsumeType",
    "MessageModel",
    "Permission",
    "PullStatus",
    "SendStatus",
    "SerializeType",
    "ServiceState",
    "StartFrom",
    "TransactionState",
    # errors
    "AccessDeniedError",
    "AccessError",
    "AlreadyExistsError",
    "AuthenticationError",
    "BrokerBusyError",
    "BrokerError",
    "BrokerNotFoundError",
    "ClientClosedError",
    "ClientStateError",
    "ConfigError",
    "ConnectError",
    "ConnectionLostError",
    "ConsumerNotOnlineError",
    "CredentialsError",
    "ExpiredTokenError",
    "ForkedClientError",
    "GroupAlreadyRegisteredError",
    "GroupNotExistError",
    "InvalidMessageError",
    "InvalidNameError",
    "InvalidParameterError",
    "ListenerError",
    "MessageIllegalError",
    "MessageRefusedError",
    "MissingCredentialsError",
    "NoAnswerError",
    "NoNameServerError",
    "NoPermissionError",
    "NotSupportedByBrokerError",
    "OffsetNotFoundError",
    "PartialError",
    "ProtocolError",
    "QueryNotFoundError",
    "ReceiptError",
    "RefusedError",
    "RemotingError",
    "ReplyTimeoutError",
    "RequestTimeoutError",
    "RocketMQError",
    "RouteError",
    "SendDeniedError",
    "SendError",
    "SendRefusedError",
    "SendTimeoutError",
    "SendUnreachableError",
    "ServiceNotAvailableError",
    "SubscriptionError",
    "TLSError",
    "TooManyRequestsError",
    "TopicNotExistError",
    "TopicNotFoundError",
    "UnknownAccessKeyError",
    "UnreachableError",
    "UnsupportedRequestError",
    "UsageError",
    "WindowFullError",
    "WrongProtocolError",
    "WrongSignatureError",
]

if not TYPE_CHECKING:  # a checker takes the imports above: a name that is none is an error there too

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = _find(__name__, name, _HOMES.get(name))
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
