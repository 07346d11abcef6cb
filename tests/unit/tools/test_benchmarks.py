"""The benchmarks without a broker: percentiles, checks of bodies, the order of a run, ratios, tables, the page, a soak's judgement."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import aiorocketmq
from benchmarks import command, forms, page, peers, plots, report, run, series, stolen
from benchmarks.ours import form
from benchmarks.ours.bodies import Inspector, maker
from benchmarks.ours.meter import percentiles_us
from benchmarks.ours.soak import Ledger, drift
from benchmarks.peers import PEERS, Peer, PeerMissingError, known, peer
from benchmarks.results import Mishap, ResultsError, Round, Run
from benchmarks.rows import P99, RATE, ROWS, SECONDS, Row
from benchmarks.stats import figure, figures, went_well
from benchmarks.workloads import CPU_PERCENT, FAMILIES, GROUPS, MIB, WORKLOADS, Family, Workload
from tests.support.line_program import LineProgramError

ROW = Row("row", "a row", "asyncio", "mine", "theirs")


def one(peer: str, rate: float, *, cpu_us: float = 10.0, workload: str = "", number: int = 0, warm_up: bool = False, **more: Any) -> Round:
    """A round of 1000 messages."""
    name = workload or ("mine" if peer.startswith(("asyncio", "sync")) else "theirs")
    failed = more.pop("failed", 0)
    return Round(name, peer, number, warm_up, 1000, failed, 1000 / rate, cpu_us * 1000 / 1e6, **more)


def run_of(*rounds: Round, label: str = "run 1", **about: str) -> Run:
    return Run(label, dict(about), list(rounds))


# --- what our programs count ------------------------------------------------------------------------------------------------------


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    assert percentiles_us(number * 1000 for number in range(1000, 0, -1)) == {"p50": 500, "p90": 900, "p99": 990, "p999": 999, "max": 1000}
    assert percentiles_us([7000]) == {"p50": 7, "p90": 7, "p99": 7, "p999": 7, "max": 7}
    assert percentiles_us([]) == {}


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1024])
def test_bodies_have_their_size_and_pass_the_check(size: int) -> None:
    body = maker(size)
    inspector = Inspector(size, distinct=3 if size >= 8 else 0)
    assert [inspector.accept(body(number)) for number in range(3)] == [1, 2, 3]
    assert {len(body(number)) for number in range(3)} == {size}
    assert inspector.failed == 0


def test_repeated_and_damaged_messages_are_counted() -> None:
    body = maker(16)
    inspector = Inspector(16, distinct=2)
    assert inspector.accept(body(1)) == 1
    assert inspector.accept(body(1)) == 0, "it came before"
    assert inspector.accept(body(0)[:-1] + b"y") == 2
    assert inspector.accept(body(0)[:-1]) == 3
    assert inspector.accept(body(2)) == 4, "nobody sent this number"
    assert (len(inspector.repeated), len(inspector.damaged), inspector.failed) == (1, 3, 4)


# --- ratios -----------------------------------------------------------------------------------------------------------------------


def test_medians_are_divided_by_medians_and_the_spread_is_that_of_rounds_of_one_number() -> None:
    java = [(800, 5), (1000, 60), (900, 40), (850, 20), (950, 15)]
    ours = [(1500, 14), (1000, 10), (1100, 8)]
    seen = run_of(
        one("java", 5000, warm_up=True),
        *(one("java", rate, cpu_us=cpu, number=number) for number, (rate, cpu) in enumerate(java)),
        one("asyncio", 9000, cpu_us=1, warm_up=True),
        *(one("asyncio", rate, cpu_us=cpu, number=number) for number, (rate, cpu) in enumerate(ours)),
    )
    rate, cpu, go, _ = figures(seen, ROW)
    assert (rate.value, rate.low, rate.high) == pytest.approx((1100 / 900, 1000 / 1000, 1500 / 800))
    assert (cpu.value, cpu.low, cpu.high) == pytest.approx((10 / 20, 10 / 60, 14 / 5))
    assert (go.value, go.against) == (None, "go")
    assert report.figure_text(go) == "not measured"
    assert went_well(seen)


def test_a_failed_message_is_told_and_makes_no_rate() -> None:
    seen = run_of(one("java", 1000), one("asyncio", 5000, cpu_us=1), one("asyncio", 5000, cpu_us=1, number=1, failed=1))
    assert "1 messages failed" in report.figure_text(figure(seen, ROW, RATE, "java"))
    assert not went_well(seen)
    assert one("java", 1000, failed=500).rate == 500
    assert one("java", 1000, cpu_us=10, failed=500).cpu_us == pytest.approx(20)


def test_latencies_and_times() -> None:
    java = [one("java", 200, number=number, latency_us={"p99": value}) for number, value in enumerate((100.0, 900.0, 200.0))]
    seen = run_of(*java, one("asyncio", 200, latency_us={"p99": 150.0}))
    assert figure(seen, ROW, P99, "java").value == pytest.approx(0.75)
    plain = figure(run_of(one("asyncio", 2500)), ROW, SECONDS)
    assert (plain.value, report.figure_text(plain)) == (pytest.approx(0.4), "0.40 s (0.40 to 0.40)")


def test_a_program_of_ours_that_fails_is_told() -> None:
    seen = run_of(one("java", 1000))
    assert went_well(seen), "what was not measured is no failure"
    seen.problems["theirs", "go"] = "Go is not installed"
    seen.problems["mine", "asyncio"] = "unsupported"
    assert went_well(seen)
    seen.problems["mine", "asyncio"] = "TimeoutError: received 3 of 4 messages"
    assert not went_well(seen)
    assert figure(seen, ROW, RATE, "java").problem == "TimeoutError: received 3 of 4 messages"


def test_another_commit_and_other_forms_have_lines_of_their_own() -> None:
    seen = run_of(
        one("asyncio", 1100, cpu_us=9, workload="send_in_flight"),
        one("asyncio@abc", 1000, cpu_us=10, workload="send_in_flight"),
        one("asyncio:plain", 500, cpu_us=20, workload="send_in_flight"),
        one("java", 1000, workload="send_in_flight"),
    )
    text = report.run_report(seen, list(ROWS.values()))
    assert "| rate ÷ aiorocketmq (abc) | 1.10 (1.10 to 1.10) |" in text
    assert "| CPU per message ÷ aiorocketmq (abc) | 0.90 (0.90 to 0.90) |" in text
    assert "without [fast] | rate ÷ Java | 0.50 (0.50 to 0.50) |" in text


def test_what_is_held_against_ourselves_is_of_the_same_form() -> None:
    seen = run_of(
        one("asyncio", 1000, workload="send_in_flight"),
        one("asyncio:plain", 500, workload="send_in_flight"),
        one("asyncio", 900, workload="send_signed"),
        one("asyncio:plain", 400, workload="send_signed"),
    )
    text = report.run_report(seen, [ROWS["send_signed"]])
    assert "| rate ÷ aiorocketmq | 0.90 (0.90 to 0.90) |" in text
    assert "| rate ÷ aiorocketmq (without [fast]) | 0.80 (0.80 to 0.80) |" in text


# --- tables and the page ----------------------------------------------------------------------------------------------------------


def measured_run(label: str, rate: float = 2000, ours: str = "asyncio", **about: str) -> Run:
    latencies = {"p50": 100.0, "p99": 300.0, "p999": 400.0}
    names = ("send_one_at_a_time", "send_in_flight", "latency", "push_concurrent/128B/8q")
    peers = {"java": 1000.0, "go": 800.0, ours: rate}
    rounds = [
        one(peer, speed, workload=name, rss_bytes=2**20, latency_us=latencies if name in ("send_one_at_a_time", "latency") else None)
        for name in names
        for peer, speed in peers.items()
    ]
    return run_of(*rounds, label=label, **about)


def test_the_page_keeps_what_is_written_by_hand(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = []
    for number, (rate, ours) in enumerate([(2000, "asyncio"), (2100, "asyncio"), (1500, "asyncio:pure")], 1):
        files.append(tmp_path / f"run-{number}.json")
        measured_run(f"run {number}", rate, ours).save(files[-1])
    place = tmp_path / "page.md"
    place.write_text(page.PAGE.read_text(encoding="utf-8") + "\nthe last word\n", encoding="utf-8")
    page.write(files, page=place, folder=tmp_path / "pictures")
    first = place.read_text(encoding="utf-8")
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}
    assert set(pictures) == {"rates.svg", "cpu.svg", "latency.svg", "matrix.svg"}
    assert first.endswith("the last word\n")
    assert "| send, 256 in flight (`send_nowait`) | rate ÷ Java | 2.00 (2.00 to 2.00) | 2.10 (2.10 to 2.10) |" in first
    assert "pure Python | rate ÷ Java | 1.50 (1.50 to 1.50) |" in first, "another form has its own table"
    assert "| 128 B | 8 | 2,050/s | 1,000/s | 800/s | 2.05 |" in first
    page.write(files, page=place, folder=tmp_path / "pictures")
    assert place.read_text(encoding="utf-8") == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()} == pictures


def test_the_page_has_a_place_for_every_made_part() -> None:
    assert sorted(page.sections([measured_run("run 1")])) == sorted(
        re.findall(r"<!-- begin: (\w+) -->", page.PAGE.read_text(encoding="utf-8"))
    )
    with pytest.raises(ResultsError, match="begin: rows"):
        page.put("no markers", {"rows": "text"})
    assert page.put("a <!-- begin: x -->old<!-- end: x --> b", {"x": "new"}) == "a <!-- begin: x -->\nnew\n<!-- end: x --> b"


def test_a_run_of_sizes_and_queues_alone_makes_only_their_tables() -> None:
    main, matrix = measured_run("run 1"), measured_run("sizes", 3000)
    main.rounds = [each for each in main.rounds if "/" not in each.workload]
    matrix.rounds = [each for each in matrix.rounds if "/" in each.workload]
    made = page.sections([main, matrix])
    assert "| 128 B | 8 | 3,000/s | 1,000/s | 800/s | 3.00 |" in made["matrix"]
    assert "| workload | figure | run 1 |" in made["rows"] and "| sizes |" in made["machine"]
    assert page.sections([main])["matrix"] == "Not measured in these runs."


def test_groups_are_measured_alone_or_beside_what_is_named() -> None:
    alone = command.Options(groups=["matrix"], form="pure").plan()
    assert alone.families and all(family.group == "matrix" for family, _ in alone.families)
    beside = command.Options(groups=["matrix"], workloads=["latency"], form="pure").plan()
    assert [family.name for family, _ in beside.families if not family.group] == ["latency"]
    assert not any(family.group for family, _ in command.Options(form="pure").plan().families)


def test_other_commits_and_forms_take_part_where_ours_do() -> None:
    plan = command.Options(rows=["send", "send_sync"], peers=["java"], form="pure", forms=True, against=["abc"]).plan()
    assert [name for _, entries in plan.families for _, name in entries] == [
        "java", "asyncio:compiled", "asyncio:plain", "sync:compiled", "sync:plain", "asyncio@abc", "sync@abc",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"rows": ["nonsense"]}, "row 'nonsense' is unknown"),
        ({"groups": ["nonsense"]}, "group 'nonsense' is unknown"),
        ({"form": "nonsense"}, "form 'nonsense' is unknown"),
        ({"peers": ["java:pure"]}, "peer 'java:pure' is unknown"),
        ({"scale": 0.0}, "scale greater than 0"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], part: str) -> None:
    with pytest.raises(command.CannotRunError, match=part):
        command.Options(**options).check()


def test_names_of_peers() -> None:
    assert [known(name) for name in ("java", "asyncio", "sync:pure", "asyncio@x", "sync:plain@x", "go:pure", "asyncio:fast", "rust")] == [
        True, True, True, True, True, False, False, False,
    ]  # fmt: skip
    assert peer("asyncio:plain@abc").title == "aiorocketmq (without [fast], abc)"


def test_a_disk_that_the_broker_would_clean_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command.shutil, "disk_usage", lambda folder: SimpleNamespace(total=100, used=83))
    with pytest.raises(command.CannotRunError, match=r"83% full.*TMPDIR"):
        command.run_once(command.Options(results=tmp_path / "never.json"))
    assert not (tmp_path / "never.json").exists()


def test_without_matplotlib_the_cure_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(plots.importlib, "import_module", missing)
    with pytest.raises(plots.PlotError, match="pip install --group bench"):
        plots.draw(measured_run("run 1"), tmp_path)


def test_a_stored_run_comes_back_as_it_was(tmp_path: Path) -> None:
    seen = measured_run("run 1", cpu="a processor")
    seen.problems["push_plain", "asyncio"] = "TimeoutError"
    seen.mishaps.append(Mishap("latency", "go", "kept silent"))
    seen.save(tmp_path / "folder" / "run.json")
    assert Run.load(tmp_path / "folder" / "run.json") == seen
    assert report.troubles(seen) == [
        "push_plain, aiorocketmq: TimeoutError",
        "latency, Go: a round failed and was repeated: kept silent",
    ]
    run_of().save(tmp_path / "empty.json")
    assert Run.load(tmp_path / "empty.json") == run_of()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 0}'])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ResultsError, match=r"other\.json"):
        Run.load(tmp_path / "other.json")


# --- what is run, and in which order ----------------------------------------------------------------------------------------------


def test_every_row_can_be_measured() -> None:
    for row in ROWS.values():
        assert row.peer in WORKLOADS[row.workload].peers, row.name
        assert set(row.against) <= set(WORKLOADS[row.reference].peers), row.name
    for family in (*FAMILIES, *itertools.chain(*GROUPS.values())):
        assert {peer for workload in family.workloads for peer in workload.peers} <= set(PEERS)
        assert all(workload.count == family.backlog for workload in family.workloads if workload.distinct), family.name
    assert set(plots.COLOURS) == set(PEERS)
    assert set(series.SERIES) | {"matrix"} == set(GROUPS)


def test_a_row_asks_for_what_it_needs() -> None:
    planned = run.plan_families(FAMILIES, ("java", "go", "asyncio", "sync"), rows=[ROWS["send_auto_batched"], ROWS["push_plain"]])
    assert {family.name: [(workload.name, peer) for workload, peer in entries] for family, entries in planned} == {
        "send_in_flight": [("send_in_flight", "java"), ("send_auto_batched", "asyncio")],
        "push_concurrent": [("push_concurrent", "java"), ("push_concurrent", "go"), ("push_plain", "asyncio")],
    }
    assert [family.name for family, _ in run.plan_families(FAMILIES, ("sync",))] == ["send_one_at_a_time", "send_threads", "send_batches"]
    assert [entries for _, entries in run.plan_families(FAMILIES, ("go",), ["send_threads"])] == [((WORKLOADS["send_threads"], "go"),)]


def test_the_backlog_follows_the_scale() -> None:
    (family,) = (each for each in FAMILIES if each.name == "push_concurrent")
    assert (family.scaled(0.1).backlog, family.scaled(0.1).workloads[1].count) == (20_000, 20_000)
    (family,) = (each for each in FAMILIES if each.name == "first_message")
    assert (family.scaled(0.1).backlog, family.scaled(0.1).workloads[0].count) == (2_000, 1)


class FakeServer:
    """A broker that takes everything."""

    name_servers = broker_address = "127.0.0.1:1"
    kind, form, start_seconds = "real", "pure", 0.1
    stopped = 0

    def create_topic(self, topic: str, queues: int) -> None: ...

    def stored(self, topic: str, queues: int) -> int:
        return 25 * queues

    def usage(self) -> tuple[float, int]:
        return 0.0, 0


@contextlib.asynccontextmanager
async def fake_server(kind: str, version: str, form: str) -> AsyncIterator[FakeServer]:
    try:
        yield FakeServer()
    finally:
        FakeServer.stopped += 1


class FakeProgram:
    """A peer that answers at once, or does what its script says."""

    def __init__(self, name: str, calls: list[tuple[str, str]], script: Iterator[str]) -> None:
        self.name = name
        self.calls = calls
        self.script = script

    async def __aenter__(self) -> FakeProgram:
        self.calls.append((self.name, "start"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.calls.append((self.name, "stop"))

    async def call(self, command: str, /, *, timeout: float = 0.0, **arguments: Any) -> dict[str, Any]:
        self.calls.append((self.name, command))
        if command == "about":
            return {"form": "fake"}
        problem = next(self.script, "")
        if problem:
            raise LineProgramError(f"{self.name} {command}: {problem}\n")
        return {"count": arguments["count"], "failed": 0, "seconds": 0.5, "cpu_seconds": 0.1}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the fake programs were asked for, in order."""
    made: list[tuple[str, str]] = []
    scripts = {
        "java": iter(()),
        "asyncio": iter(("", "", "no memory")),
        "sync": itertools.repeat("unsupported"),
        "grpc": itertools.repeat("ill"),
    }

    def missing(server: Any) -> Any:
        raise PeerMissingError("Go is not installed")

    def starter(name: str) -> Any:
        return lambda server: FakeProgram(name, made, scripts[name])

    known_ones = {name: Peer(name, starter(name)) for name in scripts} | {"go": Peer("Go", missing)}
    monkeypatch.setattr(run, "peer", known_ones.__getitem__)
    monkeypatch.setattr(run, "running", fake_server)
    monkeypatch.setattr(run, "PAUSE", 0.0)
    monkeypatch.setattr(run, "about_this_machine", lambda version: {})
    FakeServer.stopped = 0
    return made


