"""When a member may take over a queue that fell to it (no Java twin: there both members consume it for a while).

Without locks a member cannot see whether the one before it has let go of a queue and saved its offset. But it can work out who that is, as
every member can compute every share. A queue whose holder lives is left to it for a moment, counted from the change that took it away; a
member that left has saved before it said goodbye, so its queues are taken at once. Feature G1, bar P3.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from aiorocketmq.model.queue import MessageQueue

Allocated = Callable[[str, Sequence[str]], Collection[MessageQueue]]
"""The share of a member among given members."""


@dataclass(slots=True)
class _Held:
    """One queue in other hands, perhaps. Mutable.

    Attributes:
        owner: The member that it falls to.
        holder: The last member that it fell to and that had time to take it over; None when that is not known.
        left: The holder before, when that one has left the group.
        lost_at: When the holder, who lives, lost it to another member; None when nobody has to be waited for.
    """

    owner: str
    holder: str | None = None
    left: str | None = None
    lost_at: float | None = None


@dataclass(slots=True)
class _Topic:
    """What the last round found of one topic. Mutable."""

    members: tuple[str, ...]
    queues: dict[MessageQueue, _Held]


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
        state = self._topics.get(topic)
        first = state is None
        if state is None:
            state = self._topics[topic] = _Topic((), {})
        self._settle(state, now)
        if members != state.members or state.queues.keys() != set(queues):
            owners = {queue: member for member in members for queue in allocated(member, members)}
            known = state.queues
            # Records of queues that are gone go with them; those that stay keep their holder.
            state.queues = {queue: known.get(queue) or _Held(owner) for queue, owner in owners.items()}
            for queue, held in state.queues.items():
                held.owner = owners[queue]
            state.members = members
        for held in state.queues.values():
            self._plan_one(held, members, now, alone=not first or len(members) == 1, reconnected=reconnected)

    @staticmethod
    def _plan_one(held: _Held, members: tuple[str, ...], now: float, *, alone: bool, reconnected: bool) -> None:
        if held.holder is None:
            wait = held.lost_at is not None or not alone  # whoever was here before us may hold it
        else:
            wait = held.holder != held.owner and (held.holder in members or reconnected)
        if wait:
            held.lost_at = now if held.lost_at is None else held.lost_at
        else:
            if held.holder is not None and held.holder not in members:
                held.left = held.holder
            held.holder, held.lost_at = held.owner, None

    def _settle(self, state: _Topic, now: float) -> None:
        """Whoever a queue fell to has it now, when the holder before has had its time."""
        for held in state.queues.values():
            if held.lost_at is not None and now >= held.lost_at + self._wait:
                held.holder, held.lost_at = held.owner, None

    def early(self, queues: Iterable[MessageQueue], now: float) -> dict[MessageQueue, float]:
        """The queues that must not be taken over yet, with the time from which on they may."""
        early = {}
        for queue in queues:
            held = self._held(queue)
            if held is not None and held.lost_at is not None and held.lost_at + self._wait > now:
                early[queue] = held.lost_at + self._wait
        return early

    def holder(self, queue: MessageQueue) -> str | None:
        """The member that has the queue or has just lost it, None when that is not known."""
        held = self._held(queue)
        return held.holder if held is not None else None

    def left_by(self, queue: MessageQueue) -> str | None:
        """The member that has left the group and had the queue last, None when that is not known."""
        held = self._held(queue)
        return held.left if held is not None else None

    def forget(self, topic: str) -> None:
        """The topic is not subscribed any more."""
        self._topics.pop(topic, None)

    def _held(self, queue: MessageQueue) -> _Held | None:
        state = self._topics.get(queue.topic)
        return state.queues.get(queue) if state is not None else None
