"""The root of the tree of errors, and how its errors are copied and pickled; everybody else takes them from `aiorocketmq.errors`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from aiorocketmq.wording import reason, travels


class RocketMQError(Exception):
    """Root of every error that this library raises.

    Attributes:
        message: What happened, without the hint.
        hint: One sentence that says what to do, or "" when there is nothing to say.
        cause: The error that led to this one, or None; its reason is a part of `message`.
        retriable: True when the same call may succeed later without any change.
        maybe_stored: False when certainly no broker has stored a message because of the call that raised this. Only a `SendError`
            and a `ReplyTimeoutError` can say True, so it may be read from whatever error a send raised.
    """

    hint: str = ""
    retriable: bool = False
    maybe_stored: bool = False

    def __init__(self, message: str = "", *, hint: str | None = None, cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        if hint is not None:
            self.hint = hint
        self.__suppress_context__ = True

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __copy__(self) -> RocketMQError:
        return fresh(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> RocketMQError:
        made = memo[id(self)] = fresh(self)
        # A foreign cause is shared: nothing says that it can be copied, and nobody changes it.
        if isinstance(self.cause, RocketMQError):
            made.cause = copy.deepcopy(self.cause, memo)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        # Not by the constructor, which makes the text of some fields; and the fields last, as a cause may lead back to this error.
        state = {name: _portable(value) for name, value in self.__dict__.items()}
        if self.cause is not None and "_cause_stays" in state:
            state["cause"] = RocketMQError(type(self.cause).__name__)
        return _made, (type(self), self.args, {}), state


_ErrorT = TypeVar("_ErrorT", bound=BaseException)
_OwnT = TypeVar("_OwnT", bound=RocketMQError)


def fresh(error: _ErrorT, **changes: object) -> _ErrorT:
    """A copy of one of our errors for another place: one instance raised in many collects the tracebacks of all.

    Args:
        error: The error; one that is not of our tree comes back as it is, because it may not be copyable.
        changes: Attributes that the copy has other values of.
    """
    return _made(type(error), error.args, {**error.__dict__, **changes}) if isinstance(error, RocketMQError) else error


def discreet(error: _OwnT) -> _OwnT:
    """This error, of whose cause pickles tell the class alone: what a function of the user's raises may hold the secret that it tells."""
    error.__dict__["_cause_stays"] = True
    return error


def _made(kind: type[_OwnT], args: tuple[Any, ...], state: Mapping[str, Any]) -> _OwnT:
    made = kind.__new__(kind, *args)
    made.args = args
    made.__dict__.update(state)
    if "__notes__" in state:
        made.__notes__ = [*state["__notes__"]]  # a note on one copy is none on the others
    made.__suppress_context__ = True
    return made


def _portable(value: Any) -> Any:
    """A field, with foreign errors in it only as far as they are certain to arrive: of the others their class and text."""
    if type(value) is dict:
        return {name: _portable(each) for name, each in value.items()}
    if not isinstance(value, BaseException) or isinstance(value, RocketMQError):
        return value
    return value if travels(value) else RocketMQError(reason(value))
