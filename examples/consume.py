"""A worker: async and plain listeners, single messages and batches, retries. Ctrl-C or SIGTERM stops it cleanly.

With an argument it stops by itself after so many messages.
"""

import asyncio
import os
import sys

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")
LIMIT = int(sys.argv[1]) if len(sys.argv) > 1 else None

consumer = rmq.PushConsumer(NAME_SERVERS, group="example_workers", start_from=rmq.StartFrom.FIRST)
seen = 0
enough = asyncio.Event()


def count(messages: int) -> None:
    global seen
    seen += messages
    if LIMIT is not None and seen >= LIMIT:
        enough.set()


@consumer.listen("example_jobs", "urgent || normal")
async def handle(message: rmq.ReceivedMessage) -> rmq.Retry | None:
    print(message.tag, message.body.decode(), "try", message.reconsume_times + 1)
    if message.tag == "urgent" and message.reconsume_times == 0:
        return rmq.Retry(delay_level=1)  # again in 1 s; raising an exception lets the broker choose the delay
    count(1)
    return None  # consumed


@consumer.listen("example_bulk", batch=32)
async def handle_many(messages: list[rmq.ReceivedMessage]) -> None:
    print(len(messages), "at once")
    count(len(messages))


async def main() -> None:
    if LIMIT is None:
        await consumer.run()
        return
    async with consumer:
        await enough.wait()


asyncio.run(main())
