"""The unfinished messages of one queue: what may be committed, whatever the order of the results."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aiorocketmq.core.process_queue import ProcessQueue
from tests.unit.core.messages import QUEUE, received


def filled(offsets: Sequence[int], *, start: int = 0) -> ProcessQueue:
    queue = ProcessQueue(QUEUE, start)
    queue.put([received(offset) for offset in offsets], offsets[-1] + 1)
    return queue


@pytest.mark.feature("F31")
def test_only_the_contiguous_prefix_may_be_committed() -> None:
    queue = filled([10, 11, 12, 13], start=10)
    assert queue.commit_offset == -1, "nothing is consumed yet, and what was read must not be written back"
    queue.finish(received(12))
    queue.finish(received(11))
    assert queue.commit_offset == -1
    queue.finish(received(10))
    assert queue.commit_offset == 13
    queue.finish(received(13))
    assert queue.commit_offset == 14
    assert (queue.count, queue.size, queue.span) == (0, 0, 0)


@pytest.mark.feature("F31")
def test_finishing_twice_or_something_unknown_changes_nothing() -> None:
    queue = filled([0, 1, 2])
    for _ in range(2):
        queue.finish(received(1))
    queue.finish(received(7))
    assert queue.count == 2
    queue.finish(received(0))
    queue.finish(received(0))
    assert (queue.count, queue.commit_offset) == (1, 2)
    assert not queue.is_unfinished(received(1))
    assert queue.is_unfinished(received(2))


@pytest.mark.feature("F32")
def test_dropped_queue_commits_nothing() -> None:
    queue = filled([0, 1])
    queue.finish(received(0))
    queue.closing = True
    assert queue.commit_offset == 1, "results still count"
    queue.drop()
    assert queue.commit_offset == -1
    assert (queue.count, queue.size) == (0, 0)
    queue.finish(received(1))
    assert queue.commit_offset == -1


@pytest.mark.feature("F34")
def test_offset_moves_on_when_nothing_matched() -> None:
    queue = ProcessQueue(QUEUE, 100)
    queue.advance(900)
    assert queue.commit_offset == 900
    queue.put([received(950)], 1000)
    assert queue.commit_offset == 950, "not beyond a message that is not consumed"
    queue.advance(1200)
    assert queue.commit_offset == 950
    queue.finish(received(950))
    assert queue.commit_offset == 1200


@pytest.mark.feature("F15")
def test_start_offset_of_a_new_group_may_be_committed_at_once() -> None:
    assert ProcessQueue(QUEUE, 5, commit_start=True).commit_offset == 5
    assert ProcessQueue(QUEUE, 5).commit_offset == -1


def test_messages_seen_before_are_not_delivered_again() -> None:
    queue = filled([0, 1, 2])
    taken = queue.put([received(1), received(3), received(2), received(3), received(4)], 5)
    assert [message.queue_offset for message in taken] == [3, 4]
    assert (queue.count, queue.size) == (5, 500)


@pytest.mark.feature("F10")
def test_low_water_is_told_once() -> None:
    queue = filled(range(10))
    told: list[int] = []
    queue.on_low_water = lambda: told.append(queue.count)
    queue.low_water = 5
    for offset in range(10):
        queue.finish(received(offset))
    assert told == [5]


@pytest.mark.feature("F2", "F3")
def test_taking_in_order_commit_and_roll_back() -> None:
    queue = filled(range(6))
    assert [message.queue_offset for message in queue.take(2)] == [0, 1]
    assert [message.queue_offset for message in queue.take(2)] == [2, 3]
    assert queue.taken == 4
    queue.roll_back(1)
    assert [message.queue_offset for message in queue.take(1)] == [3]
    queue.commit(keep=1)
    assert (queue.commit_offset, queue.count, queue.taken) == (3, 3, 0)
    taken = queue.take(9)
    assert [message.queue_offset for message in taken] == [3, 4, 5]
    queue.commit_first(taken[0])
    assert (queue.commit_offset, queue.taken) == (4, 2)
    queue.roll_back()
    assert queue.taken == 0
    queue.take(2)
    queue.commit()
    assert (queue.commit_offset, queue.count, queue.size) == (6, 0, 0)
    assert queue.take(1) == []


@given(st.permutations(range(12)), st.integers(0, 12))
def test_commit_offset_is_the_first_gap_in_any_order(order: Sequence[int], done: int) -> None:
    queue = filled(range(12))
    finished = set(order[:done])
    for offset in order[:done]:
        queue.finish(received(offset))
    gap = next((offset for offset in range(12) if offset not in finished), 12)
    assert queue.commit_offset == (gap if gap else -1)
    assert queue.count == 12 - done
    assert queue.size == 100 * (12 - done)


@pytest.mark.feature("F34")
@pytest.mark.parametrize(("order", "given"), [([10, 5], [5, 10]), ([5, 5, 6], [5, 6]), ([4, 7, 6], [6, 7]), ([3, 4], [])])
def test_answer_in_another_order_than_the_queue_loses_nothing(order: list[int], given: list[int]) -> None:
    queue = ProcessQueue(QUEUE, 5)
    taken = queue.put([received(offset) for offset in order], 11)
    assert [message.queue_offset for message in taken] == given
    assert queue.count == len(given)
    assert queue.size == 100 * len(given)
    assert queue.next_offset == 11
    for index, message in enumerate(reversed(taken)):
        assert queue.commit_offset in (-1, given[0])
        queue.finish(message)
        assert queue.count == len(given) - index - 1
    assert queue.commit_offset == 11


def test_next_offset_inside_its_own_answer_does_not_go_behind_the_messages() -> None:
    queue = ProcessQueue(QUEUE, 5)
    queue.put([received(7), received(8)], 7)
    assert queue.next_offset == 9


def test_commit_of_several_tells_that_there_is_room_again() -> None:
    queue = filled(range(10))
    told: list[int] = []
    queue.on_low_water = lambda: told.append(queue.count)
    queue.low_water = 4
    queue.take(5)
    queue.commit()
    assert told == []
    queue.take(2)
    queue.commit()
    assert told == [3]


class ProcessQueueMachine(RuleBasedStateMachine):
    """Random pulls and results against the obvious model: a sorted list and a set."""

    @initialize()
    def start(self) -> None:
        self.queue = ProcessQueue(QUEUE, 0)
        self.unfinished: list[int] = []
        self.next_offset = 0
        self.committed = -1

    @rule(gaps=st.lists(st.integers(0, 3), max_size=8), tail=st.integers(0, 5), back=st.integers(0, 4))
    def pull(self, gaps: list[int], tail: int, back: int) -> None:
        offset = max(0, self.next_offset - back)
        offsets = []
        for gap in gaps:
            offset += gap
            offsets.append(offset)
            offset += 1
        taken = self.queue.put([received(each) for each in offsets], offset + tail)
        new = [each for each in offsets if each >= self.next_offset]
        assert [message.queue_offset for message in taken] == new
        self.unfinished += new
        self.next_offset = max(self.next_offset, offset + tail)

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        if self.unfinished:
            offset = data.draw(st.sampled_from(self.unfinished))
            self.unfinished.remove(offset)
            self.queue.finish(received(offset))

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "queue"):
            return
        assert self.queue.count == len(self.unfinished)
        assert self.queue.size == 100 * len(self.unfinished)
        offset = self.queue.commit_offset
        assert offset >= self.committed, "never backward"
        self.committed = offset
        if offset >= 0:
            assert offset == (self.unfinished[0] if self.unfinished else self.next_offset)
        if self.unfinished:
            assert self.queue.min_offset == self.unfinished[0]


TestProcessQueueMachine = ProcessQueueMachine.TestCase
