"""How results are shown: a table for people, JSON for everything else."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aiorocketmq.protocol import jsoncodec
from benchmarks.micro.cases import Case
from benchmarks.micro.measure import Counts


@dataclass(frozen=True, slots=True)
class Result:
    """What one call of a benchmark costs; None where it was not measured.

    Attributes:
        case: The benchmark.
        counts: Python's work.
        nanoseconds: Time, the best of several rounds.
        instructions: Machine instructions.
    """

    case: Case
    counts: Counts
    nanoseconds: float | None = None
    instructions: int | None = None


def table(results: Sequence[Result]) -> str:
    """The results as a table in Markdown; all figures are of one call."""
    lines = [
        "| one call | messages | bytecodes | Python calls | C calls | peak bytes | machine instructions | ns |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for each in results:
        counts = each.counts
        figures = (
            each.case.messages or None, counts.bytecodes, counts.python_calls, counts.c_calls, counts.peak_bytes, each.instructions,
            each.nanoseconds,
        )  # fmt: skip
        cells = " | ".join("–" if figure is None else f"{figure:,.0f}" for figure in figures)
        lines.append(f"| {each.case.title} (`{each.case.name}`) | {cells} |")
    return "\n".join(lines)


def document(results: Sequence[Result]) -> dict[str, Any]:
    """The results as JSON."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "orjson": jsoncodec.HAVE_ORJSON,
        "cases": {
            each.case.name: {
                "title": each.case.title,
                "messages": each.case.messages,
                "counts": asdict(each.counts),
                "nanoseconds": each.nanoseconds,
                "instructions": each.instructions,
            }
            for each in results
        },
    }
