"""The workloads of sending, through the asyncio producer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import aiorocketmq as rmq
from benchmarks.ours.bodies import maker
from benchmarks.ours.meter import Answer, Meter

OK = rmq.SendStatus.SEND_OK


async def send_one_at_a_time(producer: rmq.Producer, request: dict[str, Any]) -> Answer:
    """Await each answer before the next send."""
    topic, count, body = request["topic"], request["count"], maker(request["size"])
    failed = 0
    times = []
    clock = time.perf_counter_ns
    meter = Meter()
    for number in range(count):
        began = clock()
        try:
            result = await producer.send(rmq.Message(topic, body(number)))
        except rmq.RocketMQError:
            failed += 1
        else:
            failed += result.status is not OK
        times.append(clock() - began)
    return meter.answer(count, failed, latencies_ns=times)


async def send_in_transaction(producer: rmq.TransactionProducer, request: dict[str, Any]) -> Answer:
    """Half message, local transaction, commit; one at a time."""
    topic, count, body = request["topic"], request["count"], maker(request["size"])
    failed = 0
    times = []
    clock = time.perf_counter_ns
    meter = Meter()
    for number in range(count):
        began = clock()
        try:
            result = await producer.send_in_transaction(rmq.Message(topic, body(number)), commit)
        except rmq.RocketMQError:
            failed += 1
        else:
            failed += result.status is not OK or not result.told
        times.append(clock() - began)
    return meter.answer(count, failed, latencies_ns=times)


async def commit(message: rmq.HalfMessage | rmq.ReceivedMessage, arg: Any = None) -> rmq.TransactionState:
    """A local transaction that succeeds, and the check that says so."""
    return rmq.TransactionState.COMMIT


async def send_in_flight(producers: Sequence[rmq.Producer], request: dict[str, Any]) -> Answer:
    """Keep `window` sends unanswered; each answer makes room for the next, of the next producer."""
    topic, count, body = request["topic"], request["count"], maker(request["size"])
    number_of_producers = len(producers)
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    sent = answered = failed = 0

    def send_next() -> None:
        nonlocal sent
        number = sent
        sent += 1
        try:
            producers[number % number_of_producers].send_nowait(rmq.Message(topic, body(number))).add_done_callback(on_answer)
        except rmq.RocketMQError as error:
            if not finished.done():
                finished.set_exception(error)

    def on_answer(future: asyncio.Future[rmq.SendResult]) -> None:
        nonlocal answered, failed
        answered += 1
        if future.exception() is not None or future.result().status is not OK:
            failed += 1
        if sent < count:
            send_next()
        elif answered == count:
            finished.set_result(None)

    meter = Meter()
    for _ in range(min(request["window"], count)):
        send_next()
    await finished
    return meter.answer(count, failed)


async def send_batches(producer: rmq.Producer, request: dict[str, Any]) -> Answer:
    """Batches of `batch` messages, one batch at a time."""
    topic, count, size, body = request["topic"], request["count"], request["batch"], maker(request["size"])
    failed = 0
    meter = Meter()
    for first in range(0, count, size):
        numbers = range(first, min(first + size, count))
        try:
            result = await producer.send_batch([rmq.Message(topic, body(number)) for number in numbers])
        except rmq.RocketMQError:
            failed += len(numbers)
        else:
            failed += len(numbers) * (result.status is not OK)
    return meter.answer(count, failed)


async def send_oneway(producer: rmq.Producer, request: dict[str, Any]) -> Answer:
    """One-way sends as fast as the producer takes them; what was stored is counted by others."""
    topic, count, body = request["topic"], request["count"], maker(request["size"])
    meter = Meter()
    for number in range(count):
        await producer.send_oneway(rmq.Message(topic, body(number)))
    return meter.answer(count)
