"""The messages of a queue whose consumer asks for them: what is given, what is held, what may be committed."""

from __future__ import annotations

import random

from aiorocketmq.core.process_queue import PolledQueue
from aiorocketmq.model.received import ReceivedMessage
from tests.unit.core.messages import QUEUE, received


def filled(count: int, start: int = 0, **fields: bool) -> PolledQueue:
    queue = PolledQueue(QUEUE, start, **fields)
    queue.put([received(start + number) for number in range(count)], start + count)
    return queue


def offsets(messages: list[ReceivedMessage]) -> list[int]:
    return [each.queue_offset for each in messages]


def test_what_was_given_is_consumed_when_more_is_asked_for() -> None:
    queue = filled(5)
    assert queue.commit_offset == -1, "an offset that was only read is not written back"
    assert offsets(queue.give(2)) == [0, 1]
    assert (queue.position, queue.consumed, queue.commit_offset) == (2, 0, -1)
    queue.settle()
    assert (queue.position, queue.consumed, queue.commit_offset) == (2, 2, 2)
    assert queue.give_one().queue_offset == 2
    assert queue.commit_offset == 2
    assert queue.give_one().queue_offset == 3
    assert queue.commit_offset == 3, "the one before is done with"
    assert (queue.count, offsets(queue.give(9))) == (1, [4])
    queue.settle()
    assert queue.commit_offset == 5


def test_filtered_messages_move_the_offset_on() -> None:
    queue = filled(1)
    queue.give(1)
    queue.advance(9)
    assert queue.commit_offset == 0, "the message before them is held"
    queue.settle()
    assert queue.commit_offset == 9


def test_a_start_by_the_rules_may_be_committed_at_once() -> None:
    assert filled(3, 7, commit_start=True).commit_offset == 7
    assert filled(3, 7, commit_start=True, auto=False).commit_offset == 7


def test_single_messages_can_be_done_with() -> None:
    queue = filled(5)
    queue.give(3)
    queue.done_below(2)
    assert queue.commit_offset == 2
    queue.done_below(1)
    assert queue.commit_offset == 2, "an offset below changes nothing"
    queue.done_below(3)
    assert queue.commit_offset == 3


def test_without_auto_commit_only_marks_count() -> None:
    queue = filled(5, auto=False)
    assert queue.mark() == -1, "nothing has happened"
    queue.give(3)
    queue.settle()
    assert queue.commit_offset == -1
    assert queue.mark() == 3
    queue.give(1)
    assert queue.commit_offset == 3
    queue.committed = 1
    assert queue.commit_offset == 1


def test_messages_that_were_not_begun_are_given_again() -> None:
    queue = filled(6)
    given = queue.give(4)
    size = queue.size
    assert queue.take_back(given[2:])
    assert (queue.position, queue.consumed, queue.count) == (2, 0, 4)
    assert queue.size == size + sum(each.store_size for each in given[2:])
    assert offsets(queue.give(9)) == [2, 3, 4, 5]
    queue.settle()
    assert not queue.take_back(given), "they are consumed"
    other = filled(6, 3)
    other.give(1)
    assert not other.take_back(given), "they were given in another life of the queue"
    assert other.take_back(filled(1, 3).give(1))
    assert (other.consumed, other.position) == (3, 3)


def test_a_dropped_queue_commits_nothing() -> None:
    for auto in (True, False):
        queue = filled(3, commit_start=True, auto=auto)
        queue.give(2)
        queue.mark()
        queue.drop()
        assert queue.commit_offset == -1


def test_random_uses_never_lose_repeat_or_commit_what_is_held() -> None:
    for seed in range(300):
        chance = random.Random(seed)
        queue, pulled = PolledQueue(QUEUE, 0), 0
        seen: list[int] = []
        held: list[ReceivedMessage] = []
        for _ in range(60):
            step = chance.randrange(6)
            if step == 0:
                new = chance.randrange(5)
                queue.put([received(pulled + number) for number in range(new)], pulled + new)
                pulled += new
            elif step == 1:
                given = queue.give(chance.randint(1, 4))
                held += given
                seen += offsets(given)
            elif step == 2 and queue.count:
                held = [queue.give_one()]
                seen.append(held[0].queue_offset)
            elif step == 3:
                queue.settle()
                held = []
            elif step == 4 and held:
                back = held[chance.randrange(len(held)) :]
                assert queue.take_back(back)
                held = held[: len(held) - len(back)]
                del seen[len(seen) - len(back) :]
            elif held:
                done = chance.choice(held).queue_offset + 1
                queue.done_below(done)
                held = [each for each in held if each.queue_offset >= done]
            assert seen == list(range(len(seen))), seed
            assert queue.position == len(seen), seed
            assert queue.consumed == (held[0].queue_offset if held else len(seen)), seed
            assert queue.commit_offset in (-1, queue.consumed), seed
            assert queue.count == pulled - len(seen), seed
