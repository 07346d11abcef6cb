"""When a member may take over a queue that fell to it (no Java twin: there both members consume it for a while).

Without locks a member cannot see whether the one before it has let go of a queue and saved its offset. But it can work out who that is, as
every member can compute every share. A queue whose holder lives is left to it for a moment, counted from the change that took it away; a
member that left has saved before it said goodbye, so its queues are taken at once. Feature G1, bar P3.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from aiorocketmq.model.queue import MessageQueue

Allocated = Callable[[str, Sequence[str]], Collection[MessageQueue]]
"""The share of a member among given members."""


@dataclass(slots=True)
class _Topic:
    """What is known of one topic. Mutable.

    Attributes:
        members: The members of the last round.
        queues: The queues of the last round.
        owners: To whom each queue falls.
        holders: Who had time to take each queue over.
        lost_at: When a living holder lost a queue to another member.
    """

    members: tuple[str, ...] = ()
    queues: frozenset[MessageQueue] = frozenset()
    owners: dict[MessageQueue, str] = field(default_factory=dict)
    holders: dict[MessageQueue, str] = field(default_factory=dict)
    lost_at: dict[MessageQueue, float] = field(default_factory=dict)


class HandOver:
    """Plans the take-overs of one member. Mutable; belongs to one event loop.

    Args:
        wait: Seconds that a holder gets to let go of a queue; 0 takes everything at once (where locks decide).
    """

    __slots__ = ("_topics", "_wait")

    def __init__(self, wait: float) -> None:
        self._wait = wait
        self._topics: dict[str, _Topic] = {}

    def plan(
        self,
        topic: str,
        queues: Collection[MessageQueue],
        members: tuple[str, ...],
        allocated: Allocated,
        now: float,
        *,
        reconnected: bool,
    ) -> None:
        """Note what a round found.

        Args:
            topic: The topic.
            queues: All its queues.
            members: All members now, sorted.
            allocated: Tells the share of a member.
            now: The time in seconds.
            reconnected: The list comes over another connection than the last one: the broker may have been restarted, and its list is
                complete only when all members have said hello again.
        """
        if not self._wait:
            return
        state = self._topics.get(topic)
        first = state is None
        if state is None:
            state = self._topics[topic] = _Topic()
        self._settle(state, now)
        if members != state.members or state.queues != frozenset(queues):
            state.members, state.queues = members, frozenset(queues)
            state.owners = {queue: member for member in members for queue in allocated(member, members)}
        for queue, owner in state.owners.items():
            holder = state.holders.get(queue)
            if holder is None and (queue in state.lost_at or (first and len(members) > 1)):
                state.lost_at.setdefault(queue, now)  # whoever was here before us may hold it
            elif holder is None or (holder not in members and not reconnected):
                state.holders[queue] = owner
                state.lost_at.pop(queue, None)
            elif holder == owner:
                state.lost_at.pop(queue, None)
            else:
                state.lost_at.setdefault(queue, now)

    def _settle(self, state: _Topic, now: float) -> None:
        """Whoever a queue fell to has it now, when the holder before has had its time."""
        for queue in [queue for queue, lost_at in state.lost_at.items() if now >= lost_at + self._wait]:
            del state.lost_at[queue]
            state.holders[queue] = state.owners[queue]

    def early(self, queues: Iterable[MessageQueue], now: float) -> dict[MessageQueue, float]:
        """The queues that must not be taken over yet, with the time from which on they may."""
        early = {}
        for queue in queues:
            state = self._topics.get(queue.topic)
            lost_at = state.lost_at.get(queue) if state is not None else None
            if lost_at is not None and lost_at + self._wait > now:
                early[queue] = lost_at + self._wait
        return early
