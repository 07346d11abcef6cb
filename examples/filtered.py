"""Let the broker filter: by tag, or by a SQL92 condition over properties (needs enablePropertyFilter=true on Apache brokers)."""

import asyncio
import os

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")


async def main() -> None:
    found: dict[str, list[str]] = {"tags": [], "all": []}
    done = asyncio.Event()
    by_tag = rmq.PushConsumer(NAME_SERVERS, group="filtered_by_tag", start_from=rmq.StartFrom.FIRST)
    everything = rmq.PushConsumer(NAME_SERVERS, group="filtered_by_nothing", start_from=rmq.StartFrom.FIRST)

    @by_tag.listen("example_filtered", "red || blue")
    async def tagged(message: rmq.ReceivedMessage) -> None:
        found["tags"].append(message.body.decode())
        look()

    @everything.listen("example_filtered")
    async def unfiltered(message: rmq.ReceivedMessage) -> None:
        found["all"].append(message.body.decode())
        look()

    def look() -> None:
        if len(found["tags"]) >= 2 and len(found["all"]) >= 3:
            done.set()

    async with rmq.Producer(NAME_SERVERS, group="filtered_producer") as producer:
        for tag in ("red", "green", "blue"):
            await producer.send(rmq.Message("example_filtered", tag.encode(), tag=tag))
        async with by_tag, everything:
            await asyncio.wait_for(done.wait(), 30)
    print("red || blue gave", sorted(found["tags"]))


asyncio.run(main())
