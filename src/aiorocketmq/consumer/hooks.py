"""What users may hang around their listeners (Java: `ConsumeMessageHook`, `FilterMessageHook`). Features E4, E5."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, Protocol, cast, runtime_checkable

from aiorocketmq.consumer.listener import Listener, Payload
from aiorocketmq.consumer.send_back import restore_topic
from aiorocketmq.model import properties as props
from aiorocketmq.model.enums import ConsumeResult, ConsumeReturnType
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import Retry, Suspend

_FAILED: Final = frozenset({ConsumeResult.RECONSUME_LATER, ConsumeResult.SUSPEND_CURRENT_QUEUE_A_MOMENT, ConsumeResult.ROLLBACK})

logger = logging.getLogger("aiorocketmq.consumer")


@dataclass(slots=True, eq=False)
class ConsumeContext:
    """One call of a listener as hooks see it (Java: `ConsumeMessageContext`). Mutable: it fills up on the way.

    Attributes:
        group: Consumer group.
        messages: What the listener gets: one message, or those of its list.
        started_at: When it is called, in seconds since the epoch.
        notes: For hooks to keep what they need until the end.
        seconds: How long it took.
        answer: What it has returned.
        error: What it has raised.
        status: What that means; None before the end.
        success: The messages are consumed.
    """

    group: str
    messages: Sequence[ReceivedMessage]
    started_at: float
    notes: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    answer: object = None
    error: BaseException | None = None
    status: ConsumeReturnType | None = None
    success: bool = False

    @property
    def queue(self) -> MessageQueue:
        """The queue that the messages come from: one of the group's retry topic when they have failed before."""
        return self.messages[0].queue


@runtime_checkable
class ConsumeHook(Protocol):
    """Sees every call of a listener. Called where that is, on the event loop or in a worker's thread; must not block.

    What it raises is logged, and changes nothing.
    """

    def before_consume(self, context: ConsumeContext) -> None:
        """The listener is about to be called."""

    def after_consume(self, context: ConsumeContext) -> None:
        """The listener has ended: `status` says how."""


@runtime_checkable
class FilterHook(Protocol):
    """Drops messages before any listener gets them. Called on the event loop; must not block."""

    def keep(self, message: ReceivedMessage) -> bool:
        """False drops the message: it counts as consumed. One for which this raises is kept, and the log tells."""


class ConsumeObservers:
    """The hooks around the listeners of one consumer.

    Args:
        group: The consumer's group.
        hooks: Checked ones; the first one is around all others.
        timeout: Seconds after which a call has taken too long.

    Attributes:
        trace: One hook more, while the consumer runs with a trace.
    """

    def __init__(self, group: str, hooks: Sequence[Any], timeout: float) -> None:
        self.trace: ConsumeHook | None = None
        self._group = group
        self._timeout = timeout
        self._before = [hook.before_consume for hook in hooks if hasattr(hook, "before_consume")]
        self._after = [hook.after_consume for hook in reversed(hooks) if hasattr(hook, "after_consume")]

    def around(self, listener: Listener) -> None:
        """Put the hooks around a listener."""
        function, many = listener.function, listener.batch > 1
        if listener.is_async:

            @wraps(function)
            async def observed_async(payload: Payload) -> object:
                context = self._begin(payload)
                try:
                    answer = await function(payload)
                except BaseException as error:
                    self._end(context, None, error, many)
                    del context  # whoever keeps the error keeps this frame
                    raise
                self._end(context, answer, None, many)
                return cast(object, answer)

            listener.function = observed_async
        else:

            @wraps(function)
            def observed(payload: Payload) -> object:
                context = self._begin(payload)
                try:
                    answer = function(payload)
                except BaseException as error:
                    self._end(context, None, error, many)
                    del context  # whoever keeps the error keeps this frame
                    raise
                self._end(context, answer, None, many)
                return cast(object, answer)

            listener.function = observed

    def _begin(self, payload: Payload) -> ConsumeContext:
        # Nobody changes these: hooks get them after the listener, which may do with its list what it likes.
        messages = tuple(payload) if isinstance(payload, list) else (payload,)
        context = ConsumeContext(self._group, messages, time.time())
        before = self._before if self.trace is None else [*self._before, self.trace.before_consume]
        self._call(before, context)
        return context

    def _end(self, context: ConsumeContext, answer: object, error: BaseException | None, many: bool) -> None:
        context.seconds = max(0.0, time.time() - context.started_at)
        context.answer, context.error = answer, error
        context.success = error is None and not (_one_failed(answer) if many else _failed(answer))
        context.status = self._status(context)
        after = self._after if self.trace is None else [self.trace.after_consume, *self._after]
        self._call(after, context)

    def _status(self, context: ConsumeContext) -> ConsumeReturnType:
        if context.error is not None:
            return ConsumeReturnType.EXCEPTION
        if context.seconds >= self._timeout:
            return ConsumeReturnType.TIME_OUT
        return ConsumeReturnType.SUCCESS if context.success else ConsumeReturnType.FAILED

    def _call(self, methods: Sequence[Callable[[ConsumeContext], object]], context: ConsumeContext) -> None:
        for method in methods:
            try:
                method(context)
            except (Exception, asyncio.CancelledError, GeneratorExit):  # the user's own code: nobody cancels it
                logger.exception("a hook of group %s failed on %r, which is consumed all the same", self._group, context.messages[0])


def _failed(answer: object) -> bool:
    """Whether an answer brings messages back: by its type, as answers may be anything."""
    kind = type(answer)
    if issubclass(kind, ConsumeResult):
        return answer in _FAILED
    return issubclass(kind, Retry | Suspend) or hasattr(kind, "__await__")


def _one_failed(answer: object) -> bool:
    """Whether an answer of a listener that gets a list brings messages back: one answer for all of them, or one for each."""
    if issubclass(type(answer), list | tuple):
        return any(_failed(each) or issubclass(type(each), BaseException) for each in cast("Sequence[object]", answer))
    return _failed(answer)


def message_filter(hooks: Sequence[Any], group: str) -> Callable[[list[ReceivedMessage]], list[ReceivedMessage]] | None:
    """What drops messages that a hook does not want; None when no hook filters."""
    keeps = [hook.keep for hook in hooks if hasattr(hook, "keep")]
    if not keeps:
        return None

    def kept(message: ReceivedMessage) -> bool:
        if props.RETRY_TOPIC in message.properties:
            restore_topic(message)
        try:
            return all(keep(message) for keep in keeps)
        except (Exception, asyncio.CancelledError, GeneratorExit):  # the user's own code: nobody cancels it
            logger.exception("a filter hook of group %s failed on %r, which is kept", group, message)
            return True

    return lambda messages: [message for message in messages if kept(message)]
