"""Administration: create a topic, look at its queues, and see how far a group has come."""

import asyncio
import os

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")


async def main() -> None:
    async with rmq.AdminClient(NAME_SERVERS) as admin, rmq.Producer(NAME_SERVERS, group="admin_example") as producer:
        for broker in await admin.clusters.brokers():
            print("broker", broker.name, "of", broker.cluster, "at", broker.master)
        await admin.topics.create("example_admin", queues=2, exist_ok=True)
        for number in range(10):
            sent = await producer.send(rmq.Message("example_admin", str(number).encode()))
        stats = await admin.topics.stats("example_admin")
        for queue, state in stats.queues.items():
            read = await admin.messages.read(queue, state.min_offset)
            print(queue, state.messages, "messages:", [message.body for message in read.messages])
        assert stats.messages >= 10
        assert sent.offset_message_id is not None
        print("the last one:", (await admin.messages.view("example_admin", sent.offset_message_id)).body)


asyncio.run(main())
