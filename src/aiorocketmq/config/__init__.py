"""The configuration of a client: `ClientConfig`, `Credentials`, `TLS`, and the ways to write them (Java: `ClientConfig`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiorocketmq.config.client import DEFAULT_INSTANCE_NAME, FRAME_MAX_LENGTH, NAME_SERVER_ENV, ClientConfig
from aiorocketmq.config.credentials import Credentials, CredentialsFile, CredentialsProvider, CredentialsSource
from aiorocketmq.config.values import TLS, NameServers, ServerTLS, parse_name_servers

if TYPE_CHECKING:
    from aiorocketmq.config.fields import ClientFields

__all__ = [
    "DEFAULT_INSTANCE_NAME",
    "FRAME_MAX_LENGTH",
    "NAME_SERVER_ENV",
    "TLS",
    "ClientConfig",
    "ClientFields",
    "Credentials",
    "CredentialsFile",
    "CredentialsProvider",
    "CredentialsSource",
    "NameServers",
    "ServerTLS",
    "parse_name_servers",
]
