"""The page `docs/performance.md`: what is written by hand stays, what is between a pair of markers is made from stored runs."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from benchmarks import plots, report
from benchmarks.judge import judge_row
from benchmarks.results import ROOT, ResultsError, Run
from benchmarks.rows import ROWS
from benchmarks.run import FORM

PAGE = ROOT / "docs" / "performance.md"
FOLDER = PAGE.with_suffix("")
MATRIX_TITLES = {
    "send_one_at_a_time": "Send, one at a time",
    "send_in_flight": "Send, 256 in flight",
    "push_concurrent": "Push consume, concurrent",
}
_ABOUT = {
    "cpu": "processor",
    "cores": "cores",
    "memory": "memory",
    "system": "system",
    "broker": "broker",
    "java": "Java",
    "go": "Go",
    "go_client": "Go client",
    "grpc_client": "Python gRPC client",
    "python": "Python",
    "aiorocketmq": "aiorocketmq",
}


def put(text: str, sections: Mapping[str, str]) -> str:
    """Replace what stands between `<!-- begin: NAME -->` and `<!-- end: NAME -->`; the rest stays as it is.

    Raises:
        ResultsError: The page lacks a pair of markers.
    """
    for name, content in sections.items():
        begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ResultsError(f"the page lacks the markers {begin} and {end}")
        text = f"{before}{begin}\n{content.strip()}\n{end}{after}"
    return text


def write(paths: Sequence[Path], *, page: Path = PAGE, folder: Path = FOLDER) -> None:
    """Write the made part of the page and its pictures from stored runs.

    The runs of the first one's form (event loop, JSON, compiled or not) make the tables; those of other forms follow in a table of their
    own. A run of nothing but body sizes and queues has no column beside those of the rows.

    Raises:
        ResultsError: A file is no stored run, or the page lacks a marker.
        PlotError: matplotlib is missing.
    """
    runs = [Run.load(path) for path in paths]
    main, others = by_form(runs)
    text = put(page.read_text(encoding="utf-8"), sections(main, others))
    plots.draw(report.pooled(main), folder)
    page.write_text(text, encoding="utf-8")


def by_form(runs: Sequence[Run]) -> tuple[list[Run], dict[str, list[Run]]]:
    """The runs of the first one's form, and the others by their forms."""
    main = [run for run in runs if run.about.get(FORM) == runs[0].about.get(FORM)]
    others: dict[str, list[Run]] = {}
    for run in runs:
        if run not in main:
            others.setdefault(run.about.get(FORM, ""), []).append(run)
    return main, others


def sections(main: Sequence[Run], others: Mapping[str, Sequence[Run]]) -> dict[str, str]:
    """The made parts of the page, by their names."""
    rows = list(ROWS.values())
    everything = report.pooled(main)
    names = report.measured_names(everything)
    every = [*main, *chain.from_iterable(others.values())]
    columns = [run for run in main if report.measured_names(run)] or main
    troubles = sorted({f"* {run.label}: {line}" for run in every for line in report.troubles(run)})
    tables = [f"### {title}\n\n{table}" for command, title in MATRIX_TITLES.items() if (table := report.matrix_table(main, command))]
    picture = "\n\n![rates over body sizes and queues](performance/matrix.svg)"
    return {
        "rows": f"{summary(columns)}\n\n{report.row_table(columns, rows)}\n\n" + "\n".join(troubles),
        "figures": f"![rates by client](performance/rates.svg)\n\n![CPU per message by client](performance/cpu.svg)\n\n"
        f"![latencies by client](performance/latency.svg)\n\n{report.figures_table(everything, names)}",
        "forms": forms(main[0].about.get(FORM, "unknown"), others),
        "matrix": "\n\n".join(tables) + picture if tables else "Not measured in these runs.",
        "machine": machine(every),
    }


def summary(runs: Sequence[Run]) -> str:
    """How many floors and goals are met, in one sentence each, and which floors are missed."""
    floors: dict[str, bool] = {}
    goals: dict[str, bool] = {}
    unmeasured = []
    for row in ROWS.values():
        for verdicts in zip(*(judge_row(run, row) for run in runs), strict=True):
            mark = verdicts[0].mark
            name = f"{row.title}: {report.mark_title(mark)}"
            if mark.floor is not None and all(each.value is None for each in verdicts):
                unmeasured.append(name)
            for found, results in ((floors, [each.floor_met for each in verdicts]), (goals, [each.goal_met for each in verdicts])):
                known = [each for each in results if each is not None]
                if known:
                    found[name] = all(known)
    in_runs = "the run" if len(runs) == 1 else f"each of {len(runs)} separate runs"
    met = [f"{sum(found.values())} of {len(found)} {what}" for what, found in (("floors", floors), ("goals", goals))]
    parts = [f"{met[0]} and {met[1]} are met in {in_runs}."]
    if missed := [name for name, good in floors.items() if not good]:
        parts.append("Floors missed in at least one run:\n\n" + "\n".join(f"* {name}" for name in missed))
    if unmeasured:
        parts.append("Not measured:\n\n" + "\n".join(f"* {name}" for name in unmeasured))
    return "\n\n".join(parts)


def forms(main: str, others: Mapping[str, Sequence[Run]]) -> str:
    """The form of the tables above, and the rows for each further form of the client."""
    parts = [
        f"### {form or 'unknown'}\n\n{report.row_table(runs, report.measured_rows(runs, list(ROWS.values())))}"
        for form, runs in others.items()
    ]
    return "\n\n".join([f"Everything above: {main}.", *(parts or ["No other form was measured."])])


def machine(runs: Sequence[Run]) -> str:
    """Machine and versions; what differs between runs is named once for each."""
    lines = [
        [title, "; ".join(dict.fromkeys(run.about[name] for run in runs if name in run.about))]
        for name, title in _ABOUT.items()
        if any(name in run.about for run in runs)
    ]
    when = [[run.label, f"{run.about.get('time', '')}, commit {run.about.get('commit', 'unknown')}{_disturbance(run)}"] for run in runs]
    return report.markdown(["", ""], lines + when)


def _disturbance(run: Run) -> str:
    """How much of the processor time others had in the rounds that count, and how many were repeated because of it."""
    stolen = [each.stolen for each in run.rounds if each.stolen is not None and each.counts]
    if not stolen:
        return ""
    repeated = sum(each.disturbed for each in run.rounds)
    return f"; others had {statistics.mean(stolen):.0%} of the processor time of the rounds, {repeated} of which were repeated"


def markers(text: str) -> list[str]:
    """Names of the made parts of a page."""
    return re.findall(r"<!-- begin: (\w+) -->", text)