async def measure(family: Family, peers: tuple[str, ...], rounds: int, warm_up: int) -> tuple[Run, list[str]]:
    notices: list[str] = []
    plan = run.Plan(run.plan_families([family], peers), rounds, warm_up)
    seen = await run.measure(plan, "label", lambda each: None, notices.append)
    assert FakeServer.stopped == 1
    return seen, notices


async def test_programs_take_turns_and_warm_up(calls: list[tuple[str, str]]) -> None:
    family = Family("f", (Workload("w", "w", "cmd", ("java", "go"), 10),))
    seen, notices = await measure(family, ("java", "go"), 3, 1)
    assert [(each.peer, each.number, each.warm_up) for each in seen.rounds] == [
        ("java", 0, True),
        ("java", 0, False),
        ("java", 1, False),
        ("java", 2, False),
    ]
    assert notices == ["Go is left out: Go is not installed"]
    assert seen.problems == {("w", "go"): "Go is not installed"}
    assert calls[-1] == ("java", "stop")


async def test_each_round_begins_with_another_program_and_a_failure_is_repeated(calls: list[tuple[str, str]]) -> None:
    family = Family("f", (Workload("w", "w", "cmd", ("java", "asyncio", "sync"), 10),))
    seen, _ = await measure(family, ("java", "asyncio", "sync"), 3, 0)
    assert [each.peer for each in seen.rounds] == ["java", "asyncio", "asyncio", "java", "java", "asyncio"]
    assert seen.problems == {("w", "sync"): "unsupported"}
    assert [(each.peer, each.text) for each in seen.mishaps] == [("asyncio", "asyncio cmd: no memory")]
    ours = [what for name, what in calls if name == "asyncio"]
    assert ours == ["start", "cmd", "cmd", "cmd", "stop", "start", "cmd", "cmd", "about", "stop"], (
        "a new process, and warm before it counts"
    )
    assert seen.about["form"] == "fake"


