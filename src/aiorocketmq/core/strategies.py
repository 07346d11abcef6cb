"""The other ways to share queues: those of Java, equal to them, and one that moves few queues. Features G4-G8, U16.

Java: `AllocateMessageQueueAveragelyByCircle`, `...ByConfig`, `...ByMachineRoom`, `AllocateMachineRoomNearby`, `...ConsistentHash`. All
members of a group must have the same strategy with the same arguments.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from hashlib import blake2b, md5
from typing import ClassVar

from aiorocketmq.core.allocate import AllocateAveragely, AllocateStrategy
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.checks import whole
from aiorocketmq.model.queue import MessageQueue

Queues = Sequence[MessageQueue]


class AllocateAveragelyByCircle:
    """One queue to each member in turn, round and round (Java: AVG_BY_CIRCLE)."""

    name: ClassVar[str] = "AVG_BY_CIRCLE"

    def allocate(self, group: str, client_id: str, queues: Queues, client_ids: Sequence[str]) -> Queues:
        """See `AllocateStrategy.allocate`."""
        if client_id not in client_ids:
            return []
        return list(queues[client_ids.index(client_id) :: len(client_ids)])


class AllocateByConfig:
    """The queues that this member was told, whoever else there is (Java: CONFIG). That no two members have the same is the user's care.

    Args:
        queues: The queues of this member, of all its topics.

    Raises:
        ConfigError: One of them is no queue.
    """

    name: ClassVar[str] = "CONFIG"

    def __init__(self, queues: Iterable[MessageQueue]) -> None:
        self._queues = list(queues)
        for queue in self._queues:
            if not isinstance(queue, MessageQueue):
                raise ConfigError(f"queue {queue!r} is no MessageQueue", hint="give MessageQueue(topic, broker_name, queue_id)")

    def allocate(self, group: str, client_id: str, queues: Queues, client_ids: Sequence[str]) -> Queues:
        """See `AllocateStrategy.allocate`; a queue that does not exist is left out until it does."""
        existing = set(queues)
        return [queue for queue in self._queues if queue in existing]


class AllocateByMachineRoom:
    """The queues of some machine rooms in equal shares; brokers are named `room@name` (Java: MACHINE_ROOM). Other rooms are not consumed.

    Args:
        rooms: Names of the rooms.

    Raises:
        ConfigError: There is no name, or it is none.
    """

    name: ClassVar[str] = "MACHINE_ROOM"

    def __init__(self, rooms: Collection[str]) -> None:
        if isinstance(rooms, str) or not rooms or not all(isinstance(room, str) and room for room in rooms):
            raise ConfigError(
                f"rooms {rooms!r} are no names of machine rooms", hint='give a set as {"room1"}; brokers are named room1@name'
            )
        self._rooms = frozenset(rooms)

    def allocate(self, group: str, client_id: str, queues: Queues, client_ids: Sequence[str]) -> Queues:
        """See `AllocateStrategy.allocate`."""
        if client_id not in client_ids:
            return []
        own = [queue for queue in queues if _room_of(queue) in self._rooms]
        index, members = client_ids.index(client_id), len(client_ids)
        share, extra = divmod(len(own), members)
        # Not as the average strategy does: what does not divide comes from the end.
        return own[index * share : (index + 1) * share] + (own[index + share * members :][:1] if index < extra else [])


def _room_of(queue: MessageQueue) -> str | None:
    room, at, name = queue.broker_name.partition("@")
    return room if at and name and "@" not in name else None


class AllocateMachineRoomNearby:
    """Queues go to members in their own machine room; those of rooms without a member are shared by all (Java: MACHINE_ROOM_NEARBY).

    Args:
        inner: How queues are shared within a room.
        room_of_queue: The room of a queue's broker; None takes what is before the `@` in its name.
        room_of_client: The room of a client id, the same in all members.

    Raises:
        ConfigError: An argument cannot be called.
    """

    def __init__(
        self,
        room_of_client: Callable[[str], str],
        room_of_queue: Callable[[MessageQueue], str | None] | None = None,
        inner: AllocateStrategy | None = None,
    ) -> None:
        self._inner: AllocateStrategy = inner if inner is not None else AllocateAveragely()
        self._room_of_queue = room_of_queue if room_of_queue is not None else _room_of
        self._room_of_client = room_of_client
        for name, function in (("room_of_client", self._room_of_client), ("room_of_queue", self._room_of_queue)):
            if not callable(function):
                raise ConfigError(f"{name} {function!r} cannot be called", hint="give a function that returns the name of a room")
        if not isinstance(self._inner, AllocateStrategy):
            raise ConfigError(f"inner {inner!r} is no strategy", hint="give an object with `name` and `allocate()`")

    @property
    def name(self) -> str:
        """See `AllocateStrategy.name`."""
        return f"MACHINE_ROOM_NEARBY-{self._inner.name}"

    def allocate(self, group: str, client_id: str, queues: Queues, client_ids: Sequence[str]) -> Queues:
        """See `AllocateStrategy.allocate`.

        Raises:
            ConfigError: The room of a queue or of a client is not known.
        """
        if client_id not in client_ids:
            return []
        by_room: dict[str, list[MessageQueue]] = {}
        for queue in queues:
            by_room.setdefault(self._known(self._room_of_queue(queue), queue), []).append(queue)
        members: dict[str, list[str]] = {}
        for each in client_ids:
            members.setdefault(self._known(self._room_of_client(each), each), []).append(each)
        own = self._room_of_client(client_id)
        mine: list[MessageQueue] = []
        if near := by_room.pop(own, None):
            mine += self._inner.allocate(group, client_id, near, members[own])
        for room in sorted(by_room):
            if room not in members:
                mine += self._inner.allocate(group, client_id, by_room[room], client_ids)
        return mine

    @staticmethod
    def _known(room: str | None, of: object) -> str:
        if not room or not isinstance(room, str):
            raise ConfigError(f"the machine room of {of} is {room!r}", hint="return the name of a room for every queue and client id")
        return room


class AllocateConsistentHash:
    """Each queue to the member that follows it on a ring of hashes: few queues move, and shares differ (Java: CONSISTENT_HASH).

    Args:
        virtual_nodes: Places of each member on the ring, 1 or more.
        namespace: The namespace of the consumer, where Java members are in its group: they hash the whole name of a topic.

    Raises:
        ConfigError: `virtual_nodes` is out of range.
    """

    name: ClassVar[str] = "CONSISTENT_HASH"

    def __init__(self, virtual_nodes: int = 10, *, namespace: str = "") -> None:
        self._virtual_nodes = whole("virtual_nodes", virtual_nodes, 1, 10_000)
        self._prefix = f"{namespace}%" if namespace else ""

    def allocate(self, group: str, client_id: str, queues: Queues, client_ids: Sequence[str]) -> Queues:
        """See `AllocateStrategy.allocate`."""
        if client_id not in client_ids:
            return []
        # Of two places with one hash the later one counts, as in Java's map.
        ring = {_hash(f"{each}-{number}"): each for each in client_ids for number in range(self._virtual_nodes)}
        places = sorted(ring)
        mine = []
        for queue in queues:
            text = f"MessageQueue [topic={self._prefix}{queue.topic}, brokerName={queue.broker_name}, queueId={queue.queue_id}]"
            place = bisect_left(places, _hash(text))
            if ring[places[place if place < len(places) else 0]] == client_id:
                mine.append(queue)
        return mine


def _hash(text: str) -> int:
    return int.from_bytes(md5(text.encode(), usedforsecurity=False).digest()[:4], "big")


class AllocateSticky:
    """Equal shares, and few queues move when a member comes or goes. No Java twin: for groups whose members are all of this library.

    Every member weighs each pair of a queue and a member by a hash; the heaviest pairs go together as long as the member's share is not
    full. Shares differ by one queue at most.
    """

    name: ClassVar[str] = "STICKY"

    def __init__(self) -> None:
        self._last: tuple[tuple[MessageQueue, ...], tuple[str, ...]] | None = None
        self._plan: dict[str, list[MessageQueue]] = {}

    def allocate(self, group: str, client_id: str, queues: Queues, client_ids: Sequence[str]) -> Queues:
        """See `AllocateStrategy.allocate`."""
        asked = tuple(queues), tuple(client_ids)
        if asked != self._last:  # the shares of all members are asked for one after the other
            self._plan, self._last = _heaviest_pairs(*asked), asked
        return list(self._plan.get(client_id, ()))


def _heaviest_pairs(queues: tuple[MessageQueue, ...], client_ids: tuple[str, ...]) -> dict[str, list[MessageQueue]]:
    members = list(dict.fromkeys(client_ids))
    share, extra = divmod(len(queues), len(members))
    weights = sorted((_weight(member, queue), member, queue) for member in members for queue in queues)
    plan: dict[str, list[MessageQueue]] = {member: [] for member in members}
    left = set(queues)
    for _, member, queue in reversed(weights):
        own = plan[member]
        if queue not in left or len(own) > share or (len(own) == share and not extra):
            continue
        extra -= len(own) == share
        own.append(queue)
        left.discard(queue)
    return {member: sorted(own) for member, own in plan.items()}


def _weight(member: str, queue: MessageQueue) -> bytes:
    return blake2b(f"{member}\n{queue.topic}\n{queue.broker_name}\n{queue.queue_id}".encode(), digest_size=8).digest()
