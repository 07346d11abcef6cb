"""Let the broker filter: by tag, or by a SQL92 condition over properties (needs enablePropertyFilter=true on Apache brokers)."""

import asyncio
import os

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")
TOPIC = "example_filtered"
DEAR = rmq.SQL("price > 10 AND colour IN ('red', 'green')")


async def main() -> None:
    found: dict[str, list[str]] = {"tags": [], "sql": []}
    done = asyncio.Event()
    by_tag = rmq.PushConsumer(NAME_SERVERS, group="filtered_by_tag", start_from=rmq.StartFrom.FIRST)
    by_price = rmq.PushConsumer(NAME_SERVERS, group="filtered_by_price", start_from=rmq.StartFrom.FIRST)

    @by_tag.listen(TOPIC, "red || blue")
    async def tagged(message: rmq.ReceivedMessage) -> None:
        found["tags"].append(message.body.decode())
        look()

    @by_price.listen(TOPIC, DEAR)  # a mistake in it is told by `start()`, in the broker's words
    async def dear(message: rmq.ReceivedMessage) -> None:
        found["sql"].append(message.body.decode())
        look()

    def look() -> None:
        if len(found["tags"]) >= 4 and len(found["sql"]) >= 2:
            done.set()

    async with rmq.Producer(NAME_SERVERS, group="filtered_producer") as producer:
        for colour in ("red", "green", "blue"):
            for price in ("5", "50"):
                properties = {"colour": colour, "price": price}
                await producer.send(rmq.Message(TOPIC, f"{colour} {price}".encode(), tag=colour, properties=properties))
                print(f"{colour} at {price}: {'dear' if DEAR.matches(properties) else 'not wanted'}")  # the same rules, tried here
        async with by_tag, by_price:
            await asyncio.wait_for(done.wait(), 30)
    print("red || blue gave", sorted(found["tags"]))
    print("the condition gave", sorted(found["sql"]))


asyncio.run(main())
