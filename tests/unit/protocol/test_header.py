from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiorocketmq.errors import ConfigError, ProtocolError
from aiorocketmq.protocol import (
    admin_access,
    admin_brokers,
    admin_containers,
    admin_ha,
    admin_lite,
    admin_topics,
    headers_access,
    headers_admin,
    headers_client,
    headers_pop,
)
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import Header, RpcHeader, TopicHeader, camel_case, parse_int, wire
from aiorocketmq.protocol.limits import Between, Limit, Text
from aiorocketmq.protocol.record import MISSING, fields_of

ALL = sorted(
    {
        item
        for module in (
            headers_client,
            headers_admin,
            headers_access,
            headers_pop,
            admin_access,
            admin_brokers,
            admin_containers,
            admin_ha,
            admin_lite,
            admin_topics,
        )
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Header) and item not in (Header, RpcHeader, TopicHeader)
    },
    key=lambda item: item.__name__,
)


def _values_of(hint: type, limit: Limit | None) -> st.SearchStrategy[Any]:
    if hint is bool:
        return st.booleans()
    if isinstance(limit, Between):
        return st.integers(limit.low, limit.high)
    if isinstance(limit, Text):
        return st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=limit.least, max_size=min(limit.most, 20))
    return st.text(min_size=1) if hint is str else st.integers(-(2**63), 2**63 - 1)


def _values(kind: type[Header]) -> st.SearchStrategy[Header]:
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in fields_of(kind):
        values = _values_of(field.hint, field.limit)
        fields[field.attribute] = st.none() | values if field.default is None else values
    return st.builds(kind, **fields)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@settings(max_examples=10)
@given(st.data())
def test_every_header_survives_the_wire(kind: type[Header], data: st.DataObject) -> None:
    header = data.draw(_values(kind))
    ext = header.to_ext()
    assert all(type(name) is str and type(value) is str for name, value in ext.items())
    assert kind.from_ext(ext) == header


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_missing_required_field_is_named(kind: type[Header]) -> None:
    required = [field for field in fields_of(kind) if field.default is MISSING]
    if not required:
        assert kind.from_ext({}) == kind()
        return
    with pytest.raises(ProtocolError, match=rf"{kind.__name__}: the field '\w+' is missing"):
        kind.from_ext({})


def test_requests_have_a_code_and_answers_have_none() -> None:
    for kind in ALL:
        if "Response" in kind.__name__:
            assert kind.CODE is None
        else:
            assert kind.CODE in set(RequestCode)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("topic", "topic"), ("max_msg_nums", "maxMsgNums"), ("proxy_froward_client_id", "proxyFrowardClientId"), ("body_crc32", "bodyCrc32")],
)
def test_camel_case(name: str, expected: str) -> None:
    assert camel_case(name) == expected


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "1_000", "0x10", "1.5", "١", "9223372036854775808", "-9223372036854775809", "9" * 5000, "nan"]
)
def test_integers_are_strict(text: str) -> None:
    with pytest.raises(ProtocolError, match="not an integer of 64 bits"):
        parse_int(text, "x")


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-1", -1), ("+5", 5), ("007", 7), ("9223372036854775807", 2**63 - 1)])
def test_integers(text: str, value: int) -> None:
    assert parse_int(text, "x") == value


def test_a_bad_value_is_named() -> None:
    with pytest.raises(ProtocolError, match="QueryConsumerOffsetResponseHeader: the field 'offset' is 'x'"):
        headers_client.QueryConsumerOffsetResponseHeader.from_ext({"offset": "x"})


def test_booleans_read_as_java_does() -> None:
    read = headers_client.HeartbeatResponseHeader.from_ext
    assert read({"IS_SUPPORT_HEART_BEAT_V2": "TRUE"}).supports_v2 is True
    assert read({"IS_SUPPORT_HEART_BEAT_V2": "yes"}).supports_v2 is False
    assert read({}).supports_v2 is None


def test_wire_names() -> None:
    assert headers_client.UnregisterClientRequestHeader("c").to_ext() == {"clientID": "c"}
    pull = headers_client.PullMessageRequestHeader("g", "t", 1, 2, 3, 4, 5, 6, 7, bname="b", lo=False)
    assert pull.to_ext() == {
        "consumerGroup": "g", "topic": "t", "queueId": "1", "queueOffset": "2", "maxMsgNums": "3", "sysFlag": "4", "commitOffset": "5",
        "suspendTimeoutMillis": "6", "subVersion": "7", "bname": "b", "lo": "false",
    }  # fmt: skip
    send = headers_client.SendMessageRequestHeaderV2("p", "t", "d", 1, 2, 3, 4, 5, "x", 6, True, 7, False, "b")
    assert send.to_ext() == {
        "a": "p", "b": "t", "c": "d", "d": "1", "e": "2", "f": "3", "g": "4", "h": "5", "i": "x", "j": "6", "k": "true", "l": "7",
        "m": "false", "n": "b",
    }  # fmt: skip


def test_unknown_names_are_ignored() -> None:
    header = headers_client.GetMinOffsetResponseHeader.from_ext({"offset": "4", "newThing": "1"})
    assert header.offset == 4


def test_a_header_of_another_type_is_refused() -> None:
    class Bad(Header):
        ratio: float = wire("r", default=0.5)

    with pytest.raises(TypeError, match="str, int and bool only"):
        Bad().to_ext()


@pytest.mark.parametrize("kind", [kind for kind in ALL if "Response" not in kind.__name__], ids=lambda kind: kind.__name__)
def test_every_field_of_a_request_has_a_limit(kind: type[Header]) -> None:
    assert [field.attribute for field in fields_of(kind) if field.hint is not bool and field.limit is None] == []


def test_limits_are_checked_when_a_header_is_written() -> None:
    header = headers_admin.CreateTopicRequestHeader("orders", "TBW102", 70000, 8, 6)
    with pytest.raises(ConfigError, match=r"CreateTopicRequestHeader\.read_queue_nums is 70000; integers from 0 to 65535 are allowed"):
        header.to_ext()


def test_limits_are_checked_when_a_request_is_read_and_not_when_an_answer_is() -> None:
    ext = {"topic": "orders", "queueId": "65535"}
    assert headers_client.GetMinOffsetRequestHeader.from_ext(ext).queue_id == 65535
    with pytest.raises(ConfigError, match="the field 'queueId' is 65535; integers from 0 to 65534 are allowed"):
        headers_client.GetMinOffsetRequestHeader.from_ext(ext, limited=True)


@pytest.mark.parametrize("topic", ["", "a\udcff", "a\0", "a" * 512])
def test_names_are_proper_text(topic: str) -> None:
    with pytest.raises(ConfigError, match="the field 'topic'"):
        headers_client.GetRouteInfoRequestHeader.from_ext({"topic": topic}, limited=True)
