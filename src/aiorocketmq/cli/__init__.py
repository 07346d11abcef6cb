"""The command line `aiorocketmq` (short: `armq`); Java: `mqadmin` and the quick-start programs. Needs the extra `[cli]`.

Exit codes: 0 it worked, 1 it failed, 2 the command line is wrong (or the extra is missing), 130 interrupted by Ctrl-C.
Data goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

__all__ = ["main"]

_NEEDED = ("cyclopts", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: The words after the program's name; None takes those of the process.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"aiorocketmq: the command line needs {' and '.join(missing)}: run  pip install 'aiorocketmq[cli]'",
            file=sys.stderr,
        )
        return 2
    from aiorocketmq.cli.app import run

    return run(sys.argv[1:] if arguments is None else list(arguments))
