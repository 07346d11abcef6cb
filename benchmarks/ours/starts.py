"""How long things take from nothing: a program until its first message, an import, an embedded server inside a program."""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.ours.meter import Answer, Meter

APP = Path(__file__).with_name("app.py")
IMPORTS = 7
"""Pairs of processes, of which one imports the package and one does nothing."""
STARTS = 10


async def _run(*words: str) -> tuple[float, float]:
    """Run a program of this Python to its end; answers wall and CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdin=asyncio.subprocess.DEVNULL)
    code = await process.wait()
    seconds = time.perf_counter() - began
    if code:
        raise ValueError(f"{words[0]} ended with code {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def cold_start(name_servers: str, request: dict[str, Any]) -> Answer:
    """From exec of a program with one consumer to the first message in its listener, at which it ends at once."""
    seconds, cpu = await _run(str(APP), name_servers, request["topic"], request["group"])
    return {"count": 1, "failed": 0, "seconds": seconds, "cpu_seconds": cpu}


async def import_time(name_servers: str, request: dict[str, Any]) -> Answer:
    """`import aiorocketmq`, in the middle of several pairs of processes."""
    pairs = [(await _run("-c", "import aiorocketmq"), await _run("-c", "pass")) for _ in range(IMPORTS)]
    seconds, cpu = (median(own[kind] - empty[kind] for own, empty in pairs) for kind in (0, 1))
    return {"count": 1, "failed": 0, "seconds": max(seconds, 0.0), "cpu_seconds": max(cpu, 0.0)}


async def local_start(name_servers: str, request: dict[str, Any]) -> Answer:
    """`LocalCluster.start()`, in the middle of several; its import and the first start are among the further figures."""
    began = time.perf_counter()
    from aiorocketmq.server import LocalCluster

    imported = time.perf_counter() - began
    meter = Meter()
    starts = []
    for _ in range(STARTS):
        cluster = LocalCluster()
        began = time.perf_counter()
        await cluster.start()
        starts.append(time.perf_counter() - began)
        await cluster.stop()
    return meter.answer(1) | {"seconds": median(starts), "more": {"import": imported, "first": starts[0]}}
