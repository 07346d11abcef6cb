"""The growth benchmark: counting copies, judging soaks, ledger, report and forms, without a server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.growth import __main__ as growth
from benchmarks.growth import bench, forms, probe, report, results
from benchmarks.growth.cases import soak as soak_case
from benchmarks.growth.measured import line
from benchmarks.growth.measured.copies import CopyCounter, of_chunks
from benchmarks.growth.measured.soak import Ledger
from benchmarks.growth.probe import KIB, MIB
from tools import compile as compiling

ABOUT = {"python": "3.14", "server": "5.5.0", "cpus": 2, "time": "2026-01-02T03:04:05Z", "quick": False}


# --- copies ---------------------------------------------------------------------------------------------------------------------------


def test_copies_are_counted_also_when_they_are_freed_at_once() -> None:
    body = b"x" * MIB
    counter = CopyCounter(64 * KIB)
    with counter.counting():
        kept = bytearray(body)
        len(body[1:] + b"y")  # two copies, both freed at once
        kept.clear()
    counted = counter._sites
    assert sum(counted.values()) / MIB == pytest.approx(3.0, abs=0.01)


def test_nothing_is_counted_where_nothing_is_copied() -> None:
    body = memoryview(b"x" * MIB)
    counter = CopyCounter(64 * KIB)
    with counter.counting():
        parts = [body[start : start + KIB] for start in range(0, MIB, KIB)]
    assert len(parts) == KIB
    assert not counter._sites


@pytest.mark.parametrize(("size", "chunk"), [(MIB, 64 * KIB), (4 * MIB, 256 * KIB)])
def test_a_received_body_is_copied_about_twice(size: int, chunk: int) -> None:
    counted = of_chunks(size, 1, chunk)
    assert 1.0 <= counted["client"] <= 2.3
    assert counted["loop"] < 0.1


# --- soak -----------------------------------------------------------------------------------------------------------------------------


def test_the_ledger_finds_what_is_missing_and_what_comes_twice() -> None:
    ledger = Ledger()
    for number in (1, 0, 3, 3, 5, 1):
        ledger.come(number)
    assert (ledger.next, ledger.count, ledger.twice) == (2, 4, 2)
    for number in (2, 4):
        ledger.come(number)
    assert (ledger.next, ledger.count) == (6, 6)


def sample(number: int, *, rss: float = 0.0, halted: bool = False) -> bench.Row:
    flat = dict.fromkeys(("tasks", "timers", "descriptors", "threads", "objects"), 10.0)
    return {"seconds": 5.0 * number, "rss": 30 * MIB + rss, "halted": halted, **flat}


def soaked(samples: list[bench.Row], **changes: Any) -> bench.Row:
    highest = {"unanswered": 256, "queue_messages": 520, "pulls": 9}
    return {"seconds": 1200.0, "samples": samples, "lost": 0, "failures": {}, "highest": highest, **changes}


def broken(row: bench.Row) -> list[str]:
    return [check["what"] for check in soak_case.checks(row) if not check["met"]]


def test_flat_memory_is_flat_whatever_the_first_half_did() -> None:
    grown_once = [sample(number, rss=-20 * MIB if number < 60 else 0) for number in range(240)]
    assert broken(soaked(grown_once)) == []


def test_growth_in_the_second_half_is_found() -> None:
    growing = [sample(number, rss=number * MIB / 20) for number in range(240)]  # 6 MiB over the half
    assert broken(soaked(growing)) == ["drift of rss over the second half"]


def test_samples_of_halts_do_not_count_as_growth() -> None:
    samples = [sample(number, rss=80 * MIB, halted=True) if number > 235 else sample(number) for number in range(240)]
    assert broken(soaked(samples)) == []


def test_a_short_soak_is_not_judged_for_growth_but_for_losses_and_limits() -> None:
    growing = [sample(number, rss=number * MIB) for number in range(12)]
    assert broken(soaked(growing, seconds=60.0)) == []
    assert broken(soaked(growing, seconds=60.0, lost=1)) == ["messages lost"]
    highest = {"unanswered": 257, "queue_messages": 600, "pulls": 9}
    assert len(broken(soaked(growing, seconds=60.0, highest=highest))) == 2


# --- report ---------------------------------------------------------------------------------------------------------------------------


def idle_row(queues: int, cpu: float, tasks: int) -> bench.Row:
    return {
        "queues": queues, "server": "real", "form": "fast", "start_seconds": 0.5, "idle_cpu_percent": cpu, "rss": 30 * MIB, "tasks": tasks,
        "timers": 14, "in_flight": queues + 1, "connections": 2, "threads": 1,
    }  # fmt: skip


def test_limits_of_idle_queues_are_met_or_missed() -> None:
    case = {"about": ABOUT, "rows": [idle_row(1, 0.1, 30), idle_row(1024, 1.2, 40)]}
    found = {verdict.what: verdict.met for verdict in report.verdicts({"queues": case})}
    assert found == {
        "1,024 idle queues with [fast], real server: CPU": False,
        "1 to 1,024 queues with [fast], real server: more tasks": False,
        "1 to 1,024 queues with [fast], real server: more timers": True,
    }
    text = report.section({"queues": case})
    assert "**missed**" in text
    assert "growth_queues.svg" in text
    assert "Python 3.14" in text


def test_cases_of_several_files_are_put_together(tmp_path: Path) -> None:
    options = bench.Options(folder=tmp_path, version="5.5.0")
    first, second = tmp_path / "one.json", tmp_path / "deep" / "two.json"
    results.store(first, "queues", {"rows": [idle_row(1, 0.1, 30)]}, options)
    results.store(first, "topics", {"rows": []}, options)
    results.store(second, "queues", {"rows": [idle_row(64, 0.1, 30)]}, options)
    loaded = results.load([first, second])
    assert list(loaded) == ["queues", "topics"]
    assert loaded["queues"]["rows"][0]["queues"] == 64
    assert loaded["queues"]["about"]["server"] == "5.5.0"


@pytest.mark.parametrize(("size", "name"), [(1, "1 B"), (1024, "1 KiB"), (16 * KIB, "16 KiB"), (4 * MIB - 4 * KIB, "3.996 MiB")])
def test_sizes_are_named_for_people(size: int, name: str) -> None:
    assert probe.size_name(size) == name


# --- the page -------------------------------------------------------------------------------------------------------------------------


def test_the_page_gets_the_section_between_its_markers_and_the_pictures_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file, place = tmp_path / "growth.json", tmp_path / "docs" / "page.md"
    place.parent.mkdir()
    place.write_text("by hand\n<!-- begin: growth -->\nold\n<!-- end: growth -->\nthe last word\n", encoding="utf-8")
    rows = [{**idle_row(queues, 0.1, 30), "form": form} for queues in (1, 1024) for form in forms.FORMS]
    results.store(file, "queues", {"rows": rows}, bench.Options(folder=tmp_path))
    assert growth.main(["report", str(file), "--page", str(place)]) == 0
    text = place.read_text(encoding="utf-8")
    assert text.startswith("by hand\n<!-- begin: growth -->\nAll 9 limits are met.\n")
    assert text.endswith("<!-- end: growth -->\nthe last word\n")
    assert "old" not in text
    assert "compiled, with [fast]" in text
    picture = place.parent / "performance" / "growth_queues.svg"
    assert f"]({picture.relative_to(place.parent)})" in text
    drawn = picture.read_text(encoding="utf-8")
    assert all(title in drawn for title in forms.FORMS.values())


def test_a_page_without_markers_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, place = tmp_path / "growth.json", tmp_path / "page.md"
    place.write_text("by hand\n")
    results.store(file, "queues", {"rows": [idle_row(1, 0.1, 30)]}, bench.Options(folder=tmp_path))
    assert growth.main(["report", str(file), "--page", str(place)]) == 2
    assert "begin: growth" in capsys.readouterr().err


def test_missed_limits_are_named_before_the_tables() -> None:
    text = report.section({"queues": {"about": ABOUT, "rows": [idle_row(1024, 1.2, 30)]}})
    assert text.startswith(
        "0 of 1 limits are met. Missed:\n\n* 1,024 idle queues with [fast], real server: CPU: 1.20 % of a core, allowed 1 %"
    )
    assert "| 1.20 | 1 %: **missed** |" in text


# --- forms ----------------------------------------------------------------------------------------------------------------------------


def test_a_process_without_the_extra_cannot_import_it(tmp_path: Path) -> None:
    code = (
        "from aiorocketmq.remoting.event_loop import new_event_loop as n; from benchmarks.growth.measured import about; "
        "print(about.describe(n()))"
    )
    env = forms.environment("plain", tmp_path)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60)
    assert "'json': 'json'" in done.stdout
    assert "uvloop" not in done.stdout


def test_figures_of_another_form_are_refused() -> None:
    plain = {"loop": "asyncio", "json": "json", "compiled": False}
    fast = {"loop": "uvloop", "json": "orjson", "compiled": False}
    for form, described in (("plain", plain), ("fast", fast), ("compiled", {**fast, "compiled": True})):
        forms.check(form, described)
    with pytest.raises(RuntimeError, match="was to run without"):
        forms.check("plain", {**plain, "loop": "uvloop"})
    with pytest.raises(RuntimeError, match=r"was to run compiled.* and pure Python"):
        forms.check("compiled", fast)
    with pytest.raises(RuntimeError, match=r"was to run with.* and compiled modules"):
        forms.check("fast", {**fast, "compiled": True})


async def test_a_process_that_was_to_be_compiled_and_is_not_does_not_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "DESTINATION", tmp_path / "nothing")
    one = bench.Bench(bench.Options(folder=tmp_path), print)
    with pytest.raises(bench.MeasureError, match="no compiled modules"):
        await one.measure("local", forms.COMPILED, {"times": 1}, timeout=60.0)


def test_the_compiled_form_is_usual_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "EXTRA", ())
    monkeypatch.setattr(compiling, "missing", lambda: "")
    monkeypatch.setattr(compiling, "DESTINATION", tmp_path / "nothing")
    assert forms.usual() == ["fast", "plain"]
    monkeypatch.setattr(compiling, "DESTINATION", tmp_path)
    assert forms.usual() == ["compiled", "fast", "plain"]
    monkeypatch.setattr(forms, "EXTRA", ("no_such_module",))
    assert forms.usual() == ["plain"]


def test_a_form_that_cannot_be_measured_is_refused_when_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(forms, "EXTRA", ())
    monkeypatch.setenv("CC", "no-such-compiler")
    assert growth.main(["--case", "topics", "--form", "compiled"]) == 2
    assert "form compiled: there is no C compiler 'no-such-compiler'" in capsys.readouterr().err


# --- measured processes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "code", "last"), [(b"go\n", 0, b'{"result": {}}\n'), (b"", line.ABANDONED, b"")])
def test_a_measured_process_waits_for_its_turn_and_ends_without_its_starter(tmp_path: Path, word: bytes, code: int, last: bytes) -> None:
    program = """
import asyncio
from benchmarks.growth.measured import line

async def main():
    line.listen()
    await line.turn()
    line.stop_listening()
    line.say("result", {})

asyncio.run(main())
"""
    command = [sys.executable, "-c", program]
    env = forms.environment(forms.PLAIN, tmp_path)
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b'{"ready": {}}\n'
        assert process.poll() is None
        rest, _ = process.communicate(word, timeout=30)
    assert (process.returncode, rest) == (code, last)
