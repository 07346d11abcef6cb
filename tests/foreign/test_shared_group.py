"""Java and Python consumers in one group on a real cluster: no message lost, no queue owned twice."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

import aiorocketmq as rmq
from tests.support.clusters import Cluster, RealTestCluster
from tests.support.line_program import LineProgram
from tests.support.waiting import eventually

QUEUES = 8


@dataclass(frozen=True)
class Delivery:
    """One message at one member."""

    at: float
    member: str
    number: int
    queue_id: int
    queue_offset: int


@dataclass
class PythonMember:
    """Our consumer, with what it owns and what it got."""

    consumer: rmq.PushConsumer
    queues: set[int] = field(default_factory=set)
    deliveries: list[Delivery] = field(default_factory=list)


def python_member(cluster: Cluster, group: str, topic: str, *, ordered: bool = False) -> PythonMember:
    """A consumer that is not started yet."""

    def assigned(of_topic: str, every: frozenset[rmq.MessageQueue], mine: frozenset[rmq.MessageQueue]) -> None:
        if of_topic == topic:
            member.queues = {queue.queue_id for queue in mine}

    consumer = rmq.PushConsumer(
        cluster.name_servers, group=group, ordered=ordered, start_from=rmq.StartFrom.FIRST, message_queue_listener=assigned
    )
    member = PythonMember(consumer)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        member.deliveries.append(Delivery(time.time(), "python", int(message.body), message.queue.queue_id, message.queue_offset))

    return member


class JavaMember:
    """The Java consumer, likewise."""

    def __init__(self, peer: LineProgram, name: str, topic: str) -> None:
        self._peer = peer
        self._name = name
        self._topic = topic
        self.deliveries: list[Delivery] = []

    async def start(self, cluster: Cluster, group: str, *, ordered: bool = False) -> None:
        where: dict[str, Any] = {"group": group, "name_servers": cluster.name_servers, "topic": self._topic}
        await self._peer.call("consumer", id=self._name, expression="*", ordered=ordered, **where)

    async def queues(self) -> set[int]:
        return set((await self._peer.call("assignment", id=self._name, topic=self._topic))["queues"])

    async def collect(self) -> list[Delivery]:
        return self._noted(await self._peer.call("received", id=self._name))

    async def stop(self) -> None:
        self._noted(await self._peer.call("stop", id=self._name))

    def _noted(self, told: dict[str, Any]) -> list[Delivery]:
        for each in told["messages"]:
            number = int(base64.b64decode(each["body"]))
            self.deliveries.append(Delivery(each["at"] / 1000, "java", number, each["queue_id"], each["queue_offset"]))
        return self.deliveries


async def shared(python: PythonMember, java: JavaMember) -> bool:
    """Every queue has one owner, and both members have some."""
    theirs, ours = await java.queues(), python.queues
    return len(ours) == len(theirs) == QUEUES // 2 and ours | theirs == set(range(QUEUES))


class Traffic:
    """Numbers sent by our producer in the background until it is stopped."""

    def __init__(self, producer: rmq.Producer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._running = True
        self._task = asyncio.create_task(self._run())
        self.sent: set[int] = set()

    async def _run(self) -> None:
        number = 0
        while self._running:
            await self._producer.send(rmq.Message(self._topic, str(number).encode()))
            self.sent.add(number)
            number += 1
            await asyncio.sleep(0.005)

    async def stop(self) -> set[int]:
        self._running = False
        await self._task
        return self.sent


@pytest.mark.feature("F1", "F4", "G1", "G2", "G3", "N2")
@pytest.mark.timeout(240)
async def test_shared_queues_and_exactly_once_while_members_stay(newest_cluster: RealTestCluster, peer: LineProgram) -> None:
    topic = await newest_cluster.create_topic(newest_cluster.unique("mixed"), queues=QUEUES)
    group = newest_cluster.unique("mixed")
    python, java = python_member(newest_cluster, group, topic), JavaMember(peer, "c", topic)
    await java.start(newest_cluster, group)
    await peer.call("producer", id="p", group=newest_cluster.unique("jp"), name_servers=newest_cluster.name_servers)
    async with python.consumer, newest_cluster.producer() as producer:
        await eventually(lambda: shared(python, java), 60.0, interval=0.2)
        ours = set(python.queues)
        await peer.call("send_numbers", id="p", topic=topic, **{"from": 0, "count": 1000})
        await asyncio.gather(*(producer.send(rmq.Message(topic, str(number).encode())) for number in range(1000, 2000)))

        async def complete() -> bool:
            return len(await java.collect()) + len(python.deliveries) >= 2000

        await eventually(complete, 60.0, interval=0.1)
        assert await shared(python, java)
    deliveries = python.deliveries + await java.collect()
    assert Counter(each.number for each in deliveries) == Counter(range(2000))
    assert {each.queue_id for each in python.deliveries} == ours
    assert {each.queue_id for each in java.deliveries} == set(range(QUEUES)) - ours


@pytest.mark.feature("G1", "G2", "K12", "F44")
@pytest.mark.timeout(240)
async def test_nothing_is_lost_while_members_come_and_go(newest_cluster: RealTestCluster, peer: LineProgram) -> None:
    topic = await newest_cluster.create_topic(newest_cluster.unique("moving"), queues=QUEUES)
    group = newest_cluster.unique("moving")
    java = JavaMember(peer, "c1", topic)
    first = python_member(newest_cluster, group, topic)
    async with newest_cluster.producer() as producer:
        await java.start(newest_cluster, group)
        traffic = Traffic(producer, topic)
        async with first.consumer:
            await eventually(lambda: shared(first, java), 60.0, interval=0.2)
        second = python_member(newest_cluster, group, topic)
        async with second.consumer:
            await eventually(lambda: shared(second, java), 60.0, interval=0.2)
            await java.stop()
            await eventually(lambda: second.queues == set(range(QUEUES)), 60.0)
            again = JavaMember(peer, "c2", topic)
            await again.start(newest_cluster, group)
            await eventually(lambda: shared(second, again), 60.0, interval=0.2)
            sent = await traffic.stop()
            members = (first, second, java, again)

            async def complete() -> bool:
                await again.collect()
                return {each.number for member in members for each in member.deliveries} == sent

            await eventually(complete, 60.0, interval=0.1)


@pytest.mark.feature("F2", "F30", "G10")
@pytest.mark.timeout(300)
async def test_ordered_members_never_own_a_queue_at_the_same_time(newest_cluster: RealTestCluster, peer: LineProgram) -> None:
    topic = await newest_cluster.create_topic(newest_cluster.unique("locked"), queues=QUEUES)
    group = newest_cluster.unique("locked")
    java = JavaMember(peer, "c", topic)
    python = python_member(newest_cluster, group, topic, ordered=True)
    async with newest_cluster.producer() as producer:
        await java.start(newest_cluster, group, ordered=True)
        traffic = Traffic(producer, topic)
        await eventually(java.collect, 60.0, interval=0.2)
        async with python.consumer:
            await eventually(lambda: shared(python, java), 90.0, interval=0.2)
            await eventually(lambda: {each.queue_id for each in python.deliveries} == python.queues, 60.0)
            await java.stop()
            await eventually(lambda: {each.queue_id for each in python.deliveries} == set(range(QUEUES)), 90.0)
            sent = await traffic.stop()
            deliveries = python.deliveries
            await eventually(lambda: {each.number for each in deliveries + java.deliveries} == sent, 60.0)
    assert inversions(deliveries + java.deliveries) == []


def inversions(deliveries: list[Delivery]) -> list[tuple[Delivery, Delivery]]:
    """Neighbours in time of one queue whose first deliveries are in the wrong order: with two owners at once there would be some."""
    wrong = []
    for queue in range(QUEUES):
        seen: set[int] = set()
        firsts = []
        for each in sorted((each for each in deliveries if each.queue_id == queue), key=lambda each: (each.at, each.queue_offset)):
            if each.queue_offset not in seen:
                seen.add(each.queue_offset)
                firsts.append(each)
        wrong += [(before, after) for before, after in itertools.pairwise(firsts) if after.queue_offset < before.queue_offset]
    return wrong


def test_the_check_for_two_owners_bites() -> None:
    def at(moment: float, member: str, offset: int) -> Delivery:
        return Delivery(moment, member, offset, 0, offset)

    in_turn = [at(1, "java", 0), at(2, "java", 1), at(3, "python", 1), at(4, "python", 2)]
    at_once = [at(1, "java", 0), at(2, "python", 1), at(3, "python", 3), at(4, "java", 2)]
    assert inversions(in_turn) == []
    assert inversions(at_once) == [(at_once[2], at_once[3])]
