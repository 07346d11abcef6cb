"""What the demo tells: lines while it runs, verdicts at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aiorocketmq.cli.render import Form, console, json_line


@dataclass(frozen=True, slots=True)
class Check:
    """One verdict.

    Attributes:
        scene: The scene it belongs to.
        what: What was to be seen.
        seen: What was seen.
        ok: Whether that is right.
    """

    scene: str
    what: str
    seen: str
    ok: bool


def shorten(words: Sequence[str], most: int = 10) -> str:
    """Words on one line; the middle of a long list is left out."""
    if len(words) <= most:
        return " ".join(words)
    half = most // 2
    return " ".join([*words[:half], f"… {len(words) - 2 * half} more …", *words[-half:]])


def latencies(seconds: Sequence[float]) -> str:
    """The middle and the slow end of some latencies, in milliseconds."""
    if not seconds:
        return "-"
    ordered = sorted(seconds)
    slow = ordered[min(len(ordered) - 1, math.ceil(len(ordered) * 0.99) - 1)]
    return f"p50 {ordered[len(ordered) // 2] * 1000:.1f} ms, p99 {slow * 1000:.1f} ms"


class Teller:
    """Prints the demo as it goes; in JSON form only the verdicts, at the end."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._console: Any = console() if form == "table" else None

    def say(self, text: str, style: str = "") -> None:
        """One line."""
        if self._console is not None:
            self._console.print(text, style=style or None, markup=False)

    def scene(self, name: str, what: str) -> None:
        """A scene begins."""
        self.say(f"\n{name}: {what}", "bold cyan")

    def sent(self, words: Sequence[str], extra: str = "") -> None:
        """What was sent, in order."""
        self.say(f"  sent {len(words):>3}  {shorten(words)}{'  ' + extra if extra else ''}")

    def came(self, words: Sequence[str], seconds: Sequence[float] = (), who: str = "") -> None:
        """What came, in order, and how long after it was sent."""
        took = f"  [{latencies(seconds)}]" if seconds else ""
        self.say(f"  came {len(words):>3}  {who + ': ' if who else ''}{shorten(words)}{took}")

    def verdicts(self, checks: Sequence[Check], seconds: float, where: str) -> None:
        """The table of verdicts, or the JSON object that holds them."""
        good = sum(check.ok for check in checks)
        if self._form == "json":
            json_line(
                {
                    "ok": good == len(checks),
                    "checks": [asdict(check) for check in checks],
                    "seconds": round(seconds, 3),
                    "cluster": where,
                }
            )
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, header_style="bold")
        for column in ("scene", "expected", "seen", "verdict"):
            table.add_column(column, overflow="fold")
        for check in checks:
            verdict = Text("ok", style="green") if check.ok else Text("WRONG", style="bold red")
            table.add_row(Text(check.scene), Text(check.what), Text(check.seen), verdict)
        self.say("")
        self._console.print(table)
        self.say(f"{good} of {len(checks)} as expected, on {where}, in {seconds:.1f} s", "green" if good == len(checks) else "bold red")
