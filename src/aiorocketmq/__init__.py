"""The asyncio client for Apache RocketMQ: producers, consumers, and an embedded server for development and tests.

Every public name is imported when it is first used. So `import aiorocketmq` is cheap, opens nothing, and configures no logging.
"""

from __future__ import annotations

from importlib import import_module as _import_module
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
    from aiorocketmq import admin, client, consumer, producer, server, sync
    from aiorocketmq.admin import (
        AdminClient,
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
    from aiorocketmq.consumer import LitePullConsumer, PopConsumer, PullConsumer, PushConsumer
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
    from aiorocketmq.producer import Producer, QueueSelector, SelectByHash, SelectByRandom, SelectRoundRobin
    from aiorocketmq.producer.decisions import EndTransactionContext, EndTransactionHook
    from aiorocketmq.producer.hooks import CheckForbiddenHook, SendContext, SendHook
    from aiorocketmq.producer.transaction import Transaction, TransactionProducer

    compiled: bool
    """True when the hot modules run as machine code; both forms do the same."""

__version__ = "0.1.0"

_HOMES = {
    "AdminClient": "admin.admin",
    "LitePullConsumer": "consumer.lite_pull",
    "PopConsumer": "consumer.pop",
    "Producer": "producer.producer",
    "PullConsumer": "consumer.pull",
    "PullResult": "model.pulled",
    "PushConsumer": "consumer.push",
    "Transaction": "producer.transaction",
    "TransactionProducer": "producer.transaction",
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
_PACKAGES = ("admin", "client", "consumer", "producer", "server", "sync")

__all__ = [
    # clients
    "AdminClient",
    "LitePullConsumer",
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
    # the form of this installation
    "compiled",
    # packages
    "admin",
    "client",
    "consumer",
    "producer",
    "server",
    "sync",
]


def _is_compiled() -> bool:
    """Whether the hot modules are those that `hatch_build.py` compiles; see docs/decisions/0010-compiled-modules.md."""
    from importlib.util import find_spec

    spec = find_spec(f"{__name__}.protocol.message_codec")
    return spec is not None and not str(spec.origin).endswith((".py", ".pyc"))


if not TYPE_CHECKING:  # a checker takes the imports above: a name that is none is an error there too

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "compiled":
            value = globals()[name] = _is_compiled()
            return value
        if name in _PACKAGES:
            return _import_module(f"{__name__}.{name}")
        value = globals()[name] = _find(__name__, name, _HOMES.get(name))
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
