"""Name servers from a function or an HTTP address service, when none is configured (Java: `TopAddressing`). Features L3, L4.

The service answers `GET http://<domain>:8080/rocketmq/<group>` with the address list on its first line.
"""

from __future__ import annotations

import asyncio
import io
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from inspect import isawaitable, iscoroutinefunction
from typing import Final

from aiorocketmq.client.statelog import StateLog
from aiorocketmq.config import ClientConfig, NameServers, parse_name_servers
from aiorocketmq.config.values import NameServerResolver
from aiorocketmq.core.clock import WallClock, epoch_ms
from aiorocketmq.errors import ConfigError, NoNameServerError
from aiorocketmq.model.parsing import parse_address
from aiorocketmq.protocol.codes import CURRENT_VERSION, version_name

FETCH_TIMEOUT: Final = 3.0
DEFAULT_PORT: Final = 8080
MAX_ANSWER: Final = 65_536
"""Bytes of the longest answer that is read; a list of a thousand addresses takes a third of it."""

logger = logging.getLogger("aiorocketmq.client")

HttpGet = Callable[[str, int, bytes], Awaitable[bytes]]


class NameServerSource(ABC):
    """Where name servers come from that nobody has configured (Java: `TopAddressing`)."""

    def __init__(self) -> None:
        self._log = StateLog(logger)

    @property
    @abstractmethod
    def name(self) -> str:
        """What is asked."""

    @abstractmethod
    async def fetch(self) -> tuple[str, ...]:
        """Ask for the list; takes at most 3 s.

        Returns:
            The addresses, at least one.

        Raises:
            NoNameServerError: There was no list.
        """

    async def fetch_or_none(self) -> tuple[str, ...] | None:
        """As `fetch()`, but a failure is only logged, so that the addresses known stay in use."""
        try:
            servers = await self.fetch()
        except NoNameServerError as error:
            self._log.failed("name servers", "name servers were not refreshed: %s", error.message)
            return None
        self._log.worked("name servers", "%s answers again", self.name)
        return servers

    def _failure(self, why: str, cause: BaseException | None = None) -> NoNameServerError:
        return NoNameServerError(f"no name server is configured, and {self.name} gave none: {why}", cause=cause)


def source_of(config: ClientConfig) -> NameServerSource:
    """The source of a configuration without name servers: its resolver, else the HTTP address service.

    Raises:
        ConfigError: The domain of the address service is not `host` or `host:port`.
    """
    return AddressService(config) if config.name_server_resolver is None else ResolvedNames(config.name_server_resolver)


class ResolvedNames(NameServerSource):
    """Asks a function of the user's (L4).

    Args:
        resolver: `async def` runs on the event loop, `def` in a thread, as it may block.
    """

    def __init__(self, resolver: NameServerResolver) -> None:
        super().__init__()
        self._resolver = resolver

    @property
    def name(self) -> str:
        """See `NameServerSource.name`."""
        return "name_server_resolver"

    async def fetch(self) -> tuple[str, ...]:
        """See `NameServerSource.fetch`."""
        limit = asyncio.timeout(FETCH_TIMEOUT)
        try:
            async with limit:
                given = await self._ask()
            servers = parse_name_servers(given)
        except Exception as error:  # noqa: BLE001 - the user's function; it is the cause of ours
            if isinstance(error, TimeoutError) and limit.expired():
                raise self._failure(f"no answer within {FETCH_TIMEOUT:g} s", error) from None
            raise self._failure(f"{type(error).__name__}: {error}", error) from None
        if not servers:
            raise self._failure("its answer is empty")
        return servers

    async def _ask(self) -> NameServers:
        if iscoroutinefunction(self._resolver) or iscoroutinefunction(getattr(self._resolver, "__call__", None)):  # noqa: B004
            given = self._resolver()
        else:
            given = await asyncio.to_thread(self._resolver)
        return await given if isawaitable(given) else given


