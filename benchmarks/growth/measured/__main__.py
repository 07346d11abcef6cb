"""The measured process: one request on standard input, any number of reports and one result as lines of JSON on standard output.

`python -m benchmarks.growth.measured MODULE` runs `measure(request, tell)` of that module here, on the loop that the form asks for.
It ends at once when its standard input does: nobody waits for the result any more.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from typing import Any, Final

from aiorocketmq.remoting.event_loop import new_event_loop
from benchmarks.growth import forms

ABANDONED: Final = 3
"""Exit code of a process whose starter went away."""


def _say(kind: str, content: object) -> None:
    print(json.dumps({kind: content}), flush=True)


async def _run(module: str, request: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    measure = importlib.import_module(f"benchmarks.growth.measured.{module}").measure
    loop.add_reader(0, lambda: os.read(0, 4096) or os._exit(ABANDONED))
    try:
        result = await measure(request, lambda report: _say("report", report))
    finally:
        loop.remove_reader(0)
    _say("result", {**result, **forms.describe(loop)})


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.readline())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_run(sys.argv[1], request))


if __name__ == "__main__":
    main()
