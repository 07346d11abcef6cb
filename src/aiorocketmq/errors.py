"""The one error tree of the library; Java: `MQClientException`, `MQBrokerException`, `RemotingException` and their kin.

    RocketMQError
    ├── ConfigError (ValueError)             a configuration field has a value that cannot work
    ├── InvalidMessageError (ValueError)     a message would be refused: empty, too large, reserved property, ...
    ├── InvalidNameError (ValueError)        a topic or group name is not legal
    ├── ClientStateError                     used before start, after stop, started after a failed start
    │   ├── ClientClosedError                the client was stopped
    │   ├── GroupAlreadyRegisteredError      the group is already on this client instance
    │   └── ForkedClientError                a started client is used in a forked child
    ├── ProtocolError                        the peer's bytes are not a legal frame, header or body
    │   └── WrongProtocolError               the peer speaks HTTP, TLS, gRPC, ... instead
    ├── RemotingError                        the exchange with one address failed
    │   ├── ConnectError                     no connection could be made; nothing was sent
    │   ├── TLSError                         the TLS handshake or the verification failed; nothing was sent
    │   ├── ConnectionLostError              the connection went while an answer was awaited
    │   ├── RequestTimeoutError (TimeoutError)  no answer within the time allowed
    │   └── TooManyRequestsError             the limit of requests in flight is reached; nothing was sent
    ├── RouteError                           no way to the topic
    │   ├── NoNameServerError                no name server is configured or reachable
    │   ├── TopicNotFoundError               no name server knows the topic
    │   └── BrokerNotFoundError              the route names a broker that has no address
    ├── BrokerError                          the broker (or name server) answered with an error code
    │   ├── BrokerBusyError, TopicNotExistError, NoPermissionError, MessageIllegalError, InvalidParameterError,
    │   ├── GroupNotExistError, SubscriptionError, ConsumerNotOnlineError, QueryNotFoundError, OffsetNotFoundError,
    │   └── ServiceNotAvailableError, UnsupportedRequestError, ...
    ├── SendError                            a send failed for good; the cause is chained and summed up
    │   └── SendTimeoutError (TimeoutError)  the deadline of the whole send passed
    ├── WindowFullError                      send_nowait() while the window of unanswered sends is full
    └── ListenerError                        a listener was declared or answered in a way that cannot work

Every error carries `hint`: what the user can do. Errors about a broker carry `code`, `broker` and `topic`; failed sends carry
`attempts` (one line for each try), `retriable`, and `maybe_stored`: False means that the broker certainly has not stored the message.
"""

from __future__ import annotations

__all__ = [
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
    "broker_error",
]


class RocketMQError(Exception):
    """Root of every error that this library raises.

    Attributes:
        hint: One sentence that says what to do, or "" when there is nothing to say.
        retriable: True when the same call may succeed later without any change.
        maybe_stored: False when certainly no broker has stored a message because of the call that raised this. Only a `SendError` can
            say True, so it may be read from whatever error a send raised.
    """

    hint: str = ""
    retriable: bool = False
    maybe_stored: bool = False

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(RocketMQError, ValueError):
    """A configuration field has a value that cannot work; the message names the field, the value and the cure."""


class InvalidMessageError(RocketMQError, ValueError):
    """The message would be refused by the broker (Java: client code 13, MESSAGE_ILLEGAL); nothing was sent."""


class InvalidNameError(RocketMQError, ValueError):
    """A topic or group name is not legal; nothing was sent."""


class ClientStateError(RocketMQError):
    """The client is not in a state in which the call can work."""


class ClientClosedError(ClientStateError):
    """The client was stopped, or was never started."""

    hint = "start the client first, or make a new one: a stopped client cannot be used again"


class GroupAlreadyRegisteredError(ClientStateError):
    """The group already has a client of this kind on the shared client instance."""


class ForkedClientError(ClientStateError):
    """A client that was started in the parent process is used in a forked child."""

    hint = "make and start clients after the fork, in the child"


class ProtocolError(RocketMQError):
    """The peer's bytes are not a legal frame, header or body."""


class WrongProtocolError(ProtocolError):
    """The peer speaks another protocol; the message names the guess (HTTP, TLS, gRPC)."""


