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
from aiorocketmq.consumer.workers import Slot, TaskPool
from aiorocketmq.core.process_queue import ProcessQueue
from aiorocketmq.errors import RocketMQError
from aiorocketmq.model import properties as props
from aiorocketmq.model.names import retry_topic
from aiorocketmq.model.received import ReceivedMessage

LOCAL_RETRY_DELAY: Final = 5.0
SENDERS: Final = 4
"""Messages that are given back at the same time."""
FIRST_RETRY_LEVEL: Final = 3
"""Delay level of the first retry when the broker does not choose it: 10 s."""
DEAD_LETTER: Final = -1
"""Delay level that sends a message to the dead-letter topic at once."""
UNLIMITED: Final = 0x7FFFFFFF

logger = logging.getLogger("aiorocketmq.consumer")

SendBackItem = tuple[ProcessQueue, ReceivedMessage, int]


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
        try_again: Called with a message that could not be given back, after 5 s.
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
        try_again: Callable[[ProcessQueue, ReceivedMessage], None],
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
        self._waiting: deque[tuple[float, ProcessQueue, ReceivedMessage]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._log = StateLog(logger)

    @property
    def backlog(self) -> int:
        """Messages that are not given back yet, those that wait for another try here included."""
        return (self._pool.backlog + self._pool.busy if self._pool is not None else 0) + len(self._waiting)

    def put(self, process_queue: ProcessQueue, message: ReceivedMessage, delay_level: int) -> None:
        """Give a message back soon; it is finished in its queue once it is safe.

        Args:
            process_queue: Its queue.
            message: The message.
            delay_level: 0 lets the broker choose by the number of tries, 1 to 18 name a delay, -1 is the dead-letter topic.
        """
        if self._pool is None:
            self._pool = TaskPool(self._scheduler, "send back", self._work, SENDERS)
        self._pool.append((process_queue, message, delay_level))

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
            await self._pool.close()

    async def _work(self, pool: TaskPool[SendBackItem], slot: Slot[SendBackItem]) -> None:
        while await pool.wait(slot):
            slot.item = pool.ready.popleft()
            process_queue, message, delay_level = slot.item
            if process_queue.dropped:
                continue  # its new owner gets the message again
            if await self.give_back(message, delay_level):
                if not process_queue.dropped:
                    process_queue.finish(message)
            else:
                self._keep(process_queue, message)

    async def give_back(self, message: ReceivedMessage, delay_level: int) -> bool:
        """Give one message back now.

        Returns:
            True when it is safe with a broker.
        """
        key = message.queue.broker_name
        try:
            await self._by_broker(message, delay_level)
        except RocketMQError as error:
            self._log.failed(key, "broker %s did not take a message back, it is sent to the retry topic: %s", key, error)
        else:
            self.counters.by_broker += 1
            self._log.worked(key, "broker %s takes messages back again", key)
            return True
        try:
            await self._by_send(message, delay_level)
        except RocketMQError as error:
            logger.warning(
                "%r could neither be given back nor sent to the retry topic, next try in %g s: %s", message, LOCAL_RETRY_DELAY, error
            )
            return False
        self.counters.by_send += 1
        return True

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

    async def _by_send(self, message: ReceivedMessage, delay_level: int) -> None:
        body = message.body
        tries = message.reconsume_times + 1
        properties = dict(message.properties)
        for name in (props.TRANSACTION_PREPARED, props.REAL_TOPIC, props.REAL_QUEUE_ID):
            properties.pop(name, None)
        properties.setdefault(props.ORIGIN_MESSAGE_ID, message.offset_message_id)
        properties[props.RETRY_TOPIC] = message.topic
        # Brokers bury what comes with more tries than allowed: that is how this way reaches the dead-letter topic.
        buried = delay_level == DEAD_LETTER
        properties[props.RECONSUME_TIME] = str(self._max_tries + 1 if buried and self._max_tries < UNLIMITED else tries)
        properties[props.MAX_RECONSUME_TIMES] = str(self._max_tries)
        properties[props.DELAY] = str(delay_level if delay_level > 0 else FIRST_RETRY_LEVEL + message.reconsume_times)
        await self._inner_producer.send(retry_topic(self._group), body, properties, flag=message.flag)

    def _keep(self, process_queue: ProcessQueue, message: ReceivedMessage) -> None:
        self.counters.local += 1
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time() + LOCAL_RETRY_DELAY, process_queue, message))
        if self._timer is None:
            self._timer = loop.call_at(self._waiting[0][0], self._fire)

    def _fire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        while self._waiting and self._waiting[0][0] <= now:
            _, process_queue, message = self._waiting.popleft()
            if not process_queue.dropped and process_queue.is_unfinished(message):
                message.reconsume_times += 1
                self._try_again(process_queue, message)
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0][0], self._fire)
