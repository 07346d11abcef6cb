"""The asyncio client for Apache RocketMQ: producers, consumers, and an embedded server for development and tests.

Values, enums, configuration and errors are imported at once; the clients, which need asyncio, when they are first used. So the import is
cheap, opens nothing, and configures no logging.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aiorocketmq.config import TLS, ClientConfig
from aiorocketmq.errors import (
    BrokerBusyError,
    BrokerError,
    BrokerNotFoundError,
    ClientClosedError,
    ClientStateError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    ConsumerNotOnlineError,
    ForkedClientError,
    GroupAlreadyRegisteredError,
    GroupNotExistError,
    InvalidMessageError,
    InvalidNameError,
    InvalidParameterError,
    ListenerError,
    MessageIllegalError,
    NoNameServerError,
    NoPermissionError,
    OffsetNotFoundError,
    ProtocolError,
    QueryNotFoundError,
    RemotingError,
    RequestTimeoutError,
    RocketMQError,
    RouteError,
    SendError,
    SendTimeoutError,
    ServiceNotAvailableError,
    SubscriptionError,
    TLSError,
    TooManyRequestsError,
    TopicNotExistError,
    TopicNotFoundError,
    UnsupportedRequestError,
    WindowFullError,
    WrongProtocolError,
)
from aiorocketmq.model.enums import (
    ConsumeResult,
    ConsumeType,
    MessageModel,
    Permission,
    SendStatus,
    SerializeType,
    ServiceState,
    StartFrom,
)
from aiorocketmq.model.filters import SQL
from aiorocketmq.model.message import Message, ReceivedMessage
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import Retry, SendResult, Suspend

if TYPE_CHECKING:
    from aiorocketmq import admin, client, consumer, producer, server, sync
    from aiorocketmq.admin import AdminClient
    from aiorocketmq.consumer import PushConsumer
    from aiorocketmq.producer import Producer, QueueSelector, SelectByHash, SelectByRandom, SelectRoundRobin

__version__ = "0.1.0"

_LAZY = {
    "AdminClient": "aiorocketmq.admin",
    "Producer": "aiorocketmq.producer",
    "PushConsumer": "aiorocketmq.consumer",
    "QueueSelector": "aiorocketmq.producer",
    "SelectByHash": "aiorocketmq.producer",
    "SelectByRandom": "aiorocketmq.producer",
    "SelectRoundRobin": "aiorocketmq.producer",
}
_PACKAGES = ("admin", "client", "consumer", "producer", "server", "sync")

__all__ = [
    # clients
    "AdminClient",
    "Producer",
    "PushConsumer",
    # values
    "SQL",
    "TLS",
    "ClientConfig",
    "Message",
    "MessageQueue",
    "QueueSelector",
    "ReceivedMessage",
    "Retry",
    "SelectByHash",
    "SelectByRandom",
    "SelectRoundRobin",
    "SendResult",
    "Suspend",
    # enums
    "ConsumeResult",
    "ConsumeType",
    "MessageModel",
    "Permission",
    "SendStatus",
    "SerializeType",
    "ServiceState",
    "StartFrom",
    # errors
    "BrokerBusyError",
    "BrokerError",
    "BrokerNotFoundError",
    "ClientClosedError",
    "ClientStateError",
    "ConfigError",
    "ConnectError",
    "ConnectionLostError",
    "ConsumerNotOnlineError",
    "ForkedClientError",
    "GroupAlreadyRegisteredError",
    "GroupNotExistError",
    "InvalidMessageError",
    "InvalidNameError",
    "InvalidParameterError",
    "ListenerError",
    "MessageIllegalError",
    "NoNameServerError",
    "NoPermissionError",
    "OffsetNotFoundError",
    "ProtocolError",
    "QueryNotFoundError",
    "RemotingError",
    "RequestTimeoutError",
    "RocketMQError",
    "RouteError",
    "SendError",
    "SendTimeoutError",
    "ServiceNotAvailableError",
    "SubscriptionError",
    "TLSError",
    "TooManyRequestsError",
    "TopicNotExistError",
    "TopicNotFoundError",
    "UnsupportedRequestError",
    "WindowFullError",
    "WrongProtocolError",
    # packages
    "admin",
    "client",
    "consumer",
    "producer",
    "server",
    "sync",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
    elif name in _PACKAGES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