class RemotingError(RocketMQError):
    """The exchange with one address failed.

    Attributes:
        address: `host:port` of the peer.
        maybe_sent: False when certainly no byte of the request left this process.
    """

    retriable = True
    maybe_sent: bool = False

    def __init__(self, message: str, *, address: str = "", maybe_sent: bool | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.address = address
        if maybe_sent is not None:
            self.maybe_sent = maybe_sent


class ConnectError(RemotingError):
    """No connection could be made; nothing was sent."""


class TLSError(RemotingError):
    """The TLS handshake or the verification of the peer failed; nothing was sent."""

    retriable = False


class ConnectionLostError(RemotingError):
    """The connection went while an answer was awaited; the peer may or may not have carried out the request."""

    maybe_sent = True


class RequestTimeoutError(RemotingError, TimeoutError):
    """No answer came within the time allowed; the peer may or may not have carried out the request."""

    maybe_sent = True


class TooManyRequestsError(RemotingError):
    """The limit of requests in flight is reached; nothing was sent (Java: RemotingTooMuchRequestException)."""


class RouteError(RocketMQError):
    """There is no way to the topic or broker at the moment."""

    retriable = True

    def __init__(self, message: str, *, topic: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.topic = topic


class NoNameServerError(RouteError):
    """No name server is configured, or none can be reached (Java: client code 10004)."""

    hint = "give name_servers=, or set NAMESRV_ADDR, and check that the name server runs"


class TopicNotFoundError(RouteError):
    """No name server knows the topic (Java: client code 10005, "No route info of this topic")."""

    hint = "create the topic first, or set autoCreateTopicEnable=true on the broker"


class BrokerNotFoundError(RouteError):
    """The broker has no address in any route (Java: client code 10003)."""


class BrokerError(RocketMQError):
    """The broker or name server answered with an error code (Java: MQBrokerException).

    Attributes:
        code: The response code of the wire, see `aiorocketmq.protocol.codes.ResponseCode`.
        remark: The peer's own text.
        broker: Broker name or address that answered.
        topic: Topic of the request, or "".
    """

    default_code: int = 1

    def __init__(self, message: str = "", *, code: int | None = None, broker: str = "", topic: str = "", hint: str | None = None) -> None:
        self.code = self.default_code if code is None else code
        self.remark = message
        self.broker = broker
        self.topic = topic
        where = f" from {broker}" if broker else ""
        super().__init__(f"code {self.code}{where}: {message or type(self).__name__}", hint=hint)


class BrokerBusyError(BrokerError):
    """Code 2 SYSTEM_BUSY: the broker sheds load."""

    default_code = 2
    retriable = True
    hint = "send more slowly, or add brokers"


class UnsupportedRequestError(BrokerError):
    """Code 3 REQUEST_CODE_NOT_SUPPORTED: the server is too old, or the wrong kind of server."""

    default_code = 3


class MessageIllegalError(BrokerError):
    """Code 13 MESSAGE_ILLEGAL."""

    default_code = 13


class ServiceNotAvailableError(BrokerError):
    """Code 14 SERVICE_NOT_AVAILABLE: the broker cannot store at the moment (starting, stopping, disk full)."""

    default_code = 14
    retriable = True


class NoPermissionError(BrokerError):
    """Code 16 NO_PERMISSION."""

    default_code = 16
    hint = "check the topic's permission and the credentials"


class TopicNotExistError(BrokerError):
    """Code 17 TOPIC_NOT_EXIST on a broker."""

    default_code = 17
    hint = "create the topic first, or set autoCreateTopicEnable=true on the broker"


class QueryNotFoundError(BrokerError):
    """Code 22 QUERY_NOT_FOUND."""

    default_code = 22


class OffsetNotFoundError(QueryNotFoundError):
    """Code 22 as the answer to an offset query: the group has no offset on that queue yet."""


class SubscriptionError(BrokerError):
    """Codes 23, 24 and 25: the subscription does not parse, does not exist, or is not the latest."""

    default_code = 23
    hint = "all members of a group must have the same subscription"


class GroupNotExistError(BrokerError):
    """Code 26 SUBSCRIPTION_GROUP_NOT_EXIST."""

    default_code = 26
    hint = "create the group first, or set autoCreateSubscriptionGroup=true on the broker"


class InvalidParameterError(BrokerError):
    """Code 29 INVALID_PARAMETER."""

    default_code = 29


class ConsumerNotOnlineError(BrokerError):
    """Code 206 CONSUMER_NOT_ONLINE: no member of the group is connected."""

    default_code = 206


_BY_CODE: dict[int, type[BrokerError]] = {
    2: BrokerBusyError,
    3: UnsupportedRequestError,
    13: MessageIllegalError,
    14: ServiceNotAvailableError,
    16: NoPermissionError,
    17: TopicNotExistError,
    22: QueryNotFoundError,
    23: SubscriptionError,
    24: SubscriptionError,
    25: SubscriptionError,
    26: GroupNotExistError,
    29: InvalidParameterError,
    206: ConsumerNotOnlineError,
}


def broker_error(code: int, remark: str | None, *, broker: str = "", topic: str = "") -> BrokerError:
    """Make the error that stands for a response code; codes without a class of their own give a plain `BrokerError`."""
    return _BY_CODE.get(code, BrokerError)(remark or "", code=code, broker=broker, topic=topic)


class SendError(RocketMQError):
    """A send failed for good, after all tries; `__cause__` is the last try's error.

    Attributes:
        topic: Topic of the message.
        attempts: One line for each try: broker, what went wrong, time spent.
        maybe_stored: False when certainly no broker has stored the message; True when one may have.
        code: Response code of the last try, or None when no broker answered.
        broker: Broker of the last try, or "".
    """

    def __init__(
        self,
        message: str,
        *,
        topic: str,
        attempts: tuple[str, ...] = (),
        maybe_stored: bool = False,
        code: int | None = None,
        broker: str = "",
        retriable: bool = True,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.topic = topic
        self.attempts = attempts
        self.maybe_stored = maybe_stored
        self.code = code
        self.broker = broker
        self.retriable = retriable


class SendTimeoutError(SendError, TimeoutError):
    """The deadline of the whole send passed before a broker confirmed the message."""


class WindowFullError(RocketMQError):
    """`send_nowait()` was called while the window of unanswered sends was full; nothing was sent."""

    retriable = True
    hint = "await some of the returned futures, or use `await producer.send()`, which waits for room"


class ListenerError(RocketMQError):
    """A listener was declared, or answered, in a way that cannot work."""
