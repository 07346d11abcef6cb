"""A program on a string: one JSON request per line on its standard input, one JSON answer per line on its standard output."""

from __future__ import annotations

import asyncio
import json
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self


class LineProgramError(Exception):
    """The program failed, ended, kept silent, or answered an error."""


class LineProgram:
    """Runs the program. The end of its input asks it to shut down and end.

    Requests are answered in order. Output lines that are no JSON object are ignored: libraries print. It may serve several event
    loops in turn, so a slow starter can be shared by many tests.

    Args:
        name: For error messages.
        command: Program and arguments.
        errors: File that receives standard error.
        cwd: Folder to run in.
        env: Its environment; None for that of this process.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, errors: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._command = list(command)
        self._errors = errors
        self._cwd = cwd
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._turn = threading.Lock()
        self._reader = threading.Thread(target=self._read, name=f"{name}-reader", daemon=True)

    def start(self) -> Self:
        """Start the program; does not wait until it is ready."""
        with self._errors.open("wb") as sink:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                cwd=self._cwd,
                env=self._env,
                start_new_session=True,
            )
        self._reader.start()
        return self

    def stop(self, timeout: float = 20.0) -> None:
        """End its input and wait for its end; kill it after `timeout` seconds."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    async def call(self, command: str, /, *, timeout: float = 60.0, **arguments: Any) -> dict[str, Any]:
        """Send one request and await its answer.

        Raises:
            LineProgramError: The program answered an error, ended, or kept silent for `timeout` seconds.
        """
        return await asyncio.to_thread(self._call, command, arguments, timeout)

    def _call(self, command: str, arguments: dict[str, Any], timeout: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        with self._turn:
            try:
                self._process.stdin.write(json.dumps({"cmd": command, **arguments}).encode() + b"\n")
                self._process.stdin.flush()
                answer = self._answers.get(timeout=timeout)
            except (queue.Empty, OSError) as error:
                raise LineProgramError(f"{self.name} {command}: {error!r}\n{self._stderr()}") from error
        if answer is None:
            raise LineProgramError(f"{self.name} ended during {command}:\n{self._stderr()}")
        if "error" in answer:
            raise LineProgramError(f"{self.name} {command}: {answer['error']}\n{self._stderr()}")
        return answer

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(b"{"):
                self._answers.put(json.loads(line))
        self._answers.put(None)

    def _stderr(self) -> str:
        return self._errors.read_text(errors="replace")[-3000:]
