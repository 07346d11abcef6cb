"""Checks that what is generated is current; part of `make check`, so it needs neither Java nor a test run.

Each entry names a module of this package that answers `--check` with its exit code. docs/compatibility.md depends on test results and is
compared at the end of a test run instead (tools/run_tests.py); here only its rows are compared with tools/features.toml, and the
feature ids in the tests with both.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools import compatibility

ROOT = Path(__file__).resolve().parents[1]

GENERATORS = ("tools.generate_fields", "tools.generate_sync")


def stale_generators() -> Iterator[str]:
    """The generators whose output is out of date."""
    for module in GENERATORS:
        if importlib.util.find_spec(module) is None:
            continue
        done = subprocess.run([sys.executable, "-m", module, "--check"], cwd=ROOT, check=False)
        if done.returncode:
            yield f"{module} --check failed: run `python -m {module}`"


def wrong_feature_rows() -> Iterator[str]:
    """Differences between the rows of docs/compatibility.md and tools/features.toml, and ids in tests that neither knows."""
    known = {name for _, features in compatibility.load_sections() for name in features}
    page = compatibility.PAGE.read_text() if compatibility.PAGE.exists() else ""
    shown = set(re.findall(r"^\| ([A-Z]\d+) \|", page, re.MULTILINE))
    if shown != known:
        yield f"docs/compatibility.md and tools/features.toml differ in the rows {sorted(shown ^ known)}"
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, line in feature_ids(path):
            if name not in known:
                yield f"{path.relative_to(ROOT)}:{line}: feature {name} is not in tools/features.toml"


def feature_ids(path: Path) -> Iterator[tuple[str, int]]:
    """Every id in a `pytest.mark.feature(...)` of a file, with its line."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "feature":
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value, node.lineno


def main() -> int:
    """Print what is wrong; 0 when nothing is."""
    problems = [*stale_generators(), *wrong_feature_rows()]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
