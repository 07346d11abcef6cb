"""A consumer that owns many queues in which nothing happens.

A queue counts as idle, not as unused: every one has carried a message, so that its offset is kept and saved.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiorocketmq as rmq
from benchmarks.ours.holdings import holdings
from benchmarks.ours.meter import Answer, resident_bytes

_SENDS_AT_A_TIME = 64
_TRIES = 20
_BUSY_DELAY = 0.5
_PATIENCE = 360.0


async def idle(name_servers: str, request: dict[str, Any]) -> Answer:
    """Own all queues of some topics, carry one message through each, and do nothing for a while; the time is that until all are owned."""
    topic, count, queues = request["topic"], request["topics"], request["queues"]
    topics = [topic] if count == 1 else [f"{topic}_{number:04d}" for number in range(count)]
    total = count * queues
    owned: dict[str, int] = {}
    complete, delivered = asyncio.Event(), asyncio.Event()
    received = 0

    def changed(topic: str, queues: frozenset[rmq.MessageQueue], mine: frozenset[rmq.MessageQueue]) -> None:
        if topic in topics:
            owned[topic] = len(mine)
            if sum(owned.values()) == total:
                complete.set()

    async def handle(message: rmq.ReceivedMessage) -> None:
        nonlocal received
        received += 1
        if received >= total:
            delivered.set()

    consumer = rmq.PushConsumer(name_servers, group=request["group"], start_from=rmq.StartFrom.FIRST, message_queue_listener=changed)
    for name in topics:
        consumer.listen(name)(handle)
    producer = rmq.Producer(name_servers, group=request["group"] + "_p", send_msg_timeout=30.0)
    began = time.perf_counter()
    async with asyncio.timeout(_PATIENCE), consumer:
        await complete.wait()
        seconds = time.perf_counter() - began
        async with producer:
            await _send_to_each(producer, topics, queues)
            await delivered.wait()
            await asyncio.sleep(request["settle"])
            wall, cpu = time.perf_counter(), time.process_time()
            await asyncio.sleep(request["idle"])
            used = time.process_time() - cpu
            percent = used / (time.perf_counter() - wall) * 100
            instance = consumer.instance
            assert instance is not None
            more = {"idle_cpu_percent": percent, "in_flight": instance.remoting.in_flight, **holdings()}
            return {"count": 1, "failed": 0, "seconds": seconds, "cpu_seconds": used, "rss_bytes": resident_bytes(), "more": more}


async def _send_to_each(producer: rmq.Producer, topics: list[str], queues: int) -> None:
    turn = asyncio.Semaphore(_SENDS_AT_A_TIME)

    async def send(topic: str, queue: rmq.MessageQueue | None) -> None:
        async with turn:
            for _ in range(_TRIES):
                try:
                    await producer.send(rmq.Message(topic, b"one"), queue=queue)
                    return
                except rmq.SendError:  # a broker that is short of CPU refuses some, and sends to a fixed queue are not repeated
                    await asyncio.sleep(_BUSY_DELAY)
            raise TimeoutError(f"{topic} took no message in {_TRIES} tries")

    async with asyncio.TaskGroup() as group:
        for topic in topics:
            for queue in await producer.fetch_publish_message_queues(topic) if queues > 1 else (None,):
                group.create_task(send(topic, queue))
