"""What the tests of this package share."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import pytest

from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import RemotingError
from aiorocketmq.protocol.command import RemotingCommand, next_opaque
from aiorocketmq.protocol.frame import encode
from aiorocketmq.remoting.channel import Channel, Endpoint
from aiorocketmq.remoting.client import RemotingClient
from aiorocketmq.remoting.endpoint import ChannelSettings
from tests.support.memory_transport import MemoryNetwork, PeerConnection, ScriptedPeer, join

PEER = "peer:10911"


@dataclass
class Waiter:
    """Records what a channel told it."""

    responses: list[RemotingCommand] = field(default_factory=list)
    errors: list[RemotingError] = field(default_factory=list)

    def on_response(self, command: RemotingCommand) -> None:
        self.responses.append(command)

    def on_error(self, error: RemotingError) -> None:
        self.errors.append(error)

    @property
    def calls(self) -> int:
        return len(self.responses) + len(self.errors)

    @property
    def error(self) -> RemotingError:
        assert self.calls == 1, self
        return self.errors[0]

    @property
    def response(self) -> RemotingCommand:
        assert self.calls == 1, self
        return self.responses[0]


@dataclass
class Pair:
    """A channel, what it shares with others, and the scripted peer at its other end."""

    channel: Channel
    endpoint: Endpoint
    peer: ScriptedPeer
    lost: list[Channel]

    @property
    def connection(self) -> PeerConnection:
        return self.peer.connections[0]

    def submit(self, deadline: float, body: bytes = b"", code: int = 1) -> tuple[int, Waiter]:
        waiter = Waiter()
        opaque = next_opaque()
        self.channel.submit(opaque, encode(RemotingCommand(code, opaque=opaque, body=body)), waiter, deadline)
        return opaque, waiter


def pair(limit: int = 65535, **settings: Any) -> Pair:
    """Connect a channel to a scripted peer that echoes code 1 (its body comes back)."""
    lost: list[Channel] = []
    endpoint = Endpoint(ChannelSettings(**settings), in_flight_limit=limit, on_open=lambda _: None, on_lost=lost.append)
    peer = ScriptedPeer(MemoryNetwork(), PEER)
    peer.on(1, lambda request, _: RemotingCommand.response(request, body=request.body))
    channel = Channel(endpoint, PEER)
    join(channel, PeerConnection(peer), "here:1", PEER)
    return Pair(channel, endpoint, peer, lost)


async def started(network: MemoryNetwork | None = None, **fields: Any) -> RemotingClient:
    """A running client, on the in-memory network if one is given."""
    client = RemotingClient(ClientConfig(**fields), connector=network.connector if network is not None else None)
    await client.start()
    return client


def records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the library logged; asyncio's own remarks, for example about slow callbacks, are not ours."""
    return [record for record in caplog.records if record.name.startswith("aiorocketmq.")]