async def test_what_was_measured_is_kept_when_the_run_is_interrupted(calls: list[tuple[str, str]], tmp_path: Path) -> None:
    families = [Family(name, (Workload(name, name, "cmd", ("java",), 10),)) for name in ("first", "second")]

    def interrupted(each: Round) -> None:
        if each.workload == "second":
            raise KeyboardInterrupt

    file = tmp_path / "run.json"
    with pytest.raises(KeyboardInterrupt):
        await run.measure(
            run.Plan(run.plan_families(families, ("java",)), 2, 0),
            "label",
            interrupted,
            lambda _: None,
            keep=lambda so_far: so_far.save(file),
        )
    assert [each.workload for each in Run.load(file).rounds] == ["first", "first"]
    assert FakeServer.stopped == 1


async def test_what_fails_twice_is_left_out(calls: list[tuple[str, str]]) -> None:
    family = Family("f", (Workload("w", "w", "cmd", ("grpc", "java"), 10),))
    seen, notices = await measure(family, ("grpc", "java"), 2, 0)
    assert seen.problems == {("w", "grpc"): "grpc cmd: ill"}
    assert len(notices) == 2
    assert [each.peer for each in seen.rounds] == ["java", "java"]


async def test_a_backlog_must_be_stored_whole(calls: list[tuple[str, str]]) -> None:
    whole = Family("f", (Workload("w", "w", "cmd", ("java",), 50, distinct=True),), queues=2, backlog=50)
    seen, _ = await measure(whole, ("java",), 1, 0)
    assert [what for _, what in calls] == ["start", "send_in_flight", "cmd", "stop"]
    assert len(seen.rounds) == 1
    FakeServer.stopped = 0
    partly = Family("f", (Workload("w", "w", "cmd", ("java",), 60, distinct=True),), queues=2, backlog=60)
    seen, _ = await measure(partly, ("java",), 1, 0)
    assert "did not take the backlog of 60 messages" in seen.problems["w", "java"]


