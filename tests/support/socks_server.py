"""A SOCKS5 proxy on the loopback, as far as tests need one."""

from __future__ import annotations

import asyncio
import ipaddress
from types import TracebackType
from typing import Self


class SocksServer:
    """Accepts connections until the end of its `async with`.

    Args:
        username, password: What it wants; empty for nothing.
        refusal: Answer code of every connect request; 0 connects.
        names: Host names that it resolves.
        bound: Kind and address of where it connects from, as its answers tell them.

    Attributes:
        asked: Where it was asked to connect to.
    """

    def __init__(
        self,
        username: str = "",
        password: str = "",
        *,
        refusal: int = 0,
        names: dict[str, str] | None = None,
        bound: bytes = b"\x01" + bytes(4),
    ) -> None:
        self.asked: list[tuple[str, int]] = []
        self._wanted = (username.encode(), password.encode())
        self._refusal = refusal
        self._bound = bound
        self._names = names or {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def address(self) -> str:
        """`host:port`."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        method = 2 if self._wanted[0] else 0
        if method not in methods:
            writer.write(b"\x05\xff")
            return
        writer.write(bytes((5, method)))
        if method == 2:
            _, length = await reader.readexactly(2)
            name = await reader.readexactly(length)
            (length,) = await reader.readexactly(1)
            good = (name, await reader.readexactly(length)) == self._wanted
            writer.write(b"\x01\x00" if good else b"\x01\x01")
            if not good:
                return
        host, port = await self._target(reader)
        self.asked.append((host, port))
        writer.write(bytes((5, self._refusal, 0)) + self._bound + bytes(2))
        if self._refusal:
            return
        far_reader, far_writer = await asyncio.open_connection(self._names.get(host, host), port)
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            far_writer.close()

    async def _target(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        _, _, _, kind = await reader.readexactly(4)
        if kind == 3:
            (length,) = await reader.readexactly(1)
            host = (await reader.readexactly(length)).decode()
        else:
            host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
        return host, int.from_bytes(await reader.readexactly(2), "big")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
