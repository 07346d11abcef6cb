"""The part of a push consumer that lets hooks and the message trace look at its listeners. Features E4, E5, E7.

Java: `DefaultMQPushConsumerImpl.registerConsumeMessageHook`, `DefaultMQPushConsumer.enableTrace`. What only such consumers need is
imported when one is made.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.client.trace import TraceDispatcher
    from aiorocketmq.consumer.listener import Listener
    from aiorocketmq.consumer.settings import PushSettings

FLUSH_TIMEOUT: Final = 5.0
"""Seconds that a stop gives at most to records that wait."""
FORCED_FLUSH_TIMEOUT: Final = 0.5


class Observed:
    """What looks at the listeners of one consumer, from its making on.

    Args:
        settings: The consumer's settings.
    """

    def __init__(self, settings: PushSettings) -> None:
        from aiorocketmq.consumer.hooks import ConsumeObservers

        self._settings = settings
        self._observers = ConsumeObservers(settings.group, settings.hooks, settings.consume_timeout)
        self._dispatcher: TraceDispatcher | None = None

    @property
    def traces_lost(self) -> int:
        """Records that were dropped since the start."""
        return self._dispatcher.lost if self._dispatcher is not None else 0

    def around(self, listener: Listener) -> None:
        """Put the hooks around a listener."""
        self._observers.around(listener)

    async def start(self, instance: ClientInstance) -> None:
        """Begin to trace, if that is wanted."""
        if self._settings.enable_trace:
            from aiorocketmq.client.trace import TraceDispatcher
            from aiorocketmq.consumer.tracing import ConsumeTrace

            self._dispatcher = TraceDispatcher(instance, self._settings.group, "CONSUME", self._settings.trace_topic)
            self._observers.trace = ConsumeTrace(self._dispatcher)
            await self._dispatcher.start()

    async def stop(self, force: asyncio.Event) -> None:
        """Let what waits leave, for some seconds."""
        if self._dispatcher is not None:
            await self._dispatcher.stop(FORCED_FLUSH_TIMEOUT if force.is_set() else FLUSH_TIMEOUT)
        self._observers.trace = None
