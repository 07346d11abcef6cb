"""Groups of Java and Python members that join, leave and are killed under load: nothing lost, no queue owned twice, order kept.

By default a small share on 5.5.0; `AIOROCKETMQ_JOINS=100` plays more, `AIOROCKETMQ_CLUSTERS=all` on 4.9.7 (with the client of that
release) and the embedded server, too, `SEED=7` another sequence.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import aiorocketmq as rmq
from aiorocketmq.model.enums import MessageRequestMode
from tests.behaviour.test_push_pop import switch
from tests.foreign.mixed.crowd import Call, Crowd, backwards, together
from tests.support import java
from tests.support.clusters import KINDS, Cluster
from tests.support.waiting import eventually

SMALL = 4
JOINS = int(os.environ.get("AIOROCKETMQ_JOINS", SMALL))
SEED = int(os.environ.get("SEED", "94"))
CLUSTERS = KINDS if os.environ.get("AIOROCKETMQ_CLUSTERS") == "all" else [java.NEWEST]

QUEUES = 8
KEYS = 24
SETTLED = 90.0
"""Seconds in which a group has shared out its queues, the locks of killed members included; this bounds a hang."""
BETWEEN = 10
"""Steps between two moments at which the group is looked at in peace."""

on_clusters = pytest.mark.parametrize("session_cluster", CLUSTERS, indirect=True)


class Traffic:
    """Numbers sent one after the other, each with the key that it has modulo `KEYS`; all of a key go to one queue."""

    def __init__(self, producer: rmq.Producer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self.sent = 0

    async def send(self) -> None:
        await self._producer.send(rmq.Message(self._topic, str(self.sent).encode()), sharding_key=f"key-{self.sent % KEYS}")
        self.sent += 1

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Some 150 a second. None is given up half sent: its number would be sent again."""
        flows = True

        async def flow() -> None:
            while flows:
                await self.send()
                await asyncio.sleep(0.005)

        async with asyncio.TaskGroup() as group:
            group.create_task(flow())
            try:
                yield
            finally:
                flows = False


async def in_peace(crowd: Crowd, traffic: Traffic, *, owners: bool) -> None:
    """The queues are shared out; what is sent then comes once, and to the owner of its queue."""
    if owners:
        await eventually(lambda: crowd.owned_once(QUEUES), SETTLED, interval=0.1, message="every queue has one owner")
    # What members that went left half done has come to others.
    await eventually(lambda: not missing(crowd, traffic.sent), SETTLED, interval=0.1, message="no message is under way")
    owner = {queue: member.name for member in crowd.alive for queue in member.queues}
    first = traffic.sent
    for _ in range(2 * KEYS):
        await traffic.send()
    fresh = range(first, traffic.sent)
    await eventually(lambda: not missing(crowd, traffic.sent), SETTLED, interval=0.1)
    came = [call for call in crowd.calls() if call.number in fresh]
    assert Counter(call.number for call in came) == Counter(fresh)
    if owners and crowd.owned_once(QUEUES) and owner == {queue: member.name for member in crowd.alive for queue in member.queues}:
        assert {(call.queue, call.member) for call in came} <= set(owner.items())


def missing(crowd: Crowd, sent: int) -> set[int]:
    """Numbers that no call has ended for."""
    crowd.look()
    return set(range(sent)) - {call.number for call in crowd.calls() if call.end is not None}


async def play(cluster: Cluster, kind: str, folder: Path) -> tuple[Crowd, int]:
    """Steps under load until all is consumed and all members are gone; answers how many messages were sent."""
    topic = await cluster.create_topic(cluster.unique(f"mixed_{kind}"), queues=QUEUES)
    group = cluster.unique(f"mixed_{kind}")
    if kind == "pop":
        await switch(cluster, topic, group, MessageRequestMode.POP)
    # The locks of an ordered member that was killed live for a minute.
    crowd = Crowd(cluster, group, topic, kind, folder, SEED, kills=kind != "ordered" or JOINS > SMALL)
    async with cluster.producer() as producer, cluster.admin() as admin:
        traffic = Traffic(producer, topic)
        try:
            for language in ("java", "python", "java", "python"):
                crowd.join(language)
            await eventually(lambda: all_started(crowd), 60.0)
            for begin in range(0, JOINS, BETWEEN):
                async with traffic.flowing():
                    for _ in range(min(BETWEEN, JOINS - begin)):
                        await crowd.step()
                        await more_consumed(crowd, 50)
                await in_peace(crowd, traffic, owners=kind != "pop")
            await crowd.end_all("leave")
            progress = await admin.groups.lag(group, topic=topic)
            if kind != "pop":
                assert progress.lag == 0, "members that leave commit what they have consumed"
        finally:
            await crowd.end_all("kill")
    return crowd, traffic.sent


