"""Generates sequences, plays them on both servers, compares, and shortens what differs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.foreign.differential import later, members, name_server, reading, sending, topics, watching
from tests.foreign.differential.command import COMMANDS, Command, Plan
from tests.foreign.differential.peer import Peer, Seen
from tests.foreign.differential.topics import DeleteGroup, DeleteTopic, PutGroup, PutTopic

FAMILIES = (sending, reading, topics, members, watching, later)
"""The modules whose commands are drawn."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two answers differ.

    Attributes:
        command: The command whose answers they are.
        path: The part of them: `remark`, `fields.queueId`, `body.0.properties.KEYS`.
        embedded: What the embedded server tells there.
        real: What the real one does.
        answers: Both whole answers, the embedded one first.
    """

    command: Command
    path: str
    embedded: Any
    real: Any
    answers: tuple[Seen, Seen] = field(default=({}, {}), repr=False)

    @property
    def signature(self) -> tuple[str, str]:
        """What stays the same while a sequence is shortened."""
        return type(self.command).__name__, self.path

    def __str__(self) -> str:
        return f"{self.path}\n      embedded {self.embedded!r}\n      real     {self.real!r}"


MISSING = "(nothing)"


def differences(command: Command, embedded: Any, real: Any, path: str = "", answers: tuple[Seen, Seen] = ({}, {})) -> Iterator[Difference]:
    """Every place at which two parsed values differ."""
    if isinstance(embedded, dict) and isinstance(real, dict):
        if "code" in real:
            answers = embedded, real
        for name in sorted({*embedded, *real}):
            yield from differences(command, embedded.get(name, MISSING), real.get(name, MISSING), f"{path}.{name}".lstrip("."), answers)
    elif isinstance(embedded, list) and isinstance(real, list) and len(embedded) == len(real):
        for index, (one, other) in enumerate(zip(embedded, real, strict=True)):
            yield from differences(command, one, other, f"{path}.{index}".lstrip("."), answers)
    elif embedded != real:
        yield Difference(command, path, embedded, real, answers)


def parted(embedded: Seen | list[Seen], real: Seen | list[Seen]) -> bool:
    """Whether one server did what the other refused: from here on they need not agree."""
    pairs = zip(embedded, real, strict=False) if isinstance(embedded, list) and isinstance(real, list) else ((embedded, real),)
    return any(ours.get("code") != theirs.get("code") for ours, theirs in pairs)  # type: ignore[union-attr]


def _bring_back(command: Command, embedded: Any, real: Any, peers: tuple[Peer, Peer]) -> None:
    """A real broker makes the topic or the group that a request names even when it refuses that: make it on both."""
    pairs = zip(embedded, real, strict=False) if isinstance(real, list) else [(embedded, real)]
    if not command.makes and all(ours.get("code", 0) == 0 and theirs.get("code", 0) == 0 for ours, theirs in pairs):
        return
    named = {getattr(command, "topic", ""), getattr(command, "group", "")}
    if isinstance(command, later.SendBack):
        named.add(f"%RETRY%{command.group}")
    for token in named & peers[0].absent if type(command) in COMMANDS else ():
        again = PutGroup(group=token) if token.startswith("g") else PutTopic(topic=token)
        for peer in peers:
            again.play(peer)


def _clean(peer: Peer, commands: Sequence[Command]) -> None:
    """A broker on which thousands of sequences are played must not fill up."""
    if not any(type(command) in COMMANDS for command in commands):
        peer.close()
        return
    groups = {getattr(command, "group", None) or "g0" for command in commands}
    try:
        for topic in {*peer.made, *(prefix + group for prefix in ("%RETRY%", "%DLQ%") for group in groups)}:
            if not topic.startswith("=") and "=" not in topic:
                DeleteTopic(topic=topic).play(peer)
        for group in groups:
            if not group.startswith("="):
                DeleteGroup(group=group, clean=True).play(peer)
    finally:
        peer.close()


SETUP: tuple[Command, ...] = (
    PutTopic(number=-3, topic="t0", read=3, write=3),
    PutTopic(number=-2, topic="t1", read=1, write=1),
    PutTopic(number=-1, topic="t2", read=2, write=2),
    PutGroup(number=-5, group="g0"),
    PutGroup(number=-4, group="g1"),
)


def generate(seed: object, length: int, *, transactions: bool = False) -> list[Command]:
    """A sequence for brokers; the same for the same seed. A real one keeps a processor busy from its first transaction on."""
    weights = [kind.weight or (12 if transactions else 0) for kind in COMMANDS]
    return [*SETUP, *_drawn(seed, length, COMMANDS, weights)]


def generate_for_name_server(seed: object, length: int) -> list[Command]:
    """A sequence for name servers."""
    kinds = name_server.COMMANDS
    return _drawn(seed, length, kinds, [kind.weight for kind in kinds])


def _drawn(seed: object, length: int, kinds: Sequence[type[Command]], weights: list[int]) -> list[Command]:
    plan = Plan(random.Random(f"{seed}"))
    found: list[Command] = []
    while len(found) < length:
        plan.number = len(found)
        drawn = plan.random.choices(kinds, weights)[0].draw(plan)
        if drawn is not None:
            found.append(drawn)
    return found


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a sequence.

    Attributes:
        unexplained: Differences that no rule knows, of the first command that has any.
        known: Names of the rules that explained the others.
        commands: How many were played.
    """

    unexplained: list[Difference]
    known: set[str]
    commands: int


