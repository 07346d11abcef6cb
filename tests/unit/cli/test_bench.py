"""`aiorocketmq bench compare` without a broker: the checkout that it needs, stored runs beside each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aiorocketmq.cli import bench, main
from benchmarks.results import Round, Run


def stored(folder: Path, name: str, rate: int) -> str:
    rounds = [
        Round("send_in_flight", peer, 0, False, count=count, failed=0, seconds=1.0, cpu_seconds=0.5)
        for peer, count in (("java", 10_000), ("asyncio", rate))
    ]
    path = folder / f"{name}.json"
    Run(name, {}, rounds).save(path)
    return str(path)


def test_without_a_checkout_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "_ROOT", tmp_path)
    assert main(["bench", "compare"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "needs a source checkout" in error
    assert "clone" in error


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--row", "nonsense"], "row 'nonsense' is unknown: use send,"),
        (["--workload", "nonsense"], "workload 'nonsense' is unknown"),
        (["--peer", "rust"], "peer 'rust' is unknown"),
        (["--rounds", "0"], "rounds must be 1 or more"),
        (["--scale", "0"], "scale greater than 0"),
    ],
)
def test_wrong_options_are_one_line(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "compare", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("aiorocketmq: ")
    assert error.count("\n") == 1
    assert part in error


def test_two_stored_runs_are_shown_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "compare", stored(tmp_path, "old", 12_000), stored(tmp_path, "new", 18_000)]) == 0
    text = capsys.readouterr().out
    assert "| send, 256 in flight | aiorocketmq | rate | 12,000/s | 18,000/s | +50% |" in text
    assert "| 1.20 (1.20 to 1.20) | 1.80 (1.80 to 1.80) | floor met; goal **missed in 1 of 2 runs** |" in text


def test_the_records_are_meant_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [stored(tmp_path, "old", 12_000), stored(tmp_path, "new", 9_000)]
    assert main(["bench", "compare", *paths, "--row", "send_in_flight", "-o", "json"]) == 0
    records = json.loads(capsys.readouterr().out)
    found = {each["run"]: each for each in records if each["metric"] == "rate" and each["against"] == "java"}
    assert (found["old"]["value"], found["old"]["floor_met"], found["old"]["goal_met"]) == (1.2, True, False)
    assert (found["new"]["value"], found["new"]["floor_met"]) == (0.9, False)


def test_a_file_that_is_no_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}")
    assert main(["bench", "compare", str(wrong), str(wrong)]) == 2
    assert "wrong.json is not a stored run" in capsys.readouterr().err
