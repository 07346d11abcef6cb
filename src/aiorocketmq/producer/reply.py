"""Where the outcome of a send goes: the one who awaits `send()`, a future, or a blocked thread.

There is no Java twin (there: `SendCallback`). A `SendOperation` tells its outcome to a `Reply`, once. An `asyncio.Future` is one, for
`send_nowait()`; `DirectReply` is the cheap one for a task that awaits right now; the blocking classes bring their own.
"""

from __future__ import annotations

from typing import Final, Protocol

from aiorocketmq.model.results import SendResult
from aiorocketmq.wording import shown


class Reply(Protocol):
    """Takes the outcome of one send; called from the event loop, at most once and only while `done()` is False."""

    def done(self) -> bool: ...
    def set_result(self, result: SendResult | None, /) -> None: ...
    def set_exception(self, error: BaseException, /) -> None: ...


class _Nobody:
    """The reply of a message whose caller has gone."""

    def done(self) -> bool:
        return True

    def set_result(self, result: SendResult | None, /) -> None:
        raise AssertionError("there is nobody to tell a result to")

    def set_exception(self, error: BaseException, /) -> None:
        raise AssertionError("there is nobody to tell an error to")


NOBODY: Final = _Nobody()


def given_up(reply: Reply) -> Reply:
    """What takes the place of a reply whose caller has gone; one that hooks look at hears of it here."""
    reply.done()
    return NOBODY


def refused(reply: Reply, error: BaseException) -> None:
    """The caller of a send that has not begun is told an error in another way; one that hooks look at hears of it."""
    hear = getattr(reply, "refused", None)
    if hear is not None:
        hear(error)


def tell_error(reply: Reply, error: BaseException) -> None:
    """Tell an error to a reply that has no outcome yet; neither a future nor a coroutine can carry a `StopIteration`."""
    if isinstance(error, StopIteration):
        error = RuntimeError(f"a queue selector or a hook raised {shown(error)}")
    reply.set_exception(error)
