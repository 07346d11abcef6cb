"""Batches: what is refused, and the encoded form."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from aiorocketmq.errors import InvalidMessageError
from aiorocketmq.model.message import Message
from aiorocketmq.model.properties import decode_properties
from aiorocketmq.producer.batch import build_batch
from aiorocketmq.protocol.message_codec import decode_batch

pytestmark = pytest.mark.feature("A15")


def ids() -> itertools.count[int]:
    return itertools.count(1)


def test_ids_bodies_and_properties() -> None:
    numbers = ids()
    messages = [Message("t", b"a", tag="x"), Message("t", b"bc", properties={"p": "ü"}, flag=-1)]
    batch = build_batch(messages, lambda count: [f"ID{next(numbers)}" for _ in range(count)])
    assert (batch.topic, batch.message_ids, batch.properties) == ("t", "ID1,ID2", "WAIT\x01true\x02")
    first, second = decode_batch(batch.body)
    assert (first.flag, first.body, second.flag, second.body) == (0, b"a", -1, b"bc")
    assert decode_properties(first.properties) == {"UNIQ_KEY": "ID1", "WAIT": "true", "TAGS": "x"}
    assert decode_properties(second.properties) == {"UNIQ_KEY": "ID2", "WAIT": "true", "p": "ü"}


def test_every_kind_of_message_keeps_its_place_and_its_properties() -> None:
    plain = Message("t", b"first")
    others: list[dict[str, Any]] = [
        {"tag": "x"},
        {"keys": "k"},
        {"properties": {"p": "v"}},
        {"sharding_key": "s"},
        {"buyer_id": "b"},
        {"flag": 7},
    ]
    messages = [each for other in others for each in (plain, Message("t", b"other", **other))]
    numbers = itertools.count(10)
    batch = build_batch(messages, lambda count: [f"ID{next(numbers)}" for _ in range(count)], any_queue=False)
    items = decode_batch(batch.body)
    assert [item.body for item in items] == [message.body for message in messages]
    assert [item.flag for item in items] == [message.flag for message in messages]
    texts = [message.wire_text(f"ID{number}").encode() for number, message in enumerate(messages, 10)]
    assert [item.properties for item in items] == texts


@pytest.mark.parametrize("delay", [{"delay": 1.5}, {"deliver_at": 1e9}, {"delay_level": 3}])
def test_a_delayed_message_among_others_is_refused(delay: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessageError, match="message 1 of the batch asks for a delay"):
        build_batch([Message("t", b"a"), Message("t", b"b", **delay)], lambda count: ["I"] * count)


def test_wait_store_ok_of_the_messages_is_that_of_the_batch() -> None:
    batch = build_batch([Message("t", b"a", wait_store_ok=False)], lambda count: ["I"])
    assert batch.properties == "WAIT\x01false\x02"


ONE = Message("t", b"x")


@pytest.mark.parametrize("messages", [ONE, {ONE}, {0: ONE}, iter([ONE]), 5, None])
def test_what_is_no_list_is_refused(messages: Any) -> None:
    with pytest.raises(InvalidMessageError, match="not a list"):
        build_batch(messages, lambda count: ["A" * 32] * count)


@pytest.mark.feature("A21", "B27")
@pytest.mark.parametrize(
    ("fields", "words"), [({"priority": 1}, "a priority"), ({"light_queues": "a"}, "light queues"), ({"delay_level": 1}, "a delay")]
)
def test_what_brokers_look_for_in_single_messages_only_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidMessageError, match=f"message 1 of the batch asks for {words}"):
        build_batch([ONE, Message("t", b"x", **fields)], lambda count: ["A" * 32] * count)
