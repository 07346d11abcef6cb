"""Blocking sends past the event loop: on links of their own, and by the loop whenever anything is out of the ordinary."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

import aiorocketmq
import aiorocketmq.sync as rmq
from aiorocketmq.config import TLS
from aiorocketmq.errors import ForkedClientError
from aiorocketmq.producer import direct
from aiorocketmq.producer.send import Lane
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.channel import Peer
from aiorocketmq.remoting.link import Link
from tests.support.waiting import eventually_sync
from tests.unit.sync.scripted import DROP, TOPIC, Send, Site

BY_LOOP = 1_000_000
QUEUE = rmq.MessageQueue(TOPIC, "broker-a", 2)


def message(body: bytes = b"x") -> rmq.Message:
    return rmq.Message(TOPIC, body)


@contextlib.contextmanager
def producing(site: Site, *, by_loop: bool = False, **fields: Any) -> Iterator[rmq.Producer]:
    """A producer that has sent its first messages by the loop, one for each broker counts, and sends all others past it."""
    fields.setdefault("group", "producers")
    with rmq.Producer(site.name_server.address, **fields) as producer:
        known = [len(broker.sends) for broker in site.brokers]
        # The first one brings the connection, the second one the short way.
        eventually_sync(lambda: producer.send(message(b"first")).ok and len(lanes_of(producer)) == len(site.brokers))
        for broker, before in zip(site.brokers, known, strict=True):
            del broker.sends[before + 1 :]
            del broker.stored[before + 1 :]
        if producer._direct is not None:
            producer._direct.warm_up = BY_LOOP if by_loop else 0
        yield producer


def sender_of(producer: rmq.Producer) -> direct.DirectSender:
    assert producer._direct is not None
    return producer._direct


def lanes_of(producer: rmq.Producer) -> dict[str, Lane]:
    dispatcher = producer._async._dispatcher
    assert dispatcher is not None
    return dispatcher.targets[TOPIC].lanes


def links_of(producer: rmq.Producer) -> list[Link]:
    return list(sender_of(producer)._links._all)


def at_rest(producer: rmq.Producer) -> bool:
    """Nothing is under way, and nothing is counted."""
    dispatcher = producer._async._dispatcher
    assert dispatcher is not None
    return not sender_of(producer)._under_way and not dispatcher.window.messages and not dispatcher.window.bytes


def is_open(each: Link) -> bool:
    return each._socket.fileno() >= 0


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture
def two() -> Iterator[Site]:
    made = Site("broker-a", "broker-b", queues=1)
    yield made
    made.close()


# -- the good case -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("B1", "B26")
def test_sends_of_one_thread_share_a_link(site: Site) -> None:
    broker = site.broker
    with producing(site) as producer:
        results = [producer.send(message(str(number).encode())) for number in range(5)]
        first, *others = broker.channels
        assert first not in others
        assert len(set(others)) == 1
        assert broker.connections == 2
        assert [result.queue_offset for result in results] == [1, 2, 3, 4, 5]
        assert len({result.queue.queue_id for result in results}) == 4
        for result, send in zip(results, broker.sends[1:], strict=True):
            assert result.ok
            assert result.message_id in (send.header.properties or "")
            assert result.queue == rmq.MessageQueue(TOPIC, "broker-a", send.header.queue_id)
        assert at_rest(producer)
    eventually_sync(lambda: not broker.connections)


def test_the_first_sends_go_by_the_loop(site: Site) -> None:
    with rmq.Producer(site.name_server.address, group="producers") as producer:
        for _ in range(1 + direct.WARM_UP + 1):  # the first one, which finds no route, does not count
            producer.send(message())
        *before, last = site.broker.channels
        assert len(set(before)) == 1
        assert last not in before


@pytest.mark.feature("B1", "A24")
def test_the_result_is_that_of_the_loop(site: Site) -> None:
    site.broker.extra = {"transactionId": "t-1", "recallHandle": "handle", "MSG_REGION": "eu", "TRACE_ON": "false", "queueId": "9"}
    results = []
    for by_loop in (True, False):
        with producing(site, by_loop=by_loop) as producer:
            results.append(producer.send(message()))
            assert (site.broker.channels[-1] is site.broker.channels[-2]) is by_loop
    one, other = results
    for field in ("status", "queue", "transaction_id", "recall_handle", "region_id", "trace_on"):
        assert getattr(one, field) == getattr(other, field), field
    assert one.queue.queue_id == 9
    assert len(one.message_id) == len(other.message_id)
    assert one.message_id != other.message_id


@pytest.mark.feature("B26", "A5")
def test_32_threads_get_unique_ids_and_each_its_own_result(site: Site) -> None:
    broker = site.broker
    with producing(site) as producer:

        def work(worker: int) -> list[tuple[bytes, rmq.SendResult]]:
            bodies = [b"%d:%d" % (worker, number) for number in range(20)]
            return [(body, producer.send(message(body), timeout=30)) for body in bodies]

        with ThreadPoolExecutor(32) as threads:
            pairs = [pair for part in threads.map(work, range(32)) for pair in part]
        assert len({result.message_id for _, result in pairs}) == 32 * 20
        for body, result in pairs:
            assert broker.stored[result.queue_offset] == body
        assert sorted(broker.stored[1:]) == sorted(body for body, _ in pairs)
        assert 1 <= len(links_of(producer)) <= direct.THREADS
        eventually_sync(lambda: at_rest(producer))
    eventually_sync(lambda: not broker.connections)


def test_with_too_many_threads_all_send_by_the_loop_for_a_while(site: Site) -> None:
    with producing(site) as producer:
        sender = sender_of(producer)
        others: list[Any] = [object() for _ in range(direct.THREADS)]
        sender._under_way.update(dict.fromkeys(others, 1))
        assert producer.send(message()).ok
        assert site.broker.channels[-1] is site.broker.channels[0]
        for other in others:
            del sender._under_way[other]
        assert producer.send(message()).ok
        assert site.broker.channels[-1] is site.broker.channels[0]
        time.sleep(direct.CROWDED + 0.05)
        assert producer.send(message()).ok
        assert site.broker.channels[-1] is not site.broker.channels[0]


@pytest.mark.feature("B1", "B2", "B26")
@pytest.mark.parametrize("options", [{"queue": QUEUE}, {"sharding_key": "k"}], ids=["queue", "sharding_key"])
def test_a_fixed_queue_is_the_same_on_both_ways(site: Site, options: dict[str, Any]) -> None:
    queues = set()
    for by_loop in (True, False):
        with producing(site, by_loop=by_loop) as producer:
            for _ in range(3):
                queues.add(producer.send(message(), **options).queue)
            assert (site.broker.channels[-1] is site.broker.channels[-4]) is by_loop
            site.broker.answers = [2]
            with pytest.raises(rmq.SendError, match="1 tries"):
                producer.send(message(), **options)
            assert at_rest(producer)
    assert len(queues) == 1
    if "sharding_key" in options:
        assert "__SHARDINGKEY\x01k" in (site.broker.sends[-1].header.properties or "")


def test_a_queue_of_another_topic_is_refused(site: Site) -> None:
    other = rmq.MessageQueue("other", "broker-a", 0)
    same_failure(site, lambda producer: producer.send(message(), queue=other))


# -- what goes by the loop from the start ------------------------------------------------------------------------------------------------


def test_a_selector_goes_by_the_loop(site: Site) -> None:
    with producing(site) as producer:
        assert producer.send(message(), selector=lambda queues, message: queues[0]).ok
        assert len(set(site.broker.channels)) == 1


def test_a_big_body_goes_by_the_loop(site: Site) -> None:
    with producing(site) as producer:
        assert producer.send(message(bytes(direct.MAX_BODY + 1))).ok
        assert len(set(site.broker.channels)) == 1


def test_automatic_batches_go_by_the_loop(site: Site) -> None:
    with producing(site, auto_batch=True) as producer:
        assert producer._direct is None
        assert producer.send(message()).ok
        assert len(set(site.broker.channels)) == 1


def test_what_hooks_want_to_see_goes_by_the_loop(site: Site) -> None:
    seen: list[int] = []

    class Hook:
        def before_request(self, address: str, command: RemotingCommand) -> None:
            seen.append(command.code)

        def after_response(self, address: str, request: RemotingCommand, response: RemotingCommand) -> None: ...

    with producing(site) as producer:
        assert producer._async._life.instance is not None
        producer._async._life.instance.remoting.add_hook(Hook())
        assert producer.send(message()).ok
        assert len(set(site.broker.channels)) == 1
        assert 310 in seen


def test_a_broker_without_a_connection_keeps_its_turn(two: Site) -> None:
    """With as many queues as brokers, a turn that nobody takes would always be that of the same broker."""
    with producing(two) as producer:
        del lanes_of(producer)["broker-a"]
        before = len(two.broker.sends)
        for _ in range(4):
            producer.send(message())
        assert len(two.broker.sends) == before + 2


@pytest.mark.feature("M4", "B26")
@pytest.mark.parametrize("tls", [{"insecure": True}, {"ca_file": "ca.pem"}], ids=["unverified", "verified"])
def test_tls_has_links_too(tls: dict[str, Any], tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    if "ca_file" in tls:
        tls = {"ca_file": tmp_path / "ca.pem"}
    site = Site(context=context)
    try:
        with producing(site, tls=TLS(**tls)) as producer:
            for size in (1, 100, direct.MAX_BODY):
                assert producer.send(message(bytes(size))).ok
            assert len(set(site.broker.channels[1:])) == 1
            assert site.broker.channels[0] is not site.broker.channels[1]
            [used] = links_of(producer)
            assert isinstance(used._socket, ssl.SSLSocket)
            used.used_at -= 60.0  # what it was told beside its answers makes it look readable, and not bad
            assert producer.send(message()).ok
            assert links_of(producer) == [used]
            with ThreadPoolExecutor(1) as threads:
                site.broker.answers = [None]
                sending = waiting_send(site, producer, threads, timeout=60)
                producer.stop(0.2)
                with pytest.raises(rmq.SendError) as caught:
                    sending.result(10)
                assert caught.value.maybe_stored
    finally:
        site.close()


# -- what goes wrong -----------------------------------------------------------------------------------------------------------------------


def text_of(error: BaseException) -> str:
    """Without what differs from call to call."""
    return re.sub(r"127\.0\.0\.1:\d+|\d+\.\d{3} s|[0-9A-F]{32}", "~", str(error))


def failure(site: Site, send: Callable[[rmq.Producer], object], answers: tuple[int | None, ...], *, by_loop: bool, **fields: Any) -> Any:
    with producing(site, by_loop=by_loop, **fields) as producer:
        site.broker.answers = list(answers)
        before = len(site.broker.sends)
        with pytest.raises(rmq.RocketMQError) as caught:
            send(producer)
        if before < len(site.broker.sends):
            assert (site.broker.channels[before] is site.broker.channels[before - 1]) is by_loop
        assert at_rest(producer)
        site.broker.answers.clear()
        assert producer.send(message()).ok
    return caught.value


def same_failure(site: Site, send: Callable[[rmq.Producer], object], answers: tuple[int | None, ...] = (), **fields: Any) -> Any:
    """The error of a send past the loop, which is that of a send by the loop."""
    one, other = [failure(site, send, answers, by_loop=by_loop, **fields) for by_loop in (True, False)]
    assert type(one) is type(other)
    assert text_of(one) == text_of(other)
    left_out = {"attempts", "broker", "cause"}
    assert {name: value for name, value in vars(one).items() if name not in left_out and not isinstance(value, str)} == {
        name: value for name, value in vars(other).items() if name not in left_out and not isinstance(value, str)
    }
    return other


@pytest.mark.feature("B8", "B10")
@pytest.mark.parametrize(("code", "maybe_stored"), [(2, False), (14, False), (1, True)])
def test_a_refusal_is_tried_again_as_often_as_told(site: Site, code: int, maybe_stored: bool) -> None:
    before = len(site.broker.sends)
    error = same_failure(site, lambda producer: producer.send(message()), (code, code), retry_times_when_send_failed=1)
    assert isinstance(error, rmq.SendError)
    assert "2 tries" in str(error)
    assert f"remark {code}" in str(error.attempts)
    assert error.code == code
    assert error.maybe_stored is maybe_stored
    assert len(site.broker.sends) - before == 2 * (1 + 2 + 1)


def test_a_refusal_that_is_none_the_second_time(site: Site) -> None:
    with producing(site) as producer:
        site.broker.answers = [2, 0]
        result = producer.send(message(b"second"))
        assert result.ok
        assert site.broker.stored[-1] == b"second"
        one, other = site.broker.sends[-2:]
        assert one.header.properties == other.header.properties
        assert at_rest(producer)


def test_a_refusal_that_is_not_tried_again(site: Site) -> None:
    error = same_failure(site, lambda producer: producer.send(message()), (13,))
    assert error.code == 13
    assert not error.maybe_stored
    assert "1 tries" in str(error)


@pytest.mark.feature("A24")
def test_a_message_that_is_stored_but_not_well(site: Site) -> None:
    with producing(site) as producer:
        site.broker.answers = [10]
        result = producer.send(message())
        assert result.status is rmq.SendStatus.FLUSH_DISK_TIMEOUT
        assert len(site.broker.sends) == 2
        assert at_rest(producer)


@pytest.mark.feature("B11")
def test_a_message_that_is_stored_but_not_well_goes_to_another_broker(two: Site) -> None:
    with producing(two, retry_another_broker_when_not_store_ok=True) as producer:
        for broker in two.brokers:
            broker.answers = [10]
        before = sum(len(broker.sends) for broker in two.brokers)
        assert producer.send(message()).status is rmq.SendStatus.FLUSH_DISK_TIMEOUT or sum(len(b.sends) for b in two.brokers) > before + 1
        assert all(not broker.answers for broker in two.brokers)
        assert at_rest(producer)


def test_an_answer_without_a_field(site: Site) -> None:
    with producing(site, retry_times_when_send_failed=0) as producer:
        site.broker.without = "msgId"
        with pytest.raises(rmq.SendError, match="no usable field 'msgId'") as caught:
            producer.send(message())
        assert caught.value.maybe_stored
        assert at_rest(producer)


@pytest.mark.feature("B9")
def test_a_silent_broker_costs_the_time_out(site: Site) -> None:
    took: list[float] = []

    def send(producer: rmq.Producer) -> None:
        began = time.monotonic()
        try:
            producer.send(message(), timeout=0.4)
        finally:
            took.append(time.monotonic() - began)

    error = same_failure(site, send, (None,))
    assert isinstance(error, rmq.SendTimeoutError)
    assert error.maybe_stored
    assert all(0.39 <= each < 20 for each in took), took  # a loop's clock is a little behind; the upper bound only tells it from a hang


def test_connecting_a_link_counts_as_a_part_of_the_time_out(site: Site) -> None:
    with producing(site) as producer, contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):  # its queue is full: it accepts nobody any more
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        channel = lanes_of(producer)["broker-a"].channel
        channel.peer = Peer(listener.getsockname(), None, None)
        site.broker.always = None
        began = time.monotonic()
        with pytest.raises(rmq.SendTimeoutError):
            producer.send(message(), timeout=1.0)
        assert 0.99 <= time.monotonic() - began < 1.4
        site.broker.always = 0
        assert producer.send(message()).ok


def test_a_connection_that_is_lost_with_a_request_on_it(site: Site) -> None:
    with producing(site) as producer:
        site.broker.answers = [DROP, 0]
        assert producer.send(message(b"again")).ok
        assert [send.body for send in site.broker.sends[-2:]] == [b"again", b"again"]
        assert site.broker.stored[-1] == b"again"
        assert at_rest(producer)
        assert links_of(producer) == []


def test_a_broker_that_was_restarted_meanwhile(site: Site) -> None:
    with producing(site, retry_times_when_send_failed=0) as producer:
        producer.send(message())
        [old] = links_of(producer)
        site.restart(site.broker)
        eventually_sync(lambda: old.channel.closed)
        before = len(site.broker.sends)
        for _ in range(3):
            assert producer.send(message()).ok
        assert len(site.broker.sends) == before + 3
        [new] = [each for each in links_of(producer) if each is not old]
        sender_of(producer)._links.sweep(60.0)
        assert not is_open(old)
        assert links_of(producer) == [new]


def test_a_link_that_the_broker_closed_while_it_was_idle(site: Site) -> None:
    with producing(site, retry_times_when_send_failed=0) as producer:
        producer.send(message())
        [old] = links_of(producer)
        site.abort(site.broker.channels[-1])
        eventually_sync(lambda: site.broker.connections == 1)
        old.used_at -= 2.0
        assert producer.send(message()).ok
        assert not is_open(old)
        assert site.broker.channels[-1] not in site.broker.channels[:-1]
        assert len(site.broker.sends) == 3


@pytest.mark.feature("O12")
def test_a_broker_that_goes_away_is_asked_once_more_on_a_new_connection(site: Site) -> None:
    with producing(site, retry_times_when_send_failed=0) as producer:
        producer.send(message())
        old = set(site.broker.channels)
        site.broker.answers = [1500, 0]
        assert producer.send(message()).ok
        assert site.broker.channels[-1] not in old
        assert producer.send(message()).ok
        assert site.broker.channels[-1] not in old
        [idle] = [each for each in links_of(producer) if each.channel.closed] or [None]
        eventually_sync(lambda: len(site.broker.server.channels) <= 3)
        if idle is not None:
            sender_of(producer)._links.sweep(60.0)
            assert not is_open(idle)
        assert at_rest(producer)


BAD: dict[str, Callable[[rmq.Producer], object]] = {
    "empty body": lambda producer: producer.send(message(b"")),
    "long body": lambda producer: producer.send(message(bytes(1001))),
    "no message": lambda producer: producer.send("text"),  # type: ignore[arg-type]
    "no time": lambda producer: producer.send(message(), timeout=0),
    "negative time": lambda producer: producer.send(message(), timeout=-1.0),
    "time of a wrong type": lambda producer: producer.send(message(), timeout="1"),  # type: ignore[arg-type]
    "properties": lambda producer: producer.send(rmq.Message(TOPIC, b"x", properties={"long": "x" * 33_000})),
}


@pytest.mark.feature("B4")
@pytest.mark.parametrize("known", [False, True], ids=["no link yet", "a link"])
@pytest.mark.parametrize("send", BAD.values(), ids=BAD.keys())
def test_what_cannot_be_sent_is_refused_in_the_same_words(site: Site, send: Callable[[rmq.Producer], object], known: bool) -> None:
    def prepared(producer: rmq.Producer) -> None:
        if known:
            producer.send(message())
        before = len(site.broker.sends)
        try:
            send(producer)
        finally:
            assert len(site.broker.sends) == before

    same_failure(site, prepared, max_message_size=1000)


# -- interrupts, forks and the end ---------------------------------------------------------------------------------------------------------


def interrupt_once(condition: Callable[[], bool]) -> threading.Thread:
    def interrupt() -> None:
        eventually_sync(condition)
        os.kill(os.getpid(), signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    helper.start()
    return helper


def test_an_interrupt_ends_the_wait_and_leaves_the_producer_usable(site: Site) -> None:
    with producing(site) as producer:
        site.broker.answers = [None]
        helper = interrupt_once(lambda: len(site.broker.sends) == 2)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            producer.send(message(), timeout=60)
        assert time.monotonic() - began < 10
        helper.join()
        assert at_rest(producer)
        assert links_of(producer) == []
        assert producer.send(message()).ok


def test_a_signal_handler_may_send_while_its_thread_waits(site: Site) -> None:
    results: list[rmq.SendResult] = []
    with producing(site) as producer:
        site.broker.delay = 0.3
        previous = signal.signal(signal.SIGUSR1, lambda *_: results.append(producer.send(message(b"inner"))))
        try:

            def ask() -> None:
                eventually_sync(lambda: len(site.broker.sends) == 2)
                os.kill(os.getpid(), signal.SIGUSR1)

            helper = threading.Thread(target=ask)
            helper.start()
            outer = producer.send(message(b"outer"))
            helper.join()
        finally:
            signal.signal(signal.SIGUSR1, previous)
        assert site.broker.stored[outer.queue_offset] == b"outer"
        assert site.broker.stored[results[0].queue_offset] == b"inner"
        assert at_rest(producer)


def waiting_send(site: Site, producer: rmq.Producer, threads: ThreadPoolExecutor, **options: Any) -> Any:
    """A send of another thread that the broker has received, and has not answered."""
    before = len(site.broker.sends)
    future = threads.submit(producer.send, message(b"waiting"), **options)
    eventually_sync(lambda: len(site.broker.sends) == before + 1)
    assert len(sender_of(producer)._under_way) == 1
    return future


@pytest.mark.feature("U2")
def test_health_counts_a_send_on_a_link(site: Site) -> None:
    with ThreadPoolExecutor(1) as threads, producing(site) as producer:
        site.broker.delay = 0.4
        sending = waiting_send(site, producer, threads)
        health = producer.health()
        assert sending.result(10).ok
        assert (health.in_flight, health.in_flight_bytes) == (1, 7)
        assert producer.health().in_flight == 0


def test_stop_waits_for_a_send_on_a_link(site: Site) -> None:
    with ThreadPoolExecutor(1) as threads, producing(site) as producer:
        site.broker.delay = 0.4
        sending = waiting_send(site, producer, threads)
        producer.stop()
        assert sending.result(0.5).ok
        eventually_sync(lambda: not site.broker.connections)
        with pytest.raises(rmq.ClientClosedError):
            producer.send(message())


def test_stop_waits_for_a_send_that_is_tried_again(site: Site) -> None:
    with ThreadPoolExecutor(1) as threads, producing(site) as producer:
        site.broker.delay = 0.3
        site.broker.answers = [2, 0]
        sending = waiting_send(site, producer, threads)
        producer.stop()
        assert sending.result(5).ok
        assert site.broker.stored[-1] == b"waiting"


def test_stop_gives_up_a_send_on_a_link_when_the_time_is_over(site: Site) -> None:
    errors = []
    for by_loop in (True, False):
        with ThreadPoolExecutor(1) as threads, producing(site, by_loop=by_loop) as producer:
            site.broker.answers = [None]
            before = len(site.broker.sends)
            sending = threads.submit(producer.send, message(), timeout=60)
            eventually_sync(lambda before=before: len(site.broker.sends) == before + 1)  # type: ignore[misc]
            began = time.monotonic()
            producer.stop(0.2)
            assert 0.2 <= time.monotonic() - began < 5
            with pytest.raises(rmq.SendError) as caught:
                sending.result(5)
            errors.append(caught.value)
            assert len(site.broker.sends) == before + 1
        eventually_sync(lambda: not site.broker.connections)
    assert [(type(error), error.maybe_stored, len(error.attempts)) for error in errors] == [(rmq.SendError, True, 1)] * 2


def test_stop_with_a_wrong_time_out_is_refused_and_closes_all_the_same(site: Site) -> None:
    with producing(site) as producer:
        producer.send(message())
        [each] = links_of(producer)
        with pytest.raises(rmq.ConfigError):
            producer.stop(-1.0)
        assert not is_open(each)
        with pytest.raises(rmq.ClientClosedError):
            producer.send(message())


def test_a_producer_that_is_dropped_closes_its_links(site: Site) -> None:
    producer = rmq.Producer(site.name_server.address, group="producers").start()
    producer.send(message())
    producer.send(message())
    assert producer._direct is not None
    producer._direct.warm_up = 0
    producer.send(message())
    assert site.broker.connections == 2
    with pytest.warns(ResourceWarning, match="dropped without stop") as told:
        del producer
        gc.collect()
    assert not [warning for warning in told if "unclosed" in str(warning.message)]
    eventually_sync(lambda: not site.broker.connections)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_gets_an_error_and_leaves_the_links_of_its_parent_alone(site: Site) -> None:
    with ThreadPoolExecutor(1) as threads, producing(site) as producer:
        site.broker.delay = 1.0
        sending = waiting_send(site, producer, threads)
        used = site.broker.channels[-1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is what this is about
            child = os.fork()
        if child == 0:
            status = 1
            try:
                began = time.monotonic()
                try:
                    producer.send(message())
                except ForkedClientError:
                    producer.stop()
                    status = 0 if time.monotonic() - began < 0.5 else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert sending.result(10).ok
        site.broker.delay = 0.0
        assert producer.send(message()).ok
        assert site.broker.channels[-1] is used
        assert [send.body for send in site.broker.sends] == [b"first", b"waiting", b"x"]


@pytest.mark.skipif(aiorocketmq.compiled, reason="compiled modules keep their constants to themselves")
def test_links_that_nobody_uses_are_looked_for_again_and_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_SWEEP", 0.02)
    with producing(site) as producer:
        for _ in range(3):
            producer.send(message())
            [each] = links_of(producer)
            each.used_at -= 3600
            eventually_sync(lambda link=each: not is_open(link), 5)  # type: ignore[misc]


def test_links_that_nobody_uses_are_closed(site: Site) -> None:
    with producing(site) as producer:
        producer.send(message())
        [each] = links_of(producer)
        each.used_at -= 3600
        producer._run(sender_of(producer)._sweep)
        assert not is_open(each)
        eventually_sync(lambda: site.broker.connections == 1)
        assert producer.send(message()).ok
        assert isinstance(site.broker.sends[-1], Send)
        assert site.broker.connections == 2
