"""What a run says: medians over the rounds that count, and ratios of medians with the spread of the ratios of single rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.results import Round, Run
from benchmarks.rows import CPU, MEMORY, P50, P99, RATE, SECONDS, Row

VALUE: dict[str, Callable[[Round], float]] = {
    RATE: lambda each: each.rate,
    CPU: lambda each: each.cpu_us,
    P50: lambda each: each.latency("p50"),
    P99: lambda each: each.latency("p99"),
    SECONDS: lambda each: each.seconds,
    MEMORY: lambda each: float(each.rss_bytes),
}


def value(each: Round, metric: str) -> float:
    """A figure of a round: one of `VALUE`, or one of its further figures."""
    return VALUE[metric](each) if metric in VALUE else (each.more or {}).get(metric, 0.0)


def measured(run: Run, workload: str, peer: str) -> list[Round]:
    """The rounds that count."""
    return [each for each in run.rounds if each.workload == workload and each.peer == peer and each.counts]


def middle(rounds: Sequence[Round], metric: str) -> float:
    """The median of a figure."""
    return median(value(each, metric) for each in rounds)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a row in one run.

    Attributes:
        row: The row.
        metric: What is compared.
        against: The peer that ours is divided by; "" for the plain figure.
        value: Median of ours by median of the other's; None when something is missing.
        low: Lowest ratio of two rounds of the same number, or our lowest round where nothing is divided.
        high: The highest.
        problem: Why the value is missing, or what was wrong with our rounds.
    """

    row: Row
    metric: str
    against: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    problem: str = ""


def figure(run: Run, row: Row, metric: str, against: str = "") -> Figure:
    """One figure of a run."""
    own = measured(run, row.workload, row.peer)
    if not own:
        return Figure(row, metric, against, problem=run.problems.get((row.workload, row.peer), ""))
    failed = sum(each.failed for each in own)
    problem = f"{failed:,} messages failed" if failed else ""
    if not against:
        values = [value(each, metric) for each in own]
        return Figure(row, metric, against, median(values), min(values), max(values), problem)
    others = measured(run, row.reference, against)
    if not others:
        return Figure(row, metric, against, problem=run.problems.get((row.reference, against), ""))
    divisor = middle(others, metric)
    if not divisor:
        return Figure(row, metric, against, problem=f"{against} has no {metric}")
    theirs = {each.number: value(each, metric) for each in others}
    paired = [value(each, metric) / theirs[each.number] for each in own if theirs.get(each.number)]
    ratio = middle(own, metric) / divisor
    return Figure(row, metric, against, ratio, min(paired, default=ratio), max(paired, default=ratio), problem)


def figures(run: Run, row: Row) -> list[Figure]:
    """Every figure of a row."""
    return [figure(run, row, metric, against) for against in row.against or ("",) for metric in row.metrics]


def went_well(run: Run) -> bool:
    """False when a program of ours failed, or a message of one did."""
    broken = any(problem != "unsupported" and peer.startswith(("asyncio", "sync")) for (_, peer), problem in run.problems.items())
    return not broken and not any(each.failed for each in run.rounds if each.counts and each.peer.startswith(("asyncio", "sync")))
