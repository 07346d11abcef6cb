"""The cases in which Java's strategies share queues: 1,000, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from aiorocketmq.core.allocate import AllocateAveragely, AllocateStrategy
from aiorocketmq.core.strategies import (
    AllocateAveragelyByCircle,
    AllocateByConfig,
    AllocateByMachineRoom,
    AllocateConsistentHash,
    AllocateMachineRoomNearby,
)
from aiorocketmq.model.queue import MessageQueue

NAMES = ("AVG", "AVG_BY_CIRCLE", "CONFIG", "MACHINE_ROOM", "CONSISTENT_HASH", "MACHINE_ROOM_NEARBY")


@dataclass(frozen=True)
class Case:
    """One share that is asked for."""

    name: str
    argument: str
    topic: str
    member: str
    members: tuple[str, ...]
    queues: tuple[MessageQueue, ...]

    def line(self) -> str:
        """What the Java program reads."""
        return ";".join((self.name, self.argument, self.topic, self.member, ",".join(self.members), _text(self.queues)))

    def strategy(self) -> AllocateStrategy:
        """Our strategy."""
        if self.name == "CONFIG":
            return AllocateByConfig(_queues(self.topic, self.argument))
        if self.name == "MACHINE_ROOM":
            return AllocateByMachineRoom(self.argument.split(","))
        if self.name == "CONSISTENT_HASH":
            return AllocateConsistentHash(int(self.argument))
        if self.name == "MACHINE_ROOM_NEARBY":
            inner = AllocateAveragely() if self.argument == "AVG" else AllocateAveragelyByCircle()
            return AllocateMachineRoomNearby(lambda client: client.split("-")[0], lambda queue: queue.broker_name.split("@")[0], inner)
        return AllocateAveragely() if self.name == "AVG" else AllocateAveragelyByCircle()


def _text(queues: tuple[MessageQueue, ...]) -> str:
    return ",".join(f"{queue.broker_name}:{queue.queue_id}" for queue in queues)


def _queues(topic: str, text: str) -> list[MessageQueue]:
    parts = (part.rpartition(":") for part in text.split(",") if part)
    return [MessageQueue(topic, broker, int(number)) for broker, _, number in parts]


def cases() -> Iterator[Case]:
    """All of them."""
    chance = random.Random(20)
    for number in range(1000):
        name = NAMES[number % len(NAMES)]
        topic = chance.choice(("orders", "%RETRY%workers", "ns%orders", "a_b-c"))
        rooms = [f"room{each}" for each in range(chance.randint(1, 4))]
        brokers = [f"{chance.choice(rooms)}@broker-{each}" for each in range(chance.randint(1, 4))]
        if name == "MACHINE_ROOM":
            brokers += chance.sample(["plain", "a@b@c", "@x", "room0@"], chance.randint(0, 2))
        queues = tuple(sorted(MessageQueue(topic, broker, each) for broker in brokers for each in range(chance.randint(1, 8))))
        some = range(chance.randint(1, 9))
        members = sorted({f"{chance.choice(rooms)}-10.0.0.{chance.randint(1, 250)}@{chance.randint(1, 99999)}" for _ in some})
        member = chance.choice(members) if chance.random() < 0.95 else "room0-stranger"
        argument = {
            "CONFIG": _text(tuple(chance.sample(queues, chance.randint(1, len(queues))))),
            "MACHINE_ROOM": ",".join(chance.sample(rooms, chance.randint(1, len(rooms)))),
            "CONSISTENT_HASH": str(chance.choice((1, 3, 10, 50))),
            "MACHINE_ROOM_NEARBY": chance.choice(("AVG", "AVG_BY_CIRCLE")),
        }.get(name, "")
        yield Case(name, argument, topic, member, tuple(members), queues)
