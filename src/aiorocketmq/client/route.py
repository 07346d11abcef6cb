"""Keeps topic routes and broker addresses fresh and tells those who use them (Java: `MQClientInstance.updateTopicRouteInfoFromNameServer`).

Updates are serialised by one lock that is waited for at most 3 s; the periodic refresh holds it for 16 topics at a time, which it asks for
at once. Callers that ask for the same topic share one query. An answer that is byte for byte the last one is not even decoded.
Features K4, K13, K17, K18, B13.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiorocketmq.client.locks import TimedLock
from aiorocketmq.client.namesrv_api import NameServerApi
from aiorocketmq.client.returns import REFRESH_AT_ONCE, ReturnWatch
from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.core.route_table import (
    LOGICAL_BROKER_PREFIX,
    BrokerTable,
    TopicPublishInfo,
    check_route,
    clamp_queues,
    publish_info_of,
    subscribe_queues_of,
)
from aiorocketmq.errors import (
    BrokerNotFoundError,
    NoNameServerError,
    RemotingError,
    RocketMQError,
    RouteError,
    TopicNotFoundError,
    WrongProtocolError,
)
from aiorocketmq.model.names import AUTO_CREATE_TOPIC_KEY, is_retry_topic
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, TopicRouteData
from aiorocketmq.protocol.bodies_client import decode_topic_route

DEFAULT_TOPIC_QUEUE_NUMS: Final = 4
MIN_REFRESH_INTERVAL: Final = 0.2
"""Seconds between two queries of one topic that `refresh_soon()` asks for."""
_MANY_UNKNOWN: Final = 64

logger = logging.getLogger("aiorocketmq.client")

_Query = tuple[str, str, int]
RouteListener = Callable[[str, "TopicEntry"], None]


@dataclass(frozen=True, slots=True)
class TopicEntry:
    """All that is known of one topic.

    Attributes:
        route: The route, as the name server told it (clamped when it is the default topic's).
        publish: The queues to write to.
        subscribe: The queues to read from.
        inherited_from: The default topic whose route stands in while the topic does not exist yet, or None.
        queue_limit: Queues per broker at most, while it stands in.
    """

    route: TopicRouteData
    publish: TopicPublishInfo
    subscribe: tuple[MessageQueue, ...]
    inherited_from: str | None = None
    queue_limit: int = 0


@dataclass(slots=True)
class RouteCounters:
    """What the route service has done. Mutable: it counts."""

    queries: int = 0
    changes: int = 0
    failures: int = 0


@dataclass(slots=True)
class RouteRecord:
    """How the queries of one topic go. Mutable.

    Attributes:
        answered_at: Loop time at which a name server last told its route, None before.
        error: Why the last query failed, "" when it did not.
    """

    answered_at: float | None = None
    error: str = ""


@dataclass(slots=True)
class Departed:
    """A broker that has left routes. Mutable.

    Attributes:
        broker: As the last route had it.
        at: Loop time at which the first route left it out.
        topics: The topics whose routes it has left.
    """

    broker: BrokerData
    at: float
    topics: set[str] = field(default_factory=set)


class RouteService:
    """The route table of one instance.

    Args:
        name_servers: Answers route queries.
        scheduler: Makes the tasks that callers share.
        topics_in_use: Says which topics the clients of the instance publish or subscribe now.
        on_changed: Called in the event loop whenever a topic's route is new or different; must not raise.

    Attributes:
        broker_addrs: Broker name → id → address, and versions.
        counters: What was done so far.
        lock: The lock that serialises updates; `lock.given_up` counts the waits that took too long.
    """

    def __init__(
        self,
        name_servers: NameServerApi,
        scheduler: Scheduler,
        *,
        topics_in_use: Callable[[], Iterable[str]],
        on_changed: RouteListener,
    ) -> None:
        self.broker_addrs = BrokerTable()
        self.counters = RouteCounters()
        self.lock = TimedLock("route")
        self._api = name_servers
        self._scheduler = scheduler
        self._topics_in_use = topics_in_use
        self._on_changed = on_changed
        self._topics: dict[str, TopicEntry] = {}
        self._bodies: dict[str, bytes] = {}  # what the name server told of a topic that has a route of its own
        self._queries: dict[_Query, asyncio.Task[TopicEntry]] = {}
        self._asked_at: dict[str, float] = {}
        self._records: dict[str, RouteRecord] = {}
        self._departed: dict[str, Departed] = {}
        self._returns = ReturnWatch(scheduler, self._refresh)
        self._soon: set[str] = set()
        self._log = StateLog(logger)

    # --- what is known; never waits ------------------------------------------------------------------------------------------------

    def topics(self) -> tuple[str, ...]:
        """Topics whose route is known."""
        return tuple(self._topics)

    def entry(self, topic: str) -> TopicEntry | None:
        """All that is known of a topic, or None."""
        return self._topics.get(topic)

    def route(self, topic: str) -> TopicRouteData | None:
        """The route of a topic, or None when it is not known."""
        entry = self._topics.get(topic)
        return entry.route if entry is not None else None

    def publish_info(self, topic: str) -> TopicPublishInfo | None:
        """The queues to write to, or None when the topic is not known or has no such queue. Hot: one dictionary look-up."""
        entry = self._topics.get(topic)
        return entry.publish if entry is not None and entry.publish.queues else None

    def subscribe_queues(self, topic: str) -> tuple[MessageQueue, ...] | None:
        """The queues to read from, or None when the topic is not known."""
        entry = self._topics.get(topic)
        return entry.subscribe if entry is not None else None

    def broker_of(self, queue: MessageQueue) -> str:
        """Name of the broker that has a queue now: of a logical one its endpoint, or the name that no broker has while that is unknown."""
        if queue.broker_name.startswith(LOGICAL_BROKER_PREFIX):
            entry = self._topics.get(queue.topic)
            if entry is not None:
                return entry.publish.broker_of(queue)
        return queue.broker_name

    def record(self, topic: str) -> RouteRecord:
        """How the queries of a topic go; an empty record for one that nobody has asked for."""
        return self._records.get(topic) or RouteRecord()

    def departed(self, topics: Collection[str] | None, since: float) -> list[Departed]:
        """The brokers that have left the routes of these topics (None: of any) since then, and are in none now."""
        self._departed = {name: gone for name, gone in self._departed.items() if gone.at >= since}
        return [gone for gone in self._departed.values() if topics is None or gone.topics.intersection(topics)]

    # --- asking the name server ------------------------------------------------------------------------------------------------------

    async def publish_info_or_fetch(
        self,
        topic: str,
        *,
        default_topic: str = AUTO_CREATE_TOPIC_KEY,
        default_topic_queue_nums: int = DEFAULT_TOPIC_QUEUE_NUMS,
        timeout: float | None = None,
    ) -> TopicPublishInfo:
        """The queues to write to; asks the name server when they are not known.

        A topic that does not exist takes the route of the default topic, through which brokers create it (B13).

        Args:
            topic: Topic name.
            default_topic: Topic whose route a new topic inherits.
            default_topic_queue_nums: Queues per broker that a new topic gets, at most.
            timeout: Seconds for all of it; None takes the name-server time-out for each query.

        Raises:
            NoNameServerError: No name server is configured or reachable.
            TopicNotFoundError: Neither the topic nor the default topic exists.
            RouteError: The topic has no queue that can be written, or the time has passed.
            RemotingError: The name server did not answer.
            ProtocolError: The answer is damaged.

        Cancelling it leaves the query running for the others that wait for it.
        """
        known = self.publish_info(topic)
        if known is not None:
            return known
        async with _deadline(topic, timeout):
            try:
                entry = await self._share(topic)
            except TopicNotFoundError:
                # A topic that was known stays known: a name server that just started knows nothing yet.
                entry = self._topics.get(topic) or await self._share(topic, default_topic, default_topic_queue_nums)
        if not entry.publish.queues:
            raise RouteError(
                f"topic {topic!r} has a route, but no queue that can be written: no broker with write permission has a master now",
                topic=topic,
                hint="check the topic's permission and that the masters run",
            )
        return entry.publish

    async def fetch(self, topic: str, *, timeout: float | None = None) -> TopicEntry:
        """Ask the name server now, whatever is known.

        Args:
            topic: Topic name.
            timeout: Seconds for all of it; None takes the name-server time-out.

        Raises:
            RocketMQError: As `publish_info_or_fetch()`; there is no fall-back to the default topic.
        """
        async with _deadline(topic, timeout):
            try:
                return await self._share(topic)
            except TopicNotFoundError as error:
                raise self.lost(topic, error) from None

    def lost(self, topic: str, error: TopicNotFoundError) -> RouteError:
        """What it means that no name server knows a topic: of one that is known here its brokers are gone, not the topic."""
        known = self._topics.get(topic)
        if known is None or known.inherited_from is not None:
            return error
        return no_broker_left(topic, [broker.broker_name for broker in known.route.broker_datas])

    async def update(
        self,
        topic: str,
        *,
        use_default_topic: bool = False,
        default_topic_queue_nums: int = DEFAULT_TOPIC_QUEUE_NUMS,
        timeout: float | None = None,
    ) -> bool:
        """Refresh one topic; many callers share one query. A failure is logged and leaves what is known as it is.

        Args:
            topic: Topic name.
            use_default_topic: Take the route of the default topic for it.
            default_topic_queue_nums: Queues per broker at most, with `use_default_topic`.
            timeout: Seconds to wait; None waits for the query's own time-out.

        Returns:
            True when the name server has answered with a route.
        """
        try:
            async with _deadline(topic, timeout):
                if use_default_topic:
                    await self._share(topic, AUTO_CREATE_TOPIC_KEY, default_topic_queue_nums)
                else:
                    await self._share(topic)
        except RocketMQError as error:
            self._log_failure(topic, error)
            return False
        return True

    def refresh_soon(self, topic: str) -> None:
        """Ask for a refresh without waiting, for callers on the hot path that met a dead broker; at most one each 0.2 s per topic."""
        if topic in self._soon or self._scheduler.closed:
            return
        self._soon.add(topic)
        self._scheduler.spawn(f"refresh route {topic}", self._refresh_soon(topic))

    async def update_all(self) -> None:
        """Refresh every topic in use, and forget the topics that nobody uses any more."""
        in_use = set(self._topics_in_use())
        for topic in [topic for topic in self._topics if topic not in in_use]:
            self._forget(topic)
        waiting = iter(sorted(in_use))
        while topics := list(itertools.islice(waiting, REFRESH_AT_ONCE)):
            for topic, error in (await self._refresh(topics)).items():
                if isinstance(error, NoNameServerError | RemotingError | WrongProtocolError):
                    # The next topics would fail the same way, and each failure may take a whole time-out.
                    self._log.failed("name server", "routes were not refreshed: %s", error)
                    return
                self._log_failure(topic, error)
        self._log.worked("name server", "routes are refreshed again")

    def drop_offline_brokers(self) -> list[str]:
        """Forget the addresses that no route names any more; gives them back."""
        dropped = self.broker_addrs.retain(entry.route for entry in self._topics.values())
        for address in dropped:
            logger.info("broker address %s is in no route any more and was dropped", address)
        return dropped

    # --- inside ------------------------------------------------------------------------------------------------------------------------

    async def _share(self, topic: str, source: str | None = None, queue_limit: int = 0) -> TopicEntry:
        """Wait for the one query of this topic that is under way, or start it; cancelling a waiter does not cancel the query."""
        key = (topic, source or topic, queue_limit)
        task = self._queries.get(key)
        if task is None:
            task = self._scheduler.spawn(f"route of {topic}", self._query(topic, source or topic, queue_limit), log_errors=False)
            self._remember(key, task)
        return await self._scheduler.join(task)

    def _remember(self, key: _Query, task: asyncio.Task[TopicEntry]) -> None:
        self._queries[key] = task
        task.add_done_callback(lambda _: self._queries.pop(key, None))

    async def _refresh(self, topics: Collection[str]) -> dict[str, RocketMQError]:
        """Ask for several topics at once, as one update; gives back what failed. Who asks for one of them meanwhile shares its query."""
        async with self.lock.hold(f"route update of {len(topics)} topics") as held:
            if not held:
                self.counters.failures += len(topics)
                return {topic: self._not_asked(topic) for topic in topics}
            # A query that waits for the lock is fresh enough, and to wait for it here would be a deadlock.
            tasks: dict[str, asyncio.Task[TopicEntry]] = {}
            for topic in topics:
                if (topic, topic, 0) not in self._queries:
                    tasks[topic] = self._scheduler.spawn(f"route of {topic}", self._query_locked(topic, topic, 0), log_errors=False)
                    self._remember((topic, topic, 0), tasks[topic])
            if tasks:
                await asyncio.wait(tasks.values())  # cancelling it leaves the queries to those who share them
        failures = {}
        for topic, task in tasks.items():
            error = task.exception()
            if isinstance(error, RocketMQError):
                failures[topic] = error
            elif error is not None:
                raise error
        return failures

    async def _query(self, topic: str, source: str, queue_limit: int) -> TopicEntry:
        async with self.lock.hold(f"route update of topic {topic}") as held:
            if not held:
                self.counters.failures += 1
                raise self._not_asked(topic)
            return await self._query_locked(topic, source, queue_limit)

    async def _query_locked(self, topic: str, source: str, queue_limit: int) -> TopicEntry:
        self.counters.queries += 1
        clock = asyncio.get_running_loop().time
        self._note_asked(topic, clock())
        record = self._records.setdefault(topic, RouteRecord())
        try:
            entry = await self._ask(topic, source, queue_limit)
        except RocketMQError as error:
            self.counters.failures += 1
            record.error = error.message
            raise
        record.answered_at, record.error = clock(), ""
        self._log.worked(topic, "route of topic %s is refreshed again", topic)
        return entry

    def _note_asked(self, topic: str, now: float) -> None:
        self._asked_at[topic] = now
        if len(self._asked_at) > 2 * len(self._topics) + _MANY_UNKNOWN:  # topics that do not exist are remembered as long as it matters
            recent = now - MIN_REFRESH_INTERVAL
            self._asked_at = {name: at for name, at in self._asked_at.items() if name in self._topics or at > recent}
            self._records = {name: record for name, record in self._records.items() if name in self._asked_at}

    def _not_asked(self, topic: str) -> RouteError:
        return RouteError(
            f"route of topic {topic!r} was not asked for: another route update took longer than {self.lock.timeout:g} s",
            topic=topic,
            hint="try again; check that the name servers answer",
        )

    async def _ask(self, topic: str, source: str, queue_limit: int) -> TopicEntry:
        old = self._topics.get(topic)
        try:
            body = await self._api.topic_route_body(source)
        except TopicNotFoundError:
            if source != topic or old is None or old.inherited_from is None:
                raise
            # Still not created: what it inherits may have moved all the same.
            source, queue_limit = old.inherited_from, old.queue_limit
            body = await self._api.topic_route_body(source)
        known = self._topics.get(topic)
        if known is not None and source == topic and self._bodies.get(topic) == body:
            return known
        route = decode_topic_route(body)
        check_route(source, route)
        if source == topic:
            entry = self._take(topic, route, None, 0)
            self._bodies[topic] = body
            return entry
        if old is not None and old.inherited_from is None:
            return old  # the topic has a route of its own by now
        return self._take(topic, clamp_queues(route, queue_limit), source, queue_limit)

    def _take(self, topic: str, route: TopicRouteData, inherited_from: str | None, queue_limit: int) -> TopicEntry:
        old = self._topics.get(topic)
        if old is not None and old.inherited_from == inherited_from and old.route.sorted() == route.sorted():
            return old
        entry = TopicEntry(route, publish_info_of(topic, route), subscribe_queues_of(topic, route), inherited_from, queue_limit)
        self._topics[topic] = entry
        if old is not None:
            self._note_departed(topic, old.route, route)
            self._returns.note(topic, old.route, route)
        for broker in route.broker_datas:
            if broker.broker_addrs:
                self.broker_addrs.put(broker)
        self.counters.changes += 1
        self._log.note(
            logging.INFO,
            f"new route {topic}",
            "route of topic %s %s: %d queues to write, %d to read, brokers %s%s",
            topic,
            "is known" if old is None else "changed",
            len(entry.publish.queues),
            len(entry.subscribe),
            ",".join(sorted(broker.broker_name for broker in route.broker_datas)) or "none",
            f" (inherited from {inherited_from})" if inherited_from else "",
        )
        self._on_changed(topic, entry)
        return entry

    def _note_departed(self, topic: str, old: TopicRouteData, new: TopicRouteData) -> None:
        here = {broker.broker_name for broker in new.broker_datas}
        for broker in old.broker_datas:
            if broker.broker_name not in here and broker.broker_addrs:
                gone = self._departed.setdefault(broker.broker_name, Departed(broker, asyncio.get_running_loop().time()))
                gone.topics.add(topic)
                while len(self._departed) > _MANY_UNKNOWN:
                    del self._departed[next(iter(self._departed))]
        for name in here:
            self._departed.pop(name, None)

    def _log_failure(self, topic: str, error: RocketMQError) -> None:
        if isinstance(error, TopicNotFoundError) and (is_retry_topic(topic) or topic not in self._topics):
            # Retry topics come to life with the first heartbeat, other topics with the first send.
            logger.debug("topic %s does not exist yet", topic)
        else:
            self._log.failed(topic, "route of topic %s was not refreshed: %s", topic, error)

    def _forget(self, topic: str) -> None:
        del self._topics[topic]
        self._bodies.pop(topic, None)
        self._asked_at.pop(topic, None)
        self._records.pop(topic, None)
        self._returns.forget(topic)
        self._log.forget(topic)

    async def _refresh_soon(self, topic: str) -> None:
        try:
            clock = asyncio.get_running_loop().time
            wait = self._asked_at.get(topic, -MIN_REFRESH_INTERVAL) + MIN_REFRESH_INTERVAL - clock()
            if wait > 0:
                await asyncio.sleep(wait)
            await self.update(topic)
        finally:
            self._soon.discard(topic)


def no_broker_left(topic: str, brokers: Iterable[str]) -> BrokerNotFoundError:
    """The error for a topic that was known, and that no name server knows now."""
    return BrokerNotFoundError(
        f"topic {topic!r} has no route any more: the name servers know none of its brokers, {', '.join(map(repr, sorted(set(brokers))))}",
        topic=topic,
        hint="check that these brokers run and are registered; only if the topic was deleted, create it again",
    )


@asynccontextmanager
async def _deadline(topic: str, seconds: float | None) -> AsyncIterator[None]:
    """`asyncio.timeout` that ends in an error of our tree."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise RouteError(
            f"no name server told the route of topic {topic!r} within {seconds:g} s",
            topic=topic,
            hint="check that the name servers run and can be reached",
        ) from None