def test_stolen_time_is_read_from_what_linux_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "stat"
    monkeypatch.setattr(stolen, "STAT", file)
    assert stolen.Ticks.now() is None, "another system"
    file.write_text("cpu  100 0 50 800 0 0 0 50 7 7\ncpu0 1 1 1 1 1 1 1 1\n")
    before = stolen.Ticks.now()
    assert before == stolen.Ticks(50, 1000), "what guests had is part of the user time"
    file.write_text("cpu  150 0 60 900 0 0 0 90 7 7\n")
    assert stolen.share(before, stolen.Ticks.now()) == pytest.approx(0.2)
    assert stolen.share(before, before) is None
    file.write_text("cpu  1 2 3 4\n")
    assert stolen.Ticks.now() is None, "an old system"


async def test_memory_is_that_of_a_new_process(calls: list[tuple[str, str]]) -> None:
    family = Family("f", (Workload("w", "w", "cmd", ("java",), 1, fresh_process=True),))
    seen, _ = await measure(family, ("java",), 2, 2)
    assert [each.warm_up for each in seen.rounds] == [False, False]
    assert [what for _, what in calls].count("start") == 2


# --- forms of our programs --------------------------------------------------------------------------------------------------------


def test_the_right_sources_come_first_on_the_path_of_our_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "mine")
    plain = forms.environment("plain")
    assert plain["PYTHONPATH"] == f"{forms.ROOT / 'src'}{os.pathsep}mine"
    assert (plain[form.PLAIN_ENV], plain[form.COMPILED_ENV]) == ("1", "")
    assert forms.environment("pure")[form.PLAIN_ENV] == ""
    monkeypatch.setattr(forms.compiling, "missing", lambda: "")
    monkeypatch.setattr(forms.compiling, "main", lambda arguments: 0)
    compiled = forms.environment("compiled")
    assert compiled["PYTHONPATH"] == f"{forms.compiling.DESTINATION}{os.pathsep}mine"
    assert compiled[form.COMPILED_ENV]


