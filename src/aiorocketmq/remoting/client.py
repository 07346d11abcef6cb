"""The client end: one channel for each address, requests with time-outs, the choice of a name server (Java: `NettyRemotingClient`).

Features L1, L6, L8, L9, O6-O12, O15, O16. Hot paths take a ready channel with `channel()` and submit to it; everything else goes through
`invoke`, which connects, runs the hooks and names what went wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, TypeVar

from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import (
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    NoNameServerError,
    ProtocolError,
    RemotingError,
    RequestTimeoutError,
    RocketMQError,
    TLSError,
    TooManyRequestsError,
    WrongProtocolError,
)
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import ONEWAY_FLAG, RemotingCommand, next_opaque
from aiorocketmq.protocol.frame import encode
from aiorocketmq.remoting.channel import (
    Channel,
    Endpoint,
    InFlight,
    Processor,
    ResponseWaiter,
    close_all,
    wrong_protocol_of,
)
from aiorocketmq.remoting.connecting import ConnectAttempt
from aiorocketmq.remoting.endpoint import ChannelSettings, Counters
from aiorocketmq.remoting.hooks import ChannelListener, RPCHook
from aiorocketmq.remoting.name_servers import NameServerChoice
from aiorocketmq.remoting.peers import NameServerRecord, Peers
from aiorocketmq.remoting.signing import Signer
from aiorocketmq.remoting.tls import ClientContext
from aiorocketmq.remoting.transport import Connector, open_connection

logger = logging.getLogger("aiorocketmq.remoting")

UNUSED: Final = 60.0
"""Seconds without traffic after which the end of a connection is no loss: servers close those that nobody uses after two minutes."""
MAX_HELD_REPLIES: Final = 4 * 1024 * 1024
"""Bytes of answers that are kept for a broker that asks and does not read: some thousand of the usual ones."""

_T = TypeVar("_T")


class _FutureWaiter:
    """Turns the two calls of a `ResponseWaiter` into a future."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[RemotingCommand]) -> None:
        self.future = future

    def on_response(self, command: RemotingCommand) -> None:
        if not self.future.done():
            self.future.set_result(command)

    def on_error(self, error: RemotingError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class RemotingClient:
    """Connections to name servers and brokers, shared by everything that one client instance carries.

    Belongs to the event loop that runs `start()`.

    Args:
        config: Time-outs, limits, TLS, name servers and header encoding.
        connector: Opens connections; None opens TCP connections.

    Attributes:
        hooks: All hooks in the order of their calls, the one that signs behind all others; read-only.
        signer: Signs the requests; None without credentials.
        peers: Who has no connection, and why.
        templated: Frames may be prepared by hot paths: there is no hook but a signer that can sign these too.
    """

    def __init__(self, config: ClientConfig, *, connector: Connector | None = None) -> None:
        self._config = config
        self._proxies = config.socks_proxy_config
        self._connector = connector or _connector(config)
        self._endpoint = Endpoint(
            ChannelSettings(
                max_frame=config.frame_max_length,
                idle_timeout=config.client_channel_max_idle_time,
                close_if_silent=config.client_close_socket_if_timeout,
                max_held_replies=MAX_HELD_REPLIES,
            ),
            in_flight_limit=config.client_async_semaphore_value,
            on_open=lambda channel: None,
            on_lost=self._channel_lost,
        )
        self._oneway = InFlight(config.client_oneway_semaphore_value)
        self._channels: dict[str, Channel] = {}
        self._retired: set[Channel] = set()
        self._attempts: dict[str, ConnectAttempt] = {}
        self.peers = Peers()
        self.hooks: tuple[RPCHook, ...] = ()
        self.signer: Signer | None = None
        self.templated = True
        self._listeners: tuple[ChannelListener, ...] = ()
        self._names = NameServerChoice(config.name_servers)
        self._tls = ClientContext(config)
        self._running = False

    # ---------------------------------------------------------------------------------------------------------- life

    async def start(self) -> None:
        """Make ready to connect; opens no connection yet. A second call does nothing.

        Raises:
            ConfigError: The TLS settings, or the file of the credentials, cannot be used.
            CredentialsError: The provider of the credentials failed.
        """
        if not self._running:
            self._tls.start()
            source = self._config.credentials
            if source is not None and self.signer is None:
                signer = Signer(source, self._config.mq_client_api_timeout, self._endpoint.dispatcher.tasks.spawn)
                await signer.start()
                self.signer = signer
                self._arrange(self.hooks)
            self._running = True

    async def close(self) -> None:
        """Fail everything that is pending, close all connections and wait until the sockets are gone. Idempotent."""
        self._running = False
        for attempt in self._attempts.values():
            attempt.fail(ClientClosedError("the client was stopped while connecting"))
        await self._endpoint.dispatcher.tasks.stop()
        channels = {*self._channels.values(), *self._retired, *self._endpoint.closing}
        await close_all(channels, "closed: the client stops")

    def drop(self) -> None:
        """Close the sockets that an event loop left open when it was closed. Tells nobody: whoever waits went with that loop."""
        self._running = False
        for channel in {*self._channels.values(), *self._retired, *self._endpoint.closing}:
            channel.drop()
        self._channels.clear()
        self._retired.clear()

    # -------------------------------------------------------------------------------------------------------- set-up

    @property
    def counters(self) -> Counters:
        """What happened so far; the object goes on counting."""
        return self._endpoint.counters

    @property
    def in_flight(self) -> int:
        """Requests that await an answer, over all connections."""
        return self._endpoint.in_flight.used

    def waiters(self) -> list[ResponseWaiter]:
        """Who awaits an answer, over all connections."""
        return [waiter for channel in (*self._channels.values(), *self._retired) for waiter in channel.waiters()]

    def add_hook(self, hook: RPCHook) -> None:
        """Add a hook behind those added before. Requests are signed behind all of them: a signature covers what they add."""
        self._arrange((*self.hooks, hook))

    def _arrange(self, hooks: Iterable[RPCHook]) -> None:
        others = tuple(hook for hook in hooks if hook is not self.signer)
        self.hooks = others if self.signer is None else (*others, self.signer)
        self.templated = not others and (self.signer is None or self.signer.fixed)

    def add_channel_listener(self, listener: ChannelListener) -> None:
        """Tell `listener` of every connection that is made or lost from now on."""
        self._listeners += (listener,)

    def register_processor(self, code: int, processor: Processor) -> None:
        """Let `processor` answer requests of code `code` that peers send; codes without one are answered with code 3."""
        self._endpoint.dispatcher.processors[code] = processor

    # --------------------------------------------------------------------------------------------------- connections

    def channel(self, address: str) -> Channel | None:
        """The connection to `address` if it stands; never waits."""
        channel = self._channels.get(address)
        return None if channel is None or channel.closed else channel

    async def connect(self, address: str, timeout: float | None = None) -> Channel:
        """The connection to `address`, made if there is none. Callers share one attempt; cancelling one does not disturb the others.

        Args:
            address: `host:port`, IPv6 as `[::1]:port`.
            timeout: Seconds that this caller waits; None waits for `connect_timeout`, which also bounds the attempt itself.

        Raises:
            ConnectError: No connection could be made in time; the text names address, phase and cause.
            TLSError: The TLS handshake failed.
            ClientClosedError: The client is not running.
        """
        if not self._running:
            raise ClientClosedError("the client is not running")
        channel = self.channel(address)
        if channel is not None:
            return channel
        attempt = self._attempts.get(address)
        if attempt is None:
            attempt = self._attempts[address] = ConnectAttempt(address)
            task = self._endpoint.dispatcher.tasks.spawn(f"connect {address}", self._run_attempt(attempt))
            task.add_done_callback(partial(self._attempt_ended, attempt))
        return await attempt.wait(self._config.connect_timeout if timeout is None else timeout)

    def close_channel(self, address: str) -> None:
        """Close the connection to `address` if there is one; what is pending on it fails at once."""
        channel = self._channels.get(address)
        if channel is not None:
            channel.close()

    def retire_channel(self, address: str, channel: Channel) -> None:
        """Use a new connection to `address` from now on, and close `channel` once its last request is answered."""
        if self._channels.get(address) is channel:
            del self._channels[address]
            if not channel.closed:
                self._retired.add(channel)
                channel.retire()

    async def _run_attempt(self, attempt: ConnectAttempt) -> None:
        address = attempt.address
        try:
            config = self._config
            channel = await attempt.dial(self._connector, self._endpoint, self._tls.current(), config.connect_timeout, config.address_map)
        except RemotingError as error:
            self._connect_failed(address, error)
            attempt.fail(error)
            return
        finally:
            del self._attempts[address]
        if self._proxies is not None:
            channel.peer = None  # what it is connected to is a proxy, perhaps: no other connection goes there directly
        self._channels[address] = channel
        level = logging.INFO if self.peers.connected(address) else logging.DEBUG
        logger.log(level, "connected to %s", address)
        attempt.succeed(channel)
        for listener in self._listeners:
            listener.on_connect(address, channel)

    def _attempt_ended(self, attempt: ConnectAttempt, task: asyncio.Task[None]) -> None:
        """Code outside of the library may have cancelled it, before its first step as well: it stands in nobody's way then."""
        if self._attempts.get(attempt.address) is attempt:
            del self._attempts[attempt.address]
        if task.cancelled():
            text = f"connecting to {attempt.address} was cancelled by code outside of the library"
            attempt.fail(ConnectError(text, address=attempt.address, maybe_sent=False, hint="try again"))

    def _connect_failed(self, address: str, error: RemotingError) -> None:
        self._endpoint.counters.connect_failures += 1
        # One warning when an address becomes unreachable; the tries after it are no news.
        level = logging.DEBUG if self.peers.unreachable(address, error.message) else logging.WARNING
        logger.log(level, "cannot connect: %s", error)

    def _channel_lost(self, channel: Channel) -> None:
        address = channel.address
        if self._channels.get(address) is channel:
            del self._channels[address]
            if not channel.meant_to_close and channel.quiet < UNUSED:
                self.peers.lost(address, channel.loss)
        elif channel in self._retired:
            self._retired.remove(channel)
        else:
            return  # lost before anybody was told of it
        logger.debug("the connection to %s is gone", address)
        for listener in self._listeners:
            listener.on_close(address, channel)

    # ------------------------------------------------------------------------------------------------------- requests

    async def invoke(self, address: str | None, command: RemotingCommand, timeout: float) -> RemotingCommand:
        """Send a request and wait for the response, whatever its code.

        Cancelling is safe: the request is given up, the connection stays good, a late answer is dropped.

        Args:
            address: `host:port`; None asks a name server: the one in use, then the next ones, all within `timeout`.
            command: The request; its header encoding is set from the configuration.
            timeout: Seconds for everything, connecting included.

        Raises:
            RequestTimeoutError: No response in time; `maybe_sent` tells whether the request can have been carried out.
            ConnectionLostError: The connection went before the response came.
            ConnectError, TLSError: No connection could be made.
            WrongProtocolError: The peer speaks something else.
            TooManyRequestsError: `client_async_semaphore_value` requests are in flight.
            NoNameServerError: `address` is None and no name server answered; the text has one reason for each.
            CredentialsError: There are no credentials to sign it with.
            ClientClosedError: The client is not running.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        if address is not None:
            return await self._invoke(address, command, deadline)
        return await self._ask_name_servers(lambda server, until: self._invoke(server, command, until), deadline)

    async def invoke_oneway(self, address: str | None, command: RemotingCommand, timeout: float) -> None:
        """Send a request that is never answered; returns when it is handed to the connection.

        Args:
            address: `host:port`; None takes a name server, as `invoke` does.
            command: The request; it is marked as one-way.
            timeout: Seconds for connecting and for room in the connection's buffer.

        Raises:
            RequestTimeoutError: The buffer stayed full; nothing was sent.
            ConnectError, ConnectionLostError, TLSError: No connection could be made; nothing was sent.
            TooManyRequestsError: `client_oneway_semaphore_value` calls are waiting; nothing was sent.
            NoNameServerError: `address` is None and no name server can be reached.
            ClientClosedError: The client is not running.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        if address is not None:
            await self._send_oneway(address, command, deadline)
            return
        await self._ask_name_servers(lambda server, until: self._send_oneway(server, command, until), deadline)

    async def _invoke(self, address: str, command: RemotingCommand, deadline: float) -> RemotingCommand:
        channel, frame = await self._prepare(address, command, deadline)
        response = await self._exchange(channel, command, frame, deadline)
        if response.code == ResponseCode.GO_AWAY:
            # The server is about to stop: one more try, on a connection of its own, that may reach its successor.
            self.retire_channel(address, channel)
            channel = await self.connect(address, self._remaining(address, deadline))
            command.opaque = next_opaque()
            response = await self._exchange(channel, command, self._encode(command), deadline)
        for hook in self.hooks:
            hook.after_response(address, command, response)
        return response

    async def _send_oneway(self, address: str, command: RemotingCommand, deadline: float) -> None:
        oneway = self._oneway
        if oneway.used >= oneway.limit:
            raise TooManyRequestsError(
                f"{oneway.limit} one-way requests are waiting, as many as client_oneway_semaphore_value allows",
                address=address,
                maybe_sent=False,
                hint="send more slowly, or raise the limit",
            )
        oneway.used += 1
        try:
            command.flag |= ONEWAY_FLAG
            channel, frame = await self._prepare(address, command, deadline)
            channel.send(frame)
        finally:
            oneway.used -= 1

    async def _prepare(self, address: str, command: RemotingCommand, deadline: float) -> tuple[Channel, bytes]:
        """A connection with room for one more frame, and the frame after all hooks."""
        channel = self.channel(address)
        if channel is None:
            remaining = self._remaining(address, deadline)
            channel = await self.connect(address, min(remaining, self._config.connect_timeout))
        if not channel.writable:
            try:
                async with asyncio.timeout_at(deadline):
                    await channel.drain()
            except TimeoutError:
                text = f"{address} takes no more data: the buffer of the connection stayed full"
                raise RequestTimeoutError(text, address=address, maybe_sent=False, hint="the server reads too slowly") from None
        if self.signer is not None and self.signer.awaits:
            await self.signer.fresh(deadline)
        for hook in self.hooks:
            hook.before_request(address, command)
        return channel, self._encode(command)

    def _encode(self, command: RemotingCommand) -> bytes:
        command.serialize_type = self._config.serialize_type
        frame = encode(command)
        if len(frame) - 4 > self._config.frame_max_length:
            raise ProtocolError(
                f"the request of code {command.code} has {len(frame)} bytes, frame_max_length is {self._config.frame_max_length}",
                hint="send less at once: servers close the connection on longer frames",
            )
        return frame

    async def _exchange(self, channel: Channel, command: RemotingCommand, frame: bytes, deadline: float) -> RemotingCommand:
        loop = asyncio.get_running_loop()
        started = loop.time()
        future: asyncio.Future[RemotingCommand] = loop.create_future()
        channel.submit(command.opaque, frame, _FutureWaiter(future), deadline)
        try:
            return await future
        except RequestTimeoutError as error:
            text = f"{error.message}: {_name(command)}, {loop.time() - started:.3g} s"
            raise RequestTimeoutError(text, address=error.address, maybe_sent=error.maybe_sent, hint=error.hint) from None
        except ConnectionLostError as error:
            wrong = wrong_protocol_of(error)
            if wrong is not None:
                raise wrong from None
            raise
        except asyncio.CancelledError:
            channel.forget(command.opaque)
            raise

    def _remaining(self, address: str, deadline: float) -> float:
        remaining = deadline - asyncio.get_running_loop().time()
        if remaining <= 0:
            raise RequestTimeoutError(f"no time was left to send to {address}", address=address, maybe_sent=False)
        return remaining

    # --------------------------------------------------------------------------------------------------- name servers

    @property
    def name_servers(self) -> tuple[str, ...]:
        """All name servers, the one in use first."""
        return self._names.candidates()

    @property
    def name_server_records(self) -> dict[str, NameServerRecord]:
        """How those name servers answer that were asked; they go on counting."""
        return self._names.records

    async def look_for_name_servers(self) -> None:
        """Connect to the name servers that have failed and are not in use: nobody else would ever notice that they are back."""
        for address in self._names.missing():
            try:
                await self.connect(address)
            except RemotingError as error:
                logger.debug("name server %s is still missing: %s", address, error)
            else:
                self._names.reached(address)

    def update_name_servers(self, addresses: Iterable[str]) -> bool:
        """Replace the list of name servers while running; connections to those that are gone close once they are unused.

        Args:
            addresses: Checked `host:port` strings.

        Returns:
            True when the list changed.
        """
        gone = self._names.update(addresses)
        if gone is None:
            return False
        logger.info("name servers are now %s", "; ".join(self._names.addresses) or "none")
        for address in gone:
            channel = self.channel(address)
            if channel is not None:
                self.retire_channel(address, channel)
        return True

    async def _ask_name_servers(self, ask: Callable[[str, float], Awaitable[_T]], deadline: float) -> _T:
        """Ask one name server after the other, each for its share of the time that is left."""
        loop = asyncio.get_running_loop()
        candidates = self._names.candidates()
        if not candidates:
            raise NoNameServerError("no name server is configured")
        failures: list[RocketMQError] = []
        for left, address in zip(range(len(candidates), 0, -1), candidates, strict=True):
            now = loop.time()
            if now >= deadline and failures:
                break
            try:
                answer = await ask(address, now + (deadline - now) / left)
            except TooManyRequestsError:
                raise
            except (RemotingError, WrongProtocolError) as error:
                failures.append(error)
                self._name_server_failed(address, error)
            else:
                self._names.answered(address, loop.time())
                return answer
        raise _all_failed(failures)

    def _name_server_failed(self, address: str, error: RocketMQError) -> None:
        if self._names.failed(address, error.message):
            self._endpoint.counters.name_server_switches += 1
            text = "name server %s failed, going on with %s: %s"
            now = asyncio.get_running_loop().time()
            self._endpoint.sparse_log.record(now, f"name server {address}", text, address, self._names.chosen, error.message)


def _connector(config: ClientConfig) -> Connector:
    """What opens connections: directly, or through the proxies of the configuration."""
    if config.socks_proxy_config is None:
        return open_connection
    from aiorocketmq.remoting.socks import open_through  # for those who have a proxy

    return partial(open_through, config.socks_proxy_config)


def _name(command: RemotingCommand) -> str:
    try:
        return f"{RequestCode(command.code).name} (code {command.code})"
    except ValueError:
        return f"code {command.code}"


def _all_failed(failures: list[RocketMQError]) -> RocketMQError:
    """One error for all name servers; of the kind that they have in common where the cure depends on it."""
    last = failures[-1]
    summary = "; ".join(failure.message for failure in failures)
    text = f"no name server answered: {summary}"
    if all(isinstance(failure, WrongProtocolError) for failure in failures):
        error: RocketMQError = WrongProtocolError(text, hint=last.hint)
    elif isinstance(last, TLSError) and all(isinstance(failure, TLSError) for failure in failures):
        secured = error = TLSError(text, maybe_sent=False, hint=last.hint)
        secured.reason = last.reason
        error.retriable = any(failure.retriable for failure in failures)
    else:
        error = NoNameServerError(text, hint=last.hint or None)
    error.cause = last
    return error
