from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from aiorocketmq.errors import ConfigError, ProtocolError
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol import bodies
from aiorocketmq.protocol.beans import Bean, check, field, from_json, to_json, wire


class Colour(Enum):
    RED = 0
    BLUE = 1


class Inner(Bean):
    count: int = 0


class Outer(Bean):
    name: str
    odd: int = wire("oddName", default=1)
    ratio: float = 0.0
    active: bool = False
    colour: Colour = Colour.RED
    inner: Inner | None = None
    items: list[Inner] = field(default_factory=list)
    table: dict[int, Inner] = field(default_factory=dict)
    queues: dict[MessageQueue, int] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    anything: Any = None
    subscription: SubscriptionData | None = None


FULL = Outer(
    "n", 2, 0.5, True, Colour.BLUE, Inner(1), [Inner(2)], {3: Inner(4)}, {MessageQueue("T", "b", 1): 5}, {"x", "y"}, {"k": [1]},
    SubscriptionData("T", "a || b", frozenset("ab"), frozenset((1, 2)), 6, "TAG"),
)  # fmt: skip


def test_round_trip(codec: str) -> None:
    assert Outer.decode(FULL.encode()) == FULL


def test_json_names() -> None:
    value = to_json(FULL)
    assert value["oddName"] == 2
    assert value["colour"] == "BLUE"
    assert value["tags"] == ["x", "y"]
    assert "odd" not in value
    assert to_json(Outer("n")) == {
        "name": "n", "oddName": 1, "ratio": 0.0, "active": False, "colour": "RED", "items": [], "table": {}, "queues": {}, "tags": [],
    }  # fmt: skip


def test_missing_null_and_unknown_fields(codec: str) -> None:
    assert Outer.decode(b'{"name":"n","oddName":null,"items":null,"newer":{"x":[1]}}') == Outer("n")
    with pytest.raises(ProtocolError, match=r"Outer\.name is missing"):
        Outer.decode(b"{}")


def test_lenient_scalars(codec: str) -> None:
    read = Outer.decode(b'{"name":5,"oddName":"7","ratio":"1.5","active":"true","inner":{"count":3.0},"table":{"9":{"count":1}}}')
    assert (read.name, read.odd, read.ratio, read.active, read.inner, read.table) == ("5", 7, 1.5, True, Inner(3), {9: Inner(1)})
    assert Outer.decode(b'{"name":true}').name == "true"
    assert Outer.decode(b'{"name":"n","table":{0:{},1:null}}').table == {0: Inner()}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b"", "Outer: the body is empty"),
        (b"[]", r"Outer: Outer is '\[\]', not an object"),
        (b"{nope", "Outer: the JSON body does not parse"),
        (b'{"name":{}}', r"Outer\.name is '\{\}', not a string"),
        (b'{"name":"n","oddName":"x"}', r"Outer\.oddName is 'x', not an integer"),
        (b'{"name":"n","oddName":true}', r"Outer\.oddName is 'True', not an integer"),
        (b'{"name":"n","oddName":1e999}', r"Outer\.oddName is 'inf', not an integer|does not parse"),
        (b'{"name":"n","ratio":[]}', r"Outer\.ratio is '\[\]', not a number"),
        (b'{"name":"n","ratio":"x"}', r"Outer\.ratio is 'x', not a number"),
        (b'{"name":"n","active":1}', r"Outer\.active is '1', not true or false"),
        (b'{"name":"n","colour":"GREEN"}', r"Outer\.colour is 'GREEN', not one of RED, BLUE"),
        (b'{"name":"n","colour":[]}', r"Outer\.colour"),
        (b'{"name":"n","inner":5}', r"Outer\.inner is '5', not an object"),
        (b'{"name":"n","items":{}}', r"Outer\.items is '\{\}', not a list"),
        (b'{"name":"n","items":[{},{"count":"x"}]}', r"Outer\.items\[1\]\.count is 'x'"),
        (b'{"name":"n","table":{"a":{}}}', r"key of Outer\.table is 'a', not an integer"),
        (b'{"name":"n","table":{"1":{"count":[]}}}', r"Outer\.table\[1\]\.count"),
        (b'{"name":"n","queues":{"T":1}}', r"key of Outer\.queues is 'T', not an object"),
        (b'{"name":"n","queues":{{"topic":"T","brokerName":"b","queueId":"x","z":1}:1}}', r"key of Outer\.queues\.queueId is 'x'"),
        (b'{"name":"n","queues":{{"topic":"T"}:1}}', r"key of Outer\.queues\.brokerName is 'None'"),
        (b'{"name":"n","subscription":{"topic":"T","codeSet":[1,"x"]}}', r"Outer\.subscription\.codeSet is 'x'"),
        (b'{"name":"n","subscription":{"tagsSet":5,"topic":"T"}}', r"Outer\.subscription\.tagsSet is '5', not a list"),
        (b'{"name":"n","subscription":[]}', r"Outer\.subscription is"),
        (b'{"name":"n","anything":' + b"[" * 500 + b"]" * 500 + b"}", r"Outer\.anything is nested deeper than 100"),
    ],
)
def test_wrong_types_are_named_by_their_path(codec: str, text: bytes, path: str) -> None:
    with pytest.raises(ProtocolError, match=path):
        Outer.decode(text)


def test_queue_keys_with_fields_of_newer_servers(codec: str) -> None:
    read = Outer.decode(b'{"name":"n","queues":{{"topic":"T","brokerName":"b","queueId":2,"extra":"x"}:4}}')
    assert read.queues == {MessageQueue("T", "b", 2): 4}


def test_a_type_without_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="no JSON form"):
        from_json(bytes, b"", "x")


def test_limits_are_checked_everywhere_in_a_body() -> None:
    check(FULL, "Outer")
    for body, path in (
        (Outer("n", 2**63), "Outer.oddName is 9223372036854775808, not an integer of 64 bits"),
        (Outer("n", queues={MessageQueue("", "b", 0): 1}), "key of Outer.queues.topic is empty"),
        (Outer("n", subscription=SubscriptionData("T\0", "*")), "Outer.subscription.topic is"),
        (
            bodies.SubscriptionGroupList([bodies.SubscriptionGroupConfig("g", retry_queue_nums=-1)]),
            r"groupConfigList\[0\].retryQueueNums is -1",
        ),
        (bodies.HeartbeatData("c", [bodies.ProducerData("\udcff")]), r"producerDataSet\[0\].groupName is"),
    ):
        with pytest.raises(ConfigError, match=path):
            check(body, type(body).__name__)
