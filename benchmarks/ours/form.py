"""Which form of the client a program of ours runs: with the extra `[fast]` or without it, compiled or not."""

from __future__ import annotations

import asyncio
import os
import sys

from aiorocketmq.protocol import jsoncodec
from aiorocketmq.remoting.event_loop import NO_UVLOOP_ENV

PLAIN_ENV = "AIOROCKETMQ_BENCH_PLAIN"
"""Set to any non-empty value to run our programs as if the extra `[fast]` were not installed."""


def choose() -> None:
    """Switch uvloop and orjson off when the environment asks for it; called before anything else."""
    if os.environ.get(PLAIN_ENV):
        os.environ[NO_UVLOOP_ENV] = "1"
        jsoncodec.use_orjson(False)


def of_this_process() -> str:
    """The form in words: event loop, JSON, compiled modules or not. Called on the event loop."""
    loop = type(asyncio.get_running_loop())
    words = ["uvloop" if any(each.__module__.startswith("uvloop") for each in loop.__mro__) else "the standard library's event loop"]
    words.append("orjson" if jsoncodec.HAVE_ORJSON and not os.environ.get(PLAIN_ENV) else "the standard library's json")
    files = [getattr(module, "__file__", None) or "" for name, module in sys.modules.items() if name.startswith("aiorocketmq.")]
    words.append("compiled modules" if any(file.endswith((".so", ".pyd")) for file in files) else "pure Python")
    return ", ".join(words)
