"""The workloads of consuming, through the asyncio push and lite pull consumers; latency from a send to the listener; a client at rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiorocketmq as rmq
from benchmarks.ours.bodies import Inspector, maker
from benchmarks.ours.meter import Answer, Meter

TIMEOUT = 120.0
WARM_UP_MESSAGES = 100
WARM_UP_NUMBERS = 1 << 32
"""Numbers from here on belong to the warm-up of a latency round."""


class Drain:
    """Reads `count` messages of a topic with a new push consumer, from the first that the listener gets to the last."""

    def __init__(self, name_servers: str, request: dict[str, Any], *, ordered: bool = False) -> None:
        self._request = request
        self._count = request["count"]
        self._inspector = Inspector(request["size"], request.get("distinct", 0))
        self._consumer = rmq.PushConsumer(name_servers, group=request["group"], start_from=rmq.StartFrom.FIRST, ordered=ordered)
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[Answer] = self._loop.create_future()
        self._meter = Meter()

    async def run(self, listener: Callable[[rmq.ReceivedMessage], Any]) -> Answer:
        """Consume everything with a listener that hands each message to `accept()`."""
        self._consumer.listen(self._request["topic"])(listener)
        async with self._consumer:
            try:
                async with asyncio.timeout(TIMEOUT):
                    return await self._finished
            except TimeoutError:
                received = self._inspector.received
                raise TimeoutError(f"received {received} of {self._count} messages within {TIMEOUT:.0f} s") from None

    def accept(self, message: rmq.ReceivedMessage) -> None:
        """Check and count one message; any thread may call it."""
        place = self._inspector.accept(message.body)
        if place == 1:
            self._meter.begin()
        if place == self._count:
            answer = self._meter.answer(place, self._inspector.failed)
            self._loop.call_soon_threadsafe(self._finish, answer)

    def _finish(self, answer: Answer) -> None:
        if not self._finished.done():
            self._finished.set_result(answer)


async def push_concurrent(name_servers: str, request: dict[str, Any]) -> Answer:
    """One message per call of an `async def` listener."""
    drain = Drain(name_servers, request)

    async def handle(message: rmq.ReceivedMessage) -> None:
        drain.accept(message)

    return await drain.run(handle)


async def push_plain(name_servers: str, request: dict[str, Any]) -> Answer:
    """One message per call of a plain `def` listener, on worker threads."""
    drain = Drain(name_servers, request)

    def handle(message: rmq.ReceivedMessage) -> None:
        drain.accept(message)

    return await drain.run(handle)


async def push_ordered(name_servers: str, request: dict[str, Any]) -> Answer:
    """Each queue in order, one message per call of an `async def` listener."""
    drain = Drain(name_servers, request, ordered=True)

    async def handle(message: rmq.ReceivedMessage) -> None:
        drain.accept(message)

    return await drain.run(handle)


async def lite_pull(name_servers: str, request: dict[str, Any]) -> Answer:
    """`async for` over a lite pull consumer."""
    count, inspector, meter = request["count"], Inspector(request["size"], request.get("distinct", 0)), Meter()
    topics = [request["topic"]]
    try:
        async with (
            asyncio.timeout(TIMEOUT),
            rmq.LitePullConsumer(name_servers, group=request["group"], topics=topics, start_from=rmq.StartFrom.FIRST) as consumer,
        ):
            async for message in consumer:
                place = inspector.accept(message.body)
                if place == 1:
                    meter.begin()
                if place == count:
                    return meter.answer(place, inspector.failed)
    except TimeoutError:
        pass
    raise TimeoutError(f"received {inspector.received} of {count} messages within {TIMEOUT:.0f} s")


async def first_message(name_servers: str, request: dict[str, Any]) -> Answer:
    """From the start of a new consumer to the first message of a backlog in its listener."""
    arrived: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    consumer = rmq.PushConsumer(name_servers, group=request["group"], start_from=rmq.StartFrom.FIRST, ordered=request.get("ordered", False))

    @consumer.listen(request["topic"])
    async def handle(message: rmq.ReceivedMessage) -> None:
        if not arrived.done():
            arrived.set_result(time.perf_counter())

    meter = Meter()
    began = time.perf_counter()
    async with consumer:
        async with asyncio.timeout(TIMEOUT):
            ended = await arrived
        answer = meter.answer(1)
    answer["seconds"] = ended - began
    return answer


async def latency(producer: rmq.Producer, request: dict[str, Any]) -> Answer:
    """Send `rate` messages a second and take the time from each send call to the entry of the listener, in one process."""
    topic, count, size = request["topic"], request["count"], request["size"]
    body = maker(size)
    sent_at = [0] * count
    times: list[int] = []
    warm = 0
    changed = asyncio.Event()
    inspector = Inspector(size, count)
    consumer = rmq.PushConsumer(producer.config.name_servers, group=request["group"], start_from=rmq.StartFrom.FIRST)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        nonlocal warm
        now = time.perf_counter_ns()
        number = int.from_bytes(message.body[:8], "big")
        if number >= WARM_UP_NUMBERS:
            warm += 1
        elif inspector.accept(message.body):
            times.append(now - sent_at[number])
        changed.set()

    async def until(reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT):
            while not reached():
                changed.clear()
                await changed.wait()

    loop = asyncio.get_running_loop()
    async with consumer:
        for number in range(WARM_UP_MESSAGES):
            await producer.send(rmq.Message(topic, body(WARM_UP_NUMBERS + number)))
        await until(lambda: warm >= WARM_UP_MESSAGES)
        meter = Meter()
        begin = loop.time()
        failed = 0
        for number in range(count):
            pause = begin + number / request["rate"] - loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
            message = rmq.Message(topic, body(number))
            sent_at[number] = time.perf_counter_ns()
            result = await producer.send(message)
            failed += not result.ok
        await until(lambda: len(times) + len(inspector.damaged) >= count)
        return meter.answer(count, failed + inspector.failed, latencies_ns=times)


async def idle_memory(name_servers: str, request: dict[str, Any]) -> Answer:
    """A push consumer at rest for 3 s, beside the peer's started producer: resident memory, and the CPU of that time."""
    consumer = rmq.PushConsumer(name_servers, group=request["group"])

    @consumer.listen(request["topic"])
    async def handle(message: rmq.ReceivedMessage) -> None:
        raise ValueError("the topic was to be empty")

    async with consumer:
        meter = Meter()
        await asyncio.sleep(3.0)
        return meter.answer(1)
