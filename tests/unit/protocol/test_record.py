"""Comparison and text that headers and bodies share."""

from __future__ import annotations

import pytest

from aiorocketmq.protocol.bodies import TopicList
from aiorocketmq.protocol.headers_client import GetMaxOffsetRequestHeader, GetMinOffsetRequestHeader


def test_equal_when_every_field_is() -> None:
    assert GetMinOffsetRequestHeader("t", 1, bname="b") == GetMinOffsetRequestHeader("t", 1, bname="b")
    assert GetMinOffsetRequestHeader("t", 1, bname="b") != GetMinOffsetRequestHeader("t", 2, bname="b")
    assert GetMinOffsetRequestHeader("t", 1, bname="b") != GetMinOffsetRequestHeader("t", 1, bname="c")
    assert TopicList(["a"]) == TopicList(["a"])
    assert TopicList(["a"]) != TopicList(["b"])


def test_never_equal_to_another_class() -> None:
    assert GetMinOffsetRequestHeader("t", 1) != GetMaxOffsetRequestHeader("t", 1)


def test_text_names_class_and_fields() -> None:
    assert "GetMinOffsetRequestHeader(" in repr(GetMinOffsetRequestHeader("orders", 1))
    assert "topic='orders'" in repr(GetMinOffsetRequestHeader("orders", 1))


def test_not_hashable() -> None:
    with pytest.raises(TypeError):
        hash(TopicList(["a"]))
