"""Our side of the benchmarks: answers the same requests as the Java program beside it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import sys
import time
from typing import Any

import aiorocketmq as rmq


class Meter:
    """Wall clock and CPU of this process between two moments."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start to measure."""
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def answer(self, count: int, failed: int = 0) -> dict[str, float]:
        """What was measured until now."""
        wall = time.perf_counter() - self._wall
        return {"count": count, "failed": failed, "seconds": wall, "cpu_seconds": time.process_time() - self._cpu}


async def send_in_flight(producer: rmq.Producer, topic: str, body: bytes, count: int, window: int) -> dict[str, float]:
    """Keep `window` sends unanswered, each answer makes room for the next."""
    finished = asyncio.get_running_loop().create_future()
    sent = answered = failed = 0

    def on_answer(future: asyncio.Future[rmq.SendResult]) -> None:
        nonlocal sent, answered, failed
        answered += 1
        if future.exception() is not None or future.result().status is not rmq.SendStatus.SEND_OK:
            failed += 1
        if sent < count:
            sent += 1
            producer.send_nowait(rmq.Message(topic, body)).add_done_callback(on_answer)
        elif answered == count:
            finished.set_result(None)

    meter = Meter()
    for _ in range(min(window, count)):
        sent += 1
        producer.send_nowait(rmq.Message(topic, body)).add_done_callback(on_answer)
    await finished
    return meter.answer(count, failed)


async def send_one_at_a_time(producer: rmq.Producer, topic: str, body: bytes, count: int) -> dict[str, float]:
    """Await each answer before the next send."""
    failed = 0
    meter = Meter()
    for _ in range(count):
        result = await producer.send(rmq.Message(topic, body))
        failed += result.status is not rmq.SendStatus.SEND_OK
    return meter.answer(count, failed)


async def push_consume(name_servers: str, topic: str, count: int, group: str) -> dict[str, float]:
    """From the first message that the listener gets to the last."""
    consumer = rmq.PushConsumer(name_servers, group=group, start_from=rmq.StartFrom.FIRST)
    finished: asyncio.Future[dict[str, float]] = asyncio.get_running_loop().create_future()
    meter = Meter()
    received = 0

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        nonlocal received
        received += 1
        if received == 1:
            meter.begin()
        if received == count:
            finished.set_result(meter.answer(count))

    async with consumer:
        try:
            async with asyncio.timeout(120):
                return await finished
        except TimeoutError:
            raise TimeoutError(f"received {received} of {count} messages within 120 s") from None


async def handle(request: dict[str, Any], name_servers: str, producer: rmq.Producer) -> dict[str, float]:
    """Carry out one request."""
    topic, count, body = request["topic"], request["count"], b"x" * request["size"]
    match request["cmd"]:
        case "send_in_flight":
            return await send_in_flight(producer, topic, body, count, request["window"])
        case "send_one_at_a_time":
            return await send_one_at_a_time(producer, topic, body, count)
        case "push_consume":
            return await push_consume(name_servers, topic, count, request["group"])
        case other:
            raise ValueError(f"unknown command {other}")


async def main(name_servers: str) -> None:
    """Answer requests until the end of input."""
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        producer = await stack.enter_async_context(rmq.Producer(name_servers, group="bench_asyncio", send_msg_timeout=10.0))
        while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
            try:
                answer: dict[str, Any] = await handle(json.loads(line), name_servers, producer)
            except (rmq.RocketMQError, TimeoutError, ValueError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop

        uvloop.run(main(sys.argv[1]))
    else:
        asyncio.run(main(sys.argv[1]))
