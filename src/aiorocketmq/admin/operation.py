"""What an admin operation is: a declaration that the kernel carries out (Java: one method of `MQClientAPIImpl` for each)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

from aiorocketmq.errors import BrokerError, RocketMQError
from aiorocketmq.protocol.beans import Bean
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import Header

A = TypeVar("A")
B = TypeVar("B", bound=Bean)
H = TypeVar("H", bound=Header)

SUCCESS: Final = frozenset({int(ResponseCode.SUCCESS)})


class Where(Enum):
    """Who is asked, where the call does not say otherwise."""

    MASTERS = "the masters of a cluster, or of all clusters"
    HOLDERS = "the brokers that hold a topic, masters where they are up"
    QUEUE = "the broker that holds a queue"
    NAME_SERVER = "one name server, whichever answers"
    NAME_SERVERS = "every name server"


@dataclass(frozen=True, slots=True)
class Operation(Generic[A]):
    """One request that servers carry out.

    Attributes:
        name: What it does, in words that go before a name: "stats of topic".
        code: Its request code.
        where: Who is asked.
        read: Makes the answer of one server from its response.
        accept: Response codes that are no error.
        absent: Errors by which a server says that it has nothing: it is left out of the answers.
        explain: Makes a better error of a server's, or None where there is none to be made.
    """

    name: str
    code: int
    where: Where
    read: Callable[[RemotingCommand], A]
    accept: frozenset[int] = SUCCESS
    absent: tuple[type[RocketMQError], ...] = ()
    explain: Callable[[BrokerError, str], RocketMQError | None] | None = None


def nothing(response: RemotingCommand) -> None:
    """For requests whose answer says that it is done, and no more."""


def body(kind: type[B]) -> Callable[[RemotingCommand], B]:
    """For answers that are one record in the body."""
    return lambda response: kind.decode(response.body)


def header(kind: type[H]) -> Callable[[RemotingCommand], H]:
    """For answers that are fields of the header."""
    return lambda response: kind.from_ext(response.ext_fields)
