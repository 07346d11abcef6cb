"""How transactions end: what was decided, and telling brokers (Java: `DefaultMQProducerImpl.endTransaction`). Features C4, C9, E3.

A decision is told by a one-way request, which may get lost; then the broker asks. What this producer has decided it does not ask its user
again: a transaction that it has committed is never rolled back by a `check` that looks too early, and the other way round.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Protocol

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.ports import TransactionCheck
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.errors import RocketMQError, broker_not_found
from aiorocketmq.model.enums import TransactionState
from aiorocketmq.model.message import Message
from aiorocketmq.model.offset_id import OffsetMessageId
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import SendResult
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.headers_client import EndTransactionRequestHeader
from aiorocketmq.protocol.sysflag import MessageSysFlag

REMEMBERED: Final = 4096
"""Decisions that a producer remembers, the newest ones."""
CHECK_ANSWER_TIMEOUT: Final = 3.0
"""Seconds that the answer to a check may take to leave."""

_COMMIT_OR_ROLLBACK: Final = {
    TransactionState.COMMIT: MessageSysFlag.TRANSACTION_COMMIT,
    TransactionState.ROLLBACK: MessageSysFlag.TRANSACTION_ROLLBACK,
    TransactionState.UNKNOWN: MessageSysFlag.TRANSACTION_NOT,
}

logger = logging.getLogger("aiorocketmq.producer")


@dataclass(frozen=True, slots=True)
class EndTransactionContext:
    """What an `EndTransactionHook` sees (Java: `EndTransactionContext`).

    Attributes:
        group: Producer group.
        broker_address: Broker that is told.
        message: The message; as it is stored when the broker has asked.
        message_id: Its unique id.
        transaction_id: The transaction id.
        state: What was decided.
        from_transaction_check: The broker has asked.
    """

    group: str
    broker_address: str
    message: Message | ReceivedMessage
    message_id: str
    transaction_id: str
    state: TransactionState
    from_transaction_check: bool


class EndTransactionHook(Protocol):
    """Sees every decision of a producer before a broker is told."""

    def end_transaction(self, context: EndTransactionContext) -> None:
        """Called on the event loop; must not block. What it raises is logged, and changes nothing."""


class Decisions:
    """The decisions of one producer.

    Attributes:
        hooks: Called with each decision that a broker is told.
        trace: One hook more, while the producer runs with a trace.
    """

    def __init__(self, group: str) -> None:
        self.hooks: tuple[EndTransactionHook, ...] = ()
        self.trace: EndTransactionHook | None = None
        self._group = group
        self._under_way: set[str] = set()
        self._made: OrderedDict[str, TransactionState] = OrderedDict()
        self._log = StateLog(logger)

    # -- what was decided --------------------------------------------------------------------------------------------------------------

    def begin(self, transaction_id: str) -> None:
        """A transaction is under way from here on."""
        self._under_way.add(transaction_id)

    def decide(self, transaction_id: str, state: TransactionState) -> None:
        """It has ended this way; one that has ended in no known way is up to `check`. From any thread."""
        if state is not TransactionState.UNKNOWN:
            self._made[transaction_id] = state
            if len(self._made) > REMEMBERED:
                self._made.popitem(last=False)
        self._under_way.discard(transaction_id)  # last: between the two, `check` would be asked about what is decided

    def known(self, transaction_id: str) -> TransactionState | None:
        """What can be answered without asking the user: `UNKNOWN` while the transaction is under way; None when the user has to tell."""
        return TransactionState.UNKNOWN if transaction_id in self._under_way else self._made.get(transaction_id)

    # -- telling brokers ---------------------------------------------------------------------------------------------------------------

    async def tell(
        self,
        instance: ClientInstance,
        message: Message,
        half: SendResult,
        state: TransactionState,
        timeout: float,
        remark: str | None = None,
    ) -> bool:
        """Tell the broker of the half message how its transaction has ended.

        Returns:
            False when the request could not be handed to a connection, which is logged; the broker will ask then.

        Cancelling it leaves open whether the broker is told.
        """
        broker_name = instance.routes.broker_of(half.queue)
        try:
            address = instance.find_broker_address_in_publish(broker_name)
            if address is None:
                raise broker_not_found(broker_name, topic=message.topic, master=True)
            header = EndTransactionRequestHeader(
                producer_group=self._group,
                tran_state_table_offset=half.queue_offset,
                commit_log_offset=OffsetMessageId.decode(half.offset_message_id).offset,
                commit_or_rollback=_COMMIT_OR_ROLLBACK[state],
                msg_id=half.message_id,
                from_transaction_check=False,
                transaction_id=half.transaction_id,
                topic=message.topic,
                bname=broker_name,
            )
            self._show(EndTransactionContext(self._group, address, message, half.message_id, half.message_id, state, False))
            await _send(instance, address, header, remark, timeout)
        except RocketMQError as error:
            text = "broker %s was not told that transaction %s ended as %s, and will ask: %s"
            self._log.failed(broker_name, text, broker_name, half.message_id, state.name, error)
            return False
        self._log.worked(broker_name, "broker %s is told of transactions again", broker_name)
        return True

    async def answer(self, instance: ClientInstance, check: TransactionCheck, state: TransactionState, remark: str | None = None) -> None:
        """Answer the check of a broker; a failure is logged, and the broker asks again.

        Cancelling it leaves open whether the broker gets the answer.
        """
        asked, message = check.header, check.message
        header = EndTransactionRequestHeader(
            producer_group=self._group,
            tran_state_table_offset=asked.tran_state_table_offset,
            commit_log_offset=asked.commit_log_offset,
            commit_or_rollback=_COMMIT_OR_ROLLBACK[state],
            msg_id=message.message_id,
            from_transaction_check=True,
            transaction_id=asked.transaction_id,
            # Not the broker's own topic, which it names and Java repeats: with ACL 2.0 few may write there, and the answer would be lost.
            topic=message.topic,
            bname=asked.bname,
        )
        transaction_id = asked.transaction_id or message.message_id
        self._show(EndTransactionContext(self._group, check.address, message, message.message_id, transaction_id, state, True))
        try:
            await _send(instance, check.address, header, remark, CHECK_ANSWER_TIMEOUT)
        except RocketMQError as error:
            text = "the check of transaction %s by the broker at %s was not answered, it will ask again: %s"
            self._log.note(logging.WARNING, f"answer {check.address}", text, transaction_id, check.address, error)

    def _show(self, context: EndTransactionContext) -> None:
        for hook in self.hooks if self.trace is None else (*self.hooks, self.trace):
            try:
                hook.end_transaction(context)
            except (Exception, asyncio.CancelledError, GeneratorExit):  # the user's own code: nobody cancels it
                logger.exception("a hook failed at the end of transaction %s, which goes on", context.transaction_id)


async def _send(instance: ClientInstance, address: str, header: EndTransactionRequestHeader, remark: str | None, timeout: float) -> None:
    request = instance.broker_api.request(RequestCode.END_TRANSACTION, header, oneway=True)
    request.remark = remark
    await instance.remoting.invoke_oneway(address, request, timeout)
