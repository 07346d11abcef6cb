"""Sends that hooks look at: around the reply of each of them. There is no Java twin (there: `sendKernelImpl` calls hooks for every try).

Only producers with hooks or a trace have these; the others do not even import them. A hook sees one send, whatever tries it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from aiorocketmq.model.message import Message
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer.accumulator import Accumulator
from aiorocketmq.producer.attempts import SendPolicy
from aiorocketmq.producer.dispatcher import SendDispatcher
from aiorocketmq.producer.gathered import TOLD, Gathered
from aiorocketmq.producer.hooks import SendContext, SendObservers
from aiorocketmq.producer.prepare import Preparer
from aiorocketmq.producer.reply import NOBODY, Reply
from aiorocketmq.producer.send import SendOperation
from aiorocketmq.producer.settings import ProducerSettings
from aiorocketmq.protocol.message_id import UniqueIdGenerator
from aiorocketmq.protocol.sysflag import MessageSysFlag


class ObservedReply:
    """Shows the outcome of a send to the hooks, and tells it to the reply of the caller.

    Args:
        reply: The caller's.
        observers: The hooks.
        context: What they see.

    Attributes:
        context: What they see.
        operation: The send, when it is not part of a batch that was gathered.
    """

    def __init__(self, reply: Reply, observers: SendObservers, context: SendContext) -> None:
        self.operation: SendOperation | None = None
        self._reply: Reply = reply
        self._observers = observers
        self.context = context
        self._begun = False

    def begin(self) -> None:
        """Nothing stands against the send but a hook.

        Raises:
            Exception: What a hook forbids it with.
        """
        self._observers.begin(self.context)
        self._begun = True

    def done(self) -> bool:
        """See `Reply.done`; hooks hear here that the caller waits no more."""
        if not self._reply.done():
            return False
        self._end(None, None)
        return True

    def set_result(self, result: SendResult | None, /) -> None:
        """See `Reply.set_result`."""
        try:
            self._end(result, None, told=True)
        finally:  # whatever a hook does, `sys.exit()` included: nobody may wait for ever
            reply, self._reply = self._reply, NOBODY
            reply.set_result(result)

    def set_exception(self, error: BaseException, /) -> None:
        """See `Reply.set_exception`."""
        try:
            self._end(None, error, told=True)
        finally:
            reply, self._reply = self._reply, NOBODY
            reply.set_exception(error)

    def refused(self, error: BaseException) -> None:
        """The caller is told an error, and not by this reply."""
        self._end(None, error, told=True)
        self._reply = NOBODY

    def _end(self, result: SendResult | None, error: BaseException | None, *, told: bool = False) -> None:
        if not self._begun:
            return
        self._begun = False
        operation, self.operation = self.operation, None
        if operation is not None:
            self.context.broker_address = operation.address
            self.context.half = bool(operation.sys_flag & MessageSysFlag.TRANSACTION_PREPARED)
        self._observers.end(self.context, result, error if told else asyncio.CancelledError())


class ObservingPreparer(Preparer):
    """A preparer whose operations are observed."""

    __slots__ = ("observers",)

    def __init__(
        self,
        settings: ProducerSettings,
        dispatcher: SendDispatcher,
        client_id: str,
        pid: int,
        observers: SendObservers,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(settings, dispatcher, client_id, pid, clock)
        self.observers = observers

    def single(
        self,
        message: Any,
        policy: SendPolicy,
        timeout: float | timedelta | None,
        queue: Any,
        selector: Any,
        sharding_key: Any,
        reply: Reply,
    ) -> SendOperation:
        """See `Preparer.single()`; raises what a hook forbids the send with, too."""
        observed = self._observed((message,), queue, policy, reply)
        operation = super().single(message, policy, timeout, queue, selector, sharding_key, observed)
        return _begun(observed, operation)

    def batch(
        self,
        messages: Any,
        policy: SendPolicy,
        timeout: float | timedelta | None,
        queue: Any,
        reply: Reply,
    ) -> SendOperation:
        """See `Preparer.batch()`; raises what a hook forbids the send with, too."""
        observed = self._observed((), queue, policy, reply)
        operation = super().batch(messages, policy, timeout, queue, observed)
        observed.context.messages = tuple(messages)  # the list is the caller's, who may fill it anew while they are on their way
        return _begun(observed, operation)

    def _observed(self, messages: Sequence[Message], queue: Any, policy: SendPolicy, reply: Reply) -> ObservedReply:
        return ObservedReply(reply, self.observers, self.observers.context(messages, queue, oneway=policy.oneway))


def _begun(observed: ObservedReply, operation: SendOperation) -> SendOperation:
    observed.context.message_ids = tuple(operation.message_id.split(","))
    observed.begin()
    observed.operation = operation
    return operation


class ObservingAccumulator(Accumulator):
    """An accumulator whose messages are observed, each by itself."""

    __slots__ = ("observers",)

    def __init__(self, dispatcher: SendDispatcher, ids: UniqueIdGenerator, observers: SendObservers) -> None:
        super().__init__(dispatcher, ids)
        self.observers = observers

    def take(
        self,
        message: Any,
        policy: SendPolicy,
        timeout: float | timedelta | None,
        queue: Any,
        selector: Any,
        sharding_key: Any,
        reply: Reply,
    ) -> Gathered | None:
        """See `Accumulator.take()`; raises what a hook forbids the send with, too."""
        observed = ObservedReply(reply, self.observers, self.observers.context((message,), queue, oneway=False))
        gathered = super().take(message, policy, timeout, queue, selector, sharding_key, observed)
        if gathered is not None and gathered is not TOLD:
            observed.begin()
        return gathered
