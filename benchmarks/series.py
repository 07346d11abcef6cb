"""What is measured over a size (topics, queues, producers, minutes) or a kind of server: how its table looks, and what it has to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.peers import peer
from benchmarks.results import Round, Run
from benchmarks.rows import CPU, MEMORY, RATE, SECONDS
from benchmarks.stats import measured, middle
from benchmarks.workloads import CPU_PERCENT, GROUPS, MIB

Form = Callable[[float], str]


def whole(value: float) -> str:
    """A count or a rate."""
    return f"{value:,.0f}"


def _digits(value: float) -> str:
    return f"{value:.2f}"


def _mib(value: float) -> str:
    return f"{value / MIB:.1f}"


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that a column may show; at one workload, or at all of them when none is named."""

    metric: str
    most: float
    workload: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One table: a line for each workload of a group and each of our peers.

    Attributes:
        title: Heading.
        axis: Head of the column with the last part of the workloads' names.
        columns: (head, figure, how it is written); see `stats.value()`.
        limits: What has to be kept.
    """

    title: str
    axis: str
    columns: tuple[tuple[str, str, Form], ...]
    limits: tuple[Limit, ...] = ()


_HOLDINGS: Final = (("resident, MiB", MEMORY, _mib), ("tasks", "tasks", whole), ("connections", "connections", whole))
_IDLE: Final = (
    ("all owned after, s", SECONDS, _digits),
    ("idle CPU, % of a core", CPU_PERCENT, _digits),
    *_HOLDINGS,
    ("timers", "timers", whole),
    ("requests in flight", "in_flight", whole),
)
_DRIFT: Final = {"rss": 4 * MIB, "tasks": 1, "timers": 2, "descriptors": 1, "threads": 1, "objects": 5_000}
"""How far the straight line through the second half of the samples of a soak may rise from its beginning to its end."""
_PEAKS: Final = {"lost": 0, "unanswered": 256, "waiting": 8 * 532, "pulls": 9}

SERIES: Final = {
    "topics": Series("Topics of one consumer, one queue each", "topics", _IDLE, (Limit(CPU_PERCENT, 1.0, "topics/1000"),)),
    "queues": Series("Queues of one consumer", "queues", _IDLE, (Limit(CPU_PERCENT, 1.0, "queues/1024"),)),
    "producers": Series(
        "Producers in one process", "producers", (("messages/s", RATE, whole), ("CPU µs per message", CPU, _digits), *_HOLDINGS)
    ),
    "soak": Series(
        "Minutes at full load",
        "minutes",
        (
            ("received", "received", whole),
            ("twice", "twice", whole),
            *((f"{name}, most", name, whole) for name in _PEAKS),
            *((f"drift of {name}", f"drift_{name}", whole) for name in _DRIFT),
        ),
        (*(Limit(name, most) for name, most in _PEAKS.items()), *(Limit(f"drift_{name}", most) for name, most in _DRIFT.items())),
    ),
    "embedded": Series(
        "The embedded server beside the real one",
        "server and load",
        (
            ("messages/s", RATE, whole),
            ("server CPU µs per message", "server_cpu_us", _digits),
            ("server's resident memory afterwards, MiB", "server_rss", _mib),
            ("server ready after, s", "server_start", _digits),
        ),
    ),
}


def lines(run: Run, group: str) -> list[tuple[str, str, list[Round]]]:
    """Workload, peer and rounds of everything that a run has of a group."""
    peers = dict.fromkeys(each.peer for each in run.rounds)
    names = [workload.name for family in GROUPS[group] for workload in family.workloads]
    return [(name, who, rounds) for name in names for who in peers if (rounds := measured(run, name, who))]


def cells(run: Run, group: str) -> list[list[str]]:
    """The lines of the table of a series."""
    found = []
    for name, who, rounds in lines(run, group):
        figures = [form(middle(rounds, metric)) for _, metric, form in SERIES[group].columns]
        found.append([name.partition("/")[2].replace("/", ", "), peer(who).title, *figures])
    return found


def heads(group: str) -> Sequence[str]:
    """The head of that table."""
    return [SERIES[group].axis, "client", *(head for head, _, _ in SERIES[group].columns)]


def broken(run: Run) -> list[str]:
    """A line for each limit that a run does not keep."""
    found = []
    for group, series in SERIES.items():
        for name, who, rounds in lines(run, group):
            for limit in series.limits:
                seen = middle(rounds, limit.metric)
                if limit.workload in ("", name) and seen > limit.most:
                    found.append(f"{name}, {peer(who).title}: {limit.metric} {seen:,.2f}, at most {limit.most:,g}")
    return found
