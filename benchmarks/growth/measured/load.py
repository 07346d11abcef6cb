"""Loads that several families put on a server, in the measured process: sends in flight, and the consumption of a backlog."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiorocketmq as rmq
from benchmarks.growth.probe import MIB, Meter, rss

NO_COMPRESSION = 2**30
"""As `compress_msg_body_over_howmuch`: bodies of one repeated byte would vanish."""
_CHECK_EVERY = 16


def producer(name_servers: str, group: str, window: int) -> rmq.Producer:
    """A producer for measurements: patient, and without compression."""
    return rmq.Producer(
        name_servers,
        group=group,
        send_msg_timeout=30.0,
        compress_msg_body_over_howmuch=NO_COMPRESSION,
        max_in_flight=max(window, 1),
        max_in_flight_bytes=1024 * MIB,
    )


async def send_in_flight(producers: Sequence[rmq.Producer], topic: str, body: bytes, count: int, window: int) -> dict[str, Any]:
    """Store `count` messages, `window` of them unanswered at a time, shared out equally among the producers.

    A send that fails for good (a broker that is short of CPU refuses some) is counted and replaced by another one.

    Returns:
        Messages stored, sends that failed, seconds, CPU seconds, resident bytes at the end.
    """
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    begun = stored = failed = 0

    def send(sender: rmq.Producer) -> None:
        nonlocal begun
        begun += 1
        sender.send_nowait(rmq.Message(topic, body)).add_done_callback(lambda future: on_answer(sender, future))

    def on_answer(sender: rmq.Producer, future: asyncio.Future[rmq.SendResult]) -> None:
        nonlocal stored, failed
        if future.exception() is None and future.result().status is rmq.SendStatus.SEND_OK:
            stored += 1
        else:
            failed += 1
        if begun - failed < count:
            send(sender)
        elif stored == count and not finished.done():
            finished.set_result(None)

    meter = Meter()
    for number in range(min(window, count)):
        send(producers[number % len(producers)])
    await finished
    return {"count": stored, "failed": failed, "seconds": meter.seconds, "cpu_seconds": meter.cpu_seconds, "rss": rss()}


async def consume(name_servers: str, topic: str, body: bytes, count: int, group: str, timeout: float) -> dict[str, Any]:
    """Take `count` messages of a backlog, measured from the first one to the last.

    Every body must have the right length, and every 16th the right content.

    Raises:
        TimeoutError: They did not come in time.
        ValueError: A body was not what was sent.
    """
    consumer = rmq.PushConsumer(name_servers, group=group, start_from=rmq.StartFrom.FIRST)
    finished: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    meter = Meter()
    received = 0

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        nonlocal received
        received += 1
        if received == 1:
            meter.begin()
        wrong = message.body != body if received % _CHECK_EVERY == 1 else len(message.body) != len(body)
        if wrong and not finished.done():
            finished.set_exception(ValueError(f"message {message.message_id} has another body than was sent"))
        if received == count and not finished.done():
            # The first message was there when the clock began.
            finished.set_result({"count": count - 1, "seconds": meter.seconds, "cpu_seconds": meter.cpu_seconds, "rss": rss()})

    async with consumer:
        try:
            async with asyncio.timeout(timeout):
                return await finished
        except TimeoutError:
            raise TimeoutError(f"received {received} of {count} messages of {topic} within {timeout:g} s") from None


def figures(measured: dict[str, Any], size: int) -> dict[str, Any]:
    """Rates and costs of a load: messages and MB per second, CPU µs per message, CPU ms per MiB of bodies."""
    count, seconds, cpu = measured["count"], measured["seconds"], measured["cpu_seconds"]
    return {
        **measured,
        "rate": count / seconds,
        "mb_per_s": count * size / seconds / 1e6,
        "cpu_us": cpu / count * 1e6,
        "cpu_ms_per_mib": cpu * 1e3 / (count * size / MIB),
    }
