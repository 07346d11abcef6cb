"""How a run is shown: a table for people, JSON for everything else."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.peers import REFERENCE
from benchmarks.run import Round, warm
from benchmarks.workloads import WORKLOADS


@dataclass(frozen=True, slots=True)
class Verdict:
    """One peer in one workload, beside the reference."""

    workload: str
    peer: str
    first_rate: float
    warm_rate: float
    cpu_us: float
    failed: int
    ratio: float | None
    bar: float | None

    @property
    def met(self) -> bool:
        """False when the ratio is below the bar, or a send failed."""
        return not self.failed and (self.ratio is None or self.bar is None or self.ratio >= self.bar)


def judge(rounds: Sequence[Round]) -> list[Verdict]:
    """A verdict for every workload and peer, in the order of the rounds."""
    grouped: dict[tuple[str, str], list[Round]] = {}
    for each in rounds:
        grouped.setdefault((each.workload, each.peer), []).append(each)
    verdicts = []
    for (workload, peer), own in grouped.items():
        best = warm(own)
        reference = grouped.get((workload, REFERENCE))
        is_ours = peer != REFERENCE
        ratio = best.rate / warm(reference).rate if reference and is_ours else None
        failed = sum(each.failed for each in own)
        bar = WORKLOADS[workload].bar if is_ours else None
        verdicts.append(Verdict(workload, peer, own[0].rate, best.rate, best.cpu_us, failed, ratio, bar))
    return verdicts


def table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a table in Markdown."""
    lines = [
        "| workload | client | first round, msg/s | warm, msg/s | CPU µs per message | of Java's warm rate | bar |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in verdicts:
        ratio = "" if each.ratio is None else f"{each.ratio:.2f}"
        bar = "" if each.bar is None else f"{each.bar:.2f} {'met' if each.met else 'MISSED'}"
        title = WORKLOADS[each.workload].title
        lines.append(f"| {title} | {each.peer} | {each.first_rate:,.0f} | {each.warm_rate:,.0f} | {each.cpu_us:.1f} | {ratio} | {bar} |")
    return "\n".join(lines)


def document(version: str, rounds: Sequence[Round], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Everything of a run, to be written as JSON."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "server": version,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "rounds": [asdict(each) | {"rate": each.rate, "cpu_us": each.cpu_us} for each in rounds],
        "verdicts": [asdict(each) | {"met": each.met} for each in verdicts],
    }
