"""What the owner of a client may hang into it: hooks around requests and listeners of connections (Java: `RPCHook`,
`ChannelEventListener`). Features O15, O16.
"""

from __future__ import annotations

from typing import Protocol

from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.channel import Channel


class RPCHook(Protocol):
    """Sees every request before it is encoded and every response to it. Called from the event loop; must not block."""

    def before_request(self, address: str, command: RemotingCommand) -> None:
        """May change `command`. Called again, with the same command, when it goes to another name server."""

    def after_response(self, address: str, request: RemotingCommand, response: RemotingCommand) -> None:
        """Called for a response of any code, not for a request that got none."""


class ChannelListener(Protocol):
    """Is told of connections. Called from the event loop; must not block or raise."""

    def on_connect(self, address: str, channel: Channel) -> None:
        """A connection stands."""

    def on_close(self, address: str, channel: Channel) -> None:
        """A connection is gone; `channel.closed` is True."""
