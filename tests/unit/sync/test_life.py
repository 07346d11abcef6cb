"""The life of blocking clients: starts and stops that meet, in threads, signal handlers, at the end of the process, and after a fork."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import aiorocketmq.sync as rmq
from aiorocketmq.errors import ClientClosedError
from aiorocketmq.sync import base
from aiorocketmq.sync import portal as portals
from aiorocketmq.sync.base import BlockingClient, BlockingConsumer
from tests.support.waiting import eventually_sync
from tests.unit.sync.scripted import TOPIC, Site

ROOT = Path(__file__).resolve().parents[3]
unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals for threads")


class Inner:
    """An asyncio client whose start and stop take until they are let go."""

    in_listener = False

    def __init__(self) -> None:
        self.events: list[str] = []
        self.start_gate = threading.Event()
        self.stop_gate = threading.Event()
        self.start_gate.set()
        self.stop_gate.set()

    async def _pass(self, what: str, gate: threading.Event) -> None:
        self.events.append(what)
        try:
            while not gate.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.002)
        except asyncio.CancelledError:
            self.events.append(f"{what} cancelled")
            raise
        self.events.append(f"{what} done")

    async def start(self) -> None:
        await self._pass("start", self.start_gate)

    async def stop(self) -> None:
        await self._pass("stop", self.stop_gate)


class Client(BlockingClient[Inner]):
    pass


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@contextmanager
def on_signal(number: int, function: Callable[[], object]) -> Iterator[None]:
    previous = signal.signal(number, lambda *_: function())
    try:
        yield
    finally:
        signal.signal(number, previous)


def soon(condition: Callable[[], bool], function: Callable[[], object]) -> threading.Thread:
    """Call a function on another thread when something is the case."""

    def run() -> None:
        eventually_sync(condition, 10)
        function()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def interrupt(number: int) -> Callable[[], None]:
    main = threading.get_ident()
    return lambda: signal.pthread_kill(main, number)


def test_stop_gives_up_a_start_of_another_thread() -> None:
    client = Client(Inner())
    client._async.start_gate.clear()
    refused: list[BaseException] = []

    def start() -> None:
        try:
            client.start()
        except ClientClosedError as error:
            refused.append(error)

    starter = threading.Thread(target=start)
    starter.start()
    stopper = soon(lambda: client._async.events == ["start"], client.stop)
    stopper.join(20)
    given_up = not stopper.is_alive()
    client._async.start_gate.set()  # it shall fail, not hang, when the stop waits for it
    starter.join()
    stopper.join()
    assert given_up and len(refused) == 1
    assert client._async.events == ["start", "start cancelled", "stop", "stop done"]


@unix
def test_stop_in_a_signal_handler_ends_a_start_of_the_same_thread() -> None:
    client = Client(Inner())
    client._async.start_gate.clear()
    with on_signal(signal.SIGUSR1, client.stop):
        thread = soon(lambda: client._async.events == ["start"], interrupt(signal.SIGUSR1))
        with pytest.raises(ClientClosedError):
            client.start()
        thread.join()
    assert client._async.events == ["start", "start cancelled", "stop", "stop done"]
    assert portals.peek() is None


@unix
def test_stop_in_a_signal_handler_waits_for_a_stop_of_the_same_thread() -> None:
    client = Client(Inner()).start()
    client._async.stop_gate.clear()
    returned: list[bool] = []

    def stop_too() -> None:
        threading.Timer(0.1, client._async.stop_gate.set).start()
        client.stop()
        returned.append(True)

    with on_signal(signal.SIGUSR1, stop_too):
        thread = soon(lambda: "stop" in client._async.events, interrupt(signal.SIGUSR1))
        client.stop()
        thread.join()
    assert returned == [True]
    assert client._async.events == ["start", "start done", "stop", "stop done"]


@unix
def test_start_in_a_signal_handler_waits_for_a_start_of_the_same_thread() -> None:
    client = Client(Inner())
    client._async.start_gate.clear()

    def start_too() -> None:
        threading.Timer(0.1, client._async.start_gate.set).start()
        client.start()

    with on_signal(signal.SIGUSR1, start_too):
        thread = soon(lambda: client._async.events == ["start"], interrupt(signal.SIGUSR1))
        client.start()
        thread.join()
    client.stop()
    assert client._async.events == ["start", "start done", "stop", "stop done"]


@unix
def test_an_interrupt_ends_a_start_and_undoes_it() -> None:
    client = Client(Inner())
    client._async.start_gate.clear()
    thread = soon(lambda: client._async.events == ["start"], interrupt(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        client.start()
    thread.join()
    assert client._async.events == ["start", "start cancelled", "stop", "stop done"]
    assert portals.peek() is None


def test_a_stop_that_comes_before_the_start_is_on_its_way_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    client, current = Client(Inner()), portals.current

    def interrupted() -> portals.Portal:
        client.stop()  # as a signal handler would, just then
        return current()

    monkeypatch.setattr(portals, "current", interrupted)
    with pytest.raises(ClientClosedError, match="while it was being started"):
        client.start()
    assert client._async.events == []


def test_starts_and_stops_of_many_threads_take_turns() -> None:
    client = Client(Inner())
    errors: list[BaseException] = []

    def use(number: int) -> None:
        for _ in range(30):
            try:
                (client.start if number % 2 else client.stop)()
            except ClientClosedError:
                continue  # stopped meanwhile
            except BaseException as error:  # noqa: BLE001 - told below
                errors.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    client.stop()
    assert errors == []
    running = False
    for event in client._async.events:
        assert event != "start" or not running
        running = event == "start done" or (running and event != "stop")
    assert not running
    assert portals.peek() is None


def test_a_new_client_may_have_the_group_of_one_that_was_dropped_just_before(site: Site) -> None:
    with rmq.Producer(site.name_server.address, group="others"):
        for _ in range(5):
            producer = rmq.Producer(site.name_server.address, group="again").start()
            with pytest.warns(ResourceWarning, match="dropped without stop"):
                del producer
        with rmq.Producer(site.name_server.address, group="again") as last:
            assert last.send(rmq.Message(TOPIC, b"x")).ok


def test_a_client_that_is_dropped_while_warnings_are_errors_is_stopped() -> None:
    import gc
    import warnings

    inner = Inner()
    client: Client | None = Client(inner).start()
    unraisable: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            client = None
            gc.collect()
    finally:
        sys.unraisablehook = hook
    assert client is None
    eventually_sync(lambda: inner.events[-1] == "stop done" and portals.peek() is None, 10)
    unraisable.clear()


def send_past_the_loop(producer: rmq.Producer, site: Site) -> int:
    """From now on the producer sends on a connection of its own; the number of sends so far."""
    assert producer._direct is not None
    producer._direct.warm_up = 0
    eventually_sync(lambda: producer.send(rmq.Message(TOPIC, b"first")).ok and site.broker.connections == 2)
    return len(site.broker.sends)


@pytest.mark.feature("B26")
def test_stop_has_one_deadline_for_links_and_loop(site: Site) -> None:
    with rmq.Producer(site.name_server.address, group="g", topics=[TOPIC]) as producer:
        before = send_past_the_loop(producer, site)
        site.broker.always = None
        outcomes: list[Any] = []

        def send(**options: Any) -> None:
            try:
                producer.send(rmq.Message(TOPIC, b"x"), timeout=60, **options)
            except rmq.RocketMQError as error:
                outcomes.append(error)

        threads = [threading.Thread(target=send), threading.Thread(target=send, kwargs={"selector": lambda queues, _: queues[0]})]
        for thread in threads:
            thread.start()
        eventually_sync(lambda: len(site.broker.sends) == before + 2)
        began = time.monotonic()
        producer.stop(1.5)
        took = time.monotonic() - began
        for thread in threads:
            thread.join(30)
        assert 1.4 <= took < 2.9, took
        assert [error.maybe_stored for error in outcomes] == [True, True]


@pytest.mark.feature("B26")
@pytest.mark.parametrize("timeout", [0, 0.0, timedelta(0)])
def test_stop_may_wait_for_nothing(site: Site, timeout: Any) -> None:
    with rmq.Producer(site.name_server.address, group="g", topics=[TOPIC]) as producer:
        site.broker.always = None
        sending = producer.send_nowait(rmq.Message(TOPIC, b"x"))
        eventually_sync(lambda: len(site.broker.sends) == 1)
        began = time.monotonic()
        producer.stop(timeout)
        assert time.monotonic() - began < 2 and producer.state is rmq.ServiceState.SHUTDOWN_ALREADY
        with pytest.raises(rmq.SendError) as caught:
            sending.result(5)
        assert caught.value.maybe_stored


@pytest.mark.feature("B26")
@pytest.mark.parametrize("timeout", [-1, "x", float("nan"), True])
def test_a_stop_whose_time_is_none_stops_all_the_same(site: Site, timeout: Any) -> None:
    producer = rmq.Producer(site.name_server.address, group="g", topics=[TOPIC]).start()
    assert producer.send(rmq.Message(TOPIC, b"x")).ok
    with pytest.raises(rmq.ConfigError, match="timeout"):
        producer.stop(timeout)
    assert producer.state is rmq.ServiceState.SHUTDOWN_ALREADY and portals.peek() is None
    with pytest.raises(rmq.ClientClosedError):
        producer.start()


def test_stop_returns_though_the_loop_does_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_GRACE", 0.1)
    gate = threading.Event()
    producer = rmq.Producer(site.name_server.address, group="g").start()
    assert producer._portal is not None
    producer._portal._post(lambda: gate.wait(20))  # a selector that blocks, say
    began = time.monotonic()
    producer.stop(0.2)
    assert time.monotonic() - began < 10
    gate.set()
    eventually_sync(lambda: portals.peek() is None, 10)


def test_a_resolver_that_hangs_delays_neither_stop_nor_the_end(site: Site) -> None:
    script = """
        import socket, sys, time
        real = socket.getaddrinfo
        def slow(host, *args, **options):
            if host == "slow.example":
                time.sleep(40)
            return real(host, *args, **options)
        socket.getaddrinfo = slow
        import aiorocketmq.sync as rmq
        producer = rmq.Producer("slow.example:9876", group="g", send_msg_timeout=0.3).start()
        try:
            producer.send(rmq.Message("orders", b"x"))
        except rmq.RocketMQError as error:
            print(type(error).__name__)
        began = time.monotonic()
        producer.stop(0.3)
        print(time.monotonic() - began < 10)
    """
    for no_uvloop in ("", "1"):
        environ = os.environ | {"AIOROCKETMQ_NO_UVLOOP": no_uvloop}
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30, env=environ)
        assert done.stdout.split()[1:] == ["True"], done.stderr


@unix
@pytest.mark.feature("B26")
@pytest.mark.parametrize("by_loop", [True, False])
def test_stop_in_a_signal_handler_during_a_send_tells_the_truth(site: Site, by_loop: bool) -> None:
    with rmq.Producer(site.name_server.address, group="g", topics=[TOPIC]) as producer:
        before = send_past_the_loop(producer, site)
        assert producer._direct is not None
        producer._direct.warm_up = 1_000_000 if by_loop else 0
        site.broker.delay = 0.4
        took: list[float] = []

        def stop() -> None:
            began = time.monotonic()
            producer.stop()
            took.append(time.monotonic() - began)

        with on_signal(signal.SIGUSR1, stop):
            thread = soon(lambda: len(site.broker.sends) == before + 1, interrupt(signal.SIGUSR1))
            assert producer.send(rmq.Message(TOPIC, b"last")).ok
            thread.join()
        assert took[0] < 2.0


@unix
def test_a_send_whose_answer_never_comes_after_its_handler_stopped_the_producer_is_in_doubt(site: Site) -> None:
    with rmq.Producer(site.name_server.address, group="g", topics=[TOPIC]) as producer:
        before = send_past_the_loop(producer, site)
        site.broker.always = None
        with on_signal(signal.SIGUSR1, producer.stop):
            thread = soon(lambda: len(site.broker.sends) == before + 1, interrupt(signal.SIGUSR1))
            with pytest.raises(rmq.SendError) as caught:
                producer.send(rmq.Message(TOPIC, b"last"), timeout=1.0)
            thread.join()
        assert caught.value.maybe_stored
        assert portals.peek() is None


def test_sys_exit_in_a_selector_ends_the_send_with_it(site: Site) -> None:
    with rmq.Producer(site.name_server.address, group="g", topics=[TOPIC]) as producer:
        with pytest.raises(SystemExit):
            producer.send(rmq.Message(TOPIC, b"x"), selector=lambda queues, _: sys.exit(3))
        with pytest.raises(SystemExit):
            producer.send_nowait(rmq.Message(TOPIC, b"x"), selector=lambda queues, _: sys.exit(3)).result(10)
        assert producer.send(rmq.Message(TOPIC, b"x")).ok


@unix
def test_an_interrupted_wait_for_room_costs_no_room(site: Site) -> None:
    with rmq.Producer(site.name_server.address, group="g", topics=[TOPIC], max_in_flight=2) as producer:
        producer.send(rmq.Message(TOPIC, b"x"))
        site.broker.delay = 0.3
        for _ in range(3):
            futures = [producer.send_nowait(rmq.Message(TOPIC, b"x")) for _ in range(2)]
            thread = soon(lambda: bool(producer._room._waiting), interrupt(signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):
                producer.send_nowait(rmq.Message(TOPIC, b"too many"))
            thread.join()
            assert [future.result(10).ok for future in futures] == [True, True]
            assert not producer._room.open
        site.broker.delay = 0.0
        assert [producer.send_nowait(rmq.Message(TOPIC, b"x")).result(10).ok for _ in range(5)] == [True] * 5


def test_a_send_that_is_interrupted_on_its_way_to_the_loop_costs_no_room(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with rmq.Producer(site.name_server.address, group="g", topics=[TOPIC], max_in_flight=2) as producer:
        producer.send(rmq.Message(TOPIC, b"x"))

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(portals.Portal, "submit", interrupted)
            for _ in range(3):
                with pytest.raises(KeyboardInterrupt):
                    producer.send_nowait(rmq.Message(TOPIC, b"x"))
                assert not producer._room.open, "with the window full of such sends, nobody could send any more"
        assert producer.send_nowait(rmq.Message(TOPIC, b"x")).result(10).ok


def test_sends_that_find_the_window_full_wait_for_room(site: Site) -> None:
    with rmq.Producer(site.name_server.address, group="g", topics=[TOPIC], max_in_flight=1) as producer:
        producer.send(rmq.Message(TOPIC, b"x"))
        site.broker.delay = 0.1
        sent: list[bool] = []

        def send() -> None:  # with a selector it goes by the loop
            sent.append(producer.send(rmq.Message(TOPIC, b"x"), selector=lambda queues, message: queues[0], timeout=10).ok)

        threads = [threading.Thread(target=send, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(15)
        assert sent == [True] * 4


def test_the_tries_of_send_nowait_do_not_depend_on_the_room(site: Site) -> None:
    fields: dict[str, Any] = {"retry_times_when_send_async_failed": 0, "max_in_flight_bytes": 100, "topics": [TOPIC]}
    with rmq.Producer(site.name_server.address, group="g", **fields) as producer:
        producer.send(rmq.Message(TOPIC, b"x"))
        site.broker.always, site.broker.delay = 1, 0.1
        futures = [producer.send_nowait(rmq.Message(TOPIC, bytes(90))) for _ in range(3)]
        assert all(isinstance(future.exception(20), rmq.SendError) for future in futures)
        assert len(site.broker.sends) == 1 + 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_is_refused_before_any_lock_or_room_is_waited_for(site: Site) -> None:
    script = """
        import os, sys, threading, time
        import aiorocketmq.sync as rmq
        servers = sys.argv[1]
        full = rmq.Producer(servers, group="full", topics=["orders"], max_in_flight=1).start()
        full.send(rmq.Message("orders", b"1"))
        future = full.send_nowait(rmq.Message("orders", b"2"))
        half = rmq.Producer("127.0.0.1:1;127.0.0.2:1", group="half", topics=["orders"])
        thread = threading.Thread(target=half.start)
        thread.start()
        while half._portal is None:
            time.sleep(0.001)
        child = os.fork()
        if child == 0:
            told = []
            for use in (
                lambda: full.send_nowait(rmq.Message("orders", b"3")),
                lambda: full.send(rmq.Message("orders", b"3")),
                lambda: future.result(),
                half.start,
                lambda: half.send(rmq.Message("orders", b"3")),
            ):
                try:
                    use()
                except rmq.ForkedClientError:
                    told.append(True)
            full.stop(); half.stop()
            os._exit(0 if len(told) == 5 else 1)
        deadline = time.monotonic() + 20
        ended = 0
        while not ended and time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.01)
        if not ended:
            os.kill(child, 9)
        print("hung" if not ended else os.waitstatus_to_exitcode(status), flush=True)
        thread.join()
        full.stop(); half.stop()
    """
    site.broker.answers = [0, None]
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), site.name_server.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.stdout == "0\n", done.stderr


def test_everything_can_be_stopped_at_the_end_of_the_process_by_its_own_code(site: Site) -> None:
    script = """
        import atexit, sys
        import aiorocketmq.sync as rmq
        producer = rmq.Producer(sys.argv[1], group="g")
        atexit.register(lambda: print(producer.send(rmq.Message("orders", b"at the end")).ok, producer.stop(), flush=True))
        producer.start()
    """
    command = [sys.executable, "-c", textwrap.dedent(script), site.name_server.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert (done.stdout, done.returncode) == ("True None\n", 0), done.stderr


class Consumer(BlockingConsumer[Inner]):
    pass


@unix
def test_run_leaves_a_handler_that_did_not_come_from_python(monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = signal.getsignal, []
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGTERM else real(number))
    set_handler = signal.signal

    def recorded(number: int, handler: Any) -> Any:
        asked.append(number)
        return set_handler(number, handler)

    monkeypatch.setattr(signal, "signal", recorded)
    consumer = Consumer(Inner())
    thread = soon(lambda: "start done" in consumer._async.events, interrupt(signal.SIGINT))
    consumer.run()
    thread.join()
    assert asked == [signal.SIGINT, signal.SIGINT]
    assert consumer._async.events[-1] == "stop done"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_run_ends_when_another_thread_stops_the_consumer_at_any_time() -> None:
    for gate in (False, True):
        consumer = Consumer(Inner())
        if gate:
            consumer._async.start_gate.clear()
        thread = soon(lambda consumer=consumer: "start" in consumer._async.events, consumer.stop)  # type: ignore[misc]
        consumer.run()
        thread.join()
        assert consumer._async.events[-1] == "stop done"


def test_the_sockets_of_links_are_closed_in_a_forked_child_only_there(site: Site) -> None:
    with rmq.Producer(site.name_server.address, group="g", topics=[TOPIC]) as producer:
        send_past_the_loop(producer, site)
        direct = producer._direct
        assert direct is not None
        [link] = direct._links._all
        twin = socket.socket(fileno=os.dup(link._socket.fileno()))  # as a forked child has
        link.close()
        eventually_sync(lambda: site.broker.connections == 2, 5)
        twin.close()
        eventually_sync(lambda: site.broker.connections == 1, 5)


@pytest.mark.parametrize("patched", ["threading", "queue", "socket"])
def test_threads_that_gevent_has_replaced_are_refused_by_name(patched: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Monkey:
        @staticmethod
        def is_module_patched(name: str) -> bool:
            return name == patched

    monkeypatch.setitem(sys.modules, "gevent.monkey", Monkey)  # type: ignore[arg-type]
    client = Client(Inner())
    if patched == "socket":
        with client:
            pass
    else:
        with pytest.raises(rmq.ClientStateError, match="gevent"):
            client.start()


@pytest.mark.feature("B15", "B26")
def test_send_nowait_takes_each_message_as_it_is_at_the_call(site: Site) -> None:
    with rmq.Producer(site.name_server.address, group="g", topics=[TOPIC]) as producer:
        message, futures = rmq.Message(TOPIC, b"first"), []
        for number in range(20):
            message = message.replace(body=b"%d" % number)
            futures.append(producer.send_nowait(message))
        assert all(future.result(10).ok for future in futures)
        assert sorted(site.broker.stored) == sorted(b"%d" % number for number in range(20))


def test_send_nowait_refuses_at_the_call(site: Site) -> None:
    with rmq.Producer(site.name_server.address, group="g", topics=[TOPIC], max_message_size=10) as producer:
        message, queue = rmq.Message(TOPIC, b"x"), rmq.MessageQueue("other", "broker-a", 0)
        wrong: list[tuple[Any, dict[str, Any]]] = [
            ("text", {}),
            (rmq.Message(TOPIC, bytes(11)), {}),
            (message, {"queue": queue}),
            (message, {"queue": queue, "sharding_key": "k"}),
        ]
        for what, options in wrong:
            with pytest.raises(rmq.InvalidMessageError):
                producer.send_nowait(what, **options)
        assert not producer._room.open
        assert not site.broker.sends
