from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.protocol import jsoncodec

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.skipif(not jsoncodec.HAVE_ORJSON, reason="orjson is not installed")
@given(json_values)
def test_twins_agree(value: object) -> None:
    assert jsoncodec._fast_loads(jsoncodec.std_dumps(value)) == value
    assert jsoncodec._std_loads(jsoncodec._fast_dumps(value)) == value


@pytest.mark.skipif(not jsoncodec.HAVE_ORJSON, reason="orjson is not installed")
@given(st.binary(max_size=40))
def test_twins_agree_on_any_bytes(data: bytes) -> None:
    results = []
    for loads in (jsoncodec._fast_loads, jsoncodec._std_loads):
        try:
            results.append(repr(loads(data)))
        except ValueError:
            results.append("refused")
    assert results[0] == results[1]


def test_lone_surrogates_survive(codec: str) -> None:
    text = "a\ud83d\x01b\udcff"
    assert json.loads(jsoncodec.dumps({"k": text})) == {"k": text}
    assert json.loads(jsoncodec.quote(text)) == text
    assert jsoncodec.loads(jsoncodec.dumps([text])) == [text]


def test_bytes_that_are_not_utf8_are_read(codec: str) -> None:
    assert jsoncodec.loads(b'{"remark":"\xff\xfe"}') == {"remark": "\udcff\udcfe"}


def test_control_characters_are_escaped(codec: str) -> None:
    assert jsoncodec.quote("a\x01b\x02") == b'"a\\u0001b\\u0002"'


@pytest.mark.parametrize("data", [b"", b"{", b"[1,", b'{"a"}', b"nope", b"[" * 5000, b'{"a":' * 5000])
def test_bad_json_is_a_value_error(codec: str, data: bytes) -> None:
    with pytest.raises(ValueError):
        jsoncodec.loads(data)


def test_orjson_can_be_asked_for_only_when_installed(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsoncodec, "HAVE_ORJSON", False)
    with pytest.raises(ImportError, match="fast"):
        jsoncodec.use_orjson(True)
