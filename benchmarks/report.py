"""How runs are shown: tables in Markdown of one run, of several, and of two beside each other; the same as records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from benchmarks import series
from benchmarks.peers import PEERS, base, peer
from benchmarks.results import Round, Run
from benchmarks.rows import CPU, MEMORY, METRICS, P50, RATE, SECONDS, Row
from benchmarks.stats import Figure, figure, figures, measured, middle, value
from benchmarks.workloads import KIB, MATRIX, MATRIX_QUEUES, MATRIX_SIZES, MIB, WORKLOADS, group_of, matrix_name

UNSUPPORTED = "unsupported"
NOTHING = "–"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def number(ratio: float) -> str:
    """A ratio, or seconds, with the digits that matter."""
    if ratio >= 10:
        return f"{ratio:.0f}"
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.3f}"


def figure_title(each: Figure) -> str:
    """What is compared, for people."""
    return f"{METRICS[each.metric]} ÷ {peer(each.against).title}" if each.against else METRICS[each.metric]


def figure_text(each: Figure) -> str:
    """The value of a figure with its spread."""
    if each.value is None or each.low is None or each.high is None:
        return f"not measured{': ' + each.problem.splitlines()[0] if each.problem else ''}"
    unit = "" if each.against else " s"
    problem = f"; {each.problem}" if each.problem else ""
    return f"{number(each.value)}{unit} ({number(each.low)} to {number(each.high)}){problem}"


def row_table(runs: Sequence[Run], rows: Sequence[Row]) -> str:
    """Every figure of the rows in every run."""
    lines = []
    for row in rows:
        for index, found in enumerate(zip(*(figures(run, row) for run in runs), strict=True)):
            lines.append([row.title if index == 0 else "", figure_title(found[0]), *map(figure_text, found)])
    return markdown(["workload", "figure", *(run.label for run in runs)], lines)


def measured_rows(runs: Sequence[Run], rows: Sequence[Row]) -> list[Row]:
    """The rows of which any run has a figure."""
    return [row for row in rows if any(each.value is not None for run in runs for each in figures(run, row))]


def variants(run: Run, kind: str) -> list[str]:
    """Our peers with a form (`kind` ":") or of another commit ("@") that a run has rounds of."""
    return [name for name in dict.fromkeys(each.peer for each in run.rounds) if kind in name]


def form_rows(run: Run, rows: Sequence[Row]) -> list[Row]:
    """The rows of other forms of our peers."""
    return [
        replace(row, title=f"{row.title}, {_variant(name)}", peer=name, against=_of_one_form(row, name))
        for name in variants(run, ":")
        for row in rows
        if row.peer == base(name)
    ]


def _of_one_form(row: Row, name: str) -> tuple[str, ...]:
    """Who a row of another form is divided by: what is held against ourselves is of that form, too."""
    return tuple(name if each == row.peer else each for each in row.against)


def before_and_after(run: Run, rows: Sequence[Row]) -> list[Row]:
    """For each row and each other commit of ours in a run, the row of this one divided by that one."""
    return [
        replace(row, reference=row.workload, against=(name,))
        for name in variants(run, "@")
        for row in rows
        if row.peer == base(name) and measured(run, row.workload, name)
    ]


def _variant(name: str) -> str:
    return peer(name).title.partition("(")[2].rstrip(")")


def measured_names(run: Run, group: str = "") -> list[str]:
    """Workloads of a group that a run has rounds of, in the order of the run."""
    return [name for name in dict.fromkeys(each.workload for each in run.rounds) if group_of(name) == group]


def measured_peers(run: Run) -> list[str]:
    """Everyone that a run has rounds of, in the order of `PEERS`."""
    kinds = list(PEERS)
    return sorted(dict.fromkeys(each.peer for each in run.rounds), key=lambda name: kinds.index(base(name)))


def pooled(runs: Sequence[Run]) -> Run:
    """All rounds of several runs as one."""
    return replace(runs[0], rounds=[each for run in runs for each in run.rounds])


def figures_table(run: Run, names: Sequence[str]) -> str:
    """Absolute medians of every client in the workloads of these names."""
    lines = []
    for name in names:
        for who in measured_peers(run):
            rounds = measured(run, name, who)
            if rounds:
                lines.append([WORKLOADS[name].title, peer(who).title, *_absolute(rounds, WORKLOADS[name].figure)])
    head = ["workload", "client", "median", "lowest to highest", "CPU µs per message", "p50 / p99 / p99.9, µs", "resident, MiB", "failed"]
    return markdown(head, lines)


def _absolute(rounds: Sequence[Round], about: str) -> list[str]:
    ends = [f"{middle(rounds, MEMORY) / MIB:.0f}", f"{sum(each.failed for each in rounds):,}"]
    if about == MEMORY:
        return [NOTHING, NOTHING, NOTHING, NOTHING, *ends]
    if about == SECONDS:
        return [_FORMS[SECONDS].format(middle(rounds, SECONDS)), _range(rounds, SECONDS), NOTHING, NOTHING, *ends]
    latencies = NOTHING
    if all(each.latency_us for each in rounds):
        latencies = " / ".join(f"{middle(_latencies(rounds, part), part):,.0f}" for part in ("p50", "p99", "p999"))
    rates = [NOTHING, NOTHING] if about == P50 else [_FORMS[RATE].format(middle(rounds, RATE)), _range(rounds, RATE)]
    return [*rates, f"{middle(rounds, CPU):.1f}", latencies, *ends]


def _latencies(rounds: Sequence[Round], part: str) -> list[Round]:
    return [replace(each, more={part: each.latency(part)}) for each in rounds]


def _range(rounds: Sequence[Round], metric: str) -> str:
    found = [value(each, metric) for each in rounds]
    return f"{_FORMS[metric].format(min(found))} to {_FORMS[metric].format(max(found))}"


def matrix_table(run: Run, command: str) -> str:
    """Rates of every client over body sizes and queues, with our ratios."""
    peers = ("asyncio", "java", "go")
    lines = []
    for size in MATRIX_SIZES:
        for queues in MATRIX_QUEUES:
            name = matrix_name(command, size, queues)
            rounds = [measured(run, name, who) for who in peers]
            if any(rounds):
                rates = [_FORMS[RATE].format(middle(each, RATE)) if each else NOTHING for each in rounds]
                row = Row(name, name, "asyncio", name, name)
                ratios = [each.value for each in figures(run, row)]
                lines.append([size_text(size), str(queues), *rates, *(NOTHING if each is None else number(each) for each in ratios)])
    heads = [figure_title(figure(run, Row("", "", "asyncio", "", ""), metric, who)) for who in ("java", "go") for metric in (RATE, CPU)]
    return markdown(["body", "queues", *(peer(who).title for who in peers), *heads], lines) if lines else ""


def size_text(size: int) -> str:
    """Bytes for people."""
    return f"{size} B" if size < KIB else f"{size // KIB} KiB" if size < MIB else f"{size / MIB:.4g} MiB"


def series_section(run: Run, group: str) -> str:
    """The table of a series with its title; "" when the run has nothing of it."""
    lines = series.cells(run, group)
    return f"### {series.SERIES[group].title}\n\n{markdown(series.heads(group), lines)}" if lines else ""


def troubles(run: Run) -> list[str]:
    """A line for everything that could not be measured, or not at once, and for each limit that is not kept."""
    lines = [
        f"{workload}, {peer(who).title}: {text.splitlines()[0]}" for (workload, who), text in run.problems.items() if text != UNSUPPORTED
    ]
    lines += [
        f"{each.workload}, {peer(each.peer).title}: a round failed and was repeated: {each.text.splitlines()[0]}" for each in run.mishaps
    ]
    return [*lines, *series.broken(run)]


def run_report(run: Run, rows: Sequence[Row]) -> str:
    """One run for the terminal: the rows that were measured, commits beside each other, the absolute figures, and what went wrong."""
    shown = [*before_and_after(run, rows), *measured_rows([run], [*rows, *form_rows(run, rows)])]
    parts = [row_table([run], shown)] if shown else []
    parts.append(figures_table(run, [*measured_names(run), *measured_names(run, MATRIX)]))
    return "\n\n".join([*parts, *filter(None, (series_section(run, group) for group in series.SERIES)), *troubles(run)])


_FORMS = {RATE: "{:,.0f}/s", CPU: "{:.1f}", P50: "{:,.0f} µs", SECONDS: "{:.3f} s", MEMORY: "{:,.0f} B"}


def records(runs: Sequence[Run], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every figure of the rows in every run, for programs."""
    return [
        {
            "run": run.label,
            "row": row.name,
            "peer": row.peer,
            "metric": each.metric,
            "against": each.against or None,
            "value": each.value,
            "low": each.low,
            "high": each.high,
            "problem": each.problem,
        }
        for run in runs
        for row in [*rows, *form_rows(run, rows), *before_and_after(run, rows)]
        for each in figures(run, row)
    ]
