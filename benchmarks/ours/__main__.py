"""The program `python -m benchmarks.ours HOST:PORT`: one JSON request per line on standard input, one JSON answer per line back."""

from __future__ import annotations

import asyncio
import json
import sys

from aiorocketmq.remoting.event_loop import new_event_loop
from benchmarks.ours import form
from benchmarks.ours.asyncio_peer import AsyncioPeer


async def main(name_servers: str) -> None:
    """Answer requests until the end of input."""
    loop = asyncio.get_running_loop()
    peer = AsyncioPeer(name_servers)
    try:
        while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
            print(json.dumps(await peer.answer(json.loads(line))), flush=True)
    finally:
        await peer.stop()


if __name__ == "__main__":
    form.choose()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main(sys.argv[1]))
