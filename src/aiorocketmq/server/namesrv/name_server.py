"""The embedded name server's life: its socket, its timers, its settings (Java: `NamesrvController`, `KVConfigManager`)."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiorocketmq.errors import ServiceNotAvailableError
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.remoting.server import RemotingServer
from aiorocketmq.server.dispatch import RequestTable
from aiorocketmq.server.namesrv.processor import NameServerProcessor
from aiorocketmq.server.namesrv.route_info import RouteInfo
from aiorocketmq.server.store.schema import open_database, unusable

if TYPE_CHECKING:
    import ssl

_SCAN_INTERVAL: Final = 5.0


class KeyValueTable:
    """Settings by namespace and key, in a file or in memory.

    Args:
        path: Database file, or None.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._table: dict[str, dict[str, str]] = {}

    def open(self) -> None:
        """Read the file.

        Raises:
            ConfigError: It cannot be used.
        """
        self._database = open_database(self._path, sync=True)
        self._table.clear()
        try:
            for namespace, name, value in self._database.execute("SELECT kind, name, value FROM settings").fetchall():
                if not (isinstance(namespace, str) and isinstance(name, str) and isinstance(value, str)):
                    raise ValueError(f"the value {name!r} is no text")
                self._table.setdefault(namespace, {})[name] = value
        except (sqlite3.Error, ValueError) as error:
            self.close()
            raise unusable(self._path, error) from None

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def get(self, namespace: str, key: str) -> str | None:
        return self._table.get(namespace, {}).get(key)

    def namespace(self, namespace: str) -> dict[str, str] | None:
        """Everything in a namespace; None when there was never anything in it."""
        table = self._table.get(namespace)
        return dict(table) if table is not None else None

    def put(self, namespace: str, key: str, value: str) -> None:
        """Set a value; it is in the file when this returns.

        Raises:
            ServiceNotAvailableError: It cannot be stored.
        """
        self._write("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", namespace, key, value)
        self._table.setdefault(namespace, {})[key] = value

    def delete(self, namespace: str, key: str) -> None:
        """Remove a value; does nothing when there is none.

        Raises:
            ServiceNotAvailableError: It cannot be removed from the file.
        """
        self._write("DELETE FROM settings WHERE kind = ? AND name = ?", namespace, key)
        self._table.get(namespace, {}).pop(key, None)

    def _write(self, statement: str, *parameters: str) -> None:
        if self._database is None:
            return
        try:
            self._database.execute(statement, parameters)
        except sqlite3.Error as error:
            raise ServiceNotAvailableError(f"the name server could not write {self._path}: {error}", cause=error) from None


class NameServer:
    """One embedded name server.

    Args:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        path: Database file of its settings, or None for memory.
        ssl_context: Accept TLS connections with this context, and nothing else; None accepts plain connections.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, path: Path | None = None, *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._server = RemotingServer(host, port, ssl_context=ssl_context)
        self._server.add_channel_listener(self)
        self._values = KeyValueTable(path)
        self._routes: RouteInfo | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        """`host:port` that clients and brokers dial."""
        return self._server.address

    @property
    def routes(self) -> RouteInfo:
        """The tables; only while the name server runs."""
        assert self._routes is not None, "the name server does not run"
        return self._routes

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The port is taken.
            ConfigError: The settings' file cannot be used.
        """
        loop = asyncio.get_running_loop()
        self._values.open()
        self._routes = RouteInfo(loop.time)
        self._server.default_processor = RequestTable(NameServerProcessor(self._routes, self._values).operations()).handle
        try:
            await self._server.start()
        except OSError:
            self._values.close()
            raise
        self._scan()

    async def stop(self) -> None:
        """Stop listening and drop all connections. Does nothing when stopped already."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._server.stop()
        self._values.close()

    def drop(self) -> None:
        """Close the sockets and the file that an event loop left open when it was closed."""
        self._timer = None
        self._server.drop()
        self._values.close()

    def _scan(self) -> None:
        self.routes.expire()
        self._timer = asyncio.get_running_loop().call_later(_SCAN_INTERVAL, self._scan)

    def on_connect(self, address: str, channel: Channel) -> None:
        """A client or broker connected."""

    def on_close(self, address: str, channel: Channel) -> None:
        """A connection ended: brokers that registered on it are gone."""
        self.routes.channel_closed(channel)
