"""How runs are shown: tables in Markdown of one run, of several, and of two beside each other; the same as records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from benchmarks.judge import VALUE, Verdict, best, judge, judge_row, measured, middle
from benchmarks.peers import PEERS
from benchmarks.results import Round, Run
from benchmarks.rows import CPU, MEMORY, METRICS, P50, RATE, SECONDS, Mark, Row
from benchmarks.workloads import MATRIX_QUEUES, MATRIX_SIZES, WORKLOADS, in_matrix, matrix_name

UNSUPPORTED = "unsupported"
NOTHING = "–"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def number(value: float) -> str:
    """A ratio, or seconds, with the digits that matter."""
    if value >= 10:
        return f"{value:.0f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def mark_title(mark: Mark) -> str:
    """What is compared, for people."""
    return f"{METRICS[mark.metric]} ÷ {PEERS[mark.against].title}" if mark.against else METRICS[mark.metric]


def _unit(mark: Mark) -> str:
    return " s" if mark.metric == SECONDS and not mark.against else ""


def limit_text(mark: Mark, limit: float | None) -> str:
    """A floor or goal."""
    return NOTHING if limit is None else f"{limit:g}{_unit(mark)}"


def ratio_text(verdict: Verdict) -> str:
    """The value of a figure with its spread."""
    if verdict.value is None or verdict.low is None or verdict.high is None:
        return "not measured"
    return f"{number(verdict.value)}{_unit(verdict.mark)} ({number(verdict.low)} to {number(verdict.high)})"


def words(verdicts: Sequence[Verdict]) -> str:
    """Met or missed, of the same figure in one run or several; a limit is met when every run meets it."""
    problems = sorted({each.problem.splitlines()[0] for each in verdicts if each.problem})
    if all(verdict.value is None for verdict in verdicts):
        return "; ".join(["not measured", *problems])
    parts = []
    for name, results in (("floor", [each.floor_met for each in verdicts]), ("goal", [each.goal_met for each in verdicts])):
        known = [each for each in results if each is not None]
        if known:
            missed = known.count(False)
            text = "met" if not missed else "missed" if missed == len(known) else f"missed in {missed} of {len(known)} runs"
            parts.append(f"{name} {text if not missed else f'**{text}**'}")
    return "; ".join(parts + problems) or NOTHING


def row_table(runs: Sequence[Run], rows: Sequence[Row]) -> str:
    """Every figure of the rows in every run, with floors, goals and plain words."""
    lines = []
    for row in rows:
        by_run = [judge_row(run, row) for run in runs]
        for index, mark in enumerate(row.marks):
            verdicts = [each[index] for each in by_run]
            title = row.title if index == 0 else ""
            floor, goal = limit_text(mark, mark.floor), limit_text(mark, mark.goal)
            lines.append([title, mark_title(mark), floor, goal, *map(ratio_text, verdicts), words(verdicts)])
    return markdown(["workload", "figure", "floor", "goal", *(run.label for run in runs), "verdict"], lines)


def measured_rows(runs: Sequence[Run], rows: Sequence[Row]) -> list[Row]:
    """The rows of which any run has a figure."""
    return [row for row in rows if any(verdict.value is not None for run in runs for verdict in judge_row(run, row))]


def measured_names(run: Run, *, matrix: bool = False) -> list[str]:
    """Workloads that a run has rounds of, in the order of the run."""
    return [name for name in dict.fromkeys(each.workload for each in run.rounds) if in_matrix(name) is matrix]


def pooled(runs: Sequence[Run]) -> Run:
    """All rounds of several runs as one."""
    first = runs[0]
    return replace(first, rounds=[each for run in runs for each in run.rounds])


def figures_table(run: Run, names: Sequence[str]) -> str:
    """Absolute medians of every client in the workloads of these names."""
    lines = []
    for name in names:
        for peer in PEERS:
            rounds = measured(run, name, peer)
            if rounds:
                lines.append([WORKLOADS[name].title, PEERS[peer].title, *_absolute(rounds, WORKLOADS[name].figure)])
    head = [
        "workload",
        "client",
        "median",
        "best round",
        "CPU µs per message",
        "p50 / p99 / p99.9, µs",
        "resident, MiB",
        "failed",
        "rounds",
    ]
    return markdown(head, lines)


def _absolute(rounds: Sequence[Round], about: str) -> list[str]:
    ends = [f"{middle(rounds, MEMORY) / 1024**2:.0f}", f"{sum(each.failed for each in rounds):,}", str(len(rounds))]
    if about == MEMORY:
        return [NOTHING, NOTHING, NOTHING, NOTHING, *ends]
    if about == SECONDS:
        return [f"{middle(rounds, SECONDS):.3f} s", f"{min(each.seconds for each in rounds):.3f} s", NOTHING, NOTHING, *ends]
    latencies = NOTHING
    if all(each.latency_us for each in rounds):
        latencies = " / ".join(f"{middle_latency(rounds, part):,.0f}" for part in ("p50", "p99", "p999"))
    rates = [NOTHING, NOTHING] if about == P50 else [f"{middle(rounds, RATE):,.0f}/s", f"{VALUE[RATE](best(rounds)):,.0f}/s"]
    return [*rates, f"{middle(rounds, CPU):.1f}", latencies, *ends]


def middle_latency(rounds: Sequence[Round], part: str) -> float:
    """The median over rounds of a percentile, in microseconds."""
    return median(each.latency(part) for each in rounds)


def matrix_table(runs: Sequence[Run], command: str) -> str:
    """Rates of every client over body sizes and queues, with our ratios: the medians of those in each run."""
    everything = pooled(runs)
    peers = ("asyncio", "java", "go")
    lines = []
    for size in MATRIX_SIZES:
        for queues in MATRIX_QUEUES:
            name = matrix_name(command, size, queues)
            rounds = [measured(everything, name, peer) for peer in peers]
            if any(rounds):
                rates = [f"{middle(each, RATE):,.0f}/s" if each else NOTHING for each in rounds]
                row = Row(name, name, "asyncio", name, name, _MATRIX_MARKS)
                ratios = [_middle_ratio([judge(run, row, mark) for run in runs]) for mark in row.marks]
                lines.append([size_text(size), str(queues), *rates, *ratios])
    titles = [*(PEERS[peer].title for peer in peers), *map(mark_title, _MATRIX_MARKS)]
    return markdown(["body", "queues", *titles], lines) if lines else ""


_MATRIX_MARKS = (Mark(RATE, "java"), Mark(CPU, "java"), Mark(RATE, "go"), Mark(CPU, "go"))


def _middle_ratio(verdicts: Sequence[Verdict]) -> str:
    values = [each.value for each in verdicts if each.value is not None]
    return number(median(values)) if values else NOTHING


def size_text(size: int) -> str:
    """Bytes for people."""
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB"


def troubles(run: Run) -> list[str]:
    """A line for everything that could not be measured, or not at once."""
    lines = [
        f"{workload}, {PEERS[peer].title}: {text.splitlines()[0]}" for (workload, peer), text in run.problems.items() if text != UNSUPPORTED
    ]
    return lines + [
        f"{each.workload}, {PEERS[each.peer].title}: a round failed and was repeated: {each.text.splitlines()[0]}" for each in run.mishaps
    ]


def run_report(run: Run, rows: Sequence[Row]) -> str:
    """One run for the terminal: the rows that were measured, the absolute figures, and what went wrong."""
    shown = measured_rows([run], rows)
    parts = [row_table([run], shown)] if shown else []
    parts.append(figures_table(run, [*measured_names(run), *measured_names(run, matrix=True)]))
    return "\n\n".join([*parts, *troubles(run)])


def comparison(first: Run, second: Run, rows: Sequence[Row]) -> str:
    """Two runs beside each other: ratios of the rows, and the change of every client's own figures."""
    shown = measured_rows([first, second], rows)
    names = [*measured_names(first), *measured_names(first, matrix=True)]
    lines = []
    for name in names:
        for peer in PEERS:
            before, after = measured(first, name, peer), measured(second, name, peer)
            if before and after:
                lines.append([WORKLOADS[name].title, PEERS[peer].title, *_change(before, after, WORKLOADS[name].figure)])
    head = ["workload", "client", "figure", first.label, second.label, "change", f"CPU µs: {first.label}", second.label, "change"]
    return "\n\n".join([*([row_table([first, second], shown)] if shown else []), markdown(head, lines)])


_FORMS = {RATE: "{:,.0f}/s", CPU: "{:.1f}", P50: "{:,.0f} µs", SECONDS: "{:.3f} s", MEMORY: "{:,.0f} B"}


def _change(before: Sequence[Round], after: Sequence[Round], about: str) -> list[str]:
    cells = [METRICS[about]]
    for metric in (about, CPU):
        old, new = middle(before, metric), middle(after, metric)
        cells += [_FORMS[metric].format(old), _FORMS[metric].format(new), f"{new / old - 1:+.0%}" if old else NOTHING]
    return cells


def records(runs: Sequence[Run], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every figure of the rows in every run, for programs."""
    return [
        {
            "run": run.label,
            "row": row.name,
            "metric": verdict.mark.metric,
            "against": verdict.mark.against or None,
            "floor": verdict.mark.floor,
            "goal": verdict.mark.goal,
            "value": verdict.value,
            "low": verdict.low,
            "high": verdict.high,
            "floor_met": verdict.floor_met,
            "goal_met": verdict.goal_met,
            "problem": verdict.problem,
        }
        for run in runs
        for row in rows
        for verdict in judge_row(run, row)
    ]
