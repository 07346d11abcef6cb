"""What the settings of brokers and of name servers have in common."""

from __future__ import annotations

from collections.abc import Mapping

from aiorocketmq.errors import ConfigError
from aiorocketmq.protocol.settings import format_settings


def settings_body(values: Mapping[str, str]) -> bytes:
    """Settings to change, as servers read them.

    Raises:
        ConfigError: They are no mapping, there are none, or one has a name or value that cannot be.
    """
    if not isinstance(values, Mapping) or not values:
        raise ConfigError(f"values {values!r} is no mapping of settings, or empty", hint='write {"flushDiskType": "ASYNC_FLUSH"}')
    for name, value in values.items():
        if not isinstance(name, str) or not name.strip() or any(char in name for char in "=\r\n#!"):
            raise ConfigError(f"setting {name!r} is no name", hint="use the name that the server's settings() tell")
        if not isinstance(value, str) or any(char in value for char in "\r\n"):
            raise ConfigError(f"setting {name!r} is {value!r}", hint="give a text of one line")
    return format_settings(values)
