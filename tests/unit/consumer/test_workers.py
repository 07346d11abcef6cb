"""The pools of workers."""

from __future__ import annotations

import asyncio
import threading

import pytest

from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.consumer import workers
from aiorocketmq.consumer.calling import next_size
from aiorocketmq.consumer.workers import TURN, Slot, TaskPool, ThreadPool
from tests.support.waiting import eventually


class Recorder:
    """A pool of tasks whose work is to wait for an event, or nothing."""

    def __init__(self) -> None:
        self.done: list[object] = []
        self.running = 0
        self.most = 0

    async def work(self, pool: TaskPool[object], slot: Slot[object]) -> None:
        while await pool.wait(slot):
            while pool.ready:
                slot.item = item = pool.ready.popleft()
                self.running += 1
                self.most = max(self.most, self.running)
                if isinstance(item, asyncio.Event):
                    await item.wait()
                self.running -= 1
                self.done.append(item)
                if asyncio.get_running_loop().time() > pool.turn_ends:
                    await pool.yield_turn()
                    if pool.overstaffed:
                        break


@pytest.fixture
async def scheduler():  # type: ignore[no-untyped-def]
    made = Scheduler("test")
    yield made
    await made.stop()


@pytest.mark.feature("F5")
async def test_tasks_share_the_work_up_to_their_number(scheduler: Scheduler) -> None:
    recorder = Recorder()
    pool: TaskPool[object] = TaskPool(scheduler, "test", recorder.work, 3)
    gates = [asyncio.Event() for _ in range(8)]
    pool.extend(gates)
    await eventually(lambda: recorder.running == 3)
    assert (pool.busy, pool.backlog, pool.size) == (3, 5, 3)
    for gate in gates:
        gate.set()
    await pool.idle()
    assert recorder.done == gates
    assert recorder.most == 3
    assert (pool.busy, pool.backlog) == (0, 0)


@pytest.mark.feature("F6")
async def test_task_pool_grows_and_shrinks(scheduler: Scheduler) -> None:
    recorder = Recorder()
    pool: TaskPool[object] = TaskPool(scheduler, "test", recorder.work, 1)
    gates = [asyncio.Event() for _ in range(4)]
    pool.extend(gates)
    await eventually(lambda: recorder.running == 1)
    pool.resize(4)
    await eventually(lambda: recorder.running == 4)
    pool.resize(2)
    assert recorder.running == 4, "work in hand is finished"
    for gate in gates:
        gate.set()
    await eventually(lambda: pool.size == 2)
    pool.append("still works")
    await eventually(lambda: recorder.done[-1] == "still works")


async def test_quick_work_of_many_workers_lets_the_loop_breathe(scheduler: Scheduler) -> None:
    async def work(pool: TaskPool[float], slot: Slot[float]) -> None:
        clock = asyncio.get_running_loop().time
        while await pool.wait(slot):
            while pool.ready:
                until = clock() + pool.ready.popleft()
                while clock() < until:
                    pass
                if clock() > pool.turn_ends:
                    await pool.yield_turn()

    pool: TaskPool[float] = TaskPool(scheduler, "test", work, 8)
    await pool.idle()
    pool.extend([0.001] * 200)
    turns = 0
    while pool.backlog:
        await asyncio.sleep(0)
        turns += 1
    # 200 ms of work in slices of 5 ms, and never all eight workers' slices in one turn.
    assert turns >= 0.2 / (TURN + 8 * 0.002)


@pytest.mark.feature("F5")
async def test_idle_worker_goes_on_inside_the_call_that_brings_work(scheduler: Scheduler) -> None:
    """Also after it was idle twice, and not while another task runs."""
    recorder = Recorder()
    pool: TaskPool[object] = TaskPool(scheduler, "test", recorder.work, 2)
    await eventually(lambda: pool.busy == 0)
    done: list[list[object]] = []
    arrived = asyncio.Event()

    def bring() -> None:
        pool.append("a")
        done.append(list(recorder.done))
        pool.extend(["b", "c"])
        done.append(list(recorder.done))
        arrived.set()

    asyncio.get_running_loop().call_soon(bring)
    await arrived.wait()
    assert done == [["a"], ["a", "b", "c"]]
    pool.append("d")
    assert recorder.done == ["a", "b", "c"], "a task runs: the worker's turn comes"
    await pool.idle()
    assert recorder.done == ["a", "b", "c", "d"]


async def test_cancelled_worker_is_not_given_work(scheduler: Scheduler) -> None:
    recorder = Recorder()
    pool: TaskPool[object] = TaskPool(scheduler, "test", recorder.work, 1)
    await eventually(lambda: pool.busy == 0)
    (worker,) = [task for task in asyncio.all_tasks() if task.get_name().startswith("test")]
    worker.cancel()
    pool.append("not lost")
    await eventually(lambda: recorder.done == ["not lost"])
    assert pool.size == 1


async def test_worker_that_fails_is_replaced(scheduler: Scheduler) -> None:
    async def work(pool: TaskPool[str], slot: Slot[str]) -> None:
        while await pool.wait(slot):
            if pool.ready.popleft() == "bad":
                raise RuntimeError("a bug")

    pool: TaskPool[str] = TaskPool(scheduler, "test", work, 2)
    pool.extend(["bad", "bad", "good", "bad", "good"])
    await pool.idle()
    await eventually(lambda: pool.size == 2)


