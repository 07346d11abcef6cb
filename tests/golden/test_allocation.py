"""The strategies share queues as Java's do, 1,000 times; and the sticky one moves few."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.core.strategies import (
    AllocateByConfig,
    AllocateByMachineRoom,
    AllocateConsistentHash,
    AllocateMachineRoomNearby,
    AllocateSticky,
)
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.queue import MessageQueue
from tests.golden.allocation_cases import cases

HERE = Path(__file__).parent
QUEUES = [MessageQueue("t", f"broker-{broker}", number) for broker in "ab" for number in range(16)]


@pytest.mark.feature("G3", "G4", "G5", "G6", "G7", "G8")
@pytest.mark.parametrize("version", ["5.5.0", "4.9.7"])
def test_shares_are_those_of_java(version: str) -> None:
    lines = (HERE / f"allocation-{version}.jsonl").read_text("utf-8").splitlines()
    asked = list(cases())
    assert len(lines) == len(asked) == 1000
    for case, line in zip(asked, lines, strict=True):
        java, strategy = json.loads(line), case.strategy()
        share = strategy.allocate("g", case.member, case.queues, case.members)
        assert [f"{queue.broker_name}:{queue.queue_id}" for queue in share] == java["share"], case
        assert strategy.name == java["name"]


@pytest.mark.feature("U16")
def test_the_sticky_strategy_is_even_and_moves_few_queues() -> None:
    strategy = AllocateSticky()
    members = [f"10.0.0.{number}@7" for number in range(1, 9)]

    def plan(of: list[str]) -> dict[MessageQueue, str]:
        shares = {member: strategy.allocate("g", member, QUEUES, of) for member in of}
        assert {len(share) for share in shares.values()} <= {len(QUEUES) // len(of), -(-len(QUEUES) // len(of))}
        owners = {queue: member for member, share in shares.items() for queue in share}
        assert len(owners) == len(QUEUES) == sum(map(len, shares.values()))
        return owners

    moved = fewest = 0
    for count in range(1, len(members)):
        before, after = plan(members[:count]), plan(members[: count + 1])
        moved += sum(before[queue] != after[queue] for queue in QUEUES)
        fewest += len(QUEUES) // (count + 1)
    assert moved <= 1.6 * fewest, (moved, fewest)
    assert strategy.allocate("g", "stranger", QUEUES, members) == []


@pytest.mark.feature("G5", "G6", "G7", "G8")
def test_arguments_that_cannot_work_are_named() -> None:
    odd: Any
    for odd in ([7], ["t"]):
        with pytest.raises(ConfigError, match="no MessageQueue"):
            AllocateByConfig(odd)
    for odd in ((), "room", [""], [7]):
        with pytest.raises(ConfigError, match="rooms"):
            AllocateByMachineRoom(odd)
    for odd in (0, -1, True, "3", 10_001):
        with pytest.raises(ConfigError, match="virtual_nodes"):
            AllocateConsistentHash(odd)
    odd = "room"
    with pytest.raises(ConfigError, match="room_of_client"):
        AllocateMachineRoomNearby(odd)
    with pytest.raises(ConfigError, match="no strategy"):
        AllocateMachineRoomNearby(str, None, odd)
    with pytest.raises(ConfigError, match="machine room of t@plain:0"):
        AllocateMachineRoomNearby(lambda _: "a").allocate("g", "c", [MessageQueue("t", "plain", 0)], ["c"])
    with pytest.raises(ConfigError, match="machine room of c"):
        AllocateMachineRoomNearby(lambda _: "").allocate("g", "c", [MessageQueue("t", "a@b", 0)], ["c"])
