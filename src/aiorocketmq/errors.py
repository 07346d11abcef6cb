"""The one error tree of the library; Java: `MQClientException`, `MQBrokerException`, `RemotingException` and their kin.

    RocketMQError
    ├── UsageError                           THE CALLER'S MISTAKE: the same call cannot work, whatever the servers do
    │   ├── ConfigError (ValueError)             a configuration field has a value that cannot work
    │   ├── InvalidMessageError (ValueError)     a message is refused: empty, too large, reserved property, ...
    │   ├── InvalidNameError (ValueError)        a topic or group name is not legal
    │   ├── AlreadyExistsError                   what was to be created is there
    │   ├── ReceiptError                         a message cannot be acknowledged: it is not ours, or not any more
    │   ├── ListenerError                        a listener was declared or answered in a way that cannot work
    │   └── ClientStateError                     used before start, after stop, started after a failed start
    │       ├── ClientClosedError                the client was stopped
    │       ├── GroupAlreadyRegisteredError      the group is already on this client instance
    │       └── ForkedClientError                a started client is used in a forked child
    ├── UnreachableError                     NO WAY THERE: nothing was sent
    │   ├── ConnectError (RemotingError)         no connection could be made
    │   ├── TLSError (RemotingError)             the TLS handshake or the verification failed
    │   ├── CredentialsError                     there are no credentials to sign the request with
    │   ├── RouteError                           no way to the topic
    │   │   ├── NoNameServerError                no name server is configured or reachable
    │   │   ├── TopicNotFoundError               no name server knows the topic
    │   │   └── BrokerNotFoundError              the route names a broker that has no address
    │   └── SendUnreachableError (SendError)     no broker that could take the message was reached
    ├── RefusedError                         REFUSED: a broker or name server answered with an error code
    │   ├── BrokerError
    │   │   ├── BrokerBusyError, TopicNotExistError, MessageIllegalError, InvalidParameterError,
    │   │   ├── GroupNotExistError, SubscriptionError, ConsumerNotOnlineError, QueryNotFoundError, OffsetNotFoundError,
    │   │   ├── ServiceNotAvailableError, UnsupportedRequestError, ...
    │   │   └── NoPermissionError
    │   │       ├── AccessDeniedError (AccessError)      the user may not do that
    │   │       └── AuthenticationError (AccessError)    the server does not accept who asks; or, where its text says more:
    │   │           └── MissingCredentialsError, UnknownAccessKeyError, WrongSignatureError, ExpiredTokenError
    │   ├── AccessError                          all refusals of access control: credentials or policies have to change
    │   └── SendRefusedError (SendError)         a broker refused the message
    │       ├── SendDeniedError (AccessError)        access control did; `cause` is one of those above
    │       └── MessageRefusedError (InvalidMessageError)   it found the message itself illegal: the caller's mistake after all
    ├── NoAnswerError (TimeoutError)         NO ANSWER IN TIME: what was asked for may have been done
    │   ├── RequestTimeoutError (RemotingError)  no answer within the time allowed
    │   ├── ReplyTimeoutError                    a request was stored, but nobody has replied to it in time
    │   └── SendTimeoutError (SendError)         the deadline of the whole send passed
    ├── RemotingError                        the exchange with one address failed; the four above, and:
    │   ├── ConnectionLostError                  the connection went while an answer was awaited
    │   └── TooManyRequestsError                 the limit of requests in flight is reached; nothing was sent
    ├── SendError                            a send failed for good; the three above, and what is none of them
    ├── ProtocolError                        the peer's bytes are not a legal frame, header or body
    │   └── WrongProtocolError               the peer speaks HTTP, TLS, gRPC, ... instead
    ├── NotSupportedByBrokerError            the broker is too old for what was asked; nothing was sent
    ├── PartialError                         some of the brokers that were asked have failed; the others' answers are in `result`
    └── WindowFullError                      send_nowait() while the window of unanswered sends is full

Every error carries `hint`: what the user can do, and `cause`: the error that led to it, whose reason the text names in one line. There
is no chain of tracebacks, neither by `__cause__` nor by `__context__`: the frames below the call that failed help nobody who uses it.
Errors about a broker carry `code`, `broker` and `topic`; failed sends carry `attempts` (one line for each try), `retriable`, and
`maybe_stored`: False means that the broker certainly has not stored the message. All of it survives copying and pickling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from aiorocketmq.error_root import RocketMQError, discreet, fresh
from aiorocketmq.wording import one_line

__all__ = [
    "AccessDeniedError", "AccessError", "AlreadyExistsError", "AuthenticationError", "BrokerBusyError", "BrokerError",
    "BrokerNotFoundError", "ClientClosedError", "ClientStateError", "ConfigError", "ConnectError", "ConnectionLostError",
    "ConsumerNotOnlineError", "CredentialsError", "ExpiredTokenError", "ForkedClientError", "GroupAlreadyRegisteredError",
    "GroupNotExistError", "InvalidMessageError", "InvalidNameError", "InvalidParameterError", "ListenerError", "MessageIllegalError",
    "MessageRefusedError", "MissingCredentialsError", "NoAnswerError", "NoNameServerError", "NoPermissionError",
    "NotSupportedByBrokerError", "OffsetNotFoundError", "PartialError", "ProtocolError", "QueryNotFoundError", "ReceiptError",
    "RefusedError", "RemotingError", "ReplyTimeoutError", "RequestTimeoutError", "RocketMQError", "RouteError", "SendDeniedError",
    "SendError", "SendRefusedError", "SendTimeoutError", "SendUnreachableError", "ServiceNotAvailableError", "SubscriptionError",
    "TLSError", "TooManyRequestsError", "TopicNotExistError", "TopicNotFoundError", "UnknownAccessKeyError", "UnreachableError",
    "UnsupportedRequestError", "UsageError", "WindowFullError", "WrongProtocolError", "WrongSignatureError", "broker_error",
    "broker_not_found", "discreet", "fresh", "send_error_kind",
]  # fmt: skip


class UsageError(RocketMQError):
    """The caller's mistake: the same call cannot work, whatever the servers do. Nothing was sent, or a broker said so."""


