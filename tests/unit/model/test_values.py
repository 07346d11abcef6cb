"""Queues, results, routes, subscriptions and enums."""

from __future__ import annotations

import copy
import pickle

import pytest

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.enums import ConsumeResult, MessageModel, Permission, SendStatus, ServiceState, StartFrom
from aiorocketmq.model.filters import SQL, build_subscription
from aiorocketmq.model.message import Message
from aiorocketmq.model.names import java_hash
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import Retry, SendResult, Suspend
from aiorocketmq.model.route import BrokerData, QueueData, TopicRouteData
from aiorocketmq.protocol.command import RemotingCommand


def test_queues_sort_like_those_of_java() -> None:
    queues = [MessageQueue("b", "a", 0), MessageQueue("a", "b", 0), MessageQueue("a", "a", 10), MessageQueue("a", "a", 9)]
    assert sorted(queues) == [queues[3], queues[2], queues[1], queues[0]]
    assert str(queues[1]) == "a@b:0" and len({*queues, MessageQueue("a", "b", 0)}) == 4


@pytest.mark.feature("A22", "A24")
def test_only_send_ok_is_a_full_success() -> None:
    queue = MessageQueue("t", "b", 0)
    assert [status for status in SendStatus if SendResult(status, "m", "o", queue, 0).ok] == [SendStatus.SEND_OK]
    assert {status.name: status.value for status in SendStatus} == {
        "SEND_OK": 0,
        "FLUSH_DISK_TIMEOUT": 10,
        "SLAVE_NOT_AVAILABLE": 11,
        "FLUSH_SLAVE_TIMEOUT": 12,
    }


def test_enums_keep_the_names_of_java() -> None:
    assert [state.name for state in ServiceState] == ["CREATE_JUST", "RUNNING", "SHUTDOWN_ALREADY", "START_FAILED"]
    assert [model.name for model in MessageModel] == ["CLUSTERING", "BROADCASTING"]
    assert StartFrom.TIMESTAMP.value == "CONSUME_FROM_TIMESTAMP"
    assert ConsumeResult.RECONSUME_LATER.name == "RECONSUME_LATER"
    assert Permission.READ | Permission.WRITE == 6 and Permission.INHERIT == 1


@pytest.mark.feature("F26")
def test_retries_and_suspensions_are_checked() -> None:
    assert Retry() == Retry(0, 0) and Retry(-1).delay_level == -1 and Suspend().delay is None
    for level in (-2, 19):
        with pytest.raises(ConfigError, match="delay_level"):
            Retry(level)
    with pytest.raises(ConfigError, match="acknowledged"):
        Retry(acknowledged=-1)
    for delay in (0.0, 0.009, 30.1):
        with pytest.raises(ConfigError, match="delay"):
            Suspend(delay)


@pytest.mark.feature("K18")
def test_routes_compare_whatever_their_order() -> None:
    one, two = QueueData("a", 4, 4), QueueData("b", 4, 4)
    first, second = BrokerData("c", "a", {0: "x:1"}), BrokerData("c", "b", {0: "y:1"})
    assert TopicRouteData((one, two), (first, second)).sorted() == TopicRouteData((two, one), (second, first)).sorted()
    assert TopicRouteData((one,), (first,)).sorted() != TopicRouteData((one,), (second,)).sorted()


@pytest.mark.feature("B14")
@pytest.mark.parametrize(
    ("perm", "readable", "writable"), [(6, True, True), (4, True, False), (2, False, True), (7, True, True), (0, False, False)]
)
def test_permissions_of_a_queue(perm: int, readable: bool, writable: bool) -> None:
    data = QueueData("a", 4, 4, perm)
    assert (data.readable, data.writable) == (readable, writable)


