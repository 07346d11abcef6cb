"""How the queues of a topic are shared by the members of a group (Java: `AllocateMessageQueueStrategy`). Features G3, G9.

Every member computes the allocation for itself from the same sorted inputs; a strategy is right only when the members' shares are
disjoint and together cover every queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.queue import MessageQueue


@runtime_checkable
class AllocateStrategy(Protocol):
    """A way to share queues. Any object with these two names can be given to a consumer as `allocate=`."""

    @property
    def name(self) -> str:
        """Name of the strategy, as brokers and admin tools know it."""

    def allocate(self, group: str, client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]) -> Sequence[MessageQueue]:
        """The share of one member.

        Must depend on nothing but its arguments, must not block, and must give the same answer in every member's process.

        Args:
            group: The consumer group.
            client_id: The member that asks.
            queues: All queues of one topic, sorted by topic, broker name and queue id.
            client_ids: All members of the group, sorted.

        Returns:
            The queues of this member; empty when it gets none.
        """


def share_of(
    strategy: AllocateStrategy, group: str, client_id: str, queues: tuple[MessageQueue, ...], ids: tuple[str, ...]
) -> set[MessageQueue]:
    """Ask a strategy, which may be the user's own, for the share of one member.

    Raises:
        ConfigError: It has answered something else than some of the queues; those of other topics are passed over.
    """
    # Lists of its own: a strategy that sorts or pops must not change what the next one is asked about.
    share = strategy.allocate(group, client_id, list(queues), list(ids))
    hint = "allocate() has to return some of the queues that it was given"
    try:
        mine = set(share)
    except TypeError:
        raise ConfigError(f"allocation strategy {strategy.name!r} returned a {type(share).__name__}, not queues", hint=hint) from None
    topics = {queue.topic for queue in queues}
    # Strategies that have a list of their own answer with the queues of all their topics (Java: AllocateMessageQueueByConfig).
    mine = {each for each in mine if not isinstance(each, MessageQueue) or each.topic in topics}
    if foreign := mine.difference(queues):
        shown = ", ".join(sorted(repr(each)[:80] for each in foreign)[:3])
        raise ConfigError(f"allocation strategy {strategy.name!r} returned what is no queue of the topic: {shown}", hint=hint)
    return mine


class AllocateAveragely:
    """Neighbouring queues in equal shares; the first members take one more each when it does not divide (the default; Java: AVG)."""

    name: ClassVar[str] = "AVG"

    def allocate(self, group: str, client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]) -> Sequence[MessageQueue]:
        """See `AllocateStrategy.allocate`; a client that is no member gets nothing."""
        if client_id not in client_ids:
            return []
        index = client_ids.index(client_id)
        share, extra = divmod(len(queues), len(client_ids))
        start = index * share + min(index, extra)
        return list(queues[start : start + share + (index < extra)])
