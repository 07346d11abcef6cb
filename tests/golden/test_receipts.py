"""Receipts of popped messages, and what answers to a pop say of them, are read and written as in Java."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.errors import ConfigError, ProtocolError
from aiorocketmq.model.names import pop_retry_topic
from aiorocketmq.model.receipt import Receipt, kind_of
from aiorocketmq.protocol.headers_pop import BatchAckMessageRequestBody
from aiorocketmq.protocol.pop import batch_acks, message_offsets, order_counts, start_offsets

LINES = [json.loads(line) for line in Path(__file__).with_name("receipts-5.5.0.jsonl").read_text("utf-8").splitlines()]


def of(kind: str) -> list[Any]:
    found = [pytest.param(line["input"], line["output"], id=str(number)) for number, line in enumerate(LINES) if line["kind"] == kind]
    assert found
    return found


@pytest.mark.feature("H7")
@pytest.mark.parametrize(("parts", "text"), of("made"))
def test_a_receipt_is_written_as_in_java(parts: list[Any], text: str) -> None:
    topic, start, pop_time, invisible, revive, queue_id, offset = parts
    assert Receipt(start, pop_time, invisible, revive, kind_of(topic), "broker-a", queue_id, offset).encode() == text


@pytest.mark.feature("H7", "H8")
@pytest.mark.parametrize(("text", "parts"), of("read"))
def test_a_receipt_is_read_as_in_java(text: str, parts: list[Any] | None) -> None:
    if parts is None:
        with pytest.raises(ConfigError, match="is none"):
            Receipt.decode(text)
        return
    receipt = Receipt.decode(text)
    assert [*receipt, receipt.topic_of("orders", "g"), receipt.ordered] == parts


def keyed(table: Any) -> dict[str, Any]:
    return {"@".join(key): value for key, value in table.items()}


@pytest.mark.feature("H7")
@pytest.mark.parametrize(
    ("read", "text", "wanted"),
    [
        pytest.param(read, *case.values, id=f"{kind}-{case.id}")
        for kind, read in (("starts", start_offsets), ("offsets", message_offsets), ("counts", order_counts))
        for case in of(kind)
    ],
)
def test_a_table_is_read_as_in_java(read: Any, text: str, wanted: dict[str, Any] | None) -> None:
    if wanted is None:
        with pytest.raises(ProtocolError, match="of a pop is damaged"):
            read(text)
        return
    assert keyed(read(text)) == wanted


@pytest.mark.feature("H8")
@pytest.mark.parametrize(("names", "topics"), of("topics"))
def test_retry_topics_have_the_names_of_java(names: list[str], topics: list[str]) -> None:
    topic, group = names
    assert [pop_retry_topic(group, topic), pop_retry_topic(group, topic, v2=True), topic, topic] == topics


@pytest.mark.feature("H3")
@pytest.mark.parametrize(("bits", "body"), of("batch"))
def test_acknowledgements_are_joined_as_in_java(bits: list[int], body: dict[str, Any]) -> None:
    receipts = [("orders", Receipt(100, 1_700_000_000_001, 60_000, 3, "0", "broker-a", 2, 100 + bit)) for bit in bits]
    assert json.loads(BatchAckMessageRequestBody("broker-a", batch_acks(receipts, "g")).encode()) == body
