"""Settings of a running server as text, `name=value` by line (Java: `Configuration`, `MixAll.string2Properties`).

What may be changed from outside is a short list of switches. No request can change a path, a command or an address: that is how remote
code execution came into name servers and brokers (CVE-2023-33246, CVE-2023-37582).
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from aiorocketmq.errors import ProtocolError, broker_error
from aiorocketmq.protocol.codes import ResponseCode


def format_settings(settings: Mapping[str, str]) -> bytes:
    """One line each, in order of their names."""
    return "".join(f"{name}={settings[name]}\n" for name in sorted(settings)).encode()


def parse_settings(body: bytes, known: Mapping[str, str], changeable: Set[str]) -> dict[str, str]:
    """Read the settings to change.

    Raises:
        BrokerError: Code 16, one of them may not be changed; nothing is to be changed then.
        ProtocolError: The text cannot be read.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"the settings are not UTF-8: {error}") from None
    changes: dict[str, str] = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith(("#", "!")):
            continue
        name, separator, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if not separator or not name:
            raise ProtocolError(f"the settings hold the line {line[:80]!r}, which is not name=value")
        if known.get(name) == value:
            continue
        if name not in changeable:
            raise broker_error(ResponseCode.NO_PERMISSION, f"Can not update config in black list: {name}")
        changes[name] = value
    return changes
