"""Compares counts with those accepted before, in `limits.json`: one set for each Python version, because each compiles differently.

They are of the development environment, that is with the extra `[fast]`. Each benchmark sets its own JSON codec and event loop: one whose
codec is missing is left out, and no other count depends on what is installed.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.micro.measure import Counts

FILE: Final = Path(__file__).with_name("limits.json")
HEADROOM: Final = 0.03
"""Part by which a count may exceed the accepted one."""
SLACK_BYTES: Final = 64
"""Memory may exceed it by this much at least: numbers that grow, such as offsets, take more bytes."""
ACCEPT: Final = "python -m benchmarks.micro --accept"
VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}{getattr(sys, 'abiflags', '')}"
_WORDS: Final = {
    "bytecodes": "bytecode instructions",
    "python_calls": "calls of Python functions",
    "c_calls": "calls of C functions",
    "peak_bytes": "bytes of memory at its peak",
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was accepted for one Python version: its exact version, and the counts of each benchmark."""

    python: str
    counts: dict[str, Counts]

    def excess(self, name: str, counts: Counts) -> list[str]:
        """What a benchmark does too much, in sentences that say what to do about it; empty when it stays within its limits."""
        known = self.counts.get(name)
        if known is None:
            return [f"{name}: no counts are recorded for this benchmark. Record them: {ACCEPT}"]
        found = []
        for kind, count in asdict(counts).items():
            accepted = getattr(known, kind)
            limit = allowed(kind, accepted)
            if count > limit:
                found.append(
                    f"{name}: {count:,} {_WORDS[kind]}, the limit is {limit:,} ({accepted:,} were accepted on Python {self.python}, "
                    f"this is {platform.python_version()}). If the change is worth it: {ACCEPT}"
                )
        return found


def allowed(kind: str, accepted: int) -> int:
    """The limit that follows from an accepted count."""
    limit = int(accepted * (1 + HEADROOM))
    return max(limit, accepted + SLACK_BYTES) if kind == "peak_bytes" else limit


def unusable() -> str | None:
    """Why counts of this interpreter say nothing, or None."""
    if sys.implementation.name != "cpython" or sys.version_info >= (3, 12):
        return f"bytecode is counted on CPython 3.11, this is {sys.implementation.name} {platform.python_version()}"
    if sys.flags.dev_mode or os.environ.get("PYTHONASYNCIODEBUG"):
        return "asyncio's debug mode does more than usual"
    compiled = sorted(name for name, module in sys.modules.items() if name.startswith("aiorocketmq.") and not _is_source(module))
    if compiled:
        return f"compiled modules execute no bytecode: {', '.join(compiled)}"
    return None


def _is_source(module: Any) -> bool:
    return str(getattr(module, "__file__", "")).endswith(".py")


def load(path: Path = FILE, version: str = VERSION) -> Accepted | None:
    """What was accepted for a Python version; None when nothing was."""
    recorded = _read(path).get(version)
    if recorded is None:
        return None
    return Accepted(recorded["python"], {name: Counts(*counts) for name, counts in recorded["counts"].items()})


def accept(counts: Mapping[str, Counts], path: Path = FILE, version: str = VERSION) -> None:
    """Record counts for a Python version; those of other versions stay. One benchmark has one line, its counts in the order of `Counts`."""
    recorded = _read(path)
    recorded[version] = {"python": platform.python_version(), "counts": {name: astuple(each) for name, each in counts.items()}}
    parts = []
    for each, found in sorted(recorded.items()):
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in sorted(found["counts"].items()))
        parts.append(f'"{each}": {{"python": "{found["python"]}", "counts": {{\n{lines}\n}}}}')
    path.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    recorded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return recorded
