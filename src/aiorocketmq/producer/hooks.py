"""What users may hang around their sends (Java: `SendMessageHook`, `CheckForbiddenHook`). Features E1, E2."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.message import Message
from aiorocketmq.model.offset_id import OffsetMessageId
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult

logger = logging.getLogger("aiorocketmq.producer")


@dataclass(slots=True, eq=False)
class SendContext:
    """One send, with all its tries, as hooks see it (Java: `SendMessageContext`). Mutable: it fills up on the way.

    Attributes:
        group: Producer group.
        messages: What is sent: one message, or those of a batch.
        queue: The queue that the caller has chosen; None lets the queues take turns.
        oneway: No broker answers: `result` stays None.
        started_at: When it began, in seconds since the epoch.
        message_ids: The unique ids of the messages. That of one that goes into an automatic batch is known at the end only.
        notes: For hooks to keep what they need until the end.
        seconds: How long it took.
        result: Where the messages are stored; for a batch one result with all ids, joined by commas.
        error: What its caller gets instead; `asyncio.CancelledError` when nobody waits for the outcome any more.
        half: It is the half message of a transaction.
        broker_address: The broker that was asked last; "" when none was.
    """

    group: str
    messages: Sequence[Message]
    queue: MessageQueue | None
    oneway: bool
    started_at: float
    message_ids: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    result: SendResult | None = None
    error: BaseException | None = None
    half: bool = False
    broker_address: str = ""

    @property
    def message(self) -> Message:
        """The message, or the first one of a batch."""
        return self.messages[0]


@runtime_checkable
class SendHook(Protocol):
    """Sees every send of a producer. Called on the event loop; must not block. What it raises is logged, and changes nothing."""

    def before_send(self, context: SendContext) -> None:
        """The messages can be sent, and are about to be."""

    def after_send(self, context: SendContext) -> None:
        """The send has ended: `result` or `error` is there. Called before its caller goes on."""


@runtime_checkable
class CheckForbiddenHook(Protocol):
    """May forbid a send. Called on the event loop; must not block."""

    def check_forbidden(self, context: SendContext) -> None:
        """Raise to forbid it: nothing is sent, and the caller of the send gets what was raised."""


class SendObservers:
    """The hooks of one running producer.

    Args:
        group: The producer's group.
        hooks: Checked ones; the first one is around all others.
    """

    def __init__(self, group: str, hooks: Sequence[Any]) -> None:
        self._group = group
        self._vetoes = [hook.check_forbidden for hook in hooks if hasattr(hook, "check_forbidden")]
        self._before = [hook.before_send for hook in hooks if hasattr(hook, "before_send")]
        self._after = [hook.after_send for hook in reversed(hooks) if hasattr(hook, "after_send")]

    def context(self, messages: Sequence[Message], queue: MessageQueue | None, *, oneway: bool) -> SendContext:
        """What hooks get of a send."""
        return SendContext(self._group, messages, queue, oneway, time.time())

    def begin(self, context: SendContext) -> None:
        """A send can begin.

        Raises:
            Exception: What a hook forbids it with.
        """
        for veto in self._vetoes:
            veto(context)
        for before in self._before:
            try:
                before(context)
            except (Exception, asyncio.CancelledError, GeneratorExit):  # the user's own code: nobody cancels it
                logger.exception("a hook failed before a send to topic %s, which goes on", context.message.topic)

    def end(self, context: SendContext, result: SendResult | None, error: BaseException | None) -> None:
        """A send has ended."""
        context.result, context.error = result, error
        if result is not None:
            context.message_ids = context.message_ids or (result.message_id,)
            context.broker_address = context.broker_address or _stored_by(result)
        context.seconds = max(0.0, time.time() - context.started_at)
        for after in self._after:
            try:
                after(context)
            except (Exception, asyncio.CancelledError, GeneratorExit):  # the user's own code: nobody cancels it
                logger.exception("a hook failed after a send to topic %s, which has ended as it was", context.message.topic)


def _stored_by(result: SendResult) -> str:
    try:
        return OffsetMessageId.decode(result.offset_message_id.partition(",")[0]).address
    except ProtocolError:
        return ""
