"""The one place that chooses an event loop for programs of ours: the sync portal, the command line and the server process.

The library itself never sets an event-loop policy; an application that awaits our classes chooses its own loop.
"""

from __future__ import annotations

import asyncio
import os
import socket
from functools import cache
from typing import Any, Final

NO_UVLOOP_ENV: Final = "AIOROCKETMQ_NO_UVLOOP"
"""Set to any non-empty value to use the loop of the standard library even where uvloop is installed."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make an event loop: uvloop's where it is installed (extra `[fast]`), else the standard library's."""
    if not os.environ.get(NO_UVLOOP_ENV):
        try:
            return _uvloop_class()()
        except ImportError:
            pass
    return asyncio.new_event_loop()


@cache
def _uvloop_class() -> type[asyncio.AbstractEventLoop]:
    """uvloop's loop, kept from libuv's own threads.

    libuv looks up names on threads of its own, also for the address that a server listens on, and waits for these threads when the process
    ends; in a forked child, where they do not exist, that is a segmentation fault. Names are looked up on Python's threads instead, which
    know of forks, and addresses to listen on are bound here.
    """
    import uvloop

    class Loop(uvloop.Loop):
        async def getaddrinfo(self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
            return await self.run_in_executor(None, socket.getaddrinfo, host, port, family, type, proto, flags)

        async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
            if not isinstance(host, str) or options.get("sock") is not None:
                return await super().create_server(protocol_factory, host, port, **options)
            family, _, _, _, address = (await self.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))[0]
            sock = socket.create_server(address[:2], family=family, backlog=options.get("backlog", 100))
            try:
                return await super().create_server(protocol_factory, sock=sock, **options)
            except BaseException:
                sock.close()
                raise

    return Loop
