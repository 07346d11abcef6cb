"""What a run says about the rows: medians, Java's warm round, ratios with their spread, floors and goals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.peers import REFERENCE
from benchmarks.results import Round, Run
from benchmarks.rows import CPU, MEMORY, P50, P99, RATE, SECONDS, Mark, Row

VALUE: dict[str, Callable[[Round], float]] = {
    RATE: lambda each: each.rate,
    CPU: lambda each: each.cpu_us,
    P50: lambda each: each.latency("p50"),
    P99: lambda each: each.latency("p99"),
    SECONDS: lambda each: each.seconds,
    MEMORY: lambda each: float(each.rss_bytes),
}


def measured(run: Run, workload: str, peer: str) -> list[Round]:
    """The rounds that count."""
    return [each for each in run.rounds if each.workload == workload and each.peer == peer and each.counts]


def best(rounds: Sequence[Round]) -> Round:
    """The round with the highest rate: noise only ever slows a round down."""
    return max(rounds, key=lambda each: each.rate)


def middle(rounds: Sequence[Round], metric: str) -> float:
    """The median of a metric."""
    return median(VALUE[metric](each) for each in rounds)


def reference_value(rounds: Sequence[Round], peer: str, metric: str) -> float:
    """What ours is divided by: the rate of Java's best round, and medians of everything else."""
    if peer == REFERENCE and metric == RATE:
        return VALUE[metric](best(rounds))
    return middle(rounds, metric)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure of a row in one run.

    Attributes:
        row: The row.
        mark: The figure.
        value: Our median, divided by the reference; None when something is missing.
        low: The same of our lowest round.
        high: The same of our highest round.
        problem: Why the value is missing, or what was wrong with our rounds.
    """

    row: Row
    mark: Mark
    value: float | None = None
    low: float | None = None
    high: float | None = None
    problem: str = ""

    @property
    def floor_met(self) -> bool | None:
        """None when there is no floor, or nothing was measured."""
        return self._reaches(self.mark.floor)

    @property
    def goal_met(self) -> bool | None:
        """None when there is no goal, or nothing was measured."""
        return self._reaches(self.mark.goal)

    def _reaches(self, limit: float | None) -> bool | None:
        if limit is None or self.value is None:
            return None
        return not self.problem and self.mark.reaches(self.value, limit)


def judge(run: Run, row: Row, mark: Mark) -> Verdict:
    """Hold one figure of a run against its floor and goal."""
    own = measured(run, row.workload, row.peer)
    if not own:
        return Verdict(row, mark, problem=run.problems.get((row.workload, row.peer), ""))
    divisor = 1.0
    if mark.against:
        others = measured(run, row.reference, mark.against)
        if not others:
            return Verdict(row, mark, problem=run.problems.get((row.reference, mark.against), ""))
        divisor = reference_value(others, mark.against, mark.metric)
        if not divisor:
            return Verdict(row, mark, problem=f"{mark.against} has no {mark.metric}")
    ratios = [VALUE[mark.metric](each) / divisor for each in own]
    failed = sum(each.failed for each in own)
    problem = f"{failed:,} messages failed" if failed else ""
    return Verdict(row, mark, median(ratios), min(ratios), max(ratios), problem)


def judge_row(run: Run, row: Row) -> list[Verdict]:
    """Every figure of a row."""
    return [judge(run, row, mark) for mark in row.marks]


def floors_met(run: Run, rows: Sequence[Row]) -> bool:
    """False when a floor of these rows is missed, or one of our own programs failed; what was not measured misses nothing."""
    missed = any(verdict.floor_met is False for row in rows for verdict in judge_row(run, row))
    broken = any(problem != "unsupported" and peer in ("asyncio", "sync") for (_, peer), problem in run.problems.items())
    return not missed and not broken
