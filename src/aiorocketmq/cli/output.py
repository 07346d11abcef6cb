"""How commands show messages, remarks and progress; rows of data are in `render`. rich is loaded when it is needed."""

from __future__ import annotations

import base64
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from aiorocketmq.cli.render import Form, console, json_line, printable, write
from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.received import ReceivedMessage


def note(text: str) -> None:
    """Say something to the person at the terminal: standard error."""
    print(text, file=sys.stderr, flush=True)


def body_text(body: bytes) -> str:
    """A body as text: UTF-8 where it is, else its bytes as backslash escapes."""
    return body.decode("utf-8", "backslashreplace")


def body_fields(message: ReceivedMessage) -> dict[str, Any]:
    """The body of a message for programs: `body`, and in `body_encoding` how it is written.

    "text" for UTF-8, "base64" for all else; None for a body that cannot be read, with `body_error`.
    """
    try:
        body = message.body
    except ProtocolError as error:
        return {"body": None, "body_encoding": None, "body_error": error.message}
    try:
        return {"body": body.decode("utf-8"), "body_encoding": "text"}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode("ascii"), "body_encoding": "base64"}


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
        **body_fields(message),
    }


def print_message(form: Form, message: ReceivedMessage) -> None:
    """Write one received message: one line of time, queue, offset, tag, keys and body for people, a JSON line in every other form."""
    if form != "table":
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
    text = " ".join(words) + f"  {shown_body(message)}"
    write((printable(text) if sys.stdout.isatty() else text) + "\n")


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
