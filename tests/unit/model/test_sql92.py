"""The language of SQL92 filters; that its results are a broker's is in tests/golden/test_sql92.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.sql92 import MAX_DEPTH, parse
from tests.support.starvation import within

pytestmark = pytest.mark.feature("F18")

ORDER = {"price": "12", "region": "eu", "note": "it's new", "TAGS": "TagA"}


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("price > 10 AND region IN ('eu', 'us')", True),
        ("price > 10 AND region NOT IN ('eu', 'us')", False),
        ("price BETWEEN 12 AND 12", True),
        ("price NOT BETWEEN 12 AND 20", False),
        ("price NOT BETWEEN 5 AND 12", False),
        ("price NOT BETWEEN 13 AND 20", True),
        ("weight NOT BETWEEN 13 AND 20", None),
        ("weight IN ('eu')", None),
        ("weight NOT IN ('eu')", None),
        ("NOT (price = 12) OR TAGS = 'TagA'", True),
        ("weight = 5", None),
        ("NOT weight = 5", None),
        ("NOT (weight = 5)", None),
        ("weight = 5 OR price = 12", True),
        ("weight = 5 AND price = 13", False),
        ("weight = 5 AND price = 12", None),
        ("weight IS NULL AND price IS NOT NULL", True),
        ("note = 'it''s new' AND note CONTAINS '''s' AND note NOT STARTSWITH 'x' AND note ENDSWITH 'new'", True),
    ],
)
def test_three_values(expression: str, result: bool | None) -> None:
    assert parse(expression).evaluate(ORDER) is result
    assert parse(expression).matches(ORDER) is (result is True)


def test_what_cannot_be_compared_matches_nothing() -> None:
    condition = parse("region > 5 OR price = 12")
    with pytest.raises(ConfigError, match="'eu' is no whole number of 32 bits"):
        condition.evaluate(ORDER)
    assert not condition.matches(ORDER)
    assert parse("price = 12 OR region > 5").matches(ORDER)  # not asked for any more


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "column 1: a property, a number"),
        ("price >", "column 8: .* missing before the end"),
        ("price > '10'", "only numbers and properties"),
        ("price = 10 AND", "column 15"),
        ("(price = 10", r"column 12: \) is missing before the end"),
        ("price = NULL", "write IS NULL"),
        ("price BETWEEN 9 AND 1", "nothing is between 9 and 1"),
        ("price IN (5)", "a text in '...' is missing before '5'"),
        ("'a' IN ('a')", "IN needs a property"),
        ("price NOT 5", "BETWEEN, IN, CONTAINS"),
        ("price IS 5", "NULL is missing"),
        ("5", "not a condition"),
        ("-price", "not a condition"),
        ("TRUE = 5", "truth value"),
        ("price = 0.0", "above 0 only"),
        ("price = 1e999", "too small or too large"),
        ("price = 99999999999999999999", "more than 64 bits"),
        ("price = #", "'#' does not belong there"),
        ("price = 'open", "does not belong there"),
    ],
)
def test_mistakes_are_told_with_their_place(expression: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse(expression)
    assert caught.value.hint


def test_what_brokers_ignore_is_known() -> None:
    assert parse("a = 1").ignored == ""
    assert parse("a = 1 -- why\n").ignored == ""
    assert parse("a = 1 b = 2").ignored == "b = 2"
    assert parse("a-b > 3").ignored == "-b > 3"
    assert parse("a CONTAINS 'x' and b endswith 'y'").words == {"CONTAINS", "ENDSWITH"}


def test_nesting_is_limited_and_rows_are_not() -> None:
    row = " OR ".join(f"a = {number}" for number in range(5000))
    assert parse(row).matches({"a": "4999"})
    for deep in (
        "(" * (MAX_DEPTH + 1) + "a = 1" + ")" * (MAX_DEPTH + 1),
        "NOT " * (MAX_DEPTH + 1) + "a",
        "a" + " = a" * 2000,
        "-" * 5000 + "1 = a",
    ):
        with pytest.raises(ConfigError, match="inside each other"):
            parse(deep)
    assert parse("(" * 90 + "a = 1" + ")" * 90).matches({"a": "1"})


@given(
    st.lists(
        st.sampled_from(
            ["a", "b", "5", "2.5", "'x'", "NOT", "AND", "OR", "(", ")", "=", "<", "IN", ",", "IS", "NULL", "BETWEEN", "-", "TRUE"]
        ),
        max_size=12,
    ).map(" ".join)
    | st.text(max_size=40),
    st.dictionaries(st.sampled_from(["a", "b"]), st.text(max_size=8)),
)
def test_nothing_else_is_ever_raised(expression: str, properties: dict[str, str]) -> None:
    try:
        condition = parse(expression)
        condition.evaluate(properties)
    except ConfigError:
        return
    assert condition.matches(properties) in (True, False)


@pytest.mark.parametrize("text", ["1" * 32_000 + "x", "1." + "1" * 32_000 + "x", "0x" + "1" * 32_000, " " * 32_000 + "x"])
def test_long_properties_take_no_time(text: str) -> None:
    with within(1.0):
        assert not parse("a > 1.5").matches({"a": text})


def test_very_long_expressions_are_not_kept() -> None:
    assert parse("price > 10") is parse("price > 10")
    long = " OR ".join(f"price = {number}" for number in range(2000))
    assert parse(long) is not parse(long)
    assert parse(long).matches(ORDER)