class AddressService(NameServerSource):
    """Asks the address service of a configuration.

    Args:
        config: Names the service: domain, group, unit.
        http_get: Exchanges bytes with (host, port, request); tests give another one.
        wall_clock: Tells the time for the request header.

    Raises:
        ConfigError: The domain is not `host` or `host:port`.
    """

    def __init__(self, config: ClientConfig, *, http_get: HttpGet | None = None, wall_clock: WallClock = time.time) -> None:
        domain = config.address_service_domain
        if ":" not in domain:
            domain = f"{domain}:{DEFAULT_PORT}"
        self._host, self._port = parse_address(domain, "address_service_domain")
        self._authority = domain
        from urllib.parse import quote  # here and not above: few clients ask an address service

        self._path = f"/rocketmq/{quote(config.address_service_group)}"
        if config.unit_name:
            self._path += f"-{quote(config.unit_name)}?nofix=1"
        self._get = http_get or _http_get
        self._clock = wall_clock
        super().__init__()

    @property
    def name(self) -> str:
        """See `NameServerSource.name`."""
        return f"the address service {self.url}"

    @property
    def url(self) -> str:
        """What is asked."""
        return f"http://{self._authority}{self._path}"

    async def fetch(self) -> tuple[str, ...]:
        """Ask for the list; takes at most 3 s.

        Returns:
            The addresses, at least one.

        Raises:
            NoNameServerError: The service cannot be reached, or answers with anything but a list.
        """
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                answer = await self._get(self._host, self._port, self._request())
        except (OSError, ValueError) as error:  # TimeoutError is the one, a name that cannot be encoded for the resolver the other
            why = f"no answer within {FETCH_TIMEOUT:g} s" if isinstance(error, TimeoutError) else str(error)
            raise self._failure(why, error) from None
        status, body = _parse_answer(answer)
        if status != 200:
            raise self._failure(f"it answered with status {status}" if status else "it does not speak HTTP")
        if body is None:
            raise self._failure("its answer was broken off, or is longer than any list")
        lines = body.decode("utf-8", "replace").strip().splitlines()
        try:
            servers = parse_name_servers(lines[0] if lines else None)
        except ConfigError as error:
            raise self._failure(f"its answer is not a list of addresses: {error.message}", error) from None
        if not servers:
            raise self._failure("its answer is empty")
        return servers

    def _request(self) -> bytes:
        # HTTP/1.0: the service closes the connection after its answer and sends no chunks.
        return (
            f"GET {self._path} HTTP/1.0\r\n"
            f"Host: {self._authority}\r\n"
            f"Client-Version: {version_name(CURRENT_VERSION)}\r\n"
            "Content-Type: application/x-www-form-urlencoded;charset=UTF-8\r\n"
            f"Metaq-Client-RequestTS: {epoch_ms(self._clock)}\r\n"
            "Connection: close\r\n\r\n"
        ).encode("ascii", "replace")


async def _http_get(host: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        answer = b""
        while len(answer) <= MAX_ANSWER and (chunk := await reader.read(MAX_ANSWER)):
            answer += chunk
        return answer
    finally:
        writer.close()


def _parse_answer(answer: bytes) -> tuple[int, bytes | None]:
    """Status and body of an HTTP answer; status 0 when it is none, and None for a body that broke off in its first line: half an address is
    one, too."""
    from http.client import HTTPException, HTTPResponse  # takes 10 ms to import, and few need it

    class _Received:
        def makefile(self, mode: str) -> io.BytesIO:
            return io.BytesIO(answer)

    response = HTTPResponse(_Received())  # type: ignore[arg-type]  # it reads from makefile() alone
    try:
        response.begin()
        body = response.read(MAX_ANSWER)
        broken_off = bool(response.length) or len(answer) > MAX_ANSWER
        return response.status, None if broken_off and b"\n" not in body.lstrip() else body
    except (HTTPException, ValueError):
        return 0, b""
