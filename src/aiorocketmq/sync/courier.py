"""A thread for what the event loop has to tell code that may make it wait, for it must not wait for anything that a caller holds (no Java
twin).

The waiters of `concurrent.futures` have locks, which a signal may leave taken by the thread that it interrupted. So the loop's thread
gives what it has for them to this one, and goes on.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue


class _Courier:
    """The thread and what waits for it. Made once for a process; a forked child makes its own."""

    def __init__(self) -> None:
        self._letters: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._started: list[bool] = []
        self._token = [True]
        self.ident = 0

    def post(self, letter: Callable[[], object]) -> None:
        self._letters.put(letter)
        try:
            self._token.pop()
        except IndexError:  # it runs
            return
        _thread.start_new_thread(self._run, ())  # no `Thread`: its start takes locks that an interrupted thread may hold

    def _run(self) -> None:
        self.ident = threading.get_ident()
        while True:
            letter = self._letters.get()
            with contextlib.suppress(Exception):  # a failing log handler has told its error by itself, and there is nobody else
                letter()
            del letter

    def flush(self, timeout: float) -> None:
        """Wait until what was posted so far is delivered, at most `timeout` seconds."""
        if self._token or self.ident == threading.get_ident():
            return
        delivered: list[bool] = []
        self._letters.put(lambda: delivered.append(True))
        deadline = time.monotonic() + timeout
        while not delivered and time.monotonic() < deadline:
            time.sleep(0.002)


_courier = _Courier()


def post(letter: Callable[[], object]) -> None:
    """Have a function called on the courier's thread, after those posted before. Never waits, on any thread and in signal handlers."""
    _courier.post(letter)


def flush(timeout: float) -> None:
    """Wait until what was posted so far is delivered, at most `timeout` seconds."""
    _courier.flush(timeout)


def _after_fork_in_child() -> None:
    global _courier
    _courier = _Courier()  # its thread exists in the parent alone


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
