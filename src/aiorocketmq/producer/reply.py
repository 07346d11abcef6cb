"""Where the outcome of a send goes: the one who awaits `send()`, a future, or a blocked thread.

There is no Java twin (there: `SendCallback`). A `SendOperation` tells its outcome to a `Reply`, once. An `asyncio.Future` is one, for
`send_nowait()`; `DirectReply` is the cheap one for a task that awaits right now; the blocking classes bring their own.
"""

from __future__ import annotations

from typing import Protocol

from aiorocketmq.model.results import SendResult


class Reply(Protocol):
    """Takes the outcome of one send; called from the event loop, at most once and only while `done()` is False."""

    def done(self) -> bool: ...
    def set_result(self, result: SendResult | None, /) -> None: ...
    def set_exception(self, error: BaseException, /) -> None: ...
