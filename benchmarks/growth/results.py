"""Results on disk: one JSON document, one entry for each case, so that cases can be measured apart and put together."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.growth.bench import Options, Row

Results = dict[str, Row]
"""Case → what it measured, with `about`: when, where, on which versions."""


def about(options: Options) -> dict[str, Any]:
    """Where and how a case is measured."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "server": options.version,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "quick": options.quick,
    }


def store(file: Path, case: str, measured: Row, options: Options) -> None:
    """Put the results of one case into a file; other cases in it stay."""
    cases = load([file]) if file.exists() else {}
    cases[case] = {"about": about(options), **measured}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(cases, indent=1) + "\n")


def load(files: Iterable[Path]) -> Results:
    """Read files; a case of a later one replaces that of an earlier one."""
    cases: Results = {}
    for file in files:
        cases.update(json.loads(file.read_text()))
    return cases
