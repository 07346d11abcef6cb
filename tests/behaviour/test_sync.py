"""The blocking classes on every cluster: produce and consume without an event loop, from many threads."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

import aiorocketmq.sync as rmq
from tests.support.clusters import Cluster
from tests.support.waiting import eventually_sync


def loop_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "aiorocketmq-sync"]


@pytest.fixture
def topic(cluster: Cluster) -> str:
    name = cluster.unique("sync")
    with cluster.sync_admin() as admin:
        admin.topics.create(name, queues=2)
    return name


def test_produce_and_consume_without_await(cluster: Cluster, topic: str) -> None:
    received: list[tuple[bytes, str]] = []
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("sync_group"), start_from=rmq.StartFrom.FIRST)

    @consumer.listen(topic)
    def handle(message: rmq.ReceivedMessage) -> None:
        received.append((message.body, threading.current_thread().name))

    with cluster.sync_producer() as producer:
        one = producer.send(rmq.Message(topic, b"one"))
        batch = producer.send_batch([rmq.Message(topic, b"two"), rmq.Message(topic, b"three")])
        producer.send_oneway(rmq.Message(topic, b"four"))
        future = producer.send_nowait(rmq.Message(topic, b"five"))
        assert one.ok
        assert batch.ok
        assert isinstance(future, Future)
        assert future.result(10).ok
        with consumer:
            eventually_sync(lambda: {body for body, _ in received} >= {b"one", b"two", b"three", b"four", b"five"}, 30)
            assert producer.state is consumer.state is rmq.ServiceState.RUNNING
    assert all(name != "aiorocketmq-sync" for _, name in received), "a plain listener ran on the loop's thread"
    assert loop_threads() == []


@pytest.mark.feature("B26")
def test_64_threads_send_at_once_and_each_gets_its_own_result(cluster: Cluster, topic: str) -> None:
    with cluster.sync_producer() as producer:

        def work(worker: int) -> list[rmq.SendResult]:
            return [producer.send(rmq.Message(topic, f"{worker}:{number}".encode()), timeout=30) for number in range(20)]

        with ThreadPoolExecutor(64) as pool:
            results = [result for part in pool.map(work, range(64)) for result in part]
        assert all(result.ok for result in results)
        places = {(result.queue, result.queue_offset) for result in results}
        assert len(places) == len({result.message_id for result in results}) == 64 * 20
        with cluster.sync_admin() as admin:
            eventually_sync(lambda: admin.topics.stats(topic).messages == 64 * 20)


def test_send_nowait_waits_for_room_instead_of_failing(cluster: Cluster, topic: str) -> None:
    with cluster.sync_producer(max_in_flight=16) as producer:
        futures = [producer.send_nowait(rmq.Message(topic, str(number).encode())) for number in range(400)]
        assert all(future.result(30).ok for future in futures)


def test_errors_are_those_of_the_asyncio_classes(cluster: Cluster, topic: str) -> None:
    producer = cluster.sync_producer()
    with pytest.raises(rmq.ClientStateError, match="not started"):
        producer.send(rmq.Message(topic, b"too early"))
    with producer:
        with pytest.raises(rmq.InvalidMessageError, match="empty"):
            producer.send(rmq.Message(topic, b""))
        with pytest.raises(rmq.InvalidMessageError, match="empty"):
            producer.send_nowait(rmq.Message(topic, b"")).result(10)
    with pytest.raises(rmq.ClientClosedError, match="stopped"):
        producer.send(rmq.Message(topic, b"too late"))
    with pytest.raises(rmq.ClientClosedError):
        producer.start()
    assert loop_threads() == []


def test_listeners_can_be_changed_before_and_during_the_run(cluster: Cluster, topic: str) -> None:
    received: list[bytes] = []
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("sync_subscribe"), start_from=rmq.StartFrom.FIRST)
    consumer.subscribe(topic, lambda message: received.append(message.body))
    with cluster.sync_producer() as producer, consumer:
        producer.send(rmq.Message(topic, b"first"))
        eventually_sync(lambda: received == [b"first"], 30)
        with pytest.raises(rmq.ClientStateError, match="subscribe"):
            consumer.listen(topic)
        consumer.suspend()
        consumer.resume()
        producer.send(rmq.Message(topic, b"second"))
        eventually_sync(lambda: received == [b"first", b"second"], 30)


@pytest.mark.feature("F44")
@pytest.mark.parametrize("how", ["with", "run"])
def test_a_listener_may_stop_its_own_consumer(cluster: Cluster, topic: str, how: str) -> None:
    received: list[bytes] = []
    took: list[float] = []
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("sync_stop"), start_from=rmq.StartFrom.FIRST, concurrency=1)

    @consumer.listen(topic)
    def handle(message: rmq.ReceivedMessage) -> None:
        received.append(message.body)
        began = time.monotonic()
        consumer.stop()
        took.append(time.monotonic() - began)

    with cluster.sync_producer() as producer:
        producer.send(rmq.Message(topic, b"the last one"))
        if how == "run":
            consumer.run()
        else:
            with consumer:
                eventually_sync(lambda: bool(took), 30)
    eventually_sync(lambda: consumer.state is rmq.ServiceState.SHUTDOWN_ALREADY and loop_threads() == [], 30)
    assert received == [b"the last one"]
    assert took[0] < 5.0, "it waits for its end only, not for the 30 s that listeners get"


PROGRAM = """
    import os, signal, sys, threading
    import aiorocketmq.sync as rmq

    consumer = rmq.PushConsumer(sys.argv[1], group=sys.argv[3], start_from=rmq.StartFrom.FIRST)

    @consumer.listen(sys.argv[2])
    def handle(message):
        print("got", message.body.decode(), flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

    producer = rmq.Producer(sys.argv[1], group=sys.argv[3]).start()
    producer.send(rmq.Message(sys.argv[2], b"stop me"))
    consumer.run()
    print("stopped", consumer.state.name, flush=True)
    # The producer is left running: the end of the process stops it.
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process on Windows")
def test_run_ends_with_sigterm_and_the_process_ends_with_everything_stopped(cluster: Cluster, topic: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), cluster.name_servers, topic, cluster.unique("sync_run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split("\n")) == (0, ["got stop me", "stopped SHUTDOWN_ALREADY", ""]), done.stderr
    assert "Traceback" not in done.stderr


FORKING = """
    import os, sys
    import aiorocketmq.sync as rmq

    servers, topic, group = sys.argv[1:]
    before = rmq.Producer(servers, group=group).start()
    unused = rmq.Producer(servers, group=group)
    print(before.send(rmq.Message(topic, b"parent")).ok, flush=True)
    child = os.fork()
    if child == 0:
        try:
            before.send(rmq.Message(topic, b"child"))
        except rmq.ForkedClientError:
            print("refused", flush=True)
        with unused:
            print(unused.send(rmq.Message(topic, b"child")).ok, unused.client_id != before.client_id, flush=True)
        sys.exit(0)  # the ordinary way out: what C libraries do at the end of a process must work as well
    print(os.waitpid(child, 0)[1], before.send(rmq.Message(topic, b"parent again")).ok, flush=True)
    before.stop()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.feature("B26")
def test_a_fork_leaves_the_parent_alone_and_gives_the_child_its_own(cluster: Cluster, topic: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORKING), cluster.name_servers, topic, cluster.unique("sync_fork")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["True", "refused", "True", "True", "0", "True"], done.stderr


def test_the_embedded_cluster_has_a_blocking_twin() -> None:
    with rmq.LocalCluster() as local:
        local.create_topic("twin", queues=1)
        with rmq.Producer(local.name_servers, group="twin") as producer:
            assert producer.send(rmq.Message("twin", b"x")).queue == rmq.MessageQueue("twin", local.brokers[0].name, 0)
    assert loop_threads() == []


STUBBORN = """
    import os, signal, sys, threading, time
    import aiorocketmq.sync as rmq

    with rmq.LocalCluster() as cluster:
        consumer = rmq.PushConsumer(cluster.name_servers, group="stubborn", start_from=rmq.StartFrom.FIRST)

        @consumer.listen("stubborn")
        def handle(message):
            os.kill(os.getpid(), signal.SIGINT)
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
            time.sleep(60)

        with rmq.Producer(cluster.name_servers, group="stubborn") as producer:
            producer.send(rmq.Message("stubborn", b"x"))
        try:
            consumer.run()
        except KeyboardInterrupt:
            print("forced", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for child processes")
def test_a_second_signal_does_not_wait_for_a_listener_that_hangs() -> None:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(STUBBORN)], capture_output=True, text=True, timeout=40, check=False)
    assert (done.returncode, done.stdout) == (0, "forced\n"), done.stderr
