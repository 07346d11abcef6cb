"""The one place that chooses an event loop for programs of ours: the sync portal, the command line and the server process.

The library itself never sets an event-loop policy; an application that awaits our classes chooses its own loop.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

NO_UVLOOP_ENV: Final = "AIOROCKETMQ_NO_UVLOOP"
"""Set to any non-empty value to use the loop of the standard library even where uvloop is installed."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make an event loop: uvloop's where it is installed (extra `[fast]`), else the standard library's."""
    if not os.environ.get(NO_UVLOOP_ENV) and _has_standard_streams():
        try:
            return _uvloop_class()()
        except ImportError:
            pass
    return _standard_class()()


def _has_standard_streams() -> bool:
    """Whether the descriptors 0 to 2 are in use. Where they are not, sockets get them, and libuv ends the process when it closes one."""
    try:
        for number in range(3):
            os.fstat(number)
    except OSError:
        return False
    return True


if TYPE_CHECKING:
    _Base = asyncio.BaseEventLoop
else:
    _Base = object


class _OwnLookups(_Base):
    """A loop that looks names up on threads of its own, one for each look-up, which nobody ever waits for.

    A resolver that does not answer takes 10 seconds and more. The loop's usual threads would hold up the end of the loop, and that of the
    process, for as long; they also take locks to start that a thread which waits for this loop may hold.
    """

    async def getaddrinfo(self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        if _is_address(host):  # no look-up, and so no thread
            return socket.getaddrinfo(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
        lookups: dict[Any, asyncio.Future[Any]] = self.__dict__.setdefault("_lookups", {})
        wanted = (host, port, family, type, proto, flags)
        future = lookups.get(wanted)
        if future is None:
            future = lookups[wanted] = self.create_future()
            future.add_done_callback(lambda _: lookups.pop(wanted))
            work = (partial(socket.getaddrinfo, *wanted), partial(_tell, self, future))
            try:
                _thread.start_new_thread(_look_up, work)
            except RuntimeError:  # the process is ending, or has too many threads
                _look_up(*work)
        return await asyncio.shield(future)


def _is_address(host: Any) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, TypeError, ValueError):
            socket.inet_pton(family, host)
            return True
    return False


def _look_up(ask: Callable[[], Any], tell: Callable[[Any, Exception | None], None]) -> None:
    try:
        found, error = ask(), None
    except Exception as failed:  # noqa: BLE001 - whatever it is, it belongs to the one who asked
        found, error = None, failed
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
        tell(found, error)


def _tell(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], found: Any, error: Exception | None) -> None:
    def tell() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)
            future.exception()  # nobody may be left who asked

    loop.call_soon_threadsafe(tell)


@cache
def _standard_class() -> type[asyncio.AbstractEventLoop]:
    base: type[asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
    if sys.platform == "win32":
        base = asyncio.ProactorEventLoop
    return type("Loop", (_OwnLookups, base), {})


@cache
def _uvloop_class() -> type[asyncio.AbstractEventLoop]:
    """uvloop's loop, kept from libuv's own threads.

    libuv looks up names on threads of its own, also for the address that a server listens on, and waits for these threads when the process
    ends; in a forked child, where they do not exist, that is a segmentation fault. Names are looked up on Python's threads instead, which
    know of forks, and addresses to listen on are bound here.
    """
    import uvloop

    class Loop(_OwnLookups, uvloop.Loop):  # type: ignore[misc]
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
