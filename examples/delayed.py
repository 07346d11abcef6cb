"""Messages for later: `delay_level` works on every broker, `delay` and `deliver_at` to the second on 5.x, which can also take them back."""

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")
TOPIC = "example_reminders"


async def main() -> None:
    arrived = asyncio.Event()
    sent_at = time.time()
    consumer = rmq.PushConsumer(NAME_SERVERS, group="delayed_workers", start_from=rmq.StartFrom.FIRST)

    @consumer.listen(TOPIC)
    async def handle(message: rmq.ReceivedMessage) -> None:
        print(f"{message.body.decode()} after {time.time() - sent_at:.2f} s")
        if message.body == b"get up":
            arrived.set()

    async with rmq.Producer(NAME_SERVERS, group="delayed_producer") as producer, consumer:
        await producer.send(rmq.Message(TOPIC, b"wake up", delay_level=1))  # 1 s
        try:
            await producer.send(rmq.Message(TOPIC, b"get up", delay=3.0))
            snooze = await producer.send(rmq.Message(TOPIC, b"snooze", deliver_at=datetime.now(UTC) + timedelta(minutes=9)))
        except rmq.NotSupportedByBrokerError as error:
            print(error)  # a broker of 4.x would deliver at once, so nothing was sent
            return
        try:
            print("taken back:", await producer.recall(TOPIC, snooze.recall_handle or ""))
        except rmq.NoPermissionError as error:
            print(error)  # Apache brokers need recallMessageEnable=true
        await asyncio.wait_for(arrived.wait(), 30)


asyncio.run(main())
