"""The differences that may be: each has a name, which `docs/embedded-differences.md` tells the reason of."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.foreign.differential.play import MISSING, Difference


@dataclass(frozen=True, slots=True)
class Rule:
    """One difference that may be.

    Attributes:
        name: As the page calls it.
        holds: Whether a difference is of this kind.
        commands: Names of the commands that it is about; none for all.
    """

    name: str
    holds: Callable[[Difference], bool]
    commands: tuple[str, ...] = ()

    def explains(self, found: Difference) -> bool:
        """Whether a difference is of this kind."""
        return (not self.commands or type(found.command).__name__ in self.commands) and self.holds(found)


def _at(path: str, embedded: object = None, real: object = None) -> Callable[[Difference], bool]:
    """A part of the answer, with certain values where these are given."""

    def holds(found: Difference) -> bool:
        last = found.path.rpartition(".")[2]
        return last == path and embedded in (None, found.embedded) and real in (None, found.real)

    return holds


def _codes(found: Difference) -> tuple[Any, Any]:
    ours, theirs = found.answers
    return ours.get("code"), theirs.get("code")


def _remarks(found: Difference) -> tuple[str, str]:
    ours, theirs = found.answers
    return str(ours.get("remark", "")), str(theirs.get("remark", ""))


def _limit(found: Difference) -> bool:
    return _codes(found)[0] == 29 and re.match("the field '|The specified (topic|group)", _remarks(found)[0]) is not None


def _exception(found: Difference) -> bool:
    """The real server failed by an exception that it did not foresee; the embedded one refuses the same."""
    return _codes(found)[1] == 1 and re.search(r"java\.\w+\.\w+Exception", _remarks(found)[1]) is not None


def _wording(found: Difference) -> bool:
    ours, theirs = _codes(found)
    return ours == theirs != 0 and found.path.rpartition(".")[2] == "remark" and MISSING not in (found.embedded, found.real)


def _derived(found: Difference) -> bool:
    """Java writes every getter: a time once more as a text, in its own time zone."""
    return found.embedded == MISSING and re.search(r"TimeStampStr$", found.path) is not None


def _stale(found: Difference) -> bool:
    """The real one still names groups whose members do not want the topic any more."""
    return isinstance(found.embedded, list) and isinstance(found.real, list) and set(found.embedded) < set(found.real)


def _left_behind(found: Difference) -> bool:
    return found.path.startswith("body.pullOffsetTable.") and found.embedded == MISSING


RULES = (
    Rule("fingerprints of groups that were empty", _at("IS_SUB_CHANGE", "false", "true"), ("Heartbeat",)),
    Rule("pull offsets of deleted topics", _left_behind, ("Everything",)),
    Rule("groups that wanted a topic", lambda found: found.path == "body.groupList" and _stale(found), ("Figures",)),
    Rule("derived texts", _derived),
    Rule("language", _at("language", "PYTHON", "JAVA")),
    Rule("version", _at("version", 479, 513)),
    Rule("serialization", _at("serializeTypeCurrentRPC", MISSING, "JSON")),
    Rule("remark of a success", lambda found: _codes(found) == (0, 0) and _at("remark")(found)),
    Rule("limits of fields", _limit),
    Rule("exceptions of Java", _exception),
    Rule("SQL that cannot be read", lambda found: _codes(found)[0] == 23, ("Pull",)),
    Rule("wording", _wording),
)


def explain(found: Difference) -> str:
    """The name of the rule that knows a difference, or ""."""
    return next((rule.name for rule in RULES if rule.explains(found)), "")