def test_our_programs_find_byte_code_as_installed_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert "PYTHONDONTWRITEBYTECODE" not in forms.environment("pure")


def test_a_commit_has_its_own_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(forms, "REVISIONS", tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    sources = Path(forms.environment("pure", "HEAD")["PYTHONPATH"])
    assert sources.parent.parent == tmp_path
    assert (sources / "aiorocketmq" / "__init__.py").is_file()
    with pytest.raises(forms.FormError, match="'no-such-commit' is no commit"):
        forms.environment("pure", "no-such-commit")


@pytest.mark.skipif(aiorocketmq.compiled, reason="this process has the compiled modules")
def test_a_program_that_was_to_be_compiled_and_is_not_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(form.COMPILED_ENV, "copy")
    with pytest.raises(RuntimeError, match="no compiled modules"):
        form.choose()


def test_a_run_of_the_compiled_form_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(command.CannotRunError, match="no C compiler 'no-such-compiler'"):
        command.run_once(command.Options(form="compiled"))


def test_an_embedded_server_is_no_place_for_the_java_client() -> None:
    with pytest.raises(PeerMissingError, match="on a real broker only"):
        peers.java_client(SimpleNamespace(cluster=None))  # type: ignore[arg-type]


# --- series -----------------------------------------------------------------------------------------------------------------------


def test_the_ledger_finds_what_is_missing_and_what_comes_twice() -> None:
    ledger = Ledger()
    for number in (1, 0, 3, 3, 5, 1):
        ledger.come(number)
    assert (ledger.next, ledger.count, ledger.twice) == (2, 4, 2)
    for number in (2, 4):
        ledger.come(number)
    assert (ledger.next, ledger.count) == (6, 6)


def test_growth_in_the_second_half_is_found_and_no_other() -> None:
    grown_once = [{"seconds": 5.0 * number, "rss": -20.0 * MIB if number < 60 else 0.0} for number in range(240)]
    assert drift(grown_once, "rss") == pytest.approx(0)
    growing = [{"seconds": 5.0 * number, "rss": number * MIB / 20} for number in range(240)]
    assert drift(growing, "rss") / MIB == pytest.approx(119 / 20)
    assert drift(growing[:1], "rss") == 0.0


def idle(queues: int, percent: float) -> Round:
    return Round(f"queues/{queues}", "asyncio", 0, False, 1, 0, 0.5, 0.1, 30 * MIB, more={CPU_PERCENT: percent, "tasks": 32.0})


def test_a_series_has_a_line_for_each_size_and_tells_what_is_not_kept() -> None:
    seen = run_of(idle(1, 0.1), idle(1024, 1.25))
    text = report.run_report(seen, [])
    assert "### Queues of one consumer" in text
    assert "| 1024 | aiorocketmq | 0.50 | 1.25 | 30.0 | 32 |" in text
    assert "queues/1024, aiorocketmq: idle_cpu_percent 1.25, at most 1" in text
    assert series.broken(run_of(idle(1, 5.0), idle(1024, 0.9))) == [], "the limit is one of 1,024 queues"
    soaked = Round("soak/20", "asyncio", 0, False, 1, 0, 1200.0, 1.0, more={"lost": 1.0, "drift_rss": 5.0 * MIB, "pulls": 9.0})
    assert [line.partition(": ")[2] for line in series.broken(run_of(soaked))] == [
        "lost 1.00, at most 0",
        "drift_rss 5,242,880.00, at most 4.1943e+06",
    ]
