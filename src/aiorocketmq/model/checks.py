"""Checks of settings: durations, whole numbers, switches, members of enums, in one wording (Java: `Validators`, `checkConfig`).

Each takes the field's name and its value, gives back the plain value, and raises a `ConfigError` that names field, value and cure.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final, TypeVar

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.parsing import INT32_MAX, YEAR_10000
from aiorocketmq.wording import shown

__all__ = ["INT32_MAX", "YEAR_10000", "checked_hooks", "dropped", "duration", "flag", "member", "milliseconds", "whole"]

E = TypeVar("E", bound=Enum)

_ENDLESS: Final = float("inf")


def duration(name: str, value: object, low: float | None = None, high: float = _ENDLESS) -> float:
    """A duration as float seconds.

    Args:
        name: The field, as its user writes it.
        value: Seconds as a number, or a timedelta.
        low: Fewest seconds; None asks for more than 0.
        high: Most seconds.

    Raises:
        ConfigError: It is no duration (bool, str, None), not finite, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise ConfigError(f"{name} {shown(value)} is not a duration", hint="use seconds as a number, or a timedelta")
    try:
        amount = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except OverflowError:  # a whole number of more than 300 digits
        amount = _ENDLESS
    # NaN fails every comparison.
    if not (amount > 0 if low is None else amount >= low) or not amount <= high or amount == _ENDLESS:
        limits = "greater than 0" if low is None else f"of at least {low:g}" if high == _ENDLESS else f"from {low:g} to {high:g}"
        raise ConfigError(f"{name} {shown(value)} is out of range", hint=f"use a finite number of seconds {limits}")
    return amount


def whole(name: str, value: object, low: int = 1, high: int | None = None) -> int:
    """A whole number from `low` to `high`; None has no upper limit.

    Raises:
        ConfigError: It is no whole number (bool, float, str, None), or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} {shown(value)} is not a whole number", hint=_use_whole(low, high))
    if value < low or (high is not None and value > high):
        raise ConfigError(f"{name} {shown(value)} is out of range", hint=_use_whole(low, high))
    return int(value)


def flag(name: str, value: object) -> bool:
    """A switch.

    Raises:
        ConfigError: It is no bool: 1 and "yes" are none.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{name} {shown(value)} is not a bool", hint="use True or False")
    return value


def member(name: str, value: object, kind: type[E]) -> E:
    """A member of an enum.

    Raises:
        ConfigError: It is none, be it that it has a member's name or value.
    """
    if not isinstance(value, kind):
        members = ", ".join(f"{kind.__name__}.{each.name}" for each in kind)
        raise ConfigError(f"{name} {shown(value)} is not a {kind.__name__}", hint=f"use one of {members}")
    return value


def _use_whole(low: int, high: int | None) -> str:
    return f"use a whole number of at least {low}" if high is None else f"use a whole number from {low} to {high}"


def checked_hooks(hooks: object, methods: Sequence[str], kinds: str) -> tuple[Any, ...]:
    """The hooks that a client was given.

    Args:
        hooks: What was given.
        methods: Names of the methods of which a hook has at least one.
        kinds: What hooks may be, for the error.

    Raises:
        ConfigError: They are no list of hooks.
    """
    if isinstance(hooks, str | bytes) or not isinstance(hooks, Iterable):
        raise ConfigError(f"hooks {shown(hooks)} is not a list", hint=f"give a list of objects that are a {kinds}")
    given = tuple(hooks)
    for hook in given:
        found = [method for method in methods if callable(getattr(hook, method, None))]
        if not found or isinstance(hook, type):
            raise ConfigError(f"hook {shown(hook)} has none of the methods {', '.join(methods)}", hint=f"give an object that is a {kinds}")
        for method in found:
            if inspect.iscoroutinefunction(getattr(hook, method)):
                raise ConfigError(f"{method}() of hook {shown(hook)} is an async def, which nobody would await", hint="make it a def")
    return given


def dropped(answer: object) -> bool:
    """True when what a function gave is to be awaited, where nobody can; closed, or else the interpreter complains that nobody did."""
    if inspect.iscoroutine(answer):
        answer.close()
    return inspect.isawaitable(answer)


def milliseconds(name: str, at: object) -> int:
    """A time that a user gave, in milliseconds since the epoch.

    Raises:
        ConfigError: It is no time, or a datetime without a time zone.
    """
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ConfigError(f"{name} {at!r} has no time zone", hint="use datetime.now(UTC), or seconds since the epoch")
        at = at.timestamp()
    elif isinstance(at, bool) or not isinstance(at, int | float) or not abs(at) < YEAR_10000:
        raise ConfigError(f"{name} {at!r} is no time", hint="use an aware datetime, or seconds since the epoch")
    return round(at * 1000)
