"""The same random lives of POP groups on the embedded server and on a real 5.5.0: both answer the same, line by line. And lives in which
the embedded broker is killed now and then."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

import aiorocketmq as rmq
from aiorocketmq.server import LocalCluster
from tests.support import raw_remoting
from tests.support.clusters import Cluster, EmbeddedTestCluster
from tests.support.pop_script import SHORT_MS, Line, Player, Wire, play, write_life
from tests.support.waiting import eventually_sync

UPDATE_BROKER_CONFIG = 25
LIVES = int(os.environ.get("AIOROCKETMQ_POP_LIVES", "12"))
SEED = int(os.environ.get("SEED", "0"))
PHASES = 2


def players_on(cluster: Cluster, wire: Wire, run: str, lives: dict[int, list[list[tuple[object, ...]]]]) -> dict[int, Player]:
    made = {}
    for seed, life in lives.items():
        player = made[seed] = Player(wire, cluster.broker_name, f"{run}_{seed}", f"g{run}_{seed}")
        raw_remoting.create_topic(cluster.broker_address, player.topic, queues=player.queues_of(life))
    return made


@pytest.mark.feature("H1", "H2", "H3", "H9")
async def test_a_real_broker_answers_the_same(newest_cluster: Cluster) -> None:
    lives = {seed: write_life(seed) for seed in range(SEED, SEED + LIVES)}
    run = newest_cluster.unique("life")
    ours = EmbeddedTestCluster(pop_retry_first=0)
    wire, real = Wire(ours.broker_address), Wire(newest_cluster.broker_address)
    try:
        # Which is first, a message or one that came back, is chance by default.
        raw_remoting.invoke(newest_cluster.broker_address, UPDATE_BROKER_CONFIG, body=b"popFromRetryProbability=0")
        mine, theirs = players_on(ours, wire, run, lives), players_on(newest_cluster, real, run, lives)
        expected: list[dict[int, list[Line]]] = []
        back: list[dict[int, int]] = []
        differences: dict[int, str] = {}
        for phase in range(PHASES):
            expected.append(await asyncio.to_thread(play, mine, lives, phase))
            await ours.advance(60.0)
            back.append({seed: await asyncio.to_thread(player.came_back) for seed, player in mine.items()})
        for phase in range(PHASES):
            seen = await asyncio.to_thread(play, theirs, lives, phase, expected[phase])
            for seed in lives:
                for command, line, told in zip(lives[seed][phase], expected[phase][seed], seen[seed], strict=True):
                    if line != told and not differences.get(seed):
                        differences[seed] = f"life {seed}, phase {phase}, {command}\n  {line}\n  {told}"
            await asyncio.sleep(SHORT_MS / 1000)  # what was taken for a short time in order is free after it
            for seed in theirs.keys() - differences.keys():
                player = theirs[seed]
                count = back[phase][seed]
                told = f"{count} messages of life {seed}, phase {phase}, came back"
                await asyncio.to_thread(eventually_sync, lambda p=player, n=count: p.came_back() == n, 60.0, message=told)
        assert not differences, "\n".join(differences.values())
    finally:
        raw_remoting.invoke(newest_cluster.broker_address, UPDATE_BROKER_CONFIG, body=b"popFromRetryProbability=20")
        for each in (wire, real):
            each.close()
        ours.stop()


@pytest.mark.feature("H1", "H2", "H3")
async def test_nothing_is_lost_or_comes_again_when_the_embedded_broker_is_killed(tmp_path: Path) -> None:
    count, rounds, kills, chance = 600, 0, 0, random.Random(SEED)
    done: set[bytes] = set()
    async with LocalCluster(data_dir=tmp_path) as cluster:
        await cluster.create_topic("killed", queues=3)
        async with rmq.Producer(cluster.name_servers, group="killed") as producer:
            for first in range(0, count, 30):
                await producer.send_batch([rmq.Message("killed", b"%d" % number) for number in range(first, first + 30)])
        consumer = rmq.PopConsumer(cluster.name_servers, group="killed", topics=["killed"], start_from=rmq.StartFrom.FIRST)
        async with asyncio.timeout(60.0), consumer:
            while len(done) < count:
                try:
                    messages = await consumer.receive(wait=0.5, invisible=5.0)
                    assert done.isdisjoint(message.body for message in messages), "acknowledged, and came again"
                    some = [message for message in messages if chance.random() < 0.7]
                    if some:
                        await consumer.ack(some)
                    done.update(message.body for message in some)
                except rmq.RocketMQError:
                    await asyncio.sleep(0.02)  # it is being started
                    continue
                rounds += 1
                if rounds % 4 == 0 and kills < 5:
                    kills += 1
                    await cluster.kill_broker("broker-a")
                    await cluster.start_broker("broker-a")
                if not messages:
                    await cluster.advance(6)
    assert kills == 5
