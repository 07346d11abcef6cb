"""What a broker asks its clients, and awaits an answer to: replies that they are to take, questions of administrators.

A client that answers nothing, as it does not read, keeps what it was asked in this process until the time for the answer is over: so no
more than a bounded number of bytes may be under way to each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiorocketmq.errors import RemotingError, TooManyRequestsError
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.frame import encode
from aiorocketmq.remoting.channel import Channel, ResponseWaiter

_MUCH: Final = 64 * 1024 * 1024
"""Bytes of unanswered questions to one client; a first one may be larger."""


class Questions:
    """Asks clients. Belongs to one event loop.

    Args:
        monotonic: The loop's clock.
        timeout: Seconds that a client may take to answer.
    """

    def __init__(self, monotonic: Callable[[], float], timeout: float = 10.0) -> None:
        self._monotonic = monotonic
        self._timeout = timeout
        self._under_way: dict[Channel, int] = {}

    def ask(self, channel: Channel, question: RemotingCommand, waiter: ResponseWaiter, timeout: float | None = None) -> None:
        """Ask, and have `waiter` told of the answer: exactly once, before this returns when the question is not sent.

        Args:
            channel: The client.
            question: What it is asked.
            waiter: Told of the answer.
            timeout: Seconds that it may take; None is what the others may.
        """
        frame = encode(question)
        under_way = self._under_way.get(channel, 0)
        if under_way and under_way + len(frame) > _MUCH:
            text = f"{channel.address} has not answered questions of {under_way} bytes yet"
            waiter.on_error(TooManyRequestsError(text, address=channel.address, maybe_sent=False))
            return
        self._under_way[channel] = under_way + len(frame)
        counted = _Counted(self, channel, len(frame), waiter)
        channel.submit(question.opaque, frame, counted, self._monotonic() + (self._timeout if timeout is None else timeout))

    def ended(self, channel: Channel, size: int) -> None:
        """A question of so many bytes was answered, or will not be."""
        left = self._under_way[channel] - size
        if left:
            self._under_way[channel] = left
        else:
            del self._under_way[channel]


class _Counted:
    """Counts down when the answer is there, and hands it on."""

    __slots__ = ("_channel", "_questions", "_size", "_waiter")

    def __init__(self, questions: Questions, channel: Channel, size: int, waiter: ResponseWaiter) -> None:
        self._questions = questions
        self._channel = channel
        self._size = size
        self._waiter = waiter

    def on_response(self, command: RemotingCommand) -> None:
        self._questions.ended(self._channel, self._size)
        self._waiter.on_response(command)

    def on_error(self, error: RemotingError) -> None:
        self._questions.ended(self._channel, self._size)
        self._waiter.on_error(error)
