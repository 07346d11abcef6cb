"""A listener: the user's function for one topic, and what its answers mean (Java: `MessageListenerConcurrently`, `MessageListenerOrderly`).

Returning None or `ConsumeResult.SUCCESS` consumes the messages; raising, or returning `Retry`, brings them back later. `Suspend` and the
other members of `ConsumeResult` mean what they say where they fit, and are like raising where they do not. Anything else, such as
the result of a call in the last line, means nothing: consumed, and one warning names the listener. Who gets a list of messages may return a
list of answers. Features F1-F3, F26, F51.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, cast

from aiorocketmq.errors import ListenerError
from aiorocketmq.model.checks import whole
from aiorocketmq.model.enums import ConsumeResult
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import Retry, Suspend

MAX_BATCH: Final = 1024

RETRY: Final = Retry()
SUSPEND: Final = Suspend()

logger = logging.getLogger("aiorocketmq.consumer")

ListenerFunction = Callable[[Any], Any]
Answer = ConsumeResult | Retry | Suspend | None
"""What a listener may return; anything else means nothing, and consumes the messages with a warning."""
Answers = Answer | Sequence[Answer | BaseException]
"""What a listener that gets a list may return: one answer for all of them, or a list with one for each."""
MessageListener = Callable[[ReceivedMessage], Answer | Awaitable[Answer]]
"""A listener that gets one message: `def` or `async def`."""
BatchListener = Callable[[list[ReceivedMessage]], Answers | Awaitable[Answers]]
"""A listener that gets a list of messages."""
Payload = ReceivedMessage | list[ReceivedMessage]
"""What a listener is called with: one message, or a list of up to `batch`."""


class _NotBegun:
    """The answer of a call that was not made."""


NOT_BEGUN: Final = _NotBegun()


def _not_now(_: object) -> object:
    return NOT_BEGUN


async def _not_now_async(_: object) -> object:
    return NOT_BEGUN


class Listener:
    """One listener and what it has done since somebody last asked. Mutable: it counts.

    Attributes:
        topic: The topic it listens to.
        function: The user's function; one that does nothing, and answers so, while calls are held.
        batch: 1: it gets one message; more: it gets a list of up to so many.
        is_async: True for `async def`, which runs on the event loop; a plain `def` runs on worker threads.
        consumed: Messages consumed.
        failed: Messages that failed.
        calls: Calls made.
        busy_seconds: Time spent in calls.
        wondered: It has returned something that means nothing, and the log has said so.
    """

    __slots__ = ("_held", "batch", "busy_seconds", "calls", "consumed", "failed", "function", "is_async", "topic", "wondered")

    def __init__(self, topic: str, function: ListenerFunction, batch: int = 1) -> None:
        """Check the function.

        Raises:
            ListenerError: It cannot be called with one argument.
            ConfigError: The batch size is out of range.
        """
        whole("batch", batch, 1, MAX_BATCH)
        if not callable(function):
            raise ListenerError(
                f"listener {function!r} of topic {topic!r} cannot be called", hint="give a def or async def with one argument"
            )
        try:
            inspect.signature(function).bind(None)
        except TypeError as error:
            raise ListenerError(
                f"listener {name_of(function)} of topic {topic!r} cannot be called with one argument: {error}",
                hint="it gets one message, or with batch= above 1 one list of messages",
                cause=error,
            ) from None
        except ValueError:
            logger.debug("listener %s has no signature to check", name_of(function))  # some built-in functions
        if _is_generator(function):
            raise ListenerError(
                f"listener {name_of(function)} of topic {topic!r} has a yield in it: calling it would run nothing of it",
                hint="give a def or async def without yield",
            )
        self.topic = topic
        self.function = function
        self.batch = batch
        self.is_async = is_async(function)
        self.consumed = 0
        self.failed = 0
        self.calls = 0
        self.busy_seconds = 0.0
        self.wondered = False
        self._held: ListenerFunction | None = None

    @property
    def held(self) -> bool:
        """Calls are held."""
        return self._held is not None

    def hold(self) -> None:
        """Let nobody call it: calls do nothing, and their answer is `NOT_BEGUN`."""
        if self._held is None:
            self._held, self.function = self.function, _not_now_async if self.is_async else _not_now

    def go_on(self) -> None:
        """Let it be called again."""
        if self._held is not None:
            self.function, self._held = self._held, None

    def __repr__(self) -> str:
        return f"Listener({name_of(self._held or self.function)}, topic={self.topic!r}, batch={self.batch})"


def name_of(function: object) -> str:
    """The function's name for logs and errors, whatever it is and however it describes itself."""
    try:
        return str(getattr(function, "__qualname__", None) or repr(function))
    except Exception:  # noqa: BLE001 - the user's code: a message must not be lost for the name of its listener
        return f"a {type(function).__name__}"


