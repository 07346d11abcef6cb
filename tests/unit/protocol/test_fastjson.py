from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol import fastjson
from tests.unit.protocol.test_jsoncodec import json_values

QUEUE = MessageQueue("T", "b", 0)
QUEUE_STEP = r"MessageQueue\\ \\[topic\\=T\\,\\ brokerName\\=b\\,\\ queueId\\=0\\]"
QUEUE_TEXT = '{"brokerName":"b","queueId":0,"topic":"T"}'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        ('{"a":1}', {"a": 1}),
        ('{0:"x",1:"y"}', {0: "x", 1: "y"}),
        ("{-5:{1:2}}", {-5: {1: 2}}),
        (f"{{{QUEUE_TEXT}:7}}", {QUEUE: 7}),
        ('{"t":{{"topic":"T","brokerName":"b","queueId":0}:{"maxOffset":4}}}', {"t": {QUEUE: {"maxOffset": 4}}}),
        ('{{"b":1,"a":[1,{"c":2}]}:3}', {(("a", (1, (("c", 2),))), ("b", 1)): 3}),
        ("{[1,2]:3}", {(1, 2): 3}),
        ("{key:'it\\'s',$x_1:\"y\"}", {"key": "it's", "$x_1": "y"}),
        (" { 0 : [ 1 , 2.5 , -3e2 , true , false , null ] } \n", {0: [1, 2.5, -300.0, True, False, None]}),
        ("{0:1L,1:2.0D,2:.5}", {0: 1, 1: 2.0, 2: 0.5}),
        ('{0:"\\u4e2d\\ud83d\\ude80\\n\\x41\\/"}', {0: "中🚀\nA/"}),
        ("{0:[1,2,],}", {0: [1, 2]}),
        ("{0:NaN}", {0: None}),
        ("[{0:1}]", [{0: 1}]),
        ('{0:""}', {0: ""}),
    ],
)
def test_dialect(codec: str, text: str, value: Any) -> None:
    assert fastjson.loads(text.encode()) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":{"x":1},"b":{"$ref":"$.a"}}', {"a": {"x": 1}, "b": {"x": 1}}),
        ('{"a":[{"x":1}],"b":{"$ref":"$.a[0]"}}', {"a": [{"x": 1}], "b": {"x": 1}}),
        ('{"a":{0:[5]},"b":{"$ref":"$.a.0"}}', {"a": {0: [5]}, "b": [5]}),
        ('{"a":{"b.c":7},"d":{"$ref":"$.a.b\\\\.c"}}', {"a": {"b.c": 7}, "d": 7}),
        ('{"a":{"b.c":7},"d":{"$ref":"$.a[\\"b.c\\"]"}}', {"a": {"b.c": 7}, "d": 7}),
        ('{"a":[{"x":1}],"b":{"$ref":"$.a[%s]"}}' % ("1" * 5000), {"a": [{"x": 1}], "b": None}),
        ('{"a":{"$ref":"@"}}', {"a": None}),
        ('{"a":{"$ref":".."}}', {"a": None}),
        ('{"a":{"$ref":"$"}}', {"a": None}),
        ('{"a":{"$ref":"$.a"}}', {"a": None}),
        ('{"a":{"$ref":"$.b"},"b":{"$ref":"$.a"}}', {"a": None, "b": None}),
        ('{"a":{"$ref":"$.nothing.here[3]"}}', {"a": None}),
        ('{"a":[1],"b":{"$ref":"$.a[9]"}}', {"a": [1], "b": None}),
        ('{"a":{"$ref":"$!!"}}', {"a": None}),
        ('{"a":{"$ref":5}}', {"a": {"$ref": 5}}),
        (f'{{"p":{{{QUEUE_TEXT}:1}},"q":{{{{"$ref":"$.p.null"}}:2}}}}', {"p": {QUEUE: 1}, "q": {QUEUE: 2}}),
        (
            f'{{"p":{QUEUE_TEXT},"q":{{{{"$ref":"$.p"}}:2}}}}',
            {"p": dict(zip(("topic", "brokerName", "queueId"), QUEUE, strict=True)), "q": {QUEUE: 2}},
        ),
        (
            f'{{"t":{{{QUEUE_TEXT}:{{"x":1}},0:{{"$ref":"$.t.{QUEUE_STEP}"}}}}}}',
            {"t": {QUEUE: {"x": 1}, 0: {"x": 1}}},
        ),
    ],
)
def test_references(codec: str, text: str, value: Any) -> None:
    assert fastjson.loads(text.encode()) == value


