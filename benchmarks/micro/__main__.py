"""The command: `python -m benchmarks.micro --help`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.micro import CASES, limits
from benchmarks.micro.callgrind import CallgrindError, instructions
from benchmarks.micro.cases import Case
from benchmarks.micro.measure import count, time_ns
from benchmarks.micro.report import Result, document, table


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _chosen(names: Sequence[str] | None) -> list[Case]:
    cases = [CASES[name] for name in names or CASES]
    if missing := [case.name for case in cases if not case.runnable]:
        _tell(f"left out, because orjson is not installed: {', '.join(missing)}")
    return [case for case in cases if case.runnable]


def _with_instructions(results: list[Result]) -> list[Result]:
    try:
        found = instructions([result.case for result in results])
    except CallgrindError as error:
        _tell(str(error))
        return results
    return [replace(result, instructions=found[result.case.name]) for result in results]


def _check(results: Sequence[Result]) -> int:
    accepted = limits.load()
    if accepted is None:
        _tell(f"no counts are recorded for Python {limits.VERSION}: {limits.ACCEPT}")
        return 2
    found = [line for result in results for line in accepted.excess(result.case.name, result.counts)]
    for line in found:
        _tell(line)
    return 1 if found else 0


def _accept(results: Sequence[Result]) -> int:
    if len(results) < len(CASES):
        _tell("nothing was recorded: limits are of all benchmarks, with the extra [fast] installed")
        return 2
    limits.accept({result.case.name: result.counts for result in results})
    _tell(f"recorded the counts of {len(results)} benchmarks for Python {limits.VERSION}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 when all went well, 1 when a count is above its limit, 2 when nothing can be said."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro", description="What one call of each hot path costs.")
    parser.add_argument("--case", action="append", choices=CASES, metavar="NAME", help="may be repeated (default: all)")
    parser.add_argument("--counts", action="store_true", help="counts only, no times")
    parser.add_argument("--callgrind", action="store_true", help="machine instructions too; needs valgrind")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="compare the counts with the recorded ones")
    what.add_argument("--accept", action="store_true", help="record the counts as they are now")
    options = parser.parse_args(arguments)
    if (options.check or options.accept) and (reason := limits.unusable()):
        _tell(reason)
        return 2
    counts_only = options.counts or options.check or options.accept
    results = [Result(case, count(case), None if counts_only else time_ns(case)) for case in _chosen(options.case)]
    if options.callgrind:
        results = _with_instructions(results)
    print(json.dumps(document(results), indent=1) if options.json else table(results))
    if options.check:
        return _check(results)
    return _accept(results) if options.accept else 0


if __name__ == "__main__":
    sys.exit(main())
