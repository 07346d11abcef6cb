"""A producer is killed between half messages and their decisions: every transaction ends as its ledger says after a restart."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

import aiorocketmq as rmq
from aiorocketmq.server import LocalCluster
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


BUSY = """
import asyncio, json, random, sys
import aiorocketmq as rmq

async def check(message):
    await asyncio.sleep(3600)

async def main(name_servers, group, topic, ledger, name):
    async with rmq.TransactionProducer(name_servers, group=group, check=check, send_msg_timeout=20.0) as producer:
        with open(ledger, "a", buffering=1) as file:
            async def one(worker):
                for number in range(10000):
                    body = f"{name}.{worker}.{number}"
                    try:
                        async with producer.transaction(rmq.Message(topic, body.encode())):
                            await asyncio.sleep(random.uniform(0, 0.2))
                            done = random.random() < 0.7
                            file.write(json.dumps([body, done]) + "\\n")
                            if not done:
                                raise LookupError
                    except LookupError:
                        pass
                    print(body, flush=True)
            await asyncio.gather(*[one(worker) for worker in range(8)])

asyncio.run(main(*sys.argv[1:]))
"""
PROCESSES = 20
STARTED_TOGETHER = 5
KILLS = int(os.environ.get("AIOROCKETMQ_KILLS", "3"))
"""How often a real broker is killed, which takes some ten seconds each time; the embedded one is killed twenty times at least."""


@pytest.mark.feature("C3", "C4")
@pytest.mark.timeout(300)
async def test_twenty_producers_killed_at_any_step_lose_nothing_and_commit_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    """Half messages under way, local transactions that run, decisions on their way: ledgers say what is to come, and nothing else comes."""
    topic, group = await new_topic(cluster, "steps", 4), cluster.unique("pay")
    ledgers = [tmp_path / f"ledger-{number}" for number in range(PROCESSES)]
    seen: set[str] = set()

    def run(number: int) -> None:
        arguments = [cluster.name_servers, group, topic, str(ledgers[number]), str(number)]
        doomed = subprocess.Popen([sys.executable, "-c", BUSY, *arguments], stdout=subprocess.PIPE, text=True)
        try:
            assert doomed.stdout is not None
            for _ in range(5 + number):
                seen.add(doomed.stdout.readline().strip())
        finally:
            doomed.kill()
            doomed.wait()
            if doomed.stdout is not None:
                doomed.stdout.close()

    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic)(inbox.take)
    for first in range(0, PROCESSES, STARTED_TOGETHER):
        await asyncio.gather(*[asyncio.to_thread(run, number) for number in range(first, first + STARTED_TOGETHER)])
    done = {body: state for ledger in ledgers for body, state in map(json.loads, ledger.read_text().splitlines())}
    assert seen <= done.keys() and len(done) > PROCESSES

    async def check(message: rmq.ReceivedMessage) -> rmq.TransactionState:
        return COMMIT if done.get(message.body.decode()) else ROLLBACK

    committed = {body.encode() for body, state in done.items() if state}
    async with cluster.transaction_producer(check, group=group), consumer:
        await eventually(lambda: set(inbox.bodies) >= committed, 90)
    assert set(inbox.bodies) == committed, "rolled back, or never decided, and delivered all the same"
    assert cluster.is_real or max(inbox.counts.values()) == 1


@pytest.mark.feature("C3", "C4")
@pytest.mark.timeout(300 + 30 * KILLS)
async def test_transactions_survive_a_broker_that_is_killed_at_every_step(cluster: Cluster) -> None:
    """Killed after the half message, and after the decision: committed messages come, those that were rolled back do not."""
    topic = await new_topic(cluster, "broker", 1)
    expected: set[bytes] = set()

    async def check(message: rmq.ReceivedMessage) -> rmq.TransactionState:
        return COMMIT if message.body.startswith(b"open") else ROLLBACK

    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic)(inbox.take)
    states = {b"commit": COMMIT, b"rollback": ROLLBACK, b"open": UNKNOWN}

    def decide(message: rmq.HalfMessage, arg: object) -> rmq.TransactionState:
        return states[message.body.split()[0]]

    # The test's brokers give a half message up after 15 checks, one a second, whether or not a producer is there to be asked.
    async with cluster.transaction_producer(check, heartbeat_broker_interval=1.0) as producer:
        for round_number in range(KILLS if cluster.is_real else max(KILLS, 20)):
            for kind in states:
                await producer.send_in_transaction(rmq.Message(topic, b"%s %d" % (kind, round_number)), decide)
            async with producer.transaction(rmq.Message(topic, b"under way %d" % round_number)):
                await cluster.kill_broker()
                await cluster.start_broker()
            expected |= {b"%s %d" % (kind, round_number) for kind in (b"commit", b"open", b"under way")}
        async with consumer:
            await eventually(lambda: set(inbox.bodies) >= expected, 90)
    assert set(inbox.bodies) == expected


@pytest.mark.feature("C4", "C7")
@pytest.mark.parametrize("flush", ["async", "sync"])
async def test_checks_and_decisions_that_cross_end_each_transaction_once(tmp_path: Path, flush: Literal["async", "sync"]) -> None:
    """The clock of the embedded server is ahead: it asks about every half message at once, while its decision is on its way."""
    states = (COMMIT, ROLLBACK, UNKNOWN)

    async def check(message: rmq.ReceivedMessage) -> rmq.TransactionState:
        return COMMIT if message.body.startswith(b"open") else ROLLBACK

    async def decide(message: rmq.HalfMessage, arg: object) -> rmq.TransactionState:
        await asyncio.sleep(random.uniform(0.0, 0.01))
        return states[int(message.body.split()[1]) % 3]

    async with LocalCluster(data_dir=tmp_path, flush=flush) as cluster:
        await cluster.create_topic("orders", queues=1)
        await cluster.advance(60)
        inbox = Inbox()
        consumer = rmq.PushConsumer(cluster.name_servers, group="readers", start_from=rmq.StartFrom.FIRST)
        consumer.listen("orders")(inbox.take)
        names = {COMMIT: "commit", ROLLBACK: "rollback", UNKNOWN: "open"}
        bodies = [f"{names[states[number % 3]]} {number}".encode() for number in range(150)]
        async with rmq.TransactionProducer(cluster.name_servers, group="pay", check=check) as producer, consumer:
            for first in range(0, len(bodies), 10):
                batch = bodies[first : first + 10]
                await asyncio.gather(*[producer.send_in_transaction(rmq.Message("orders", body), decide) for body in batch])
            await cluster.advance(31)  # those that were under way when they were asked for are asked for again
            expected = {body for body in bodies if not body.startswith(b"rollback")}
            await eventually(lambda: set(inbox.bodies) >= expected, 30)
            await producer.send(rmq.Message("orders", b"last"))
            await eventually(lambda: b"last" in inbox.counts, 30)
        assert inbox.counts == dict.fromkeys([*expected, b"last"], 1)
