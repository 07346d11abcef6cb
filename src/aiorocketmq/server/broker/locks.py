"""Queue locks of ordered consumers (Java: `RebalanceLockManager`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from aiorocketmq.model.queue import MessageQueue

LOCK_EXPIRY: Final = 60.0
"""Seconds after its last renewal at which a lock falls."""


class QueueLocks:
    """Which client of a group holds which queue.

    Args:
        now: Monotonic clock in seconds.
        expiry: Seconds after which a lock that is not renewed falls.
    """

    def __init__(self, now: Callable[[], float], expiry: float = LOCK_EXPIRY) -> None:
        self._now = now
        self._expiry = expiry
        self._groups: dict[str, dict[MessageQueue, tuple[str, float]]] = {}

    def lock(self, group: str, client_id: str, queues: Iterable[MessageQueue]) -> list[MessageQueue]:
        """Take or renew locks; returns the queues that the client holds now."""
        now = self._now()
        held = self._groups.setdefault(group, {})
        granted = []
        for queue in dict.fromkeys(queues):
            owner, renewed = held.get(queue, ("", 0.0))
            if owner in ("", client_id) or now - renewed > self._expiry:
                held[queue] = (client_id, now)
                granted.append(queue)
        return granted

    def unlock(self, group: str, client_id: str, queues: Iterable[MessageQueue]) -> None:
        """Free the client's own locks among these queues; others stay."""
        held = self._groups.get(group, {})
        for queue in queues:
            if queue in held and held[queue][0] == client_id:
                del held[queue]
        if not held:
            self._groups.pop(group, None)

    def expire(self) -> None:
        """Forget the locks that have fallen."""
        now = self._now()
        for group, held in list(self._groups.items()):
            for queue in [queue for queue, (_, renewed) in held.items() if now - renewed > self._expiry]:
                del held[queue]
            if not held:
                del self._groups[group]

    def any_live(self, group: str) -> bool:
        """True while the group holds a lock that has not expired: its consumers are ordered ones."""
        now = self._now()
        return any(now - renewed <= self._expiry for _, renewed in self._groups.get(group, {}).values())
