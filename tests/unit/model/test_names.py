"""Names of topics and groups, and Java's string hash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import InvalidNameError
from aiorocketmq.model import names

# Computed by Java's String.hashCode().
JAVA_HASHES = {
    "": 0,
    "a": 97,
    "TagA": 2598919,
    "order-1": -1207111310,
    "polygenelubricants": -2147483648,
    "中文": 646394,
    "🚀": 1773027,
    "hello world": 1794106052,
    "\u0000": 0,
    "\ud800": 55296,
}


@pytest.mark.feature("B6", "A20")
@pytest.mark.parametrize(("text", "value"), JAVA_HASHES.items())
def test_the_hash_is_that_of_java(text: str, value: int) -> None:
    assert names.java_hash(text) == value


@pytest.mark.feature("B6")
@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=40))
def test_the_hash_follows_its_definition(text: str) -> None:
    value = 0
    for char in text:
        code = ord(char)
        units = (code,) if code < 0x10000 else (0xD800 + ((code - 0x10000) >> 10), 0xDC00 + ((code - 0x10000) & 0x3FF))
        for unit in units:
            value = (31 * value + unit) % 2**32
    assert names.java_hash(text) == (value - 2**32 if value >= 2**31 else value)


@pytest.mark.feature("P1")
@pytest.mark.parametrize("topic", ["orders", "a", "A-1_b", "%RETRY%g", "a|b", "x" * 127, "%RETRY%" + "x" * 248, "%DLQ%" + "x" * 250])
def test_legal_topics(topic: str) -> None:
    names.check_topic(topic)
    names.check_send_topic(topic)


@pytest.mark.feature("P1")
@pytest.mark.parametrize(
    "topic", ["", " ", "a b", "a.b", "a+b", "ä", "a/b", "a\n", "x" * 128, "%RETRY%" + "x" * 249, "%DLQ%" + "x" * 251, None, 1, b"a"]
)
def test_illegal_topics(topic: object) -> None:
    with pytest.raises(InvalidNameError, match="topic"):
        names.check_topic(topic)  # type: ignore[arg-type]


@pytest.mark.feature("P2")
def test_groups() -> None:
    names.check_group("x" * 120)
    for group in ["", "x" * 121, "a b", "%RETRY%" + "x" * 114, None]:
        with pytest.raises(InvalidNameError, match="group"):
            names.check_group(group)  # type: ignore[arg-type]


@pytest.mark.feature("P3")
@pytest.mark.parametrize(
    "topic",
    [
        "SCHEDULE_TOPIC_XXXX",
        "RMQ_SYS_TRANS_HALF_TOPIC",
        "RMQ_SYS_TRANS_OP_HALF_TOPIC",
        "TRANS_CHECK_MAX_TIME_TOPIC",
        "SELF_TEST_TOPIC",
        "OFFSET_MOVED_EVENT",
    ],
)
def test_topics_that_are_the_brokers_own(topic: str) -> None:
    names.check_topic(topic)
    with pytest.raises(InvalidNameError, match="not allowed"):
        names.check_send_topic(topic)
    assert names.is_system_topic(topic)


@pytest.mark.feature("P4")
def test_system_topics() -> None:
    for topic in ["TBW102", "BenchmarkTest", "RMQ_SYS_TRACE_TOPIC", "CHECKPOINT_TOPIC", "rmq_sys_wheel_timer"]:
        assert names.is_system_topic(topic)
        names.check_send_topic(topic)
    assert not names.is_system_topic("orders") and not names.is_system_topic("RMQ_SYS_other")
    assert names.is_system_group("CID_RMQ_SYS_TRANS") and not names.is_system_group("g")


def test_derived_topics() -> None:
    assert names.retry_topic("g") == "%RETRY%g" and names.is_retry_topic("%RETRY%g") and not names.is_retry_topic("g")
    assert names.dlq_topic("g") == "%DLQ%g" and names.is_dlq_topic("%DLQ%g") and not names.is_dlq_topic("g")
