"""The server end: listens, dispatches requests, may send requests to clients (Java: `NettyRemotingServer`). Features O1, O4, O10, O13.

Processors that return their answer are answered in the same tick of the loop, together with everything else that one chunk of received
bytes asked for, as far as a turn of the loop allows. A peer that sends something illegal, holds half a frame for too long, or reads none
of its answers loses its own connection and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import ssl
from collections.abc import Mapping
from typing import Final, cast

from aiorocketmq.errors import ClientStateError
from aiorocketmq.model.parsing import format_address
from aiorocketmq.remoting.channel import Channel, Endpoint, Processor, close_all
from aiorocketmq.remoting.endpoint import ChannelSettings, Counters
from aiorocketmq.remoting.hooks import ChannelListener
from aiorocketmq.remoting.processing import TURN
from aiorocketmq.remoting.transport import close_beneath

logger = logging.getLogger("aiorocketmq.remoting")

MAX_UNFINISHED: Final = 64 * 1024 * 1024
"""Bytes that the unfinished frames of all connections may take: four of the largest."""
MAX_HELD_REPLIES: Final = 32 * 1024 * 1024
"""Bytes of answers that one peer may leave unread."""

MAX_CONNECTIONS: Final = 10_000
"""Connections of one server at once; further ones are closed."""

_BACKLOG = 1024
_BURST = 16
"""Connections that are taken in one turn of the loop at most: each one is looked at before there are many more."""
_SPARE_FILES = 64
"""Files that a process can still open when its servers take no more connections: databases and clients of its own need some. A quarter of
all where that is less."""
_IN_FLIGHT_LIMIT = 65535
_HANDSHAKE_PATIENCE = 1.0


class RemotingServer:
    """A listening socket and its channels. Belongs to the event loop that runs `start()`.

    Args:
        host: Interface to listen on; the loopback unless told otherwise.
        port: TCP port, 0 for any free one.
        processors: Request code → processor, to begin with.
        max_frame: Bytes of the longest frame accepted.
        max_unfinished: Bytes that the unfinished frames of all connections may take; beyond that the oldest one's connection is closed.
        max_connections: Connections at once; further ones are closed, as are those that would leave the process without files to open.
        idle_timeout: Seconds without a byte in either direction after which a connection is closed.
        partial_frame_timeout: Seconds after which a connection that holds an incomplete frame is closed.
        ssl_context: Accept TLS connections with this context, and nothing else; None accepts plain connections.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        processors: Mapping[int, Processor] | None = None,
        max_frame: int = 16 * 1024 * 1024,
        max_unfinished: int = MAX_UNFINISHED,
        max_connections: int = MAX_CONNECTIONS,
        idle_timeout: float = 120.0,
        partial_frame_timeout: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self._ssl_context = ssl_context
        self._max_connections = max_connections
        self._max_files = _max_files()
        self._spared_from = self._max_files - min(_SPARE_FILES, self._max_files // 4)
        self._endpoint = Endpoint(
            ChannelSettings(
                max_frame=max_frame,
                idle_timeout=idle_timeout,
                partial_frame_timeout=partial_frame_timeout,
                pause_reading_when_full=True,
                max_held_replies=MAX_HELD_REPLIES,
                max_unfinished=max_unfinished,
                turn=TURN,
            ),
            in_flight_limit=_IN_FLIGHT_LIMIT,
            on_open=self._opened,
            on_lost=self._lost,
        )
        self._endpoint.dispatcher.processors.update(processors or {})
        self._channels: dict[Channel, None] = {}
        self._listeners: tuple[ChannelListener, ...] = ()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """`host:port` that clients dial; the port is 0 before `start()` when any was asked for."""
        return format_address(self.host, self.port)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The open connections, oldest first."""
        return tuple(self._channels)

    @property
    def counters(self) -> Counters:
        """What happened so far; the object goes on counting."""
        return self._endpoint.counters

    @property
    def default_processor(self) -> Processor | None:
        """Answers the codes that have no processor of their own; None answers them with code 3."""
        return self._endpoint.dispatcher.default_processor

    @default_processor.setter
    def default_processor(self, processor: Processor | None) -> None:
        self._endpoint.dispatcher.default_processor = processor

    def register_processor(self, code: int, processor: Processor) -> None:
        """Let `processor` answer requests of code `code`."""
        self._endpoint.dispatcher.processors[code] = processor

    def add_channel_listener(self, listener: ChannelListener) -> None:
        """Tell `listener` of every connection that is made or lost from now on."""
        self._listeners += (listener,)

    async def start(self) -> int:
        """Listen.

        Returns:
            The bound port.

        Raises:
            OSError: The port is taken or the host is not one of this machine.
            ClientStateError: The server is listening already.
        """
        if self._server is not None:
            raise ClientStateError(f"the server is listening already on {self.address}", hint="stop it first")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: cast("asyncio.Protocol", Channel(self._endpoint)),
            self.host,
            self.port,
            ssl=self._ssl_context,
            ssl_handshake_timeout=self._endpoint.settings.partial_frame_timeout if self._ssl_context is not None else None,
            backlog=_BURST,  # asyncio takes as many at once, and complains about each that finds no file to open
        )
        _lengthen_backlog(self._server)
        self.port = int(self._server.sockets[0].getsockname()[1])
        logger.debug("listening on %s", self.address)
        return self.port

    def pause(self) -> None:
        """Answer nothing, and read nothing more from those who ask, until `proceed()`; connections stay and are accepted."""
        self._endpoint.dispatcher.pause()

    def proceed(self) -> None:
        """End of a pause: what was asked for meanwhile is answered now."""
        self._endpoint.dispatcher.proceed()

    async def stop(self, *, abort: bool = False) -> None:
        """Stop listening, cancel running processors, close all connections and wait until they are gone. Idempotent.

        A later `start()` listens on the same port again.

        Args:
            abort: Drop the connections without sending what is left, as the end of a killed process would.
        """
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        if abort:
            for channel in self.channels:
                channel.abort()
        await self._endpoint.dispatcher.tasks.stop()
        await close_all({*self.channels, *self._endpoint.closing}, "closed: the server stops")
        try:
            async with asyncio.timeout(_HANDSHAKE_PATIENCE):
                await server.wait_closed()
        except TimeoutError:
            logger.debug("leaving a TLS handshake on %s to its own time-out", self.address)
        logger.debug("stopped listening on %s", self.address)

    def drop(self) -> None:
        """Close the sockets that an event loop left open when it was closed. Tells nobody: whoever waits went with that loop."""
        server, self._server = self._server, None
        for sock in server.sockets if server is not None else ():
            close_beneath(sock)
        for channel in {*self._channels, *self._endpoint.closing}:
            channel.drop()
        self._channels.clear()

    def _opened(self, channel: Channel) -> None:
        if len(self._channels) >= self._max_connections or channel.file_number >= self._spared_from:
            text = "the connection with %s was closed at once: %d are open, and no more are taken (the process may open %s files)"
            now = asyncio.get_running_loop().time()
            self._endpoint.sparse_log.record(now, "many", text, channel.address, len(self._channels), self._max_files)
            channel.abort()
            return
        self._channels[channel] = None
        for listener in self._listeners:
            listener.on_connect(channel.address, channel)

    def _lost(self, channel: Channel) -> None:
        self._channels.pop(channel, None)
        self._endpoint.dispatcher.forget(channel)
        for listener in self._listeners:
            listener.on_close(channel.address, channel)


def _max_files() -> float:
    """How many files the process may have open."""
    try:
        import resource
    except ImportError:  # Windows, where there is no such limit
        return math.inf
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if soft == resource.RLIM_INFINITY else soft


def _lengthen_backlog(server: asyncio.Server) -> None:
    """Let more clients wait to be taken than are taken at once."""
    for sock in server.sockets:
        with contextlib.suppress(OSError, NotImplementedError), sock.dup() as twin:  # of the same socket; uvloop does not give it away
            twin.listen(_BACKLOG)
