"""How commands show data: JSON lines for programs, tables for people. rich is loaded for tables only."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any, Protocol

from aiorocketmq.cli.options import OutputForm
from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.received import ReceivedMessage

_PIPE_WIDTH = 240
"""Columns of a table that does not go to a terminal: wide enough that nothing is cut."""


def json_line(value: Mapping[str, Any]) -> None:
    """Write one JSON object on one line, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=_plain) + "\n")
    sys.stdout.flush()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return body_text(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def show(form: OutputForm, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, title: str | None = None) -> None:
    """Show rows as one table, or as one JSON array whose objects hold every field, the columns of the table and the others.

    Args:
        form: Table or JSON.
        rows: The data; every row has every column.
        columns: Fields that the table shows, in order.
        title: Heading of the table; not part of the JSON form.
    """
    if form == "json":
        sys.stdout.write(json.dumps(list(rows), ensure_ascii=False, indent=2, default=_plain) + "\n")
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", header_style="bold")
    for column in columns:
        numbers = all(isinstance(row[column], int | float) for row in rows)
        table.add_column(column.replace("_", " "), justify="right" if rows and numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row[column])) for column in columns))
    console().print(table)


def console(*, stderr: bool = False) -> Any:
    """A rich console; without a terminal it is plain and wide."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made = Console(stderr=stderr, highlight=False, width=_PIPE_WIDTH)
    return made


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def note(text: str) -> None:
    """Say something to the person at the terminal: standard error."""
    print(text, file=sys.stderr, flush=True)


def body_text(body: bytes) -> str:
    """A body as text: UTF-8 where it is, else its bytes as backslash escapes."""
    return body.decode("utf-8", "backslashreplace")


def shown_body(message: ReceivedMessage) -> str:
    """The body of a message as text, or what is wrong with it: one bad message is no reason to stop showing the others."""
    try:
        return body_text(message.body)
    except ProtocolError as error:
        return f"<{error.message}>"


def message_record(message: ReceivedMessage) -> dict[str, Any]:
    """A received message as JSON fields."""
    return {
        "topic": message.topic,
        "broker": message.queue.broker_name,
        "queue_id": message.queue.queue_id,
        "queue_offset": message.queue_offset,
        "message_id": message.message_id,
        "offset_message_id": message.offset_message_id,
        "tag": message.tag,
        "keys": list(message.keys),
        "properties": message.user_properties,
        "born_at": message.born_at,
        "stored_at": message.stored_at,
        "reconsume_times": message.reconsume_times,
        "body": shown_body(message),
    }


def print_message(form: OutputForm, message: ReceivedMessage) -> None:
    """Write one received message: a JSON line, or one line of time, queue, offset, tag, keys and body."""
    if form == "json":
        json_line(message_record(message))
        return
    when = message.stored_at.astimezone().strftime("%H:%M:%S.%f")[:-3] if message.stored_at else "-"
    words = [f"{when} {message.topic}:{message.queue.broker_name}:{message.queue.queue_id}@{message.queue_offset}"]
    if message.tag:
        words.append(f"tag={message.tag}")
    if message.keys:
        words.append(f"keys={','.join(message.keys)}")
    if message.reconsume_times:
        words.append(f"try={message.reconsume_times + 1}")
    sys.stdout.write(" ".join(words) + f"  {shown_body(message)}\n")
    sys.stdout.flush()


class Progress(Protocol):
    """A bar that counts finished pieces of work."""

    def advance(self, count: int = 1) -> None: ...


class _Silent:
    def advance(self, count: int = 1) -> None:
        """Nothing is shown."""


class _Bar:
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar = bar
        self._task = task

    def advance(self, count: int = 1) -> None:
        self._bar.advance(self._task, count)

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def progress(what: str, total: int | None, *, wanted: bool = True) -> AbstractContextManager[Progress]:
    """A progress bar on standard error; silent when that is no terminal, or when there is little to do.

    Args:
        what: Text before the bar.
        total: Number of pieces, or None when it is not known.
        wanted: False makes it silent.
    """
    if not wanted or not sys.stderr.isatty() or (total is not None and total < 2):
        return nullcontext(_Silent())
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console(stderr=True), transient=True
    )
    return _Bar(bar, bar.add_task(what, total=total))


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The fields of the first row, for tables that show everything."""
    return next((list(row) for row in rows), [])
