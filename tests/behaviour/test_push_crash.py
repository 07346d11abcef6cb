"""A member that dies without a word: the others take its queues over, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys

import pytest

import aiorocketmq as rmq
from tests.support.clusters import Cluster
from tests.support.push import Inbox, new_topic, numbered, owns, send
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST

DOOMED = """
import asyncio, sys
import aiorocketmq as rmq

async def main(name_servers, group, topic):
    consumer = rmq.PushConsumer(name_servers, group=group, start_from=rmq.StartFrom.FIRST)

    @consumer.listen(topic)
    async def handle(message):
        print(message.body.decode(), flush=True)
        if int(message.body) >= 10:
            await asyncio.sleep(3600)

    async with consumer:
        await asyncio.sleep(3600)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.feature("F4", "G1", "F31")
async def test_messages_of_a_killed_member_come_again_to_the_others(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "killed", 2), cluster.unique("g")
    inbox = Inbox()
    survivor = rmq.PushConsumer(cluster.name_servers, group=group, start_from=FIRST)

    @survivor.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)

    doomed = subprocess.Popen([sys.executable, "-c", DOOMED, cluster.name_servers, group, topic], stdout=subprocess.PIPE)
    try:
        async with cluster.producer() as producer:
            await send(producer, topic, numbered(30))
            assert doomed.stdout is not None
            begun = [int(doomed.stdout.readline()) for _ in range(25)]  # 20 of them hang in their listeners
            async with survivor:
                await owns(survivor, topic, 1)
                doomed.kill()
                await owns(survivor, topic, 2)
                await eventually(lambda: len(set(inbox.bodies)) >= 20)
    finally:
        doomed.kill()
        doomed.wait()
        if doomed.stdout is not None:
            doomed.stdout.close()
    got = {int(body) for body in inbox.bodies}
    assert got | set(begun) == set(range(30)), "nothing is lost"
    assert set(range(10, 30)) <= got, "what hung in a listener comes again"
    assert max(inbox.counts.values()) == 1
