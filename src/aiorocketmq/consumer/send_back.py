"""Giving failed messages back, so that they come again later (Java: `DefaultMQPushConsumerImpl.sendMessageBack`). Features F24, F25, F27.

First choice: the broker that holds the message puts it into the retry topic, or after too many tries into the dead-letter topic. When
that fails the message itself is sent to the retry topic, through any broker; when that fails, too, it is tried again here after 5 s. In
between it stays unfinished in its queue: its offset is not committed, so nothing is lost however this process ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiorocketmq.client.broker_api import BrokerApi
from aiorocketmq.client.inner_producer import InnerProducer
from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.workers import Slot, TaskPool
from aiorocketmq.core.route_table import is_logical
from aiorocketmq.errors import MessageIllegalError, RocketMQError
from aiorocketmq.model import properties as props
from aiorocketmq.model.names import dlq_topic, retry_topic
from aiorocketmq.model.received import ReceivedMessage

LOCAL_RETRY_DELAY: Final = 5.0
SENDERS: Final = 4
"""Messages that are given back at the same time."""
FIRST_RETRY_LEVEL: Final = 3
"""Delay level of the first retry when the broker does not choose it: 10 s."""
DEAD_LETTER: Final = -1
"""Delay level that sends a message to the dead-letter topic at once."""
UNLIMITED: Final = 0x7FFFFFFF
CLOSE_PATIENCE: Final = 0.5
"""Seconds that a request under way may take to end at a stop."""
PROPERTIES_ROOM: Final = 32767 - 1024
"""Characters of all properties of a message that brokers store, less room for what they and the retry topic add."""

logger = logging.getLogger("aiorocketmq.consumer")

SendBackItem = tuple[AssignedQueue, ReceivedMessage, int]


@dataclass(slots=True)
class SendBackCounters:
    """What was given back. Mutable: it counts.

    Attributes:
        by_broker: Taken back by the broker.
        by_send: Sent to the retry topic, because the broker did not take them back.
        local: Kept for another try here, because both failed.
    """

    by_broker: int = 0
    by_send: int = 0
    local: int = 0


class SendBack:
    """Gives the failed messages of one consumer back, a few at a time.

    Args:
        group: The consumer group.
        api: Talks to brokers.
        find_master: Address of a broker's master by name, or None.
        inner_producer: Sends to the retry topic.
        scheduler: Makes the tasks.
        max_tries: Retries before the dead-letter topic, -1 without end.
        try_again: Called with a message that could not be given back, after 5 s; None where `hand_back()` alone is used.
    """

    def __init__(
        self,
        group: str,
        api: BrokerApi,
        find_master: Callable[[str], str | None],
        inner_producer: InnerProducer,
        scheduler: Scheduler,
        *,
        max_tries: int,
        unit_mode: bool,
        try_again: Callable[[AssignedQueue, ReceivedMessage], None] | None = None,
    ) -> None:
        self.counters = SendBackCounters()
        self._group = group
        self._api = api
        self._find_master = find_master
        self._inner_producer = inner_producer
        self._scheduler = scheduler
        self._max_tries = max_tries if max_tries >= 0 else UNLIMITED
        self._unit_mode = unit_mode
        self._try_again = try_again
        self._pool: TaskPool[SendBackItem] | None = None
        self._waiting: deque[tuple[float, AssignedQueue, ReceivedMessage]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._log = StateLog(logger)

    @property
    def backlog(self) -> int:
        """Messages that are not given back yet, those that wait for another try here included."""
        return (self._pool.backlog + self._pool.busy if self._pool is not None else 0) + len(self._waiting)

    def has(self, assigned: AssignedQueue) -> bool:
        """True while a message of the queue is on its way back, or waits for a sender."""
        if self._pool is None:
            return False
        items = (item for item in (*self._pool.ready, *(slot.item for slot in self._pool.slots())) if item is not None)
        return any(item[0] is assigned for item in items)

    def put(self, assigned: AssignedQueue, message: ReceivedMessage, delay_level: int) -> None:
        """Give a message back soon; it is finished in its queue once it is safe.

        Args:
            assigned: Its queue.
            message: The message.
            delay_level: 0 lets the broker choose by the number of tries, 1 to 18 name a delay, -1 is the dead-letter topic.
        """
        if self._pool is None:
            self._pool = TaskPool(self._scheduler, "send back", self._work, SENDERS)
        self._pool.append((assigned, message, delay_level))

    async def idle(self) -> None:
        """Wait until everything that was put is given back, or waits for another try here."""
        if self._pool is not None:
            await self._pool.idle()

    async def close(self) -> None:
        """End the work; what is not given back stays uncommitted."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()
        if self._pool is not None:
            await self._pool.close(CLOSE_PATIENCE)

    async def _work(self, pool: TaskPool[SendBackItem], slot: Slot[SendBackItem]) -> None:
        while await pool.wait(slot):
            slot.item = pool.ready.popleft()
            assigned, message, delay_level = slot.item
            if assigned.messages.dropped:
                continue  # its new owner gets the message again
            if await self.give_back(message, delay_level):
                assigned.messages.finish(message)
            else:
                self._keep(assigned, message)

    async def give_back(self, message: ReceivedMessage, delay_level: int) -> bool:
        """Give one message back now; a move to the dead-letter topic is told in the log.

        Returns:
            True when it is safe with a broker.
        """
        safe = await self._give_back(message, delay_level) is None
        if safe and (delay_level == DEAD_LETTER or message.reconsume_times >= self._max_tries):
            self._buried(message)
        return safe

    async def hand_back(self, message: ReceivedMessage, delay_level: int) -> None:
        """As `give_back()`, for programs that want to know.

        Raises:
            RocketMQError: It is not safe with a broker.
        """
        error = await self._give_back(message, delay_level)
        if error is not None:
            raise error
        if delay_level == DEAD_LETTER or message.reconsume_times >= self._max_tries:
            self._buried(message)

    async def bury(self, message: ReceivedMessage) -> bool:
        """Send a message to the dead-letter topic whose tries were counted here, as those of ordered groups: its broker does not know them.

        Returns:
            True when it is safe with a broker.
        """
        try:
            await self._by_send(message, DEAD_LETTER, dict(message.properties))
        except RocketMQError as error:
            logger.debug("%r could not be sent to the dead-letter topic, its broker is asked to move it: %s", message, error)
            return await self.give_back(message, DEAD_LETTER)
        self.counters.by_send += 1
        self._buried(message)
        return True

    def _buried(self, message: ReceivedMessage) -> None:
        text = "%r has failed %d time(s) and is in the dead-letter topic %s now"
        logger.warning(text, message, message.reconsume_times + 1, dlq_topic(self._group))

    async def _give_back(self, message: ReceivedMessage, delay_level: int) -> RocketMQError | None:
        """None when it is safe with a broker, else why not."""
        key = message.queue.broker_name
        if not message.unwrapped and not is_logical(message.queue):  # its offset in the log is of a broker that need not have the queue now
            try:
                await self._by_broker(message, delay_level)
            except RocketMQError as error:
                self._log.failed(key, "broker %s did not take a message back, it is sent to the retry topic: %s", key, error)
            else:
                self.counters.by_broker += 1
                self._log.worked(key, "broker %s takes messages back again", key)
                return None
        try:
            await self._by_send(message, delay_level, dict(message.properties))
        except RocketMQError as error:
            if _refused(error) and (delay_level == DEAD_LETTER or message.reconsume_times >= self._max_tries):
                return await self._bury_without_what_is_too_long(message)
            self._not_safe(
                logging.WARNING, "%r could neither be given back nor sent to the retry topic, next try in %g s: %s", message, error
            )
            return error
        self.counters.by_send += 1
        return None

    def _not_safe(self, level: int, text: str, message: ReceivedMessage, error: RocketMQError) -> None:
        if self._try_again is not None:  # else the program is told
            self._log.note(level, f"{message.queue.broker_name} local", text, message, LOCAL_RETRY_DELAY, error)

    async def _bury_without_what_is_too_long(self, message: ReceivedMessage) -> RocketMQError | None:
        """No broker stores the message again with what brokers add to its properties: a dead letter that lacks one is better than none."""
        properties = dict(message.properties)
        dropped = []
        while len(props.encode_properties(properties)) > PROPERTIES_ROOM:
            longest = max(properties, key=lambda name: len(name) + len(properties[name]))
            del properties[longest]
            dropped.append(longest)
        try:
            await self._by_send(message, DEAD_LETTER, properties)
        except RocketMQError as error:
            self._not_safe(logging.ERROR, "%r can neither be given back nor buried, next try in %g s: %s", message, error)
            return error
        logger.error("%r is too long for the dead-letter topic and lies there without its properties %s", message, ", ".join(dropped))
        self.counters.by_send += 1
        return None

    async def _by_broker(self, message: ReceivedMessage, delay_level: int) -> None:
        await self._api.consumer_send_back(
            self._find_master(message.queue.broker_name) or message.store_host,
            self._group,
            commit_log_offset=message.commit_log_offset,
            delay_level=delay_level,
            origin_topic=message.topic,
            origin_message_id=message.offset_message_id,
            max_reconsume_times=self._max_tries,
            broker_name=message.queue.broker_name,
            unit_mode=self._unit_mode,
        )

    async def _by_send(self, message: ReceivedMessage, delay_level: int, properties: dict[str, str]) -> None:
        body, sys_flag = message.as_stored()
        tries = message.reconsume_times + 1
        for name in (props.TRANSACTION_PREPARED, props.REAL_TOPIC, props.REAL_QUEUE_ID):
            properties.pop(name, None)
        properties.setdefault(props.ORIGIN_MESSAGE_ID, message.offset_message_id)
        properties[props.RETRY_TOPIC] = self._api.namespace.wrap(message.topic)
        properties[props.RECONSUME_TIME] = str(tries)
        if delay_level == DEAD_LETTER or tries > self._max_tries:
            # Brokers bury what comes with more tries than allowed; 4.x lets dead letters, too, wait for their delay.
            properties[props.MAX_RECONSUME_TIMES] = str(min(self._max_tries, tries - 1))
            properties.pop(props.DELAY, None)
        else:
            properties[props.MAX_RECONSUME_TIMES] = str(self._max_tries)
            properties[props.DELAY] = str(delay_level if delay_level > 0 else FIRST_RETRY_LEVEL + message.reconsume_times)
        await self._inner_producer.send(retry_topic(self._group), body, properties, flag=message.flag, sys_flag=sys_flag)

    def _keep(self, assigned: AssignedQueue, message: ReceivedMessage) -> None:
        self.counters.local += 1
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time() + LOCAL_RETRY_DELAY, assigned, message))
        if self._timer is None:
            self._timer = loop.call_at(self._waiting[0][0], self._fire)

    def _fire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        while self._waiting and self._waiting[0][0] <= now:
            _, assigned, message = self._waiting.popleft()
            if self._try_again is not None and assigned.messages.is_unfinished(message):
                message.reconsume_times += 1
                self._try_again(assigned, message)
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0][0], self._fire)


def _refused(error: RocketMQError) -> bool:
    """Whether a broker has looked at the message and found it illegal: asking again changes nothing."""
    return getattr(error, "code", None) == MessageIllegalError.default_code


def restore_topic(message: ReceivedMessage) -> None:
    """Give a message of the retry topic the name of the topic that it came from."""
    original = message.properties.get(props.RETRY_TOPIC)
    if original:
        message.topic = original
