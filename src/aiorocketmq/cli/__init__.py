"""The command line `aiorocketmq` (short: `armq`); Java: `mqadmin` and the quick-start programs. Needs the extra `[cli]`.

Exit codes: 0 it worked, 1 it failed, 2 the command line is wrong (or the extra is missing), the others are in `exits.py`.
Data goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

__all__ = ["main"]

_NEEDED = ("cyclopts", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: The words after the program's name; None takes those of the process.
    """
    _open_streams()
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"aiorocketmq: the command line needs {' and '.join(missing)}: run  pip install 'aiorocketmq[cli]'",
            file=sys.stderr,
        )
        return 2
    with _ends_at_once():
        from aiorocketmq.cli.app import run
    try:
        return run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:  # after what was to be done, or while an error was told
        return 130


@contextlib.contextmanager
def _ends_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process as other signals do. Its exception in the middle of an import would show up as another, or not at all."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _open_streams() -> None:
    """Give standard streams that were closed (`>&-`) to the null device: a file or socket would get their numbers, and what is printed.

    Data that cannot be written is an error all the same; what is only told to people is not.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")
