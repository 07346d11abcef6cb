"""Numbers, times and addresses: the one parser for everything that users, files, name servers and peers write.

Java: `Integer.parseInt`, `Long.parseLong`, `RemotingHelper.string2SocketAddress`, `NetworkUtil.socketAddress2String`. Only the ASCII digits
count: Python's `int()` and `str.isdigit()` know others, blanks and underscores too, and disagree about some of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from aiorocketmq.errors import ConfigError, RocketMQError

INT32_MAX: Final = (1 << 31) - 1
INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1
YEAR_10000: Final = 253_402_300_800
"""Seconds since the epoch; what is beyond is meant as milliseconds, or does not fit."""
MAX_PORT: Final = 65535

MakeError = Callable[..., RocketMQError]
"""The class of an error, or what else makes one of a text and `hint=`."""

_SIGNED: Final = re.compile(r"[+-]?[0-9]{1,19}")
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
# What separates addresses, belongs to URLs, or cannot be printed has no place in a host name.
_HOST: Final = re.compile(r"[^\s\x00-\x1f\x7f:/;,@\[\]?#]+")
_IPV6: Final = re.compile(r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(?:%[^\s\x00-\x1f\x7f:/;,@\[\]?#]+)?")
_LONGEST_SHOWN: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS: Final = (datetime(1, 1, 2, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_LAST_MS: Final = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


class Address(NamedTuple):
    """Host and port; an IPv6 host is without brackets here, and in brackets in the text."""

    host: str
    port: int

    def __str__(self) -> str:
        return format_address(self.host, self.port)


def number_or_none(text: str, low: int = INT64_MIN, high: int = INT64_MAX) -> int | None:
    """The whole number that `text` stands for: ASCII digits with or without a sign.

    Args:
        text: The text; None comes back for anything but a number of at most 19 digits, and nothing is stripped.
        low: Smallest number accepted; 64 bits signed by default.
        high: Largest number accepted.
    """
    if _SIGNED.fullmatch(text) is None:
        return None
    value = int(text)
    return value if low <= value <= high else None


def parse_number(
    text: str,
    what: str,
    low: int = INT64_MIN,
    high: int = INT64_MAX,
    *,
    error: MakeError = ConfigError,
    hint: str | None = None,
) -> int:
    """As `number_or_none()`, with an error that names field, value and cure.

    Args:
        text: The text.
        what: What the number stands for, as the user knows it.
        low: Smallest number accepted.
        high: Largest number accepted.
        error: Class of the error, or what else makes it of a text and `hint=`.
        hint: The cure; by default the range is named.

    Raises:
        RocketMQError: An `error`; the text is no whole number from `low` to `high`.
    """
    value = number_or_none(text, low, high)
    if value is None:
        raise error(f"{what} {_shown(text)} is not a whole number from {low} to {high}", hint=hint or "write it in the digits 0 to 9")
    return value


def decimal_or_none(text: str) -> float | None:
    """The number with a fraction that `text` stands for, `2.5` or `1e-3`; None for anything else, `nan` and `inf` among it."""
    if len(text) > _LONGEST_SHOWN or _DECIMAL.fullmatch(text) is None:
        return None
    value = float(text)
    return value if abs(value) != float("inf") else None


def time_or_none(milliseconds: int) -> datetime | None:
    """The time in UTC that is so long after the epoch; None where there is none: senders may write microseconds, or nonsense.

    The first and the last day of the calendar are left out, so that the time can be shown in every time zone.
    """
    return _EPOCH + timedelta(milliseconds=milliseconds) if _FIRST_MS <= milliseconds <= _LAST_MS else None


def format_address(host: str, port: int) -> str:
    """`host:port`; an IPv6 host gets brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_or_none(text: str) -> Address | None:
    """The address in `host:port`, or `[host]:port` for IPv6, with a port from 1 to 65535; None for anything else.

    A host is not looked up: any name without blanks, brackets and the separators of lists and URLs will do.
    """
    host, _, port = text.rpartition(":")
    number = number_or_none(port, 1, MAX_PORT) if port[:1] not in ("+", "-") else None
    if number is None:
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        return Address(host, number) if _IPV6.fullmatch(host) else None
    return Address(host, number) if _HOST.fullmatch(host) else None


def parse_address(text: str, what: str, *, error: MakeError = ConfigError) -> Address:
    """As `address_or_none()`, with an error that names field, value and cure.

    Args:
        text: The text.
        what: What the address stands for, as the user knows it.
        error: Class of the error, or what else makes it of a text and `hint=`.

    Raises:
        RocketMQError: An `error`; the text is not an address.
    """
    address = address_or_none(text)
    if address is not None:
        return address
    shown = _shown(without_user(text))
    if "://" in text:
        raise error(f"{what} {shown} is a URL", hint="write host:port without a scheme")
    host, _, port = text.rpartition(":")
    if _IPV6.fullmatch(host) and number_or_none(port, 1, MAX_PORT) is not None:
        raise error(f"{what} {shown} is an IPv6 address without brackets", hint="write [address]:port")
    raise error(f"{what} {shown} is not an address", hint=f"write host:port with a port from 1 to {MAX_PORT}, for example 127.0.0.1:9876")


def parse_addresses(value: str | Iterable[str] | None, what: str, *, error: MakeError = ConfigError) -> tuple[str, ...]:
    """Checked `host:port` texts out of `a:9876;b:9876` (commas will do as well) or a list, in order, without repeats.

    Args:
        value: The list; None and blank entries give nothing.
        what: What one address stands for, as the user knows it.
        error: Class of the error, or what else makes it of a text and `hint=`.

    Raises:
        RocketMQError: An `error`; an entry is not an address.
    """
    if value is None:
        return ()
    if not isinstance(value, str | Iterable) or isinstance(value, bytes | bytearray):
        raise error(f"{what} {value!r} is a {type(value).__name__}, not a string", hint="write host:port;host:port, or give a list")
    entries = value.replace(",", ";").split(";") if isinstance(value, str) else value
    found: dict[str, None] = {}
    for entry in entries:
        if not isinstance(entry, str):
            raise error(f"{what} {entry!r} is a {type(entry).__name__}, not a string", hint="write host:port")
        text = entry.strip()
        if text:
            parse_address(text, what, error=error)
            found[text] = None
    return tuple(found)


def without_user(text: str) -> str:
    """An address or a URL as it may be shown: user and password stand before the last '@', whatever else is in them."""
    before, at, after = text.rpartition("@")
    scheme, mark, _ = before.partition("://")
    return f"{scheme + mark if mark else ''}***@{after}" if at and (mark or ":" in before) else text


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]!r}..."


def moment(milliseconds: int) -> datetime | None:
    """A time that a server tells; 0 and below mean that there is none."""
    return time_or_none(milliseconds) if milliseconds > 0 else None
