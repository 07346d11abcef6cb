"""Pull by pull: the offsets are kept in the database that holds the results, so that each message counts exactly once."""

import asyncio
import os
import sqlite3

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")
TOPIC = "example_takings"

database = sqlite3.connect(":memory:")
database.execute("CREATE TABLE takings (amount INTEGER)")
database.execute("CREATE TABLE offsets (queue TEXT PRIMARY KEY, next INTEGER)")


def next_offset(queue: rmq.MessageQueue) -> int:
    row = database.execute("SELECT next FROM offsets WHERE queue = ?", (str(queue),)).fetchone()
    return row[0] if row else 0


async def main() -> None:
    async with rmq.Producer(NAME_SERVERS, group="tills") as producer:
        for amount in range(10):
            await producer.send(rmq.Message(TOPIC, str(amount).encode()))

    done = asyncio.Event()

    async def work(queue: rmq.MessageQueue) -> float | None:
        result = await consumer.pull(queue, next_offset(queue), max_messages=4)
        with database:  # the results and the offset, or neither
            database.executemany("INSERT INTO takings VALUES (?)", [(int(message.body),) for message in result])
            database.execute("INSERT OR REPLACE INTO offsets VALUES (?, ?)", (str(queue), result.next_offset))
        await consumer.commit({queue: result.next_offset})  # for those who look at the lag of the group
        if database.execute("SELECT count(*) FROM takings").fetchone()[0] == 10:
            done.set()
        return 0 if result else 0.2  # at once while there is more

    async with rmq.PullConsumer(NAME_SERVERS, group="book-keepers") as consumer:
        await consumer.schedule(TOPIC, work)
        await done.wait()
        print("queues of this member:", len(consumer.assigned))
        print("taken:", database.execute("SELECT sum(amount) FROM takings").fetchone()[0])


asyncio.run(main())
