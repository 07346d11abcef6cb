"""How a broker makes itself known to name servers (Java: `BrokerOuterAPI`, `BrokerController.registerBrokerAll`).

A name server is told everything once, in parts that fit in a frame and in a turn of the loop (Java: `enableSplitRegistration`), then what
changes. Every so often it is asked whether it still knows the version that it was told, and told all again if not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import RocketMQError, broker_error
from aiorocketmq.protocol.bodies import DataVersion, RegisterBrokerBody, TopicConfig, TopicConfigWrapper
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_admin import (
    QueryDataVersionRequestHeader,
    QueryDataVersionResponseHeader,
    RegisterBrokerRequestHeader,
    UnRegisterBrokerRequestHeader,
)
from aiorocketmq.protocol.message_codec import body_crc
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.remoting.client import RemotingClient
from aiorocketmq.remoting.tasks import TaskSet
from aiorocketmq.remoting.transport import ProtocolFactory, open_connection
from aiorocketmq.server.broker.state import BrokerState

if TYPE_CHECKING:
    import ssl

logger = logging.getLogger("aiorocketmq.server")

_TIMEOUT: Final = 3.0
_RETRY_AFTER: Final = 1.0
"""Seconds before the next try after a name server could not be reached."""
_PART: Final = 800
"""Topics that one request registers at most (Java: `splitRegistrationSize`)."""
_PART_BYTES: Final = 1024 * 1024
_TOPIC_BYTES: Final = 200
"""Bytes of a topic in a registration, but for its name and attributes."""


async def _connect_inside(
    inner: ssl.SSLContext,
    host: str,
    port: int,
    protocol_factory: ProtocolFactory,
    ssl_context: ssl.SSLContext | None,
    server_hostname: str | None,
    on_phase: Callable[[str], None],
) -> tuple[asyncio.Transport, asyncio.Protocol]:
    """Connect to another part of this server, which has the same certificate whatever the name on it."""
    return await open_connection(host, port, protocol_factory, inner, host, on_phase)


class Registration:
    """Registers with every name server: at the start, when topics change, every 30 s, and after a lost connection.

    Args:
        state: The broker.
    """

    def __init__(self, state: BrokerState) -> None:
        self._state = state
        self._servers = state.config.name_servers
        connector = partial(_connect_inside, state.config.tls[1]) if state.config.tls is not None else None
        self._client = RemotingClient(ClientConfig(name_servers=self._servers), connector=connector)
        self._client.add_channel_listener(self)
        self._tasks = TaskSet()
        self._wake = asyncio.Event()
        self._changed: dict[str, None] = {}
        self._waiting: list[Callable[[], None]] = []
        self._complete: set[str] = set()
        self._failed: set[str] = set()
        self._parts_sent = 0
        self._running = False

    async def start(self) -> None:
        """Register once with every name server, then go on in the background. A name server that is down is tried again later."""
        await self._client.start()
        self._running = True
        if self._servers:
            await self._round()
            self._tasks.spawn(f"registration of {self._state.config.name}", self._run())

    async def stop(self) -> None:
        """Tell the name servers goodbye, then end. Does nothing when stopped already."""
        if not self._running:
            return
        self._running = False
        await self._tasks.stop()
        for server in self._servers:
            if self._client.channel(server) is not None:
                await self._tell(server, self._farewell())
        await self._client.close()
        self._release()

    def cut(self) -> None:
        """Drop the connections at once and without a word, as a killed process does; `wind_up()` frees the rest."""
        self._running = False
        for server in self._servers:
            channel = self._client.channel(server)
            if channel is not None:
                channel.abort()

    async def wind_up(self) -> None:
        """Free what is left after `cut()`."""
        await self._tasks.stop()
        await self._client.close()
        self._release()

    def drop(self) -> None:
        """Close the connections that an event loop left open when it was closed."""
        self._running = False
        self._client.drop()

    def topic_changed(self, topic: str) -> None:
        """A topic was created or changed: the name servers are told in the next tick."""
        self._changed[topic] = None
        self._wake.set()

    def when_registered(self, callback: Callable[[], None]) -> None:
        """Call back once the name servers were told of everything that changed so far, or could not be reached."""
        if not self._running or not self._servers:
            callback()
            return
        self._waiting.append(callback)
        self._wake.set()

    async def ask(self, request: RemotingCommand, timeout: float) -> RemotingCommand:
        """Ask a name server, any that answers.

        Raises:
            RemotingError: None does within `timeout` seconds.
        """
        return await self._client.invoke(None, request, timeout)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Do something that asks name servers; it ends with the broker."""
        self._tasks.spawn(name, work)

    def on_connect(self, address: str, channel: Channel) -> None:
        """A name server was connected."""

    def on_close(self, address: str, channel: Channel) -> None:
        """A name server has forgotten this broker with the connection: tell it all again."""
        self._complete.discard(address)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            interval = self._state.config.register_interval if not self._failed else _RETRY_AFTER
            try:
                async with asyncio.timeout(interval):
                    await self._wake.wait()
            except TimeoutError:
                await self._refresh()
            if self._failed and self._wake.is_set():
                # A server that is down closes each new connection at once: do not dial it in a tight loop.
                await asyncio.sleep(0.05)
            await self._round()

    async def _round(self) -> None:
        self._wake.clear()
        changed, self._changed = self._changed, {}
        waiting, self._waiting = self._waiting, []
        try:
            for server in self._servers:
                if self._running:
                    await self._register(server, list(changed))
        finally:
            for callback in waiting:
                callback()

    async def _refresh(self) -> None:
        """Show the name servers that this broker lives; one that has forgotten something is told all again."""
        for server in list(self._complete):
            if self._running and not await self._still_known(server):
                self._complete.discard(server)

    async def _still_known(self, server: str) -> bool:
        config, version = self._state.config, self._state.topics.version
        header = QueryDataVersionRequestHeader(config.name, self._state.address, config.cluster, config.broker_id)
        request = RemotingCommand.request(RequestCode.QUERY_DATA_VERSION, header, version.encode())
        try:
            response = await self._client.invoke(server, request, _TIMEOUT)
            return response.code == 0 and not QueryDataVersionResponseHeader.from_ext(response.ext_fields).changed
        except RocketMQError:
            return False  # telling it all says what is wrong

    async def _register(self, server: str, changed: Iterable[str]) -> None:
        """Tell one name server everything, or, when it knows the rest, what changed."""
        topics = self._state.topics
        known = server in self._complete
        names = [name for name in changed if name in topics]
        if known and not names:
            return
        version = topics.version
        told = [topics.require(name) for name in names] if known else list(topics)
        for part, last in _parts(told):
            if not await self._tell(server, self._request(part, version if last else self._passing(version))):
                self._complete.discard(server)
                self._failed.add(server)
                return
        self._complete.add(server)
        self._failed.discard(server)

    def _passing(self, version: DataVersion) -> DataVersion:
        """A version for a part that is not the last one: name servers take in only what has another version than they know."""
        self._parts_sent += 1
        return version.replace(counter=-self._parts_sent)

    def _request(self, topics: Iterable[TopicConfig], version: DataVersion | None = None) -> RemotingCommand:
        state = self._state
        table = {topic.topic_name: self._as_permitted(topic) for topic in topics}
        body = RegisterBrokerBody(TopicConfigWrapper(table, version or state.topics.version)).encode()
        header = RegisterBrokerRequestHeader(
            broker_name=state.config.name,
            broker_addr=state.address,
            cluster_name=state.config.cluster,
            ha_server_addr=state.address,
            broker_id=state.config.broker_id,
            enable_acting_master=False,
            compressed=False,
            body_crc32=body_crc(body),
        )
        return RemotingCommand.request(RequestCode.REGISTER_BROKER, header, body)

    def _as_permitted(self, topic: TopicConfig) -> TopicConfig:
        """The topic as clients may use it: a broker that may not be written to, or not be read, says so of all of its topics."""
        state = self._state
        return topic if state.readable and state.writable else topic.replace(perm=topic.perm & state.perm)

    def _farewell(self) -> RemotingCommand:
        config = self._state.config
        header = UnRegisterBrokerRequestHeader(config.name, self._state.address, config.cluster, config.broker_id)
        return RemotingCommand.request(RequestCode.UNREGISTER_BROKER, header)

    async def _tell(self, server: str, request: RemotingCommand) -> bool:
        try:
            response = await self._client.invoke(server, request, _TIMEOUT)
            if response.code != 0:
                raise broker_error(response.code, response.remark, broker=server)
        except RocketMQError as error:
            if server not in self._failed:
                logger.warning("broker %s: name server %s was not told (code %d): %s", self._state.config.name, server, request.code, error)
            return False
        return True

    def _release(self) -> None:
        self._changed.clear()
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()


def _parts(topics: list[TopicConfig]) -> Iterator[tuple[list[TopicConfig], bool]]:
    """Topics in parts that fit in one request, and whether a part is the last one. No topics are one part, too."""
    part: list[TopicConfig] = []
    size = 0
    for topic in topics:
        bytes_of_it = _TOPIC_BYTES + len(topic.topic_name) + sum(len(name) + len(value) for name, value in topic.attributes.items())
        if part and (len(part) >= _PART or size + bytes_of_it > _PART_BYTES):
            yield part, False
            part, size = [], 0
        part.append(topic)
        size += bytes_of_it
    yield part, True
