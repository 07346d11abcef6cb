"""Runs every test, in a few pytest processes, and tells what was skipped and why (`make test`).

Two lanes run side by side, the longest first: most tests wait, and those on real clusters wait most. The fault tests, which put a
broker under load, have a phase of their own. With CI=true nothing may be skipped for want of Java, and docs/compatibility.md must say
what the results say. The lane `compiled` repeats the tests of the hot parts on compiled modules; it is left out, with the reason, where
there is no C compiler. The lanes `python-3.12` and so on repeat what needs no other program on the other versions of Python that are
found; they run in CI, or when named.

    python -m tools.run_tests [--quick] [--lane NAME ...] [-- arguments for pytest]
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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tools import compatibility, pythons
from tools import compile as compiling

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "tests"
_SIDE_BY_SIDE = 2


@dataclass(frozen=True, slots=True)
class Lane:
    """One pytest process."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    """Another version of Python that it runs on; the interpreter itself when that was found."""

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
        return [self.python or sys.executable, "-m", "pytest", "-q", *reports, *self.arguments, *extra]


_LOCAL_FILES = ("tests/unit", "tests/golden", "tests/wire", "tests/life", "tests/architecture")
_NO_SERVER = (*_LOCAL_FILES, "tests/packaging")
_ON_CLUSTERS = ("tests/behaviour", "tests/foreign")
_HOT = (
    *(f"tests/unit/{part}" for part in ("protocol", "core", "model", "producer", "consumer", "sync", "remoting/test_link.py")),
    "tests/wire",
    "tests/behaviour",
)
_ANY_PYTHON = (
    *("tests/unit", "tests/golden", "tests/wire", "tests/behaviour", "--ignore=tests/unit/tools"),
    "--ignore=tests/unit/protocol/test_copies.py",  # its counter is made for the steps of one version
    "--deselect=tests/unit/cli/test_commands.py::test_the_version_is_that_of_the_package",  # the package is not installed there
)
_LOCAL = ("--cluster=unit", "--cluster=embedded")
_MOSTLY_WAITING = tuple(
    f"--deselect=tests/behaviour/{test}"
    for test in (
        "test_configuration.py::test_offset_moves_on_when_no_tag_matches",
        "test_configuration.py::test_offsets_are_saved_after_the_configured_interval",
        "test_push_retry.py::test_message_of_a_listener_that_hangs_comes_again",
        "test_push_retry.py::test_raising_does_not_stop_the_consumer_and_nonsense_is_consumed",
        "test_later.py::test_a_message_that_was_taken_back_is_not_delivered",
        "test_transactions.py::test_what_nobody_decides_is_given_up",
        "test_transactions.py::test_burst_of_checks_waits_for_its_turn",
        "test_transactions.py::test_nobody_is_asked_within_the_immunity_time",
        "test_cli.py::test_a_reader_that_goes_away_ends_the_command_quietly",
    )
)


def _python_lane(version: str) -> Lane:
    return Lane(f"python-{version}", (*_ANY_PYTHON, *_LOCAL, *_MOSTLY_WAITING), {"PYTHONPATH": str(ROOT / "src")}, python=version)


Phase = tuple[Lane, ...]
"""Lanes of which two run side by side: the next in the row begins when one of them has ended."""

_FAULTS = Lane("faults", ("tests/faults",))
_COMPILED = Lane(
    "compiled",
    ("tests/compiled", *_HOT, *_LOCAL, *_MOSTLY_WAITING),
    {"PYTHONPATH": str(compiling.DESTINATION), compiling.FORM_ENV: "compiled"},
)
_PYTHONS = tuple(_python_lane(version) for version in pythons.OTHERS)
PHASES: tuple[Phase, ...] = (
    (
        Lane("real", (*_ON_CLUSTERS, "--cluster=5.5.0", "--cluster=4.9.7")),
        Lane("local", (*_NO_SERVER, *_ON_CLUSTERS, *_LOCAL)),
        *_PYTHONS,
        _COMPILED,
    ),
    (_FAULTS,),
)
QUICK: tuple[Phase, ...] = (
    (
        Lane("quick", (*_LOCAL_FILES, "--cluster=unit", "--deselect=tests/architecture/test_documents.py::test_every_example_runs")),
        Lane("quick-embedded", ("tests/behaviour", "--cluster=embedded", *_MOSTLY_WAITING)),
    ),
)
"""What needs neither Java nor a compiler and ends in three minutes."""


def _lanes(phases: Iterable[Phase]) -> list[Lane]:
    return [lane for phase in phases for lane in phase]


def _kept(phases: Iterable[Phase], keep: Callable[[Lane], bool]) -> list[Phase]:
    """The phases without the lanes that are not kept, and without what is empty then."""
    return [kept for phase in phases if (kept := tuple(lane for lane in phase if keep(lane)))]


def _compiled_form(phases: list[Phase]) -> tuple[list[Phase], bool]:
    """Compile for the lane that needs it; the phases without that lane when it cannot run, and whether nothing went wrong."""
    if not any(compiling.FORM_ENV in lane.environment for lane in _lanes(phases)):
        return phases, True
    others = _kept(phases, lambda lane: compiling.FORM_ENV not in lane.environment)
    if lack := compiling.missing():
        print(f"skipped: lane compiled: {lack}")
        return others, True
    if compiling.main([]):
        print("FAIL compiled: the modules do not compile", flush=True)
        return others, False
    return phases, True


def _other_pythons(phases: list[Phase]) -> list[Phase]:
    """The phases with the interpreters of the lanes that want one, without those that cannot have it."""
    found: dict[str, str] = {}
    for version in dict.fromkeys(lane.python for lane in _lanes(phases) if lane.python):
        python, reason = pythons.environment(version)
        if python is None:
            print(f"skipped: lane python-{version}: {reason}")
        else:
            found[version] = str(python)
    phases = _kept(phases, lambda lane: not lane.python or lane.python in found)
    return [tuple(replace(lane, python=found.get(lane.python, "")) for lane in phase) for phase in phases]


def _start(lane: Lane, extra: list[str]) -> subprocess.Popen[bytes]:
    for stale in (lane.report, lane.features):
        stale.unlink(missing_ok=True)
    present = tuple(part for part in lane.arguments if part.startswith("-") or (ROOT / part).exists())
    with lane.log.open("wb") as sink:
        command = replace(lane, arguments=present).command(extra)
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **lane.environment}, stdout=sink, stderr=subprocess.STDOUT)


def _run_phase(phase: Phase, extra: list[str]) -> bool:
    """Run the lanes, two at a time; what one of them finds does not stop the others."""
    print(f"running {', '.join(lane.name for lane in phase)}, output in {BUILD.relative_to(ROOT)}/ ...", flush=True)
    waiting = list(phase)
    running: list[tuple[Lane, subprocess.Popen[bytes], float]] = []
    passed = True
    try:
        while waiting or running:
            while waiting and len(running) < _SIDE_BY_SIDE:
                lane = waiting.pop(0)
                running.append((lane, _start(lane, extra), time.monotonic()))
            time.sleep(0.2)
            for entry in list(running):
                lane, process, started = entry
                code = process.poll()
                if code is not None:
                    running.remove(entry)
                    text = lane.log.read_text(errors="replace")
                    took = time.monotonic() - started
                    print(f"{'ok  ' if code == 0 else 'FAIL'} {lane.name}: {_summary(text)} [{took:.0f} s]", flush=True)
                    if code != 0:
                        passed = False
                        print(text, flush=True)
    finally:
        for _, process, _ in running:
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
    names = [lane.name for lane in _lanes([*PHASES, *QUICK])]
    parser.add_argument("--lane", action="append", default=[], choices=names, help="only this lane; may be repeated")
    parser.add_argument("--quick", action="store_true", help="without Java and compiler, in three minutes (make test-quick)")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args(arguments)
    BUILD.mkdir(parents=True, exist_ok=True)
    whole = not options.lane and not options.quick
    if options.lane:
        phases = _kept([*PHASES, *QUICK], lambda lane: lane.name in options.lane)
    else:
        # Other versions of Python are the business of CI: a contributor need not wait for their environments.
        with_pythons = os.environ.get("CI") == "true"
        phases = _kept(QUICK if options.quick else PHASES, lambda lane: with_pythons or not lane.python)
    phases, passed = _compiled_form(phases)
    phases = _other_pythons(phases)
    lanes = _lanes(phases)
    for phase in phases:
        passed &= _run_phase(phase, options.pytest)
    _print_skipped(lanes)
    if whole:
        # What a feature does is proven on the pure form, by the Python that the project is made with.
        passed &= _compatibility_is_current([lane for lane in lanes if not lane.environment])
    print("all tests passed" if passed else "NOT all tests passed")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
