"""A pytest plugin: a test must leave nothing behind, or it fails although all its assertions hold.

What is looked at, after every test and its fixtures:

* what nobody would see otherwise: "exception was never retrieved", "Task was destroyed but it is pending", whatever else the event loop
  tells its exception handler (all of it goes to the logger `asyncio`), and, after a garbage collection, exceptions that cannot be raised,
  unclosed sockets and coroutines that were never awaited among them;
* tasks that are alive when the event loop of the test is closed, and threads that go on after the test;
* timers, open futures and entries of tables in objects of the package (`tests/support/tables.py`).

`@pytest.mark.untidy("what", ..., why="...")` excuses findings that hold one of the texts; on a test there must be such a finding, on a
module there may be. A test that fails anyway is not looked at.
"""

from __future__ import annotations

import asyncio
import asyncio.runners
import gc
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from typing import Any, ClassVar, Final

import pytest

import aiorocketmq
from tests.support import tables
from tests.support.memory_transport import SCRIPTED

_THREAD_PATIENCE: Final = 5.0
"""Seconds that a thread may take to end after its test; this bounds a hang."""
_FREEZE_EVERY: Final = 100
"""Tests between two moments at which everything alive is left out of later collections: they stay as quick as the tests are small."""
_SELDOM: Final = 200_000
"""Objects made between two collections of the interpreter's own: hardly a test makes so many, and so none of what one leaves is gone by
chance before it is looked for."""
_OF_THE_SESSION: Final = (
    "embedded-cluster",
    "cluster-start",
    "asyncio_",
    "pytest_timeout",
    "Peer-reader",
    "Suite-reader",
    "rocketmq-store",
)
"""Names of threads that the session itself, or the executor of a loop that lives as long as it, has started."""

_FAILED = pytest.StashKey[bool]()


class _Findings(logging.Handler):
    """What the running test has left so far; filled from any thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info is not None and record.exc_info[0] is not None:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info))
        self.texts.append(f"the event loop said: {text}")

    def unraisable(self, raised: Any) -> None:
        """A `sys.unraisablehook`. It keeps text alone: the object would come back to life."""
        said = raised.err_msg or "Exception ignored in"
        where = "".join(traceback.format_exception(raised.exc_type, raised.exc_value, raised.exc_traceback))
        self.texts.append(f"{said}: {raised.object!r}\n{where}")

    def take(self) -> list[str]:
        texts, self.texts = self.texts, []
        return texts


_FINDINGS: Final = _Findings()


def _look_for_tasks(cancel_all: Callable[[asyncio.AbstractEventLoop], None]) -> Callable[[asyncio.AbstractEventLoop], None]:
    """Every runner (`asyncio.run`, pytest-asyncio, `run_virtual`) cancels what is left before it closes its loop: look before that."""

    def look(loop: asyncio.AbstractEventLoop) -> None:
        for task in asyncio.all_tasks(loop):
            if not task.cancelling() and task.get_name() != SCRIPTED:
                _FINDINGS.texts.append(f"a task is alive at the end: {task!r}")
        cancel_all(loop)

    return look


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "untidy(*what, why): the test leaves things behind whose descriptions hold one of these texts")
    logging.getLogger("asyncio").addHandler(_FINDINGS)
    original = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]
    asyncio.runners._cancel_all_tasks = _look_for_tasks(original)  # type: ignore[attr-defined]

    thresholds = gc.get_threshold()
    gc.set_threshold(_SELDOM, *thresholds[1:])

    def undo() -> None:
        gc.set_threshold(*thresholds)
        asyncio.runners._cancel_all_tasks = original  # type: ignore[attr-defined]
        logging.getLogger("asyncio").removeHandler(_FINDINGS)

    config.add_cleanup(undo)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    _FINDINGS.take()
    _Threads.before = set(threading.enumerate())
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    yield
    if (values := getattr(item, "funcargs", None)) is not None:
        values.clear()  # what a fixture made is not needed any more, and must not hide from the collection
    loud = tables.left()
    _collect()
    found = _FINDINGS.take() + _Threads.left() + loud
    if item.stash.get(_FAILED, False):
        return
    for node, mark in item.iter_markers_with_node("untidy"):
        excused = [text for text in found if any(what in text for what in mark.args)]
        if not excused and node is item and not aiorocketmq.compiled:  # the attributes of compiled objects cannot be read
            pytest.fail(f"left nothing behind that holds one of {mark.args}: take the mark away", pytrace=False)
        found = [text for text in found if text not in excused]
    if found:
        pytest.fail("the test left something behind:\n" + "\n".join(found), pytrace=False)


class _Threads:
    """The threads that were alive before the test."""

    before: ClassVar[set[threading.Thread]] = set()

    @classmethod
    def left(cls) -> list[str]:
        """What goes on although the test has ended."""
        deadline = time.monotonic() + _THREAD_PATIENCE
        left = []
        for thread in threading.enumerate():
            if thread not in cls.before and not thread.name.startswith(_OF_THE_SESSION):
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    left.append(f"a thread is alive at the end: {thread!r}")
        cls.before = set()
        return left


_collections = 0


def _collect() -> None:
    global _collections
    previous = sys.unraisablehook
    sys.unraisablehook = _FINDINGS.unraisable
    try:
        gc.collect()
    finally:
        sys.unraisablehook = previous
    _collections += 1
    if _collections % _FREEZE_EVERY == 0:
        gc.freeze()
