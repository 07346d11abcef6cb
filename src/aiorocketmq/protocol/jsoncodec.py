"""The one place that chooses how strict JSON is read and written: orjson when it is installed, the standard library otherwise.

Both twins accept and produce the same values; `use_orjson` switches between them in tests. The fast library refuses two things that
the wire may hold, text with lone surrogates and bytes that are not UTF-8: those go to the standard library.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

try:
    import orjson
except ImportError:  # the library has no required dependency
    orjson = None  # type: ignore[assignment]

HAVE_ORJSON: bool = orjson is not None  # not Final: compiled code would not see that a test changes it

std_quote: Final = json.encoder.encode_basestring_ascii
_std_encoder: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)


def _std_loads(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8", "surrogateescape"))
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None


def std_dumps(value: Any) -> bytes:
    return _std_encoder.encode(value).encode("ascii")


def _std_quote_bytes(text: str) -> bytes:
    return std_quote(text).encode("ascii")


def _fast_loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except ValueError:
        return _std_loads(data)


def _fast_dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        return std_dumps(value)


def _fast_quote_bytes(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except TypeError:
        return _std_quote_bytes(text)


loads: Callable[[bytes], Any]
"""Parse strict JSON; raises `ValueError`. Bytes that are not UTF-8 become surrogate escapes."""
dumps: Callable[[Any], bytes]
"""Write compact JSON with string keys only; lone surrogates are written as escapes."""
quote: Callable[[str], bytes]
"""Write one JSON string, with its quotes."""


def use_orjson(enabled: bool) -> None:
    """Choose the codec for the whole process.

    Args:
        enabled: True for orjson, False for the standard library.

    Raises:
        ImportError: orjson is wanted and not installed.
    """
    global loads, dumps, quote
    if enabled:
        if not HAVE_ORJSON:
            raise ImportError("orjson is not installed: pip install aiorocketmq[fast]")
        loads, dumps, quote = _fast_loads, _fast_dumps, _fast_quote_bytes
    else:
        loads, dumps, quote = _std_loads, std_dumps, _std_quote_bytes


use_orjson(HAVE_ORJSON)
