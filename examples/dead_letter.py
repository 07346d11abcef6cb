"""A message that fails too often ends in the dead-letter topic of its group; an admin client finds it there, and it is sent once more."""

import asyncio
import os

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")
GROUP = "dead_letter_workers"


async def dead_letters(admin: rmq.AdminClient) -> list[rmq.ReceivedMessage]:
    try:
        stats = await admin.topics.stats(f"%DLQ%{GROUP}")
    except rmq.TopicNotFoundError:
        return []  # it comes to life with its first message
    found: list[rmq.ReceivedMessage] = []
    for queue, state in stats.queues.items():
        found += (await admin.messages.read(queue, state.min_offset)).messages
    return found


async def main() -> None:
    # The retry topic of a new group is found with a route refresh; the default of 30 s is long for an example.
    config = rmq.ClientConfig(name_servers=NAME_SERVERS, poll_name_server_interval=1.0)
    consumer = rmq.PushConsumer(config=config, group=GROUP, max_reconsume_times=1, start_from=rmq.StartFrom.FIRST)
    repaired = asyncio.Event()

    @consumer.listen("example_poison")
    async def handle(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        if message.tag == "repaired":
            print("consumed", message.body)
            repaired.set()
            return None
        print("try", message.reconsume_times + 1, "fails")
        return rmq.Retry(delay_level=1)

    async with rmq.Producer(config=config, group="dead_letter_producer") as producer, rmq.AdminClient(config=config) as admin, consumer:
        await producer.send(rmq.Message("example_poison", b"poison"))
        async with asyncio.timeout(60):
            while not (dead := await dead_letters(admin)):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            for message in dead:
                print("dead after", message.reconsume_times, "tries in", message.origin_topic)
                await producer.send(message.to_message(tag="repaired"))
            await repaired.wait()


asyncio.run(main())
