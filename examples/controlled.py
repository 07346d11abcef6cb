"""Controls of a push consumer: a listener per topic, topics by pattern, a limit on the rate, pausing, one answer for each message."""

import asyncio
import os
import re

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")

consumer = rmq.PushConsumer(NAME_SERVERS, group="controlled_workers", start_from=rmq.StartFrom.FIRST, rate_limit=200)
billed: list[bytes] = []
logged: list[str] = []
all_billed, all_logged = asyncio.Event(), asyncio.Event()


@consumer.listen("example_bills", batch=16)  # a listener for one topic, which gets lists
async def bill(messages: list[rmq.ReceivedMessage]) -> list[rmq.Retry | BaseException | None]:
    async def one(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        if message.body == b"bill 2" and message.reconsume_times == 0:
            return rmq.Retry(delay_level=1)  # this one alone comes again, after a second
        billed.append(message.body)
        if len(billed) == 4:
            all_billed.set()
        return None

    return await asyncio.gather(*map(one, messages), return_exceptions=True)


@consumer.listen(re.compile("example_log_.*"))  # a listener for all topics with such names, those to come included
async def log(message: rmq.ReceivedMessage) -> None:
    logged.append(message.topic)
    if len(logged) == 2:
        all_logged.set()


async def main() -> None:
    async with rmq.Producer(NAME_SERVERS, group="controlled_producer") as producer:
        for topic in ("example_log_web", "example_log_mail"):
            await producer.send(rmq.Message(topic, b"started"))
        async with consumer:
            consumer.limit_rate(20, "example_bills")  # for this topic; both limits hold
            consumer.pause("example_bills")  # while a database is away, say; the log goes on
            for number in range(4):
                await producer.send(rmq.Message("example_bills", b"bill %d" % number))
            await all_logged.wait()
            print("while the bills are paused:", sorted(logged), billed)
            consumer.resume("example_bills")
            await all_billed.wait()
            print("after that:", sorted(billed))


asyncio.run(asyncio.wait_for(main(), 60))
