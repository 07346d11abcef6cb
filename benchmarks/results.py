"""What a run has seen: its rounds, what went wrong, the machine and the versions; kept as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

FORMAT = 1
ROOT = Path(__file__).resolve().parents[1]


class ResultsError(Exception):
    """A file is no stored run."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one peer did in one round of one workload.

    Attributes:
        workload: Name of the workload.
        peer: Who.
        number: From 0; rounds to warm up and measured ones are counted apart.
        warm_up: Shown, but not used.
        count: Messages.
        failed: Messages that were refused, damaged, repeated or lost.
        seconds: Wall time.
        cpu_seconds: CPU of the peer's process in that time.
        rss_bytes: Resident memory of the peer's process afterwards.
        latency_us: Percentiles in microseconds, by name; None where there are none.
        stolen: Part of the processor time that the host of a virtual machine gave to others meanwhile, 0 to 1; None when not known.
        more: Further figures, by name: what the process holds, what the server used.
    """

    workload: str
    peer: str
    number: int
    warm_up: bool
    count: int
    failed: int
    seconds: float
    cpu_seconds: float
    rss_bytes: int = 0
    latency_us: dict[str, float] | None = None
    stolen: float | None = None
    more: dict[str, float] | None = None

    @property
    def counts(self) -> bool:
        """True for a round that figures are made of."""
        return not self.warm_up

    @property
    def rate(self) -> float:
        """Messages per second that came out right."""
        return (self.count - self.failed) / self.seconds if self.seconds else 0.0

    @property
    def cpu_us(self) -> float:
        """CPU microseconds of the peer's process per message that came out right."""
        good = self.count - self.failed
        return self.cpu_seconds / good * 1e6 if good > 0 else 0.0

    def latency(self, name: str) -> float:
        """A percentile in microseconds; 0 when there is none."""
        return (self.latency_us or {}).get(name, 0.0)


@dataclass(frozen=True, slots=True)
class Mishap:
    """A round that failed and was repeated with a new process."""

    workload: str
    peer: str
    text: str


@dataclass(slots=True)
class Run:
    """One run: one broker, every program started anew.

    Attributes:
        label: Name for tables.
        about: Machine, versions, options; texts by name.
        rounds: Everything that was measured, in order.
        problems: What could not be measured: (workload, peer) and why.
        mishaps: Rounds that failed and were repeated.
    """

    label: str
    about: dict[str, str]
    rounds: list[Round] = field(default_factory=list)
    problems: dict[tuple[str, str], str] = field(default_factory=dict)
    mishaps: list[Mishap] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the run as JSON, one round on each line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "format": FORMAT,
            "label": self.label,
            "about": self.about,
            "problems": [{"workload": workload, "peer": peer, "text": text} for (workload, peer), text in self.problems.items()],
            "mishaps": [asdict(each) for each in self.mishaps],
            "rounds": [],
        }
        lines = [json.dumps(_compact(each), ensure_ascii=False, separators=(",", ":")) for each in self.rounds]
        text = json.dumps(document, ensure_ascii=False, indent=1)
        rounds = "[\n  " + ",\n  ".join(lines) + "\n ]" if lines else "[]"
        path.write_text(text.removesuffix("[]\n}") + rounds + "\n}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save()` wrote.

        Raises:
            ResultsError: The file is missing or holds no run of this format; names the file.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
        try:
            stored = json.loads(text)
            if stored["format"] != FORMAT:
                raise ResultsError(f"{path} has format {stored['format']}, not {FORMAT}: measure again")
            rounds = [Round(**each) for each in stored["rounds"]]
            problems = {(each["workload"], each["peer"]): each["text"] for each in stored["problems"]}
            mishaps = [Mishap(**each) for each in stored["mishaps"]]
            return cls(stored["label"], stored["about"], rounds, problems, mishaps)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ResultsError(f"{path} is not a stored run of the benchmarks: {error!r}") from error


def _compact(each: Round) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(each).items() if value is not None}
    fields["seconds"] = round(each.seconds, 6)
    fields["cpu_seconds"] = round(each.cpu_seconds, 6)
    return fields


def about_this_machine(server: str) -> dict[str, str]:
    """Machine and versions, as texts for people."""
    about = {
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": _output(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]),
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "broker": f"Apache RocketMQ {server}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "aiorocketmq": importlib.metadata.version("aiorocketmq"),
        "java": _output(["java", "-version"]),
        "go": _output(["go", "version"]).removeprefix("go version "),
        "go_client": _first(re.findall(r"rocketmq-client-go/v2 v(\S+)", _text(ROOT / "benchmarks" / "go" / "go.mod"))),
        "grpc_client": _text(ROOT / "benchmarks" / "grpc" / "requirements.txt").strip(),
    }
    return {name: text for name, text in about.items() if text}


def _output(command: list[str]) -> str:
    """First line that a program prints; "" when it is missing or fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False)
    return _first(done.stdout.splitlines()) if done.returncode == 0 else ""


def _text(path: Path) -> str:
    """What a file holds; "" when it is missing."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _cpu() -> str:
    return _first(re.findall(r"^model name\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)) or platform.processor()


def _memory() -> str:
    if not hasattr(os, "sysconf"):
        return ""
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1024**3:.0f} GiB"


def _first(lines: Iterable[str]) -> str:
    return next((line.strip() for line in lines), "")
