"""Child processes that never outlive the test run: own process group, log in a file, bounded start and stop."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

# The child runs beside a guard that holds the read end of our pipe: when this process goes, by whatever death, the pipe ends and the
# guard kills the child. (PR_SET_PDEATHSIG would fire when the *thread* that forked ends.)
_GUARD = """
exec 3<&0
"$@" </dev/null 3<&- & child=$!
{ cat <&3 >/dev/null; kill -KILL $child; } 2>/dev/null & guard=$!
exec 3<&-
trap : TERM INT
wait $child; code=$?
while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
kill $guard 2>/dev/null
exit $code
"""


class StartError(Exception):
    """A child process did not become ready; the message carries the end of its log."""


class Child:
    """One background process with its output in a file.

    Args:
        command: Program and arguments.
        log: File that receives standard output and standard error; started anew.
        env: Additions to the environment.
    """

    def __init__(self, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self.command = list(command)
        self.log = log
        with log.open("wb") as sink:
            self._popen = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "guard", *self.command],
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id of the group's leader."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self._popen.poll() is None

    def wait_for_log(self, text: str, timeout: float) -> None:
        """Block until the log holds `text`.

        Raises:
            StartError: The process ended, or `timeout` seconds passed.
        """
        deadline = time.monotonic() + timeout
        while text not in self.log.read_text(errors="replace"):
            if not self.alive:
                raise StartError(f"{self._name} ended with code {self._popen.returncode} before {text!r}:\n{self.tail()}")
            if time.monotonic() >= deadline:
                self.kill()
                raise StartError(f"{self._name} did not say {text!r} within {timeout:g} s:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self, lines: int = 40) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def kill(self) -> None:
        """SIGKILL to the whole group, and reap it."""
        self._signal(signal.SIGKILL)
        self._popen.wait()
        self._await_group_end()
        self._close_pipe()

    def terminate(self, timeout: float = 10.0) -> None:
        """SIGTERM to the whole group; SIGKILL when it still lives after `timeout` seconds."""
        self._signal(signal.SIGTERM)
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._popen.wait()
        self._signal(signal.SIGKILL)  # whatever of the group outlived its leader
        self._close_pipe()

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal, for example SIGSTOP, to the whole group."""
        self._signal(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.terminate()

    @property
    def _name(self) -> str:
        return " ".join(self.command[:1] + self.command[-3:])

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    def _await_group_end(self, limit: float = 2.0) -> None:
        # The leader is reaped above; its children free their ports and files a moment later.
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.01)

    def _close_pipe(self) -> None:
        if self._popen.stdin is not None:
            self._popen.stdin.close()


def free_port(*, around: Sequence[int] = (0,), host: str = "127.0.0.1") -> int:
    """A port p such that p + each offset of `around` is free now.

    It lies below the range from which the system takes the ports of outgoing connections, so that nothing can take it (or connect to
    itself on it) while a server on it is down for a restart.
    """
    for _ in range(500):
        port = random.randint(12_000, max(_ephemeral_low(), 30_000) - 10)
        if all(_is_free(host, port + offset) for offset in around):
            return port
    raise StartError("no free port below the ephemeral range")


def _ephemeral_low() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_768


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
