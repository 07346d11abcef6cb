"""Ready-made selectors; hashes are those that Java computes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import InvalidMessageError
from aiorocketmq.model.message import Message
from aiorocketmq.model.names import java_hash
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.producer.selectors import SelectByHash, SelectByRandom, SelectRoundRobin, hash_index

QUEUES = tuple(MessageQueue("t", "broker-a", number) for number in range(7))
MESSAGE = Message("t", b"x")

# Java: Math.abs(key.hashCode() % 7).
JAVA_INDEXES = {"": 0, "a": 6, "TagA": 1, "order-1": 6, "polygenelubricants": 2, "中文": 0, "🚀": 4, "hello world": 4, "\u0000": 0}


@pytest.mark.feature("B6")
@pytest.mark.parametrize(("key", "index"), JAVA_INDEXES.items())
def test_strings_hash_as_in_java(key: str, index: int) -> None:
    assert hash_index(key, 7) == index
    assert SelectByHash(key)(QUEUES, MESSAGE) == QUEUES[index]


@pytest.mark.feature("B6")
@pytest.mark.parametrize(
    ("key", "code"),
    [
        (0, 0),
        (5, 5),
        (-5, -5),
        (2**31 - 1, 2**31 - 1),
        (-(2**31), -(2**31)),
        (1 << 40, 256),
        (-(1 << 40) - 5, 260),
        (-(2**63), -(2**31)),
    ],
)
def test_numbers_hash_as_integer_and_long_in_java(key: int, code: int) -> None:
    assert hash_index(key, 1_000_003) == abs(code) % 1_000_003


@pytest.mark.feature("B6")
def test_the_hash_whose_absolute_value_java_does_not_have() -> None:
    assert java_hash("polygenelubricants") == -(2**31)
    # Java divides first: -2147483648 % 3 is -2, and abs(-2) is 2.
    assert hash_index("polygenelubricants", 3) == 2


@pytest.mark.parametrize("key", [5.5, float("nan"), b"key", True, [], object(), 2**63, 10**5000], ids=[str(number) for number in range(8)])
def test_a_key_is_a_string_or_a_number(key: object) -> None:
    with pytest.raises(InvalidMessageError, match=r"key .* 64 bits"):
        SelectByHash(key)  # type: ignore[arg-type]


def test_a_random_source_can_choose() -> None:
    with pytest.raises(InvalidMessageError, match=r"give a random\.Random"):
        SelectByRandom(5)  # type: ignore[arg-type]


@given(st.text(max_size=20), st.integers(1, 64))
def test_an_index_is_always_one_of_the_queues(key: str, count: int) -> None:
    assert 0 <= hash_index(key, count) < count


@pytest.mark.feature("A20", "B6")
def test_without_a_key_the_message_must_have_one() -> None:
    select = SelectByHash()
    assert select(QUEUES, Message("t", b"x", sharding_key="TagA")) == QUEUES[1]
    with pytest.raises(InvalidMessageError, match="has no key"):
        select(QUEUES, MESSAGE)


@pytest.mark.feature("B6")
def test_random_reaches_every_queue() -> None:
    select = SelectByRandom(random.Random(1))
    assert {select(QUEUES, MESSAGE) for _ in range(200)} == set(QUEUES)
    assert SelectByRandom()(QUEUES, MESSAGE) in QUEUES


@pytest.mark.feature("B6")
def test_round_robin_takes_turns_also_when_queues_come_and_go() -> None:
    select = SelectRoundRobin()
    assert [select(QUEUES, MESSAGE).queue_id for _ in range(9)] == [0, 1, 2, 3, 4, 5, 6, 0, 1]
    assert select(QUEUES[:2], MESSAGE) == QUEUES[1] and select(QUEUES[:2], MESSAGE) == QUEUES[0]
