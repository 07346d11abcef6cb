"""No hot path does more than was accepted for this version of Python: counts of `benchmarks.micro` beside its `limits.json`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.micro import CASES, limits
from benchmarks.micro.__main__ import table
from benchmarks.micro.cases import Case, Run
from benchmarks.micro.measure import Counts, count, time_ns

ROOT = Path(__file__).resolve().parents[3]
COUNTS = Counts(bytecodes=1000, python_calls=10, c_calls=20, peak_bytes=5000)


@pytest.fixture(scope="module")
def accepted() -> limits.Accepted:
    """What was recorded for this interpreter."""
    if reason := limits.unusable():
        pytest.skip(reason)
    recorded = limits.load()
    if recorded is None:
        pytest.skip(f"no counts are recorded for Python {limits.VERSION}: {limits.ACCEPT}")
    return recorded


@pytest.fixture(scope="module")
def counted(accepted: limits.Accepted) -> dict[str, Counts]:
    """The counts now, from a process of its own: nothing that other tests left behind is in them."""
    command = [sys.executable, "-m", "benchmarks.micro", "--counts", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return {name: Counts(**each["counts"]) for name, each in json.loads(done.stdout).items()}


@pytest.mark.parametrize("name", CASES)
def test_a_hot_path_stays_within_its_limits(name: str, accepted: limits.Accepted, counted: dict[str, Counts]) -> None:
    if name not in counted:
        pytest.skip("orjson is not installed")
    excess = accepted.excess(name, counted[name])
    assert not excess, "\n".join(excess)


def test_no_limit_outlives_its_benchmark(accepted: limits.Accepted) -> None:
    assert accepted.counts.keys() <= CASES.keys(), limits.ACCEPT


# --- the guard itself -------------------------------------------------------------------------------------------------------------


def a_case(run: Run) -> Case:
    return replace(CASES["unique_id"], name="a_case", setup=lambda: run)


def test_a_call_that_does_nothing_counts_nothing() -> None:
    counts = count(a_case(lambda: None))
    assert (counts.bytecodes, counts.python_calls, counts.c_calls) == (0, 0, 0)


def test_coroutines_and_the_standard_library_are_counted() -> None:
    def work() -> str:
        return json.dumps({"a": 1})

    async def awaited() -> None:
        await asyncio.sleep(0)
        work()

    plain, turned = count(a_case(work)), count(a_case(awaited))
    assert plain.bytecodes > 20
    assert plain.python_calls >= 2
    assert turned.bytecodes > plain.bytecodes
    again = count(a_case(work))
    assert abs(again.peak_bytes - plain.peak_bytes) <= 64, "memory moves by some bytes with the state of the interpreter's free lists"
    assert replace(again, peak_bytes=plain.peak_bytes) == plain, "a count is the same every time"


def test_more_work_is_more_instructions_and_more_memory() -> None:
    def work(rounds: int) -> list[str]:
        return [json.dumps(number) for number in range(rounds)]

    few, many = count(a_case(lambda: work(10))), count(a_case(lambda: work(20)))
    assert many.bytecodes > 1.8 * few.bytecodes
    assert many.peak_bytes > few.peak_bytes


@pytest.mark.parametrize(
    ("kind", "within", "above"),
    [("bytecodes", 1030, 1031), ("python_calls", 10, 11), ("c_calls", 20, 21), ("peak_bytes", 5150, 5151)],
)
def test_the_limit_is_a_little_above_what_was_accepted(kind: str, within: int, above: int) -> None:
    known = limits.Accepted("3.0.0", {"a_case": COUNTS})
    assert known.excess("a_case", replace(COUNTS, **{kind: within})) == []
    (text,) = known.excess("a_case", replace(COUNTS, **{kind: above}))
    for part in ("a_case", f"{above:,}", f"{within:,}", "3.0.0", limits.ACCEPT):
        assert part in text


def test_small_amounts_of_memory_may_move_by_some_bytes() -> None:
    assert limits.allowed("peak_bytes", 100) == 164


def test_a_benchmark_without_limits_says_how_to_record_them() -> None:
    (text,) = limits.Accepted("3.0.0", {}).excess("new", COUNTS)
    assert "new" in text
    assert limits.ACCEPT in text


def test_accepting_leaves_other_versions_alone(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    assert limits.load(path, "3.11") is None
    limits.accept({"a_case": COUNTS}, path, "3.11")
    limits.accept({"a_case": replace(COUNTS, bytecodes=7)}, path, "3.12")
    limits.accept({"other": COUNTS}, path, "3.11")
    older, newer = limits.load(path, "3.11"), limits.load(path, "3.12")
    assert older is not None and older.counts == {"other": COUNTS}
    assert newer is not None and newer.counts["a_case"].bytecodes == 7


def test_counts_of_compiled_modules_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["aiorocketmq.protocol.frame"], "__file__", "frame.cpython-311-x86_64-linux-gnu.so")
    assert "aiorocketmq.protocol.frame" in (limits.unusable() or "")


def test_the_table_shows_every_figure() -> None:
    line = table([(CASES["unique_id"], COUNTS, 1234.4)]).splitlines()[-1]
    assert line.endswith("| 1 | 1,000 | 10 | 20 | 5,000 | 1,234 |")
    assert table([(CASES["unique_id"], COUNTS, None)]).endswith("| – |")


def test_time_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.micro.measure.ROUND_SECONDS", 0.001)
    assert 0 < time_ns(a_case(lambda: json.dumps(1))) < 1e6
