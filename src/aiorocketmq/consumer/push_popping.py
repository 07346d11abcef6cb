"""Messages of a push consumer that brokers want to be popped, not pulled (Java: `ConsumeMessagePopConcurrentlyService`, `PopProcessQueue`).

A queue, or all queues of a broker, has a loop that pops, as long as not too many messages wait for their acknowledgement. The messages of
one answer are a queue of their own to the listeners' side, which ends when their invisible time does: no call begins after that, and no
result counts. Features H1-H4, H6-H9, H11, H12.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiorocketmq.client.pop_api import PopApi
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.consumer.acking import Acker, Clocks
from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.popping import Popping
from aiorocketmq.consumer.send_back import DEAD_LETTER
from aiorocketmq.core.process_queue import PoppedMessages
from aiorocketmq.errors import ClientClosedError, ReceiptError, RocketMQError
from aiorocketmq.model.receipt import Receipt
from aiorocketmq.protocol.bodies_client import PopProcessQueueInfo

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.consumer.pulling import Pulls
    from aiorocketmq.consumer.queues import QueueTable
    from aiorocketmq.consumer.send_back import SendBack
    from aiorocketmq.consumer.service import ListeningService
    from aiorocketmq.consumer.settings import PushSettings
    from aiorocketmq.consumer.subscriptions import Subscriptions
    from aiorocketmq.model.queue import MessageQueue
    from aiorocketmq.model.received import ReceivedMessage

RETRY_LADDER: Final = (10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200)
"""Seconds until a message comes again that has failed for the first time, the second, and so on (Java: `popDelayLevel`)."""
DELAY_LEVELS: Final = (1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200)
"""Seconds of the delay levels that listeners may name, as brokers have them."""
WAIT: Final = 30.0
"""Seconds for which one look for messages lasts."""
PAUSED_LOOK: Final = 0.2
"""Seconds between two looks whether a pause is over, and whether queues that were pulled are let go of."""
PACED_SHARE: Final = 0.5
"""Share of the invisible time within which messages that come are let through where a rate is limited."""
END_EARLIER: Final = 0.05
"""Seconds by which the messages of a pop end before their time is over."""
GIVE_BACK_TIME: Final = 1.0
"""Seconds that giving back and acknowledging may take at a stop."""

logger = logging.getLogger("aiorocketmq.consumer")


class Member(Protocol):
    """What a push consumer has that is needed here."""

    instance: ClientInstance
    settings: PushSettings
    scheduler: Scheduler
    subscriptions_table: Subscriptions
    queues: QueueTable
    pulls: Pulls
    service: ListeningService
    send_back: SendBack | None
    stopping: bool


class PopLoop:
    """One queue that is popped, or all queues of a topic at a broker. Mutable.

    Attributes:
        popping: Takes the messages.
        unacknowledged: Messages that have not ended.
        room: Set while there are not too many of them.
        popped_at: Milliseconds since the epoch, by the broker's clock, of the last pop that has brought something; 0 before.
    """

    __slots__ = ("popped_at", "popping", "queue", "room", "unacknowledged")

    def __init__(self, queue: MessageQueue, popping: Popping) -> None:
        self.queue = queue
        self.popping = popping
        self.unacknowledged = 0
        self.room = asyncio.Event()
        self.popped_at = 0


class PushPops:
    """Pops for one push consumer.

    Args:
        member: The consumer.
    """

    def __init__(self, member: Member) -> None:
        self._member = member
        self._settings = settings = member.settings
        self._scheduler = member.scheduler
        self._api = PopApi(member.instance, settings.group)
        self._clocks = Clocks()
        self._acker = Acker(self._api, member.scheduler, self._clocks, settings.group)
        self._loops: dict[MessageQueue, PopLoop] = {}
        self._batches: dict[PoppedMessages, tuple[AssignedQueue, asyncio.TimerHandle]] = {}
        self._ending: dict[asyncio.Task[None], None] = {}
        self.log = StateLog(logger)

    # --- what is popped -------------------------------------------------------------------------------------------------------------

    @property
    def queues(self) -> frozenset[MessageQueue]:
        """What is popped; a queue id of -1 stands for all queues of the broker."""
        return frozenset(self._loops)

    @property
    def backlog(self) -> int:
        """Messages that have not ended."""
        return sum(batch.count for batch in self._batches)

    def info(self) -> dict[MessageQueue, PopProcessQueueInfo]:
        """What `mqadmin consumerStatus` shows."""
        return {queue: PopProcessQueueInfo(loop.unacknowledged, False, loop.popped_at) for queue, loop in self._loops.items()}

    def assign(self, topic: str, queues: Collection[MessageQueue]) -> None:
        """Pop these queues of a topic, and no others; messages that are here already are consumed and acknowledged here."""
        for queue in [queue for queue in self._loops if queue.topic == topic and queue not in queues]:
            self._end_loop(queue)
            logger.info("group %s pops %s no more", self._settings.group, queue)
        for queue in queues:
            if queue in self._loops or self._member.stopping:
                continue
            popping = Popping(
                self._api, self._acker, self._scheduler, self._clocks, ordered=False, make_attempt=str, queue_id=queue.queue_id
            )  # fmt: skip
            loop = self._loops[queue] = PopLoop(queue, popping)
            self._scheduler.spawn(f"pop {queue}", self._run(loop))
            logger.info("group %s pops %s", self._settings.group, queue)

    def _end_loop(self, queue: MessageQueue) -> None:
        """What is on its way still comes."""
        loop = self._loops.pop(queue)
        loop.popping.close()
        loop.room.set()

    async def _run(self, loop: PopLoop) -> None:
        try:
            await self._pop(loop)
        finally:
            loop.popping.end()

    async def _pop(self, loop: PopLoop) -> None:
        queue, settings, key = loop.queue, self._settings, f"pop {loop.queue}"
        await self._pulled_no_more(queue.topic)
        while not loop.popping.closed:
            subscription = self._member.subscriptions_table.get(queue.topic)
            if subscription is None or self._paused(queue.topic):
                await asyncio.sleep(PAUSED_LOOK)
                continue
            room = settings.pop_threshold_for_queue - loop.unacknowledged
            if room <= 0:
                loop.room.clear()
                await loop.room.wait()
                continue
            room = min(room, self._let_through(queue.topic))
            if room <= 0:
                await asyncio.sleep(PAUSED_LOOK)
                continue
            loop.popping.follow({(queue.topic, queue.broker_name): subscription})
            try:
                messages = await loop.popping.take(min(settings.pop_batch_nums, room), WAIT, settings.pop_invisible_time)
            except RocketMQError as error:
                self.log.failed(key, "group %s cannot pop %s: %s", settings.group, queue, error)
                await asyncio.sleep(1.0)
                continue
            self.log.worked(key, "group %s pops %s again", settings.group, queue)
            if messages:
                self._submit(loop, messages)
        if messages := loop.popping.take_left():
            self._submit(loop, messages)

    def _let_through(self, topic: str) -> int:
        """How many messages of a topic may come: what waits for a limited rate until its time is over has lost a try for nothing."""
        room = self._settings.pop_threshold_for_queue
        for limited in (None, topic):
            rate = self._member.service.caller.rate(limited)
            if rate is not None:
                held = sum(loop.unacknowledged for queue, loop in self._loops.items() if limited in (None, queue.topic))
                room = min(room, max(int(rate * self._settings.pop_invisible_time * PACED_SHARE), 1) - held)
        return room

    def _paused(self, topic: str) -> bool:
        return self._member.pulls.suspended or topic in self._member.subscriptions_table.paused

    async def _pulled_no_more(self, topic: str) -> None:
        """What was consumed of queues that were pulled has to be saved before the broker goes on from there."""
        table = self._member.queues
        while table.owned_of(topic) or any(queue.topic == topic for queue in table.releasing):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(PAUSED_LOOK / 4)

    # --- messages -------------------------------------------------------------------------------------------------------------------

    def _submit(self, loop: PopLoop, messages: Sequence[ReceivedMessage]) -> None:
        if self._member.stopping:
            for message in messages:
                self._spawn("give back", self._release(message))
            return
        clock = asyncio.get_running_loop()
        receipt = Receipt.decode(messages[0].receipt_handle)
        until = clock.time() + (receipt.invisible_until - self._clocks.now(receipt.broker_name)) / 1000
        loop.popped_at = receipt.pop_time

        def left(batch: PoppedMessages) -> None:
            loop.unacknowledged -= 1
            loop.room.set()
            if not batch.count and (known := self._batches.pop(batch, None)) is not None:
                known[1].cancel()

        batch = PoppedMessages(
            loop.queue, messages, receipt.pop_time, left=left,
            ended=lambda message: self._spawn("ack", self._acknowledge(message)),
            failed=lambda message, delay_level: self._spawn("give back", self._fail(message, delay_level)),
        )  # fmt: skip
        assigned = AssignedQueue(loop.queue, clock.time())
        assigned.own(batch, clock.time(), valid_until=until)
        loop.unacknowledged += batch.count
        self._batches[batch] = assigned, clock.call_at(until - END_EARLIER, self._over, loop, batch)
        if self._paused(loop.queue.topic):
            assigned.pause()
        self._member.service.submit(assigned, messages)

    def _over(self, loop: PopLoop, batch: PoppedMessages) -> None:
        """The invisible time is over: others get what has not ended, and what is in a listener's hands holds popping back no less."""
        assigned, _ = self._batches.pop(batch)
        text = "%d message(s) of %s were not consumed within their invisible time of %g s: they come again, to any member"
        self.log.note(logging.WARNING, f"late {loop.queue}", text, batch.count, loop.queue, self._settings.pop_invisible_time)
        assigned.begin_release(asyncio.get_running_loop().time())
        assigned.end(asyncio.get_running_loop().time())
        self._member.service.let_go(assigned)

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            task = self._scheduler.spawn(name, work)
        except ClientClosedError:  # a listener that has ended after the stop
            return
        self._ending[task] = None
        task.add_done_callback(self._ending.pop)

    async def _acknowledge(self, message: ReceivedMessage) -> None:
        try:
            await self._acker.ack([message])
        except ReceiptError as error:
            self.log.note(logging.WARNING, f"ack {message.topic}", "a message was consumed too late and comes again: %s", error)
        except RocketMQError as error:
            self.log.note(logging.WARNING, f"ack {message.topic}", "%r is consumed and may come again: %s", message, error)

    async def _fail(self, message: ReceivedMessage, delay_level: int) -> None:
        send_back = self._member.send_back
        try:
            if send_back is not None and (delay_level == DEAD_LETTER or message.reconsume_times >= self._settings.max_tries):
                if await send_back.bury(message):
                    await self._acker.ack([message])
                return
            await self._acker.change(message, float(delay_of(message.reconsume_times, delay_level)))
        except RocketMQError as error:
            text = "%r has failed and comes again when its invisible time is over: %s"
            self.log.note(logging.WARNING, f"give back {message.topic}", text, message, error)

    def pause(self, topic: str | None = None) -> None:
        """Begin no call for messages of a topic, or of any, that are here."""
        for assigned, _ in self._batches.values():
            if topic is None or assigned.queue.topic == topic:
                assigned.pause()
                self._member.service.pause(assigned)

    def resume(self, topic: str | None = None) -> None:
        """Go on with them."""
        for assigned, _ in list(self._batches.values()):
            if assigned.paused and (topic is None or assigned.queue.topic == topic):
                assigned.resume()
                self._member.service.resume(assigned)

    # --- the end --------------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Pop nothing more, begin no call; what has begun may end."""
        for queue in list(self._loops):
            self._end_loop(queue)
        for assigned, _ in self._batches.values():
            if assigned.begin_release(asyncio.get_running_loop().time()):
                self._member.service.let_go(assigned)

    async def end(self) -> None:
        """Give back what no listener has ended, and wait a moment until brokers have heard of everything."""
        left = [message for batch in self._batches for message in batch.open]
        for batch, (assigned, timer) in self._batches.items():
            timer.cancel()
            batch.drop()
            assigned.end(asyncio.get_running_loop().time())
        self._batches.clear()
        for message in left:
            self._spawn("give back", self._release(message))
        if self._ending:
            await asyncio.wait(list(self._ending), timeout=GIVE_BACK_TIME)

    async def _release(self, message: ReceivedMessage) -> None:
        try:
            await self._acker.change(message, 0.0)
        except RocketMQError as error:
            logger.debug("%r comes again when its invisible time is over: %s", message, error)


def delay_of(tries: int, delay_level: int) -> int:
    """Seconds until a message comes again.

    Args:
        tries: How often it has failed before.
        delay_level: 1 to 18 is a delay level; 0 goes by the tries.
    """
    if delay_level > 0:
        return DELAY_LEVELS[delay_level - 1]
    return RETRY_LADDER[min(tries, len(RETRY_LADDER) - 1)]
