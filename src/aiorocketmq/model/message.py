"""Messages as users write them (Java: `Message`); the ones that they read are in `received`. Features A1-A4, A17, A18, A20, A23."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from math import isfinite
from typing import Any

from aiorocketmq.errors import InvalidMessageError
from aiorocketmq.model import properties as props
from aiorocketmq.model.names import check_topic

try:
    from mypy_extensions import mypyc_attr
except ImportError:
    from aiorocketmq.model.compiling import mypyc_attr

MAX_DELAY_LEVEL = 18


def _check_property(name: object, value: object) -> None:
    if not isinstance(name, str) or not name.strip():
        raise InvalidMessageError(f"property name {name!r} is empty or not a string", hint="give a non-empty string")
    if name in props.RESERVED:
        raise InvalidMessageError(f"property name {name!r} is reserved by RocketMQ", hint="use tag=, keys=, delay= ..., or another name")
    if not isinstance(value, str) or not value:
        raise InvalidMessageError(
            f"property {name!r} has the value {value!r}; RocketMQ keeps non-empty strings only",
            hint="give a non-empty string, or leave it out",
        )
    if "\x01" in name or "\x02" in name or "\x01" in value or "\x02" in value:
        raise InvalidMessageError(f"property {name!r} contains U+0001 or U+0002, which separate properties on the wire")


def _check_words(field: str, value: Any) -> None:
    if "\x01" in value or "\x02" in value:
        raise InvalidMessageError(f"{field} {value!r} contains U+0001 or U+0002, which separate properties on the wire")


def _check_sharding_key(key: object) -> None:
    if not isinstance(key, str) or not key:
        raise InvalidMessageError(f"sharding_key {key!r} is empty or not a string", hint="give a non-empty string")
    _check_words("sharding_key", key)


def _number(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise InvalidMessageError(f"{field} {value!r} is not a number of seconds", hint="give a finite number")
    return float(value)


def _keys(keys: str | Iterable[str]) -> tuple[str, ...]:
    if not isinstance(keys, Iterable):
        raise InvalidMessageError(f"keys {keys!r} is a {type(keys).__name__}", hint="give one string, or a list of strings")
    words: tuple[Any, ...] = (keys,) if isinstance(keys, str) else tuple(keys)
    for key in words:
        if not isinstance(key, str) or not key or key.split() != [key]:
            raise InvalidMessageError(
                f"key {key!r} is empty, holds blanks or is not a string", hint="keys are words; give several as a list"
            )
        _check_words("key", key)
    return words


@mypyc_attr(allow_interpreted_subclasses=True)
class Message:
    """A message to send. Not changed by sending: the same object can be sent again and gets a new id each time.

    Args:
        topic: Topic name; checked when the message is sent.
        body: Bytes of the body, 1 byte to the producer's `max_message_size` (4 MiB by default).
        tag: One tag that consumers can filter by, or None.
        keys: Words by which the message can be found later: one string or an iterable of strings without blanks.
        properties: User properties; names and values are non-empty strings, reserved names are refused.
        delay: Deliver after this many seconds (float or timedelta), to the millisecond; needs a 5.x broker (A18).
        deliver_at: Deliver at this time: an aware datetime, or seconds since the epoch; needs a 5.x broker (A18).
        delay_level: Deliver after a fixed delay, 1 (1 s) to 18 (2 h); works on every broker (A17).
        sharding_key: Stored with the message; `send(..., sharding_key=...)` also chooses the queue by it (A20).
        flag: A number of the user's own, 32 bits signed.
        wait_store_ok: False lets the broker answer before the message is flushed or replicated.
        buyer_id: Legacy routing id, or None.

    Raises:
        InvalidMessageError: One of the fields cannot work; the text names field, value and cure.
    """

    __slots__ = (
        "body",
        "buyer_id",
        "delay",
        "delay_level",
        "deliver_at",
        "flag",
        "keys",
        "properties",
        "sharding_key",
        "tag",
        "topic",
        "wait_store_ok",
    )

    def __init__(
        self,
        topic: str | StrEnum,
        body: bytes | bytearray | memoryview,
        *,
        tag: str | StrEnum | None = None,
        keys: str | Iterable[str] = (),
        properties: Mapping[str, str] | None = None,
        delay: float | timedelta | None = None,
        deliver_at: datetime | float | None = None,
        delay_level: int | IntEnum | None = None,
        sharding_key: str | StrEnum | None = None,
        flag: int | IntEnum = 0,
        wait_store_ok: bool = True,
        buyer_id: str | StrEnum | None = None,
    ) -> None:
        # Unions keep the compiled form from checking arguments with errors of its own, before they can be checked here.
        if not isinstance(body, bytes):
            if not isinstance(body, bytearray | memoryview):
                raise InvalidMessageError(f"body is a {type(body).__name__}, not bytes", hint="encode it first, for example text.encode()")
            body = bytes(body)
        if type(topic) is not str:
            check_topic(topic)
        if properties is not None and not isinstance(properties, Mapping):
            raise InvalidMessageError(f"properties is a {type(properties).__name__}, not a mapping", hint="give a dict of strings")
        self.topic = topic
        self.body = body
        self.tag = tag
        self.keys: tuple[str, ...] = _keys(keys) if keys else ()
        self.properties: dict[str, str] = dict(properties) if properties else {}
        self.delay: float | None = None
        self.deliver_at: float | None = None
        self.delay_level = delay_level
        self.sharding_key = sharding_key
        self.flag = flag
        self.wait_store_ok = wait_store_ok
        self.buyer_id = buyer_id
        if properties:
            given: dict[Any, Any] = self.properties
            for name, value in given.items():
                _check_property(name, value)
        any_tag: Any = tag  # a union is narrowed to what it should be, and that would be checked too
        any_key: Any = sharding_key
        if any_tag is not None:
            self._check_tag(any_tag)
        if any_key is not None:
            _check_sharding_key(any_key)
        if flag != 0 and (not isinstance(flag, int) or not -0x80000000 <= flag <= 0x7FFFFFFF):
            raise InvalidMessageError(f"flag {flag!r} is not a number of 32 bits signed")
        if delay is not None or deliver_at is not None or delay_level is not None:
            self._set_delay(delay, deliver_at, delay_level)

    @staticmethod
    def _check_tag(tag: object) -> None:
        if not isinstance(tag, str) or not tag.strip() or "||" in tag:
            raise InvalidMessageError(
                f"tag {tag!r} is empty, holds '||' or is not a string", hint="a message has one tag; leave it out for none"
            )
        _check_words("tag", tag)

    def _set_delay(self, delay: Any, deliver_at: Any, delay_level: Any) -> None:
        if sum(value is not None for value in (delay, deliver_at, delay_level)) > 1:
            raise InvalidMessageError("delay, deliver_at and delay_level exclude each other", hint="give one of them")
        if delay_level is not None and (not isinstance(delay_level, int) or not 1 <= delay_level <= MAX_DELAY_LEVEL):
            raise InvalidMessageError(f"delay_level {delay_level!r} is out of range", hint="use 1 (1 s) to 18 (2 h)")
        if delay is not None:
            self.delay = delay.total_seconds() if isinstance(delay, timedelta) else _number("delay", delay)
            if self.delay <= 0:
                raise InvalidMessageError(f"delay {delay!r} is not positive", hint="give seconds greater than 0")
        if deliver_at is not None:
            if isinstance(deliver_at, datetime):
                if deliver_at.tzinfo is None:
                    raise InvalidMessageError(
                        f"deliver_at {deliver_at!r} has no time zone", hint="use datetime.now(UTC) + ..., or seconds since the epoch"
                    )
                deliver_at = deliver_at.timestamp()
            self.deliver_at = _number("deliver_at", deliver_at)

    def wire_properties(self) -> dict[str, str]:
        """All properties of the message as they go over the wire, the reserved ones included; a new dictionary."""
        out = dict(self.properties)
        if self.tag is not None:
            out[props.TAGS] = self.tag
        if self.keys:
            out[props.KEYS] = " ".join(self.keys)
        out[props.WAIT] = "true" if self.wait_store_ok else "false"
        if self.sharding_key is not None:
            out[props.SHARDING_KEY] = self.sharding_key
        if self.delay_level is not None:
            out[props.DELAY] = str(self.delay_level)
        if self.delay is not None:
            out[props.TIMER_DELAY_MS] = str(round(self.delay * 1000))
        if self.deliver_at is not None:
            out[props.TIMER_DELIVER_MS] = str(round(self.deliver_at * 1000))
        if self.buyer_id is not None:
            out[props.BUYER_ID] = self.buyer_id
        return out

    def wire_text(self, message_id: str, sharding_key: Any = None) -> str:
        """The properties with their id as one text of the wire (A3), at a third of the cost of `encode_properties(wire_properties())`.

        Args:
            message_id: The unique id of this send.
            sharding_key: A string that goes in place of the message's own sharding key; None keeps that.

        Raises:
            InvalidMessageError: A property that was put into `properties` after the message was made cannot be sent.
        """
        text = f"{props.UNIQ_KEY}\x01{message_id}\x02{props.WAIT}\x01{'true' if self.wait_store_ok else 'false'}\x02"
        if self.tag is not None:
            text += f"{props.TAGS}\x01{self.tag}\x02"
        if self.keys:
            text += f"{props.KEYS}\x01{' '.join(self.keys)}\x02"
        if sharding_key is not None:
            _check_sharding_key(sharding_key)
        elif self.sharding_key is not None:
            sharding_key = self.sharding_key
        if sharding_key is not None:
            text += f"{props.SHARDING_KEY}\x01{sharding_key}\x02"
        if self.delay_level is not None:
            text += f"{props.DELAY}\x01{self.delay_level}\x02"
        if self.delay is not None:
            text += f"{props.TIMER_DELAY_MS}\x01{round(self.delay * 1000)}\x02"
        if self.deliver_at is not None:
            text += f"{props.TIMER_DELIVER_MS}\x01{round(self.deliver_at * 1000)}\x02"
        if self.buyer_id is not None:
            text += f"{props.BUYER_ID}\x01{self.buyer_id}\x02"
        if self.properties:
            given: dict[Any, Any] = self.properties
            for name, value in given.items():
                _check_property(name, value)
            text += props.encode_properties(self.properties)
        return text

    @property
    def delayed(self) -> bool:
        """True when the message asks for any kind of delay."""
        return self.delay_level is not None or self.delay is not None or self.deliver_at is not None

    def __repr__(self) -> str:
        return f"Message(topic={self.topic!r}, body=<{len(self.body)} bytes>, tag={self.tag!r}, keys={self.keys!r})"