def test_shared_queue_keys_are_found_in_order(codec: str) -> None:
    keys = [MessageQueue("T", "b", number) for number in range(3)]
    first = ",".join(f'{{"brokerName":"b","queueId":{key.queue_id},"topic":"T"}}:{key.queue_id}' for key in keys)
    second = ",".join(f'{{"$ref":"$.mqPopTable.null"}}:{number}' for number in (10, 11, 12, 13))
    value = fastjson.loads(f'{{"mqPopTable":{{{first}}},"mqTable":{{{second}}}}}'.encode())
    assert list(value["mqTable"].values()) == [10, 11, 12, 13]
    assert list(value["mqTable"])[:3] == keys
    assert value["mqTable"]["$ref", "$.mqPopTable.null"] == 13


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "{0", "{0:", "{0:1", "[1", "{0:1}x", "{0:'a", '{0:"a\\', '{0:"\\u12', '{0:"\\uzzzz"}', '{0:"\\q"}', "{0:tru}", "{0 1}",
        "{0:1 2:3}",
        "[1 2]", "{:1}", "[0:1]", "{0:--1}", "{0:}", "{0:" + "[" * 200, "{0:" * 200, "{0:1" + "0" * 500 + "}",
    ],
)  # fmt: skip
def test_nonsense_is_named(codec: str, text: str) -> None:
    with pytest.raises(ProtocolError, match="JSON body"):
        fastjson.loads(text.encode())


@pytest.mark.parametrize("depth", [2_000, 100_000])
@pytest.mark.parametrize("piece", [b"[", b'{"a":', b"{0:", b'{"$ref":'])
def test_deep_nesting_is_refused(codec: str, piece: bytes, depth: int) -> None:
    with pytest.raises(ProtocolError):
        fastjson.loads(piece * depth)


def test_references_to_a_large_part_share_it_and_too_many_are_refused(codec: str) -> None:
    """What reads the value further makes a copy for each reference, so few bytes must not stand for very many parts."""
    large = ",".join(str(number) for number in range(20_000))
    text = f'{{"a":[{large}],"b":[%s]}}'
    value = fastjson.loads((text % ",".join(['{"$ref":"$.a"}'] * 49)).encode())
    assert value["b"][48] is value["b"][0]
    for count in (50, 20_000):
        with pytest.raises(ProtocolError, match="the references of the JSON body stand for more than 1000000 parts"):
            fastjson.loads((text % ",".join(['{"$ref":"$.a"}'] * count)).encode())


@given(json_values)
def test_strict_json_reads_as_ever(value: Any) -> None:
    text = json.dumps(value).encode()
    if b'"$ref"' not in text:
        assert fastjson.loads(text) == value
        assert fastjson._Parser(text.decode()).document() == value


@given(st.text("{}[]:,\"'0123$refab \\u-.eE", max_size=40))
def test_any_text_gives_a_value_or_a_protocol_error(text: str) -> None:
    try:
        fastjson.loads(text.encode())
    except ProtocolError:
        return


@given(st.binary(max_size=40))
def test_any_bytes_give_a_value_or_a_protocol_error(data: bytes) -> None:
    try:
        fastjson.loads(data)
    except ProtocolError:
        return


keys = (
    st.integers(-(2**31), 2**31 - 1)
    | st.text(max_size=5).filter(lambda key: key != "$ref")
    | st.builds(MessageQueue, st.text(), st.text(), st.integers(0, 9))
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_dialect_round_trip(value: Any) -> None:
    assert fastjson.loads(fastjson.dumps(value)) == value


def test_forms_of_writing(codec: str) -> None:
    assert fastjson.dumps({0: "x", "a": [True, None, 1.5]}) == b'{0:"x","a":[true,null,1.5]}'
    assert fastjson.dumps({0: {1: 2}}, strict=True) == b'{"0":{"1":2}}'
    assert fastjson.dumps({QUEUE: 1}) == f"{{{QUEUE_TEXT}:1}}".encode()
    assert fastjson.dumps({}) == b"{}"
    assert fastjson.dumps([]) == b"[]"