@pytest.mark.feature("F17")
def test_subscriptions() -> None:
    for text in (None, "", "*", " * "):
        everything = build_subscription("t", text, 5)
        assert (everything.expression, everything.tags, everything.version) == ("*", frozenset(), 5)
        assert everything.matches_tag(None) and everything.matches_tag("x")
    tags = build_subscription("t", "TagA || TagB||TagA", 1)
    assert tags.tags == {"TagA", "TagB"} and tags.codes == {java_hash("TagA"), java_hash("TagB")} and tags.is_tag
    assert tags.matches_tag("TagA") and not tags.matches_tag("TagC") and not tags.matches_tag(None)
    sql = build_subscription("t", SQL("a > 1"), 1)
    assert (sql.expression, sql.expression_type, sql.is_tag) == ("a > 1", "SQL92", False)
    with pytest.raises(ConfigError, match="no tag"):
        build_subscription("t", "|| ||", 1)
    with pytest.raises(ConfigError, match="empty"):
        SQL(" ")


@pytest.mark.feature("F18")
def test_a_filter_can_be_tried_here() -> None:
    sql = SQL("price > 10 AND TAGS = 'A'")
    assert sql.matches({"price": "11", "TAGS": "A"}) and not sql.matches({"price": "9", "TAGS": "A"})
    assert sql.evaluate({"TAGS": "A"}) is None and not sql.matches({"price": "x", "TAGS": "A"})
    assert sql.matches(Message("t", b"x", tag="A", properties={"price": "11"}).wire_properties())
    with pytest.raises(ConfigError, match="no whole number"):
        sql.evaluate({"price": "x"})
    wrong = SQL("price >")  # the broker has the last word on it
    for ask in (wrong.matches, wrong.evaluate):
        with pytest.raises(ConfigError, match="column 8"):
            ask({})


@pytest.mark.feature("F18", "F20")
@pytest.mark.parametrize(
    ("expression", "rest"), [("a = 1 b = 2", "b = 2"), ("a-b > 3", "-b > 3"), ("a = 1 AN b = 2", "AN b"), ("a LIKE 'x'", "LIKE")]
)
def test_a_filter_whose_end_brokers_would_ignore_is_refused(expression: str, rest: str) -> None:
    with pytest.raises(ConfigError, match=f"ends before ['\"]{rest}.*would ignore the rest"):
        SQL(expression)


@pytest.mark.feature("F19")
def test_what_is_no_filter_is_refused_by_its_name() -> None:
    class PriceFilter:
        pass

    with pytest.raises(ConfigError, match=r"filter class, 'PriceFilter'.*do not run classes any more.*SQL"):
        build_subscription("t", PriceFilter, 1)  # type: ignore[arg-type]
    for wrong in (5, b"TagA", ["TagA"], True):
        with pytest.raises(ConfigError, match=f"of topic 't' is a {type(wrong).__name__}"):
            build_subscription("t", wrong, 1)  # type: ignore[arg-type]


QUEUE = MessageQueue("t", "b", 1)


@pytest.mark.parametrize(
    "value",
    [
        SendResult(SendStatus.SEND_OK, "m", "o", QUEUE, 3, "tx", None, "region", False),
        Retry(5, 2),
        Suspend(1.5),
        Suspend(),
        RemotingCommand(10, opaque=7, remark="r", ext_fields={"a": "b"}, body=b"body"),
    ],
    ids=repr,
)
def test_values_can_be_copied_and_pickled(value: object) -> None:
    assert copy.copy(value) == copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value


def test_received_messages_can_be_copied_and_pickled() -> None:
    host = bytes(4)
    message = ReceivedMessage("t", b"b", b"TAGS\x01x\x02", QUEUE, 9, 2, 3, 4, 5, host, 6, 7, host, 8, 1, 10, 11, 12)
    for twin in (copy.copy(message), copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert repr(twin) == repr(message) and (twin.body, twin.tag, twin.store_host) == (b"b", "x", "0.0.0.0:8")
        assert (twin.flag, twin.sys_flag, twin.store_size, twin.body_crc) == (3, 4, 11, 12)