class UnreachableError(RocketMQError):
    """There is no way to where the call had to go; nothing was sent."""

    retriable = True


class RefusedError(RocketMQError):
    """A broker or name server answered with an error code.

    Attributes:
        code: Response code of the answer.
    """

    code: int | None


class NoAnswerError(RocketMQError, TimeoutError):
    """No answer came in time; what was asked for may or may not have been done."""

    retriable = True


class ConfigError(UsageError, ValueError):
    """A configuration field has a value that cannot work; the message names the field, the value and the cure."""


class InvalidMessageError(UsageError, ValueError):
    """The message would be, or was, refused by the broker (Java: client code 13, MESSAGE_ILLEGAL); it is not stored."""


class InvalidNameError(UsageError, ValueError):
    """A topic or group name is not legal; nothing was sent."""


class ClientStateError(UsageError):
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

    def __init__(
        self,
        message: str = "",
        *,
        address: str = "",
        maybe_sent: bool | None = None,
        hint: str | None = None,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message, hint=hint, cause=cause)
        self.address = address
        if maybe_sent is not None:
            self.maybe_sent = maybe_sent


class ConnectError(RemotingError, UnreachableError):
    """No connection could be made; nothing was sent."""


class TLSError(RemotingError, UnreachableError):
    """The TLS handshake or the verification of the peer failed; nothing was sent. `retriable` when the peer broke the handshake off.

    Attributes:
        reason: Which: unknown-authority, self-signed, expired, not-yet-valid, wrong-host, revoked, weak-key, old-version; also not-tls,
            closed, timed-out, client-certificate, other.
    """

    retriable = False
    reason: str = "other"


class ConnectionLostError(RemotingError):
    """The connection went while an answer was awaited; the peer may or may not have carried out the request."""

    maybe_sent = True


class RequestTimeoutError(RemotingError, NoAnswerError):
    """No answer came within the time allowed; the peer may or may not have carried out the request."""

    maybe_sent = True


class TooManyRequestsError(RemotingError):
    """The limit of requests in flight is reached; nothing was sent (Java: RemotingTooMuchRequestException)."""


class CredentialsError(UnreachableError):
    """The credentials of a request could not be had: their provider failed, or answered something else. Nothing was sent."""


class RouteError(UnreachableError):
    """There is no way to the topic or broker at the moment."""

    def __init__(self, message: str = "", *, topic: str = "", hint: str | None = None, cause: BaseException | None = None) -> None:
        super().__init__(message, hint=hint, cause=cause)
        self.topic = topic


class NoNameServerError(RouteError):
    """No name server is configured, or none can be reached (Java: client code 10004)."""

    hint = "give name_servers=, or set NAMESRV_ADDR, and check that the name server runs"


class TopicNotFoundError(RouteError):
    """No name server knows the topic (Java: client code 10005, "No route info of this topic")."""

    hint = "create the topic first, or set autoCreateTopicEnable=true on the broker"


class BrokerNotFoundError(RouteError):
    """The broker has no address in any route (Java: client code 10003)."""


