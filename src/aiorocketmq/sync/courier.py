"""A thread for what the event loop has to tell code that may make it wait (no Java twin).

The event loop must not wait for anything that one of its callers holds. A log handler has a lock, and so has the whole of `logging` while
it is being configured; the main thread may hold one of them and wait for the event loop at the same time: a handler that sends its
records with a producer, a signal handler that stops one in the middle of a log call. The waiters of `concurrent.futures` have locks, too.
So the loop's thread gives its log records, and what it has for such waiters, to this thread, and goes on.

A log handler that sends with a client of ours gets no record of ours: the send would make the next one.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Final

from aiorocketmq.errors import ClientStateError

_PREFIXES: Final = ("aiorocketmq", "asyncio")
"""Loggers of what runs on the loop's thread, each with all below it."""
_loops: Final[set[int]] = set()
"""Threads of event loops."""


class _Courier:
    """The thread and what waits for it. Made once for a process; a forked child makes its own."""

    def __init__(self) -> None:
        self._letters: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._token = [True]
        self.ident = 0
        self.handler: logging.Handler | None = None

    def post(self, letter: Callable[[], object]) -> None:
        self._letters.put(letter)
        try:
            self._token.pop()
        except IndexError:  # it runs
            return
        try:
            _thread.start_new_thread(self._run, ())  # no `Thread`: its start takes locks that an interrupted thread may hold
        except RuntimeError:  # the process is ending, or has too many threads
            self._token.append(True)

    def _run(self) -> None:
        self.ident = threading.get_ident()
        while True:
            letter = self._letters.get()
            with contextlib.suppress(Exception):  # a failing log handler has told its error by itself, and there is nobody else
                letter()
            del letter

    def flush(self, timeout: float) -> None:
        if self._token or self.ident == threading.get_ident():
            return
        delivered: list[bool] = []
        self._letters.put(lambda: delivered.append(True))
        deadline = time.monotonic() + timeout
        while not delivered and time.monotonic() < deadline:
            time.sleep(0.002)


_courier = _Courier()
_senders: weakref.WeakSet[logging.Handler] = weakref.WeakSet()
"""Log handlers that use clients of ours."""


def post(letter: Callable[[], object]) -> None:
    """Have a function called on the courier's thread, after those posted before. Never waits, on any thread and in signal handlers."""
    _courier.post(letter)


def flush(timeout: float) -> None:
    """Wait until what was posted so far is delivered, at most `timeout` seconds."""
    _courier.flush(timeout)


def check() -> None:
    """Refuse a call of a log handler that deals with a record of ours: it would make the next one, and so on for ever.

    Raises:
        ClientStateError: This is such a call.
    """
    if _courier.ident == threading.get_ident():
        if _courier.handler is not None:
            _senders.add(_courier.handler)
        raise ClientStateError(
            "a log handler sends a record of aiorocketmq with a client of aiorocketmq; it gets no more of them",
            hint="set propagate to False on the logger 'aiorocketmq', and give it a handler of its own",
        )


class _LoopSafeLogger(logging.Logger):
    """A logger that does not wait for locks on the threads of event loops."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is that of logging
        if threading.get_ident() not in _loops:
            return super().isEnabledFor(level)
        # Without the cache of the base class, which has the lock that is held while logging is configured.
        return not self.disabled and self.manager.disable < level and level >= self.getEffectiveLevel()

    def handle(self, record: logging.LogRecord) -> None:
        if threading.get_ident() not in _loops:
            super().handle(record)
            return
        record.msg, record.args = record.getMessage(), None  # its arguments may change
        post(partial(_deliver, self, record))


def _deliver(logger: logging.Logger, record: logging.LogRecord) -> None:
    """As `logging.Logger.handle()`, but leaving out handlers that send with clients of ours."""
    if logger.disabled or not logger.filter(record):
        return
    place: logging.Logger | None = logger
    found = False
    while place is not None:
        for handler in list(place.handlers):
            found = True
            if record.levelno >= handler.level and handler not in _senders:
                _courier.handler = handler
                try:
                    handler.handle(record)
                finally:
                    _courier.handler = None
        place = place.parent if place.propagate else None
    if not found and logging.lastResort is not None and record.levelno >= logging.lastResort.level:
        logging.lastResort.handle(record)


def begin_loop() -> None:
    """This thread runs an event loop from now on."""
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if name.partition(".")[0] in _PREFIXES and type(logger) is logging.Logger:
            logger.__class__ = _LoopSafeLogger  # in place: modules have got it already, and making another takes the lock
    _loops.add(threading.get_ident())


def end_loop() -> None:
    """It does no more."""
    _loops.discard(threading.get_ident())


def _after_fork_in_child() -> None:
    global _courier
    _courier = _Courier()  # its thread exists in the parent alone
    _loops.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
