"""Batches: what is refused, and the encoded form."""

from __future__ import annotations

import itertools

import pytest

from aiorocketmq.errors import InvalidMessageError
from aiorocketmq.model.message import Message
from aiorocketmq.model.properties import decode_properties
from aiorocketmq.producer.batch import build_batch, encode_text
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


def test_wait_store_ok_of_the_messages_is_that_of_the_batch() -> None:
    batch = build_batch([Message("t", b"a", wait_store_ok=False)], lambda count: ["I"])
    assert batch.properties == "WAIT\x01false\x02"


def test_property_text_has_a_limit() -> None:
    assert encode_text("x" * 32767) == b"x" * 32767
    with pytest.raises(InvalidMessageError, match="32768 bytes"):
        encode_text("x" * 32768)
    assert encode_text("\udcff") == b"\xff"
