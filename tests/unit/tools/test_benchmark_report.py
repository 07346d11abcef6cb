"""Verdicts of the benchmarks: ratios to Java's warm rate, bars, failed sends."""

from __future__ import annotations

import pytest

from benchmarks.report import judge, table
from benchmarks.run import Round, warm


def one(peer: str, number: int, seconds: float, *, failed: int = 0, workload: str = "send_in_flight") -> Round:
    return Round(workload, peer, number, count=1000, failed=failed, seconds=seconds, cpu_seconds=0.005)


def test_the_first_round_is_cold() -> None:
    assert warm([one("java", 0, 0.1), one("java", 1, 0.5), one("java", 2, 0.4)]).number == 2
    assert warm([one("java", 0, 0.1)]).number == 0


@pytest.mark.parametrize(("seconds", "failed", "met"), [(0.5, 0, True), (0.625, 0, True), (0.63, 0, False), (0.5, 1, False)])
def test_the_bar_is_a_part_of_the_warm_rate_of_java(seconds: float, failed: int, met: bool) -> None:
    rounds = [one("java", 0, 2.0), one("asyncio", 0, 2.0), one("java", 1, 0.5), one("asyncio", 1, seconds, failed=failed)]
    java, ours = judge(rounds)
    assert (java.ratio, java.bar, java.met) == (None, None, True)
    assert ours.ratio == pytest.approx(0.5 / seconds)
    assert ours.met is met
    assert ("met" if met else "MISSED") in table([ours])


def test_without_java_there_is_no_ratio() -> None:
    (ours,) = judge([one("asyncio", 0, 1.0)])
    assert ours.ratio is None
    assert ours.met
    assert ours.cpu_us == pytest.approx(5.0)
