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

    Raises:
        OSError: It cannot be read.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue(_AHEAD)

    def read() -> None:
        try:
            while True:
                chunk: bytes | OSError
                try:
                    chunk = os.read(descriptor, _CHUNK)
                except OSError as error:  # a folder, or a terminal that has gone
                    chunk = error
                asyncio.run_coroutine_threadsafe(chunks.put(chunk), loop).result()
                if not chunk or isinstance(chunk, OSError):
                    return
        except (CancelledError, RuntimeError):
            return  # the program ends while standard input is still open

    threading.Thread(target=read, name="aiorocketmq-stdin", daemon=True).start()
    rest = b""
    while chunk := await chunks.get():
        if isinstance(chunk, OSError):
            raise chunk
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if text := line.rstrip(b"\r"):
                yield text
    if rest:
        yield rest
