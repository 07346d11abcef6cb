"""What is measured. A new workload is an entry here and a command of the same name in the peers that can run it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Workload:
    """One thing to measure.

    Attributes:
        name: Command that the peers answer.
        title: Row of the table.
        count: Messages per round.
        bar: What our rate must be, at least, as a part of Java's warm rate.
        preload: Messages to put into the topic before the first round.
        arguments: More fields of the request.
    """

    name: str
    title: str
    count: int
    bar: float
    preload: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)

    def scaled(self, factor: float) -> Workload:
        """The same with fewer or more messages per round."""
        count = max(1, int(self.count * factor))
        return Workload(self.name, self.title, count, self.bar, count if self.preload else 0, self.arguments)


BODY_SIZE = 1024
QUEUES = 8

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("send_in_flight", "send, 256 in flight", 100_000, 0.8, arguments={"window": 256}),
        Workload("send_one_at_a_time", "send, one at a time", 15_000, 0.8),
        Workload("push_consume", "push consume", 200_000, 0.5, preload=200_000),
    )
}
