"""The folder of a server belongs to one server at a time (Java: `lock` and `abort` in the store's folder, `DefaultMessageStore.start`).

SQLite locks its files, too, but where these are POSIX locks a process loses them as soon as it closes any handle on the same file: a backup
made by the server's own process would let a second server in, and each would overwrite what the other has acknowledged. The lock here
does not fall with other handles, and the file that it is on holds nothing that anybody would read.
"""

from __future__ import annotations

import errno
import logging
import os
import weakref
from pathlib import Path
from typing import BinaryIO, Final

from aiorocketmq.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows, where SQLite's own locks stay until they are given back
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("aiorocketmq.server")

LOCK_FILE: Final = "server.lock"
_TAKEN: Final = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class FolderLock:
    """The lock of one folder; free at first.

    Args:
        folder: The folder; it is made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None

    def take(self) -> None:
        """Take the lock; it is free again after `release()`, or when the process ends in whatever way.

        Raises:
            ConfigError: Another server has it, or the folder cannot be used.
        """
        try:
            if self._folder.exists() and not self._folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "it is no folder")
            self._folder.mkdir(parents=True, exist_ok=True)
            file = (self._folder / LOCK_FILE).open("ab")
        except OSError as error:
            raise ConfigError(
                f"data_dir: {self._folder} cannot be used: {error}", hint="give a folder that this user may write to", cause=error
            ) from None
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                file.close()
                text = f"data_dir: {self._folder} is in use by another server"
                raise ConfigError(text, hint="stop the other server, or give another folder", cause=error) from None
            logger.debug("the file system of %s has no locks: %s", self._folder, error)
        self._file = file
        _taken.add(self)

    def release(self) -> None:
        """Give it back; does nothing when it is free."""
        file, self._file = self._file, None
        _taken.discard(self)
        if file is not None:
            file.close()


_taken: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for lock in list(_taken):
        lock.release()  # a child that lives on must not hold what its parent has given back


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
