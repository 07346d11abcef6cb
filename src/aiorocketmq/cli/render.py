"""Rows of data and the one place where they become text: tables for people, the other forms for programs.

Nothing that comes from messages, names or brokers reaches a terminal as it is: control characters, with which a text could move the cursor
or retitle the window, are shown as escapes. JSON is valid whatever the data holds and whatever encoding standard output has.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal, TextIO

Form = Literal["table", "json", "jsonl", "yaml", "csv", "plain"]
Row = Mapping[str, Any]

_PIPE_WIDTH: Final = 240
"""Columns of a table that does not go to a terminal: wide enough that nothing is cut."""
_SHOWN: Final = frozenset("\t")


@dataclass(frozen=True, slots=True)
class Rows:
    """What a command tells.

    Attributes:
        rows: The data; every row has every column.
        columns: Fields that a table, CSV and plain text show, in order; empty for those of the first row. The other forms have all fields.
        title: Heading of the table.
        errors: Server → what went wrong there, where others have answered: told on standard error, and the exit code says so.
    """

    rows: Sequence[Row]
    columns: Sequence[str] = ()
    title: str = ""
    errors: Mapping[str, Exception] = field(default_factory=dict)

    @property
    def shown(self) -> Sequence[str]:
        """The columns."""
        return self.columns or next((list(row) for row in self.rows), [])


class OutputError(OSError):
    """Standard output takes no more: its reader has gone, the disk is full, it is closed."""

    def __init__(self, cause: OSError | ValueError) -> None:
        super().__init__(getattr(cause, "errno", None), f"standard output: {getattr(cause, 'strerror', None) or cause}")
        self.reader_gone = isinstance(cause, BrokenPipeError)


def render(form: Form, rows: Rows) -> None:
    """Write rows to standard output."""
    if form == "table":
        _table(rows)
    elif form == "json":
        write(_json(list(rows.rows), indent=2) + "\n")
    elif form == "jsonl":
        for row in rows.rows:
            write(_json(row) + "\n")
    elif form == "yaml":
        write("".join(_yaml(row) for row in rows.rows) or "[]\n")
    elif form == "csv":
        write(_csv(rows))
    else:
        for row in rows.rows:
            write("\t".join(printable(cell(row[column])).replace("\t", "\\t") for column in rows.shown) + "\n")


def write(text: str, stream: TextIO | None = None) -> None:
    """Write text to standard output in its encoding, at once; what that does not have is written as escapes.

    Raises:
        OutputError: It cannot be written.
    """
    out = stream or sys.stdout
    encoding = out.encoding or "utf-8"
    try:
        text.encode(encoding, out.errors or "strict")
    except UnicodeEncodeError:
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        out.write(text)
        out.flush()
    except (OSError, ValueError) as error:
        raise OutputError(error) from None


def printable(text: str) -> str:
    """A text as a terminal may get it: control characters, and those that turn the direction of writing, as escapes."""
    if text.isprintable():
        return text
    return "".join(
        char if char in _SHOWN or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") else _escape(char)
        for char in text
    )


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def cell(value: object) -> str:
    """A value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, Enum):
        return value.name or str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(item) for item in value)
    return str(value)


def _table(rows: Rows) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines = box.SIMPLE_HEAD if (sys.stdout.encoding or "utf-8").lower().startswith("utf") else box.ASCII_DOUBLE_HEAD
    table = Table(title=Text(printable(rows.title)) if rows.title else None, box=lines, title_justify="left", header_style="bold")
    for column in rows.shown:
        numbers = all(isinstance(row[column], int | float) and not isinstance(row[column], bool) for row in rows.rows)
        table.add_column(column.replace("_", " "), justify="right" if rows.rows and numbers else "left", overflow="fold")
    for row in rows.rows:
        table.add_row(*(Text(printable(cell(row[column]))) for column in rows.shown))
    # Not by a console on standard output: rich would write there by itself.
    text = io.StringIO()
    terminal = sys.stdout.isatty()
    Console(file=text, force_terminal=terminal, highlight=False, width=None if terminal else _PIPE_WIDTH).print(table)
    write(text.getvalue())


def console(*, stderr: bool = False) -> Any:
    """A rich console; without a terminal it is plain and wide. NO_COLOR is obeyed."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made = Console(stderr=stderr, highlight=False, width=_PIPE_WIDTH)
    return made


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _finite(value: object) -> object:
    """The same with None for the numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def _json(value: object, indent: int | None = None) -> str:
    value = _finite(value)
    try:
        text = json.dumps(value, ensure_ascii=False, indent=indent, default=_plain, allow_nan=False)
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # half a character, or one that the output does not have
        return json.dumps(value, ensure_ascii=True, indent=indent, default=_plain, allow_nan=False)
    return text


def json_line(value: Row) -> None:
    """Write one JSON object on one line, at once."""
    write(_json(value) + "\n")


def _yaml(row: Row) -> str:
    """One item of a YAML 1.2 list; its values are JSON, which is YAML."""
    lines = [f"{'- ' if not number else '  '}{_json(name)}: {_json(value)}\n" for number, (name, value) in enumerate(row.items())]
    return "".join(lines) or "- {}\n"


def _csv(rows: Rows) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows.shown)
    for row in rows.rows:
        writer.writerow(["" if row[column] is None else _csv_cell(row[column]) for column in rows.shown])
    return text.getvalue()


def _csv_cell(value: object) -> str | int | float:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return cell(value)
