"""When rebalances happen."""

from __future__ import annotations

import asyncio
import sys

import pytest

from aiorocketmq.client.rebalance import RebalanceService
from aiorocketmq.client.scheduler import Scheduler
from tests.support.virtual_loop import virtual_time
from tests.wire.world import FakeConsumer


def service(*consumers: FakeConsumer) -> RebalanceService:
    made = RebalanceService(Scheduler("test"), lambda: consumers, interval=20, min_interval=1)
    made.start()
    return made


@pytest.mark.feature("G1")
@virtual_time
async def test_by_the_timer() -> None:
    consumer = FakeConsumer()
    rebalance = service(consumer)
    await asyncio.sleep(65)
    assert consumer.rebalanced_at == pytest.approx([20, 40, 60])
    assert rebalance.rounds == 3
    await rebalance.stop()


@pytest.mark.feature("G1")
@virtual_time
async def test_at_once_when_asked_and_the_timer_counts_from_there() -> None:
    consumer = FakeConsumer()
    rebalance = service(consumer)
    await asyncio.sleep(0.5)
    rebalance.wake()
    await asyncio.sleep(25)
    assert consumer.rebalanced_at == pytest.approx([0.5, 20.5])
    await rebalance.stop()


@pytest.mark.feature("G1")
@virtual_time
async def test_not_more_often_than_the_minimum() -> None:
    consumer = FakeConsumer()
    rebalance = service(consumer)
    for _ in range(20):
        rebalance.wake()
        await asyncio.sleep(0.1)
    await asyncio.sleep(5)
    assert consumer.rebalanced_at == pytest.approx([0, 1, 2])
    await rebalance.stop()


@pytest.mark.feature("G1")
@virtual_time
async def test_asked_for_during_a_round_means_one_more() -> None:
    consumer = FakeConsumer()
    rebalance = service(consumer)
    original = consumer.rebalance

    async def waking() -> bool:
        if not consumer.rebalanced_at:
            rebalance.wake()
        return await original()

    consumer.rebalance = waking  # type: ignore[method-assign]
    rebalance.wake()
    await asyncio.sleep(5)
    assert consumer.rebalanced_at == pytest.approx([0, 1])
    await rebalance.stop()


@pytest.mark.feature("G1")
@virtual_time
async def test_asked_for_long_after_a_slow_round_began_means_one_more_when_it_ends() -> None:
    consumer = FakeConsumer()
    rebalance = service(consumer)
    original = consumer.rebalance

    async def slow() -> bool:
        balanced = await original()
        await asyncio.sleep(2.5)
        return balanced

    consumer.rebalance = slow  # type: ignore[method-assign]
    rebalance.wake()
    await asyncio.sleep(1.5)
    rebalance.wake()
    await asyncio.sleep(10)
    assert consumer.rebalanced_at == pytest.approx([0, 2.5])
    await rebalance.stop()


@pytest.mark.feature("G1")
@virtual_time
async def test_an_unbalanced_round_is_repeated_after_the_minimum() -> None:
    consumer, steady = FakeConsumer(balanced=False), FakeConsumer("steady")
    rebalance = service(consumer, steady)
    await asyncio.sleep(22.5)
    assert consumer.rebalanced_at == pytest.approx([20, 21, 22])
    assert steady.rebalanced_at == pytest.approx([20]), "the rounds of another group are none of its business"
    consumer.balanced = True
    await asyncio.sleep(10)
    assert len(consumer.rebalanced_at) == 4
    await rebalance.stop()


@virtual_time
async def test_a_failing_consumer_counts_as_unbalanced_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    bad, good = FakeConsumer("bad", failing=ZeroDivisionError("oops")), FakeConsumer("good")
    rebalance = service(bad, good)
    rebalance.wake()
    await asyncio.sleep(5.5)
    assert len(bad.rebalanced_at) == 6
    assert len(good.rebalanced_at) == 1
    assert [record.getMessage() for record in caplog.records] == ["rebalance of consumer group bad failed: ZeroDivisionError: oops"]
    await rebalance.stop()


@pytest.mark.feature("G10")
@virtual_time
async def test_later() -> None:
    consumer = FakeConsumer()
    rebalance = service(consumer)
    await asyncio.sleep(5)
    rebalance.wake_later(0.5)
    await asyncio.sleep(1)
    assert consumer.rebalanced_at == pytest.approx([5.5])
    rebalance.wake_later(100)
    await rebalance.stop()
    await asyncio.sleep(200)
    assert len(consumer.rebalanced_at) == 1


@virtual_time
async def test_a_slow_consumer_does_not_hold_the_others_up() -> None:
    async def slow() -> bool:
        await asyncio.sleep(10)
        return True

    stuck, good = FakeConsumer("stuck"), FakeConsumer("good")
    stuck.rebalance = slow  # type: ignore[method-assign]
    rebalance = service(stuck, good)
    for _ in range(3):
        rebalance.wake()
        await asyncio.sleep(1.1)
    assert good.rebalanced_at == pytest.approx([0, 1.1, 2.2])
    await rebalance.stop()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
@pytest.mark.parametrize("rounds", [1, 3])
def test_rounds_come_again_where_tasks_begin_at_once(rounds: int) -> None:
    @virtual_time
    async def run() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        consumer = FakeConsumer()
        rebalance = service(consumer)
        for _ in range(rounds):
            rebalance.wake()
            await asyncio.sleep(2)
        assert len(consumer.rebalanced_at) == rounds
        await rebalance.stop()

    run()


@virtual_time
async def test_round_of_one_group_does_not_wait_for_those_of_others() -> None:
    old, new = FakeConsumer("old"), FakeConsumer("new")
    rebalance = service(old, new)
    rebalance.begin(old)
    await asyncio.sleep(0.5)
    rebalance.begin(new)
    rebalance.begin(old)
    await asyncio.sleep(3)
    assert new.rebalanced_at == pytest.approx([0.5])
    assert old.rebalanced_at == pytest.approx([0, 1.0])
    await rebalance.stop()
