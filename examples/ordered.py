"""Order by key: messages with the same sharding key go to one queue, and an ordered consumer takes each queue in turn."""

import asyncio
import os
from collections import defaultdict

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")
STEPS = ["created", "paid", "packed", "shipped"]
ORDERS = ["order-1", "order-2", "order-3"]


async def main() -> None:
    history: dict[str, list[str]] = defaultdict(list)
    done = asyncio.Event()
    consumer = rmq.PushConsumer(NAME_SERVERS, group="ordered_workers", ordered=True, start_from=rmq.StartFrom.FIRST)

    @consumer.listen("example_steps")
    async def handle(message: rmq.ReceivedMessage) -> None:
        order, step = message.body.decode().split(":")
        history[order].append(step)
        if sum(map(len, history.values())) >= len(ORDERS) * len(STEPS):
            done.set()

    async with rmq.Producer(NAME_SERVERS, group="ordered_producer") as producer:
        for step in STEPS:
            for order in ORDERS:
                await producer.send(rmq.Message("example_steps", f"{order}:{step}".encode()), sharding_key=order)
        async with consumer:
            await asyncio.wait_for(done.wait(), 30)
    for order in ORDERS:
        print(order, "→", " ".join(history[order]))
        assert history[order] == STEPS


asyncio.run(main())
