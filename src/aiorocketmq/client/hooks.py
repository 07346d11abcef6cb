"""Hooks that the instance itself puts around requests (Java: `StreamTypeRPCHook`). Feature Q67."""

from __future__ import annotations

from typing import Final

from aiorocketmq.protocol.command import RemotingCommand

REQUEST_TYPE_FIELD: Final = "ReqT"
STREAM_REQUEST: Final = "0"


class StreamRequestHook:
    """Marks every request as one of a stream client."""

    def before_request(self, address: str, command: RemotingCommand) -> None:
        """Add the mark."""
        command.ext_fields[REQUEST_TYPE_FIELD] = STREAM_REQUEST

    def after_response(self, address: str, request: RemotingCommand, response: RemotingCommand) -> None:
        """Nothing to do."""
