"""Which form of the client a program of ours runs: with the extra `[fast]` or without it, compiled or not."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiorocketmq
from aiorocketmq.remoting.event_loop import NO_UVLOOP_ENV

PLAIN_ENV = "AIOROCKETMQ_BENCH_PLAIN"
"""Set to any non-empty value to run our programs as if the extra `[fast]` were not installed."""
COMPILED_ENV = "AIOROCKETMQ_BENCH_COMPILED"
"""Set to any non-empty value when the program is to have compiled modules."""


def choose() -> None:
    """Switch uvloop and orjson off when the environment asks for it; called before anything else.

    Raises:
        RuntimeError: The compiled modules are asked for, and this process has others.
    """
    if os.environ.get(COMPILED_ENV) and not aiorocketmq.compiled:
        raise RuntimeError(f"{Path(aiorocketmq.__file__).parent} has no compiled modules for this Python")
    if os.environ.get(PLAIN_ENV):
        from aiorocketmq.protocol import jsoncodec  # not before: there are programs that time what they import

        os.environ[NO_UVLOOP_ENV] = "1"
        jsoncodec.use_orjson(False)


def of_this_process() -> str:
    """The form in words: event loop, JSON, compiled modules or not. Called on the event loop."""
    from aiorocketmq.protocol import jsoncodec

    loop = type(asyncio.get_running_loop())
    words = ["uvloop" if any(each.__module__.startswith("uvloop") for each in loop.__mro__) else "the standard library's event loop"]
    words.append("orjson" if jsoncodec.HAVE_ORJSON and not os.environ.get(PLAIN_ENV) else "the standard library's json")
    words.append("compiled modules" if aiorocketmq.compiled else "pure Python")
    return ", ".join(words)
