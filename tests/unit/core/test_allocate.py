"""Sharing queues: parity with Java's tables, and the rules that any strategy must keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.core.allocate import AllocateAveragely, AllocateStrategy
from aiorocketmq.core.strategies import AllocateSticky
from aiorocketmq.model.queue import MessageQueue


def queues(count: int) -> list[MessageQueue]:
    return [MessageQueue("orders", "broker-a", number) for number in range(count)]


def clients(count: int) -> list[str]:
    return [f"client-{number:03d}" for number in range(count)]


def shares(queue_count: int, client_count: int) -> list[list[int]]:
    ids = clients(client_count)
    return [[queue.queue_id for queue in AllocateAveragely().allocate("g", own, queues(queue_count), ids)] for own in ids]


@pytest.mark.feature("G3")
@pytest.mark.parametrize(
    ("queue_count", "client_count", "expected"),
    [
        (4, 1, [[0, 1, 2, 3]]),
        (4, 2, [[0, 1], [2, 3]]),
        (5, 2, [[0, 1, 2], [3, 4]]),
        (7, 3, [[0, 1, 2], [3, 4], [5, 6]]),
        (8, 3, [[0, 1, 2], [3, 4, 5], [6, 7]]),
        (10, 4, [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9]]),
        (2, 3, [[0], [1], []]),
        (1, 4, [[0], [], [], []]),
        (0, 2, [[], []]),
    ],
)
def test_averagely_gives_the_shares_that_java_gives(queue_count: int, client_count: int, expected: list[list[int]]) -> None:
    assert shares(queue_count, client_count) == expected


@pytest.mark.feature("G3")
@given(st.integers(0, 70), st.integers(1, 40))
def test_averagely_is_disjoint_complete_and_fair(queue_count: int, client_count: int) -> None:
    parts = shares(queue_count, client_count)
    assert [number for part in parts for number in part] == list(range(queue_count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.feature("G3")
def test_who_is_no_member_gets_nothing() -> None:
    assert AllocateAveragely().allocate("g", "stranger", queues(4), clients(2)) == []
    assert AllocateAveragely().allocate("g", "stranger", queues(4), []) == []


def test_strategies_are_recognised_by_shape() -> None:
    assert isinstance(AllocateAveragely(), AllocateStrategy)
    assert not isinstance("AVG", AllocateStrategy)
    assert AllocateAveragely().name == "AVG"


@pytest.mark.feature("U16")
@pytest.mark.parametrize(("queues", "members"), [(7, 3), (8, 3), (10, 4), (3, 5), (5, 1), (9, 3), (17, 7)])
def test_shares_of_the_sticky_strategy_differ_by_one_queue_at_most(queues: int, members: int) -> None:
    rows = [MessageQueue("t", f"broker-{number % 2}", number) for number in range(queues)]
    ids = [f"192.0.2.{number}@{number}" for number in range(members)]
    shares = [AllocateSticky().allocate("g", each, rows, ids) for each in ids]
    assert sorted(queue for share in shares for queue in share) == sorted(rows)
    sizes = sorted(map(len, shares))
    assert sizes[-1] - sizes[0] <= 1, sizes
