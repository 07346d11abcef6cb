"""Delayed messages: `delay_level` works on every broker, `delay` and `deliver_at` to the millisecond on 5.x."""

import asyncio
import os
import time

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")


async def main() -> None:
    arrived = asyncio.Event()
    sent_at = 0.0
    consumer = rmq.PushConsumer(NAME_SERVERS, group="delayed_workers", start_from=rmq.StartFrom.FIRST)

    @consumer.listen("example_reminders")
    async def handle(message: rmq.ReceivedMessage) -> None:
        print(f"{message.body.decode()} after {time.time() - sent_at:.2f} s")
        arrived.set()

    async with rmq.Producer(NAME_SERVERS, group="delayed_producer") as producer, consumer:
        sent_at = time.time()
        await producer.send(rmq.Message("example_reminders", b"wake up", delay_level=1))
        await asyncio.wait_for(arrived.wait(), 30)


asyncio.run(main())
