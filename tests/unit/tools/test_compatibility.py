"""The page of capabilities says what the results say."""

from __future__ import annotations

import json
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
        ({"passed": 2, "skipped": 1}, "yes"),
        ({"skipped": 1}, "skipped"),
        ({"passed": 9, "failed": 1}, "**fails**"),
    ],
)
def test_cells(outcomes: dict[str, int] | None, shown: str) -> None:
    assert compatibility.cell(outcomes) == shown


def test_a_feature_without_any_test_is_missing() -> None:
    page = compatibility.render({"A1": {"embedded": {"passed": 1}}})
    (seen,) = [line for line in page.splitlines() if line.startswith("| A1 |")]
    (unseen,) = [line for line in page.splitlines() if line.startswith("| A2 |")]
    assert seen.endswith("| – | yes | – | – |")
    assert unseen.endswith("| missing | missing | missing | missing |")


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
