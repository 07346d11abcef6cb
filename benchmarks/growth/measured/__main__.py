"""The measured process: one request on standard input, any number of reports and one result on standard output.

`python -m benchmarks.growth.measured MODULE` runs `measure(request, tell)` of that module here, on the loop that the form asks for.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from typing import Any

from aiorocketmq.remoting.event_loop import new_event_loop
from benchmarks.growth.measured import about, line
from benchmarks.ours import form


async def _run(module: str, request: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    measure = importlib.import_module(f"benchmarks.growth.measured.{module}").measure
    line.listen()
    try:
        result = await measure(request, lambda report: line.say("report", report))
    finally:
        line.stop_listening()
    line.say("result", {**result, **about.describe(loop)})


def main() -> None:
    """Answer one request."""
    form.choose()
    request = json.loads(sys.stdin.readline())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_run(sys.argv[1], request))


if __name__ == "__main__":
    main()