def broker_not_found(broker: str, *, topic: str = "", master: bool = False, hint: str | None = None) -> BrokerNotFoundError:
    """Make the error of every look-up of a broker's address.

    Args:
        broker: Broker name.
        topic: Topic that the look-up was for, or "".
        master: True when another address than the master's will not do.
        hint: The cure; by default to look whether the broker runs.
    """
    what = "no master address" if master else "no address"
    where = f"in the route of topic {topic!r}" if topic else "in any route"
    return BrokerNotFoundError(f"broker {broker!r} has {what} {where}", topic=topic, hint=hint or "check that the broker runs")


class BrokerError(RefusedError):
    """The broker or name server answered with an error code (Java: MQBrokerException).

    Attributes:
        code: The response code of the wire, see `aiorocketmq.protocol.codes.ResponseCode`.
        remark: The peer's own text, whole; `message` shows a thousand characters of it, on one line.
        broker: Broker name or address that answered.
        topic: Topic of the request, or "".
    """

    default_code: int = 1
    code: int

    def __init__(
        self,
        message: str = "",
        *,
        code: int | None = None,
        broker: str = "",
        topic: str = "",
        hint: str | None = None,
        cause: BaseException | None = None,
    ) -> None:
        self.code = self.default_code if code is None else code
        self.remark = message
        self.broker = broker
        self.topic = topic
        where = f" from {broker}" if broker else ""
        super().__init__(f"code {self.code}{where}: {one_line(message) or type(self).__name__}", hint=hint, cause=cause)


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
    """Codes 14 SERVICE_NOT_AVAILABLE and 1500 GO_AWAY: the broker cannot store at the moment (starting, stopping, disk full)."""

    default_code = 14
    retriable = True


class NoPermissionError(BrokerError):
    """Code 16 NO_PERMISSION."""

    default_code = 16
    hint = "check the topic's permission and the credentials"


class AccessError(RefusedError):
    """Who asks is not known to the server, or may not do that: the same call with the same credentials cannot work, and is not repeated."""


class AccessDeniedError(NoPermissionError, AccessError):
    """The user is known and may not do this: no policy allows it, or one denies it. Nothing was done."""

    hint = "ask an administrator to allow it: the text names user and resource"


class AuthenticationError(NoPermissionError, AccessError):
    """The server does not accept who asks; the four classes below tell why where its text does. Nothing was done."""

    hint = "check the credentials, and that the user is enabled"


class MissingCredentialsError(AuthenticationError):
    """The server wants credentials, and the request had none."""

    hint = "give credentials=Credentials(access_key, secret_key)"


class UnknownAccessKeyError(AuthenticationError):
    """The server knows no user or account of this access key."""

    hint = "check access_key, and that this server has the user: brokers keep users of their own"


class WrongSignatureError(AuthenticationError):
    """The access key is known, and the secret key is not the one that belongs to it."""

    hint = "check secret_key; with one that is right, something on the way changes requests"


class ExpiredTokenError(AuthenticationError):
    """The security token of temporary credentials has expired or is not valid."""

    hint = "get new credentials; a function as credentials= is asked for each request"


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
    1500: ServiceNotAvailableError,
}


_ACCESS_CODES: Final = (NoPermissionError.default_code, BrokerError.default_code)  # before 5.x access control answers with 1
_ACCESS_TEXTS: Final[tuple[tuple[str, type[BrokerError]], ...]] = (
    (r"token.*(expired|invalid)|(expired|invalid).*token", ExpiredTokenError),
    (r"username cannot be null|authentication (field|header) is null|no accesskey is configured", MissingCredentialsError),
    (r"user:\S* (is )?not found|no acl config for|no plainaccessresource for", UnknownAccessKeyError),
    (r"check signature failed|signature-failed", WrongSignatureError),
    (r"user:\S* is disabled", AuthenticationError),
    (r"has no permission to access|no default permission|need admin permission|no permission for", AccessDeniedError),
)
"""What the texts of access control mean; it has no codes of its own."""


def broker_error(code: int, remark: str | None, *, broker: str = "", topic: str = "") -> BrokerError:
    """Make the error that stands for a response code; codes without a class of their own give a plain `BrokerError`."""
    kind = _BY_CODE.get(code, BrokerError)
    if code in _ACCESS_CODES and remark:
        kind = next((found for text, found in _ACCESS_TEXTS if re.search(text, remark, re.IGNORECASE)), kind)
    return kind(remark or "", code=code, broker=broker, topic=topic)