async def test_closing_a_task_pool_cancels_what_runs(scheduler: Scheduler) -> None:
    recorder = Recorder()
    pool: TaskPool[object] = TaskPool(scheduler, "test", recorder.work, 2)
    pool.extend([asyncio.Event(), asyncio.Event(), "never"])
    await eventually(lambda: recorder.running == 2)
    await pool.close(1.0)
    assert pool.size == 0
    assert scheduler.running == ()


@pytest.mark.feature("F5")
async def test_threads_share_the_work_and_results_come_back_in_the_loop() -> None:
    results: list[tuple[int, int]] = []
    loop_thread = threading.current_thread()
    at_once = threading.Barrier(4)

    def work(item: int) -> int:
        if item < 4:
            at_once.wait(10)
        return item * 2

    def done(item: int, result: int, seconds: float) -> None:
        assert threading.current_thread() is loop_thread
        assert seconds >= 0
        results.append((item, result))

    pool = ThreadPool("test", work, done, 4)
    pool.extend(range(100))
    await pool.idle()
    assert sorted(results) == [(item, item * 2) for item in range(100)]
    threads = list(pool._slots.values())
    await pool.close(1.0)
    await eventually(lambda: not any(thread.is_alive() for thread in threads))


@pytest.mark.feature("F6")
async def test_thread_pool_grows_and_shrinks() -> None:
    release = threading.Event()
    pool = ThreadPool("test", lambda item: release.wait(10), lambda *result: None, 1)
    pool.extend(range(6))
    await eventually(lambda: pool.busy == 1)
    assert pool.backlog == 5
    pool.resize(3)
    await eventually(lambda: pool.busy == 3)
    pool.resize(1)
    release.set()
    await pool.idle()
    await eventually(lambda: pool.size == 1)
    await pool.close(1.0)


@pytest.mark.feature("F6")
async def test_threads_that_are_to_end_do_so_although_the_backlog_is_discarded() -> None:
    release = threading.Event()
    pool = ThreadPool("test", lambda item: release.wait(10), lambda *result: None, 3)
    pool.extend(range(3))
    await eventually(lambda: pool.busy == 3)
    pool.resize(1)
    pool.extend(range(2))
    pool.discard_backlog()
    release.set()
    await pool.idle()
    await eventually(lambda: pool.size == 1)
    await pool.close()


@pytest.mark.feature("F44")
async def test_waiting_work_of_threads_can_be_discarded() -> None:
    release = threading.Event()
    done: list[int] = []
    pool = ThreadPool("test", lambda item: release.wait(10), lambda item, result, seconds: done.append(item), 1)
    pool.extend(range(5))
    await eventually(lambda: pool.busy == 1)
    pool.discard_backlog()
    release.set()
    await pool.idle()
    assert done == [0]
    await pool.close(1.0)


async def test_thread_in_a_listener_does_not_hold_up_the_close(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()
    pool = ThreadPool("stuck", lambda item: release.wait(10), lambda *result: None, 1)
    pool.append(1)
    await eventually(lambda: pool.busy == 1)
    thread = next(iter(pool._slots.values()))
    await pool.close(1.0)
    assert "stuck-1 is still in a listener" in caplog.text
    release.set()
    await eventually(lambda: not thread.is_alive())


@pytest.mark.parametrize("allowed", [0, 2])
def test_threads_that_the_system_refuses_come_later(
    allowed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    room = allowed
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        nonlocal room
        if thread.name.startswith("few-"):
            if not room:
                raise RuntimeError("can't start new thread")
            room -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    monkeypatch.setattr(workers, "THREAD_RETRY", 0.02)

    async def run() -> None:
        nonlocal room
        done: list[int] = []
        pool: ThreadPool[int, int] = ThreadPool("few", lambda item: item, lambda item, *_: done.append(item), 4)
        pool.extend(range(3))
        if allowed:
            await eventually(lambda: len(done) == 3)
        await asyncio.sleep(0.1)
        assert pool.size == allowed
        assert caplog.text.count("can't start new thread") == 1
        room = 10
        await eventually(lambda: pool.size == 4 and len(done) == 3)
        await pool.close(1.0)

    asyncio.run(run())


async def test_closed_pools_do_not_grow_again(scheduler: Scheduler) -> None:
    threads = ThreadPool("closed", lambda item: item, lambda *result: None, 1)
    tasks = TaskPool(scheduler, "closed", Recorder().work, 1)
    for pool in (threads, tasks):
        await pool.close(1.0)
        pool.resize(5)
        await eventually(lambda pool=pool: pool.size == 0)  # type: ignore[misc]


@pytest.mark.feature("F6")
@pytest.mark.parametrize(
    ("size", "busy", "backlog", "expected"),
    [(4, 4, 10, 6), (1, 1, 1, 2), (16, 16, 99, 20), (10, 10, 0, 10), (10, 6, 0, 10), (10, 4, 0, 8), (3, 0, 0, 2), (10, 3, 5, 10)],
)
def test_number_of_workers_follows_the_backlog(size: int, busy: int, backlog: int, expected: int) -> None:
    assert next_size(size, busy, backlog, 2, 20) == expected


async def test_thread_with_nothing_to_do_is_not_said_to_be_in_a_listener_when_the_machine_is_busy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[object] = []
    pool = ThreadPool("idle", lambda item: item, lambda item, result, seconds: done.append(item), 1)
    pool.extend([1])
    await eventually(lambda: done == [1])
    threads = list(pool._slots.values())
    monkeypatch.setattr(threading.Thread, "is_alive", lambda self: True)  # it has not come to its end yet
    await pool.close()
    monkeypatch.undo()
    assert caplog.text == ""
    for thread in threads:
        await asyncio.to_thread(thread.join, 10)
