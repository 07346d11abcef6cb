"""`aiorocketmq bench compare` without a broker: the checkout that it needs, stored runs beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiorocketmq.cli import bench, main


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
