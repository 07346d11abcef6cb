"""Request and reply: a producer waits for what a consumer answers."""

import asyncio
import os

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")


async def main() -> None:
    consumer = rmq.PushConsumer(NAME_SERVERS, group="calculators", start_from=rmq.StartFrom.FIRST)

    @consumer.respond("example_sums")
    async def add(request: rmq.ReceivedMessage) -> bytes:
        return str(sum(map(int, request.body.split()))).encode()

    async with consumer, rmq.Producer(NAME_SERVERS, group="askers") as producer:
        reply = await producer.request(rmq.Message("example_sums", b"1 2 3 4"), timeout=30.0)
        print("1 2 3 4 →", reply.body.decode())
        assert reply.body == b"10"
    try:
        async with rmq.Producer(NAME_SERVERS, group="askers") as producer:
            await producer.request(rmq.Message("example_sums", b"5 6"), timeout=0.5)
    except rmq.ReplyTimeoutError as error:
        print("nobody answers any more:", error.message)


asyncio.run(main())
