"""Brings the records of the message trace to brokers, off the way of the messages (Java: `AsyncTraceDispatcher`). Features E7, E8.

Records wait in a queue with a bound; what does not fit is counted and told, and nothing else waits for it. One task sends them in batches
by a producer of its own, whose messages are not traced.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import threading
import time
from collections import deque
from itertools import count
from typing import Final

from aiorocketmq.client.inner_producer import InnerProducer
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.core.clock import epoch_ms
from aiorocketmq.errors import RocketMQError
from aiorocketmq.model import properties as props
from aiorocketmq.model.enums import AccessChannel
from aiorocketmq.model.names import MAX_GROUP_LENGTH
from aiorocketmq.protocol.message_id import UniqueIdGenerator
from aiorocketmq.protocol.trace import DEFAULT_REGION, TraceRecord, encode_record, record_keys

TRACE_TOPIC: Final = "RMQ_SYS_TRACE_TOPIC"
CLOUD_TOPICS: Final = "rmq_sys_TRACE_DATA_"
"""What the trace topics of a cloud service begin with; the region follows."""
QUEUE: Final = 2048
"""Records that may wait."""
BATCH: Final = 20
"""So many records leave at once."""
LINGER: Final = 1.0
"""Seconds that fewer of them wait for others."""
MAX_BODY: Final = 128_000
"""Bytes of one trace message, as far as it holds more than one record."""
MAX_KEYS: Final = 16_384
"""Characters of the keys of one trace message: all properties together have 32,767 bytes."""
SEND_TIMEOUT: Final = 5.0

_numbers = count(1)

logger = logging.getLogger("aiorocketmq.client")


class TraceDispatcher:
    """Takes records from any thread, and sends them to the trace topic.

    Args:
        instance: The running client instance.
        group: Group of the traced client.
        kind: `PRODUCE` or `CONSUME`.
        topic: The trace topic; None is the system's.

    Attributes:
        topic: The trace topic; for a cloud service what its topics begin with.
        lost: Records that were dropped, because too many waited or because no broker took them.
    """

    def __init__(self, instance: ClientInstance, group: str, kind: str, topic: str | None) -> None:
        self._cloud = instance.config.access_channel is AccessChannel.CLOUD
        self.topic = CLOUD_TOPICS if self._cloud else TRACE_TOPIC if topic is None else topic
        self.lost = 0
        self._ids = UniqueIdGenerator(secrets.token_bytes(4), os.getpid())
        self._instance = instance
        self._owner = group
        suffix = f"-{kind}-{next(_numbers)}"
        name = f"_INNER_TRACE_PRODUCER-{group}"[: MAX_GROUP_LENGTH - len(suffix)] + suffix
        self._producer = InnerProducer(instance.broker_api, instance.routes, unit_mode=instance.config.unit_mode, group=name)
        self._scheduler = Scheduler(f"trace of {group}")
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._queue: deque[TraceRecord] = deque()
        self._told = False
        self._hurried = False
        self._some = asyncio.Event()
        self._many = asyncio.Event()
        self._closed = False
        self._work: asyncio.Task[None] | None = None
        self._log = StateLog(logger)

    @property
    def group(self) -> str:
        """The group of the producer that sends the records."""
        return self._producer.group

    def writes_to(self, topic: str) -> bool:
        """Whether a topic is one that records go to: its own messages are not traced."""
        return topic.startswith(CLOUD_TOPICS) if self._cloud else topic == self.topic

    def _topic_of(self, record: TraceRecord) -> str:
        return f"{CLOUD_TOPICS}{record.region or DEFAULT_REGION}" if self._cloud else self.topic

    async def start(self) -> None:
        """Begin to send.

        Raises:
            ClientClosedError: The instance was stopped.
        """
        await self._instance.register_producer(self._producer)
        self._work = self._scheduler.spawn("send records", self._send_all())

    def add(self, *records: TraceRecord) -> None:
        """Take records; from any thread. Never waits, never raises."""
        queue = self._queue
        if self._closed or len(queue) + len(records) > QUEUE:
            self._lose(len(records), f"{len(queue)} of them wait already")
            return
        queue.extend(records)
        if not self._told:
            self._told = True
            self._wake(self._some)
        if len(queue) >= BATCH and not self._hurried:
            self._hurried = True
            self._wake(self._many)

    def _wake(self, event: asyncio.Event) -> None:
        if threading.get_ident() == self._thread:
            event.set()
        else:
            try:
                self._loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # the loop was closed under a listener's thread: nobody sends any more
                self._closed = True

    def _lose(self, number: int, why: str) -> None:
        self.lost += number
        text = "%d trace record(s) of group %s are lost, %d so far: %s"
        self._log.note(logging.WARNING, "lost", text, number, self._owner, self.lost, why)

    async def _send_all(self) -> None:
        while not self._closed or self._queue:
            await self._some.wait()
            if len(self._queue) < BATCH and not self._closed:
                try:
                    async with asyncio.timeout(LINGER):
                        await self._many.wait()
                except TimeoutError:
                    pass
            # In this order: what is added behind here wakes us again.
            self._some.clear()
            self._many.clear()
            self._told = self._hurried = False
            while self._queue:
                await self._send(*self._take())
            if self._closed:
                return

    def _take(self) -> tuple[str, list[str], dict[str, None]]:
        """The topic of the next trace message, its records, and its keys."""
        topic = self._topic_of(self._queue[0])
        texts: list[str] = []
        keys: dict[str, None] = {}
        size = length = 0
        while self._queue:
            record = self._queue[0]
            text, names = encode_record(record, cloud=self._cloud), [name for name in record_keys(record) if name not in keys]
            size += len(text.encode())
            length += sum(map(len, names)) + len(names)
            if texts and (size > MAX_BODY or length > MAX_KEYS or self._topic_of(record) != topic):
                break
            self._queue.popleft()
            texts.append(text)
            keys |= dict.fromkeys(names)
        return topic, texts, keys

    async def _send(self, topic: str, texts: list[str], keys: dict[str, None]) -> None:
        properties = {props.KEYS: " ".join(keys), props.UNIQ_KEY: self._ids.next_id(epoch_ms(time.time)), props.WAIT: "true"}
        try:
            await self._producer.send(topic, "".join(texts).encode(), properties, timeout=SEND_TIMEOUT)
        except asyncio.CancelledError:
            self._lose(len(texts), "the client was stopped while they were on their way")
            raise
        except RocketMQError as error:
            self.lost += len(texts)
            text = "%d trace record(s) of group %s are lost: topic %s does not take them: %s"
            self._log.failed(topic, text, len(texts), self._owner, topic, error)
        else:
            self._log.worked(topic, "topic %s takes the trace records of group %s again", topic, self._owner)

    async def stop(self, timeout: float) -> None:
        """Send what waits, for at most `timeout` seconds, and take nothing more. A second call waits for nothing.

        Cancelling it does not wait any longer.
        """
        hurried, self._closed = self._closed, True
        try:
            self._some.set()
            self._many.set()
            if self._work is not None and not hurried:
                await asyncio.wait([self._work], timeout=timeout)
        finally:
            if self._queue:
                self._lose(len(self._queue), "the client was stopped before a broker took them")
                self._queue.clear()
            await self._scheduler.stop()
            if self._work is not None:
                await self._instance.unregister_producer(self._producer)
