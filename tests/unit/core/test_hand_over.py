"""When a queue may be taken over: not while its last owner may be consuming it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from aiorocketmq.core.allocate import AllocateAveragely
from aiorocketmq.core.hand_over import HandOver
from aiorocketmq.model.queue import MessageQueue

QUEUES = [MessageQueue("orders", "broker-a", number) for number in range(4)]
WAIT = 1.6


def allocated(member: str, members: Sequence[str]) -> Collection[MessageQueue]:
    return AllocateAveragely().allocate("g", member, QUEUES, members)


class Member:
    """One member, "b", that takes over what it may at once."""

    def __init__(self, wait: float = WAIT) -> None:
        self.hand_over = HandOver(wait)
        self.owned: set[int] = set()

    def round(self, now: float, *members: str, reconnected: bool = False) -> dict[int, float]:
        mine = set(allocated("b", members))
        self.owned &= {queue.queue_id for queue in mine}
        self.hand_over.plan("orders", QUEUES, members, allocated, now, reconnected=reconnected)
        gained = {queue for queue in mine if queue.queue_id not in self.owned}
        early = self.hand_over.early(gained, now)
        self.owned |= {queue.queue_id for queue in gained - early.keys()}
        return {queue.queue_id: due for queue, due in early.items()}


@pytest.mark.feature("G1")
def test_alone_in_the_group_nothing_is_waited_for() -> None:
    member = Member()
    assert member.round(0.0, "b") == {}
    assert member.owned == {0, 1, 2, 3}


@pytest.mark.feature("G1")
def test_newcomer_waits_for_whoever_was_there() -> None:
    member = Member()
    assert member.round(10.0, "a", "b") == {2: 11.6, 3: 11.6}
    assert member.round(11.0, "a", "b") == {2: 11.6, 3: 11.6}
    assert member.round(11.6, "a", "b") == {}
    assert member.owned == {2, 3}


@pytest.mark.feature("G1")
def test_queues_of_a_member_that_left_are_taken_at_once_and_those_of_living_ones_are_not() -> None:
    member = Member()
    member.round(0.0, "a", "aa", "b")
    member.round(2.0, "a", "aa", "b")
    assert member.owned == {3}
    assert member.round(5.0, "aa", "b") == {2: 6.6}, "queue 2 was the second member's, who lives"
    assert member.round(6.6, "aa", "b") == {}
    assert member.round(7.0, "b") == {}
    assert member.owned == {0, 1, 2, 3}


@pytest.mark.feature("G1")
def test_later_changes_do_not_put_it_off() -> None:
    member = Member()
    assert member.round(0.0, "a", "b") == {2: 1.6, 3: 1.6}
    assert member.round(1.0, "a", "b", "c") == {2: 1.6}, "queue 3 went to the newcomer"
    assert member.round(1.5, "a", "b", "c", "d") == {1: 1.6}, "nobody has had time to take queue 1 over since the start"
    assert member.round(1.6, "a", "b", "c", "d") == {}


@pytest.mark.feature("G1")
def test_storm_leaves_no_queue_without_an_owner_for_long() -> None:
    members = {name: Member() for name in "abcdefgh"}
    last_owned = dict.fromkeys(range(4), 0.0)
    present: list[str] = ["b"]
    now = 0.0
    for step in range(200):
        name = "acdefgh"[step % 7]
        present = sorted({*present} ^ {name})
        for _ in range(10):
            now += 0.1
            for each in present:
                mine = {queue.queue_id for queue in allocated(each, present)}
                members[each].owned &= mine
                members[each].hand_over.plan("orders", QUEUES, tuple(present), allocated, now, reconnected=False)
                early = members[each].hand_over.early([QUEUES[number] for number in mine], now)
                members[each].owned |= mine - {queue.queue_id for queue in early}
            for each in members.keys() - set(present):
                members[each] = Member()
            for number in range(4):
                if any(number in members[each].owned for each in present):
                    last_owned[number] = now
                assert now - last_owned[number] < 6.0


@pytest.mark.feature("G1")
def test_incomplete_list_after_a_reconnection_is_not_trusted() -> None:
    member = Member()
    member.round(0.0, "a", "b")
    member.round(2.0, "a", "b")
    assert member.round(9.0, "b", reconnected=True) == {0: 10.6, 1: 10.6}
    assert member.round(9.5, "a", "b") == {}
    assert member.owned == {2, 3}


def test_without_a_wait_everything_is_taken_at_once() -> None:
    member = Member(wait=0.0)
    assert member.round(0.0, "a", "b") == {}
    assert member.owned == {2, 3}


def shares(member: str, members: Sequence[str], queues: Sequence[MessageQueue]) -> Collection[MessageQueue]:
    return AllocateAveragely().allocate("g", member, queues, members)


@pytest.mark.feature("G1")
def test_topic_that_shrinks_while_its_queues_are_handed_over() -> None:
    hand_over = HandOver(WAIT)
    wide = [MessageQueue("orders", "broker-a", number) for number in range(8)]

    def plan(queues: Sequence[MessageQueue], now: float) -> dict[MessageQueue, float]:
        hand_over.plan("orders", queues, ("a", "b"), lambda member, members: shares(member, members, queues), now, reconnected=False)
        return hand_over.early(queues, now)

    assert len(plan(wide, 0.0)) == 8
    assert plan(wide[:4], 1.0) == dict.fromkeys(wide[:4], WAIT), "those that are left keep their time"
    assert hand_over.early(wide[4:], 1.0) == {}
    assert plan(wide[:4], 2.0) == {}
    assert set(plan(wide, 3.0)) == set(wide[2:4]), "those fall to the other member now; queues that come while it runs were nobody's"
    hand_over.forget("orders")
    assert len(plan(wide, 4.0)) == 8
