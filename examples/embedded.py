"""The embedded server inside a program, for tests and demonstrations: no Java, no Docker, no port to choose."""

import asyncio

import aiorocketmq as rmq
from aiorocketmq.server import LocalCluster


async def main() -> None:
    async with LocalCluster() as cluster, rmq.Producer(cluster.name_servers, group="embedded") as producer:
        result = await producer.send(rmq.Message("anything", b"topics are created by the first send"))
        print(cluster.name_servers, result.status.name)


asyncio.run(main())