class SendError(RocketMQError):
    """A send failed for good, after all tries; `cause` is the last try's error, and the class tells its kind.

    Attributes:
        topic: Topic of the message.
        attempts: One line for each try: broker, what went wrong, time spent.
        maybe_stored: False when certainly no broker has stored the message; True when one may have.
        code: Response code of the last try, or None when no broker answered.
        broker: Broker of the last try, or "".
    """

    def __init__(
        self,
        message: str = "",
        *,
        topic: str = "",
        attempts: tuple[str, ...] = (),
        maybe_stored: bool = False,
        code: int | None = None,
        broker: str = "",
        retriable: bool = True,
        hint: str | None = None,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message, hint=hint, cause=cause)
        self.topic = topic
        self.attempts = attempts
        self.maybe_stored = maybe_stored
        self.code = code
        self.broker = broker
        self.retriable = retriable


class SendUnreachableError(SendError, UnreachableError):
    """No broker that could take the message was reached, also when the deadline passed meanwhile; nothing was stored."""


class SendRefusedError(SendError, RefusedError):
    """A broker refused the message; `cause` is its `BrokerError`."""


class MessageRefusedError(SendRefusedError, InvalidMessageError):
    """A broker found the message itself illegal: a delay that is too long, too many properties, ... (code 13, MESSAGE_ILLEGAL)."""


class SendDeniedError(SendRefusedError, AccessError):
    """A broker does not accept who sends, or does not let it send there; `cause` is its `AuthenticationError` or `AccessDeniedError`."""


class SendTimeoutError(SendError, NoAnswerError):
    """The deadline of the whole send passed before a broker confirmed the message."""


def send_error_kind(cause: BaseException | None, *, maybe_stored: bool, timed_out: bool) -> type[SendError]:
    """The class that tells why a send failed.

    Args:
        cause: Error of the last try, or None when there was none.
        maybe_stored: Whether a broker may have stored the message in any of the tries.
        timed_out: Whether the deadline has passed.
    """
    if isinstance(cause, UnreachableError) and not maybe_stored:
        return SendUnreachableError
    if timed_out:
        return SendTimeoutError
    if isinstance(cause, BrokerError) and not maybe_stored:
        if isinstance(cause, AccessError):
            return SendDeniedError
        return MessageRefusedError if cause.code == MessageIllegalError.default_code else SendRefusedError
    return SendTimeoutError if isinstance(cause, RequestTimeoutError) else SendError


class ReplyTimeoutError(NoAnswerError):
    """Nobody has replied to a request in time (Java: `RequestTimeoutException`, code 10006). A responder may have carried it out.

    Attributes:
        topic: Topic of the request.
        correlation_id: What a late reply, which is dropped, would carry.
        message_id: Id of the request's message.
        maybe_stored: True: a broker has the request.
    """

    code = 10006

    def __init__(
        self,
        message: str = "",
        *,
        topic: str = "",
        correlation_id: str = "",
        message_id: str = "",
        hint: str | None = None,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message, hint=hint, cause=cause)
        self.maybe_stored = True
        self.topic = topic
        self.correlation_id = correlation_id
        self.message_id = message_id


class NotSupportedByBrokerError(RocketMQError):
    """The broker is too old, or not set up, for what was asked; nothing was sent.

    Attributes:
        feature: What was asked for.
        broker: Name of the broker.
        broker_version: Its version, for example `V4_9_7`.
    """

    def __init__(
        self,
        message: str,
        *,
        feature: str = "",
        broker: str = "",
        broker_version: str = "",
        hint: str | None = None,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message, hint=hint, cause=cause)
        self.feature = feature
        self.broker = broker
        self.broker_version = broker_version


class PartialError(RocketMQError):
    """Of several brokers that were asked some have failed; what the others have done or told is not lost.

    Attributes:
        result: What the brokers that answered give together, of the type that the call returns.
        errors: Broker name → what went wrong there.
    """

    def __init__(
        self,
        message: str = "",
        *,
        result: Any = None,
        errors: Mapping[str, Exception] | None = None,
        hint: str | None = None,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message, hint=hint, cause=cause)
        self.result = result
        self.errors = dict(errors or {})


class WindowFullError(RocketMQError):
    """`send_nowait()` was called while the window of unanswered sends was full; nothing was sent."""

    retriable = True
    hint = "await some of the returned futures, or use `await producer.send()`, which waits for room"


class AlreadyExistsError(UsageError):
    """What was to be created is there already; nothing was changed."""


class ReceiptError(UsageError):
    """A message cannot be acknowledged, or kept longer: this group has not received it, or its invisible time is over."""


class ListenerError(UsageError):
    """A listener was declared, or answered, in a way that cannot work."""
