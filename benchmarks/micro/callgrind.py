"""Counts machine instructions with valgrind's callgrind, where valgrind is installed.

All benchmarks run in one process under callgrind. Two functions of libc that nobody else calls are the marks: on entering the first one
callgrind forgets what it has counted, on entering the second one it writes its counts to a file. Each benchmark is run for a few calls and
for more; the difference holds neither the marks nor the start of anything. A call that does nothing is measured too, and taken off.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.micro import CASES
from benchmarks.micro.cases import Case, call
from benchmarks.micro.measure import quiet, warm
from tests.support.virtual_loop import run_virtual

SPECIALIZED: Final = 12
"""Calls after which the interpreter has adapted the bytecode to its data."""
FEW: Final = 4
MORE: Final = 12
TIMEOUT: Final = 900.0
_STRETCHES: Final = (SPECIALIZED, FEW, MORE)
_NOTHING: Final = Case("nothing", "an empty call", 0, False, False, lambda: lambda: None)
_ROOT: Final = Path(__file__).resolve().parents[2]
_TOTALS: Final = re.compile(r"^totals: (\d+)$", re.MULTILINE)


class CallgrindError(Exception):
    """Valgrind is not installed, or has not counted."""


def instructions(cases: Sequence[Case]) -> dict[str, int]:
    """Machine instructions of one call of each benchmark.

    Raises:
        CallgrindError: Valgrind is not installed, or has not counted.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise CallgrindError("valgrind is not installed: no machine instructions are counted")
    expected = len(_STRETCHES) * (len(cases) + 1)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        marks = ["--zero-before=getppid*", "--dump-before=getpgrp*"]
        worker = [sys.executable, "-m", "benchmarks.micro.callgrind", *(case.name for case in cases)]
        done = subprocess.run(
            [valgrind, "--tool=callgrind", f"--callgrind-out-file={out}", *marks, *worker],
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        totals = [_total(path) for number in range(1, expected + 1) if (path := Path(f"{out}.{number}")).exists()]
    if done.returncode != 0 or len(totals) != expected:
        raise CallgrindError(f"callgrind made {len(totals)} counts of {expected}: {done.stderr[-2000:]}")
    stretches = zip(totals[1::3], totals[2::3], strict=True)  # the first one of each three is for warming up
    each = [(more - few) / (MORE - FEW) for few, more in stretches]
    return {case.name: round(own - each[0]) for case, own in zip(cases, each[1:], strict=True)}


def _total(path: Path) -> int:
    found = _TOTALS.search(path.read_text(encoding="utf-8", errors="replace"))
    return int(found.group(1)) if found else 0


async def _marked(case: Case) -> None:
    with quiet():
        async with warm(case) as run:
            for calls in _STRETCHES:
                os.getppid()
                for _ in range(calls):
                    await call(run)
                os.getpgrp()


if __name__ == "__main__":
    for case in (_NOTHING, *(CASES[name] for name in sys.argv[1:])):
        run_virtual(_marked(case))
