"""What a sequence is made of: commands, and the plan that their parameters are drawn from."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.foreign.differential.peer import Peer, Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(ABC):
    """One step: the same on both servers.

    Attributes:
        number: Its place in the sequence as it was generated; others name its messages by that.
    """

    weight: ClassVar[int] = 10
    """How often it is drawn."""

    makes: ClassVar[bool] = False
    """A real broker makes the group that it names, whatever it answers."""

    number: int = 0

    @abstractmethod
    def play(self, peer: Peer) -> Seen | list[Seen]:
        """Do it on one server, and tell everything that was seen."""

    @classmethod
    @abstractmethod
    def draw(cls, plan: Plan) -> Command | None:
        """One with parameters that make sense, or nearly so; None when there is nothing yet that it could be about."""


@dataclass(slots=True)
class Plan:
    """What is known while a sequence is generated; mutable."""

    random: random.Random
    sends: list[int] = field(default_factory=list)
    """Numbers of the commands that may have stored messages."""
    number: int = 0

    def one(self, *choices: Any) -> Any:
        """One of some values."""
        return self.random.choice(choices)

    def mostly(self, usual: Any, *others: Any, chance: float = 0.15) -> Any:
        """The usual value, seldom one of the others."""
        return self.random.choice(others) if self.random.random() < chance else usual

    def text(self, usual: str, *others: str, chance: float) -> str:
        """The same for texts."""
        return str(self.mostly(usual, *others, chance=chance))

    def topic(self) -> str:
        """A topic: mostly one that the sequence has made, sometimes one that is made by a send, seldom one that never is."""
        return self.text(self.one("t0", "t0", "t1", "t2"), "auto", "nowhere", chance=0.12)

    def group(self) -> str:
        """A consumer group."""
        return self.text(self.one("g0", "g0", "g1"), f"new{self.number}", chance=0.1)

    def queue(self) -> int:
        """A queue: topics have one to three."""
        return int(self.mostly(self.one(0, 0, 1), 2, 3, 7, chance=0.15))

    def sent(self) -> int | None:
        """A command that stored messages."""
        return self.random.choice(self.sends) if self.sends else None


COMMANDS: list[type[Command]] = []


def command(kind: type[Command]) -> type[Command]:
    """Let sequences have this command."""
    COMMANDS.append(kind)
    return kind


Drawn = Callable[[Plan], Command | None]
