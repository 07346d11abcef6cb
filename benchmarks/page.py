"""The page `docs/performance.md`: what is written by hand stays, what is between a pair of markers is made from stored runs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import plots, report
from benchmarks.forms import ROOT
from benchmarks.results import ResultsError, Run
from benchmarks.rows import ROWS, Row
from benchmarks.run import FORM
from benchmarks.series import SERIES
from benchmarks.workloads import MATRIX

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
    FORM: "form",
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

    A run of nothing but body sizes and queues, or of series, has no column beside those of the rows.

    Raises:
        ResultsError: A file is no stored run, or the page lacks a marker.
        PlotError: matplotlib is missing.
    """
    runs = [Run.load(path) for path in paths]
    text = put(page.read_text(encoding="utf-8"), sections(runs))
    plots.draw(report.pooled(runs), folder)
    page.write_text(text, encoding="utf-8")


def sections(runs: Sequence[Run]) -> dict[str, str]:
    """The made parts of the page, by their names."""
    everything = report.pooled(runs)
    rows = report.measured_rows([everything], list(ROWS.values()))
    columns = [run for run in runs if report.measured_rows([run], rows)]
    forms = report.measured_rows([everything], report.form_rows(everything, list(ROWS.values())))
    troubles = sorted({f"* {run.label}: {line}" for run in runs for line in report.troubles(run)})
    tables = [f"### {title}\n\n{table}" for command, title in MATRIX_TITLES.items() if (table := report.matrix_table(everything, command))]
    picture = "\n\n![rates over body sizes and queues](performance/matrix.svg)"
    names = [name for name in report.measured_names(everything) if name]
    return {
        "rows": "\n\n".join(filter(None, (report.row_table(columns, rows) if columns else "", "\n".join(troubles)))),
        "figures": f"![rates by client](performance/rates.svg)\n\n![CPU per message by client](performance/cpu.svg)\n\n"
        f"![latencies by client](performance/latency.svg)\n\n{report.figures_table(_main(everything), names)}",
        "forms": _forms(runs, forms),
        MATRIX: "\n\n".join(tables) + picture if tables else "Not measured in these runs.",
        "series": "\n\n".join(filter(None, (report.series_section(everything, group) for group in SERIES)))
        or "Not measured in these runs.",
        "machine": machine(runs),
    }


def _forms(runs: Sequence[Run], rows: Sequence[Row]) -> str:
    """A table for each run that has other forms; one that has but one of them has no use for the others' rows."""
    tables = [report.row_table([run], shown) for run in runs if (shown := report.measured_rows([run], rows))]
    return "\n\n".join(tables) or "No other form was measured."


def _main(run: Run) -> Run:
    """Without other forms and commits of ours."""
    return report.pooled([Run(run.label, run.about, [each for each in run.rounds if ":" not in each.peer and "@" not in each.peer])])


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
    """How much of the processor time others had in the rounds that count."""
    stolen = [each.stolen for each in run.rounds if each.stolen is not None and each.counts]
    if not stolen:
        return ""
    return f"; others had {statistics.mean(stolen):.0%} of the processor time of the rounds"
