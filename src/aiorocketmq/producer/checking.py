"""Answers brokers that ask how transactions have ended (Java: `DefaultMQProducerImpl.checkTransactionState`). Features C3, C5, C6.

A broker asks again and again until it knows, and each time for the half message at another place: of several checks of one transaction the
newest is answered. What is more than can wait is forgotten; the broker asks again.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from types import CoroutineType
from typing import Final, TypeAlias

from aiorocketmq.client.callbacks import call
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.ports import TransactionCheck
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.errors import ClientClosedError, ConfigError
from aiorocketmq.model.enums import TransactionState
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.producer.decisions import Decisions
from aiorocketmq.wording import reason, shown

CheckListener: TypeAlias = Callable[[ReceivedMessage], TransactionState | Awaitable[TransactionState]]

PATIENCE: Final = 30.0
"""Seconds after which a check that still runs is told to the log, when a broker asks for more."""

logger = logging.getLogger("aiorocketmq.producer")


def check_listener(check: object) -> None:
    """Look at a `check` before it is needed, which is when something else has gone wrong.

    Raises:
        ConfigError: It cannot be called with a message, or would do nothing.
    """
    hint = "give a function that gets a message and returns a TransactionState"
    if not callable(check):
        raise ConfigError(f"check {shown(check)} cannot be called", hint=hint)
    try:
        inspect.signature(check).bind(None)
    except TypeError as error:
        raise ConfigError(f"check {shown(check)} cannot be called with one argument: {error}", hint=hint) from None
    except ValueError:
        pass  # a built-in function without a signature
    if inspect.isgeneratorfunction(check) or inspect.isasyncgenfunction(check):
        raise ConfigError(f"check {shown(check)} has a yield in it: calling it would run nothing of it", hint=hint)


def state_of(answer: object, log: StateLog, where: str) -> TransactionState:
    """What a function of the user's has answered; anything that is no state counts as `UNKNOWN`, with a warning."""
    if isinstance(answer, TransactionState):
        return answer
    kind = type(answer)
    seen = repr(answer) if kind in (bool, int, type(None)) else f"a {kind.__name__}"  # more may be nothing for a log
    text = "%s returned %s, which is no TransactionState: the transaction stays open, and the broker will ask again"
    log.note(logging.WARNING, f"answer of {where}", text, where, seen)
    if isinstance(answer, CoroutineType):
        answer.close()
    return TransactionState.UNKNOWN


class Checker:
    """Takes the checks of one producer, and answers up to `concurrency` of them at a time.

    Args:
        listener: The user's `check`.
        decisions: What the producer knows itself.
        instance: Carries the answers; makes the tasks.
        concurrency: Checks at a time.
        most: Checks that may wait.
        executor: Runs a plain function; None takes that of the event loop.
    """

    def __init__(
        self,
        listener: CheckListener,
        decisions: Decisions,
        instance: ClientInstance,
        *,
        concurrency: int,
        most: int,
        executor: Executor | None,
    ) -> None:
        self._listener = listener
        self._decisions = decisions
        self._instance = instance
        self._concurrency = concurrency
        self._most = most
        self._executor = executor
        self._waiting: dict[str, TransactionCheck] = {}
        self._running: dict[str, float] = {}  # transaction → when its check began
        self._workers: set[asyncio.Task[None]] = set()
        self._closed = False
        self._log = StateLog(logger)

    def take(self, check: TransactionCheck) -> None:
        """See `TakeCheck`."""
        transaction_id = check.message.message_id
        if self._closed:
            return
        if len(self._waiting) >= self._most and transaction_id not in self._waiting:
            text = "%d checks of transactions wait, as many as check_request_hold_max allows: the broker at %s has to ask again"
            self._log.note(logging.WARNING, "full", text, self._most, check.address)
            return
        self._waiting[transaction_id] = check
        if transaction_id in self._running or len(self._workers) >= self._concurrency:
            self._tell_of_slow_ones()
        else:
            try:
                worker = self._instance.scheduler.spawn("check transactions", self._work())
            except ClientClosedError:
                return
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    def _tell_of_slow_ones(self) -> None:
        since, slow = min(((began, each) for each, began in self._running.items()), default=(math.inf, ""))
        seconds = asyncio.get_running_loop().time() - since
        if seconds > PATIENCE:
            text = "the check of transaction %s has been running for %.0f s, %d of %d run and %d wait: brokers give up what nobody decides"
            self._log.note(logging.WARNING, "slow", text, slow, seconds, len(self._running), self._concurrency, len(self._waiting))

    async def _work(self) -> None:
        clock = asyncio.get_running_loop().time
        while (transaction_id := next((each for each in self._waiting if each not in self._running), None)) is not None:
            check = self._waiting.pop(transaction_id)
            self._running[transaction_id] = clock()
            try:
                state, remark = await self._decide(transaction_id, check)
                check = self._waiting.pop(transaction_id, check)  # it was asked for again meanwhile
                await self._decisions.answer(self._instance, check, state, remark)
            finally:
                del self._running[transaction_id]

    async def _decide(self, transaction_id: str, check: TransactionCheck) -> tuple[TransactionState, str | None]:
        known = self._decisions.known(transaction_id)
        if known is not None:
            return known, None
        try:
            answer = await call(self._listener, self._executor, check.message)
        except BaseException as error:  # the user's code: whatever it raises, the transaction stays open
            task = asyncio.current_task()
            if self._closed or isinstance(error, GeneratorExit | KeyboardInterrupt) or (task is not None and task.cancelling()):
                raise
            text = "the check of transaction %s failed: it stays open, and the broker will ask again"
            logger.error(text, transaction_id, exc_info=error)
            return TransactionState.UNKNOWN, f"check failed: {reason(error)}"
        state = state_of(answer, self._log, "check")
        self._decisions.decide(transaction_id, state)
        return state, None

    async def close(self) -> None:
        """Take nothing more, and end what is under way; the broker asks another producer of the group."""
        self._closed = True
        self._waiting.clear()
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers)
