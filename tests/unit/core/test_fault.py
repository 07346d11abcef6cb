"""How long brokers are spared, and which queue is chosen meanwhile."""

from __future__ import annotations

import pytest

from aiorocketmq.core.fault import FaultTable
from aiorocketmq.core.route_table import TopicPublishInfo
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import TopicRouteData


def topic(*brokers: str, queues: int = 2) -> TopicPublishInfo:
    return TopicPublishInfo(tuple(MessageQueue("t", name, each) for name in brokers for each in range(queues)), False, TopicRouteData())


def chosen(table: FaultTable, publish: TopicPublishInfo, now: float, last: str | None = None) -> set[str]:
    return {table.select(publish, last, now).broker_name for _ in range(len(publish.queues) * 2)}


@pytest.mark.feature("B19")
@pytest.mark.parametrize(
    ("latency", "spared"),
    [
        (0.0, 0.0), (0.049, 0.0), (0.05, 0.0), (0.1, 0.0), (0.549, 0.0), (0.55, 2.0), (1.8, 5.0), (2.999, 5.0), (3.0, 6.0), (5.0, 10.0),
        (14.9, 10.0), (15.0, 30.0), (1000.0, 30.0),
    ],
)  # fmt: skip
def test_the_longer_a_try_took_the_longer_a_broker_is_spared(latency: float, spared: float) -> None:
    table = FaultTable()
    assert table.spare_for(latency) == spared
    table.note("a", latency, 100.0)
    assert table.available("a", 100.0) is (spared == 0.0)
    assert table.available("a", 100.0 + spared)
    assert ("a" in table.spared) is (spared > 0.0), "who is not spared has no entry"


@pytest.mark.feature("B19")
def test_a_failure_counts_as_ten_seconds_and_a_good_try_ends_it() -> None:
    table = FaultTable()
    table.note("a", 0.001, 100.0, failed=True)
    assert not table.available("a", 109.9)
    assert table.available("a", 110.0)
    table.note("a", 0.001, 101.0)
    assert table.available("a", 101.0)
    assert table.spared == {}


@pytest.mark.feature("B19")
def test_spared_brokers_are_passed_over_while_there_are_others() -> None:
    table, publish = FaultTable(), topic("a", "b", "c")
    assert chosen(table, publish, 0.0) == {"a", "b", "c"}
    table.note("b", 3.0, 0.0)
    assert chosen(table, publish, 5.9) == {"a", "c"}
    assert chosen(table, publish, 5.9, last="a") == {"c"}
    assert chosen(table, publish, 6.0) == {"a", "b", "c"}


@pytest.mark.feature("B19")
def test_when_all_are_spared_those_that_can_be_reached_come_first() -> None:
    table, publish = FaultTable(), topic("a", "b")
    table.note("a", 0.0, 0.0, failed=True, reachable=False)
    table.note("b", 20.0, 0.0)
    assert chosen(table, publish, 1.0) == {"b"}
    table.note("b", 0.0, 0.0, failed=True, reachable=False)
    assert chosen(table, publish, 1.0) == {"a", "b"}, "sending somewhere is better than nowhere"


@pytest.mark.feature("B20")
def test_probes_are_due_at_their_interval_and_bring_a_broker_back() -> None:
    table = FaultTable()
    table.note("a", 0.0, 0.0, failed=True, reachable=False)
    assert table.due(0.0, 2.0) == ["a"]
    assert table.due(1.9, 2.0) == []
    table.note("a", 0.0, 1.9, failed=True, reachable=False)
    assert table.due(1.95, 2.0) == [], "a failure in between does not bring the next probe forward"
    assert table.due(2.0, 2.0) == ["a"]
    table.probed("a", 2.0)
    assert table.reachable("a")
    assert not table.available("a", 2.0), "it is reachable, but its time is not over"
    table.probed("a", 12.0)
    assert table.spared == {}
    table.probed("gone", 1.0)
    table.forget("gone")
