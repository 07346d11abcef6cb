"""The benchmarks without a broker: percentiles, checks of bodies, the order of a run, verdicts, tables, the page."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import aiorocketmq
from benchmarks import command, page, plots, report, run, stolen
from benchmarks.growth import report as growth_report
from benchmarks.judge import best, floors_met, judge, judge_row, measured
from benchmarks.ours import form
from benchmarks.ours.bodies import Inspector, maker
from benchmarks.ours.meter import percentiles_us
from benchmarks.peers import DEFAULT_PEERS, LOWER_BOUND, PEERS, Peer, PeerMissingError
from benchmarks.results import Mishap, ResultsError, Round, Run
from benchmarks.rows import CPU, P99, RATE, ROWS, SECONDS, Mark, Row
from benchmarks.workloads import FAMILIES, MATRIX, WORKLOADS, Family, Workload
from tests.support.line_program import LineProgramError

ROW = Row("row", "a row", "asyncio", "mine", "theirs", (Mark(RATE, "java", 0.9, 1.2), Mark(CPU, "java", 0.7, 0.5), Mark(RATE, "go", 1.5)))


def one(peer: str, rate: float, *, cpu_us: float = 10.0, workload: str = "", warm_up: bool = False, failed: int = 0, **more: Any) -> Round:
    """A round of 1000 messages."""
    name = workload or ("mine" if peer in ("asyncio", "sync") else "theirs")
    return Round(name, peer, 0, warm_up, 1000, failed, 1000 / rate, cpu_us * 1000 / 1e6, **more)


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


# --- verdicts ---------------------------------------------------------------------------------------------------------------------


def test_the_median_of_ours_is_divided_by_the_best_round_of_java() -> None:
    seen = run_of(
        one("java", 5000, warm_up=True),
        one("java", 800, cpu_us=5),
        one("java", 1000, cpu_us=60),
        one("java", 900, cpu_us=40),
        one("java", 850, cpu_us=20),
        one("java", 950, cpu_us=15),
        one("asyncio", 9000, cpu_us=1, warm_up=True),
        one("asyncio", 1500, cpu_us=14),
        one("asyncio", 1000, cpu_us=10),
        one("asyncio", 1100, cpu_us=8),
    )
    rate, cpu, go = judge_row(seen, ROW)
    assert (rate.value, rate.low, rate.high) == pytest.approx((1.1, 1.0, 1.5))
    assert (rate.floor_met, rate.goal_met) == (True, False)
    assert (cpu.value, cpu.low, cpu.high) == pytest.approx((0.5, 0.4, 0.7)), "the CPU of Java's median, not of one of its rounds"
    assert (cpu.floor_met, cpu.goal_met) == (True, True)
    assert (go.value, go.floor_met) == (None, None)
    assert floors_met(seen, [ROW])


def test_go_is_measured_by_its_median() -> None:
    seen = run_of(*(one("go", rate) for rate in (100, 1000, 1100)), one("asyncio", 1500))
    assert judge(seen, ROW, ROW.marks[2]).value == pytest.approx(1.5)
    assert judge(seen, ROW, ROW.marks[2]).floor_met


@pytest.mark.parametrize(("rate", "cpu", "met"), [(900, 7.0, True), (899, 7.0, False), (900, 7.01, False)])
def test_a_floor_is_met_on_its_edge_only(rate: float, cpu: float, met: bool) -> None:
    seen = run_of(one("java", 1000), one("asyncio", rate, cpu_us=cpu))
    assert floors_met(seen, [ROW]) is met


def test_a_failed_message_misses_the_floor() -> None:
    seen = run_of(one("java", 1000), one("asyncio", 5000, cpu_us=1), one("asyncio", 5000, cpu_us=1, failed=1))
    verdict = judge(seen, ROW, ROW.marks[0])
    assert (verdict.floor_met, verdict.goal_met, verdict.problem) == (False, False, "1 messages failed")
    assert not floors_met(seen, [ROW])


def test_failed_messages_make_no_rate() -> None:
    assert one("java", 1000, failed=500).rate == 500
    assert one("java", 1000, cpu_us=10, failed=500).cpu_us == pytest.approx(20)
    assert best([one("java", 1000, failed=500), one("java", 600)]).failed == 0


def test_of_latencies_and_times_less_is_better() -> None:
    latency = Row("l", "l", "asyncio", "mine", "theirs", (Mark(P99, "java", 0.8, 0.5),))
    java = [one("java", 200, latency_us={"p99": value}) for value in (100.0, 900.0, 200.0)]
    ours = [one("asyncio", 200, latency_us={"p99": 150.0})]
    (verdict,) = judge_row(run_of(*java, *ours), latency)
    assert verdict.value == pytest.approx(0.75), "medians on both sides"
    assert (verdict.floor_met, verdict.goal_met) == (True, False)
    plain = Row("s", "s", "asyncio", "mine", "theirs", (Mark(SECONDS, "", 0.5),))
    assert judge_row(run_of(one("asyncio", 2500)), plain)[0].value == pytest.approx(0.4)
    assert judge_row(run_of(one("asyncio", 1500)), plain)[0].floor_met is False


def test_a_program_of_ours_that_fails_misses_the_floors() -> None:
    seen = run_of(one("java", 1000))
    assert floors_met(seen, [ROW]), "what was not measured misses nothing"
    seen.problems["theirs", "go"] = "Go is not installed"
    assert floors_met(seen, [ROW])
    seen.problems["mine", "asyncio"] = "unsupported"
    assert floors_met(seen, [ROW])
    seen.problems["mine", "asyncio"] = "TimeoutError: received 3 of 4 messages"
    assert not floors_met(seen, [ROW])
    assert judge(seen, ROW, ROW.marks[0]).problem == "TimeoutError: received 3 of 4 messages"


# --- tables and the page ----------------------------------------------------------------------------------------------------------


def test_the_words_say_in_how_many_runs_something_was_missed() -> None:
    runs = [run_of(one("java", 1000), one("asyncio", rate), label=f"run {rate}") for rate in (800, 1000, 1300)]
    verdicts = [judge(each, ROW, ROW.marks[0]) for each in runs]
    assert report.words(verdicts) == "floor **missed in 1 of 3 runs**; goal **missed in 2 of 3 runs**"
    assert report.words(verdicts[:1]) == "floor **missed**; goal **missed**"
    assert report.words(verdicts[2:]) == "floor met; goal met"
    assert report.words([judge(run_of(), ROW, ROW.marks[0])]) == "not measured"
    table = report.row_table(runs, [ROW])
    assert "| a row | rate ÷ Java | 0.9 | 1.2 | 0.80 (0.80 to 0.80) | 1.00 (1.00 to 1.00) | 1.30 (1.30 to 1.30) |" in table
    assert "run 800 | run 1000 | run 1300" in table


def measured_run(label: str, rate: float = 2000, **about: str) -> Run:
    latencies = {"p50": 100.0, "p99": 300.0, "p999": 400.0}
    names = ("send_one_at_a_time", "send_in_flight", "latency", "push_concurrent/128B/8q")
    peers = {"java": 1000.0, "go": 800.0, "asyncio": rate}
    rounds = [
        one(peer, speed, workload=name, rss_bytes=2**20, latency_us=latencies if name in ("send_one_at_a_time", "latency") else None)
        for name in names
        for peer, speed in peers.items()
    ]
    return run_of(*rounds, label=label, **about)


def test_the_page_keeps_what_is_written_by_hand(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = []
    for number, (rate, which) in enumerate([(2000, "uvloop"), (2100, "uvloop"), (1500, "asyncio")], 1):
        files.append(tmp_path / f"run-{number}.json")
        measured_run(f"run {number}", rate, form=which).save(files[-1])
    place = tmp_path / "page.md"
    place.write_text(page.PAGE.read_text(encoding="utf-8") + "\nthe last word\n", encoding="utf-8")
    page.write(files, page=place, folder=tmp_path / "pictures")
    first = place.read_text(encoding="utf-8")
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}
    assert set(pictures) == {"rates.svg", "cpu.svg", "latency.svg", "matrix.svg"}
    assert first.endswith("the last word\n")
    assert (
        "| send, 256 in flight (`send_nowait`) | rate ÷ Java | 1.1 | 1.5 | 2.00 (2.00 to 2.00) | 2.10 (2.10 to 2.10) | floor met" in first
    )
    assert "### asyncio\n" in first, "another form has its own table"
    assert "| 128 B | 8 | 2,050/s | 1,000/s | 800/s | 2.05 |" in first
    page.write(files, page=place, folder=tmp_path / "pictures")
    assert place.read_text(encoding="utf-8") == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()} == pictures


def test_the_page_has_a_place_for_every_made_part() -> None:
    made = [*page.sections([measured_run("run 1")], {}), growth_report.MARKER]
    assert sorted(made) == sorted(page.markers(page.PAGE.read_text(encoding="utf-8")))
    with pytest.raises(ResultsError, match="begin: rows"):
        page.put("no markers", {"rows": "text"})
    assert page.put("a <!-- begin: x -->old<!-- end: x --> b", {"x": "new"}) == "a <!-- begin: x -->\nnew\n<!-- end: x --> b"


def test_a_run_of_sizes_and_queues_alone_makes_only_their_tables() -> None:
    main, matrix = measured_run("run 1"), measured_run("sizes", 3000)
    main.rounds = [each for each in main.rounds if "/" not in each.workload]
    matrix.rounds = [each for each in matrix.rounds if "/" in each.workload]
    made = page.sections([main, matrix], {})
    assert "| 128 B | 8 | 3,000/s | 1,000/s | 800/s | 3.00 |" in made["matrix"]
    assert "met in the run" in made["rows"] and "| sizes |" in made["machine"]
    assert page.sections([main], {})["matrix"] == "Not measured in these runs."
    assert "Not measured:" in page.sections([matrix], {})["rows"], "alone it has no figures for the rows"


def test_sizes_and_queues_are_measured_alone_or_beside_what_is_named() -> None:
    alone = command.Options(matrix=True).plan()
    assert alone.families and all(family.matrix for family, _ in alone.families)
    beside = command.Options(matrix=True, workloads=["latency"]).plan()
    assert [family.name for family, _ in beside.families if not family.matrix] == ["latency"]
    assert not any(family.matrix for family, _ in command.Options().plan().families)


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
        for mark in row.marks:
            assert not mark.against or mark.against in WORKLOADS[row.reference].peers, row.name
    for family in (*FAMILIES, *MATRIX):
        assert {peer for workload in family.workloads for peer in workload.peers} <= set(PEERS)
        assert all(workload.count == family.backlog for workload in family.workloads if workload.distinct), family.name
    assert set(plots.COLOURS) == set(PEERS)


def test_the_lower_bound_is_shown_without_floors() -> None:
    assert LOWER_BOUND in DEFAULT_PEERS
    assert not any(LOWER_BOUND in (row.peer, *(mark.against for mark in row.marks)) for row in ROWS.values())
    seen = run_of(one("asyncio", 2000, workload="send_one_at_a_time"), one(LOWER_BOUND, 4000, workload="send_one_at_a_time"))
    assert "| send, one at a time | bare sockets | 4,000/s |" in report.figures_table(seen, ["send_one_at_a_time"])


def test_a_row_asks_for_what_it_needs() -> None:
    planned = run.plan_families(FAMILIES, ("java", "go", "asyncio", "sync"), rows=[ROWS["send_auto_batched"], ROWS["push_plain"]])
    assert {family.name: [(workload.name, peer) for workload, peer in entries] for family, entries in planned} == {
        "send_in_flight": [("send_in_flight", "java"), ("send_auto_batched", "asyncio")],
        "push_concurrent": [("push_concurrent", "java"), ("push_concurrent", "go"), ("push_plain", "asyncio")],
    }
    assert [family.name for family, _ in run.plan_families(FAMILIES, ("sync",))] == ["send_one_at_a_time", "send_threads", "send_batches"]
    beside = run.plan_families(FAMILIES, ("asyncio", LOWER_BOUND), rows=[ROWS["send"], ROWS["latency"], ROWS["push"]])
    assert [(family.name, [peer for _, peer in entries]) for family, entries in beside] == [
        ("send_one_at_a_time", ["asyncio", LOWER_BOUND]),
        ("push_concurrent", ["asyncio"]),
        ("latency", ["asyncio", LOWER_BOUND]),
    ], "the lower bound comes along where it can"
    assert [entries for _, entries in run.plan_families(FAMILIES, ("go",), ["send_threads"])] == [((WORKLOADS["send_threads"], "go"),)]


def test_the_backlog_follows_the_scale() -> None:
    (family,) = (each for each in FAMILIES if each.name == "push_concurrent")
    assert (family.scaled(0.1).backlog, family.scaled(0.1).workloads[1].count) == (20_000, 20_000)
    (family,) = (each for each in FAMILIES if each.name == "first_message")
    assert (family.scaled(0.1).backlog, family.scaled(0.1).workloads[0].count) == (2_000, 1)


class FakeCluster:
    """A broker that takes everything."""

    name_servers = broker_address = "127.0.0.1:1"
    stopped = 0

    def __init__(self, version: str, **options: Any) -> None:
        """Nothing is started."""

    def start(self) -> None: ...

    def stop(self) -> None:
        FakeCluster.stopped += 1

    def create_topic(self, topic: str, *, queues: int) -> None: ...


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

    def missing(cluster: Any) -> Any:
        raise PeerMissingError("Go is not installed")

    def starter(name: str) -> Any:
        return lambda cluster: FakeProgram(name, made, scripts[name])

    peers = {name: Peer(name, starter(name)) for name in scripts} | {"go": Peer("Go", missing)}
    monkeypatch.setattr(run, "PEERS", peers)
    monkeypatch.setattr(run, "RealCluster", FakeCluster)
    monkeypatch.setattr(run, "PAUSE", 0.0)
    monkeypatch.setattr(run, "about_this_machine", lambda version: {})
    monkeypatch.setattr(run.raw_remoting, "exchange", lambda *_: ({"offset": "25"}, b""))
    FakeCluster.stopped = 0
    return made


async def measure(family: Family, peers: tuple[str, ...], rounds: int, warm_up: int) -> tuple[Run, list[str]]:
    notices: list[str] = []
    plan = run.Plan(run.plan_families([family], peers), rounds, warm_up)
    seen = await run.measure(plan, "label", lambda each: None, notices.append)
    assert FakeCluster.stopped == 1
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
    assert FakeCluster.stopped == 1


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
    FakeCluster.stopped = 0
    partly = Family("f", (Workload("w", "w", "cmd", ("java",), 60, distinct=True),), queues=2, backlog=60)
    seen, _ = await measure(partly, ("java",), 1, 0)
    assert "did not take the backlog of 60 messages" in seen.problems["w", "java"]


async def test_a_round_is_repeated_while_others_have_the_processors(calls: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    shares = iter([0.9, 0.05, 0.2, 0.1, 0.5, 0.6, 0.7])  # the first one while the program warms up
    waits: list[float] = []

    def await_calm(most: float, patience: float) -> None:
        waits.append(most)

    monkeypatch.setattr(run, "share", lambda before, after: next(shares))
    monkeypatch.setattr(run, "await_calm", await_calm)
    monkeypatch.setattr(run, "REPEATS", 2)
    family = Family("f", (Workload("w", "w", "cmd", ("java",), 10),))
    seen, _ = await measure(family, ("java",), 3, 1)
    assert [(each.number, each.stolen, each.disturbed) for each in seen.rounds] == [
        (0, 0.9, False),
        (0, 0.05, False),
        (1, 0.2, True),
        (1, 0.1, False),
        (2, 0.5, True),
        (2, 0.6, True),
        (2, 0.7, False),
    ], "the last try counts"
    assert waits == [0.1, 0.1, 0.1], "each time before it is tried again"
    assert [each.stolen for each in measured(seen, "w", "java")] == [0.05, 0.1, 0.7]
    assert "others had 28% of the processor time of the rounds, 3 of which were repeated" in page.machine([seen])


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


def test_it_is_waited_until_others_have_less(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = [0.05, 0.3, None]
    monkeypatch.setattr(stolen, "LOOK", 0.0)
    monkeypatch.setattr(stolen, "share", lambda before, after: shares.pop())
    stolen.await_calm(0.1, 60.0)
    assert shares == [0.05, 0.3], "not counted here: there is nothing to wait for"
    stolen.await_calm(0.1, 60.0)
    assert shares == []
    shares[:] = [0.9]
    stolen.await_calm(0.1, 0.0)
    assert shares == [], "patience has an end"


async def test_memory_is_that_of_a_new_process(calls: list[tuple[str, str]]) -> None:
    family = Family("f", (Workload("w", "w", "cmd", ("java",), 1, fresh_process=True),))
    seen, _ = await measure(family, ("java",), 2, 2)
    assert [each.warm_up for each in seen.rounds] == [False, False]
    assert [what for _, what in calls].count("start") == 3


# --- forms of our programs --------------------------------------------------------------------------------------------------------


def test_the_compiled_copy_comes_first_on_the_path_of_our_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "mine")
    monkeypatch.setenv(form.COMPILED_ENV, "")
    assert form.environment()["PYTHONPATH"] == "mine"
    monkeypatch.setenv(form.COMPILED_ENV, "copy")
    assert form.environment()["PYTHONPATH"] == f"copy{os.pathsep}mine"


@pytest.mark.skipif(aiorocketmq.compiled, reason="this process has the compiled modules")
def test_a_program_that_was_to_be_compiled_and_is_not_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(form.COMPILED_ENV, "copy")
    with pytest.raises(RuntimeError, match="no compiled modules"):
        form.choose()


def test_a_run_of_the_compiled_form_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(form.COMPILED_ENV, "")
    monkeypatch.setenv(form.PLAIN_ENV, "")
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(command.CannotRunError, match="no C compiler 'no-such-compiler'"):
        command.run_once(command.Options(compiled=True))
