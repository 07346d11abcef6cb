"""Listeners whose results are replies (Java: a listener that calls `MessageUtil.createReplyMessage`). Features D4-D6."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Final, cast

from aiorocketmq.client.replies import expired, is_request, send_reply
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.consumer.listener import is_async, name_of
from aiorocketmq.core.clock import epoch_ms
from aiorocketmq.errors import ListenerError, SendError
from aiorocketmq.model import properties as props
from aiorocketmq.model.message import Message
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.codes import ResponseCode

if TYPE_CHECKING:
    from aiorocketmq.consumer.runtime import PushRuntime

REPLY_TIMEOUT: Final = 3.0
"""Seconds in which a reply has to reach its broker."""
_THREAD_PATIENCE: Final = 2.0
"""Seconds beyond that after which a thread does not wait for the event loop any more."""

logger = logging.getLogger("aiorocketmq.consumer")

Answer = bytes | Message | None
"""What a responder may return: the body of the reply, a message whose topic does not matter, or None for no reply."""
ResponderFunction = Callable[[ReceivedMessage], Answer | Awaitable[Answer]]
"""A function that answers requests: `def` or `async def`."""


class Responder:
    """Makes a listener of a function that returns replies.

    Args:
        function: The user's.
        runtime: Gives what the consumer runs on; None before its start.
    """

    def __init__(self, function: ResponderFunction, runtime: Callable[[], PushRuntime | None]) -> None:
        self._function = function
        self._name = name_of(function)
        self._runtime = runtime
        self._log = StateLog(logger)

    @property
    def listener(self) -> Callable[[ReceivedMessage], object]:
        """The listener: `async def` when the function is, else `def`. It goes by the name of the function."""

        async def on_loop(request: ReceivedMessage) -> None:
            await self._on_loop(request)

        def in_thread(request: ReceivedMessage) -> None:
            self._in_thread(request)

        listener: Callable[[ReceivedMessage], object] = on_loop if is_async(self._function) else in_thread
        listener.__qualname__ = self._name
        return listener

    async def _on_loop(self, request: ReceivedMessage) -> None:
        if self._wanted(request):
            answer = await cast("Awaitable[Answer]", self._function(request))
            await self._reply(request, answer)

    def _in_thread(self, request: ReceivedMessage) -> None:
        if self._wanted(request):
            answer = self._function(request)
            work, limit = self._reply(request, answer), REPLY_TIMEOUT + _THREAD_PATIENCE
            try:
                # The reply leaves on the event loop; the thread waits, so that the request is consumed after it.
                replied = asyncio.run_coroutine_threadsafe(work, self._running().loop)
            except RuntimeError:  # the loop is closed
                work.close()
                raise
            try:
                replied.result(limit)
            except TimeoutError:
                if not replied.cancel():
                    raise  # the reply's own
                raise ListenerError(
                    f"the reply of {self._name} to request {request.message_id!r} for topic {request.topic!r} was not sent: "
                    f"the event loop did not come to it within {limit:g} s",
                    hint="something blocks the event loop: look for calls without await in async def code",
                ) from None

    def _running(self) -> PushRuntime:
        runtime = self._runtime()
        assert runtime is not None  # it has called the listener
        return runtime

    def _wanted(self, request: ReceivedMessage) -> bool:
        """False for a request whose sender waits no more: to carry it out would only do harm."""
        if not expired(request, epoch_ms(time.time)):
            return True
        text = "request %s for topic %s is older than its time-out of %s ms, as this machine's clock goes: %s is not called"
        self._log.note(logging.WARNING, "old", text, request.message_id, request.topic, request.properties.get(props.TTL), self._name)
        return False

    async def _reply(self, request: ReceivedMessage, answer: object) -> None:
        if answer is None:
            return
        if not isinstance(answer, bytes | Message):
            hint = "return bytes or a Message, or None for no reply"
            if isinstance(answer, CoroutineType):
                answer.close()
                hint = "declare it with async def"
            raise ListenerError(f"responder {self._name} of topic {request.topic!r} returned a {type(answer).__name__}", hint=hint)
        if not is_request(request):
            text = "message %s of topic %s is no request: what %s returned is dropped"
            self._log.note(logging.WARNING, "no request", text, request.message_id, request.topic, self._name)
            return
        try:
            await send_reply(self._running().instance.inner_producer, request, answer, REPLY_TIMEOUT)
        except SendError as error:
            if error.code != ResponseCode.SYSTEM_ERROR:
                raise  # the request comes again, and its reply with it
            text = "the reply to request %s for topic %s could not be handed over, its sender is gone: %s"
            self._log.note(logging.WARNING, "gone", text, request.message_id, request.topic, error.message)
