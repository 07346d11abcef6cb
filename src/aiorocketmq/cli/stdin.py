"""Reads lines of standard input for a coroutine, without ever blocking the end of the program."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from typing import Final

_CHUNK: Final = 1 << 16
_AHEAD: Final = 16
"""Chunks read ahead of the consumer, at most."""


async def lines(descriptor: int = 0) -> AsyncIterator[bytes]:
    """The lines of a file descriptor without their line ends; empty lines are left out.

    A daemon thread reads, with `os.read` instead of a buffered reader: that holds no lock which the end of the interpreter would wait
    for while the terminal is silent.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue(_AHEAD)

    def read() -> None:
        try:
            while True:
                chunk = os.read(descriptor, _CHUNK)
                asyncio.run_coroutine_threadsafe(chunks.put(chunk), loop).result()
                if not chunk:
                    return
        except (CancelledError, RuntimeError):
            return  # the program ends while standard input is still open

    threading.Thread(target=read, name="aiorocketmq-stdin", daemon=True).start()
    rest = b""
    while chunk := await chunks.get():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if text := line.rstrip(b"\r"):
                yield text
    if rest:
        yield rest