def is_async(function: ListenerFunction) -> bool:
    """True when calling it gives a coroutine, as far as that can be seen."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004


def _is_generator(function: ListenerFunction) -> bool:
    kinds = inspect.isgeneratorfunction, inspect.isasyncgenfunction
    return any(kind(each) for kind in kinds for each in (function, getattr(type(function), "__call__", None)))  # noqa: B004


def _work_undone(answer: object) -> str:
    """What has to be done about an answer that is work nobody has done, "" for every other one.

    By its type: an object that stands for another one, such as the proxies of web frameworks, may raise when it is asked what it is.
    """
    kind = type(answer)
    if issubclass(kind, GeneratorType | AsyncGeneratorType):
        return "give a def or async def without yield"
    return "declare it with async def" if hasattr(kind, "__await__") else ""


def concurrent_outcome(listener: Listener, answer: object) -> Retry | None:
    """What an answer means for a concurrent consumer: None = consumed, else how to retry."""
    if answer is None or answer is ConsumeResult.SUCCESS:
        return None
    if issubclass(type(answer), Retry):
        return cast(Retry, answer)
    if answer is ConsumeResult.RECONSUME_LATER:
        return RETRY
    if issubclass(type(answer), Suspend | ConsumeResult) or _work_undone(answer):
        _complain(listener, answer, "None, ConsumeResult.SUCCESS, ConsumeResult.RECONSUME_LATER or Retry(...)")
        return RETRY
    _wonder(listener, answer)
    return None


def ordered_outcome(listener: Listener, answer: object) -> ConsumeResult | Suspend | Retry:
    """What an answer means for an ordered consumer: SUCCESS, COMMIT, ROLLBACK, or how long to suspend the queue.

    `Retry` counts its `acknowledged` messages as consumed and suspends for the consumer's usual time.
    """
    if answer is None or answer is ConsumeResult.SUCCESS:
        return ConsumeResult.SUCCESS
    if issubclass(type(answer), Suspend | Retry):
        return cast(Suspend | Retry, answer)
    if answer is ConsumeResult.COMMIT or answer is ConsumeResult.ROLLBACK:
        return answer
    if answer is ConsumeResult.SUSPEND_CURRENT_QUEUE_A_MOMENT or answer is ConsumeResult.RECONSUME_LATER:
        return SUSPEND
    if _work_undone(answer):
        _complain(listener, answer, "None, a member of ConsumeResult, Suspend(...) or Retry(...)")
        return SUSPEND
    _wonder(listener, answer)
    return ConsumeResult.SUCCESS


def answers_of(listener: Listener, answer: object, messages: Sequence[ReceivedMessage]) -> Sequence[object] | None:
    """The answers for single messages, where a listener that gets a list has given such; None for one that is for all of them.

    What `asyncio.gather(..., return_exceptions=True)` gives is one: an exception stands for a message that failed.
    """
    if listener.batch == 1 or not issubclass(type(answer), list | tuple):
        return None
    given = list(cast("Sequence[object]", answer))
    if len(given) == len(messages):
        return given
    if not any(issubclass(type(each), ConsumeResult | Retry | Suspend | BaseException) or _work_undone(each) for each in given):
        return None
    text = f"{listener} returned {len(given)} answers for {len(messages)} messages: all of them will come again"
    logger.error("%s", ListenerError(text, hint="return one answer for each message, in their order"))
    for each in given:
        if issubclass(type(each), CoroutineType):
            cast(Coroutine[object, object, object], each).close()
    return [ConsumeResult.RECONSUME_LATER] * len(messages)


def concurrent_outcomes(listener: Listener, answer: object, messages: Sequence[ReceivedMessage]) -> Sequence[Retry | None]:
    """What an answer of a concurrent consumer's listener means for each message; see `concurrent_outcome`."""
    answers = answers_of(listener, answer, messages)
    if answers is None:
        retry = concurrent_outcome(listener, answer)
        acknowledged = len(messages) if retry is None else min(retry.acknowledged, len(messages))
        return [None] * acknowledged + [retry] * (len(messages) - acknowledged)
    outcomes: list[Retry | None] = []
    for message, each in zip(messages, answers, strict=True):
        if issubclass(type(each), BaseException):
            log_failure(listener, message, cast(BaseException, each))
            outcomes.append(RETRY)
        else:
            outcomes.append(concurrent_outcome(listener, each))
    return outcomes


