"""Compressed message bodies (Java: `CompressorFactory`, `ZlibCompressor`). Features A10, A12.

The kind of compression is in bits 8 to 10 of the message's system flag; 0 together with the compressed bit means zlib, which is what old
clients send.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final

from aiorocketmq.errors import ProtocolError
from aiorocketmq.protocol.sysflag import MessageSysFlag

DEFAULT_LEVEL: Final = 5
DEFAULT_THRESHOLD: Final = 4096
"""Bytes from which on the Java producer compresses a body."""
ZLIB_FLAGS: Final = MessageSysFlag.COMPRESSED | MessageSysFlag.COMPRESSION_ZLIB
"""Bits of the system flag that a zlib body needs."""

_NAMES: Final = {MessageSysFlag.COMPRESSION_LZ4: "LZ4", MessageSysFlag.COMPRESSION_ZSTD: "ZSTD"}


def compress(body: bytes, level: int = DEFAULT_LEVEL) -> bytes:
    """Compress a body with zlib (RFC 1950).

    Args:
        body: The body.
        level: 0 (none) to 9 (best).
    """
    return zlib.compress(body, level)


def decompress(body: bytes, sys_flag: int, limit: int) -> bytes:
    """Decompress a body; one that is not compressed comes back as it is.

    Args:
        body: The body as stored.
        sys_flag: The message's system flag.
        limit: Most bytes that may come out; memory stays near this however small the input is.

    Raises:
        ProtocolError: The kind is not supported, the data is damaged, or more than `limit` bytes would come out.
    """
    if not sys_flag & MessageSysFlag.COMPRESSED:
        return body
    kind = sys_flag & MessageSysFlag.COMPRESSION_MASK
    if kind not in (0, MessageSysFlag.COMPRESSION_ZLIB):
        name = _NAMES.get(kind, f"kind {kind >> 8}")
        raise ProtocolError(f"the message body is compressed with {name}", hint="let the producer compress with zlib, or not at all")
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise ProtocolError(f"the compressed message body is damaged: {error}") from None
    if len(data) > limit:
        raise ProtocolError(f"the message body takes more than {limit} bytes when decompressed", hint="raise the limit of message bodies")
    if not inflater.eof:
        raise ProtocolError("the compressed message body is damaged: it ends too early")
    return data


@lru_cache(maxsize=16)
def inflater(limit: int) -> Callable[[bytes, int], bytes]:
    """`decompress` with a fixed limit, as `ReceivedMessage` wants it: called with (body, sys_flag)."""
    return partial(decompress, limit=limit)  # not a function of its own: messages carry it when they are pickled
