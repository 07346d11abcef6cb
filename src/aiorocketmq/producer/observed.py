"""The part of a producer that lets hooks and the message trace look at its sends. Features E1, E2, E7, E10.

Java: `DefaultMQProducerImpl.registerSendMessageHook`, `DefaultMQProducer.enableTrace`. What only such producers need is imported when
one starts.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from aiorocketmq.producer.recall import Recalls

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.producer.accumulator import Accumulator
    from aiorocketmq.producer.dispatcher import SendDispatcher
    from aiorocketmq.producer.prepare import Preparer
    from aiorocketmq.producer.tracing import SendTrace

FLUSH_TIMEOUT: Final = 5.0
"""Seconds that a stop gives at most to records that wait."""


class ObservedSends(Recalls):
    """Sends with hooks and a trace around them, where there are some."""

    _trace: SendTrace | None = None

    @property
    def traces_lost(self) -> int:
        """Records of the message trace that were dropped since the start: too many waited, or no broker took them."""
        return self._trace.dispatcher.lost if self._trace is not None else 0

    def _recalled(self, topic: str, handle: str, *, success: bool) -> None:
        if self._trace is not None and self._settings.trace_recalls:
            from aiorocketmq.model.recall import RecallHandle

            self._trace.recalled(self._settings.group, topic, RecallHandle.decode(handle).message_id, success=success)

    async def _observe(self, dispatcher: SendDispatcher, instance: ClientInstance) -> tuple[Preparer, Accumulator | None]:
        """What makes observed sends for a producer that joins an instance."""
        from aiorocketmq.producer.hooks import SendObservers
        from aiorocketmq.producer.observing import ObservingAccumulator, ObservingPreparer

        settings = self._settings
        hooks = settings.hooks
        if settings.enable_trace:
            from aiorocketmq.client.trace import TraceDispatcher
            from aiorocketmq.producer.tracing import SendTrace

            self._trace = SendTrace(TraceDispatcher(instance, settings.group, "PRODUCE", settings.trace_topic))
            await self._trace.dispatcher.start()
            hooks = (*hooks, self._trace)
        observers = SendObservers(settings.group, hooks)
        preparer = ObservingPreparer(settings, dispatcher, instance.client_id, os.getpid(), observers)
        return preparer, ObservingAccumulator(dispatcher, preparer.ids, observers) if settings.auto_batch else None

    async def _end_trace(self, timeout: float) -> None:
        """Let what waits leave, for at most so many seconds."""
        if self._trace is not None:
            await self._trace.dispatcher.stop(timeout)
