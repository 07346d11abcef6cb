"""Which form of the client a program of ours runs: with the extra `[fast]` or without it, compiled or not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import aiorocketmq
from aiorocketmq.remoting.event_loop import NO_UVLOOP_ENV

PLAIN_ENV = "AIOROCKETMQ_BENCH_PLAIN"
"""Set to any non-empty value to run our programs as if the extra `[fast]` were not installed."""
COMPILED_ENV = "AIOROCKETMQ_BENCH_COMPILED"
"""Names the folder with the compiled copy of the package, for programs of ours that are to run it."""


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


def environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a program of ours: the compiled copy comes first on its path when that is asked for.

    Args:
        base: Asks for it, and has the rest of the path; None takes the environment of this process.
    """
    found = os.environ if base is None else base
    path = [found.get(COMPILED_ENV, ""), found.get("PYTHONPATH", "")]
    return {**found, "PYTHONPATH": os.pathsep.join(part for part in path if part)}


def of_this_process() -> str:
    """The form in words: event loop, JSON, compiled modules or not. Called on the event loop."""
    from aiorocketmq.protocol import jsoncodec

    loop = type(asyncio.get_running_loop())
    words = ["uvloop" if any(each.__module__.startswith("uvloop") for each in loop.__mro__) else "the standard library's event loop"]
    words.append("orjson" if jsoncodec.HAVE_ORJSON and not os.environ.get(PLAIN_ENV) else "the standard library's json")
    words.append("compiled modules" if aiorocketmq.compiled else "pure Python")
    return ", ".join(words)
