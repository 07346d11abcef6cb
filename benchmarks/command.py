"""What the commands do: measure and show, compare stored runs, write the page.

`python -m benchmarks` and `aiorocketmq bench` are its faces.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import page, report
from benchmarks.judge import floors_met
from benchmarks.ours.form import COMPILED_ENV, PLAIN_ENV
from benchmarks.peers import DEFAULT_PEERS, PEERS
from benchmarks.plots import PlotError
from benchmarks.results import ResultsError, Round, Run
from benchmarks.rows import ROWS, Row
from benchmarks.run import Plan, measure, plan_families
from benchmarks.workloads import FAMILIES, MATRIX, WORKLOADS, in_matrix
from tests.support.java import NEWEST, JavaMissingError
from tests.support.processes import StartError
from tools import compile as compiling

RESULTS = Path("build/benchmarks.json")
FULLEST = 0.8
"""Part of the disk that may be in use before a run, which needs about 10 GB: from 85 % on the broker deletes what it has stored."""
WORKLOAD_NAMES = tuple(name for name in WORKLOADS if not in_matrix(name))


class CannotRunError(Exception):
    """Nothing can be measured or shown; the message says why, in one line or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure.

    Attributes:
        rows: Rows of the report, by name; with `workloads` left out too: everything.
        workloads: Workloads, by name.
        peers: Who takes part; none for all but those that run only when a row asks for them.
        also: Who takes part besides, when `peers` is left out.
        matrix: Body sizes and queues: besides the rows and workloads, and in place of everything else where none are named.
        plain: Run our programs without what the extra `[fast]` brings.
        compiled: Run our programs with the compiled modules, which are compiled first where that has to be.
        rounds: Measured rounds of each workload and client.
        warm_up: Rounds before these.
        scale: Multiplies the messages per round.
        version: Release of the server.
        label: Name of the run in tables.
        results: File for the results.
        as_json: Show records for programs instead of tables.
    """

    rows: Sequence[str] = ()
    workloads: Sequence[str] = ()
    peers: Sequence[str] = ()
    also: Sequence[str] = ()
    matrix: bool = False
    plain: bool = False
    compiled: bool = False
    rounds: int = 5
    warm_up: int = 2
    scale: float = 1.0
    version: str = NEWEST
    label: str = "this run"
    results: Path = RESULTS
    as_json: bool = False

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            CannotRunError: A name is unknown, or a number out of range.
        """
        for what, names, known in (
            ("row", self.rows, tuple(ROWS)),
            ("workload", self.workloads, WORKLOAD_NAMES),
            ("peer", (*self.peers, *self.also), tuple(PEERS)),
        ):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise CannotRunError(f"{what} {unknown[0]!r} is unknown: use {', '.join(known)}")
        if self.rounds < 1 or self.warm_up < 0 or self.scale <= 0:
            raise CannotRunError("rounds must be 1 or more, warm-up rounds 0 or more, and the scale greater than 0")

    def chosen_rows(self) -> list[Row]:
        """The rows to show."""
        return [ROWS[name] for name in self.rows or ROWS]

    def plan(self) -> Plan:
        """The plan of a run."""
        rows = [ROWS[name] for name in self.rows]
        needed = [mark.against for row in rows for mark in row.marks if mark.against]
        peers = tuple(dict.fromkeys(self.peers or (*DEFAULT_PEERS, *self.also, *needed)))
        usual = FAMILIES if rows or self.workloads or not self.matrix else ()
        planned = plan_families([family.scaled(self.scale) for family in usual], peers, self.workloads or None, rows or None)
        if self.matrix:
            planned += plan_families([family.scaled(self.scale) for family in MATRIX], peers)
        return Plan(planned, self.rounds, self.warm_up, self.version)


def tell(each: Round) -> None:
    """Show a round that has ended."""
    kind = "warm-up" if each.warm_up else "disturbed round" if each.disturbed else "round"
    figures = f"{each.rate:,.0f} msg/s, {each.cpu_us:.1f} µs CPU" if each.count > 1 else f"{each.seconds:.3f} s"
    failed = f", {each.failed:,} failed" if each.failed else ""
    stolen = f", {each.stolen:.0%} stolen" if each.stolen else ""
    notice(f"{each.workload} {each.peer} {kind} {each.number + 1}: {figures}, {each.rss_bytes / 1024**2:.0f} MiB{failed}{stolen}")


def notice(text: str) -> None:
    """Say something to the person at the terminal: standard error."""
    print(text, file=sys.stderr, flush=True)


