"""Runs every test, in a few pytest processes, and tells what was skipped and why (`make test`).

The processes of one phase run side by side, because most of the time of a cluster test is waiting. Tests whose bars are seconds of
wall clock (the fault tests) have a phase of their own. With CI=true nothing may be skipped for want of Java, and
docs/compatibility.md must say what the results say. The lane `compiled` repeats the tests of the hot parts on compiled modules; it is left
out, with the reason, where there is no C compiler.

    python -m tools.run_tests [--lane NAME ...] [-- arguments for pytest]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tools import compatibility
from tools import compile as compiling

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "tests"


@dataclass(frozen=True, slots=True)
class Lane:
    """One pytest process."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def report(self) -> Path:
        """Where the process writes its JUnit report."""
        return BUILD / f"{self.name}.xml"

    @property
    def features(self) -> Path:
        """Where the process writes its feature results."""
        return BUILD / f"{self.name}.features.json"

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return BUILD / f"{self.name}.log"

    def command(self, extra: list[str]) -> list[str]:
        """The command line."""
        reports = [f"--junitxml={self.report}", f"--feature-results={self.features}"]
        return [sys.executable, "-m", "pytest", "-q", *reports, *self.arguments, *extra]


_NO_SERVER = ("tests/unit", "tests/golden", "tests/wire", "tests/architecture", "tests/packaging")
_ON_CLUSTERS = ("tests/behaviour", "tests/foreign")
_HOT = (
    *(f"tests/unit/{part}" for part in ("protocol", "core", "model", "producer", "consumer", "sync", "remoting/test_link.py")),
    "tests/wire",
    "tests/behaviour",
)
_MOSTLY_WAITING = (
    "test_configuration.py::test_offset_moves_on_when_no_tag_matches",
    "test_configuration.py::test_offsets_are_saved_after_the_configured_interval",
    "test_push_retry.py::test_message_of_a_listener_that_hangs_comes_again",
    "test_push_retry.py::test_raising_and_nonsense_are_failures_that_do_not_stop_the_consumer",
)

PHASES: tuple[tuple[Lane, ...], ...] = (
    (
        Lane("local", (*_NO_SERVER, *_ON_CLUSTERS, "--cluster=unit", "--cluster=embedded")),
        Lane("real", (*_ON_CLUSTERS, "--cluster=5.5.0", "--cluster=4.9.7")),
    ),
    (Lane("faults", ("tests/faults",)),),
    (
        Lane(
            "compiled",
            (
                "tests/compiled",
                *_HOT,
                "--cluster=unit",
                "--cluster=embedded",
                *(f"--deselect=tests/behaviour/{test}" for test in _MOSTLY_WAITING),
            ),
            {"PYTHONPATH": str(compiling.DESTINATION), compiling.FORM_ENV: "compiled"},
        ),
    ),
)


def _selected(names: list[str]) -> list[tuple[Lane, ...]]:
    kept = [tuple(lane for lane in phase if not names or lane.name in names) for phase in PHASES]
    return [phase for phase in kept if phase]


def _compiled_form(phases: list[tuple[Lane, ...]]) -> tuple[list[tuple[Lane, ...]], bool]:
    """Compile for the lane that needs it; the phases without that lane when it cannot run, and whether nothing went wrong."""
    others = [phase for phase in phases if not any(compiling.FORM_ENV in lane.environment for lane in phase)]
    if len(others) == len(phases):
        return phases, True
    if lack := compiling.missing():
        print(f"skipped: lane compiled: {lack}")
        return others, True
    if compiling.main([]):
        print("FAIL compiled: the modules do not compile", flush=True)
        return others, False
    return phases, True


def _run_phase(phase: tuple[Lane, ...], extra: list[str]) -> bool:
    started = time.monotonic()
    names = " and ".join(lane.name for lane in phase)
    print(f"running {names}, output in {BUILD.relative_to(ROOT)}/ ...", flush=True)
    running = []
    for lane in phase:
        for stale in (lane.report, lane.features):
            stale.unlink(missing_ok=True)
        present = tuple(part for part in lane.arguments if part.startswith("-") or (ROOT / part).exists())
        command = replace(lane, arguments=present).command(extra)
        with lane.log.open("wb") as sink:
            environment = {**os.environ, **lane.environment}
            running.append((lane, subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT)))
    passed = True
    try:
        for lane, process in running:
            code = process.wait()
            text = lane.log.read_text(errors="replace")
            print(f"{'ok  ' if code == 0 else 'FAIL'} {lane.name}: {_summary(text)} [{time.monotonic() - started:.0f} s]", flush=True)
            if code != 0:
                passed = False
                print(text, flush=True)
    finally:
        for _, process in running:
            if process.poll() is None:
                process.terminate()
                process.wait()
    return passed


def _summary(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def _print_skipped(lanes: list[Lane]) -> None:
    reasons: Counter[str] = Counter()
    for lane in lanes:
        if lane.report.exists():
            for skipped in ElementTree.parse(lane.report).iter("skipped"):
                reasons[skipped.get("message") or "no reason given"] += 1
    if not reasons:
        print("skipped: nothing")
    for reason, count in reasons.most_common():
        print(f"skipped: {count} tests: {reason}")


def _compatibility_is_current(lanes: list[Lane]) -> bool:
    parts = [json.loads(lane.features.read_text()) for lane in lanes if lane.features.exists()]
    compatibility.RESULTS.parent.mkdir(parents=True, exist_ok=True)
    compatibility.RESULTS.write_text(json.dumps(compatibility.merge(parts), indent=1, sort_keys=True) + "\n")
    if os.environ.get("CI") != "true":
        print(
            f"feature results: {compatibility.RESULTS.relative_to(ROOT)} (python -m tools.compatibility makes docs/compatibility.md of it)"
        )
        return True
    return compatibility.main(["--check"]) == 0


def main(arguments: list[str] | None = None) -> int:
    """Run the phases; 0 when all passed."""
    parser = argparse.ArgumentParser(prog="python -m tools.run_tests", description="Run every test.")
    parser.add_argument("--lane", action="append", default=[], choices=[lane.name for phase in PHASES for lane in phase])
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args(arguments)
    BUILD.mkdir(parents=True, exist_ok=True)
    phases, passed = _compiled_form(_selected(options.lane))
    lanes = [lane for phase in phases for lane in phase]
    for phase in phases:
        passed &= _run_phase(phase, options.pytest)
    _print_skipped(lanes)
    if not options.lane:
        # What a feature does is proven on the pure form.
        passed &= _compatibility_is_current([lane for lane in lanes if not lane.environment])
    print("all tests passed" if passed else "NOT all tests passed")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
