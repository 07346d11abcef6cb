"""From a request to its handler, and from an error to its answer (Java: `NettyRequestProcessor` and the catch-all around it).

Handlers answer by returning a response, answer later through the channel (None), or raise: a `BrokerError` carries the code and text of
the answer, a malformed header becomes code 1, as with a real server.
"""

from __future__ import annotations

from collections.abc import Callable

from aiorocketmq.errors import BrokerError, ProtocolError
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.channel import Channel

Handler = Callable[[RemotingCommand, Channel], "RemotingCommand | None"]


def guarded(handler: Handler) -> Handler:
    """Turn what a handler raises into the answer that it stands for."""

    def handle(request: RemotingCommand, channel: Channel) -> RemotingCommand | None:
        try:
            return handler(request, channel)
        except (BrokerError, ProtocolError) as error:
            return failure(request, error)

    return handle


def failure(request: RemotingCommand, error: BrokerError | ProtocolError) -> RemotingCommand:
    """The answer that an error stands for."""
    if isinstance(error, BrokerError):
        return RemotingCommand.response(request, error.code, error.remark)
    return RemotingCommand.response(request, ResponseCode.SYSTEM_ERROR, f"{type(error).__name__}: {error.message}")
