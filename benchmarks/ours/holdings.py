"""What this process holds: read inside the measured one. Needs Linux: it reads `/proc`."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

_ESTABLISHED = "01"


def descriptors() -> int:
    """Open file descriptors."""
    return len(os.listdir("/proc/self/fd")) - 1  # one of them lists the others


def threads() -> int:
    """Threads."""
    return len(os.listdir("/proc/self/task"))


def connections() -> int:
    """Established TCP connections."""
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
    if scheduled is None:
        scheduled = [each for each in gc.get_objects() if type(each).__name__ == "TimerHandle" and type(each).__module__ == "uvloop.loop"]
    return sum(not handle.cancelled() for handle in scheduled)


def holdings() -> dict[str, float]:
    """All of the above at this moment. The calling task is not counted among the tasks."""
    gc.collect()
    return {
        "tasks": len(asyncio.all_tasks()) - 1,
        "timers": timers(asyncio.get_running_loop()),
        "connections": connections(),
        "descriptors": descriptors(),
        "threads": threads(),
    }
