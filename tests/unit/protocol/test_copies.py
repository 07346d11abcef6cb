"""A body is copied at most twice on its way in each direction; and that the counter of copies counts."""

from __future__ import annotations

import pytest

import aiorocketmq
from tests.support.clusters import Cluster
from tests.support.copies import CopyCounter, of_chunks, on_sockets

KIB, MIB = 1024, 1024 * 1024
ALONG = 512
"""Bytes of header, properties and record that are copied along with a body."""
pure = pytest.mark.skipif(aiorocketmq.compiled, reason="compiled modules have no lines between which to count")


def limit(size: int) -> float:
    """Bytes that may be copied per byte of a body, with what comes along, and a little for the counting."""
    return 2.0 * (1 + ALONG / size) + 0.01


def test_copies_are_counted_also_when_they_are_freed_at_once() -> None:
    body = b"x" * MIB
    counter = CopyCounter(64 * KIB)
    with counter.counting():
        kept = bytearray(body)
        len(body[1:] + b"y")  # two copies, both freed at once
        kept.clear()
    assert sum(counter._sites.values()) / MIB == pytest.approx(3.0, abs=0.01)


def test_nothing_is_counted_where_nothing_is_copied() -> None:
    body = memoryview(b"x" * MIB)
    counter = CopyCounter(64 * KIB)
    with counter.counting():
        parts = [body[start : start + KIB] for start in range(0, MIB, KIB)]
    assert len(parts) == KIB
    assert not counter._sites


@pytest.mark.parametrize(("size", "chunk"), [(16 * KIB, 64 * KIB), (MIB, 64 * KIB), (4 * MIB, 256 * KIB)])
def test_a_received_body_is_copied_about_twice(size: int, chunk: int) -> None:
    counted = of_chunks(size, max(1, 256 * KIB // size), chunk)
    assert 1.0 <= counted["client"] <= (2.3 if aiorocketmq.compiled else limit(size)), counted
    assert counted["loop"] < 0.1


@pure
@pytest.mark.parametrize("size", [128 * KIB, MIB])
async def test_a_body_is_copied_at_most_twice_in_each_direction_on_real_sockets(embedded_cluster: Cluster, size: int) -> None:
    topic = await embedded_cluster.create_topic(embedded_cluster.unique("copies"), queues=1)
    # A third copy would show as 1.0 more in every run. What begins or ends within one read is copied in parts besides, and on a busy
    # machine the reads end anywhere: the best of a few runs counts.
    for tries in range(5, 0, -1):
        sent, received = await on_sockets(embedded_cluster.name_servers, topic, embedded_cluster.unique("copies"), size, 6)
        assert sent["client"] <= limit(size), sent
        if received["client"] <= limit(size) + 0.3:
            return
        assert tries > 1, received
        topic = await embedded_cluster.create_topic(embedded_cluster.unique("copies"), queues=1)
