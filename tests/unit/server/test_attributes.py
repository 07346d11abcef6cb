"""Attributes of topics, as request 17 changes them (Java: `AttributeUtil`)."""

from __future__ import annotations

import pytest

from aiorocketmq.errors import BrokerError
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.server.broker.attributes import changed, read_changes


@pytest.mark.parametrize(
    ("known", "text", "after"),
    [
        (None, "", {}),
        (None, "+message.type=FIFO,+queue.type=BatchCQ", {"message.type": "FIFO", "queue.type": "BatchCQ"}),
        ({"message.type": "FIFO"}, "", {"message.type": "FIFO"}),
        (
            {"message.type": "FIFO"},
            "+message.type=NORMAL,+lite.topic.expiration=-1",
            {"message.type": "NORMAL", "lite.topic.expiration": "-1"},
        ),
        ({"message.type": "FIFO"}, "-message.type", {}),
    ],
)
def test_changes(known: dict[str, str] | None, text: str, after: dict[str, str]) -> None:
    assert changed(known, read_changes(text)) == after


@pytest.mark.parametrize(
    ("known", "text", "why"),
    [
        (None, "nonsense", "neither"),
        (None, "message.type=FIFO", "neither"),
        (None, "+message.type=", "neither"),
        (None, "+message.type=FIFO,+message.type=FIFO", "twice"),
        (None, "+nothing=1", "not supported"),
        (None, "+message.type=WRONG", "not one of"),
        (None, "+reserve.time=5", "tiered storage"),
        (None, "+lite.topic.expiration=100000", "a number from -1"),
        (None, "-message.type", "no attribute"),
        ({}, "-message.type", "no attribute"),
        ({}, "+queue.type=BatchCQ", "cannot be changed"),
        ({}, "+a-b=1", "cannot be read"),
    ],
)
def test_changes_that_are_refused(known: dict[str, str] | None, text: str, why: str) -> None:
    with pytest.raises(BrokerError, match=why) as refused:
        changed(known, read_changes(text))
    assert refused.value.code == ResponseCode.SYSTEM_ERROR
