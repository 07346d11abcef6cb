from __future__ import annotations

import itertools

import pytest

from aiorocketmq.model.enums import SerializeType
from aiorocketmq.protocol import command as module
from aiorocketmq.protocol.command import RemotingCommand, next_opaque
from aiorocketmq.protocol.headers_client import GetRouteInfoRequestHeader


@pytest.mark.feature("O4")
def test_opaque_wraps_and_is_never_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_opaques", itertools.count(0x7FFFFFFE))
    assert [next_opaque() for _ in range(4)] == [0x7FFFFFFE, 0x7FFFFFFF, 0, 1]


def test_request_takes_a_header_a_mapping_or_nothing() -> None:
    header = GetRouteInfoRequestHeader("orders")
    given = {"topic": "orders"}
    with_header = RemotingCommand.request(105, header)
    with_map = RemotingCommand.request(105, given)
    assert with_header.ext_fields == with_map.ext_fields == {"topic": "orders"}
    with_map.ext_fields["more"] = "1"
    assert given == {"topic": "orders"}
    assert RemotingCommand.request(34).ext_fields == {}
    assert with_map.opaque != with_header.opaque


@pytest.mark.feature("O4")
def test_flags() -> None:
    request = RemotingCommand.request(15, oneway=True)
    assert (request.flag, request.is_oneway, request.is_response) == (2, True, False)
    request = RemotingCommand.request(15, serialize_type=SerializeType.ROCKETMQ)
    response = RemotingCommand.response(request, 17, "no", {"a": "b"}, b"x")
    assert (response.flag, response.is_oneway, response.is_response) == (1, False, True)
    assert (response.opaque, response.code, response.remark, response.ext_fields, response.body) == (
        request.opaque,
        17,
        "no",
        {"a": "b"},
        b"x",
    )
    assert response.serialize_type is SerializeType.ROCKETMQ


def test_repr_shows_no_value() -> None:
    command = RemotingCommand.request(10, {"Signature": "secret-signature"}, b"secret-body")
    assert "secret" not in repr(command)
    assert "Signature" in repr(command)


def test_equality() -> None:
    one = RemotingCommand(1, opaque=5)
    assert one == RemotingCommand(1, opaque=5)
    assert one != RemotingCommand(1, opaque=6)
    assert one != "something else"
