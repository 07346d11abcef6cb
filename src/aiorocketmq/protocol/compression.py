"""Compressed message bodies (Java: `CompressorFactory`, `ZlibCompressor`, `Lz4Compressor`, `ZstdCompressor`). Features A10-A13, U8.

The kind of compression is in bits 8 to 10 of the message's system flag; 0 together with the compressed bit means zlib, which is what old
clients send. zlib is RFC 1950, LZ4 its frame format, ZSTD its stream. zlib is a part of Python; the others are the extra `compression`, and
from Python 3.14 on ZSTD is a part of Python, too. They are imported when the first body needs them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from types import ModuleType
from typing import Any, Final, Protocol

from aiorocketmq.errors import ConfigError, ProtocolError
from aiorocketmq.model.enums import CompressionType
from aiorocketmq.protocol.sysflag import MessageSysFlag

DEFAULT_LEVEL: Final = 5
DEFAULT_THRESHOLD: Final = 4096
"""Bytes from which on the Java producer compresses a body."""
ZLIB_FLAGS: Final = MessageSysFlag.COMPRESSED | MessageSysFlag.COMPRESSION_ZLIB
"""Bits of the system flag that a zlib body needs."""
LEVELS: Final = {CompressionType.ZLIB: (0, 9), CompressionType.LZ4: (0, 12), CompressionType.ZSTD: (1, 22)}
"""Lowest and highest level of each kind."""
MAX_FRAMES: Final = 256
"""LZ4 and ZSTD frames of one body at most: clients write one, and hundreds of thousands of empty ones would take minutes."""
INSTALL: Final = "pip install 'aiorocketmq[compression]'"

_KINDS: Final = {0: CompressionType.ZLIB, **{kind.value << 8: kind for kind in CompressionType}}
_MODULES: Final = {CompressionType.LZ4: ("lz4.frame",), CompressionType.ZSTD: ("compression.zstd", "backports.zstd")}


class _Decompressor(Protocol):
    """What the decompressors of zlib, lz4 and zstd have in common."""

    eof: bool
    unused_data: bytes | None

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


@lru_cache
def _module(kind: CompressionType) -> ModuleType | None:
    """The module for a kind other than zlib, or None where it is not installed."""
    for name in _MODULES[kind]:
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


def compress(body: bytes, level: int = DEFAULT_LEVEL) -> bytes:
    """Compress a body with zlib (RFC 1950).

    Args:
        body: The body.
        level: 0 (none) to 9 (best).
    """
    return zlib.compress(body, level)


class Compressor:
    """Compresses bodies in one way.

    Args:
        kind: How.
        level: One of `LEVELS`; from 3 on, LZ4 has its slow, better form. None takes what Java takes: 5 for zlib and ZSTD, 0 for LZ4.

    Attributes:
        compress: Compresses a body, whether that makes it smaller or not.
        flags: Bits of the system flag that its bodies need.

    Raises:
        ConfigError: The package for this kind is not installed.
    """

    __slots__ = ("compress", "flags")

    def __init__(self, kind: CompressionType = CompressionType.ZLIB, level: int | None = None) -> None:
        if level is None:
            level = 0 if kind is CompressionType.LZ4 else DEFAULT_LEVEL
        self.flags: int = MessageSysFlag.COMPRESSED | kind.value << 8
        self.compress: Callable[[bytes], bytes]
        if kind is CompressionType.ZLIB:
            self.compress = partial(compress, level=level)
            return
        module = _module(kind)
        if module is None:
            raise ConfigError(f"compress_type {kind.name} needs a package that is not installed", hint=INSTALL)
        if kind is CompressionType.LZ4:
            # Java's reader takes only frames whose blocks do not refer to each other.
            self.compress = partial(module.compress, compression_level=level, block_linked=False)
        else:
            self.compress = partial(module.compress, level=level)

    def pack(self, body: bytes) -> tuple[bytes, int]:
        """The body compressed, with `flags`; as it is, with 0, when that is no larger."""
        packed = self.compress(body)
        return (packed, self.flags) if len(packed) < len(body) else (body, 0)


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
    bits = sys_flag & MessageSysFlag.COMPRESSION_MASK
    kind = _KINDS.get(bits)
    if kind is None:
        raise ProtocolError(
            f"the message body is compressed with kind {bits >> 8}", hint="let the producer compress with zlib, or not at all"
        )
    make, errors = _reader(kind)
    parts: list[bytes] = []
    room = limit + 1
    try:
        for _ in range(MAX_FRAMES):
            reader = make()
            parts.append(reader.decompress(body, room))
            room -= len(parts[-1])
            if room <= 0:
                raise ProtocolError(
                    f"the message body takes more than {limit} bytes when decompressed", hint="raise max_decompressed_length"
                )
            if not reader.eof:
                raise ProtocolError("the compressed message body is damaged: it ends too early")
            if not reader.unused_data or kind is CompressionType.ZLIB:  # LZ4 and ZSTD may come as several frames
                return parts[0] if len(parts) == 1 else b"".join(parts)
            body = reader.unused_data
        raise ProtocolError(f"the compressed message body is damaged: it has more than {MAX_FRAMES} frames")
    except errors as error:
        raise ProtocolError(f"the compressed message body is damaged: {error}") from None


def _reader(kind: CompressionType) -> tuple[Callable[[], _Decompressor], tuple[type[Exception], ...]]:
    """What makes a decompressor, and what that raises on damaged data.

    Raises:
        ProtocolError: The package for this kind is not installed.
    """
    if kind is CompressionType.ZLIB:
        inflate: Any = zlib.decompressobj
        return inflate, (zlib.error,)
    module: Any = _module(kind)
    if module is None:
        raise ProtocolError(f"the message body is compressed with {kind.name}, whose package is not installed", hint=INSTALL)
    if kind is CompressionType.LZ4:
        return module.LZ4FrameDecompressor, (RuntimeError, EOFError)
    return module.ZstdDecompressor, (module.ZstdError, EOFError)


@lru_cache(maxsize=16)
def inflater(limit: int) -> Callable[[bytes, int], bytes]:
    """`decompress` with a fixed limit, as `ReceivedMessage` wants it: called with (body, sys_flag)."""
    return partial(decompress, limit=limit)  # not a function of its own: messages carry it when they are pickled
