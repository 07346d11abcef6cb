"""Rows in every form: valid whatever they hold, and nothing that could harm a terminal."""

from __future__ import annotations

import csv
import io
import json
import sys
from datetime import UTC, datetime

import pytest

from aiorocketmq.cli.exits import Exit, exit_code
from aiorocketmq.cli.render import Form, Rows, cell, printable, render
from aiorocketmq.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ConfigError,
    ConnectError,
    NoNameServerError,
    PartialError,
    RocketMQError,
    TopicNotFoundError,
)
from aiorocketmq.model.enums import Permission

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
ROWS = Rows(
    [
        {"name": 'a,"b"\n\x1b[31mred\u202e', "count": 3, "at": AT, "more": {"x": "\udcff"}, "ok": True},
        {"name": "grüße", "count": 4, "at": None, "more": {}, "ok": False},
    ],
    ["name", "count", "at"],
)


ENCODINGS = pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])


def rendered(form: Form, encoding: str, monkeypatch: pytest.MonkeyPatch) -> str:
    pipe = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(pipe, encoding=encoding, write_through=True))
        render(form, ROWS)
        return pipe.getvalue().decode(encoding)


@ENCODINGS
def test_json_is_valid_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = json.loads(rendered("json", encoding, monkeypatch))
    assert first == {"name": ROWS.rows[0]["name"], "count": 3, "at": AT.isoformat(), "more": {"x": "\udcff"}, "ok": True}
    assert second["name"] == "grüße" and second["at"] is None
    assert [json.loads(line)["count"] for line in rendered("jsonl", encoding, monkeypatch).splitlines()] == [3, 4]


@ENCODINGS
def test_yaml_is_a_list_of_json_values(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = rendered("yaml", encoding, monkeypatch).splitlines()
    assert [line[:2] for line in lines].count("- ") == 2 and len(lines) == 10
    name, _, value = lines[1][2:].partition(": ")
    assert (json.loads(name), json.loads(value)) == ("count", 3)


@ENCODINGS
def test_csv_and_plain_text_have_the_columns(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = list(csv.reader(io.StringIO(rendered("csv", encoding, monkeypatch))))
    assert table[0] == ["name", "count", "at"] and table[1][1:] == ["3", AT.isoformat()] and table[2][1:] == ["4", ""]
    lines = rendered("plain", encoding, monkeypatch).splitlines()
    assert [line.split("\t")[1] for line in lines] == ["3", "4"]
    assert lines[0].startswith('a,"b"\\n\\x1b[31mred\\u202e\t')


def test_nothing_reaches_a_terminal_that_could_harm_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("grüße 消息 🚀\tx") == "grüße 消息 🚀\tx"
    assert printable("\x1b]0;title\x07\r\n\x9b\u202e\udcff") == "\\x1b]0;title\\x07\\r\\n\\x9b\\u202e\\udcff"
    render("table", ROWS)
    assert "\x1b" not in capsys.readouterr().out


def test_cells() -> None:
    assert [cell(value) for value in (None, True, 1, 1.5, ["a", 2], {"a": 1}, Permission.READ)] == [
        "-",
        "yes",
        "1",
        "1.50",
        "a, 2",
        "a=1",
        "READ",
    ]


def test_an_empty_list_is_one_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    render("json", Rows([]))
    assert json.loads(capsys.readouterr().out) == []
    render("yaml", Rows([]))
    assert capsys.readouterr().out == "[]\n"
    for form in ("jsonl", "plain"):
        render(form, Rows([], ["a"]))  # type: ignore[arg-type]
        assert capsys.readouterr().out == ""
    render("csv", Rows([], ["a"]))
    assert capsys.readouterr().out == "a\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RocketMQError("x"), Exit.FAILED), (ConfigError("x"), Exit.USAGE), (TopicNotFoundError("x"), Exit.NOT_FOUND),
        (NoNameServerError("x"), Exit.UNREACHABLE), (ConnectError("x"), Exit.UNREACHABLE), (AlreadyExistsError("x"), Exit.REFUSED),
        (AccessDeniedError("x"), Exit.REFUSED), (PartialError("x"), Exit.PARTIAL),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_each_kind_of_error_has_its_exit_code(error: RocketMQError, code: Exit) -> None:
    assert exit_code(error) == code


def test_numbers_that_json_does_not_have_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    render("json", Rows([{"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": float("-inf")}}]))
    assert json.loads(capsys.readouterr().out) == [{"a": None, "b": [None, 1.5], "c": {"d": None}}]
