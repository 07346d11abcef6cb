"""A group whose members, of Java and of Python, each a process, join, leave and are killed; and what the files of all of them tell."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import java
from tests.support.clusters import EMBEDDED, Cluster
from tests.support.processes import Child

LANGUAGES = ("java", "python")
MOST = 6
"""Members at a time."""
FOLDER = Path(__file__).parent


@dataclass
class Call:
    """One call of a listener, in milliseconds since the epoch; it has no end when its member was killed in it."""

    member: str
    number: int
    queue: int
    offset: int
    times: int
    begin: int
    end: int | None = None


@dataclass
class Member:
    """One consumer: its process, while it lives, and what its file has told so far.

    Attributes:
        gone: Milliseconds since the epoch; None while it lives.
    """

    name: str
    language: str
    child: Child
    file: Path
    queues: frozenset[int] = frozenset()
    calls: list[Call] = field(default_factory=list)
    gone: int | None = None
    started: bool = False
    ended: bool = False
    _read: int = 0
    _open: dict[tuple[str, ...], Call] = field(default_factory=dict)

    def look(self) -> None:
        """Read what is new in its file."""
        if not self.file.exists():
            return
        with self.file.open("rb") as lines:
            lines.seek(self._read)
            text = lines.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode().splitlines():
            at, what, *rest = line.split()
            self._take(int(at), what, rest)

    def _take(self, at: int, what: str, rest: list[str]) -> None:
        if what == "own":
            self.queues = frozenset(map(int, rest))
        elif what == "start":
            self.started = True
        elif what == "end":
            self.ended = True
        elif what == "got":
            number, queue, offset, times = map(int, rest)
            call = self._open[tuple(rest)] = Call(self.name, number, queue, offset, times, at)
            self.calls.append(call)
        else:
            self._open.pop(tuple(rest)).end = at


class Crowd:
    """The members. `seed` decides who joins, leaves and is killed; without `kills` nobody is."""

    def __init__(self, cluster: Cluster, group: str, topic: str, kind: str, folder: Path, seed: int, *, kills: bool) -> None:
        version = java.NEWEST if cluster.kind == EMBEDDED else cluster.kind
        self._arguments = [cluster.name_servers, group, topic, kind, "3"]
        self._classpath: list[Path | str] = [f"{java.jars(version)}/*", java.compiled(FOLDER / "java", version)]
        self._folder = folder
        self._dice = random.Random(seed)
        self._ends = ["leave", "kill"] if kills else ["leave"]
        self.members: list[Member] = []
        self.steps: Counter[str] = Counter()

    @property
    def alive(self) -> list[Member]:
        return [member for member in self.members if member.gone is None]

    def look(self) -> None:
        for member in self.members:
            member.look()

    def calls(self) -> Iterable[Call]:
        return (call for member in self.members for call in member.calls)

    async def step(self) -> None:
        """One member joins, leaves or is killed; at least one of each language stays."""
        spare = [member for member in self.alive if sum(other.language == member.language for other in self.alive) > 1]
        what = self._dice.choice(["join"] * (len(self.alive) < MOST) * 2 + self._ends * bool(spare))
        if what == "join":
            self.join(self._dice.choice(LANGUAGES))
        else:
            await self.end(self._dice.choice(spare), what)

    def join(self, language: str) -> None:
        name = f"{language}-{len(self.members)}"
        file = self._folder / f"{name}.lines"
        if language == "java":
            home = self._folder / name
            home.mkdir()
            options = (*java.log_options(home), "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
            command = java.java_command("Member", *self._arguments, str(file), classpath=self._classpath, options=options)
        else:
            command = [sys.executable, "-m", "tests.foreign.mixed.member", *self._arguments, str(file)]
        child = Child(command, log=self._folder / f"{name}.log", cwd=java.ROOT, env={"PYTHONPATH": str(java.ROOT)})
        self.members.append(Member(name, language, child, file))
        self.steps[f"{language} join"] += 1

    async def end(self, member: Member, how: str) -> None:
        await asyncio.to_thread(member.child.kill if how == "kill" else lambda: member.child.terminate(30.0))
        member.gone = time.time_ns() // 1_000_000
        member.look()
        self.steps[f"{member.language} {how}"] += 1
        assert how == "kill" or member.ended or not member.started, f"{member.name} did not leave by itself: {member.child.tail()}"

    async def end_all(self, how: str) -> None:
        await asyncio.gather(*(self.end(member, how) for member in self.alive))

    def owned_once(self, queues: int) -> bool:
        """Every queue has one owner among those that live."""
        self.look()
        owned = sorted(queue for member in self.alive for queue in member.queues)
        return owned == list(range(queues)) and all(member.started for member in self.alive)


def _in_turn(calls: Iterable[Call]) -> list[Call]:
    # At one millisecond, what had begun before ends first: offsets go up.
    return sorted(calls, key=lambda call: (call.begin, call.offset))


def together(calls: Iterable[Call], gone: Mapping[str, int | None]) -> Iterator[tuple[Call, Call]]:
    """Calls of one queue that were under way at two members at the same time. `gone` tells when members that were killed in one died."""

    def end(call: Call) -> int:
        moment = gone[call.member] if call.end is None else call.end
        return sys.maxsize if moment is None else moment

    latest: Call | None = None
    for call in _in_turn(calls):
        if latest is not None and latest.member != call.member and call.begin < end(latest):
            yield latest, call
        if latest is None or end(call) >= end(latest):
            latest = call


def backwards(calls: Iterable[Call]) -> Iterator[tuple[Call, Call]]:
    """Neighbours of one queue whose first calls are in the wrong order."""
    firsts = {call.offset: call for call in reversed(_in_turn(calls))}
    return ((one, other) for one, other in itertools.pairwise(_in_turn(firsts.values())) if other.offset < one.offset)
