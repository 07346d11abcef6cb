"""What a running push consumer can be told: to pause, to go on, to be slower, to use more workers (Java: `suspend`, `resume`,
`updateCorePoolSize`).

Features F6, F36, F48.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from aiorocketmq.consumer.client import PullingConsumer
from aiorocketmq.consumer.settings import PushSettings, messages_a_second
from aiorocketmq.errors import ClientClosedError, ClientStateError, ConfigError
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from aiorocketmq.consumer.assigned import AssignedQueue
    from aiorocketmq.consumer.runtime import PushRuntime
    from aiorocketmq.consumer.subscriptions import Subscriptions


class ControlledConsumer(PullingConsumer):
    """A consumer whose messages go to listeners, and the controls of it."""

    _subscriptions: Subscriptions
    _runtime: PushRuntime | None
    _rates: dict[str | None, float]

    def suspend(self) -> None:
        """Pull no more; what was pulled is still consumed. Does nothing before the start."""
        if self._runtime is not None:
            self._runtime.suspend()

    def pause(self, *what: str | MessageQueue) -> None:
        """Begin no call of a listener for topics or single queues, and pull nothing of them; calls that run go on.

        What was pulled waits here, and so do messages of a paused topic that come again. A topic stays paused until `resume()`, whatever
        becomes of its queues; a queue that moves to another member and comes back is paused no more.

        Args:
            what: Topics that are subscribed, queues of `assigned`; none is all of them, and what is subscribed later is not pulled.

        Raises:
            ClientStateError: A topic is not subscribed, or a queue not assigned to this consumer; nothing is paused then.
            ConfigError: It is neither a topic nor a queue.
            ClientClosedError: The consumer was stopped.
        """
        topics, queues = self._named(what or [listener.topic for listener in self._subscriptions.listeners])
        if not what:
            self.suspend()
        for topic in topics:
            if self._runtime is not None:
                self._runtime.pause_topic(topic)
            else:
                self._subscriptions.pause(topic)
        if self._runtime is not None:
            self._runtime.pause(queues)

    def resume(self, *what: str | MessageQueue) -> None:
        """Go on after `pause()` or `suspend()`.

        Args:
            what: Topics and queues, as of `pause()`; none is everything. A queue of a paused topic can go on alone.

        Raises:
            ClientStateError, ConfigError, ClientClosedError: As `pause()`, when something is named.
        """
        runtime = self._runtime
        if not what:
            if runtime is not None:
                runtime.resume()
            else:
                for topic in list(self._subscriptions.paused):
                    self._subscriptions.resume(topic)
            return
        topics, queues = self._named(what)
        for topic in topics:
            if runtime is not None:
                runtime.resume_topic(topic)
            else:
                self._subscriptions.resume(topic)
        if runtime is not None:
            runtime.resume_queues(queues)

    @property
    def topics(self) -> frozenset[str]:
        """The topics that have a listener now, by name or by pattern."""
        return frozenset(listener.topic for listener in tuple(self._subscriptions.listeners))

    @property
    def paused_topics(self) -> frozenset[str]:
        """The topics that are paused; `paused()` tells the queues."""
        return frozenset(self._subscriptions.paused)

    def _named(self, what: Iterable[object]) -> tuple[list[str], list[AssignedQueue]]:
        """Topics and queues that a user gave."""
        self._life.check_loop()
        self._life.check_not_stopped()
        topics, queues = [], []
        for each in what:
            if isinstance(each, str):
                topics.append(topic := self._namespace.unwrap(each))
                if self._subscriptions.get(topic) is None:
                    raise ClientStateError(f"topic {each!r} is not subscribed", hint="name a topic that has a listener")
            elif isinstance(each, MessageQueue):
                queues.append(self._running().owned(self._own(each)))
            else:
                raise ConfigError(f"{each!r} is neither a topic nor a queue", hint="give the name of a topic, or one of `assigned`")
        return topics, queues

    def limit_rate(self, rate: float | None, topic: str | None = None) -> None:
        """Limit the messages a second that listeners are called with, from now on; before the start, too, and while running.

        Messages that come again count, and each of a list. What is pulled waits, and no call: workers, time-outs and stops know nothing of
        it. With several members, each has its own limit.

        Args:
            rate: Messages a second, above 0; None ends the limit.
            topic: A topic that is subscribed; None is all of them together. Both kinds of limits hold at the same time.

        Raises:
            ConfigError: It is no rate.
            ClientStateError: The topic is not subscribed.
            ClientClosedError: The consumer was stopped.
        """
        limit = messages_a_second("rate", rate) if rate is not None else None
        self._life.check_loop()
        self._life.check_not_stopped()
        name = None
        if topic is not None:
            if not isinstance(topic, str):
                raise ConfigError(f"topic {topic!r} is no name", hint="give the name of a topic; queues have no limits of their own")
            (name,), _ = self._named([topic])
        if limit is not None:
            self._rates[name] = limit
        else:
            self._rates.pop(name, None)
        if self._runtime is not None:
            self._runtime.service.caller.limit_rate(name, limit)

    @property
    def rate_limits(self) -> dict[str | None, float]:
        """The limits on the rate: topic → messages a second; None stands for all topics together."""
        return dict(self._rates)

    def resize(self, concurrency: int | tuple[int, int]) -> None:
        """Change `concurrency` while running.

        Raises:
            ConfigError: It is out of range.
            ClientClosedError: The consumer is not running.
        """
        low, high = PushSettings(group=self.group, concurrency=concurrency).workers
        if self._runtime is None:
            raise ClientClosedError(f"consumer of group {self.group!r} is not running")
        self._runtime.service.caller.resize(low, high)

    @property
    def popped(self) -> frozenset[MessageQueue]:
        """Queues whose messages are popped instead of pulled, because brokers say so; a queue id of -1 stands for all of a broker's."""
        return self._runtime.popped if self._runtime is not None else frozenset()

    @property
    def workers(self) -> int:
        """Workers now."""
        return self._runtime.service.caller.workers if self._runtime is not None else 0
