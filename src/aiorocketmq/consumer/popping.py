"""Where a POP consumer takes its messages from, and how it waits for them. No Java twin; gRPC clients leave it to their proxy.

A source is one topic at one broker, which gives messages of any of its queues and of its retry topic. Those are asked in turn, without
waiting. One that has nothing is asked to tell when it has (200054), once for all who wait: nothing is taken for somebody who may not be
there any more when it comes. What was taken for a caller who was cancelled goes to the next one. Features H1, H5, H10, H13.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aiorocketmq.client.pop_api import MAX_POP, PopApi
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.errors import ClientClosedError, RocketMQError, fresh
from aiorocketmq.model.receipt import Receipt
from aiorocketmq.model.received import ReceivedMessage

if TYPE_CHECKING:
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.consumer.acking import Acker, Clocks
    from aiorocketmq.model.filters import SubscriptionData

PAUSE_FIRST: Final = 0.02
PAUSE_MAX: Final = 1.0
"""Bounds in seconds of the growing wait before a broker is asked again that failed, or that announced what it did not give."""
ORDERED_LOOK: Final = 1.0
"""Seconds after which brokers are asked again for messages in order: they do not tell when a queue becomes free."""
HOLD: Final = 15.0
"""Seconds for which a broker holds the question whether there is something."""

logger = logging.getLogger("aiorocketmq.consumer")


class Source:
    """One topic at one broker. Mutable.

    Attributes:
        subscription: The topic and its filter.
        broker_name: The broker.
        idle: It had nothing when it was asked last.
        pause: Seconds until it may be asked again after it has failed.
        ask_at: Loop time at which it may be asked again.
        attempts: Ids of ordered requests whose answers did not come: repeated, they get the same messages.
        error: Why it did not answer as it should when it was asked last.
        failed_at: Loop time of that.
        watch: Waits for the broker to tell that there is something.
    """

    __slots__ = ("ask_at", "attempts", "broker_name", "error", "failed_at", "idle", "pause", "subscription", "watch")

    def __init__(self, subscription: SubscriptionData, broker_name: str) -> None:
        self.subscription = subscription
        self.broker_name = broker_name
        self.idle = False
        self.pause = 0.0
        self.ask_at = 0.0
        self.attempts: list[str] = []
        self.error: RocketMQError | None = None
        self.failed_at = 0.0
        self.watch: asyncio.Task[None] | None = None

    def fruitless(self, now: float) -> None:
        """It has failed, or given nothing although there was something: give it some time."""
        self.pause = min(max(self.pause * 2, PAUSE_FIRST), PAUSE_MAX)
        self.ask_at = now + self.pause

    def worked(self) -> None:
        """It has answered as it should."""
        self.pause = self.ask_at = 0.0


class Popping:
    """Takes messages from all sources of one consumer.

    Args:
        api: Asks the brokers.
        acker: Acknowledges what the client itself refuses.
        scheduler: Makes the tasks.
        clocks: Learns the time at the brokers.
        ordered: Take messages in order.
        make_attempt: Makes the id of an ordered request.
        queue_id: The queue of every source; -1 for all of them.
    """

    def __init__(
        self,
        api: PopApi,
        acker: Acker,
        scheduler: Scheduler,
        clocks: Clocks,
        *,
        ordered: bool,
        make_attempt: Callable[[], str],
        queue_id: int = -1,
    ) -> None:
        self.closed = False
        self.log = StateLog(logger)
        self._api = api
        self._acker = acker
        self._scheduler = scheduler
        self._clocks = clocks
        self._ordered = ordered
        self._make_attempt = make_attempt
        self._queue_id = queue_id
        self._sources: dict[tuple[str, str], Source] = {}
        self._turn = 0
        self._left: deque[ReceivedMessage] = deque()
        self._waiters: dict[asyncio.Future[None], None] = {}
        self._asking: set[asyncio.Task[list[ReceivedMessage]]] = set()
        self._takers = 0

    # --- where from -----------------------------------------------------------------------------------------------------------------

    def follow(self, wanted: dict[tuple[str, str], SubscriptionData]) -> None:
        """These are the topics and brokers now; filters may have changed."""
        known, changed = self._sources, False
        self._sources = {}
        for key, subscription in wanted.items():
            source = known.get(key)
            if source is None:
                source = Source(subscription, key[1])
            elif source.subscription is not subscription:
                source.subscription, source.idle = subscription, False
                if source.watch is not None:  # for what the old filter wants
                    source.watch.cancel()
                    source.watch = None
                changed = True
            self._sources[key] = source
        if changed or self._sources.keys() != known.keys():
            self.wake()

    def look_again(self) -> None:
        """What is in order may have become free."""
        if self._ordered:
            for source in self._sources.values():
                source.idle = False
            self.wake()

    def wake(self) -> None:
        """Something may have changed for all who wait: they look again."""
        for future in self._waiters:
            if not future.done():
                future.set_result(None)

    def _wake_one(self) -> None:
        """There is something for one of those who wait; he wakes the next one when he leaves, whatever he has got."""
        for future in self._waiters:
            if not future.done():
                future.set_result(None)
                return

    def close(self) -> None:
        """Nothing is given any more."""
        self.closed = True
        self.wake()

    def end(self) -> None:
        """The consumer has stopped."""
        self._sources.clear()

    async def settle(self) -> None:
        """After `close()`: wait for the answers that are on their way; what they bring is left."""
        while self._asking:
            await asyncio.wait(list(self._asking))
        while self._takers:  # noqa: ASYNC110 - they have nothing to wait for any more
            await asyncio.sleep(0)

    def take_left(self) -> list[ReceivedMessage]:
        """What was taken and given to nobody."""
        left = list(self._left)
        self._left.clear()
        return left

    # --- taking ---------------------------------------------------------------------------------------------------------------------

    async def take(self, limit: int, wait: float, invisible: float) -> list[ReceivedMessage]:
        """Messages, at most `limit`; none when nothing came in time, or the consumer is being stopped.

        Raises:
            RocketMQError: No broker could be asked until the end of the time: the last failure.
        """
        self._takers += 1
        try:
            messages = await self._take(limit, wait, invisible)
        finally:
            self._takers -= 1
            # There may be more than he has taken; and if he was to look for it, or to ask the broker to tell, somebody else has to.
            self._wake_one()
        if not self.closed:
            return messages
        self._left.extend(messages)  # he could not acknowledge them any more
        return []

    async def _take(self, limit: int, wait: float, invisible: float) -> list[ReceivedMessage]:
        clock = asyncio.get_running_loop().time
        began = clock()
        deadline = began + wait
        while not self.closed:
            if self._left and (messages := self._from_left(limit)):
                return messages
            if messages := await self._sweep(limit, invisible, everything=wait <= 0):
                return messages
            left, failure = deadline - clock(), self._failure(began)
            if failure is not None and (left <= 0 or not failure.retriable) and not self.closed:
                raise fresh(failure)
            if left <= 0 or self.closed:
                break
            await self._arrival(left)
        return []

    def _from_left(self, limit: int) -> list[ReceivedMessage]:
        found: list[ReceivedMessage] = []
        while self._left and len(found) < limit:
            message = self._left.popleft()
            if not self._over(message):
                found.append(message)
        return found

    def _over(self, message: ReceivedMessage) -> bool:
        receipt = Receipt.decode(message.receipt_handle or "")
        return self._clocks.now(receipt.broker_name) >= receipt.invisible_until

    def _failure(self, since: float) -> RocketMQError | None:
        """Why nothing can come: every broker was asked since then, and none has answered as it should."""
        sources = self._sources.values()
        if not sources or any(source.error is None or source.failed_at < since for source in sources):
            return None
        return next(iter(sources)).error

    async def _sweep(self, limit: int, invisible: float, *, everything: bool) -> list[ReceivedMessage]:
        """Ask those that may have something, in turn, until one has."""
        sources = list(self._sources.values())
        clock = asyncio.get_running_loop().time
        for step in range(len(sources)):
            if self.closed:
                break
            source = sources[(self._turn + step) % len(sources)]
            if not everything and (source.idle or clock() < source.ask_at):
                continue
            try:
                messages = await self._pop(source, limit, invisible)
            except ClientClosedError:
                if self.closed:
                    break
                raise
            except RocketMQError as error:
                self._failed(source, error)
                text = "broker %s gives no messages of topic %s: %s"
                self.log.failed(source.broker_name, text, source.broker_name, source.subscription.topic, error)
                continue
            if messages:
                self._turn = (self._turn + step + 1) % len(sources)
                return messages
        return []

    def _failed(self, source: Source, error: RocketMQError) -> None:
        source.error, source.failed_at = error, asyncio.get_running_loop().time()
        source.fruitless(asyncio.get_running_loop().time())

    async def _pop(self, source: Source, limit: int, invisible: float) -> list[ReceivedMessage]:
        """Messages of one source. Whoever is cancelled meanwhile leaves them to the next one."""
        work = self._exchange(source, min(limit, MAX_POP), invisible)
        task = self._scheduler.spawn(f"pop from {source.broker_name}", work, log_errors=False)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        try:
            return await self._scheduler.join(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._keep)
            raise

    def _keep(self, task: asyncio.Task[list[ReceivedMessage]]) -> None:
        if task.cancelled() or task.exception() is not None or not task.result():
            return
        self._left.extend(task.result())
        self._wake_one()

    async def _exchange(self, source: Source, limit: int, invisible: float) -> list[ReceivedMessage]:
        attempt = None
        if self._ordered:
            attempt = source.attempts.pop() if source.attempts else self._make_attempt()
        subscription = source.subscription
        try:
            messages = await self._api.pop(
                subscription, source.broker_name, max_messages=limit, invisible=invisible, ordered=self._ordered, attempt=attempt,
                queue_id=self._queue_id,
            )  # fmt: skip
        except BaseException:
            if attempt is not None:
                source.attempts.append(attempt)
            raise
        source.error = None
        self.log.worked(source.broker_name, "broker %s gives messages again", source.broker_name)
        if not messages:
            if source.pause and not source.idle:
                source.fruitless(asyncio.get_running_loop().time())
            source.idle = True
            return messages
        source.idle = False
        source.worked()
        self._clocks.learn(source.broker_name, Receipt.decode(messages[0].receipt_handle or "").pop_time)
        return self._wanted(messages, subscription) if subscription.tags else messages

    def _wanted(self, messages: list[ReceivedMessage], subscription: SubscriptionData) -> list[ReceivedMessage]:
        """Brokers compare the hashes of tags: others that have the same one are done, nobody wants them (F17)."""
        others = [message for message in messages if message.tag not in subscription.tags]
        if others:
            self._scheduler.spawn("ack what the filter refuses", self._acker.ack(others))
            return [message for message in messages if message.tag in subscription.tags]
        return messages

    # --- waiting --------------------------------------------------------------------------------------------------------------------

    async def _arrival(self, patience: float) -> None:
        """Wait until a source may have something, or it is time to ask one again."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        until = now + patience
        for source in self._sources.values():
            if source.ask_at > now:
                until = min(until, source.ask_at)
            elif not source.idle:
                return  # since it was asked
            elif source.watch is None:
                source.watch = self._scheduler.spawn(f"watch {source.broker_name}", self._watch(source), log_errors=False)
        woken: asyncio.Future[None] = loop.create_future()
        self._waiters[woken] = None
        try:
            await asyncio.wait([woken], timeout=max(until - now, 0.0))
        finally:
            self._waiters.pop(woken, None)
            woken.cancel()

    async def _watch(self, source: Source) -> None:
        """Wait for the broker's word. It goes on without anybody who waits: what is there is left there."""
        hold = ORDERED_LOOK if self._ordered else HOLD
        try:
            answer = await self._api.notification(
                source.subscription, source.broker_name, wait=hold, ordered=self._ordered, queue_id=self._queue_id
            )
        except RocketMQError as error:
            self._failed(source, error)
            logger.debug("broker %s does not tell of messages: %s", source.broker_name, error)
        else:
            if answer.has_msg:
                # Unless it gives something now, it is not asked again at once.
                source.pause = source.pause or PAUSE_FIRST / 2
            elif answer.polling_full:
                source.fruitless(asyncio.get_running_loop().time())
        finally:
            if source.watch is asyncio.current_task():
                source.watch = None
        source.idle = False
        self._wake_one()
