"""What a process holds and uses: read inside the measured one, and from outside for servers. Needs Linux: it reads `/proc`."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from pathlib import Path
from typing import Any, Final

KIB: Final = 1024
MIB: Final = 1024 * 1024
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_ESTABLISHED: Final = "01"


def size_name(size: int) -> str:
    """A number of bytes for people."""
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} B"


class Meter:
    """Wall clock and CPU (user and system) of this process from now on."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start to measure anew."""
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._wall

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds since the beginning."""
        return time.process_time() - self._cpu


def rss(pid: int | str = "self") -> int:
    """Resident memory in bytes."""
    return _status(pid, "VmRSS:") * KIB


def threads() -> int:
    """Threads of this process."""
    return _status("self", "Threads:")


def descriptors() -> int:
    """Open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd")) - 1  # one of them lists the others


def connections() -> int:
    """Established TCP connections of this process."""
    inodes = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[len("socket:[") : -1])
    found = 0
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/self/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            found += fields[3] == _ESTABLISHED and fields[9] in inodes
    return found


def timers(loop: asyncio.AbstractEventLoop) -> int:
    """Timers that wait in the loop. uvloop keeps no list of them, but its handles are known to the garbage collector."""
    scheduled = getattr(loop, "_scheduled", None)
    if scheduled is not None:
        return sum(not handle.cancelled() for handle in scheduled)
    handles = [each for each in gc.get_objects() if type(each).__name__ == "TimerHandle" and type(each).__module__ == "uvloop.loop"]
    return sum(not handle.cancelled() for handle in handles)


def holdings() -> dict[str, Any]:
    """All of the above at this moment. The calling task is not counted among the tasks."""
    gc.collect()
    return {
        "rss": rss(),
        "tasks": len(asyncio.all_tasks()) - 1,
        "timers": timers(asyncio.get_running_loop()),
        "connections": connections(),
        "descriptors": descriptors(),
        "threads": threads(),
    }


def tree(pid: int) -> list[int]:
    """A process and all its descendants that live."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except FileNotFoundError:
            continue
    return found


def usage(pid: int) -> dict[str, float]:
    """CPU seconds until now, to 10 ms, and resident bytes of a process with its descendants."""
    ticks = memory = 0
    for each in tree(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
            memory += rss(each)
        except FileNotFoundError:
            continue
    return {"cpu_seconds": ticks / _TICKS, "rss": memory}


def disk_bytes(folder: Path) -> int:
    """Bytes that the files below a folder really take on the disk."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def _status(pid: int | str, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0
