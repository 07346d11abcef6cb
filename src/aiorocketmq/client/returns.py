"""Looks for the return of brokers that have left routes, so that they are used again within seconds.

Java has nothing of the kind: there a broker that was away is used again with the next refresh of all routes, after up to 30 s. Here one
topic of each lost broker is asked for every few seconds, another one each time; when it has the broker again, the broker's other topics are
asked for at once. Feature K4.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.model.route import MASTER_ID, TopicRouteData

RETURN_INTERVAL: Final = 3.0
"""Seconds between two looks, give or take a fifth: many clients lose a broker at the same moment."""
RETURN_WATCH: Final = 600.0
"""Seconds after which a broker counts as one that was taken away: from then on the refresh of all routes will do."""
REFRESH_AT_ONCE: Final = 16


@dataclass(slots=True)
class _Lost:
    """A broker that some topics have lost. Mutable.

    Attributes:
        since: Loop time at which the first of them lost it.
        topics: The topics, that to be asked for next in front.
    """

    since: float
    topics: dict[str, None] = field(default_factory=dict)


class ReturnWatch:
    """The watch of one route service.

    Args:
        scheduler: Makes its task, which lives while something is lost.
        refresh: Asks for the routes of up to 16 topics; must not raise for a name server.
    """

    def __init__(self, scheduler: Scheduler, refresh: Callable[[Collection[str]], Awaitable[object]]) -> None:
        self._scheduler = scheduler
        self._refresh = refresh
        self._lost: dict[str, _Lost] = {}
        self._found: dict[str, None] = {}
        self._watching = False

    def note(self, topic: str, old: TopicRouteData, new: TopicRouteData) -> None:
        """The route of a topic has changed: brokers, or their masters, have left it or are there again."""
        here = {broker.broker_name: MASTER_ID in broker.broker_addrs for broker in new.broker_datas if broker.broker_addrs}
        for broker in old.broker_datas:
            name = broker.broker_name
            if broker.broker_addrs and (name not in here or (MASTER_ID in broker.broker_addrs and not here[name])):
                lost = self._lost.setdefault(name, _Lost(asyncio.get_running_loop().time()))
                lost.topics[topic] = None
        for name, has_master in here.items():
            known = self._lost.get(name)
            if has_master and known is not None and topic in known.topics:
                del known.topics[topic]
                self._found.update(known.topics)
        if self._lost and not self._watching and not self._scheduler.closed:
            self._watching = True
            self._scheduler.spawn("look for lost brokers", self._watch())

    def forget(self, topic: str) -> None:
        """Nobody uses the topic any more."""
        for lost in self._lost.values():
            lost.topics.pop(topic, None)
        self._found.pop(topic, None)

    async def _watch(self) -> None:
        try:
            while self._keep():
                if not self._found:
                    await asyncio.sleep(RETURN_INTERVAL * random.uniform(0.8, 1.2))
                await self._refresh(self._next())
        finally:
            self._watching = False
            self._lost.clear()
            self._found.clear()

    def _keep(self) -> bool:
        """Let go of what is found or given up; False when nothing is left."""
        now = asyncio.get_running_loop().time()
        self._lost = {name: lost for name, lost in self._lost.items() if lost.topics and now - lost.since < RETURN_WATCH}
        return bool(self._lost or self._found)

    def _next(self) -> list[str]:
        """The topics to ask for now."""
        if self._found:
            topics = list(self._found)[:REFRESH_AT_ONCE]
        else:
            topics = list(dict.fromkeys(next(iter(lost.topics)) for lost in self._lost.values() if lost.topics))[:REFRESH_AT_ONCE]
        for topic in topics:
            self._found.pop(topic, None)
            for lost in self._lost.values():
                if topic in lost.topics:
                    lost.topics[topic] = lost.topics.pop(topic)
        return topics
