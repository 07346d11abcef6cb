"""What several servers have answered, with nothing thrown away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiorocketmq.errors import PartialError, RocketMQError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Partial(Generic[T]):
    """The answers of the servers that were asked, and the errors of those that failed.

    Attributes:
        what: What was done, in words.
        answers: Name of the broker, or address of the name server → its answer, sorted by it. Those that had nothing to say are left out.
        errors: The same → what went wrong there.
    """

    what: str
    answers: Mapping[str, T]
    errors: Mapping[str, Exception]

    @property
    def ok(self) -> bool:
        """True when none has failed."""
        return not self.errors

    def require(self) -> Mapping[str, T]:
        """The answers, when none has failed.

        Raises:
            PartialError: Some failed; its `result` has the answers of the others.
            RocketMQError: All failed: the first error.
        """
        return self.joined(dict)

    def map(self, function: Callable[[T], R]) -> Partial[R]:
        """The same with other values."""
        return Partial(self.what, {name: function(answer) for name, answer in self.answers.items()}, self.errors)

    def joined(self, join: Callable[[Mapping[str, T]], R]) -> R:
        """What all answers give together.

        Args:
            join: Makes it from the answers by name.

        Raises:
            PartialError: Some failed; its `result` is what the answers of the others give together.
            RocketMQError: All failed: the first error.
        """
        if not self.errors:
            return join(self.answers)
        first = next(iter(self.errors.values()))
        if not self.answers or not all(isinstance(error, RocketMQError) for error in self.errors.values()):
            raise first
        told = "; ".join(f"{name}: {error}" for name, error in self.errors.items())
        raise PartialError(
            f"{self.what}: {len(self.errors)} of {len(self.errors) + len(self.answers)} servers failed: {told}",
            result=join(self.answers),
            errors=self.errors,
            hint="`result` holds what the others answered",
            cause=first,
        )
