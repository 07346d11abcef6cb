"""The command: `python -m benchmarks.micro --help`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, astuple

from benchmarks.micro import CASES, limits
from benchmarks.micro.cases import Case
from benchmarks.micro.measure import Counts, count, time_ns

Result = tuple[Case, Counts, float | None]
"""A benchmark, what one call of it costs, and nanoseconds where they were measured."""


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(results: Sequence[Result]) -> str:
    """The results as a table in Markdown; all figures are of one call."""
    lines = [
        "| one call | messages | bytecodes | Python calls | C calls | peak bytes | ns |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    for case, counts, nanoseconds in results:
        figures = (case.messages or None, *astuple(counts), nanoseconds)
        cells = " | ".join("–" if figure is None else f"{figure:,.0f}" for figure in figures)
        lines.append(f"| {case.title} (`{case.name}`) | {cells} |")
    return "\n".join(lines)


def _check(results: Sequence[Result]) -> int:
    accepted = limits.load()
    if accepted is None:
        _tell(f"no counts are recorded for Python {limits.VERSION}: {limits.ACCEPT}")
        return 2
    found = [line for case, counts, _ in results for line in accepted.excess(case.name, counts)]
    for line in found:
        _tell(line)
    return 1 if found else 0


def _accept(results: Sequence[Result]) -> int:
    if len(results) < len(CASES):
        _tell("nothing was recorded: limits are of all benchmarks, with the extra [fast] installed")
        return 2
    limits.accept({case.name: counts for case, counts, _ in results})
    _tell(f"recorded the counts of {len(results)} benchmarks for Python {limits.VERSION}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 when all went well, 1 when a count is above its limit, 2 when nothing can be said."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro", description="What one call of each hot path costs.")
    parser.add_argument("--case", action="append", choices=CASES, metavar="NAME", help="may be repeated (default: all)")
    parser.add_argument("--counts", action="store_true", help="counts only, no times")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="compare the counts with the recorded ones")
    what.add_argument("--accept", action="store_true", help="record the counts as they are now")
    options = parser.parse_args(arguments)
    if reason := limits.unusable():
        _tell(reason)
        return 2
    counts_only = options.counts or options.check or options.accept
    chosen = [CASES[name] for name in options.case or CASES]
    if missing := [case.name for case in chosen if not case.runnable]:
        _tell(f"left out, because orjson is not installed: {', '.join(missing)}")
    results = [(case, count(case), None if counts_only else time_ns(case)) for case in chosen if case.runnable]
    as_json = {case.name: {"counts": asdict(counts), "nanoseconds": nanoseconds} for case, counts, nanoseconds in results}
    print(json.dumps(as_json, indent=1) if options.json else table(results))
    if options.check:
        return _check(results)
    return _accept(results) if options.accept else 0


if __name__ == "__main__":
    sys.exit(main())
