"""The order of a run: family after family, and within a family all programs in turn, round by round, on one server.

The first rounds of each program warm it up (a JVM compiles, sockets and routes are made): they are kept, but not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.peers import REFERENCE, PeerMissingError, base, peer
from benchmarks.results import Mishap, Round, Run, about_this_machine
from benchmarks.rows import RATE, Row
from benchmarks.servers import REAL, Server, running
from benchmarks.stolen import Ticks, share
from benchmarks.workloads import MIB, Family, Workload
from tests.support.java import JavaMissingError
from tests.support.line_program import LineProgram, LineProgramError
from tests.support.processes import StartError

PAUSE = 0.3
"""Seconds between two rounds: what a program left behind for the broker is over by then."""
SETTLED = 1.0
"""Seconds without a new message after which the broker has stored all that was sent one-way."""
ROUND_TIMEOUT = 1800.0
BACKLOG_TRIES = 5
BACKLOG_BYTES = 32 * MIB
"""Bodies that are unanswered at a time while a backlog is made, at most."""
FORM = "form"
UNSUPPORTED = ": unsupported\n"

Entry = tuple[Workload, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        families: Each with the entries (workload, peer) to run; others of the family are left out.
        rounds: Measured rounds of each entry.
        warm_up: Rounds before them.
        version: Release of the real server.
        form: Form of our programs that name none.
    """

    families: tuple[tuple[Family, tuple[Entry, ...]], ...]
    rounds: int = 5
    warm_up: int = 2
    version: str = "5.5.0"
    form: str = "pure"

    def rounds_of(self, family: Family, workload: Workload) -> tuple[int, int]:
        """Rounds to warm up and measured rounds of a workload; what is measured on request has about half as many, or one."""
        measured = self.rounds if not family.group else (self.rounds + 1) // 2 if workload.figure == RATE else 1
        if workload.fresh_process:
            return 0, measured
        return min(self.warm_up, 1) if family.group else self.warm_up, measured


def plan_families(
    families: Sequence[Family], peers: Sequence[str], workloads: Sequence[str] | None = None, rows: Sequence[Row] | None = None
) -> tuple[tuple[Family, tuple[Entry, ...]], ...]:
    """Choose the entries to run.

    Args:
        families: All that there are.
        peers: Who takes part.
        workloads: Only these, by name; None for all, unless rows are given.
        rows: Only what these rows need, besides `workloads`.
    """
    wanted: set[tuple[str, str]] = set()
    for row in rows or ():
        wanted.add((row.workload, row.peer))
        wanted.update((row.reference, against) for against in row.against)
    everything = workloads is None and rows is None
    planned = []
    for family in families:
        entries = tuple(
            (workload, name)
            for workload in family.workloads
            for name in peers
            if base(name) in workload.peers and (everything or workload.name in (workloads or ()) or (workload.name, base(name)) in wanted)
        )
        if entries:
            planned.append((family, entries))
    return tuple(planned)


