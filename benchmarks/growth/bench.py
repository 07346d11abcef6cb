"""What the families of cases share: the options of a run, and measured processes, one for each row."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.growth import forms

Row = dict[str, Any]
"""One line of a result: plain values, as they go into JSON."""
_LINE_LIMIT: Final = 16 * 1024 * 1024
_LOOK: Final = 0.5
_STANDSTILL: Final = 5.0
"""Seconds that a process may be kept waiting for the processor before something worse is supposed."""
_MODULE: Final = "benchmarks.growth.measured"


class MeasureError(Exception):
    """A measured process failed, ended, or kept silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asked for.

    Attributes:
        folder: For stubs and logs; exists.
        forms: Forms of the client to measure.
        quick: Small sizes and short windows: tries the benchmark out, and says nothing about the client.
        sizes: Sizes to measure in place of a family's own; empty for those.
        idle: Seconds of an idle window; None takes the family's own.
        minutes: Minutes of the soak; None takes its own.
        servers: Kinds of servers for the idle cases: `real`, `embedded`.
        version: Release of the real server.
    """

    folder: Path
    forms: Sequence[str] = tuple(forms.FORMS)
    quick: bool = False
    sizes: Sequence[int] = ()
    idle: float | None = None
    minutes: float | None = None
    servers: Sequence[str] = ("real",)
    version: str = ""


class Standstill:
    """Notices that the whole machine stood still, as a suspended virtual one does: what was measured meanwhile is worth nothing.

    Attributes:
        seconds: How long it stood still; 0 when it did not.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last = time.monotonic()

    def __str__(self) -> str:
        return f" (the machine stood still for {self.seconds:.0f} s)" if self.seconds else ""

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch while the block runs."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self._look()
            task.cancel()

    async def _watch(self) -> None:
        while True:
            self._last = time.monotonic()
            await asyncio.sleep(_LOOK)
            self._look()

    def _look(self) -> None:
        late = time.monotonic() - self._last - _LOOK
        if late > _STANDSTILL:
            self.seconds += late


@dataclass(slots=True)
class Bench:
    """One run. Mutable: it counts the processes.

    Attributes:
        options: What was asked for.
        tell: Called with a line of progress for people.
    """

    options: Options
    tell: Callable[[str], None]
    _started: int = field(default=0, init=False)

    def sizes(self, full: Sequence[int], quick: Sequence[int]) -> Sequence[int]:
        """The sizes to measure."""
        return self.options.sizes or (quick if self.options.quick else full)

    def pick(self, full: float, quick: float) -> float:
        """A number for a full run, or for a quick one."""
        return quick if self.options.quick else full

    async def measure(self, module: str, form: str, request: Row, *, timeout: float, report: Callable[[Row], None] | None = None) -> Row:
        """Run `benchmarks.growth.measured.<module>.measure(request)` in a process of its own.

        Args:
            module: The family's module.
            form: Form of the client.
            request: What is measured.
            timeout: Seconds that it may take.
            report: Called with each report of the process.

        Returns:
            The result.

        Raises:
            MeasureError: There was no result.
        """
        self._started += 1
        log = self.options.folder / f"{self._started:03d}-{module}-{form}.log"
        env = forms.environment(form, self.options.folder)
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", _MODULE, module,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
                env=env, cwd=forms.ROOT, limit=_LINE_LIMIT, start_new_session=True,
            )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        pause = Standstill()
        try:
            async with pause.watching(), asyncio.timeout(timeout):
                process.stdin.write(json.dumps(request).encode() + b"\n")
                result = await self._read(process.stdout, report)
                if result is None:
                    raise MeasureError(f"{module} {form} ended with code {await process.wait()} and no result:\n{tail(log)}")
        except TimeoutError:
            raise MeasureError(f"{module} {form} took more than {timeout:g} s{pause} for {request}:\n{tail(log)}") from None
        finally:
            await _end(process)
        forms.check(form, result)
        if pause.seconds:
            self.tell(f"{module} {form}: measure it again{pause}")
        return result

    async def warm_up(self, request: Row, count: int = 100_000) -> None:
        """Send so much that the JVM of a real broker has compiled what every row needs; the first row would pay for it."""
        form = self.options.forms[0]
        row = {"producers": 1, "count": count, "warm_up": 1, "group": unique("warm_up"), "window": 256}
        await self.measure("producers", form, {**request, **row}, timeout=300.0)

    async def _read(self, stream: asyncio.StreamReader, report: Callable[[Row], None] | None) -> Row | None:
        async for line in stream:
            if not line.startswith(b"{"):
                continue
            message = json.loads(line)
            if "result" in message:
                result: Row = message["result"]
                return result
            if report is not None:
                report(message["report"])
        return None


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let it end by itself, or end it."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), 10.0)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def tail(log: Path) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-3000:]


def unique(name: str) -> str:
    """A name that no other row has."""
    return f"growth_{name}_{uuid.uuid4().hex[:8]}"
