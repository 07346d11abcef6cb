"""Answers brokers that ask how transactions have ended (Java: `DefaultMQProducerImpl.checkTransactionState`). Features C3, C5, C6.

A broker asks again and again until it knows, and each time for the half message at another place: of several checks of one transaction the
newest is answered. What is more than can wait is forgotten; the broker asks again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TypeAlias

from aiorocketmq.client.callbacks import call
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.ports import TransactionCheck
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.errors import ClientClosedError
from aiorocketmq.model.enums import TransactionState
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.producer.decisions import Decisions

CheckListener: TypeAlias = Callable[[ReceivedMessage], TransactionState | Awaitable[TransactionState]]

logger = logging.getLogger("aiorocketmq.producer")


def state_of(answer: object, log: StateLog, where: str) -> TransactionState:
    """What a function of the user's has answered; anything that is no state counts as `UNKNOWN`, with a warning."""
    if isinstance(answer, TransactionState):
        return answer
    text = "%s returned %r, which is no TransactionState: the transaction stays open, and the broker will ask again"
    log.note(logging.WARNING, f"answer of {where}", text, where, answer)
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
        self._running: set[str] = set()
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
        if transaction_id not in self._running and len(self._workers) < self._concurrency:
            try:
                worker = self._instance.scheduler.spawn("check transactions", self._work())
            except ClientClosedError:
                return
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        while (transaction_id := next((each for each in self._waiting if each not in self._running), None)) is not None:
            check = self._waiting.pop(transaction_id)
            self._running.add(transaction_id)
            try:
                state, remark = await self._decide(transaction_id, check)
                check = self._waiting.pop(transaction_id, check)  # it was asked for again meanwhile
                await self._decisions.answer(self._instance, check, state, remark)
            finally:
                self._running.discard(transaction_id)

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
            return TransactionState.UNKNOWN, f"check failed: {type(error).__name__}: {error}"
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
