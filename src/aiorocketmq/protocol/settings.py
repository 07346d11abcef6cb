"""Settings of a server as text, `name=value` by line (Java: `MixAll.properties2String`, `string2Properties`)."""

from __future__ import annotations

from collections.abc import Mapping

from aiorocketmq.errors import ProtocolError


def format_settings(settings: Mapping[str, str]) -> bytes:
    """One line each, in order of their names."""
    return "".join(f"{name}={settings[name]}\n" for name in sorted(settings)).encode()


def read_settings(body: bytes) -> dict[str, str]:
    """The settings of a text; lines that are empty or begin with `#` or `!` say nothing.

    Raises:
        ProtocolError: The text cannot be read.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"the settings are not UTF-8: {error}") from None
    settings: dict[str, str] = {}
    for line in text.split("\n"):
        line = line.strip()
        if not line or line.startswith(("#", "!")):
            continue
        name, separator, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if not separator or not name:
            raise ProtocolError(f"the settings hold the line {line[:80]!r}, which is not name=value")
        settings[name] = value
    return settings
