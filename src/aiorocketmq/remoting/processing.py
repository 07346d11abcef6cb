"""Answering the requests of a peer (Java: `NettyRemotingAbstract.processRequestCommand`). Features N2, N5, O4.

Whatever a processor does, the peer gets exactly one answer, unless the processor keeps the request to answer later: its result, code 3
for a request that nobody processes, or code 1 with the name of the error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from aiorocketmq.errors import RocketMQError
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.endpoint import SparseLog
from aiorocketmq.remoting.tasks import TaskSet

logger = logging.getLogger("aiorocketmq.remoting")


class Replier(Protocol):
    """The part of a channel that answering needs."""

    address: str

    def reply(self, request: RemotingCommand, response: RemotingCommand) -> None:
        """Send the answer."""


_ChannelT = TypeVar("_ChannelT", bound=Replier)
_Answer = RemotingCommand | Awaitable[RemotingCommand | None] | None


class Dispatcher(Generic[_ChannelT]):
    """Request code → processor. Mutable: processors may be registered while channels are open."""

    __slots__ = ("_sparse_log", "default_processor", "processors", "tasks")

    def __init__(self, sparse_log: SparseLog) -> None:
        self._sparse_log = sparse_log
        self.tasks = TaskSet()
        self.processors: dict[int, Callable[[RemotingCommand, _ChannelT], _Answer]] = {}
        self.default_processor: Callable[[RemotingCommand, _ChannelT], _Answer] | None = None

    def process(self, request: RemotingCommand, channel: _ChannelT) -> None:
        """Have the request answered: at once when the processor is a plain function, otherwise by a supervised task."""
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
