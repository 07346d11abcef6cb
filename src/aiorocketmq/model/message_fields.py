"""Types of the arguments of `Message` (no Java twin)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Protocol, TypedDict


class MessageFields(TypedDict, total=False):
    """The arguments of `Message`, for `Message.replace()`."""

    topic: str
    body: bytes | bytearray | memoryview
    tag: str | None
    keys: str | Iterable[str]
    properties: Mapping[str, str] | None
    delay: float | timedelta | None
    deliver_at: datetime | float | None
    delay_level: int | None
    sharding_key: str | None
    flag: int
    wait_store_ok: bool
    buyer_id: str | None
    priority: int | None
    light_queues: str | Iterable[str]


class Switch(Protocol):
    """What only a bool is to type checkers. Beside `bool` it keeps the compiled form from checking it before the message can."""

    def __and__(self, value: bool, /) -> bool: ...
