"""Messages that nobody else gets for a while: done, given back, kept longer, and done together."""

import asyncio
import os

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")


async def main() -> None:
    async with rmq.Producer(NAME_SERVERS, group="writers") as producer:
        for number in range(6):
            await producer.send(rmq.Message("example_jobs", str(number).encode()))

    async with rmq.PopConsumer(NAME_SERVERS, group="jobs", topics=["example_jobs"], start_from=rmq.StartFrom.FIRST) as consumer:
        done: set[bytes] = set()
        while len(done) < 6:
            finished = []
            for message in await consumer.receive(max_messages=8, wait=10.0, invisible=60.0):
                if message.body == b"3" and message.reconsume_times == 0:
                    await consumer.change_invisible(message, 1.0)  # somebody else may have it in a moment
                    continue
                if message.body == b"4":
                    await consumer.change_invisible(message, 300.0)  # this one takes longer
                finished.append(message)
            await consumer.ack(finished)  # one request for all of them
            done.update(message.body for message in finished)
        print("done:", b" ".join(sorted(done)).decode())


asyncio.run(main())
