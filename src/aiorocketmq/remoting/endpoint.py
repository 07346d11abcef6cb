"""What all channels of one client or one server share: limits, counters, and the log that does not flood."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

from aiorocketmq.errors import ConnectionLostError

logger = logging.getLogger("aiorocketmq.remoting")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """Limits of a channel; durations in seconds.

    Attributes:
        max_frame: Bytes of the longest frame accepted.
        idle_timeout: Close after this long without a byte in either direction, unless an answer is awaited.
        partial_frame_timeout: Close when a frame is still incomplete after this long and its bytes only trickle.
        close_if_silent: Close when a request timed out and nothing at all was received since it was sent (decision 0003).
        pause_reading_when_full: Take no more requests from a peer that does not read its answers. For servers only: two ends that
            both stop reading would wait for each other.
        max_unfinished: Bytes that the unfinished frames of all connections may take; the oldest one's connection is closed then. None
            for no limit.
        turn: Seconds of work on requests in one turn of the loop, see `processing`; None for no limit. Needs `pause_reading_when_full`.
        max_held_replies: Close when the answers that a peer does not read take more bytes than this; None for no limit.
    """

    max_frame: int = 16 * 1024 * 1024
    idle_timeout: float = 120.0
    partial_frame_timeout: float = 30.0
    close_if_silent: bool = False
    pause_reading_when_full: bool = False
    max_unfinished: int | None = None
    turn: float | None = None
    max_held_replies: int | None = None


@dataclass(slots=True)
class Counters:
    """What happened on all channels of one endpoint since it was made. Mutable: counted on the hot path.

    Attributes:
        opened: Connections made.
        lost: Connections that ended, for whatever reason.
        connect_failures: Connect attempts that failed.
        dropped_responses: Answers that nobody waited for: late, unknown, or sent twice.
        timeouts: Requests that got no answer in time.
        protocol_errors: Connections closed because the peer sent something illegal.
        name_server_switches: Times that another name server was chosen after a failure.
    """

    opened: int = 0
    lost: int = 0
    connect_failures: int = 0
    dropped_responses: int = 0
    timeouts: int = 0
    protocol_errors: int = 0
    name_server_switches: int = 0


class Holder(Protocol):
    """A connection that holds an unfinished frame."""

    address: str

    def abort(self, error: ConnectionLostError | None = None) -> None:
        """Drop the connection."""


class UnfinishedFrames:
    """Memory that the unfinished frames of all connections take, against a limit: the oldest one has to go first.

    Honest peers finish their frames within moments; those that only hold memory grow old.

    Args:
        limit: Bytes; None for any number.
    """

    __slots__ = ("_sizes", "_total", "limit")

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._sizes: dict[Holder, int] = {}
        self._total = 0

    def grew(self, holder: Holder, size: int, *, fresh: bool) -> None:
        """The connection holds so many bytes of an unfinished frame; `fresh` when that frame is another one than before."""
        if self.limit is None:
            return
        self._total += size - (self._sizes.pop(holder, 0) if fresh else self._sizes.get(holder, 0))
        self._sizes[holder] = size
        while self._total > self.limit:
            oldest = next(iter(self._sizes))
            text = f"the connection with {oldest.address} was closed: its unfinished frame is the oldest, all take over {self.limit} bytes"
            logger.warning(text)
            self.forget(oldest)
            oldest.abort(ConnectionLostError(text, address=oldest.address))

    def forget(self, holder: Holder) -> None:
        """Its frame is whole, or the connection is gone."""
        if self._sizes:
            self._total -= self._sizes.pop(holder, 0)


class SparseLog:
    """Logs at most one record per interval for each subject, and says how many it held back."""

    __slots__ = ("_interval", "_level", "_seen")

    _MOST_SUBJECTS = 1024

    def __init__(self, interval: float = 30.0, level: int = logging.WARNING) -> None:
        self._interval = interval
        self._level = level
        self._seen: dict[str, tuple[float, int]] = {}

    def record(self, now: float, subject: str, text: str, *args: object) -> None:
        """Log `text % args` unless `subject` was logged less than the interval before `now`."""
        last = self._seen.get(subject)
        if last is not None and now - last[0] < self._interval:
            self._seen[subject] = (last[0], last[1] + 1)
            return
        if last is None and len(self._seen) >= self._MOST_SUBJECTS:
            self._seen.clear()
        self._seen[subject] = (now, 0)
        if last is not None and last[1]:
            text += " (and %d more like this since the last record)"
            args = (*args, last[1])
        logger.log(self._level, text, *args)