def ordered_outcomes(
    listener: Listener, answer: object, messages: Sequence[ReceivedMessage]
) -> tuple[ConsumeResult | Suspend | Retry, int]:  # fmt: skip
    """What an answer of an ordered consumer's listener means, and how many messages from the front are consumed whatever it is.

    Of answers for single messages the first one that fails decides: what follows it comes again with it, as the order wants it.
    """
    answers = answers_of(listener, answer, messages)
    if answers is None:
        outcome = ordered_outcome(listener, answer)
        return outcome, min(outcome.acknowledged, len(messages)) if isinstance(outcome, Retry) else 0
    for index, each in enumerate(answers):
        if issubclass(type(each), BaseException):
            log_failure(listener, messages[index], cast(BaseException, each))
            return SUSPEND, index
        outcome = ordered_outcome(listener, each)
        if outcome is not ConsumeResult.SUCCESS and outcome is not ConsumeResult.COMMIT:
            return SUSPEND if outcome is ConsumeResult.ROLLBACK else outcome, index
    return ConsumeResult.SUCCESS, 0


def log_failure(listener: Listener, payload: Payload, error: BaseException) -> None:
    """Log what a listener let out."""
    first, others = (payload, 0) if isinstance(payload, ReceivedMessage) else (payload[0], len(payload) - 1)
    logger.warning(
        "listener %s of topic %s failed on %r%s",
        name_of(listener.function),
        listener.topic,
        first,
        f" and {others} more" if others else "",
        exc_info=error,
    )


def _wonder(listener: Listener, answer: object) -> None:
    """The listener returned something that is no answer, such as the result of a call in its last line: consumed, and said once."""
    if not listener.wondered:
        listener.wondered = True
        text = "%r returned %s, which means nothing here: the message counts as consumed; to get it again raise, or return Retry()"
        logger.warning(text, listener, _shown(answer))


def _complain(listener: Listener, answer: object, allowed: str) -> None:
    """The listener returned an answer of the other kind of consumer, or has not done its work: the messages come again."""
    hint = _work_undone(answer) or f"return {allowed}, or raise"
    if issubclass(type(answer), CoroutineType):
        cast(Coroutine[object, object, object], answer).close()
    error = ListenerError(f"{listener} returned {_shown(answer)}, which means nothing here: the messages will come again", hint=hint)
    logger.error("%s", error)


def _shown(answer: object) -> str:
    # Other values may hold what users do not want in a log; and those of types that are not ours may raise.
    kind = type(answer)
    return repr(answer) if kind in (bool, int, ConsumeResult, Retry, Suspend) else f"a {kind.__name__}"
