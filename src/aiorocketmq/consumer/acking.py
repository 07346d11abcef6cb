"""Acknowledges popped messages, and changes for how long they are invisible (no Java twin: there a request for each). Features H2-H4, H12.

What is acknowledged in one step of the event loop leaves together, one request for each broker. Brokers take acknowledgements of messages
whose time is over without a word and give them to others all the same, so it is looked at here, by the clock of the broker.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from aiorocketmq.errors import BrokerError, ConfigError, ReceiptError, RocketMQError, UnsupportedRequestError, fresh
from aiorocketmq.model.properties import ORIGIN_GROUP, POP_CK
from aiorocketmq.model.receipt import Receipt
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.wording import shown

if TYPE_CHECKING:
    from aiorocketmq.client.pop_api import PopApi
    from aiorocketmq.client.scheduler import Scheduler

MAX_SPREAD: Final = 65_536
"""Offsets between the first and the last message of one check point that are acknowledged together; brokers make far fewer."""
MAX_TOGETHER: Final = 1024
"""Messages in one request."""

_Waiting = list[tuple[str, Receipt, "asyncio.Future[None]"]]


def _even() -> Callable[[], float]:
    """A clock of milliseconds since the epoch that nobody sets: it goes on evenly from the time that the wall clock has now."""
    elapsed = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic
    behind = time.time() - elapsed()
    return lambda: (elapsed() + behind) * 1000


class Clocks:
    """How the clocks of brokers differ from ours, learnt from the messages that they give.

    Args:
        now_ms: Milliseconds since the epoch; None for a clock that is not set while it is looked at: messages that are held then would
            seem to be over, or not to be.
    """

    def __init__(self, now_ms: Callable[[], float] | None = None) -> None:
        self._now_ms = now_ms or _even()
        self._ahead: dict[str, float] = {}

    def learn(self, broker_name: str, pop_time: int) -> None:
        """A broker has just popped a message, by its clock at this time; its answer took a moment."""
        self._ahead[broker_name] = pop_time - self._now_ms()

    def now(self, broker_name: str) -> float:
        """The time at a broker."""
        return self._now_ms() + self._ahead.get(broker_name, 0.0)


class Acker:
    """Acknowledges the messages of one consumer.

    Args:
        api: Asks the brokers.
        scheduler: Makes the tasks.
        clocks: The time at the brokers.
        group: The consumer group, for errors.
    """

    def __init__(self, api: PopApi, scheduler: Scheduler, clocks: Clocks, group: str) -> None:
        self._api = api
        self._scheduler = scheduler
        self._clocks = clocks
        self._group = group
        self._waiting: dict[str, _Waiting] = {}
        self._one_by_one: set[str] = set()
        self._sending: set[asyncio.Task[None]] = set()

    def receipt(self, message: object) -> Receipt:
        """The receipt of a message that may be acknowledged now.

        Raises:
            ReceiptError: It may not.
        """
        if not isinstance(message, ReceivedMessage):
            raise ReceiptError(f"{shown(message)} is no message", hint="give what receive() has given, one message or a list")
        text = message.properties.get(POP_CK)
        if text is None:
            raise ReceiptError(f"{message!r} has no receipt", hint="only messages that a PopConsumer has received are acknowledged")
        owner = message.properties.get(ORIGIN_GROUP)
        if owner is not None and owner != self._api.wrapped_group:
            raise ReceiptError(
                f"{message!r} was received by group {owner!r}, not by {self._group!r}",
                hint="acknowledge it with a consumer of the group that has received it",
            )
        try:
            receipt = Receipt.decode(text)
        except ConfigError as error:
            raise ReceiptError(f"{message!r}: {error.message}", hint=error.hint) from None
        late = self._clocks.now(receipt.broker_name) - receipt.invisible_until
        if late >= 0:
            raise ReceiptError(
                f"the invisible time of {receipt.invisible_time / 1000:g} s of {message!r} is over since {late / 1000:.1f} s:"
                " somebody else may have it by now",
                hint="give receive() a longer invisible=, or call change_invisible() in time",
            )
        return receipt

    async def ack(self, messages: Collection[ReceivedMessage]) -> None:
        """Acknowledge messages; what cannot be acknowledged holds none of the others up.

        Raises:
            ReceiptError: One or several of them may not be acknowledged.
            RocketMQError: A broker refused, or did not answer.
        """
        failure: RocketMQError | None = None
        failed = 0
        waiting: list[asyncio.Future[None]] = []
        for message in messages:
            try:
                receipt = self.receipt(message)
            except ReceiptError as error:
                failure, failed = failure or error, failed + 1
            else:
                waiting.append(self._put(message.topic, receipt))
        if waiting:
            await asyncio.wait(waiting)  # not gather(): cancelling the caller takes nothing back
        for future in waiting:
            problem = future.exception()
            if problem is not None:
                assert isinstance(problem, RocketMQError)
                failure, failed = failure or fresh(problem), failed + 1
        if failure is not None:
            if len(messages) > 1:
                failure = fresh(failure, message=f"{failed} of {len(messages)} messages could not be acknowledged: {failure.message}")
            raise failure

    def _put(self, topic: str, receipt: Receipt) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        lane = self._waiting.get(receipt.broker_name)
        if lane is None:
            lane = self._waiting[receipt.broker_name] = []
            loop.call_soon(self._flush, receipt.broker_name)
        lane.append((topic, receipt, future))
        return future

    def _flush(self, broker_name: str) -> None:
        lane = self._waiting.pop(broker_name, [])
        for start in range(0, len(lane), MAX_TOGETHER):
            part = lane[start : start + MAX_TOGETHER]
            try:
                task = self._scheduler.spawn(f"ack to {broker_name}", self._send(broker_name, part), log_errors=False)
            except RocketMQError as error:  # the consumer has stopped
                _end(part, error)
            else:
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    async def settle(self) -> None:
        """Wait for what is being acknowledged, as long as there is something."""
        while self._waiting or self._sending:
            if self._waiting:
                await asyncio.sleep(0)  # it leaves with the next step of the loop
            else:
                await asyncio.wait(list(self._sending))

    async def _send(self, broker_name: str, part: _Waiting) -> None:
        try:
            if len(part) == 1 or broker_name in self._one_by_one:
                await self._send_each(part)
            else:
                await self._send_together(broker_name, part)
        finally:
            if any(not future.done() for _, _, future in part):
                _end(part, ReceiptError(f"consumer of group {self._group!r} was stopped while messages were acknowledged"))

    async def _send_together(self, broker_name: str, part: _Waiting) -> None:
        together = [each for each in part if 0 <= each[1].offset - each[1].start_offset < MAX_SPREAD]
        try:
            await self._api.ack_all(broker_name, [(topic, receipt) for topic, receipt, _ in together])
        except UnsupportedRequestError:  # before 5.1.3
            self._one_by_one.add(broker_name)
        except RocketMQError as error:
            _end(together, error)
        else:
            _end(together, None)
        await self._send_each([each for each in part if not each[2].done()])

    async def _send_each(self, part: Sequence[tuple[str, Receipt, asyncio.Future[None]]]) -> None:
        async def one(topic: str, receipt: Receipt, future: asyncio.Future[None]) -> None:
            try:
                await self._api.ack(topic, receipt)
            except RocketMQError as error:
                _end([(topic, receipt, future)], known(error, receipt, topic))
            else:
                _end([(topic, receipt, future)], None)

        await asyncio.gather(*[one(*each) for each in part])

    async def change(self, message: ReceivedMessage, invisible: float) -> None:
        """Let a message be invisible for so many seconds from now on; it has the new receipt then.

        Raises:
            ReceiptError: It may not be.
            RocketMQError: A broker refused, or did not answer.
        """
        receipt = self.receipt(message)
        try:
            changed = await self._api.change_invisible(message.topic, receipt, invisible)
        except BrokerError as error:
            raise known(error, receipt, message.topic) from None
        message.set_property(POP_CK, changed.encode())


def known(error: RocketMQError, receipt: Receipt, topic: str) -> RocketMQError:
    """What a broker means that refuses a receipt."""
    if isinstance(error, BrokerError) and error.code in (ResponseCode.NO_MESSAGE, ResponseCode.MESSAGE_ILLEGAL):
        text = f"broker {receipt.broker_name!r} has no message of topic {topic!r} with the receipt {receipt.encode()!r}: {error.remark}"
        return ReceiptError(text, hint="acknowledge what receive() has given, as it came", cause=error)
    return error


def _end(part: Sequence[tuple[str, Receipt, asyncio.Future[None]]], error: RocketMQError | None) -> None:
    for _, _, future in part:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(fresh(error))
            future.exception()  # nobody may be left who waits
