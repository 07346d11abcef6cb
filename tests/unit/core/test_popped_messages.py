"""The messages of one pop: each ends once, and after their time nothing counts but that they are in nobody's hands."""

from __future__ import annotations

from typing import Any

import pytest

from aiorocketmq.consumer.push_popping import DELAY_LEVELS, RETRY_LADDER, delay_of
from aiorocketmq.core.process_queue import PoppedMessages
from tests.unit.consumer.test_acking import popped


def case(count: int) -> tuple[PoppedMessages, list[Any], list[tuple[str, Any]]]:
    messages, events = popped(count), list[tuple[str, Any]]()
    batch = PoppedMessages(
        messages[0].queue, messages, 7,
        left=lambda batch: events.append(("left", batch.count)),
        ended=lambda message: events.append(("ended", message.body)),
        failed=lambda message, level: events.append(("failed", (message.body, level))),
    )  # fmt: skip
    return batch, messages, events


@pytest.mark.feature("H9")
def test_each_message_ends_once() -> None:
    batch, messages, events = case(3)
    batch.finish(messages[1])
    batch.finish(messages[1])
    batch.fail(messages[1], 0)
    batch.fail(messages[0], 3)
    assert events == [("left", 2), ("ended", b"1"), ("left", 1), ("failed", (b"0", 3))]
    assert batch.open == [messages[2]] and batch.is_unfinished(messages[2]) and not batch.is_unfinished(messages[0])
    assert batch.count == 1 and batch.commit_offset == -1


@pytest.mark.feature("H12")
def test_after_their_time_no_result_counts() -> None:
    batch, messages, events = case(3)
    batch.drop()
    assert batch.dropped and batch.count == 3, "they are still in somebody's hands"
    batch.finish(messages[0])
    batch.fail(messages[1], 0)
    batch.leave(messages[2])
    assert events == [("left", 2), ("left", 1), ("left", 0)]


@pytest.mark.feature("H4")
def test_what_fails_comes_again_ever_later() -> None:
    assert [delay_of(tries, 0) for tries in (0, 1, 15, 16, 1000)] == [10, 30, 7200, 7200, 7200]
    assert [delay_of(5, level) for level in (1, 3, 18)] == [1, 10, 7200]
    assert len(RETRY_LADDER) == 16 and len(DELAY_LEVELS) == 18
