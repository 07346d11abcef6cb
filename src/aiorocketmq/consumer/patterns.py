"""Listening to all topics whose names match a pattern, those to come included (no Java twin; Kafka: `subscribe(pattern)`). Feature U15.

Name servers are asked for the names of all topics: at the start, every `poll_name_server_interval`, and when brokers say that the group has
changed, so that a topic which one member has found is found by the others at once. A topic is left when two looks in a row miss it. The
first matching pattern counts, and a topic that has a listener of its own belongs to none.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable
from re import Pattern
from typing import TYPE_CHECKING, Final, NamedTuple

from aiorocketmq.client.statelog import StateLog
from aiorocketmq.consumer.filter_check import check_filters
from aiorocketmq.core.clock import epoch_ms
from aiorocketmq.errors import ConfigError, RocketMQError
from aiorocketmq.model.filters import SQL, build_subscription
from aiorocketmq.model.names import LMQ_PREFIX, is_dlq_topic, is_legal, is_retry_topic, is_system_topic

if TYPE_CHECKING:
    from aiorocketmq.consumer.listener import Listener, ListenerFunction
    from aiorocketmq.consumer.runtime import PushRuntime
    from aiorocketmq.consumer.subscriptions import Subscriptions

FIRST_RETRY: Final = 1.0
"""Seconds before name servers are asked again that did not answer; each time twice as long, up to the usual interval."""
MIN_LOOK_INTERVAL: Final = 1.0
"""Seconds between two looks that brokers have asked for."""
REPLY_SUFFIX: Final = "_REPLY_TOPIC"
"""Each cluster has a topic for replies, with its name before this; and one with its name alone, as each broker has."""
HEARTBEAT_TOPIC: Final = "DefaultHeartBeatSyncerTopic"
"""Where proxies tell each other of their clients."""

logger = logging.getLogger("aiorocketmq.consumer")


class Wanted(NamedTuple):
    """What listens to the topics of a pattern."""

    pattern: Pattern[str]
    function: ListenerFunction
    expression: str | SQL | None
    batch: int


class TopicPatterns:
    """The patterns of one consumer, and the topics that they have brought. Belongs to the event loop.

    Args:
        subscriptions: The consumer's subscriptions.
        make: Makes the listener of a topic.
    """

    def __init__(self, subscriptions: Subscriptions, make: Callable[[str, ListenerFunction, int], Listener]) -> None:
        self._subscriptions = subscriptions
        self._make = make
        self._wanted: dict[Pattern[str], Wanted] = {}
        self._brought: dict[str, Pattern[str]] = {}
        self._spared: set[str] = set()
        self._absent: set[str] = set()
        self._looked_at: int | None = None
        self._soon = asyncio.Event()
        self._looking = asyncio.Lock()
        self._log = StateLog(logger)

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def __contains__(self, pattern: object) -> bool:
        return pattern in self._wanted

    def add(self, pattern: Pattern[str], function: ListenerFunction, expression: str | SQL | None, batch: int) -> list[str]:
        """Add a pattern, or give it another listener and filter; gives back the topics that it has brought before.

        Raises:
            ListenerError: The function cannot be called with one argument.
            ConfigError: The expression or the pattern cannot be used.
        """
        if not isinstance(pattern.pattern, str):
            raise ConfigError(f"pattern {pattern!r} is one for bytes", hint="topics have names of text: re.compile(r'orders_.*')")
        self._make(pattern.pattern, function, batch)  # looks whether it can be called
        build_subscription(pattern.pattern, expression, 0)
        wanted = self._wanted[pattern] = Wanted(pattern, function, expression, batch)
        self._spared.clear()
        topics = [topic for topic, brought in self._brought.items() if brought == pattern]
        for topic in topics:
            self._subscribe(topic, wanted)
        return topics

    def remove(self, pattern: Pattern[str]) -> list[str]:
        """Remove a pattern; gives back the topics that it had brought, which are not subscribed any more."""
        self._wanted.pop(pattern, None)
        topics = [topic for topic, brought in self._brought.items() if brought == pattern]
        self._leave(topics)
        return topics

    def let_be(self, topic: str, *, subscribed: bool) -> None:
        """The user has subscribed a topic, or has unsubscribed it: no pattern decides about it any more."""
        self._brought.pop(topic, None)
        self._absent.discard(topic)
        if subscribed:
            self._spared.discard(topic)
        else:
            self._spared.add(topic)

    def _subscribe(self, topic: str, wanted: Wanted) -> None:
        self._subscriptions.add(self._make(topic, wanted.function, wanted.batch), wanted.expression, epoch_ms(time.time))
        self._brought[topic] = wanted.pattern

    def _leave(self, topics: Iterable[str]) -> None:
        for topic in topics:
            self._subscriptions.remove(topic)
            self._brought.pop(topic, None)
            self._absent.discard(topic)

    # --- while the consumer runs --------------------------------------------------------------------------------------------------

    async def start(self, runtime: PushRuntime) -> None:
        """Find the topics that exist, and go on looking; before the consumer starts, which tells the brokers of all that was found."""
        self._looked_at = None
        self._subscriptions.begin(epoch_ms(time.time))
        found = await self._find(runtime)
        if found is not None:
            new, gone = found
            self._leave(gone)
            for topic, wanted in new.items():
                self._subscribe(topic, wanted)
        self.watch(runtime, told=found is not None)

    def watch(self, runtime: PushRuntime, *, told: bool = True) -> None:
        """Look again and again from now on.

        Args:
            runtime: The running consumer.
            told: The name servers have just told what there is.
        """
        if runtime.on_round is None:
            runtime.on_round = self._soon.set
            runtime.scheduler.service("topics of patterns", lambda: self._watch(runtime, told))

    async def _watch(self, runtime: PushRuntime, told: bool) -> None:
        interval = runtime.instance.config.poll_name_server_interval
        wait = interval if told else FIRST_RETRY
        while True:
            await asyncio.sleep(min(MIN_LOOK_INTERVAL, wait))
            await self._asked_for(wait - MIN_LOOK_INTERVAL)
            wait = interval if await self.look(runtime) else min(2 * wait, interval)

    async def _asked_for(self, patience: float) -> None:
        try:
            async with asyncio.timeout(max(patience, 0.0)):
                await self._soon.wait()
        except TimeoutError:
            return
        self._soon.clear()

    async def look(self, runtime: PushRuntime) -> bool:
        """Subscribe what is new and leave what is gone; False when the name servers did not tell.

        Cancelling it leaves topics subscribed that brokers hear of with the next heartbeat.
        """
        async with self._looking:
            since = self._looked_at
            found = await self._find(runtime)
            if found is None:
                return False
            new, gone = found
            self._leave(gone)
            accepted = [topic for topic, wanted in new.items() if await self._accepted(runtime, topic, wanted)]
            for topic in accepted:
                self._subscribe(topic, new[topic])
                if since is not None:
                    runtime.topic_came(topic, since)
            if accepted:
                logger.info("group %s subscribes %s: a pattern matches", runtime.group, ", ".join(accepted))
            if gone:
                logger.info("group %s leaves %s: there is no such topic any more", runtime.group, ", ".join(gone))
            if accepted or gone:
                await runtime.subscription_changed(*accepted, *gone)
            return True

    async def _find(self, runtime: PushRuntime) -> tuple[dict[str, Wanted], list[str]] | None:
        """The topics that are new, and those that are gone for good; None when the name servers did not tell."""
        api, now = runtime.instance.name_server_api, epoch_ms(time.time)
        try:
            names = await api.topic_list()
            clusters = await api.cluster_info()
        except RocketMQError as error:
            self._log.failed("names", "topics that match patterns of group %s cannot be looked for now: %s", runtime.group, error)
            return None
        self._log.worked("names", "topics that match patterns of group %s are looked for again", runtime.group)
        brokers_own = {*clusters.broker_addr_table, *(own for name in clusters.cluster_addr_table for own in (name, name + REPLY_SUFFIX))}
        if not clusters.broker_addr_table:
            return None  # a name server that was just started knows nobody
        self._looked_at = now
        known = set(names)
        absent = self._brought.keys() - known
        gone, self._absent = absent & self._absent, absent
        return self._matching(known - brokers_own), sorted(gone)

    def _matching(self, names: Collection[str]) -> dict[str, Wanted]:
        found = {}
        for topic in sorted(names):
            if topic in self._spared or not is_users(topic) or self._subscriptions.get(topic) is not None:
                continue
            wanted = next((each for each in self._wanted.values() if each.pattern.fullmatch(topic)), None)
            if wanted is not None:
                found[topic] = wanted
        return found

    async def _accepted(self, runtime: PushRuntime, topic: str, wanted: Wanted) -> bool:
        """Whether the brokers of a new topic can evaluate its filter: a topic that cannot be read must not be in the way of others."""
        if not isinstance(wanted.expression, SQL):
            return True
        try:
            await runtime.instance.routes.fetch(topic)
            await check_filters(runtime.instance, runtime.group, [build_subscription(topic, wanted.expression, 0)])
        except RocketMQError as error:
            self._log.failed(f"filter {topic}", "topic %s matches a pattern, and cannot be subscribed: %s", topic, error)
            return False
        return True


def is_users(topic: str) -> bool:
    """Whether a pattern may bring a topic: none of those that brokers and groups have for themselves."""
    derived = is_retry_topic(topic) or is_dlq_topic(topic) or topic.startswith(LMQ_PREFIX)
    return not derived and not is_system_topic(topic) and topic != HEARTBEAT_TOPIC and is_legal(topic)
