"""Know how clients are: a look at any time, and a function that is told of changes. A listener that hangs is found here."""

import asyncio
import os

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")
TOPIC = "example_health"


async def main() -> None:
    stuck, moving, hang = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def on_state_change(change: rmq.StateChange) -> None:  # a def works as well, on a thread of its own
        print("told:", change.text)
        if change.kind is rmq.StateChangeKind.QUEUES_STUCK:
            stuck.set()
        elif change.kind is rmq.StateChangeKind.QUEUES_MOVING:
            moving.set()

    consumer = rmq.PushConsumer(
        NAME_SERVERS, group="health_consumer", start_from=rmq.StartFrom.FIRST, stuck_after=1, on_state_change=on_state_change
    )  # fmt: skip

    @consumer.listen(TOPIC)
    async def handle(message: rmq.ReceivedMessage) -> None:
        await hang.wait()

    async with rmq.Producer(NAME_SERVERS, group="health_producer") as producer, consumer:
        await producer.send(rmq.Message(TOPIC, b"one"))
        print("seen:", producer.health())
        await asyncio.wait_for(stuck.wait(), 30)
        health = consumer.health()
        print("seen:", health)
        for queue in health.queues:
            if queue.stuck:
                print("seen:", queue.queue, "at", queue.position, "lag", queue.lag)
        hang.set()
        await asyncio.wait_for(moving.wait(), 30)
        print("seen:", consumer.health())
    print("seen:", consumer.health())


asyncio.run(main())
