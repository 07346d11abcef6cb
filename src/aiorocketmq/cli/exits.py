"""Exit codes, and which error ends a command with which."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from aiorocketmq.errors import (
    AccessError,
    AlreadyExistsError,
    BrokerNotFoundError,
    ConfigError,
    ConsumerNotOnlineError,
    GroupNotExistError,
    InvalidMessageError,
    InvalidNameError,
    NoPermissionError,
    OffsetNotFoundError,
    PartialError,
    QueryNotFoundError,
    RocketMQError,
    TopicNotExistError,
    TopicNotFoundError,
    UnreachableError,
)


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    REFUSED = 5
    PARTIAL = 6
    INTERRUPTED = 130


_CODES: Final[tuple[tuple[type[RocketMQError] | tuple[type[RocketMQError], ...], Exit], ...]] = (
    (PartialError, Exit.PARTIAL),
    ((AccessError, NoPermissionError, AlreadyExistsError), Exit.REFUSED),
    ((ConfigError, InvalidNameError, InvalidMessageError), Exit.USAGE),
    ((TopicNotFoundError, TopicNotExistError, GroupNotExistError, ConsumerNotOnlineError), Exit.NOT_FOUND),
    ((QueryNotFoundError, OffsetNotFoundError, BrokerNotFoundError), Exit.NOT_FOUND),
    (UnreachableError, Exit.UNREACHABLE),
)
"""Errors and their exit codes; the first that fits counts."""


def exit_code(error: RocketMQError) -> Exit:
    """The exit code that an error ends a command with."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)
