"""The layer in front of every handler: what is asked, by whom, whether it may be, and what an error answers (Java:
`NettyRemotingAbstract.processRequestCommand`, `RequestHeaderRegistry`, and the annotations `@RocketMQAction` and `@RocketMQResource`).

A server declares its operations as rows of a table: request code, type of the header, type of the body, what it needs permission for,
handler. Everything that can be said about a request from this declaration alone is done here, once: the fields are read and checked
against the limits that stand beside them, the body is parsed within its size, permission is asked for, requests are counted. A handler
sees checked values only. What it raises is the failure of its own request: a `BrokerError` carries the code and text of the answer, a
malformed field becomes code 1, as with a real server, and a value outside its limits code 29.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from typing import Any, Final, Generic, TypeVar, overload

from aiorocketmq.errors import BrokerError, ConfigError, InvalidNameError, ProtocolError, RocketMQError, broker_error
from aiorocketmq.model.parsing import address_or_none
from aiorocketmq.protocol import fastjson
from aiorocketmq.protocol.beans import Bean, check
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import Header
from aiorocketmq.remoting.channel import Channel

MAX_BODY: Final = 512 * 1024
"""Bytes of a body that is parsed, unless its row says otherwise."""
_NO_EXT: Final[Mapping[str, str]] = {}

HeaderT = TypeVar("HeaderT", bound=Header)
BodyT = TypeVar("BodyT")
BeanT = TypeVar("BeanT", bound=Bean)
Handler = Callable[[RemotingCommand, Channel], "RemotingCommand | None"]


class Action(Enum):
    """What a request does (Java: `Action`)."""

    PUB = "Pub"
    SUB = "Sub"
    CREATE = "Create"
    UPDATE = "Update"
    DELETE = "Delete"
    GET = "Get"
    LIST = "List"


class Resource(Enum):
    """What it does it to (Java: `ResourceType`)."""

    CLUSTER = "Cluster"
    TOPIC = "Topic"
    GROUP = "Group"


@dataclass(frozen=True, slots=True)
class Need:
    """One permission that an operation needs.

    Attributes:
        action: What is done.
        resource: To what kind of thing.
        named: The header's attribute that names it, or a function that finds the names in the request; "" for the whole cluster.
        others: Actions that are enough as well.
    """

    action: Action
    resource: Resource
    named: str | Callable[[Request[Any, Any]], Iterable[str]] = ""
    others: tuple[Action, ...] = ()

    def names(self, request: Request[Any, Any]) -> Iterable[str]:
        """Names of the things that this request is about; one empty name for the whole cluster."""
        if callable(self.named):
            return self.named(request)
        return (getattr(request.header, self.named) or "",) if self.named else ("",)


Permit = Callable[["Request[Any, Any]", Need, str], None]
"""Raises a `BrokerError` when the peer may not do what it asks to a resource of this name."""
Authenticate = Callable[[RemotingCommand, Channel], None]
"""Raises a `BrokerError` when it is not certain who the peer is."""


class Session:
    """Who is at the other end of a connection; mutable, because heartbeats tell more.

    Attributes:
        channel: The connection.
        client_id: What its heartbeats say; "" before the first.
        producer_groups: Groups that it heartbeated.
        consumer_groups: The same for consumers.
        host: IP address and port of the peer as they are stored with messages.
        user: Who signed its last request; "" where nobody has to.
    """

    __slots__ = ("channel", "client_id", "consumer_groups", "host", "producer_groups", "user")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.client_id = ""
        self.producer_groups: set[str] = set()
        self.consumer_groups: set[str] = set()
        self.host = _packed_address(channel.address)
        self.user = ""

    @property
    def address(self) -> str:
        """`host:port` of the peer."""
        return self.channel.address


def _packed_address(text: str) -> tuple[bytes, int]:
    address = address_or_none(text)
    try:
        return (ip_address(address.host.partition("%")[0]).packed, address.port) if address is not None else (b"\x7f\x00\x00\x01", 0)
    except ValueError:
        return b"\x7f\x00\x00\x01", address.port if address is not None else 0


def session_of(channel: Channel) -> Session:
    """The session of a connection, which lasts as long as that."""
    session = channel.context
    if not isinstance(session, Session):
        session = channel.context = Session(channel)
    return session


class Request(Generic[HeaderT, BodyT]):
    """One request, checked. It is answered by what the handler returns, or later by `reply` or `fail`.

    Attributes:
        command: The frame.
        session: Who asks.
        operation: Its row of the table.
        header: Its fields.
        body: Its body: parsed where the row says what it is, else bytes.
    """

    __slots__ = ("body", "command", "header", "operation", "session")

    def __init__(
        self, command: RemotingCommand, session: Session, operation: Operation[HeaderT, BodyT], header: HeaderT, body: BodyT
    ) -> None:
        self.command = command
        self.session = session
        self.operation = operation
        self.header = header
        self.body = body

    @property
    def channel(self) -> Channel:
        return self.session.channel

    @property
    def code(self) -> int:
        return self.command.code

    @property
    def version(self) -> int:
        """Version of the peer, see `codes.version_name`."""
        return self.command.version

    def answer(
        self, code: int = 0, remark: str | None = None, header: Header | Mapping[str, str] | None = None, body: bytes = b""
    ) -> RemotingCommand:
        """Make an answer; it is sent when the handler returns it, or by `reply`."""
        return RemotingCommand.response(self.command, code, remark, header, body)

    def failure(self, error: RocketMQError) -> RemotingCommand:
        """Make the answer that an error stands for."""
        answer = RemotingCommand.response(self.command, *outcome(error))
        answer.ext_fields.update(self.operation.failure_ext)
        return answer

    def reply(self, answer: RemotingCommand) -> None:
        """Send an answer after the handler has returned None. On a closed connection, and for a one-way request, nothing happens."""
        self.session.channel.reply(self.command, answer)

    def done(self, error: RocketMQError | None) -> None:
        """Answer with success, or with what the error stands for: the usual end of a change."""
        self.reply(self.answer() if error is None else self.failure(error))


Plain = Request[HeaderT, bytes]
"""A request whose body is not parsed."""


@dataclass(frozen=True, slots=True, eq=False)
class Operation(Generic[HeaderT, BodyT]):
    """One row of a server's table; made by `operation`.

    Attributes:
        code: Request code.
        header: Type of its header.
        body: Type of its body, or None when the handler wants the bytes.
        handler: Carries it out: returns the answer, or None when it comes later.
        needs: Permissions.
        max_body: Bytes of the longest body that is parsed.
        failure_ext: Fields that every failure of this operation carries.
    """

    code: int
    header: type[HeaderT]
    body: type[Bean] | None
    handler: Callable[[Request[HeaderT, BodyT]], RemotingCommand | None]
    needs: tuple[Need, ...]
    max_body: int = MAX_BODY
    failure_ext: Mapping[str, str] = field(default_factory=dict)


@overload
def operation(
    code: int,
    header: type[HeaderT],
    handler: Callable[[Request[HeaderT, bytes]], RemotingCommand | None],
    *needs: Need,
    failure_ext: Mapping[str, str] = _NO_EXT,
) -> Operation[HeaderT, bytes]: ...


@overload
def operation(
    code: int,
    header: type[HeaderT],
    handler: Callable[[Request[HeaderT, BeanT]], RemotingCommand | None],
    *needs: Need,
    body: type[BeanT],
    max_body: int = MAX_BODY,
) -> Operation[HeaderT, BeanT]: ...


def operation(
    code: int,
    header: type[Header],
    handler: Callable[[Request[Any, Any]], RemotingCommand | None],
    *needs: Need,
    body: type[Bean] | None = None,
    max_body: int = MAX_BODY,
    failure_ext: Mapping[str, str] = _NO_EXT,
) -> Operation[Any, Any]:
    """Declare a row."""
    return Operation(code, header, body, handler, needs, max_body, failure_ext)


@dataclass(slots=True)
class Count:
    """What became of the requests of one code so far; mutable.

    Attributes:
        handled: Reached the handler.
        refused: Did not: malformed, outside the limits, not permitted.
        failed: Reached the handler, which refused them.
    """

    handled: int = 0
    refused: int = 0
    failed: int = 0


class RequestTable:
    """The operations of one server.

    Args:
        operations: Its rows.
        permit: Asked for every permission that a row needs; None allows everything.
        authenticate: Asked for every request before anything else; None lets everybody in.
        undo: Called when a handler refuses a request, or fails: whatever it has begun must not stay.
    """

    def __init__(
        self,
        operations: Iterable[Operation[Any, Any]],
        permit: Permit | None = None,
        authenticate: Authenticate | None = None,
        undo: Callable[[], None] = lambda: None,
    ) -> None:
        self.operations: dict[int, Operation[Any, Any]] = {row.code: row for row in operations}
        self.counts: dict[int, Count] = {code: Count() for code in self.operations}
        self.permit = permit
        self.undo = undo
        self.authenticate = authenticate

    def handle(self, command: RemotingCommand, channel: Channel) -> RemotingCommand | None:
        """Answer a request, or see that it is answered later (None)."""
        row = self.operations.get(command.code)
        if self.authenticate is not None:
            try:
                self.authenticate(command, channel)
            except BrokerError as refusal:
                if row is not None:
                    self.counts[command.code].refused += 1
                return RemotingCommand.response(command, *outcome(refusal))
        if row is None:
            error = broker_error(ResponseCode.REQUEST_CODE_NOT_SUPPORTED, f" request type {command.code} not supported")
            return RemotingCommand.response(command, *outcome(error))
        count = self.counts[command.code]
        try:
            header = row.header.from_ext(command.ext_fields, limited=True)
            body = command.body if row.body is None else _parsed(row.body, command.body, row.max_body)
            request = Request(command, session_of(channel), row, header, body)
            if self.permit is not None:
                for need in row.needs:
                    for name in need.names(request):
                        self.permit(request, need, name)
        except (BrokerError, ProtocolError, ConfigError) as error:
            count.refused += 1
            answer = RemotingCommand.response(command, *outcome(error))
            answer.ext_fields.update(row.failure_ext)
            return answer
        count.handled += 1
        try:
            return row.handler(request)
        except (BrokerError, ProtocolError, InvalidNameError) as error:
            count.failed += 1
            self.undo()
            return request.failure(error)
        except BaseException:
            self.undo()
            raise


def _parsed(kind: type[Bean], data: bytes, most: int) -> Bean:
    if len(data) > most:
        raise ConfigError(f"the body has {len(data)} bytes; at most {most} are allowed")
    body = kind.decode(data, max_dialect=fastjson.MAX_DIALECT)
    check(body, kind.__name__)
    return body


def outcome(error: RocketMQError) -> tuple[int, str]:
    """Code and text of the answer that an error stands for."""
    if isinstance(error, BrokerError):
        return error.code, error.remark
    if isinstance(error, ConfigError | InvalidNameError):
        return ResponseCode.INVALID_PARAMETER, error.message
    if isinstance(error, ProtocolError):
        return ResponseCode.SYSTEM_ERROR, f"{type(error).__name__}: {error.message}"
    return ResponseCode.SYSTEM_ERROR, error.message
