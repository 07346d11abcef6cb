"""Puts mistakes into a copy of the tree, one at a time, and tells whether the tests notice.

A list is a TOML file of mistakes made by hand, each as small as a slip:

    [[mistake]]
    name = "a cancelled request keeps its place"
    file = "src/aiorocketmq/remoting/channel.py"
    old = "self._pending.pop(opaque, None)"      # must be there exactly once
    new = "pass"
    tests = ["tests/unit/remoting/test_channel.py"]

The result of each is one of: `caught` (a test failed), `survived` (all passed), `hang` (the tests did not end in time: noticed, but with
nothing said), `gone` (the text is not there, or more than once). The tests of all mistakes run once without any: what fails then, proves
nothing.

    python -m tools.mutate [tests/mistakes/sync.toml ...] [--only TEXT] [--limit 60] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LISTS = tuple(sorted((ROOT / "tests" / "mistakes").glob("*.toml")))
FIELDS = {"name", "file", "old", "new", "tests"}


class ListError(ValueError):
    """A list that cannot be used; says where and why."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One replacement, and the tests that should notice it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a mistake.

    Attributes:
        name: Its name.
        file: Where it was put.
        result: "caught", "survived", "hang" or "gone".
        seconds: How long the tests ran.
        by: The test that failed first, or "".
    """

    name: str
    file: str
    result: str
    seconds: float = 0.0
    by: str = ""


def load(path: Path) -> list[Mistake]:
    """Read a list.

    Raises:
        ListError: It is no TOML, or an entry has wrong fields.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("mistake", [])
    except tomllib.TOMLDecodeError as error:
        raise ListError(f"{path}: {error}") from None
    found = []
    for number, entry in enumerate(entries, 1):
        if entry.keys() != FIELDS or not entry["tests"]:
            raise ListError(f"{path}: mistake {number} has the fields {sorted(entry)}, and wants {sorted(FIELDS)} and at least one test")
        found.append(Mistake(**{**entry, "tests": tuple(entry["tests"])}))
    return found


def copy_tree(source: Path, target: Path) -> None:
    """Copy what git knows of, changes and new files included; everything where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=source, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".venv", "build", ".cache", "__pycache__"))
        return
    for name in listed.stdout.split("\0"):
        if name and (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


def run_tests(tree: Path, tests: Iterable[str], limit: float) -> tuple[int | None, str]:
    """Run tests in the copy; answers the exit code of pytest, None after `limit` seconds, and its output."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rfE", "-p", "no:cacheprovider", "--tb=line", *tests]
    # The copy comes before the tree that is installed; no file of bytecode may outlive the text that it was made of.
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=limit)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, output


def try_one(tree: Path, mistake: Mistake, limit: float) -> Outcome:
    """Put a mistake into the copy, run its tests, and take it out again."""
    path = tree / mistake.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text.count(mistake.old) != 1:
        return Outcome(mistake.name, mistake.file, "gone")
    began = time.monotonic()
    path.write_text(text.replace(mistake.old, mistake.new), encoding="utf-8")
    try:
        code, output = run_tests(tree, mistake.tests, limit)
    finally:
        path.write_text(text, encoding="utf-8")
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    hangs = code is None or (not failed and "+ Timeout +" in output)  # pytest-timeout ended the process before anything was told
    result = "hang" if hangs else "caught" if code else "survived"
    return Outcome(mistake.name, mistake.file, result, round(time.monotonic() - began, 1), failed[1] if failed and code else "")


def report(outcomes: Sequence[Outcome]) -> str:
    """The results as text: one line for each, and the sum."""
    lines = [f"{each.result:8} {each.seconds:5.1f} s  {each.name}{'  <- ' + each.by if each.by else ''}" for each in outcomes]
    counts = Counter(each.result for each in outcomes)
    tried = len(outcomes) - counts["gone"]
    share = f" ({100 * counts['caught'] / tried:.0f} %)" if tried else ""
    others = f"{counts['survived']} survived, {counts['hang']} only as a hang; {counts['gone']} gone"
    lines.append(f"{tried} tried, {counts['caught']} caught{share}, {others}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Try the mistakes; 0 when every one was caught."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutate", description="Put mistakes into the code and see whether tests notice.")
    parser.add_argument("lists", nargs="*", type=Path, default=list(LISTS), help="files of mistakes (default: all of tests/mistakes)")
    parser.add_argument("--only", default="", help="only mistakes whose name or file holds this text")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for the tests of one mistake (default: %(default)g)")
    parser.add_argument("--json", type=Path, help="write the results there, too")
    parser.add_argument("--tree", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        mistakes = [each for path in options.lists for each in load(path) if options.only in each.name or options.only in each.file]
    except (ListError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if not mistakes:
        print("no mistake to try", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        tree = Path(folder)
        copy_tree(options.tree, tree)
        tests = dict.fromkeys(test for mistake in mistakes for test in mistake.tests)
        code, output = run_tests(tree, tests, options.limit * len(mistakes))
        if code != 0:
            print(output[-4000:], file=sys.stderr)
            print("these tests do not pass without any mistake: nothing can be told from them", file=sys.stderr)
            return 2
        outcomes = []
        for mistake in mistakes:
            outcomes.append(try_one(tree, mistake, options.limit))
            print(report(outcomes[-1:]).splitlines()[0], flush=True)
    print(report(outcomes).splitlines()[-1])
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in outcomes], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if all(each.result == "caught" for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
