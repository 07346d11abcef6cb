"""What the blocking twin of a consumer that is asked for messages has by hand: the loop over them, and what an exception in it means.

A thread gets a run of messages at a time, as the way to the event loop and back costs more than a message; a thread that works long on each
gets them one by one, so that what it has ended counts. The event loop puts the run where the thread takes it message by message, and takes
back what the thread has not begun before it does anything else for anybody: another thread, a signal handler, a stop. So no message is on
its way from the one to the other at any moment.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar

from aiorocketmq.consumer.lite_pull import LitePullConsumer
from aiorocketmq.consumer.polling import RUN
from aiorocketmq.errors import RocketMQError
from aiorocketmq.sync.base import BlockingClient

if TYPE_CHECKING:
    from aiorocketmq.model.received import ReceivedMessage

RUN_TIME: Final = 0.02
"""Seconds of work that the messages of a run should be: so long none of them counts as consumed."""

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
        self._run_length = 1
        self._filled_at = 0.0

    # -- the thread that asks ------------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ReceivedMessage:
        while True:
            if self._ahead:
                # No call from here on: behind one a signal handler may run, or another thread, and the message would be nobody's.
                self._current = message = self._ahead[0]
                del self._ahead[0]
                return message
            if not super()._call(self._fill):
                raise StopIteration

    def _poll(self, max_messages: int | None = None, *, timeout: float | timedelta | None = None) -> list[ReceivedMessage]:
        self._current = None
        try:
            return self._call(self._async.poll, max_messages, timeout=timeout)
        except RocketMQError:
            raise
        except BaseException:
            self._cut_off = True  # an interrupt may have let some fall between the event loop and this thread
            raise

    def _call(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return super()._call(self._after_return, partial(function, *args, **kwargs))

    def _run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return super()._run(self._return_and_run, partial(function, *args, **kwargs))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None:
            self.stop()
        elif self._current is not None:  # what the loop has ended is consumed
            self._end(partial(self._stop_but, self._current))
        else:  # the messages of the last `poll()` come again
            self._end(self._async._abandon)

    # -- the loop ------------------------------------------------------------------------------------------------------------------------

    async def _fill(self) -> bool:
        """Put the next run where the looping thread takes it; False when the consumer has been stopped."""
        if self._ahead:
            return True  # for another thread that loops
        if self._cut_off:
            self._return()
        clock = asyncio.get_running_loop().time
        worked = max(clock() - self._filled_at, RUN_TIME / RUN)
        self._run_length = max(1, min(RUN, 2 * self._run_length, int(self._run_length * RUN_TIME / worked)))
        messages = await self._async._next_run(self._run_length)
        self._filled_at = clock()
        # In the same step of the event loop in which they are given out; what was here before the wait may have been exchanged.
        self._ahead.extend(messages)
        return bool(messages)

    def _return(self) -> None:
        """What no thread has begun is given again."""
        nothing: deque[ReceivedMessage] = deque()
        ahead, self._ahead = self._ahead, nothing  # one step: the looping thread takes none of them any more
        self._async._take_back(ahead)
        if self._cut_off:
            self._cut_off = False
            self._async._take_back(None)

    async def _after_return(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._return()
        return await function()

    def _return_and_run(self, function: Callable[[], T]) -> T:
        self._return()
        return function()

    async def _stop_twin(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        self._return()
        await super()._stop_twin(function, *args)

    async def _stop_but(self, current: ReceivedMessage) -> None:
        self._async._take_back([current])
        await self._async.stop()

    def _mark_forked(self) -> None:
        self._ahead = deque()  # the parent gives them to its own loop

    def _remains(self) -> Callable[[], object]:
        return partial(self._async._take_back, self._ahead)
