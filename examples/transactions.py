"""A message that is delivered exactly when a row of a database was written, whoever dies in between."""

import asyncio
import os
import sqlite3

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")
COMMIT, ROLLBACK = rmq.TransactionState.COMMIT, rmq.TransactionState.ROLLBACK

database = sqlite3.connect(":memory:", isolation_level=None)
database.execute("CREATE TABLE payments (transaction_id TEXT PRIMARY KEY, amount INTEGER CHECK (amount > 0))")


async def check(message: rmq.ReceivedMessage) -> rmq.TransactionState:
    """The broker asks: this process, or another one of the group, was not heard of for a while."""
    row = database.execute("SELECT 1 FROM payments WHERE transaction_id = ?", (message.transaction_id,)).fetchone()
    return COMMIT if row else ROLLBACK


async def pay(producer: rmq.TransactionProducer, amount: int) -> None:
    async with producer.transaction(rmq.Message("example_paid", str(amount).encode())) as tx:
        database.execute("INSERT INTO payments VALUES (?, ?)", (tx.transaction_id, amount))
        tx.decide(COMMIT)  # the row is there: whatever happens now, the message has to come


async def main() -> None:
    done = asyncio.Event()
    consumer = rmq.PushConsumer(NAME_SERVERS, group="example_ledger", start_from=rmq.StartFrom.FIRST)

    @consumer.listen("example_paid")
    async def handle(message: rmq.ReceivedMessage) -> None:
        print("paid", message.body.decode())
        if message.body == b"25":
            done.set()

    async with rmq.TransactionProducer(NAME_SERVERS, group="example_pay", check=check) as producer, consumer:
        await pay(producer, 17)
        try:
            await pay(producer, -1)
        except sqlite3.IntegrityError as error:
            print("rolled back:", error)
        result = await producer.send_in_transaction(rmq.Message("example_paid", b"25"), book, 25)  # the same in Java's way
        print("ended as", result.state.name)
        await asyncio.wait_for(done.wait(), 60)


async def book(message: rmq.HalfMessage, amount: int) -> rmq.TransactionState:
    database.execute("INSERT INTO payments VALUES (?, ?)", (message.transaction_id, amount))
    return COMMIT


asyncio.run(main())
