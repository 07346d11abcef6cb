"""Settings as text, one `name=value` a line (Java: `MixAll.string2Properties`, `properties2String`, `java.util.Properties`).

So travel the settings of brokers (25, 26), name servers (318, 319) and controllers (1009, 1010), and limits of cold reads (2001).

Servers write names and values as they are, and read what they get with the escapes of `Properties`; so what is sent is escaped, and what
came is read line by line, without escapes: a Windows path keeps its backslashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiorocketmq.errors import ConfigError, ProtocolError

MAX_TEXT: Final = 1 << 20
"""Bytes of the longest text that is read; the settings of a real broker take 20 KB."""
_SPECIAL: Final = "\\:=#!"
_NAMED: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}


def parse_properties(data: bytes, what: str) -> dict[str, str]:
    """Read settings in the order in which they came; of two with one name the last counts, as in Java.

    Args:
        data: The body.
        what: What it is, for errors.

    Raises:
        ProtocolError: The text is too long, is not UTF-8, or holds a line that is no setting.
    """
    if len(data) > MAX_TEXT:
        raise ProtocolError(f"{what} has {len(data)} bytes; at most {MAX_TEXT} are read")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{what} is not UTF-8: {error}") from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip(" \t\r\f")
        if not line or line[0] in "#!":
            continue
        name, separator, value = line.partition("=")
        name = name.rstrip(" \t")
        if not separator or not name:
            raise ProtocolError(f"{what}: line {number} is {line[:60]!r}, not name=value")
        found[name] = value.lstrip(" \t")
    return found


def format_properties(settings: Mapping[str, str]) -> bytes:
    """Write settings, sorted by name, for a server to read: what `Properties` would read as something else is escaped.

    Raises:
        ConfigError: There is none, or a name is empty; the text names the value.
    """
    if not settings:
        raise ConfigError("no settings are given", hint="give at least one name and value")
    lines = []
    for name, value in sorted(settings.items()):
        if not isinstance(name, str) or not name.strip() or not isinstance(value, str):
            raise ConfigError(f"the setting {name!r} = {value!r} is not a name and a text")
        lines.append(f"{_escaped(name, name=True)}={_escaped(value, name=False)}\n")
    return "".join(lines).encode("ascii")


def _escaped(text: str, *, name: bool) -> str:
    out = []
    for index, char in enumerate(text):
        if char in _NAMED:
            out.append(_NAMED[char])
        elif char == " ":
            out.append("\\ " if name or not index else " ")  # leading blanks of a value are left out by the reader
        elif char == "\\" or (name and char in _SPECIAL):
            out.append("\\" + char)
        elif " " <= char <= "~":
            out.append(char)
        else:
            units = char.encode("utf-16-be", "surrogatepass").hex()
            out.extend(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
    return "".join(out)
