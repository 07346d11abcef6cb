"""A consumer that owns many queues in which nothing happens.

A queue counts as idle, not as unused: every one has carried a message, so that its offset is kept and saved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import aiorocketmq as rmq
from benchmarks.growth import probe
from benchmarks.growth.measured import line

_SENDS_AT_A_TIME: Final = 64
_TRIES: Final = 20
_BUSY_DELAY: Final = 0.5
_PATIENCE: Final = 120.0


class _Assignment:
    """Waits until all queues are owned, without looking at them again and again."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._owned: dict[str, int] = {}
        self.complete: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def changed(self, topic: str, queues: frozenset[rmq.MessageQueue], owned: frozenset[rmq.MessageQueue]) -> None:
        if not topic.startswith("%RETRY%"):
            self._owned[topic] = len(owned)
            if sum(self._owned.values()) == self._expected and not self.complete.done():
                self.complete.set_result(asyncio.get_running_loop().time())


async def measure(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Own all queues of some topics, carry one message through each, then wait for the others, and do nothing for a while.

    Args:
        request: `name_servers`, `topics`, `queues` of each topic, `group`, and the seconds `settle` and `idle`.
        tell: Not used.
    """
    topics, queues = request["topics"], request["queues"]
    total = len(topics) * queues
    clock = asyncio.get_running_loop().time
    assignment = _Assignment(total)
    consumer = rmq.PushConsumer(
        request["name_servers"],
        group=request["group"],
        start_from=rmq.StartFrom.FIRST,
        message_queue_listener=assignment.changed,
    )
    delivered = asyncio.Event()
    received = 0

    async def handle(message: rmq.ReceivedMessage) -> None:
        nonlocal received
        received += 1
        if received >= total:
            delivered.set()

    for topic in topics:
        consumer.listen(topic)(handle)
    producer = rmq.Producer(request["name_servers"], group=request["group"] + "_p", send_msg_timeout=30.0)
    began = clock()
    meter = probe.Meter()
    async with asyncio.timeout(_PATIENCE):
        await consumer.start()
        assigned_at = await assignment.complete
    row: dict[str, Any] = {"start_seconds": assigned_at - began, "start_cpu_seconds": meter.cpu_seconds}
    try:
        async with producer:
            began = clock()
            await _send_to_each(producer, topics, queues)
            row["sends_seconds"] = clock() - began
            async with asyncio.timeout(_PATIENCE):
                await delivered.wait()
            row["delivered"] = received
            await line.turn()
            await asyncio.sleep(request["settle"])
            row |= await _idle(consumer, request["idle"])
    finally:
        began = clock()
        await consumer.stop()
    return {**row, "stop_seconds": clock() - began}


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


async def _idle(consumer: rmq.PushConsumer, seconds: float) -> dict[str, Any]:
    meter = probe.Meter()
    await asyncio.sleep(seconds)
    cpu_percent = meter.cpu_seconds / meter.seconds * 100
    instance = consumer.instance
    assert instance is not None
    in_flight = instance.remoting.in_flight
    return {"idle_seconds": seconds, "idle_cpu_percent": cpu_percent, "in_flight": in_flight, **probe.holdings()}
