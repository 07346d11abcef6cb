"""The loop over a blocking lite pull consumer: interrupts, other threads, stops and forks at any step lose no message."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import aiorocketmq.sync as rmq
from aiorocketmq.sync.base import BlockingClient
from aiorocketmq.sync.polling import BlockingPoller
from tests.support.waiting import eventually_sync

ROOT = Path(__file__).resolve().parents[3]
COUNT = 100


@pytest.fixture
def cluster() -> Iterator[rmq.LocalCluster]:
    with rmq.LocalCluster() as made:
        made.create_topic("t", queues=1)
        with rmq.Producer(made.name_servers, group="p") as producer:
            producer.send_batch([rmq.Message("t", b"%d" % number) for number in range(COUNT)])
        yield made


def lite(cluster: rmq.LocalCluster, **fields: Any) -> rmq.LitePullConsumer:
    return rmq.LitePullConsumer(cluster.name_servers, group="g", topics="t", start_from=rmq.StartFrom.FIRST, **fields)


def after_step(number: int, handler: Callable[[], None]) -> Callable[[FrameType, str, Any], None]:
    """Does what a signal can do: its handler runs in the loop's own function, behind one of the calls that it makes."""
    step, code = 0, BlockingPoller.__next__.__code__

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal step
        back = frame.f_back
        if (event == "c_return" and frame.f_code is code) or (event == "return" and back is not None and back.f_code is code):
            step += 1
            if step == number:
                handler()

    return profile


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.feature("I1")
def test_an_interrupt_at_any_step_of_a_loop_loses_no_message(cluster: rmq.LocalCluster) -> None:
    seen: list[int] = []
    interrupts = 0
    with lite(cluster, pull_batch_size=5) as consumer:
        eventually_sync(lambda: consumer.backlog == COUNT)
        while COUNT - 1 not in seen:
            try:
                sys.setprofile(after_step(interrupts % 7 + 1, interrupt))
                for message in consumer:
                    seen.append(message.queue_offset)
                    if message.queue_offset == COUNT - 1:
                        break
            except KeyboardInterrupt:
                interrupts += 1
            finally:
                sys.setprofile(None)
    assert interrupts
    firsts = list(dict.fromkeys(seen))
    assert firsts == list(range(COUNT))


@pytest.mark.feature("I1")
def test_another_thread_that_asks_something_takes_nothing_from_a_loop(cluster: rmq.LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    run, go_on = BlockingClient._run, threading.Event()

    def late(client: Any, *args: Any, **kwargs: Any) -> Any:
        go_on.wait(5)
        return run(client, *args, **kwargs)

    seen: list[int] = []
    with lite(cluster) as consumer:
        eventually_sync(lambda: consumer.backlog == COUNT)
        monkeypatch.setattr(BlockingClient, "_run", late)
        other = threading.Thread(target=consumer.offsets)
        for message in consumer:
            seen.append(message.queue_offset)
            if message.queue_offset == 5:
                other.start()
                time.sleep(0.1)
            if message.queue_offset == 40:
                go_on.set()
                other.join()
            if message.queue_offset == COUNT - 1:
                break
    assert seen == list(range(COUNT))


@pytest.mark.feature("I1", "I7")
def test_of_a_loop_that_takes_its_time_all_is_consumed_but_the_message_in_hand(cluster: rmq.LocalCluster) -> None:
    with lite(cluster) as consumer:
        eventually_sync(lambda: consumer.backlog == COUNT)
        (queue,) = consumer.assigned
        for message in consumer:  # quick at first, with many at a time
            if message.queue_offset < 60:
                continue
            time.sleep(0.05)
            if message.queue_offset == 98:
                break
        assert consumer._async.offsets() == {queue: 98}


@pytest.mark.feature("I1")
def test_another_thread_that_asks_something_takes_nothing_from_a_loop_that_waits(cluster: rmq.LocalCluster) -> None:
    seen: list[int] = []
    with lite(cluster) as consumer, rmq.Producer(cluster.name_servers, group="p") as producer:

        def ask_and_send() -> None:
            eventually_sync(lambda: len(seen) == COUNT)
            for number in range(3):
                time.sleep(0.05)  # the loop waits again
                consumer.offsets()
                producer.send(rmq.Message("t", b"more"))
                eventually_sync(lambda: len(seen) > COUNT + number, 5)  # noqa: B023 - it ends in its own turn
            consumer.stop()

        other = threading.Thread(target=ask_and_send)
        other.start()
        for message in consumer:
            seen += [message.queue_offset]
        other.join()
    assert seen == list(range(COUNT + 3))


@pytest.mark.feature("I1", "I7")
@pytest.mark.parametrize("step", range(1, 5))
def test_a_stop_at_any_step_of_a_loop_claims_nothing_that_was_not_given(cluster: rmq.LocalCluster, step: int) -> None:
    seen: list[int] = []
    with lite(cluster) as consumer:
        eventually_sync(lambda: consumer.backlog == COUNT)
        try:
            sys.setprofile(after_step(step, consumer.stop))
            for message in consumer:
                seen.append(message.queue_offset)
                if consumer.state is rmq.ServiceState.SHUTDOWN_ALREADY or len(seen) == 40:
                    break
        finally:
            sys.setprofile(None)
    with lite(cluster, instance_name="next") as following:
        assert following.poll(1, timeout=10)[0].queue_offset == len(seen)


@pytest.mark.feature("I1", "I7")
@pytest.mark.filterwarnings("ignore:.*was dropped without stop:ResourceWarning")
def test_a_consumer_that_is_dropped_in_a_loop_has_consumed_what_the_loop_was_given(cluster: rmq.LocalCluster) -> None:
    consumer = lite(cluster).start()
    for message in consumer:
        if message.queue_offset == 4:
            break
    del consumer
    gc.collect()
    with lite(cluster, instance_name="next") as following:
        assert following.poll(1, timeout=10)[0].queue_offset == 5


@pytest.mark.feature("I1")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_child_forked_in_a_loop_gets_none_of_its_messages_and_may_leave_the_block() -> None:
    script = """
        import os, sys
        import aiorocketmq.sync as rmq
        with rmq.LocalCluster() as cluster:
            cluster.create_topic("t", queues=1)
            with rmq.Producer(cluster.name_servers, group="p") as producer:
                producer.send_batch([rmq.Message("t", b"%d" % number) for number in range(20)])
            seen, child = [], None
            try:
                with rmq.LitePullConsumer(cluster.name_servers, group="g", topics="t", start_from=rmq.StartFrom.FIRST) as consumer:
                    for message in consumer:
                        seen.append(message.queue_offset)
                        if child is None and message.queue_offset == 4:
                            child = os.fork()
                            if child == 0:
                                try:
                                    next(consumer)
                                except rmq.ForkedClientError:
                                    consumer.stop()
                                    raise ZeroDivisionError
                        if message.queue_offset == 19:
                            break
            except ZeroDivisionError:
                os._exit(7 if seen == list(range(5)) else 8)
            if child == 0:
                os._exit(9)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen == list(range(20)))
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert done.stdout == "7 True\n", done.stderr
