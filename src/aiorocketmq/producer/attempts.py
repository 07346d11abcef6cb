"""What a send remembers and obeys: its policy, its failed tries, and what broker codes mean for it.

Java: the constants of `DefaultMQProducer` and `SendStatus`. Features A24, B8-B11; reliability P2.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field, replace
from typing import Final

from aiorocketmq.errors import BrokerError, RocketMQError
from aiorocketmq.model.enums import SendStatus
from aiorocketmq.model.results import SendResult
from aiorocketmq.protocol.codes import ResponseCode

STATUS_BY_CODE: Final = {
    0: SendStatus.SEND_OK,
    10: SendStatus.FLUSH_DISK_TIMEOUT,
    11: SendStatus.SLAVE_NOT_AVAILABLE,
    12: SendStatus.FLUSH_SLAVE_TIMEOUT,
}
"""The answers of a broker that has stored the message (A24)."""

REFUSALS: Final = frozenset({2, 3, 13, 14, 15, 16, 17, 26, 29, 204, 205, 215, 501, 604, 1500, 2017, 2018})
"""Codes that brokers give before they store anything. Code 1 stands for any exception inside the broker, also one after the message
was appended, and codes that this client does not know may mean anything: after those the message may be stored."""

_NO_QUEUE_CODES: Final = (ResponseCode.INVALID_PARAMETER, ResponseCode.SYSTEM_ERROR)
_NO_SUCH_QUEUE: Final = re.compile(r"queueId\[-?\d+\] is illegal", re.IGNORECASE)


def names_no_queue(error: BrokerError) -> bool:
    """True for the refusal of a queue that the broker does not have (any more): code 501 of static topics, 29, and 1 of brokers before 5.0.

    The last two have other meanings too, so the text has to tell; nothing was stored.
    """
    if error.code == ResponseCode.NOT_LEADER_FOR_QUEUE:
        return True
    return error.code in _NO_QUEUE_CODES and _NO_SUCH_QUEUE.search(error.remark) is not None


BACK_OFF_FIRST: Final = 0.05
BACK_OFF_MAX: Final = 2.0


def back_off(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling from 50 ms to 2 s, each with a jitter of a half to the whole."""
    return min(BACK_OFF_MAX, BACK_OFF_FIRST * 2.0 ** min(failures - 1, 16)) * random.uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True)
class SendPolicy:
    """How one kind of send behaves; a producer makes each kind once.

    Attributes:
        tries: How often the message may be put on the wire at most.
        codes: Response codes after which it is tried again.
        resend_not_ok: Statuses other than SEND_OK are tried again (Java: `retryAnotherBrokerWhenNotStoreOK`).
        per_try: Seconds that one try may take, or None for the whole time-out.
        oneway: No answer is awaited.
        fixed: The policy of the same kind of send once its queue is fixed; None when it is the same.
        watched: How long each try takes is noted, so that slow brokers can be avoided.
        plain: Nothing but the usual: a message may take the short way to its broker.
    """

    tries: int
    codes: frozenset[int]
    resend_not_ok: bool = False
    per_try: float | None = None
    oneway: bool = False
    fixed: SendPolicy | None = None
    watched: bool = False
    plain: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", self.per_try is None and not self.oneway and not self.watched)


@dataclass(slots=True)
class Attempt:
    """One failed try, or several that failed the same way; mutable, because a down broker is tried often."""

    broker: str
    address: str
    reason: str
    took: float
    times: int = 1

    def __str__(self) -> str:
        where = f"{self.broker} ({self.address})" if self.address else self.broker
        times = f", {self.times} times" if self.times > 1 else ""
        return f"{where + ': ' if where else ''}{self.reason}{times} in {self.took:.3f} s"


class Trouble:
    """What an operation remembers once something was missing or failed. Mutable.

    Attributes:
        attempts: The failed tries.
        doubt: A try may have stored the message.
        error: The last failure.
        phase: What the operation waits for, or waited for last.
        failures: Tries that were followed by another one.
        stored: The result of a try that stored the message, but not as well as was asked for.
        tried: Names of the brokers that failed it.
        went_away: A broker has sent it elsewhere because it shuts down; that is excused once.
        misled: How often a broker refused it because the route named a queue that is no more.
    """

    __slots__ = ("attempts", "doubt", "error", "failures", "misled", "phase", "stored", "tried", "went_away")

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.doubt = False
        self.error: RocketMQError | None = None
        self.phase = ""
        self.failures = 0
        self.stored: SendResult | None = None
        self.tried: set[str] = set()
        self.went_away = False
        self.misled = 0

    def copy(self) -> Trouble:
        """The same for one of several messages that were together so far."""
        made = Trouble()
        made.attempts = [replace(attempt) for attempt in self.attempts]
        made.doubt, made.error, made.phase, made.failures = self.doubt, self.error, self.phase, self.failures
        made.stored, made.tried = self.stored, set(self.tried)
        made.went_away, made.misled = self.went_away, self.misled
        return made

    def note(self, broker: str, address: str, error: RocketMQError, took: float) -> None:
        """Remember a failed try; those of one broker that fail for the same reason are counted together."""
        self.error = error
        for attempt in self.attempts:
            if attempt.reason == error.message and attempt.address == address and attempt.broker == broker:
                attempt.times += 1
                attempt.took += took
                return
        self.attempts.append(Attempt(broker, address, error.message, took))
