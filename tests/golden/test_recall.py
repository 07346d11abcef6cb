"""Recall handles are those of Java, both ways."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.recall import RecallHandle

LINES = [json.loads(line) for line in Path(__file__).with_name("recall-5.5.0.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.feature("A19")
@pytest.mark.parametrize("item", LINES, ids=[str(number) for number in range(len(LINES))])
def test_a_handle_reads_as_in_java(item: dict[str, object]) -> None:
    handle, parts = str(item["handle"]), item["read"]
    if parts is None:
        with pytest.raises(ConfigError, match="is none") as caught:
            RecallHandle.decode(handle)
        assert "recall_handle" in caught.value.hint
        return
    assert isinstance(parts, list)
    read = RecallHandle.decode(handle)
    assert [read.topic, read.broker_name, str(read.deliver_ms), read.message_id] == parts
    if handle != "djEgYSBiIDEgYyBk":  # which has a part more
        assert read.encode().rstrip("=") == handle.rstrip("=")


@pytest.mark.feature("A19")
@pytest.mark.parametrize("wrong", [None, 5, b"djEgYSBiIDEgYw==", "ä", "x" * 5000])
def test_what_is_no_handle_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="is none"):
        RecallHandle.decode(wrong)
