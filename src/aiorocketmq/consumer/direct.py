"""One message that an operator wants a consumer to consume now (Java: `ConsumeMessageService.consumeMessageDirectly`). Features F41, N6.

The listener is called beside everything else that goes on: the message belongs to no queue here, so that no offset moves, nothing is given
back, and no order is kept. What the listener does is told to whoever has asked.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterable
from functools import wraps
from typing import TYPE_CHECKING, Final, cast

from aiorocketmq.consumer.assigned import FOREVER, AssignedQueue
from aiorocketmq.consumer.calling import Caller, Stretch
from aiorocketmq.consumer.listener import RETRY, Listener, ListenerFunction, Payload, concurrent_outcome, name_of, ordered_outcome
from aiorocketmq.consumer.send_back import restore_topic
from aiorocketmq.core.process_queue import ProcessQueue
from aiorocketmq.errors import ClientClosedError, ListenerError
from aiorocketmq.model.enums import ConsumeResult
from aiorocketmq.model.results import Retry, Suspend
from aiorocketmq.protocol.bodies_client import ConsumeMessageDirectlyResult

if TYPE_CHECKING:
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.consumer.settings import PushSettings
    from aiorocketmq.consumer.subscriptions import Subscriptions
    from aiorocketmq.model.received import ReceivedMessage

PATIENCE: Final = 1.0
"""Seconds that a worker that has nothing to do any more gets to end."""
MAX_CALLS: Final = 16
"""Calls at the same time; who asks for more is refused."""
_LONGEST_REMARK: Final = 2000
"""Characters of an error that are told."""
_LATER: Final = frozenset({ConsumeResult.RECONSUME_LATER, ConsumeResult.SUSPEND_CURRENT_QUEUE_A_MOMENT})
_BY_NAME: Final = {
    ConsumeResult.SUCCESS: "CR_SUCCESS",
    ConsumeResult.COMMIT: "CR_COMMIT",
    ConsumeResult.ROLLBACK: "CR_ROLLBACK",
}


class DirectCalls:
    """Calls the listeners of one consumer with single messages. Belongs to the event loop.

    Args:
        settings: The consumer's settings.
        subscriptions: Tells the listener of a topic.
        scheduler: Makes the tasks of coroutine listeners.
    """

    def __init__(self, settings: PushSettings, subscriptions: Subscriptions, scheduler: Scheduler) -> None:
        self._settings = settings
        self._subscriptions = subscriptions
        self._scheduler = scheduler
        self._calls: dict[_Call, Caller] = {}

    async def consume(self, message: ReceivedMessage) -> ConsumeMessageDirectlyResult:
        """Have the message consumed, and tell how that went.

        Raises:
            ListenerError: No listener is there for it, or too many such messages are being consumed.
            ClientClosedError: The consumer stops.
        """
        if message.topic == self._subscriptions.retry_topic:
            restore_topic(message)
        listener = self._subscriptions.listener(message.topic) or self._subscriptions.listener(message.origin_topic)
        if listener is None:
            raise ListenerError(f"no listener of group {self._settings.group!r} here is for topic {message.topic!r}")
        if len(self._calls) >= MAX_CALLS:
            raise ListenerError(f"{MAX_CALLS} messages that were handed over are being consumed", hint="wait until one of them is")
        call = _Call(listener)
        self._calls[call] = caller = Caller(f"{self._settings.group}-direct", self._scheduler, call, 1, 1)
        try:
            caller.extend(call.probe, [(call.stretch(message), message)])
            answer = await call.answer
        finally:
            del self._calls[call]
            await caller.close(PATIENCE)
        return self._result(call, answer)

    def _result(self, call: _Call, answer: object) -> ConsumeMessageDirectlyResult:
        ordered = self._settings.ordered
        listener, kind = call.listener, type(answer)
        remark = None
        if call.error is not None:
            result, remark = "CR_THROW_EXCEPTION", _told(call.error)
        else:
            outcome = (ordered_outcome if ordered else concurrent_outcome)(listener, answer)
            means_something = answer is None or issubclass(kind, ConsumeResult | Retry | Suspend)
            if outcome is None or (isinstance(outcome, Retry) and outcome.acknowledged):
                result = "CR_SUCCESS"
            elif isinstance(outcome, ConsumeResult):
                result = _BY_NAME[outcome]
            elif issubclass(kind, Retry) or (ordered and issubclass(kind, Suspend)) or any(answer is each for each in _LATER):
                result = "CR_LATER"
            else:
                result, means_something = "CR_RETURN_NULL", False
            if not means_something:
                remark = f"listener {name_of(listener.function)} returned a {kind.__name__}, which means nothing here"
        auto_commit = self._settings.auto_commit or not ordered
        return ConsumeMessageDirectlyResult(result, ordered, auto_commit, remark, round(call.probe.busy_seconds * 1000))

    def is_worker(self) -> bool:
        """Whether the running task or thread calls a listener for somebody."""
        return any(caller.is_worker() for caller in self._calls.values())

    async def idle(self) -> None:
        """Wait until no listener runs."""
        while self._calls:
            await asyncio.wait([call.answer for call in self._calls])
            await asyncio.sleep(0)

    async def close(self, patience: float) -> None:
        """End the calls: whoever waits for one is told that the consumer stops.

        Args:
            patience: Seconds that a listener may take to end after its cancellation.
        """
        for call, caller in list(self._calls.items()):
            call.give_up()
            await caller.close(patience)


class _Call:
    """One call: the policy of its own caller.

    Attributes:
        listener: The listener.
        probe: Stands for it: it keeps what the listener raises, and what is counted is counted apart.
        answer: What the listener returns.
        error: What it has raised.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.probe = Listener(listener.topic, self._around(listener))
        self.answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.error: BaseException | None = None

    def stretch(self, message: ReceivedMessage) -> Stretch:
        """The message as work."""
        nowhere = AssignedQueue(message.queue, 0.0)
        nowhere.own(ProcessQueue(message.queue, message.queue_offset), 0.0, valid_until=FOREVER)
        return Stretch(nowhere, self.probe, lambda _: self._over(None))

    def _around(self, listener: Listener) -> ListenerFunction:
        function, many = listener.function, listener.batch > 1

        @wraps(function)
        async def probe_async(message: ReceivedMessage) -> object:
            try:
                return cast(object, await function([message] if many else message))
            except BaseException as error:
                self.error = error
                raise

        @wraps(function)
        def probe(message: ReceivedMessage) -> object:
            try:
                return cast(object, function([message] if many else message))
            except BaseException as error:
                self.error = error
                raise

        return probe_async if listener.is_async else probe

    def _over(self, answer: object) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def give_up(self) -> None:
        """Nobody waits for the listener any more."""
        if not self.answer.done():
            self.answer.set_exception(ClientClosedError("the consumer is being stopped"))

    # --- `CallPolicy` -------------------------------------------------------------------------------------------------------------

    def not_begun(self, stretch: Stretch, payload: Payload) -> None:
        """See `CallPolicy.not_begun`: the call was cut off."""
        self.give_up()

    def run_over(self, stretch: Stretch, now: float) -> None:
        """Never called: there is one message alone."""

    def ended(self, stretch: Stretch, payload: Payload, answer: object, now: float) -> None:
        """See `CallPolicy.ended`."""
        self._over(answer)

    def failure(self, stretch: Stretch) -> Retry:
        """See `CallPolicy.failure`."""
        return RETRY


def _told(error: BaseException) -> str:
    """An error in a line or two: what it is, and where it was raised."""
    text = "".join(traceback.format_exception_only(error)).strip()
    frames: Iterable[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f", {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
    return f"{text[:_LONGEST_REMARK]}{where}"
