"""Send one message and receive it: the shortest program that does both.

Run it beside a server:  aiorocketmq server   (or any Apache RocketMQ cluster: set NAMESRV_ADDR)
"""

import asyncio
import os

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")


async def main() -> None:
    received = asyncio.Event()
    consumer = rmq.PushConsumer(NAME_SERVERS, group="hello_workers", start_from=rmq.StartFrom.FIRST)

    @consumer.listen("hello")
    async def handle(message: rmq.ReceivedMessage) -> None:
        print(f"received {message.body.decode()}")
        received.set()

    async with rmq.Producer(NAME_SERVERS, group="hello_producer") as producer:
        result = await producer.send(rmq.Message("hello", b"hello, world"))
        print(f"sent {result.message_id} to {result.queue}")
        async with consumer:
            await asyncio.wait_for(received.wait(), 30)


asyncio.run(main())
