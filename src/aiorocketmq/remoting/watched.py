"""Whether a file that a client has read is still the same."""

from __future__ import annotations

import os
from os import PathLike


def state_of(path: str | PathLike[str]) -> tuple[int, int, int] | None:
    """Time, size and number of a file: another state means that it is to be read again. None when it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None  # reading it says why
    return found.st_mtime_ns, found.st_size, found.st_ino
