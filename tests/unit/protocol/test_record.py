"""Comparison and text that headers and bodies share."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

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


def test_values_by_position_and_by_name() -> None:
    assert GetMinOffsetRequestHeader("t", queue_id=1).queue_id == 1
    cases: tuple[tuple[tuple[Any, ...], dict[str, Any], str], ...] = (
        (("t",), {}, "needs a value for 'queue_id'"),
        (("t", 1, "b"), {}, "takes 2 values by position, 3 were given"),
        (("t", 1), {"topic": "u"}, "two values for 'topic'"),
        (("t", 1), {"colour": "red"}, "no field 'colour'"),
    )
    for arguments, named, text in cases:
        with pytest.raises(TypeError, match=text):
            GetMinOffsetRequestHeader(*arguments, **named)


def test_defaults_are_not_shared() -> None:
    first, second = TopicList(), TopicList()
    first.topic_list.append("a")
    assert second.topic_list == []


def test_a_changed_copy() -> None:
    header = GetMinOffsetRequestHeader("t", 1, bname="b")
    assert header.replace(queue_id=2) == GetMinOffsetRequestHeader("t", 2, bname="b")
    assert copy.copy(header) == pickle.loads(pickle.dumps(header)) == header


def test_records_have_slots() -> None:
    with pytest.raises(AttributeError):
        TopicList().colour = "red"  # type: ignore[attr-defined]


def test_records_are_made_without_compiling_code() -> None:
    # A module that is imported for the first time may be compiled, too, but from its file.
    code = (
        "import importlib.util, sys\n"
        "import aiorocketmq.protocol.record, aiorocketmq.protocol.beans, aiorocketmq.model.route, aiorocketmq.model.enums\n"
        "from aiorocketmq.protocol import header\n"
        "made = []\n"
        "def hook(event, args):\n"
        "    if event == 'exec' and args[0].co_filename.startswith('<') and 'frozen' not in args[0].co_filename:\n"
        "        made.append(args[0].co_filename)\n"
        "sys.addaudithook(hook)\n"
        "from aiorocketmq.protocol import bodies, headers_admin, headers_client\n"
        "assert not made, made\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_consumer_does_without_the_records_of_administrators() -> None:
    code = (
        "import aiorocketmq.consumer.push, sys\n"
        "assert not {'aiorocketmq.protocol.bodies_admin', 'aiorocketmq.protocol.headers_admin'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
