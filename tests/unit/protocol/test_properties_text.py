"""Settings as text: read as servers write them, written as servers read them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import ConfigError, ProtocolError
from aiorocketmq.protocol.properties_text import MAX_TEXT, format_properties, parse_properties


def paired(text: str) -> str:
    """Two halves of a character as one, as they are in Java."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def java_load(text: str) -> dict[str, str]:
    """What `java.util.Properties` reads from one logical line after another, as its documentation says."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"((?:[^\\=: ]|\\.)*)[ ]*[=:]?[ ]*(.*)", line, re.DOTALL)
        assert match
        key, value = (
            re.sub(
                r"\\(u[0-9a-f]{4}|.)",
                lambda escape: (
                    chr(int(escape[1][1:], 16))
                    if len(escape[1]) > 1
                    else {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}.get(escape[1], escape[1])
                ),
                part,
            )
            for part in match.groups()
        )
        found[paired(key)] = paired(value)
    return found


def test_settings_are_read_as_servers_write_them() -> None:
    text = b"# a comment\n!another\n\nfirst=1\r\nempty=\n path = C:\\store = x \nfirst=2\nname=\xe4\xb8\xad"
    assert parse_properties(text, "it") == {"first": "2", "empty": "", "path": "C:\\store = x", "name": "中"}
    assert parse_properties(b"", "it") == {}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"a=1\nno setting\n", "the settings: line 2 is 'no setting', not name=value"),
        (b"=1", "the settings: line 1 is '=1', not name=value"),
        (b"a=\xff", "the settings is not UTF-8"),
        (b"x" * (MAX_TEXT + 1), f"the settings has {MAX_TEXT + 1} bytes; at most {MAX_TEXT} are read"),
    ],
)
def test_damaged_settings_are_named(data: bytes, problem: str) -> None:
    with pytest.raises(ProtocolError, match=problem):
        parse_properties(data, "the settings")


@given(st.dictionaries(st.text(min_size=1, max_size=8).filter(str.strip), st.text(max_size=12), min_size=1, max_size=4))
def test_any_settings_arrive_in_java_as_they_are(settings: dict[str, str]) -> None:
    assert java_load(format_properties(settings).decode("ascii")) == settings


@given(st.binary(max_size=200))
def test_any_text_is_read_or_refused(data: bytes) -> None:
    try:
        found = parse_properties(data, "it")
    except ProtocolError:
        return
    assert all(name and "\n" not in name + value for name, value in found.items())


def test_no_settings_are_an_error_of_the_caller() -> None:
    with pytest.raises(ConfigError, match="no settings are given"):
        format_properties({})
    with pytest.raises(ConfigError, match="is not a name and a text"):
        format_properties({"": "x"})
    with pytest.raises(ConfigError, match="is not a name and a text"):
        format_properties({"a": 5})  # type: ignore[dict-item]
