"""The accounting of an ordered queue: commit, roll-back, tries and burying, against a plain model."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aiorocketmq.core.ordered import OrderedAccount
from aiorocketmq.core.process_queue import ProcessQueue
from aiorocketmq.model.received import ReceivedMessage
from tests.unit.core.messages import QUEUE, received


def account(count: int, *, auto_commit: bool, max_tries: int) -> OrderedAccount:
    queue = ProcessQueue(QUEUE, 0)
    queue.put([received(offset) for offset in range(count)], count)
    return OrderedAccount(queue, auto_commit=auto_commit, max_tries=max_tries)


def offsets(messages: list[ReceivedMessage]) -> list[int]:
    return [message.queue_offset for message in messages]


@pytest.mark.feature("F2", "F29")
def test_roll_back_neither_counts_a_try_nor_buries() -> None:
    it = account(3, auto_commit=False, max_tries=1)
    for _ in range(5):
        assert offsets(it.take(1)) == [0]
        it.succeeded()
        second = it.take(1)
        it.rolled_back(second)
        assert it.to_bury() is None
        assert second[0].reconsume_times == 0
        assert it.messages.commit_offset == -1


@pytest.mark.feature("F29", "F30")
def test_message_buried_before_the_commit_is_not_called_again_after_a_roll_back() -> None:
    it = account(4, auto_commit=False, max_tries=0)
    it.take(1)
    it.succeeded()
    failed = it.take(1)
    it.failed(failed)
    assert it.to_bury() is failed[0]
    it.buried()
    third = it.take(1)
    assert offsets(third) == [2]
    it.rolled_back(third)
    assert offsets(it.take(8)) == [0], "a list ends before the buried one"
    it.succeeded()
    assert offsets(it.take(8)) == [2, 3]
    it.commit()
    assert it.messages.commit_offset == 4


class OrderedMachine(RuleBasedStateMachine):
    """Random answers against a model: which messages are committed, consumed, buried, and how often each failed."""

    @initialize(auto=st.booleans(), limit=st.integers(-1, 2))
    def start(self, auto: bool, limit: int) -> None:
        self.it = OrderedAccount(ProcessQueue(QUEUE, 0), auto_commit=auto, max_tries=limit)
        self.auto, self.limit = auto, limit
        self.stored = 0
        self.committed = 0
        self.position = 0  # the next message to call
        self.buried: set[int] = set()
        self.tries: dict[int, int] = {}
        self.burials: list[int] = []
        self.last_commit = -1

    @rule(count=st.integers(1, 4))
    def pull(self, count: int) -> None:
        self.it.messages.put([received(offset) for offset in range(self.stored, self.stored + count)], self.stored + count)
        self.stored += count

    def expected(self, limit: int) -> list[int]:
        position = self.position
        while position in self.buried:
            position += 1
        end = position
        while end < min(self.stored, position + limit) and end not in self.buried:
            end += 1
        return list(range(position, end))

    def take(self, limit: int, called: int) -> list[ReceivedMessage]:
        expected = self.expected(limit)
        taken = self.it.take(limit)
        assert offsets(taken) == expected, "in order, none twice, none left out"
        called = min(called, len(taken))
        self.it.return_rest(len(taken) - called)
        self.position = taken[0].queue_offset + called
        return taken[:called]

    def has_work(self) -> bool:
        return hasattr(self, "stored") and bool(self.expected(1))

    @precondition(has_work)
    @rule(limit=st.integers(1, 4), called=st.integers(1, 4), commit=st.booleans())
    def success(self, limit: int, called: int, commit: bool) -> None:
        self.take(limit, called)
        if commit:
            self.it.commit()
        else:
            self.it.succeeded()
        if commit or self.auto:
            self.committed = self.position

    @precondition(has_work)
    @rule(limit=st.integers(1, 4), called=st.integers(1, 4))
    def roll_back(self, limit: int, called: int) -> None:
        messages = self.take(limit, called)
        self.it.rolled_back(messages)
        assert self.it.to_bury() is None
        if self.auto:
            self.committed = messages[0].queue_offset
        self.position = self.committed

    @precondition(has_work)
    @rule(limit=st.integers(1, 4), called=st.integers(1, 4), acknowledged=st.integers(0, 3), broker_takes=st.integers(0, 4))
    def failure(self, limit: int, called: int, acknowledged: int, broker_takes: int) -> None:
        messages = self.take(limit, called)
        failed = messages[min(acknowledged, len(messages) - 1) :]
        self.it.failed(failed)
        self.position = failed[0].queue_offset
        if self.auto:
            self.committed = self.position
        while (message := self.it.to_bury()) is not None and broker_takes > 0:
            broker_takes -= 1
            assert message.queue_offset == self.position
            assert message.reconsume_times == self.tries.get(message.queue_offset, 0) >= self.limit >= 0
            self.it.buried()
            self.burials.append(message.queue_offset)
            self.position += 1
            if self.auto:
                self.committed = self.position
            else:
                self.buried.add(message.queue_offset)
        for message in self.it.failed_messages:
            self.tries[message.queue_offset] = self.tries.get(message.queue_offset, 0) + 1
        self.it.try_again()

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "stored"):
            return
        assert self.it.messages.count == self.stored - self.committed
        offset = self.it.messages.commit_offset
        assert offset >= self.last_commit
        self.last_commit = offset
        assert offset in (-1, self.committed)
        assert len(set(self.burials)) == len(self.burials), "nothing is buried twice"


TestOrderedMachine = OrderedMachine.TestCase
