"""Compiling a checkout: what is compiled, when it is done again, and what is said where it cannot be done."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path

import pytest

import hatch_build
from tools import compile as compiling

ROOT = Path(__file__).resolve().parents[3]


def test_every_listed_module_exists_once() -> None:
    listed = hatch_build.modules()
    assert listed and len(set(listed)) == len(listed)
    assert [path for path in listed if not (ROOT / "src" / path).is_file()] == []


def test_nothing_is_compiled_unless_the_environment_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, wanted in {"": False, "0": False, "no": False, "1": True, "true": True}.items():
        monkeypatch.setenv(hatch_build.VARIABLE, value)
        assert hatch_build.wanted() is wanted
    monkeypatch.delenv(hatch_build.VARIABLE)
    assert not hatch_build.wanted()


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -pthread")
    assert compiling.main([]) == compiling.NOT_POSSIBLE
    assert "no C compiler 'no-such-compiler'" in capsys.readouterr().err


def test_a_missing_mypyc_is_named_with_all_that_compiling_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hatch_build.requirements()[0].startswith("mypy[mypyc]")
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    assert compiling.main([]) == compiling.NOT_POSSIBLE
    said = shlex.split(capsys.readouterr().err)
    assert said[-len(hatch_build.requirements()) :] == hatch_build.requirements()


def test_nothing_is_built_again_while_nothing_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def build(destination: Path, *, opt_level: str) -> list[Path]:
        destination.mkdir(exist_ok=True)
        built.append(destination)
        return []

    monkeypatch.setattr(compiling, "missing", lambda: "")
    monkeypatch.setattr(compiling, "DESTINATION", tmp_path / "compiled")
    monkeypatch.setattr(hatch_build, "compile_package", build)
    assert [compiling.main([]), compiling.main([])] == [0, 0] and len(built) == 1
    assert compiling.main(["--force"]) == 0 and len(built) == 2
    assert compiling.main(["--opt", "0"]) == 0 and len(built) == 3


def test_the_build_hook_adds_the_extension_modules_and_a_platform_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []

    def build(destination: Path) -> list[Path]:
        folders.append(destination)
        return [destination / "aiorocketmq" / "core" / "fast.so"]

    monkeypatch.setattr(hatch_build, "compile_package", build)
    hook = hatch_build.CompileHook(str(ROOT), {}, None, None, str(tmp_path), "wheel")  # type: ignore[arg-type]

    def data_of(version: str) -> dict[str, object]:
        data: dict[str, object] = {"force_include": {}}
        hook.initialize(version, data)
        return data

    monkeypatch.delenv(hatch_build.VARIABLE, raising=False)
    assert hook.dependencies() == [] and data_of("standard") == {"force_include": {}} and not folders
    monkeypatch.setenv(hatch_build.VARIABLE, "1")
    assert hook.dependencies() == hatch_build.requirements()
    assert data_of("editable") == {"force_include": {}} and not folders
    data = data_of("standard")
    assert data["force_include"] == {str(folders[0] / "aiorocketmq" / "core" / "fast.so"): "aiorocketmq/core/fast.so"}
    assert data["pure_python"] is False and data["infer_tag"] is True
    hook.finalize("standard", data, "")
    assert not folders[0].exists()
