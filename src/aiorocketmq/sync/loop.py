"""The one place that chooses an event loop for programs of ours: the sync portal, the command line and the server process.

The library itself never sets an event-loop policy; an application that awaits our classes chooses its own loop.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

NO_UVLOOP_ENV: Final = "AIOROCKETMQ_NO_UVLOOP"
"""Set to any non-empty value to use the loop of the standard library even where uvloop is installed."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make an event loop: uvloop's where it is installed (extra `[fast]`), else the standard library's."""
    if not os.environ.get(NO_UVLOOP_ENV):
        try:
            import uvloop
        except ImportError:
            pass
        else:
            return uvloop.new_event_loop()
    return asyncio.new_event_loop()
