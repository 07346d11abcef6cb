"""A producer is killed between half messages and their decisions: every transaction ends as its ledger says after a restart."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import aiorocketmq as rmq
from tests.support.clusters import Cluster
from tests.support.push import Inbox, new_topic
from tests.support.waiting import eventually

COMMIT, ROLLBACK, UNKNOWN = rmq.TransactionState.COMMIT, rmq.TransactionState.ROLLBACK, rmq.TransactionState.UNKNOWN
COUNT = 30

DOOMED = """
import asyncio, json, sys
import aiorocketmq as rmq

async def check(message):
    await asyncio.sleep(3600)

async def main(name_servers, group, topic, ledger, count):
    async with rmq.TransactionProducer(name_servers, group=group, check=check, send_msg_timeout=20.0) as producer:
        with open(ledger, "a", buffering=1) as file:
            async def one(number):
                async with producer.transaction(rmq.Message(topic, b"%d" % number)) as tx:
                    if number % 3:  # the others die before their local transaction
                        file.write(json.dumps([tx.transaction_id, number % 3 == 1]) + "\\n")
                    print(number, flush=True)
                    await asyncio.sleep(3600)
            await asyncio.gather(*[one(number) for number in range(int(count))])

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.feature("C3", "C4")
async def test_transactions_of_a_killed_producer_end_as_its_ledger_says(cluster: Cluster, tmp_path: Path) -> None:
    topic, group = await new_topic(cluster, "killed", 4), cluster.unique("pay")
    ledger = tmp_path / "ledger"
    arguments = [cluster.name_servers, group, topic, str(ledger), str(COUNT)]
    doomed = subprocess.Popen([sys.executable, "-c", DOOMED, *arguments], stdout=subprocess.PIPE)
    try:
        assert doomed.stdout is not None
        assert {int(doomed.stdout.readline()) for _ in range(COUNT)} == set(range(COUNT))
    finally:
        doomed.kill()
        doomed.wait()
        if doomed.stdout is not None:
            doomed.stdout.close()
    entries = dict(json.loads(line) for line in ledger.read_text().splitlines())
    asked: set[bytes] = set()

    async def check(message: rmq.ReceivedMessage) -> rmq.TransactionState:
        asked.add(message.body)
        return COMMIT if entries.get(message.transaction_id or "") else ROLLBACK

    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic)(inbox.take)
    async with cluster.transaction_producer(check, group=group), consumer:
        await eventually(lambda: len(asked) == COUNT, 60)
        committed = {b"%d" % number for number in range(1, COUNT, 3)}
        await eventually(lambda: set(inbox.bodies) == committed)
        # A real broker that asks again while an answer is on its way has two half messages, and delivers both.
        assert cluster.is_real or inbox.counts == dict.fromkeys(committed, 1)


@pytest.mark.feature("C3", "C4")
async def test_transactions_survive_a_broker_that_is_killed_at_every_step(cluster: Cluster) -> None:
    """Killed after the half message, and after the decision: committed messages come, those that were rolled back do not."""
    topic = await new_topic(cluster, "broker", 1)
    states = {b"commit": COMMIT, b"rollback": ROLLBACK, b"open": UNKNOWN, b"under way": COMMIT}

    async def check(message: rmq.ReceivedMessage) -> rmq.TransactionState:
        return COMMIT if message.body == b"open" else ROLLBACK

    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic)(inbox.take)
    async with cluster.transaction_producer(check) as producer:
        for body in (b"commit", b"rollback", b"open"):
            await producer.send_in_transaction(rmq.Message(topic, body), lambda message, arg: states[message.body])
        async with producer.transaction(rmq.Message(topic, b"under way")):
            await cluster.kill_broker()
            await cluster.start_broker()
        async with consumer:
            await eventually(lambda: set(inbox.bodies) == {b"commit", b"open", b"under way"}, 60)
    assert b"rollback" not in inbox.counts
