"""Messages that are delivered only when a local transaction has succeeded (Java: `TransactionMQProducer`). Features C1-C11.

A broker stores the *half message*, which no consumer sees; then the local transaction runs; then the broker is told to commit the message
or to forget it. Who dies in between, or cannot reach the broker, loses nothing: the broker asks a producer of the group, whose `check`
finds out how the local transaction has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from aiorocketmq.client.callbacks import Outcome, UserCall
from aiorocketmq.client.direct_reply import DirectReply
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.config import ClientConfig, NameServers
from aiorocketmq.errors import ClientClosedError, ConfigError, InvalidMessageError, RocketMQError, SendError, UsageError
from aiorocketmq.model import properties as props
from aiorocketmq.model.checks import checked_hooks, duration, whole
from aiorocketmq.model.enums import TransactionState
from aiorocketmq.model.message import Message
from aiorocketmq.model.names import DEFAULT_PRODUCER_GROUP, HALF_TOPIC, is_dlq_topic, is_retry_topic
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from aiorocketmq.model.transactions import HalfMessage, TransactionSendResult
from aiorocketmq.producer.checking import Checker, CheckListener, check_listener, state_of
from aiorocketmq.producer.decisions import Decisions, EndTransactionHook
from aiorocketmq.producer.producer import Producer
from aiorocketmq.producer.reply import refused
from aiorocketmq.producer.selectors import QueueSelector
from aiorocketmq.protocol.sysflag import MessageSysFlag
from aiorocketmq.wording import reason

if TYPE_CHECKING:
    from typing import Unpack

    from aiorocketmq.producer.fields import ProducerFields

Execute: TypeAlias = Callable[[HalfMessage, Any], TransactionState | Awaitable[TransactionState]]
"""A local transaction: gets the half message and the argument, and tells how it has ended."""

MAX_IMMUNITY: Final = 10 * 365 * 24 * 3600.0
_BROKER_ROOM: Final = "x" * 75
"""Stands for the transaction id that brokers add to the properties, and that stays there."""
_KINDS: Final = {
    "__LITE_TOPIC": "a message of a lite topic",
    props.MULTI_DISPATCH: "a message for light queues",
    props.PRIORITY: "a message with a priority",
}
"""Properties of messages that brokers do not store as half messages, and what they make of a message."""

logger = logging.getLogger("aiorocketmq.producer")


class Transaction:
    """One message and its transaction: `async with producer.transaction(message) as tx`.

    Entering it stores the half message. Leaving it commits the message; an exception that leaves it rolls the message back and goes on.
    What is no error of the program (a cancellation, `KeyboardInterrupt`, `SystemExit`) leaves the transaction open, for `check` to decide.

    Attributes:
        message: The message; with its `transaction_id` from the moment at which it is entered.
        result: What became of it, once it was left.
    """

    def __init__(self, producer: TransactionProducer, message: Message, send: Callable[[], Awaitable[SendResult]]) -> None:
        self.message = message
        self.result: TransactionSendResult | None = None
        self._producer = producer
        self._send = send
        self._half: SendResult | None = None
        self._state: TransactionState | None = None
        self._begun = False
        self._settled = False

    @property
    def half(self) -> SendResult:
        """Where the half message is stored.

        Raises:
            UsageError: It was not entered.
        """
        if self._half is None:
            raise UsageError("the transaction has not begun", hint="use `async with producer.transaction(message) as tx`")
        return self._half

    @property
    def transaction_id(self) -> str:
        """The transaction id, which is the unique id of the message.

        Raises:
            UsageError: It was not entered.
        """
        return self.half.message_id

    def decide(self, state: TransactionState) -> None:
        """Say how the transaction ends; it does when it is left, whatever is raised until then.

        Call it with `COMMIT` as soon as the local transaction cannot be undone any more.

        Args:
            state: `COMMIT`, `ROLLBACK`, or `UNKNOWN` to leave it to `check`.

        Raises:
            UsageError: It is no state, or the transaction has not begun, or has ended.
        """
        if not isinstance(state, TransactionState):
            raise UsageError(f"{state!r} is no TransactionState", hint="use TransactionState.COMMIT, ROLLBACK or UNKNOWN")
        if self._half is None or self.result is not None:
            raise UsageError("the transaction has not begun, or has ended already", hint="decide inside of `async with`")
        self._state = state

    async def __aenter__(self) -> Self:
        half = await self._store()
        if not half.ok:
            self.result = await self._producer._end(self.message, half, TransactionState.ROLLBACK)
            raise SendError(
                f"the half message for topic {self.message.topic!r} was stored with status {half.status.name}, and is rolled back",
                topic=self.message.topic,
                broker=half.queue.broker_name,
                hint="the broker could not flush or replicate it in time: try again",
            )
        self.message = HalfMessage.of(self.message, half.message_id)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._tell(self._decided(error))

    def __del__(self) -> None:
        # Who was interrupted before it could leave: from now on nobody says that the transaction is under way.
        self._leave_open()

    # Inside, and for the blocking twin, which decides on its own thread: what interrupts it later changes nothing.

    async def _store(self) -> SendResult:
        if self._begun:
            raise UsageError("the transaction has begun already", hint="make one for each message")
        self._begun = True
        try:
            self._half = half = await self._send()
        except BaseException:
            self._begun = False  # another try is allowed
            raise
        return half

    def _decided(self, error: BaseException | None) -> TransactionState:
        """How it ends, which is kept in mind from here on; `error` is what leaves it."""
        state = self._state
        if state is None and error is None:
            state = TransactionState.COMMIT
        elif state is None:
            state = TransactionState.ROLLBACK if isinstance(error, Exception) else TransactionState.UNKNOWN
        self._settle(state)
        return state

    def _settle(self, state: TransactionState) -> None:
        self._producer._decisions.decide(self.half.message_id, state)
        self._settled = True

    def _leave_open(self) -> None:
        """Nobody will end it any more: what was decided stands, all else is up to `check`."""
        if self._half is not None and not self._settled:
            self._settle(TransactionState.UNKNOWN if self._state is None else self._state)

    async def _tell(self, state: TransactionState, error: Exception | None = None) -> TransactionSendResult:
        self.result = result = await self._producer._end(self.message, self.half, state, error)
        return result

    def __repr__(self) -> str:
        where = self._half.message_id if self._half is not None else "not begun"
        return f"<Transaction {where} of {self.message!r}>"


class TransactionProducer(Producer):
    """Sends messages that are delivered when a local transaction has succeeded, besides everything that a `Producer` does.

    Args:
        name_servers: `a:9876;b:9876`, a list, or a `rocketmq://` URL; left out it comes from `config`, then from `NAMESRV_ADDR`.
        group: Producer group, a name of your own: brokers ask any producer of this group how a transaction has ended, also one in another
            process, and one that was started after the producer of the message has died. All of them must give the same answers.
            Only the producer of a message knows that its transaction is under way: see `check`.
        check: Finds out how a transaction has ended: gets the message, whose `transaction_id` is that of the local transaction, and gives
            a `TransactionState`. A coroutine function runs on the event loop, a plain one on a thread. `UNKNOWN`, an exception, or anything
            else makes the broker ask again; Apache RocketMQ asks 15 times, every 30 s (4.x: 60 s), and then gives the message up.
            Where the group has several producers, answer `UNKNOWN` rather than `ROLLBACK` for what may still be under way in another one,
            or give `check_immunity_time` longer than local transactions take.
        config: A `ClientConfig`, or a `rocketmq://` URL.
        check_concurrency: Checks that may run at a time.
        check_request_hold_max: Checks that may wait; more are dropped, and the broker asks again.
        check_immunity_time: Seconds, at least 1 and up to whole ones, for which brokers do not ask after a message was sent; a decision
            that comes later than that is refused by the broker, which then asks. None leaves it to the broker (6 s), which takes late ones.
        executor: Runs a plain `check` and plain local transactions; None takes the executor of the event loop.
        producer_fields: Arguments of `Producer`, and fields of `ClientConfig`, changed for this producer.

    Raises:
        ConfigError: A field has a value that cannot work.
        InvalidNameError: The group, or one of the topics, has an illegal name.
    """

    def __init__(
        self,
        name_servers: NameServers = None,
        *,
        group: str,
        check: CheckListener,
        config: ClientConfig | str | None = None,
        check_concurrency: int = 4,
        check_request_hold_max: int = 2000,
        check_immunity_time: float | timedelta | None = None,
        executor: Executor | None = None,
        **producer_fields: Unpack[ProducerFields],
    ) -> None:
        check_listener(check)
        if executor is not None and not isinstance(executor, Executor):
            raise ConfigError(f"executor {executor!r} is none of concurrent.futures", hint="give a ThreadPoolExecutor, or leave it out")
        if executor is not None and type(executor).__module__ == "concurrent.futures.process":
            # By the module's name: it is expensive to import, and whoever has such an executor has done it.
            raise ConfigError(f"executor {executor!r} has other processes, which know no client", hint="give a ThreadPoolExecutor")
        if group == DEFAULT_PRODUCER_GROUP:
            raise ConfigError(
                f"group {group!r} is what producers without a name share: a broker would ask any of them how a transaction has ended",
                hint="give the group a name of its own",
            )
        self._check = check
        self._check_concurrency = whole("check_concurrency", check_concurrency, 1)
        self._check_request_hold_max = whole("check_request_hold_max", check_request_hold_max, 1)
        self._immunity = _immunity(check_immunity_time)
        self._executor = executor
        super().__init__(name_servers, group=group, config=config, **producer_fields)
        self._decisions = Decisions(group)
        self._checker: Checker | None = None
        self._log = StateLog(logger)
        self._half_properties = f"{props.TRANSACTION_PREPARED}\x01true\x02{props.PRODUCER_GROUP}\x01{self.config.names.wrap(group)}\x02"

    # -- life --------------------------------------------------------------------------------------------------------------------------

    async def _join(self, instance: ClientInstance) -> None:
        await super()._join(instance)
        assert self._dispatcher is not None  # joined
        self._checker = Checker(
            self._check,
            self._decisions,
            instance,
            concurrency=self._check_concurrency,
            most=self._check_request_hold_max,
            executor=self._executor,
        )
        self._decisions.trace = self._trace
        instance.clients.checks[self.group] = self._checker.take
        # Every broker that may hold a half message of the group has this topic, and has to know of us before we send anything.
        self._dispatcher.watched = (HALF_TOPIC,)
        instance.scheduler.spawn(f"brokers learn of {self.group}", self._introduce(instance))

    async def _introduce(self, instance: ClientInstance) -> None:
        try:
            await instance.routes.fetch(HALF_TOPIC)
        except RocketMQError as error:
            # Brokers before 5.0 have it from their first look at half messages on; routes are asked for again and again.
            logger.info("producer %s: brokers may ask about transactions after the next heartbeat: %s", self.group, error)
        await instance.heartbeat.send_all()

    async def _undo(self, instance: ClientInstance) -> None:
        await self._close_checker(instance)
        await super()._undo(instance)

    async def _leave(self, patience: float, instance: ClientInstance) -> None:
        try:
            await super()._leave(patience, instance)
        finally:
            await self._close_checker(instance)

    async def _close_checker(self, instance: ClientInstance) -> None:
        checker, self._checker = self._checker, None
        if checker is not None:
            if instance.clients.checks.get(self.group) == checker.take:
                del instance.clients.checks[self.group]
            await checker.close()

    def register_end_transaction_hook(self, hook: EndTransactionHook) -> None:
        """Let a hook see every decision before a broker is told, those of checks too.

        Args:
            hook: Its `end_transaction(context)` is called on the event loop.

        Raises:
            ConfigError: It is no such hook.
        """
        self._decisions.hooks += checked_hooks((hook,), ("end_transaction",), "EndTransactionHook")

    # -- sending -----------------------------------------------------------------------------------------------------------------------

    def transaction(
        self,
        message: Message,
        *,
        queue: MessageQueue | None = None,
        selector: QueueSelector | None = None,
        sharding_key: str | None = None,
        timeout: float | timedelta | None = None,
        check_immunity_time: float | timedelta | None = None,
    ) -> Transaction:
        """A transaction with one message: `async with producer.transaction(message) as tx`, and the local transaction inside.

        Entering it stores the half message, and raises what `send()` raises. Leaving it commits, an exception rolls back, `tx.decide()`
        says otherwise; the broker is told by a request that is not answered, and asks `check` when that gets lost.

        Args:
            message: The message: no delay, no priority, and no topic of retries or dead letters.
            queue: The queue that it is delivered to.
            selector: Callable `(queues, message) -> queue`.
            sharding_key: Messages of one key go to one queue; they get there in the order of their commits.
            timeout: Seconds for storing the half message; None takes `send_msg_timeout`.
            check_immunity_time: As that of the producer, for this message.

        Raises:
            InvalidMessageError: The message cannot be sent in a transaction.
            ConfigError: A time is none.
            ClientStateError: The producer is not running, or belongs to another event loop.
        """
        _check_kind(message)
        self._running().check(message, queue, selector, sharding_key)
        limit = None if timeout is None else duration("timeout", timeout)
        _immunity(check_immunity_time)
        return Transaction(self, message, partial(self._send_half, message, queue, selector, sharding_key, limit, check_immunity_time))

    async def send_in_transaction(
        self,
        message: Message,
        execute: Execute,
        arg: Any = None,
        *,
        queue: MessageQueue | None = None,
        selector: QueueSelector | None = None,
        sharding_key: str | None = None,
        timeout: float | timedelta | None = None,
        check_immunity_time: float | timedelta | None = None,
    ) -> TransactionSendResult:
        """Store a half message, run a local transaction, and tell the broker how that has ended; Java's way.

        Args:
            message: The message. Further arguments as in `transaction()`.
            execute: Gets the message, with its `transaction_id`, and `arg`; gives a `TransactionState`. A coroutine function runs on the
                event loop, a plain one on a thread. An exception is logged and leaves the transaction open, as `UNKNOWN` does: `check`
                decides.
            arg: Passed on.

        Returns:
            What was decided. A half message that is stored with another status than `SEND_OK` is rolled back, without `execute`.

        Raises:
            UsageError: `execute` cannot be called.
            InvalidMessageError: The message cannot be sent in a transaction; nothing was.
            SendError, SendTimeoutError, RouteError, InvalidNameError, ClientStateError: As for `send()`: the half message could not be
                stored, and the local transaction was not run.

        Cancelling it leaves the transaction to `check`, unless the decision was made. A plain function that runs already cannot be
        stopped: until it returns brokers are told to ask later, and what it returns is the decision all the same.
        """
        if not callable(execute):
            raise UsageError(f"execute {execute!r} cannot be called", hint="give a function (message, arg) -> TransactionState")
        half = await self._send_half(message, queue, selector, sharding_key, timeout, check_immunity_time)
        if not half.ok:
            return await self._end(message, half, TransactionState.ROLLBACK)
        prepared = HalfMessage.of(message, half.message_id)
        error: Exception | None = None
        local = UserCall(execute, self._executor)
        try:
            state = self._state_of(await local(prepared, arg))
        except Exception as failure:  # noqa: BLE001 - the user's code: the transaction stays open, and the caller is told
            error, state = failure, self._failed(half, failure)
        except BaseException:
            if local.left is None:
                self._decisions.decide(half.message_id, TransactionState.UNKNOWN)
            else:  # it is under way until its thread has ended: a check that looks before that would find nothing
                local.left.add_done_callback(partial(self._ended_alone, message, half))
            raise
        return await self._end(message, half, state, error)

    # -- inside, and for the blocking twin ---------------------------------------------------------------------------------------------

    async def _send_half(
        self,
        message: Message,
        queue: MessageQueue | None,
        selector: QueueSelector | None,
        sharding_key: str | None,
        timeout: float | timedelta | None,
        check_immunity_time: float | timedelta | None,
    ) -> SendResult:
        """Store a half message; its transaction is under way from then on."""
        preparer = self._running()
        _check_kind(message)
        reply: DirectReply[SendResult] = DirectReply(preparer.loop)
        immunity = self._immunity if check_immunity_time is None else _immunity(check_immunity_time)
        operation = preparer.single(message, self._policies.sync, timeout, queue, selector, sharding_key, reply)
        added = self._half_properties
        if immunity is not None:
            added += f"{props.CHECK_IMMUNITY_TIME}\x01{immunity}\x02"
        try:
            message.checked_size(operation.properties + added + _BROKER_ROOM)
        except InvalidMessageError as error:
            refused(operation.reply, error)
            raise
        operation.properties += added
        operation.sys_flag |= MessageSysFlag.TRANSACTION_PREPARED
        self._decisions.begin(operation.message_id)
        try:
            result = await self._run(operation, reply)
        except BaseException:
            # It may be stored all the same, and the local transaction will never run.
            self._decisions.decide(operation.message_id, TransactionState.ROLLBACK)
            raise
        assert result is not None  # only one-way sends have no result
        return result

    def _state_of(self, answer: object) -> TransactionState:
        return state_of(answer, self._log, "execute")

    def _ended_alone(self, message: Message, half: SendResult, ended: asyncio.Future[Outcome]) -> None:
        """A local transaction has ended on its thread after its caller has gone."""
        answer, error = ended.result()
        state = self._state_of(answer) if error is None else self._failed(half, error)
        self._decisions.decide(half.message_id, state)
        instance = self._life.instance
        if instance is not None and state is not TransactionState.UNKNOWN:
            with contextlib.suppress(ClientClosedError):  # stopped just now: as if it had been before
                instance.scheduler.spawn("end a transaction", self._end(message, half, state))

    def _failed(self, half: SendResult, error: BaseException) -> TransactionState:
        """What a local transaction that has raised leaves."""
        logger.error("the local transaction %s failed: it stays open, and the broker will ask", half.message_id, exc_info=error)
        return TransactionState.UNKNOWN

    async def _end(
        self, message: Message, half: SendResult, state: TransactionState, error: Exception | None = None
    ) -> TransactionSendResult:
        """Keep a decision in mind, and tell the broker."""
        self._decisions.decide(half.message_id, state)
        instance = self._life.instance
        told = False
        if instance is None:
            logger.warning("producer %s was stopped before it could end transaction %s: the broker will ask", self.group, half.message_id)
        else:
            remark = f"local transaction failed: {reason(error)}" if error is not None else None
            told = await self._decisions.tell(instance, message, half, state, self._settings.send_msg_timeout, remark)
        return TransactionSendResult(half, state, error, told)


def _immunity(value: float | timedelta | None) -> int | None:
    return None if value is None else math.ceil(duration("check_immunity_time", value, 1.0, MAX_IMMUNITY))


def _check_kind(message: object) -> None:
    """Refuse what is no message, or cannot be one of a transaction.

    Raises:
        InvalidMessageError: It cannot.
    """
    if isinstance(message, list | tuple):
        raise InvalidMessageError(
            "a batch cannot be sent in a transaction: a broker decides about one message", hint="make a transaction for each message"
        )
    if not isinstance(message, Message):
        return  # refused with all others
    if message.delayed:
        raise InvalidMessageError(
            f"a message for topic {message.topic!r} with a delay cannot be sent in a transaction: brokers store either",
            hint="leave delay, deliver_at and delay_level out",
        )
    if is_retry_topic(message.topic) or is_dlq_topic(message.topic):
        raise InvalidMessageError(
            f"topic {message.topic!r} is one of retries or dead letters: its messages have no transactions", hint="use a topic of your own"
        )
    if not message._simple:
        properties = message.wire_properties()
        for name, kind in _KINDS.items():
            if name in properties:
                raise InvalidMessageError(f"{kind} cannot be sent in a transaction", hint="send it without one, or leave that out")
