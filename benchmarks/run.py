"""The order of a run: family after family, and within a family all programs in turn, round by round, on one broker.

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

from benchmarks.peers import LOWER_BOUND, PEERS, REFERENCE, PeerMissingError
from benchmarks.results import Mishap, Round, Run, about_this_machine
from benchmarks.rows import Row
from benchmarks.stolen import Ticks, await_calm, share
from benchmarks.workloads import Family, Workload
from tests.support import raw_remoting
from tests.support.java import JavaMissingError
from tests.support.line_program import LineProgram, LineProgramError
from tests.support.processes import StartError
from tests.support.real_cluster import SERVER_JVM, RealCluster

PAUSE = 0.3
"""Seconds between two rounds: what a program left behind for the broker is over by then."""
SETTLED = 1.0
"""Seconds without a new message after which the broker has stored all that was sent one-way."""
MOST_STOLEN = 0.1
"""Part of the processor time that others may have had during a measured round; with more it is repeated, whoever ran it."""
REPEATS = 5
"""How often at most; the last time counts in any case."""
PATIENCE = 15.0
"""Seconds at most to wait before that until others have less."""
ROUND_TIMEOUT = 300.0
BACKLOG_TRIES = 5
GET_MAX_OFFSET = 30
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
        version: Release of the server.
    """

    families: tuple[tuple[Family, tuple[Entry, ...]], ...]
    rounds: int = 5
    warm_up: int = 2
    version: str = "5.5.0"

    def rounds_of(self, family: Family, workload: Workload) -> tuple[int, int]:
        """Rounds to warm up and measured rounds of a workload; the matrix has about half as many."""
        if workload.fresh_process:
            return 0, self.rounds
        if family.matrix:
            return min(self.warm_up, 1), (self.rounds + 1) // 2
        return self.warm_up, self.rounds


def plan_families(
    families: Sequence[Family], peers: Sequence[str], workloads: Sequence[str] | None = None, rows: Sequence[Row] | None = None
) -> tuple[tuple[Family, tuple[Entry, ...]], ...]:
    """Choose the entries to run.

    Args:
        families: All that there are.
        peers: Who takes part.
        workloads: Only these, by name; None for all, unless rows are given.
        rows: Only what these rows need, and the lower bound beside it, besides `workloads`.
    """
    wanted: set[tuple[str, str]] = set()
    for row in rows or ():
        wanted |= {(row.workload, row.peer), (row.reference, LOWER_BOUND)}
        wanted.update((row.reference, mark.against) for mark in row.marks)
    everything = workloads is None and rows is None
    planned = []
    for family in families:
        entries = tuple(
            (workload, peer)
            for workload in family.workloads
            for peer in peers
            if peer in workload.peers and (everything or workload.name in (workloads or ()) or (workload.name, peer) in wanted)
        )
        if entries:
            planned.append((family, entries))
    return tuple(planned)


