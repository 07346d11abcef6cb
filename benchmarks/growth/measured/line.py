"""The line between a measured process and its starter: lines of JSON on standard output, and what follows the request on standard input."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Final

ABANDONED: Final = 3
"""Exit code of a process whose starter went away."""
_going = asyncio.Event()


def say(kind: str, content: object) -> None:
    """Tell the starter something: a `report`, the `result`, or that this process is `ready`."""
    print(json.dumps({kind: content}), flush=True)


def listen() -> None:
    """Hear the starter while the loop runs; without a starter nobody waits for the result any more, and the process ends at once."""
    asyncio.get_running_loop().add_reader(0, _heard)


def stop_listening() -> None:
    """Undo `listen()`."""
    asyncio.get_running_loop().remove_reader(0)


async def turn() -> None:
    """Wait until the starter says that it goes on; processes that are measured side by side wait for each other here."""
    say("ready", {})
    await _going.wait()


def _heard() -> None:
    if os.read(0, 4096):
        _going.set()
    else:
        os._exit(ABANDONED)
