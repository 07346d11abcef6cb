"""What the blocking twin of a consumer that is asked for messages has by hand: the loop over them, and what an exception in it means.

A thread gets a run of messages at a time, as the way to the event loop and back costs more than a message. Those that it has not begun go
back before anything else is asked of the consumer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from aiorocketmq.consumer.lite_pull import LitePullConsumer
from aiorocketmq.sync.base import BlockingClient

if TYPE_CHECKING:
    from aiorocketmq.model.received import ReceivedMessage

T = TypeVar("T")
P = ParamSpec("P")
L = TypeVar("L", bound=LitePullConsumer)


class BlockingPoller(BlockingClient[L]):
    """A blocking consumer to loop over; one thread at a time asks it for messages."""

    def __init__(self, consumer: L) -> None:
        super().__init__(consumer)
        self._ahead: deque[ReceivedMessage] = deque()
        self._current: ReceivedMessage | None = None
        self._cut_off = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ReceivedMessage:
        if not self._ahead:
            messages = self._ask(self._async._next_run)
            if not messages:
                raise StopIteration
            self._ahead.extend(messages)
        self._current = message = self._ahead.popleft()
        return message

    def _poll(self, max_messages: int | None = None, *, timeout: float | timedelta | None = None) -> list[ReceivedMessage]:
        self._give_back()
        return self._ask(self._async.poll, max_messages, timeout=timeout)

    def _ask(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Get messages; an interrupt may let some fall between the event loop and this thread."""
        if self._cut_off:
            self._give_back()
        self._current = None
        try:
            return super()._call(function, *args, **kwargs)
        except BaseException:
            self._cut_off = True
            raise

    def _give_back(self, *, current: bool = False) -> None:
        """What the loop has not begun is given again; with `current`, what it has not ended, too."""
        if self._cut_off:
            self._cut_off = False
            super()._run(self._async._take_back, None)
        back = [self._current] if current and self._current is not None else []
        back += self._ahead
        self._ahead.clear()
        if back:
            super()._run(self._async._take_back, back)

    def _call(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self._give_back()
        return super()._call(function, *args, **kwargs)

    def _run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self._give_back()
        return super()._run(function, *args, **kwargs)

    def stop(self) -> None:
        """Stop pulling, save what is consumed and leave the group; wait until that is done. What was given counts as consumed."""
        self._give_back()
        super().stop()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None:
            self.stop()
            return
        looping = self._current is not None
        self._give_back(current=True)
        if looping:  # what the loop has ended is consumed
            super().stop()
        else:  # the messages of the last `poll()` come again
            self._end(self._async._abandon)
