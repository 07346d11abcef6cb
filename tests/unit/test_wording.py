"""Whatever a value or a text is, an error shows one bounded line of it."""

from __future__ import annotations

import pytest

from aiorocketmq import wording


class Rude:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("rude")


class RudeError(Exception):
    """An error that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("rude")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("a\nb", r"'a\nb'"),
        (b"\0", r"b'\x00'"),
        (10**29, "1" + 29 * "0"),
        (-(10**30), "of 100 bits"),
        pytest.param(10**5000, "of 16610 bits", id="a number whose digits cannot even be written"),
        ("x" * 500, f"'{199 * 'x'}..."),
        (bytearray(500), None),
        (list(range(10_000)), None),
        (Rude(), "<a Rude>"),
        ([Rude()], "<a list>"),
    ],
)
def test_values_are_shown_on_one_short_line(value: object, text: str | None) -> None:
    shown = wording.shown(value)
    assert text is None or shown == text
    assert len(shown) <= wording.LONGEST_VALUE + 3 and "\n" not in shown


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain, with two  blanks ", "plain, with two  blanks "),
        ("one\r\n  two\tthree\x1b[31m", "one two three [31m"),
        ("\n\x00", ""),
        ("中\u2028文\udcff!", "中 文 !"),
        ("x" * 100_000, "x" * 1000 + "... (100000 characters)"),
    ],
)
def test_texts_of_peers_become_one_line(text: str, line: str) -> None:
    assert wording.one_line(text) == line


def test_an_error_that_cannot_be_shown_still_has_a_class() -> None:
    assert wording.reason(ValueError("a\nb")) == "ValueError: a b"
    assert wording.reason(RudeError()) == "RudeError: (its text cannot be read)"