@dataclass(slots=True)
class _Stage:
    """The running broker and the programs on it."""

    cluster: RealCluster
    notice: Callable[[str], None]
    running: dict[str, tuple[contextlib.AsyncExitStack, LineProgram]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    async def program(self, peer: str) -> LineProgram:
        """The running program of a peer, started at its first use.

        Raises:
            PeerMissingError: It cannot run here; told once.
        """
        if peer in self.missing:
            raise PeerMissingError(self.missing[peer])
        if peer not in self.running:
            stack = contextlib.AsyncExitStack()
            try:
                program = await stack.enter_async_context(await asyncio.to_thread(PEERS[peer].start, self.cluster))
            except (PeerMissingError, JavaMissingError, StartError, RuntimeError) as error:
                self.missing[peer] = str(error)
                self.notice(f"{PEERS[peer].title} is left out: {error}")
                raise PeerMissingError(str(error)) from error
            self.running[peer] = stack, program
        return self.running[peer][1]

    async def stop(self, peer: str) -> None:
        """End the program of a peer; its next use starts another one."""
        stack, _ = self.running.pop(peer)
        await stack.aclose()

    async def close(self) -> None:
        """End everything."""
        await asyncio.gather(*map(self.stop, list(self.running)))
        await asyncio.to_thread(self.cluster.stop)

    async def create_topic(self, name: str, queues: int) -> str:
        """A new topic; answers its full name."""
        topic = f"bench_{name.replace('/', '_')}_{uuid.uuid4().hex[:6]}"
        await asyncio.to_thread(self.cluster.create_topic, topic, queues=queues)
        return topic

    async def stored(self, topic: str, queues: int) -> int:
        """Messages that the broker has taken into a topic."""
        return await asyncio.to_thread(self._stored, topic, queues)

    def _stored(self, topic: str, queues: int) -> int:
        total = 0
        for queue in range(queues):
            fields, _ = raw_remoting.exchange(self.cluster.broker_address, GET_MAX_OFFSET, {"topic": topic, "queueId": str(queue)})
            total += int(fields["offset"])
        return total


async def measure(
    plan: Plan, label: str, tell: Callable[[Round], None], notice: Callable[[str], None], keep: Callable[[Run], None] = lambda run: None
) -> Run:
    """Start a broker, run everything, and answer what was seen.

    A workload that a program cannot do, or fails at twice, is noted and left out; the others go on.

    Args:
        plan: What to run.
        label: Name of the run.
        tell: Called after each round.
        notice: Called with what people should know besides.
        keep: Called after each family with the run so far: an hour of measuring shall not be lost when it is interrupted.

    Raises:
        JavaMissingError: There is no Java to run a broker.
        StartError: The broker does not start.
    """
    run = Run(label, about_this_machine(plan.version))
    cluster = RealCluster(plan.version, jvm=SERVER_JVM)
    await asyncio.to_thread(cluster.start)
    stage = _Stage(cluster, notice)
    try:
        for family, entries in plan.families:
            try:
                topic = await _prepare_topic(stage, family)
            except (PeerMissingError, LineProgramError) as error:
                notice(f"{family.name} is left out: {error}")
                run.problems |= {(workload.name, peer): f"no backlog: {error}" for workload, peer in entries}
                continue
            await _measure_family(_Scene(stage, plan, family, topic), entries, run, tell)
            keep(run)
    finally:
        await stage.close()
    return run


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
        for workload, peer in (*entries[first:], *entries[:first]):
            warm_up, measured = plan.rounds_of(scene.family, workload)
            if not -warm_up <= number < measured or (workload.name, peer) in run.problems:
                continue
            try:
                await _undisturbed_round(scene, workload, peer, run, number, tell)
            except PeerMissingError as error:
                run.problems[workload.name, peer] = str(error)
            except LineProgramError as error:
                problem = "unsupported" if UNSUPPORTED in str(error) else str(error).strip()
                run.problems[workload.name, peer] = problem
                stage.notice(f"{workload.name} {peer}: {problem}")
    if FORM not in run.about and "asyncio" in stage.running:
        answer = await (await stage.program("asyncio")).call("about")
        run.about[FORM] = answer["form"]


async def _undisturbed_round(scene: _Scene, workload: Workload, peer: str, run: Run, number: int, tell: Callable[[Round], None]) -> None:
    """A round into the run, and once more when the machine was busy with others; negative numbers are rounds to warm up."""
    warm_up, _ = scene.plan.rounds_of(scene.family, workload)
    for repeats_left in range(REPEATS, -1, -1):
        done = await _round_or_repeat(scene, workload, peer, run)
        disturbed = number >= 0 and repeats_left > 0 and (done.stolen or 0.0) > MOST_STOLEN
        done = replace(done, number=number if number >= 0 else number + warm_up, warm_up=number < 0, disturbed=disturbed)
        run.rounds.append(done)
        tell(done)
        await asyncio.sleep(PAUSE)
        if not disturbed:
            return
        await asyncio.to_thread(await_calm, MOST_STOLEN, PATIENCE)


async def _round_or_repeat(scene: _Scene, workload: Workload, peer: str, run: Run) -> Round:
    """One round. After a failure the program is started anew, warmed up and asked once more; the failure is kept in the run."""
    try:
        return await _round(scene, workload, peer)
    except LineProgramError as error:
        if UNSUPPORTED in str(error):
            raise
        run.mishaps.append(Mishap(workload.name, peer, str(error).strip()))
        scene.stage.notice(f"{workload.name} {peer} failed and is repeated: {error}")
    await scene.stage.stop(peer)
    if not workload.fresh_process:
        await _round(scene, workload, peer)
    return await _round(scene, workload, peer)


async def _prepare_topic(stage: _Stage, family: Family) -> str:
    """The topic of a family, with its backlog of messages numbered from 0, each of them once."""
    if not family.backlog:
        return await stage.create_topic(family.name, family.queues)
    filler = await stage.program(REFERENCE)
    size = family.workloads[0].size
    for _ in range(BACKLOG_TRIES):
        topic = await stage.create_topic(family.name, family.queues)
        answer = await filler.call("send_in_flight", topic=topic, size=size, count=family.backlog, window=64, timeout=ROUND_TIMEOUT)
        # A broker that is short of CPU refuses some sends; one that was refused after all may be stored, so both are looked at.
        if answer["failed"] == 0 and await stage.stored(topic, family.queues) == family.backlog:
            return topic
    raise LineProgramError(f"the broker did not take the backlog of {family.backlog} messages in {BACKLOG_TRIES} tries")


async def _round(scene: _Scene, workload: Workload, peer: str) -> Round:
    stage, family = scene.stage, scene.family
    program = await stage.program(peer)
    topic = await stage.create_topic(workload.name, family.queues) if workload.fresh_topic else scene.topic
    arguments: dict[str, Any] = {
        "topic": topic,
        "size": workload.size,
        "count": workload.scaled(PEERS[peer].part).count,
        "group": f"bench_{uuid.uuid4().hex[:8]}",  # a new group reads the topic from its beginning
        **workload.arguments,
    }
    if workload.distinct:
        arguments["distinct"] = workload.count
    before = Ticks.now()
    if workload.fresh_process:
        async with await asyncio.to_thread(PEERS[peer].start, stage.cluster) as fresh:
            answer = await fresh.call(workload.command, timeout=ROUND_TIMEOUT, **arguments)
    elif workload.stored:
        answer = await _counted_by_the_broker(stage, program, workload.command, family.queues, arguments)
    else:
        answer = await program.call(workload.command, timeout=ROUND_TIMEOUT, **arguments)
    stolen = share(before, Ticks.now())
    latencies = answer.get("latency_us")
    return Round(
        workload=workload.name,
        peer=peer,
        number=0,
        warm_up=False,
        count=answer["count"],
        failed=answer["failed"],
        seconds=answer["seconds"],
        cpu_seconds=answer["cpu_seconds"],
        rss_bytes=answer.get("rss_bytes", 0),
        latency_us={name: round(value, 1) for name, value in latencies.items()} if latencies else None,
        stolen=None if stolen is None else round(stolen, 3),
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
