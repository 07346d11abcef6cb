"""The page of capabilities says what the results say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import check_generated, compatibility


def test_results_of_several_processes_add_up() -> None:
    first = {"A1": {"unit": {"passed": 1}}, "K1": {"embedded": {"failed": 1}}}
    second = {"A1": {"unit": {"passed": 2}, "5.5.0": {"skipped": 1}}}
    assert compatibility.merge([first, second]) == {
        "A1": {"unit": {"passed": 3}, "5.5.0": {"skipped": 1}},
        "K1": {"embedded": {"failed": 1}},
    }


@pytest.mark.parametrize(
    ("outcomes", "shown"),
    [
        (None, "–"),
        ({}, "–"),
        ({"passed": 2}, "yes"),
        ({"passed": 2, "skipped": 1}, "skipped"),
        ({"skipped": 1}, "skipped"),
        ({"passed": 9, "failed": 1}, "**fails**"),
    ],
)
def test_cells(outcomes: dict[str, int] | None, shown: str) -> None:
    assert compatibility.cell(outcomes) == shown


def test_every_capability_has_a_row() -> None:
    names = [name for _, features in compatibility.load_sections() for name in features]
    assert len(names) == len(set(names)) == 319
    page = compatibility.render({"A1": {"embedded": {"passed": 1}}})
    assert "Of 319 capabilities 1 are shown by tests, 316 are missing, 2 have no meaning here." in page
    assert [line.split()[1] for line in page.splitlines() if line.startswith("| ") and line.split()[1][1:].isdigit()] == names


SAMPLES = """
import pytest

@pytest.mark.feature("A1")
def test_good(): pass

@pytest.mark.feature("A1")
def test_bad(): assert False

@pytest.mark.feature("A2")
def test_skipped(): pytest.skip("no reason")

@pytest.mark.feature("A2", "A3")
def test_good_again(): pass
"""


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ([], {"A1": {"passed": 1, "failed": 1}, "A2": {"skipped": 1, "passed": 1}, "A3": {"passed": 1}}),
        (["-x"], {"A1": {"passed": 1, "failed": 1}, "A2": {"skipped": 2}, "A3": {"skipped": 1}}),
        (["-k", "good_again"], {"A2": {"passed": 1}, "A3": {"passed": 1}}),
    ],
)
def test_what_was_not_reached_counts_as_skipped(tmp_path: Path, stop: list[str], expected: object) -> None:
    (tmp_path / "test_samples.py").write_text(SAMPLES)
    results = tmp_path / "results.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.support.feature_report", *stop),
            *(f"--feature-results={results}", "-c", str(check_generated.ROOT / "pyproject.toml")),
            *(f"--rootdir={tmp_path}", "test_samples.py"),
        ],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(check_generated.ROOT)}, capture_output=True, timeout=100, check=False,
    )  # fmt: skip
    assert {name: columns["unit"] for name, columns in json.loads(results.read_text()).items()} == expected


def test_a_feature_without_any_test_is_missing() -> None:
    page = compatibility.render({"A1": {"embedded": {"passed": 1}}})
    (seen,) = [line for line in page.splitlines() if line.startswith("| A1 |")]
    (unseen,) = [line for line in page.splitlines() if line.startswith("| A2 |")]
    assert seen.endswith("| – | yes | – | – |")
    assert unseen.endswith("| missing | missing | missing | missing |")


def test_a_capability_without_meaning_says_why_unless_a_test_shows_it() -> None:
    names = {name for _, features in compatibility.load_sections() for name in features}
    reasons = compatibility.load_reasons()
    assert set(reasons) <= names
    page = compatibility.render({})
    for name, reason in reasons.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
        assert row.endswith("| none | none | none | none |")
        assert f"\n{name}: {reason}.\n" in page
    shown = compatibility.render({name: {"unit": {"passed": 1}} for name in reasons})
    assert "| none |" not in shown
    assert "0 have no meaning here" in shown


def test_check_tells_a_stale_page_from_a_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"A1": {"unit": {"passed": 1}}}))
    page = tmp_path / "compatibility.md"
    monkeypatch.setattr(compatibility, "PAGE", page)
    page.write_text(compatibility.render(json.loads(results.read_text())))
    assert compatibility.main(["--check", "--results", str(results)]) == 0
    results.write_text(json.dumps({"A2": {"unit": {"passed": 1}}}))
    assert compatibility.main(["--check", "--results", str(results)]) == 1
    assert "| A2 |" in capsys.readouterr().err
    assert compatibility.main(["--check", "--results", str(tmp_path / "none.json")]) == 2


def test_feature_ids_are_found_where_tests_name_them(tmp_path: Path) -> None:
    source = tmp_path / "test_x.py"
    source.write_text('@pytest.mark.feature("A1", "B2")\ndef test_x(): ...\n\npytestmark = pytest.mark.feature("C3")\n')
    assert list(check_generated.feature_ids(source)) == [("A1", 1), ("B2", 1), ("C3", 4)]
