"""What the commands do: measure and show, write the page.

`python -m benchmarks` and `aiorocketmq bench` are its faces.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import forms, page, report
from benchmarks.peers import DEFAULT_PEERS, OURS, PEERS, known
from benchmarks.plots import PlotError
from benchmarks.results import ResultsError, Round, Run
from benchmarks.rows import ROWS, Row
from benchmarks.run import Plan, measure, plan_families
from benchmarks.series import broken
from benchmarks.stats import went_well
from benchmarks.workloads import FAMILIES, GROUPS, WORKLOADS, group_of
from tests.support.java import NEWEST, JavaMissingError
from tests.support.processes import StartError

RESULTS = Path("build/benchmarks.json")
FULLEST = 0.8
"""Part of the disk that may be in use before a run, which needs about 10 GB: from 85 % on the broker deletes what it has stored."""
WORKLOAD_NAMES = tuple(name for name in WORKLOADS if not group_of(name))


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
        groups: What is measured on request only: besides the rows and workloads, and in place of everything else where none are named.
        form: Form of our programs; "" for the fastest that can be made here.
        forms: Take part in all other forms, too.
        against: Commits of this repository whose clients take part, beside those of the working tree.
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
    groups: Sequence[str] = ()
    form: str = ""
    forms: bool = False
    against: Sequence[str] = ()
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
        named = (
            ("row", self.rows, tuple(ROWS)),
            ("workload", self.workloads, WORKLOAD_NAMES),
            ("group", self.groups, tuple(GROUPS)),
            ("form", [self.form] if self.form else [], tuple(forms.FORMS)),
        )
        for what, names, all_names in named:
            unknown = [name for name in names if name not in all_names]
            if unknown:
                raise CannotRunError(f"{what} {unknown[0]!r} is unknown: use {', '.join(all_names)}")
        for name in (*self.peers, *self.also):
            if not known(name):
                raise CannotRunError(f"peer {name!r} is unknown: use {', '.join(PEERS)}, and for ours asyncio:FORM or asyncio@COMMIT")
        if self.rounds < 1 or self.warm_up < 0 or self.scale <= 0:
            raise CannotRunError("rounds must be 1 or more, warm-up rounds 0 or more, and the scale greater than 0")

    def chosen_rows(self) -> list[Row]:
        """The rows to show."""
        return [ROWS[name] for name in self.rows or ROWS]

    def plan(self) -> Plan:
        """The plan of a run."""
        rows = [ROWS[name] for name in self.rows]
        form = self.form or forms.usual()
        other_forms = [f"{kind}:{name}" for kind in OURS for name in forms.FORMS if self.forms and name != form]
        other_commits = [f"{kind}@{commit}" for commit in self.against for kind in OURS]
        needed = [against for row in rows for against in row.against]
        peers = tuple(dict.fromkeys((*(self.peers or (*DEFAULT_PEERS, *self.also, *needed)), *other_forms, *other_commits)))
        usual = FAMILIES if rows or self.workloads or not self.groups else ()
        planned = plan_families([family.scaled(self.scale) for family in usual], peers, self.workloads or None, rows or None)
        for group in self.groups:
            planned += plan_families([family.scaled(self.scale) for family in GROUPS[group]], peers)
        return Plan(planned, self.rounds, self.warm_up, self.version, form)


def tell(each: Round) -> None:
    """Show a round that has ended."""
    kind = "warm-up" if each.warm_up else "round"
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
    plan = options.plan()
    try:
        forms.environment(plan.form)  # made before anything is measured
        for commit in options.against:
            forms.environment(plan.form, commit)
        run = asyncio.run(measure(plan, options.label, tell, notice, keep=lambda run: run.save(options.results)))
    except (JavaMissingError, StartError, forms.FormError) as error:
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


def run_and_show(options: Options) -> int:
    """Measure, store and show; 0 when all programs of ours did their work and every limit was kept, else 1.

    Raises:
        CannotRunError: As `run_once()`.
    """
    run = run_once(options)
    rows = options.chosen_rows()
    _show(report.run_report(run, rows), [run], rows, as_json=options.as_json)
    return 0 if _good(run) else 1


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
    """Measure several times, the first time in every form of the client, then body sizes, queues and how cost grows; write the page.

    Each run has a new broker and new programs.

    Raises:
        CannotRunError: As `run_once()` and `write_page()`.
    """
    rows = replace(options, groups=())
    plans = [(f"run-{number}", replace(rows, forms=number == 1, label=f"run {number}")) for number in range(1, runs + 1)]
    on_request = replace(options, rows=(), workloads=(), forms=False)
    plans += [(f"run-{group}", replace(on_request, groups=(group,), label=group)) for group in options.groups or GROUPS if group != "soak"]
    paths = [page.FOLDER / f"{name}.json" for name, _ in plans]
    made = [run_once(replace(each, results=path)) for path, (_, each) in zip(paths, plans, strict=True)]
    write_page(paths)
    print(report.row_table(made[:runs], report.measured_rows(made[:runs], options.chosen_rows())))
    return 0 if all(map(_good, made)) else 1


def _good(run: Run) -> bool:
    return went_well(run) and not broken(run)


def _show(text: str, runs: Sequence[Run], rows: Sequence[Row], *, as_json: bool) -> None:
    print(json.dumps(report.records(runs, rows), ensure_ascii=False, indent=2) if as_json else text)