def run_once(options: Options) -> Run:
    """Measure once and store the run.

    Raises:
        CannotRunError: The options cannot work, the disk is nearly full, the modules cannot be compiled, or no broker can be started.
    """
    options.check()
    _check_disk(Path(tempfile.gettempdir()))
    os.environ[PLAIN_ENV] = "1" if options.plain else ""  # the programs inherit it
    os.environ[COMPILED_ENV] = str(compiled_copy()) if options.compiled else ""
    try:
        run = asyncio.run(measure(options.plan(), options.label, tell, notice, keep=lambda run: run.save(options.results)))
    except (JavaMissingError, StartError) as error:
        raise CannotRunError(str(error)) from error
    run.save(options.results)
    notice(f"results: {options.results}")
    return run


def _check_disk(folder: Path) -> None:
    usage = shutil.disk_usage(folder)
    if usage.used > FULLEST * usage.total:
        raise CannotRunError(
            f"the disk of {folder} is {usage.used / usage.total:.0%} full, and the broker deletes messages from 85 % on: "
            "make room, or name a folder on another disk by TMPDIR"
        )


def compiled_copy() -> Path:
    """The folder with the compiled copy of the package, made now where it is missing or older than the sources.

    Raises:
        CannotRunError: It cannot be made here.
    """
    if lack := compiling.missing():
        raise CannotRunError(f"the modules cannot be compiled: {lack}")
    if compiling.main([]):
        raise CannotRunError("the modules do not compile")
    return compiling.DESTINATION


def run_and_show(options: Options) -> int:
    """Measure, store and show; 0 when every floor that was measured is met, else 1.

    Raises:
        CannotRunError: As `run_once()`.
    """
    run = run_once(options)
    rows = options.chosen_rows()
    _show(report.run_report(run, rows), [run], rows, as_json=options.as_json)
    return 0 if floors_met(run, rows) else 1


def compare(first: Path, second: Path, options: Options) -> int:
    """Show two stored runs beside each other.

    Raises:
        CannotRunError: A file is no stored run.
    """
    options.check()
    before, after = _load([first, second])
    rows = options.chosen_rows()
    _show(report.comparison(before, after, rows), [before, after], rows, as_json=options.as_json)
    return 0


def write_page(paths: Sequence[Path]) -> None:
    """Write the made part of `docs/performance.md` and its pictures from stored runs.

    Raises:
        CannotRunError: A file is no stored run, the page lacks a marker, or matplotlib is missing.
    """
    try:
        page.write(paths)
    except (ResultsError, PlotError) as error:
        raise CannotRunError(str(error)) from error


def run_for_page(options: Options, runs: int) -> int:
    """Measure several times, then body sizes and queues, and once in each slower form of the client; store the runs and write the page.

    The fastest form has compiled modules; where there is no C compiler it is left out, with a notice. The others are pure Python with the
    extra `[fast]` and without it. Each run has a new broker and new programs.

    Raises:
        CannotRunError: As `run_once()` and `write_page()`.
    """
    paths = [page.FOLDER / f"run-{number}.json" for number in range(1, runs + 1)]
    lack = compiling.missing()
    if lack:
        notice(f"the compiled form is left out: {lack}")
    slower = replace(options, matrix=False)
    fastest = replace(slower, compiled=not lack)
    made = [run_once(replace(fastest, label=f"run {number}", results=path)) for number, path in enumerate(paths, 1)]
    paths.append(page.FOLDER / "run-matrix.json")
    run_once(replace(fastest, matrix=True, rows=(), workloads=(), label="body sizes and queues", results=paths[-1]))
    if not lack:
        paths.append(page.FOLDER / "run-pure.json")
        run_once(replace(slower, label="pure Python", results=paths[-1]))
    paths.append(page.FOLDER / "run-plain.json")
    run_once(replace(slower, plain=True, label="without [fast]", results=paths[-1]))
    write_page(paths)
    rows = options.chosen_rows()
    print(report.row_table(made, report.measured_rows(made, rows)))
    return 0 if all(floors_met(run, rows) for run in made) else 1


def _load(paths: Sequence[Path]) -> list[Run]:
    try:
        runs = [Run.load(path) for path in paths]
    except ResultsError as error:
        raise CannotRunError(str(error)) from error
    if len({run.label for run in runs}) < len(runs):
        for run, path in zip(runs, paths, strict=True):
            run.label = path.stem
    return runs


def _show(text: str, runs: Sequence[Run], rows: Sequence[Row], *, as_json: bool) -> None:
    print(json.dumps(report.records(runs, rows), ensure_ascii=False, indent=2) if as_json else text)