@dataclass(slots=True)
class _Stage:
    """The running server and the programs on it."""

    server: Server
    notice: Callable[[str], None]
    running: dict[str, tuple[contextlib.AsyncExitStack, LineProgram]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    async def program(self, name: str) -> LineProgram:
        """The running program of a peer, started at its first use.

        Raises:
            PeerMissingError: It cannot run here; told once.
        """
        if name in self.missing:
            raise PeerMissingError(self.missing[name])
        if name not in self.running:
            stack = contextlib.AsyncExitStack()
            try:
                program = await stack.enter_async_context(await asyncio.to_thread(peer(name).start, self.server))
            except (PeerMissingError, JavaMissingError, StartError, RuntimeError) as error:
                self.missing[name] = str(error)
                self.notice(f"{peer(name).title} is left out: {error}")
                raise PeerMissingError(str(error)) from error
            self.running[name] = stack, program
        return self.running[name][1]

    async def stop(self, name: str) -> None:
        """End the program of a peer; its next use starts another one."""
        stack, _ = self.running.pop(name)
        await stack.aclose()

    async def close(self) -> None:
        """End all programs."""
        await asyncio.gather(*map(self.stop, list(self.running)))

    async def create_topic(self, name: str, queues: int, topics: int = 1) -> str:
        """A new topic, or several of one prefix; answers its full name, or the prefix."""
        topic = f"bench_{name.replace('/', '_')}_{uuid.uuid4().hex[:6]}"
        for each in [topic] if topics == 1 else [f"{topic}_{number:04d}" for number in range(topics)]:
            await asyncio.to_thread(self.server.create_topic, each, queues)
        return topic

    async def stored(self, topic: str, queues: int) -> int:
        """Messages that the broker has taken into a topic."""
        return await asyncio.to_thread(self.server.stored, topic, queues)


async def measure(
    plan: Plan, label: str, tell: Callable[[Round], None], notice: Callable[[str], None], keep: Callable[[Run], None] = lambda run: None
) -> Run:
    """Start the servers, run everything, and answer what was seen.

    A workload that a program cannot do, or fails at twice, is noted and left out; the others go on. Each kind of server is started once.

    Args:
        plan: What to run.
        label: Name of the run.
        tell: Called after each round.
        notice: Called with what people should know besides.
        keep: Called after each family with the run so far: an hour of measuring shall not be lost when it is interrupted.

    Raises:
        JavaMissingError: There is no Java to run a broker.
        StartError: A server does not start.
    """
    run = Run(label, about_this_machine(plan.version))
    for kind in dict.fromkeys(family.server for family, _ in plan.families):
        async with running(kind, plan.version, plan.form) as server:
            stage = _Stage(server, notice)
            try:
                for family, entries in plan.families:
                    if family.server == kind:
                        await _measure_prepared(stage, plan, family, entries, run, tell)
                        keep(run)
            finally:
                await stage.close()
    return run


async def _measure_prepared(
    stage: _Stage, plan: Plan, family: Family, entries: Sequence[Entry], run: Run, tell: Callable[[Round], None]
) -> None:
    try:
        topic = await _prepare_topic(stage, family)
    except (PeerMissingError, LineProgramError) as error:
        stage.notice(f"{family.name} is left out: {error}")
        run.problems |= {(workload.name, name): f"no backlog: {error}" for workload, name in entries}
        return
    await _measure_family(_Scene(stage, plan, family, topic), entries, run, tell)


@dataclass(frozen=True, slots=True)
class _Scene:
    """A family on the stage."""

    stage: _Stage
    plan: Plan
    family: Family
    topic: str


async def _measure_family(scene: _Scene, entries: Sequence[Entry], run: Run, tell: Callable[[Round], None]) -> None:
    stage, plan = scene.stage, scene.plan
    for number in range(-plan.warm_up, plan.rounds):
        first = number % len(entries)  # everyone comes after everyone else in some round
        for workload, name in (*entries[first:], *entries[:first]):
            warm_up, measured = plan.rounds_of(scene.family, workload)
            if not -warm_up <= number < measured or (workload.name, name) in run.problems:
                continue
            try:
                done = await _round_or_repeat(scene, workload, name, run)
                done = replace(done, number=number if number >= 0 else number + warm_up, warm_up=number < 0)
                run.rounds.append(done)
                tell(done)
                await asyncio.sleep(PAUSE)
            except PeerMissingError as error:
                run.problems[workload.name, name] = str(error)
            except LineProgramError as error:
                problem = "unsupported" if UNSUPPORTED in str(error) else str(error).strip()
                run.problems[workload.name, name] = problem
                stage.notice(f"{workload.name} {name}: {problem}")
    if FORM not in run.about and "asyncio" in stage.running:
        answer = await (await stage.program("asyncio")).call("about")
        run.about[FORM] = answer["form"]


async def _round_or_repeat(scene: _Scene, workload: Workload, name: str, run: Run) -> Round:
    """One round. After a failure the program is started anew, warmed up and asked once more; the failure is kept in the run."""
    try:
        return await _round(scene, workload, name)
    except LineProgramError as error:
        if UNSUPPORTED in str(error):
            raise
        run.mishaps.append(Mishap(workload.name, name, str(error).strip()))
        scene.stage.notice(f"{workload.name} {name} failed and is repeated: {error}")
    if name in scene.stage.running:
        await scene.stage.stop(name)
    if not workload.fresh_process:
        await _round(scene, workload, name)
    return await _round(scene, workload, name)


async def _prepare_topic(stage: _Stage, family: Family) -> str:
    """The topic of a family, with its backlog of messages numbered from 0, each of them once."""
    if not family.backlog:
        return await stage.create_topic(family.name, family.queues)
    filler = await stage.program(REFERENCE if stage.server.kind == REAL else "asyncio")
    size = family.workloads[0].size
    window = max(4, min(64, BACKLOG_BYTES // size))
    for _ in range(BACKLOG_TRIES):
        topic = await stage.create_topic(family.name, family.queues)
        answer = await filler.call("send_in_flight", topic=topic, size=size, count=family.backlog, window=window, timeout=ROUND_TIMEOUT)
        # A broker that is short of CPU refuses some sends; one that was refused after all may be stored, so both are looked at.
        if answer["failed"] == 0 and await stage.stored(topic, family.queues) == family.backlog:
            return topic
    raise LineProgramError(f"the broker did not take the backlog of {family.backlog} messages in {BACKLOG_TRIES} tries")


async def _round(scene: _Scene, workload: Workload, name: str) -> Round:
    stage, family = scene.stage, scene.family
    topic = await stage.create_topic(workload.name, family.queues, workload.topics) if workload.fresh_topic else scene.topic
    arguments: dict[str, Any] = {
        "topic": topic,
        "size": workload.size,
        "count": workload.scaled(peer(name).part).count,
        "group": f"bench_{uuid.uuid4().hex[:8]}",  # a new group reads the topic from its beginning
        **workload.arguments,
    }
    if workload.distinct:
        arguments["distinct"] = workload.count
    program = None if workload.fresh_process else await stage.program(name)
    before, (server_cpu, _) = Ticks.now(), stage.server.usage()
    if program is None:
        async with await asyncio.to_thread(peer(name).start, stage.server) as fresh:
            answer = await fresh.call(workload.command, timeout=ROUND_TIMEOUT, **arguments)
    elif workload.stored:
        answer = await _counted_by_the_broker(stage, program, workload.command, family.queues, arguments)
    else:
        answer = await program.call(workload.command, timeout=ROUND_TIMEOUT, **arguments)
    stolen = share(before, Ticks.now())
    server_after, server_rss = stage.server.usage()
    server = {
        "server_cpu_us": (server_after - server_cpu) / answer["count"] * 1e6,
        "server_rss": server_rss,
        "server_start": stage.server.start_seconds,
    }
    latencies = answer.get("latency_us")
    return Round(
        workload=workload.name,
        peer=name,
        number=0,
        warm_up=False,
        count=answer["count"],
        failed=answer["failed"],
        seconds=answer["seconds"],
        cpu_seconds=answer["cpu_seconds"],
        rss_bytes=answer.get("rss_bytes", 0),
        latency_us={name: round(value, 1) for name, value in latencies.items()} if latencies else None,
        stolen=None if stolen is None else round(stolen, 3),
        more={key: round(value, 3) for key, value in (answer.get("more", {}) | (server if family.group else {})).items()} or None,
    )


async def _counted_by_the_broker(
    stage: _Stage, program: LineProgram, command: str, queues: int, arguments: dict[str, Any]
) -> dict[str, Any]:
    """One-way sends: what the broker stored is the count, and the time lasts until it has stored the last of them."""
    topic = arguments["topic"]
    before = await stage.stored(topic, queues)
    answer = await program.call(command, timeout=ROUND_TIMEOUT, **arguments)
    returned = last_growth = time.monotonic()
    total = await stage.stored(topic, queues)
    while time.monotonic() - last_growth < SETTLED:
        await asyncio.sleep(0.05)
        now = await stage.stored(topic, queues)
        if now != total:
            total, last_growth = now, time.monotonic()
    return answer | {"count": total - before, "failed": 0, "seconds": answer["seconds"] + last_growth - returned}
