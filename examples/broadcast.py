"""Broadcasting: every member of the group gets every message. Offsets are kept in a local file of each member."""

import asyncio
import os
import tempfile

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")


async def main() -> None:
    got: dict[str, list[bytes]] = {"one": [], "two": []}
    all_there = asyncio.Event()

    def member(name: str, folder: str) -> rmq.PushConsumer:
        # Usually each member is a process of its own; two in one process need two instance names.
        consumer = rmq.PushConsumer(
            NAME_SERVERS,
            group="broadcast_workers",
            message_model=rmq.MessageModel.BROADCASTING,
            start_from=rmq.StartFrom.FIRST,
            instance_name=name,
            local_offset_store_dir=folder,
        )

        @consumer.listen("example_news")
        async def handle(message: rmq.ReceivedMessage) -> None:
            got[name].append(message.body)
            if all(len(bodies) >= 3 for bodies in got.values()):
                all_there.set()

        return consumer

    with tempfile.TemporaryDirectory() as folder:
        async with rmq.Producer(NAME_SERVERS, group="broadcast_producer") as producer:
            for number in range(3):
                await producer.send(rmq.Message("example_news", f"news {number}".encode()))
            async with member("one", folder), member("two", folder):
                await asyncio.wait_for(all_there.wait(), 30)
    print({name: len(bodies) for name, bodies in got.items()})


asyncio.run(main())
