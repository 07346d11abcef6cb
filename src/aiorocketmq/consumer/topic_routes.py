"""The routes of a consumer's topics: fetched at its start, and asked for again and again while a topic does not exist. No Java twin: there
the next look is up to 30 s away.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiorocketmq.core.clock import epoch_ms
from aiorocketmq.errors import NoNameServerError, RemotingError, RocketMQError, TopicNotFoundError

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.consumer.subscriptions import Subscriptions

MISSING_ROUTE_FIRST: Final = 1.0
MISSING_ROUTE_MAX: Final = 8.0
"""Bounds in seconds of the growing wait between two queries for the route of a topic that does not exist yet, its retry topic above all."""

logger = logging.getLogger("aiorocketmq.consumer")


@dataclass(slots=True)
class _Missing:
    """When the route of a topic is asked for next. Mutable."""

    due: float
    wait: float


class TopicRoutes:
    """Looks after the routes of one consumer.

    Args:
        instance: Asks for routes.
        subscriptions: The topics.
        group: The consumer group, for the log.
    """

    def __init__(self, instance: ClientInstance, subscriptions: Subscriptions, group: str) -> None:
        self._instance = instance
        self._subscriptions = subscriptions
        self._group = group
        self._missing: dict[str, _Missing] = {}
        self._unborn: dict[str, int] = {}

    def unborn_at(self, topic: str) -> int | None:
        """A time at which the topic did not exist, milliseconds since the epoch, as that of its subscription; None if it did."""
        return self._unborn.get(topic)

    def came(self, topic: str, since: int) -> None:
        """The topic did not exist at a time, milliseconds since the epoch."""
        self._unborn[topic] = since

    def forget(self, topic: str) -> None:
        """The topic is not subscribed any more."""
        self._unborn.pop(topic, None)

    def close(self) -> None:
        """The consumer has stopped."""
        self._unborn.clear()

    async def fetch(self, *topics: str) -> None:
        """Get the routes of topics that have one now; what is missing, the name server included, is waited for later on.

        Args:
            topics: The topics; none for all.
        """
        for topic in topics or self._subscriptions.topics:
            try:
                await self._instance.routes.fetch(topic)
            except (RemotingError, NoNameServerError) as error:
                text = "no name server answered consumer group %s, it is asked again and again: %s"
                logger.warning(text, self._group, error)
                return
            except RocketMQError as error:
                if isinstance(error, TopicNotFoundError) and topic != self._subscriptions.retry_topic:
                    self._unborn.setdefault(topic, epoch_ms(time.time))
                level = logging.INFO if topic == self._subscriptions.retry_topic else logging.WARNING
                logger.log(level, "topic %s cannot be consumed yet, its route is asked for again and again: %s", topic, error)

    def watch(self, scheduler: Scheduler) -> None:
        """Ask for missing routes from now on."""
        scheduler.every("missing routes", MISSING_ROUTE_FIRST, self._ask)

    def _ask(self) -> None:
        missing = set(self._subscriptions.topics).difference(self._instance.routes.topics())
        for topic in self._missing.keys() - missing:
            del self._missing[topic]
        now = asyncio.get_running_loop().time()
        for topic in sorted(missing):
            query = self._missing.setdefault(topic, _Missing(now, MISSING_ROUTE_FIRST))
            if now >= query.due:
                query.due = now + query.wait
                query.wait = min(query.wait * 2, MISSING_ROUTE_MAX)
                self._instance.routes.refresh_soon(topic)