Explain = Callable[[Difference], str]
"""The name of the rule that knows a difference, or ""."""


class Stage:
    """Two servers on which sequences are played.

    Args:
        embedded: Address of the embedded server.
        real: Address of the real one.
        scope: What all names begin with.
        explain: Knows the differences that may be.
    """

    def __init__(self, embedded: str, real: str, scope: str, explain: Explain) -> None:
        self._addresses = embedded, real
        self._scope = scope
        self._explain = explain
        self._numbers = itertools.count()

    def play(
        self, commands: Sequence[Command], trace: Callable[[Command, Seen | list[Seen], Seen | list[Seen]], None] | None = None
    ) -> Played:
        """Play a sequence with names of its own, up to the first command whose answers differ without an explanation."""
        scope = f"{self._scope}{next(self._numbers)}"
        ours, theirs = Peer("embedded", self._addresses[0], scope), Peer("real", self._addresses[1], scope)
        known: set[str] = set()
        try:
            for count, command in enumerate(commands, 1):
                embedded, real = command.play(ours), command.play(theirs)
                if trace is not None:
                    trace(command, embedded, real)
                unexplained = []
                for difference in differences(command, embedded, real):
                    rule = self._explain(difference)
                    known.add(rule) if rule else unexplained.append(difference)
                _bring_back(command, embedded, real, (ours, theirs))
                if unexplained or parted(embedded, real):
                    return Played(unexplained, known, count)
            return Played([], known, len(commands))
        finally:
            for peer in (ours, theirs):
                _clean(peer, commands)

    def shorten(self, commands: Sequence[Command], found: Difference) -> list[Command]:
        """The shortest sequence that differs in the same way which taking commands away finds."""

        def differs(attempt: list[Command]) -> bool:
            return any(each.signature == found.signature for each in self.play(attempt).unexplained)

        kept = list(commands)
        size = max(1, len(kept) // 2)
        while True:
            start = 0
            while start < len(kept):
                attempt = kept[:start] + kept[start + size :]
                if attempt and differs(attempt):
                    kept = attempt
                else:
                    start += size
            if size == 1:
                return kept
            size //= 2


def described(command: Command) -> str:
    """A command as it is written, without what has its usual value."""
    usual = type(command).__dataclass_fields__
    given = [f"{name}={getattr(command, name)!r}" for name in usual if getattr(command, name) != usual[name].default]
    return f"{type(command).__name__}({', '.join(given)})"


def report(seed: object, commands: Sequence[Command], found: Sequence[Difference]) -> str:
    """What a failure says."""
    steps = "".join(f"\n  {described(command)}," for command in commands)
    return f"sequence {seed}: the two servers differ after{steps}\n" + "".join(f"\n    {each}" for each in found)


__all__ = ["FAMILIES", "Difference", "Played", "Stage", "differences", "generate", "generate_for_name_server", "report"]
