"""Requests, one at a time, that a consumer in the same process answers with their own bodies."""

from __future__ import annotations

import time
from typing import Any

import aiorocketmq as rmq
from benchmarks.ours.bodies import maker
from benchmarks.ours.meter import Answer, Meter

WARM_UP = 50
TIMEOUT = 10.0


async def request_reply(name_servers: str, producer: rmq.Producer, request: dict[str, Any]) -> Answer:
    """Await each reply before the next request."""
    topic, count, body = request["topic"], request["count"], maker(request["size"])
    consumer = rmq.PushConsumer(name_servers, group=request["group"], start_from=rmq.StartFrom.FIRST)

    @consumer.respond(topic)
    async def echo(asked: rmq.ReceivedMessage) -> bytes:
        return asked.body

    async with consumer:
        for number in range(WARM_UP):
            await producer.request(rmq.Message(topic, body(number)), timeout=TIMEOUT)
        failed = 0
        times = []
        clock = time.perf_counter_ns
        meter = Meter()
        for number in range(count):
            sent = body(number)
            began = clock()
            try:
                reply = await producer.request(rmq.Message(topic, sent), timeout=TIMEOUT)
            except rmq.RocketMQError:
                failed += 1
            else:
                failed += reply.body != sent
            times.append(clock() - began)
        return meter.answer(count, failed, latencies_ns=times)
