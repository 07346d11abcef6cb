"""Records of the message trace are Java's, to the letter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aiorocketmq.model.enums import TransactionState
from aiorocketmq.protocol.trace import EndTransaction, Pub, Recall, SubAfter, SubBefore, TracedKind, TraceRecord, encode_record, record_keys

LINES = [
    json.loads(line)
    for version in ("4.9.7", "5.5.0")
    for line in Path(__file__).with_name(f"trace-{version}.jsonl").read_text("utf-8").splitlines()
]
STATES = (TransactionState.COMMIT, TransactionState.ROLLBACK, TransactionState.UNKNOWN)


def record(kind: str, number: int, success: bool) -> TraceRecord:
    """What `TraceRecords.java` made."""
    region = None if number == 3 else "DefaultRegion"
    message_id, tag, keys = f"7F000001000051AF00000000ED31C7A{number}", f"TagÄ{number}", f"key{number} another"
    where = (None, None) if number == 1 else (tag, keys)
    at, group, host, request = 1700000000000 + number, f"group{number}", "127.0.0.1:10911", f"7F000001000051AF00000000ED31C7B{number}"
    if kind == "Pub":
        offset_id, traced = f"7F00000100002A9F00000000000000{number}0", TracedKind(number)
        return Pub(at, region, group, "orders", message_id, *where, host, 1024 * number, number * 7, traced, offset_id, success)
    if kind == "SubBefore":
        return SubBefore(at, region, group, request, message_id, number, where[1])
    if kind == "SubAfter":
        return SubAfter(request, message_id, number * 7, success, where[1], number, at, group)
    if kind == "EndTransaction":
        return EndTransaction(
            at, region, group, "orders", message_id, *where, host, message_id, STATES[number % 3].value, number % 2 == 1, TracedKind(number)
        )  # fmt: skip
    return Recall(at, region, group, "orders", message_id, success)


@pytest.mark.feature("E9")
@pytest.mark.parametrize("item", LINES, ids=[f"{number}-{item['type']}" for number, item in enumerate(LINES)])
def test_a_record_is_that_of_java(item: dict[str, object]) -> None:
    made = record(str(item["type"]), int(str(item["number"])), bool(item["success"]))
    assert encode_record(made) == item["text"]
    keys = {made.message_id} if isinstance(made, Recall) else set(record_keys(made))
    assert keys <= set(str(item["keys"]).split("|"))
    if not isinstance(made, Recall):
        assert keys == set(str(item["keys"]).split("|"))


@pytest.mark.feature("E9")
def test_all_kinds_of_records_are_there() -> None:
    assert {item["type"] for item in LINES} == {"Pub", "SubBefore", "SubAfter", "EndTransaction", "Recall"}
