"""How errors and log records show what others wrote: values of users, texts of peers, foreign errors (no Java twin).

Whatever a value is, showing it gives one line of bounded length, and never fails itself.
"""

from __future__ import annotations

import re
from typing import Any, Final

LONGEST_VALUE: Final = 200
"""Characters that are shown of a value."""
LONGEST_TEXT: Final = 1000
"""Characters that are shown of a peer's text."""

_LARGE_NUMBER: Final = 10**30
# What ends a line, moves the cursor, or has no form in UTF-8; blanks around it go with it.
_BREAKS: Final = re.compile(r"\s*[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+\s*")

# Foreign errors of these modules have all fields in `args`.
_PLAIN_MODULES: Final = frozenset({"builtins", "socket", "ssl"})
_PLAIN_TYPES: Final = frozenset({str, bytes, int, float, bool, type(None)})


def shown(value: object, most: int = LONGEST_VALUE) -> str:
    """`repr()` of a value, cut after `most` characters.

    Numbers whose digits would fill a screen (those of more than 4,300 cannot even be written) are told by their size, and values whose own
    `repr()` fails by their type.
    """
    if isinstance(value, int) and not -_LARGE_NUMBER < value < _LARGE_NUMBER:
        return f"of {int(value).bit_length()} bits"
    if isinstance(value, str | bytes | bytearray) and len(value) > most:
        value = value[: most + 1]  # the rest is not even looked at
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the user's own code: it shall not hide what is to be said about the value
        return f"<a {type(value).__name__}>"
    return text if len(text) <= most + 2 else f"{text[:most]}..."


def one_line(text: str, most: int = LONGEST_TEXT) -> str:
    """A text of a peer's on one line, without control characters, cut after `most` characters."""
    if len(text) > most:
        text = f"{text[:most]}... ({len(text)} characters)"
    return text if text.isprintable() else _BREAKS.sub(" ", text).strip()


def reason(error: BaseException) -> str:
    """Class and text of a foreign error."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - as in `shown()`
        text = "(its text cannot be read)"
    return f"{type(error).__name__}: {one_line(text)}"


def travels(error: BaseException) -> bool:
    """True for a foreign error that can be pickled as it is: a builtin one with plain values. Of others only the text is sure to arrive."""
    return type(error).__module__ in _PLAIN_MODULES and all(map(_is_plain, (*error.args, *vars(error).values())))


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN_TYPES or (type(value) is list and all(map(_is_plain, value)))
