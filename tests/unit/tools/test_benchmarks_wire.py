"""The lower bound of the benchmarks on the embedded server: what it sends, what it counts, what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from aiorocketmq.server import LocalCluster
from benchmarks import wire
from benchmarks.ours.meter import Answer
from tests.support import raw_remoting

QUEUES = 2


@pytest.fixture
async def cluster() -> AsyncIterator[LocalCluster]:
    async with LocalCluster() as running:
        await asyncio.to_thread(raw_remoting.create_topic, running.brokers[0].address, "topic", queues=QUEUES)
        yield running


async def ask(cluster: LocalCluster, command: str, topic: str = "topic", **arguments: object) -> Answer:
    request = {"cmd": command, "topic": topic, "size": 1024, "group": "group", **arguments}
    return await asyncio.to_thread(wire.answer, cluster.name_servers, request)


def stored(cluster: LocalCluster) -> list[int]:
    fields = [{"topic": "topic", "queueId": str(queue)} for queue in range(QUEUES)]
    return [int(raw_remoting.exchange(cluster.brokers[0].address, 30, each)[0]["offset"]) for each in fields]


async def test_sends_are_stored_in_all_queues(cluster: LocalCluster) -> None:
    answer = await ask(cluster, "send_one_at_a_time", count=20)
    assert (answer["count"], answer["failed"]) == (20, 0)
    assert 0 < answer["latency_us"]["p50"] <= answer["latency_us"]["max"]
    assert await asyncio.to_thread(stored, cluster) == [10, 10]


async def test_every_message_of_a_latency_round_is_timed_and_checked(cluster: LocalCluster) -> None:
    answer = await ask(cluster, "latency", count=10, rate=500)
    assert (answer["count"], answer["failed"]) == (10, 0)
    assert 0 < answer["latency_us"]["p50"] <= answer["latency_us"]["max"]
    assert await asyncio.to_thread(stored, cluster) == [wire.WARM_UP_MESSAGES + 10, 0]


async def test_what_it_cannot_do_is_answered(cluster: LocalCluster) -> None:
    assert await ask(cluster, "push_concurrent", count=1) == {"error": "unsupported"}
    assert "no route of topic 'other'" in (await ask(cluster, "send_one_at_a_time", topic="other", count=1))["error"]


def test_only_code_0_is_a_success() -> None:
    def frame(header: bytes) -> bytes:
        return (4 + len(header)).to_bytes(4, "big") + len(header).to_bytes(4, "big") + header

    assert wire.succeeded(frame(b'{"code":0,"flag":1,"opaque":1}'))
    assert wire.succeeded(frame(b'{"flag":1,"opaque":1,"code": 0}'))
    assert not wire.succeeded(frame(b'{"code":2,"flag":1,"opaque":1,"remark":"\\"code\\":0,"}'))
