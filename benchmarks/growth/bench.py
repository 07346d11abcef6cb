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
    forms: Sequence[str] = (forms.FAST, forms.PLAIN)
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


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured process, which has its request.

    Attributes:
        name: For people.
        form: Form of the client.
        request: What is measured.
        process: The process.
        log: Its standard error.
        pause: Watches for standstills.
    """

    name: str
    form: str
    request: Row
    process: asyncio.subprocess.Process
    log: Path
    pause: Standstill = field(default_factory=Standstill)

    def tell(self, message: Row) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")

    async def ready(self, timeout: float) -> None:
        """Wait until it has come to its `line.turn()`.

        Raises:
            MeasureError: It has not within `timeout` seconds, or ended.
        """
        await self._read("ready", timeout, None)

    def go(self) -> None:
        """Let it go on from there."""
        self.tell({"go": True})

    async def result(self, timeout: float, report: Callable[[Row], None] | None = None) -> Row:
        """Wait for its result.

        Args:
            timeout: Seconds that it may take from now on.
            report: Called with each report before.

        Raises:
            MeasureError: There was none.
            RuntimeError: The process was not in the form that it was meant to be in.
        """
        found = await self._read("result", timeout, report)
        forms.check(self.form, found)
        return found

    async def _read(self, kind: str, timeout: float, report: Callable[[Row], None] | None) -> Row:
        stream = self.process.stdout
        assert stream is not None
        try:
            async with asyncio.timeout(timeout):
                async for line in stream:
                    message = json.loads(line) if line.startswith(b"{") else {}
                    if kind in message:
                        answer: Row = message[kind]
                        return answer
                    if report is not None and "report" in message:
                        report(message["report"])
                raise MeasureError(f"{self.name} ended with code {await self.process.wait()} and no {kind}:\n{tail(self.log)}")
        except TimeoutError:
            raise MeasureError(f"{self.name} took more than {timeout:g} s{self.pause} for {self.request}:\n{tail(self.log)}") from None


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
        async with self.process(module, form, request) as running:
            return await running.result(timeout, report)

    @contextlib.asynccontextmanager
    async def process(self, module: str, form: str, request: Row) -> AsyncIterator[Measured]:
        """The same process for who has to do more with it than to wait; it ends with the block."""
        self._started += 1
        log = self.options.folder / f"{self._started:03d}-{module}-{form}.log"
        env = forms.environment(form, self.options.folder)
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", _MODULE, module,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
                env=env, cwd=forms.ROOT, limit=_LINE_LIMIT, start_new_session=True,
            )  # fmt: skip
        running = Measured(f"{module} {form}", form, request, process, log)
        try:
            async with running.pause.watching():
                running.tell(request)
                yield running
        finally:
            await _end(process)
        if running.pause.seconds:
            self.tell(f"{running.name}: measure it again{running.pause}")

    async def warm_up(self, request: Row, count: int = 100_000) -> None:
        """Send so much that the JVM of a real broker has compiled what every row needs; the first row would pay for it."""
        form = self.options.forms[0]
        row = {"producers": 1, "count": count, "warm_up": 1, "group": unique("warm_up"), "window": 256}
        await self.measure("producers", form, {**request, **row}, timeout=300.0)


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
