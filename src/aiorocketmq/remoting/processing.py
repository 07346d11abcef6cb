"""Answering the requests of a peer (Java: `NettyRemotingAbstract.processRequestCommand`). Features N2, N5, O4.

Whatever a processor does, the peer gets exactly one answer, unless the processor keeps the request to answer later: its result, code 3
for a request that nobody processes, or code 1 with the name of the error.

On a server, requests take turns: one chunk of received bytes may ask for minutes of work, and other connections must not wait for that.
What does not fit in a turn of the loop waits by connection, nothing more is read from that connection meanwhile, and those who wait are
served in a circle.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, Generic, Protocol, TypeVar

from aiorocketmq.errors import RocketMQError
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.endpoint import SparseLog
from aiorocketmq.remoting.tasks import TaskSet

logger = logging.getLogger("aiorocketmq.remoting")


TURN: Final = 0.01
"""Seconds of work on requests in one turn of a server's loop, but for a last one that takes longer."""
MAX_TASKS: Final = 1024
"""Requests whose processors are coroutines, at work at once; the rest is refused."""


class Replier(Protocol):
    """The part of a channel that answering needs."""

    address: str
    closed: bool

    @property
    def writable(self) -> bool:
        """False while the peer does not read."""

    def reply(self, request: RemotingCommand, response: RemotingCommand) -> None:
        """Send the answer."""

    def listen(self, willing: bool) -> None:
        """Read on, or read nothing for now."""

    def keep(self, request: RemotingCommand) -> None:
        """Hand the request in again once the peer reads."""


_ChannelT = TypeVar("_ChannelT", bound=Replier)
_Answer = RemotingCommand | Awaitable[RemotingCommand | None] | None


class Dispatcher(Generic[_ChannelT]):
    """Request code → processor. Mutable: processors may be registered while channels are open.

    Args:
        sparse_log: Where refused requests are told.
        turn: Seconds of work in one turn of the loop; None carries everything out at once.
    """

    __slots__ = ("_armed", "_paused", "_sparse_log", "_spent", "_turn", "_waiting", "default_processor", "processors", "tasks")

    def __init__(self, sparse_log: SparseLog, turn: float | None = None) -> None:
        self._sparse_log = sparse_log
        self._turn = turn
        self._spent = 0.0
        self._armed = False
        self._paused = False
        self._waiting: dict[_ChannelT, deque[RemotingCommand]] = {}
        self.tasks = TaskSet()
        self.processors: dict[int, Callable[[RemotingCommand, _ChannelT], _Answer]] = {}
        self.default_processor: Callable[[RemotingCommand, _ChannelT], _Answer] | None = None

    def process(self, request: RemotingCommand, channel: _ChannelT) -> None:
        """Have the request answered: in this turn of the loop if there is time, by a supervised task if its processor is a coroutine."""
        if self._turn is None:
            self._carry_out(request, channel)
            return
        queue = self._waiting.get(channel)
        if queue is not None:
            queue.append(request)
        elif self._spent < self._turn and not self._paused:
            self._timed(request, channel)
        else:
            self._waiting[channel] = deque((request,))
            channel.listen(False)

    def pause(self) -> None:
        """Carry out nothing until `proceed()`, and read nothing more from those who ask. For servers only."""
        self._paused = True

    def proceed(self) -> None:
        """Carry out what was asked for meanwhile, turn by turn."""
        self._paused = False
        if self._waiting:
            self._arm()

    def forget(self, channel: _ChannelT) -> None:
        """The channel is closed: what it asked for and did not get yet is dropped."""
        self._waiting.pop(channel, None)

    def _timed(self, request: RemotingCommand, channel: _ChannelT) -> None:
        began = time.monotonic()
        self._carry_out(request, channel)
        self._spent += time.monotonic() - began
        self._arm()

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._armed = False
        self._spent = 0.0
        assert self._turn is not None
        while self._waiting and self._spent < self._turn and not self._paused:
            channel = next(iter(self._waiting))
            queue = self._waiting.pop(channel)
            request = queue.popleft()
            if queue:
                self._waiting[channel] = queue  # behind the others
            if channel.writable:
                self._timed(request, channel)
            else:
                channel.keep(request)
            if not queue and not channel.closed:
                channel.listen(True)
        if self._waiting and not self._paused:
            self._arm()

    def _carry_out(self, request: RemotingCommand, channel: _ChannelT) -> None:
        processor = self.processors.get(request.code, self.default_processor)
        if processor is None:
            remark = f" request type {request.code} not supported"
            channel.reply(request, RemotingCommand.response(request, ResponseCode.REQUEST_CODE_NOT_SUPPORTED, remark))
            return
        try:
            answer = processor(request, channel)
        except RocketMQError as error:
            self._refused(request, channel, error)
            return
        except Exception as error:
            logger.exception("request code %d of %s could not be processed", request.code, channel.address)
            _reply_error(request, channel, error)
            return
        if answer is None:
            return
        if isinstance(answer, RemotingCommand):
            channel.reply(request, answer)
        elif len(self.tasks) >= MAX_TASKS:
            if isinstance(answer, Coroutine):
                answer.close()
            channel.reply(request, RemotingCommand.response(request, ResponseCode.SYSTEM_BUSY, f"{MAX_TASKS} requests are at work"))
        else:
            self.tasks.spawn(f"request {request.code} of {channel.address}", self._reply_later(request, channel, answer))

    async def _reply_later(self, request: RemotingCommand, channel: _ChannelT, answer: Awaitable[RemotingCommand | None]) -> None:
        try:
            response = await answer
        except RocketMQError as error:
            self._refused(request, channel, error)
            return
        except Exception as error:
            logger.exception("request code %d of %s could not be processed", request.code, channel.address)
            _reply_error(request, channel, error)
            return
        if response is not None:
            channel.reply(request, response)

    def _refused(self, request: RemotingCommand, channel: _ChannelT, error: RocketMQError) -> None:
        now = asyncio.get_running_loop().time()
        text = "request code %d of %s was refused: %s"
        self._sparse_log.record(now, f"refused {request.code}", text, request.code, channel.address, error)
        _reply_error(request, channel, error)


def _reply_error(request: RemotingCommand, channel: Replier, error: Exception) -> None:
    channel.reply(request, RemotingCommand.response(request, ResponseCode.SYSTEM_ERROR, f"{type(error).__name__}: {error}"))
