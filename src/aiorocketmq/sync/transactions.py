"""What the blocking `TransactionProducer` does by hand: `with producer.transaction(...)`, and local transactions in the caller's thread.

There is no Java twin. A plain `execute` runs where it was asked for, so that it finds the database session of its thread; a coroutine
function runs on the event loop, as `check` does when it is one.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self

from aiorocketmq.errors import UsageError
from aiorocketmq.model.enums import TransactionState
from aiorocketmq.model.message import Message
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from aiorocketmq.model.transactions import HalfMessage, TransactionSendResult
from aiorocketmq.producer.selectors import QueueSelector
from aiorocketmq.producer.transaction import Execute, TransactionProducer
from aiorocketmq.producer.transaction import Transaction as AsyncTransaction
from aiorocketmq.sync.base import BlockingProducer
from aiorocketmq.sync.producer import Producer


class BlockingTransactionProducer(Producer):
    """A blocking transaction producer: a blocking producer whose asyncio twin does transactions, too.

    Args:
        client: The asyncio producer.
        max_in_flight: Futures of `send_nowait()` that may be open.
    """

    _async: TransactionProducer

    def __init__(self, client: TransactionProducer, max_in_flight: int) -> None:
        BlockingProducer.__init__(self, client, max_in_flight)  # that of `Producer` makes a twin itself

    def _transaction(
        self,
        message: Message,
        *,
        queue: MessageQueue | None,
        selector: QueueSelector | None,
        sharding_key: str | None,
        timeout: float | timedelta | None,
        check_immunity_time: float | timedelta | None,
    ) -> Transaction:
        twin = self._run(
            self._async.transaction,
            message,
            queue=queue,
            selector=selector,
            sharding_key=sharding_key,
            timeout=timeout,
            check_immunity_time=check_immunity_time,
        )
        return Transaction(self, twin)

    def _send_in_transaction(
        self,
        message: Message,
        execute: Execute,
        arg: Any,
        *,
        queue: MessageQueue | None,
        selector: QueueSelector | None,
        sharding_key: str | None,
        timeout: float | timedelta | None,
        check_immunity_time: float | timedelta | None,
    ) -> TransactionSendResult:
        if not callable(execute):
            raise UsageError(f"execute {execute!r} cannot be called", hint="give a function (message, arg) -> TransactionState")
        twin = self._async
        send = partial(twin._send_half, message, queue, selector, sharding_key, timeout, check_immunity_time)
        transaction = AsyncTransaction(twin, message, send)
        try:
            half = self._call(transaction._store)
            if not half.ok:
                return self._call(transaction._tell, TransactionState.ROLLBACK)
            error: Exception | None = None
            try:
                answer: object = execute(HalfMessage.of(message, half.message_id), arg)
                if inspect.isawaitable(answer):
                    answer = self._call(_result_of, answer)
                state = twin._state_of(answer)
            except Exception as failure:  # noqa: BLE001 - the user's code: the transaction stays open, and the caller is told
                error, state = failure, twin._failed(half, failure)
            transaction._settle(state)
            return self._call(transaction._tell, state, error)
        finally:
            transaction._leave_open()  # interrupted at any moment


class Transaction:
    """One message and its transaction: `with producer.transaction(message) as tx`.

    Entering it stores the half message. Leaving it commits the message; an exception that leaves it rolls the message back and goes on.
    What is no error of the program (`KeyboardInterrupt`, `SystemExit`) leaves the transaction open, for `check` to decide.
    """

    def __init__(self, producer: BlockingTransactionProducer, twin: AsyncTransaction) -> None:
        self._producer = producer
        self._twin = twin

    @property
    def message(self) -> Message:
        """The message; with its `transaction_id` from the moment at which it is entered."""
        return self._twin.message

    @property
    def result(self) -> TransactionSendResult | None:
        """What became of it, once it was left."""
        return self._twin.result

    @property
    def half(self) -> SendResult:
        """Where the half message is stored.

        Raises:
            UsageError: It was not entered.
        """
        return self._twin.half

    @property
    def transaction_id(self) -> str:
        """The transaction id, which is the unique id of the message.

        Raises:
            UsageError: It was not entered.
        """
        return self._twin.transaction_id

    def decide(self, state: TransactionState) -> None:
        """Say how the transaction ends; it does when it is left, whatever is raised until then.

        Call it with `COMMIT` as soon as the local transaction cannot be undone any more.

        Args:
            state: `COMMIT`, `ROLLBACK`, or `UNKNOWN` to leave it to `check`.

        Raises:
            UsageError: It is no state, or the transaction has not begun, or has ended.
        """
        self._twin.decide(state)

    def __enter__(self) -> Self:
        try:
            self._producer._call(self._twin.__aenter__)
        except BaseException:
            self._twin._leave_open()  # interrupted when it was stored
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        twin = self._twin
        try:
            self._producer._call(twin._tell, twin._decided(error))
        finally:
            twin._leave_open()

    def __repr__(self) -> str:
        return repr(self._twin)


async def _result_of(work: Awaitable[object]) -> object:
    return await work
