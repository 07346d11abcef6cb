"""Consumed offsets: forward only, but for resets."""

from __future__ import annotations

import pytest

from aiorocketmq.core.offset_table import OffsetTable
from aiorocketmq.model.queue import MessageQueue

ONE, TWO, OTHER = MessageQueue("orders", "broker-a", 0), MessageQueue("orders", "broker-a", 1), MessageQueue("bills", "broker-a", 0)


@pytest.mark.feature("G17")
def test_offsets_only_grow_unless_told_otherwise() -> None:
    table = OffsetTable({ONE: 10})
    assert not table.update(ONE, 9, increase_only=True)
    assert not table.update(ONE, 10, increase_only=True)
    assert table.update(ONE, 11, increase_only=True)
    assert table.update(ONE, 5, increase_only=False)
    assert (table.get(ONE), table.get(TWO)) == (5, -1)


@pytest.mark.feature("F33")
def test_frozen_offset_stays_until_the_queue_is_removed() -> None:
    table = OffsetTable({ONE: 10})
    table.update_and_freeze(ONE, 3)
    assert not table.update(ONE, 20, increase_only=True)
    assert not table.update(ONE, 1, increase_only=False)
    assert table.get(ONE) == 3
    table.remove(ONE)
    assert table.get(ONE) == -1
    assert table.update(ONE, 20, increase_only=True)


@pytest.mark.feature("G17")
def test_snapshots_are_copies() -> None:
    table = OffsetTable({ONE: 1, TWO: 2, OTHER: 3})
    assert table.snapshot("orders") == {ONE: 1, TWO: 2}
    table.snapshot()[ONE] = 99
    assert table.get(ONE) == 1
    assert sorted(table.retain([TWO])) == sorted([ONE, OTHER])
    assert table.snapshot() == {TWO: 2}


@pytest.mark.feature("G17")
def test_a_queue_that_left_and_comes_back_is_not_frozen() -> None:
    table = OffsetTable({ONE: 10, TWO: 5})
    table.update_and_freeze(ONE, 3)
    assert table.retain([TWO]) == [ONE]
    assert table.update(ONE, 20, increase_only=True), "a reset ends with the queue's stay here"
    assert table.get(ONE) == 20
