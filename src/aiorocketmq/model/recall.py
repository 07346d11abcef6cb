"""Handles by which a message for later is taken back (Java: `RecallMessageHandle`). Feature A19.

A handle is the text `v1 topic broker time id`, its parts separated by blanks, in the URL-safe form of base64.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, NamedTuple, Self

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.parsing import number_or_none

_VERSION: Final = "v1"


class RecallHandle(NamedTuple):
    """What a handle says.

    Attributes:
        topic: Topic of the message.
        broker_name: Broker that keeps it until its time comes.
        deliver_ms: When that is, in milliseconds since the epoch, as the broker rounds it.
        message_id: The message's unique id.
    """

    topic: str
    broker_name: str
    deliver_ms: int
    message_id: str

    def encode(self) -> str:
        """The handle as it goes over the wire."""
        text = f"{_VERSION} {self.topic} {self.broker_name} {self.deliver_ms} {self.message_id}"
        return urlsafe_b64encode(text.encode("utf-8", "replace")).decode()

    @classmethod
    def decode(cls, handle: object) -> Self:
        """Read a handle.

        Raises:
            ConfigError: It is none.
        """
        if isinstance(handle, str) and handle:
            try:
                # Java takes handles without their padding, too; Python ignores what does not belong there, which Java refuses.
                data = urlsafe_b64decode(handle + "=" * (-len(handle) % 4))
                text = data.decode() if urlsafe_b64encode(data).rstrip(b"=") == handle.rstrip("=").encode() else ""
            except (binascii.Error, ValueError):  # the latter: characters beyond ASCII, or bytes that are no UTF-8
                text = ""
            parts = text.rstrip(" ").split(" ")
            if parts[0] == _VERSION and len(parts) >= 5:
                moment = number_or_none(parts[3])
                return cls(parts[1], parts[2], -1 if moment is None else moment, parts[4])
        shown = repr(handle) if len(repr(handle)) <= 100 else f"{repr(handle)[:100]}..."
        raise ConfigError(f"the recall handle {shown} is none", hint="take SendResult.recall_handle of the send that is to be taken back")
