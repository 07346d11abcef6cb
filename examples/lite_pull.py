"""Messages for whoever asks for them: a loop, where it stands, and back to the beginning."""

import asyncio
import os

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")


async def main() -> None:
    async with rmq.Producer(NAME_SERVERS, group="writers") as producer:
        for number in range(10):
            await producer.send(rmq.Message("example_ledger", str(number).encode()))

    consumer = rmq.LitePullConsumer(NAME_SERVERS, group="readers", topics=["example_ledger"], start_from=rmq.StartFrom.FIRST)
    async with consumer:
        total = 0
        async for message in consumer:  # a message is consumed when the next one is asked for
            total += int(message.body)
            if total == 45:
                break
        print("all ten messages make", total)
        print("still to come:", sum((await consumer.lag()).values()) - 1)  # the last one is in hand

        for queue in consumer.assigned:
            await consumer.seek_to_begin(queue)
        again = await consumer.poll(max_messages=3)
        print("from the beginning:", sorted(int(message.body) for message in again))
        await consumer.commit()


asyncio.run(main())
