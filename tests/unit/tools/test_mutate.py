"""Mistakes put in by hand are told from each other by what the tests make of them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tools import mutate

CODE = """\
def add(one, other):
    while other > 0:
        one, other = one + 1, other - 1
    return one
"""
TESTS = """\
import sys, pathlib
sys.path.insert(0, str(pathlib.Path(__file__).parent / "src"))
from sums import add

def test_add(): assert add(2, 2) == 4
def test_nothing(): assert add(2, 0) == 2
"""
LIST = """\
[[mistake]]
name = "noticed"
file = "src/sums.py"
old = "one + 1"
new = "one + 2"
tests = ["test_sums.py"]

[[mistake]]
name = "not noticed"
file = "src/sums.py"
old = "other > 0"
new = "other >= 1"
tests = ["test_sums.py"]

[[mistake]]
name = "endless"
file = "src/sums.py"
old = "other - 1"
new = "other"
tests = ["test_sums.py"]

[[mistake]]
name = "twice there"
file = "src/sums.py"
old = "one"
new = "two"
tests = ["test_sums.py"]
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small project with a list of mistakes."""
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "src" / "sums.py").write_text(CODE)
    (root / "test_sums.py").write_text(TESTS)
    (root / "mistakes.toml").write_text(LIST)
    return root


@pytest.fixture
def limit(tree: Path) -> str:
    """Seconds that are more than enough for tests that end, on a busy machine too."""
    began = time.monotonic()
    assert mutate.run_tests(tree, ["test_sums.py"], 100.0)[0] == 0
    return str(3 + 5 * (time.monotonic() - began))


def test_every_kind_of_result(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: str) -> None:
    target = tmp_path / "results.json"
    assert mutate.main([str(tree / "mistakes.toml"), "--tree", str(tree), "--limit", limit, "--json", str(target)]) == 1
    results = {each["name"]: (each["result"], each["by"]) for each in json.loads(target.read_text())}
    assert results == {
        "noticed": ("caught", "test_sums.py::test_add"),
        "not noticed": ("survived", ""),
        "endless": ("hang", ""),
        "twice there": ("gone", ""),
    }
    assert "3 tried, 1 caught (33 %), 1 survived, 1 only as a hang; 1 gone" in capsys.readouterr().out
    assert (tree / "src" / "sums.py").read_text() == CODE, "the tree itself is never touched"


def test_what_the_time_limit_of_a_test_ends_is_a_hang(tree: Path, tmp_path: Path) -> None:
    (tree / "pytest.ini").write_text("[pytest]\ntimeout = 2\ntimeout_method = thread\n")
    target = tmp_path / "results.json"
    assert mutate.main([str(tree / "mistakes.toml"), "--tree", str(tree), "--only", "endless", "--json", str(target)]) == 1
    assert [each["result"] for each in json.loads(target.read_text())] == ["hang"]


def test_all_caught_is_a_success(tree: Path) -> None:
    assert mutate.main([str(tree / "mistakes.toml"), "--tree", str(tree), "--only", "noticed"]) == 1
    (tree / "mistakes.toml").write_text(LIST.split("\n\n")[0])
    assert mutate.main([str(tree / "mistakes.toml"), "--tree", str(tree)]) == 0


def test_tests_that_fail_anyway_prove_nothing(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "test_sums.py").write_text(TESTS + "def test_bad(): assert False\n")
    assert mutate.main([str(tree / "mistakes.toml"), "--tree", str(tree)]) == 2
    assert "without any mistake" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[[mistake]]\nname = 'x'\n", "no toml", LIST.replace('["test_sums.py"]', "[]"), ""])
def test_a_list_that_cannot_be_used(tree: Path, text: str) -> None:
    (tree / "mistakes.toml").write_text(text)
    assert mutate.main([str(tree / "mistakes.toml"), "--tree", str(tree)]) == 2


def test_the_lists_of_the_project_can_be_read() -> None:
    mistakes = [mistake for path in mutate.LISTS for mistake in mutate.load(path)]
    assert len(mistakes) > 60
    assert len({mistake.name for mistake in mistakes}) == len(mistakes)
    assert {test for mistake in mistakes for test in mistake.tests if not (mutate.ROOT / test.partition("::")[0]).exists()} == set()
