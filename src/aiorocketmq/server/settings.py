"""Which settings of a running server may be changed from outside (Java: `Configuration`).

It is a short list of switches. No request can change a path, a command or an address: that is how remote
code execution came into name servers and brokers (CVE-2023-33246, CVE-2023-37582).
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from aiorocketmq.errors import broker_error
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.settings import read_settings


def parse_settings(body: bytes, known: Mapping[str, str], changeable: Set[str]) -> dict[str, str]:
    """Read the settings to change.

    Raises:
        BrokerError: Code 16, one of them may not be changed; nothing is to be changed then.
        ProtocolError: The text cannot be read.
    """
    changes: dict[str, str] = {}
    for name, value in read_settings(body).items():
        if known.get(name) == value:
            continue
        if name not in changeable:
            raise broker_error(ResponseCode.NO_PERMISSION, f"Can not update config in black list: {name}")
        changes[name] = value
    return changes
