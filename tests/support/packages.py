"""Packages of extras that a test needs."""

from __future__ import annotations

import pytest

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.enums import CompressionType
from aiorocketmq.protocol.compression import INSTALL, Compressor


def need(kind: CompressionType) -> None:
    """Skip the test where nothing can make this kind of compression."""
    try:
        Compressor(kind)
    except ConfigError as error:
        pytest.skip(f"{error.message}: {INSTALL}")
