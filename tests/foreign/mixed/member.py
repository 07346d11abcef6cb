"""What `Member.java` is, with our push consumer: the same arguments, the same lines."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import aiorocketmq as rmq


async def run(name_servers: str, group: str, topic: str, kind: str, works: int, file: int) -> None:
    """One consumer of a group, until SIGTERM."""

    def note(what: str) -> None:
        os.write(file, f"{time.time_ns() // 1_000_000} {what}\n".encode())

    def assigned(of_topic: str, every: frozenset[rmq.MessageQueue], mine: frozenset[rmq.MessageQueue]) -> None:
        if of_topic == topic:
            note(" ".join(["own", *(str(queue.queue_id) for queue in sorted(mine))]))

    consumer = rmq.PushConsumer(
        name_servers,
        group=group,
        ordered=kind == "ordered",
        start_from=rmq.StartFrom.FIRST,
        client_rebalance=kind != "pop",
        pop_invisible_time=10.0,
        await_termination_when_shutdown=5.0,
        message_queue_listener=assigned,
    )

    @consumer.listen(topic)
    async def consume(message: rmq.ReceivedMessage) -> None:
        what = f"{message.body.decode()} {message.queue.queue_id} {message.queue_offset} {message.reconsume_times}"
        note(f"got {what}")
        await asyncio.sleep(works / 1000)
        note(f"did {what}")

    note("start")
    await consumer.run()
    note("end")


if __name__ == "__main__":
    *names, milliseconds, path = sys.argv[1:]
    servers, group_name, topic_name, kind_name = names
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    asyncio.run(run(servers, group_name, topic_name, kind_name, int(milliseconds), log))
