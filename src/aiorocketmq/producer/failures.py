"""The errors in which sends end, and what they say (Java: the exceptions of `sendDefaultImpl`). Reliability P6, P9.

`aiorocketmq.errors.send_error_kind()` says which class tells what; `maybe_stored` says whether the message may be stored all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from aiorocketmq.errors import (
    BrokerError,
    ConnectError,
    RocketMQError,
    RouteError,
    SendError,
    SendTimeoutError,
    UsageError,
    fresh,
    send_error_kind,
)
from aiorocketmq.producer.attempts import Trouble

MOST_FAILURES: Final = 1000
"""Failures that are counted."""
_UNREACHABLE_HINT: Final = (
    "the address was told by the name server: check that the broker runs and that this host can reach it; brokerIP1 in the broker's "
    "configuration changes the address it tells, address_map of the client the one that is dialled"
)


class RecentFailures:
    """The sends that failed of late, for those who ask how the producer is; what its callers did wrong is none of them. Mutable.

    Args:
        clock: The event loop's time in seconds.

    Attributes:
        last: Why the last one failed, "" when none has.
        last_at: Loop time at which it did.
    """

    __slots__ = ("_clock", "_times", "last", "last_at")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.last = ""
        self.last_at: float | None = None
        self._clock = clock
        self._times: deque[float] = deque(maxlen=MOST_FAILURES)

    def note(self, error: RocketMQError) -> RocketMQError:
        """A send ends with an error; gives it back."""
        if not isinstance(error, UsageError):
            self.last, self.last_at = error.message, self._clock()
            self._times.append(self.last_at)
        return error

    def count(self, seconds: float) -> int:
        """How many failed within the last so many seconds, up to `MOST_FAILURES`."""
        since = self._clock() - seconds
        return sum(at >= since for at in self._times)


def send_failed(topic: str, broker: str, tries: int, took: float, trouble: Trouble, error: RocketMQError | None) -> RocketMQError:
    """The error of a send that is not tried again; a `RouteError` before the first try is told as it is.

    Args:
        topic: Topic of the message.
        broker: Broker of the last try, or "".
        tries: How often it was put on the wire.
        took: Seconds since the send began.
        trouble: What happened before.
        error: Why the last try failed, or None.
    """
    if isinstance(error, RouteError) and not tries:
        return fresh(error)
    why = f": {error.message}" if error is not None else ""
    text = f"a message for topic {topic!r} could not be sent, {tries} tries in {took:.3f} s{why}"
    kind = send_error_kind(error, maybe_stored=trouble.doubt, timed_out=False)
    return _made(kind, text, topic, broker, trouble, error, doubt=trouble.doubt, timed_out=False)


def send_timed_out(
    topic: str, broker: str, timeout: float, phase: str, trouble: Trouble | None, *, unsent: bool, doubt: bool
) -> RocketMQError:
    """The error of a send whose time has passed.

    Args:
        topic: Topic of the message.
        broker: Broker of the last try, or "".
        timeout: Seconds that it had.
        phase: What it waited for in the end.
        trouble: What happened before, or None.
        unsent: It was never put on the wire.
        doubt: It may be stored.
    """
    trouble = trouble or Trouble()
    error = trouble.error
    if isinstance(error, RouteError) and unsent and not any(attempt.broker for attempt in trouble.attempts):
        return fresh(error)
    text = f"a message for topic {topic!r} was not confirmed within {timeout:.3f} s, the time ran out {phase}"
    if trouble.attempts:
        text += "; " + "; ".join(map(str, trouble.attempts))
    kind = send_error_kind(error, maybe_stored=doubt, timed_out=True)
    return _made(kind, text, topic, broker, trouble, error, doubt=doubt, timed_out=True)


def _made(
    kind: type[SendError],
    text: str,
    topic: str,
    broker: str,
    trouble: Trouble,
    error: RocketMQError | None,
    *,
    doubt: bool,
    timed_out: bool,
) -> SendError:
    return kind(
        text,
        topic=topic,
        attempts=tuple(map(str, trouble.attempts)),
        maybe_stored=doubt,
        code=error.code if isinstance(error, BrokerError) else None,
        broker=broker,
        retriable=error is None or error.retriable or timed_out,
        hint=_UNREACHABLE_HINT if isinstance(error, ConnectError) else error.hint if error is not None else None,
        cause=error,
    )


def no_room(topic: str, seconds: float, unanswered: int) -> SendTimeoutError:
    """The error of a message for which the window had no room in its time."""
    return SendTimeoutError(
        f"a message for topic {topic!r} was not sent within {seconds:.3f} s: "
        f"the time ran out waiting for room among {unanswered} unanswered messages",
        topic=topic,
        hint="send more slowly, or raise max_in_flight and max_in_flight_bytes",
    )
