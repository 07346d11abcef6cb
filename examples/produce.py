"""The ways to send: one at a time, many at once, in a batch, one-way, with tag, keys and properties."""

import asyncio
import os

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")


async def main() -> None:
    async with rmq.Producer(NAME_SERVERS, group="example_producer", topics=["example_orders"]) as producer:
        message = rmq.Message("example_orders", b'{"id": 1}', tag="paid", keys=["order-1"], properties={"region": "eu"})
        result = await producer.send(message)
        print("one:", result.status.name, result.queue)

        # Many in flight: the window of unanswered sends is bounded, so collect the results from time to time.
        futures = [producer.send_nowait(rmq.Message("example_orders", str(number).encode())) for number in range(500)]
        results = await asyncio.gather(*futures)
        print("many:", sum(result.ok for result in results), "stored")

        batch = await producer.send_batch([rmq.Message("example_orders", b"x") for _ in range(32)])
        print("batch: 32 messages in", batch.queue)

        await producer.send_oneway(rmq.Message("example_orders", b"nobody confirms this one"))

        try:
            await producer.send(rmq.Message("example_orders", b""))
        except rmq.InvalidMessageError as error:
            print("refused:", error)


asyncio.run(main())