def all_started(crowd: Crowd) -> bool:
    crowd.look()
    return all(member.started for member in crowd.alive)


def consumed(crowd: Crowd) -> int:
    crowd.look()
    return len({call.number for call in crowd.calls()})


async def more_consumed(crowd: Crowd, count: int) -> None:
    """By whom does not matter."""
    goal = consumed(crowd) + count
    await eventually(lambda: consumed(crowd) >= goal, SETTLED, interval=0.1)


def tell(crowd: Crowd, sent: int) -> None:
    """What a long run is made for."""
    again = sum(1 for _ in crowd.calls()) - len({call.number for call in crowd.calls()})
    shares = Counter(call.member.split("-")[0] for call in crowd.calls())
    print(f"\n{sent} messages, {again} calls more than once, {dict(shares)}, {dict(crowd.steps)}")


@on_clusters
@pytest.mark.feature("F1", "G1", "G2", "K12")
@pytest.mark.timeout(60 + 30 * JOINS)
async def test_nothing_is_lost_and_no_queue_has_two_owners(cluster: Cluster, tmp_path: Path) -> None:
    crowd, sent = await play(cluster, "plain", tmp_path)
    tell(crowd, sent)


@on_clusters
@pytest.mark.feature("F2", "G10", "K12")
@pytest.mark.timeout(240 + 30 * JOINS)
async def test_ordered_members_keep_the_order_of_each_key(cluster: Cluster, tmp_path: Path) -> None:
    crowd, sent = await play(cluster, "ordered", tmp_path)
    tell(crowd, sent)
    gone = {member.name: member.gone for member in crowd.members}
    for queue in range(QUEUES):
        calls = [call for call in crowd.calls() if call.queue == queue]
        assert list(together(calls, gone)) == []
        assert list(backwards(calls)) == []
    for key in range(KEYS):
        firsts = list(
            dict.fromkeys(call.number for call in sorted(crowd.calls(), key=lambda call: call.begin) if call.number % KEYS == key)
        )
        assert firsts == sorted(firsts), f"key {key}"


@on_clusters
@pytest.mark.feature("H1", "H2", "H8")
@pytest.mark.timeout(240 + 30 * JOINS)
async def test_members_that_pop_lose_nothing(cluster: Cluster, tmp_path: Path) -> None:
    if cluster.kind == java.LAST_OF_4:
        pytest.skip("4.9.7 has no POP; tests/behaviour/test_push_pop.py tests what is said of it")
    crowd, sent = await play(cluster, "pop", tmp_path)
    tell(crowd, sent)


def test_the_checks_bite() -> None:
    def call(member: str, offset: int, begin: int, end: int | None) -> Call:
        return Call(member, offset, 0, offset, 0, begin, end)

    turns = [call("a", 0, 0, 3), call("a", 1, 3, 6), call("b", 1, 6, 9), call("b", 2, 9, 12)]
    assert list(together(turns, {})) == [] == list(backwards(turns))
    killed = [call("a", 0, 0, None), call("b", 0, 5, 8)]
    assert list(together(killed, {"a": 5})) == []
    assert list(together(killed, {"a": 6})) == [(killed[0], killed[1])]
    both = [call("a", 0, 0, 9), call("b", 1, 2, 5), call("b", 2, 8, 11)]
    assert list(together(both, {})) == [(both[0], both[1]), (both[0], both[2])]
    jumps = [call("a", 0, 0, 3), call("b", 2, 3, 6), call("a", 1, 6, 9)]
    assert list(backwards(jumps)) == [(jumps[1], jumps[2])]
