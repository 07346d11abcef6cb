"""Transactions: a message is delivered when its local transaction has succeeded, whoever dies or forgets in between."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from aiorocketmq.config import ClientConfig
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.sysflag import MessageSysFlag
from aiorocketmq.remoting.client import RemotingClient
from tests.behaviour.stored import read_topic
from tests.support.clusters import Cluster
from tests.support.push import Inbox, new_topic
from tests.support.waiting import eventually

COMMIT, ROLLBACK, UNKNOWN = rmq.TransactionState.COMMIT, rmq.TransactionState.ROLLBACK, rmq.TransactionState.UNKNOWN
ASKED = 40.0
"""Seconds that bound a hang of a check: the clusters ask after 3 s, then every second."""


class Ledger:
    """What a service would keep in its database, and the `check` that looks there."""

    def __init__(self, state: rmq.TransactionState = UNKNOWN) -> None:
        self.state = state
        self.states: dict[bytes, rmq.TransactionState] = {}
        self.asked: list[rmq.ReceivedMessage] = []
        self.times: list[float] = []
        self.threads: set[str] = set()

    def look(self, message: rmq.ReceivedMessage) -> rmq.TransactionState:
        self.asked.append(message)
        self.times.append(time.time())
        self.threads.add(threading.current_thread().name)
        return self.states.get(message.body, self.state)

    async def look_async(self, message: rmq.ReceivedMessage) -> rmq.TransactionState:
        return self.look(message)

    @property
    def counts(self) -> Counter[bytes]:
        return Counter(message.body for message in self.asked)


class Seen:
    """An `EndTransactionHook` that remembers."""

    def __init__(self) -> None:
        self.contexts: list[rmq.EndTransactionContext] = []

    def end_transaction(self, context: rmq.EndTransactionContext) -> None:
        self.contexts.append(context)


@asynccontextmanager
async def consuming(cluster: Cluster, topic: str) -> AsyncIterator[Inbox]:
    """What a consumer of the topic gets."""
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic)(inbox.take)
    async with consumer:
        yield inbox


@pytest.mark.feature("C1", "C4", "C10")
async def test_half_message_is_not_seen_until_it_is_committed(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "half", 1)
    ledger = Ledger()
    async with cluster.transaction_producer(ledger.look_async) as producer, consuming(cluster, topic) as inbox:
        message = rmq.Message(topic, b"paid", tag="T", keys="k", properties={"amount": "17"})
        async with producer.transaction(message) as tx:
            await producer.send(rmq.Message(topic, b"plain"))
            await inbox.has(1)
            assert inbox.bodies == [b"plain"]
            assert isinstance(tx.message, rmq.HalfMessage)
            assert tx.message.transaction_id == tx.transaction_id == tx.half.message_id
            assert tx.half.transaction_id in (None, tx.transaction_id)  # 4.x does not say it
        await inbox.has(2)
    paid = inbox.messages[1]
    assert (paid.body, paid.tag, paid.keys, paid.properties["amount"]) == (b"paid", "T", ("k",), "17")
    assert paid.transaction_id == paid.message_id == tx.transaction_id
    assert paid.sys_flag & MessageSysFlag.TRANSACTION_MASK == MessageSysFlag.TRANSACTION_COMMIT
    assert tx.half.offset_message_id.endswith(f"{paid.prepared_transaction_offset:016X}")
    assert tx.result is not None
    assert (tx.result.state, tx.result.told, tx.result.status) == (COMMIT, True, rmq.SendStatus.SEND_OK)
    assert ledger.asked == []


@pytest.mark.feature("C2", "C4")
async def test_exception_rolls_back_and_a_decision_stands(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "rolled", 1)
    ledger = Ledger(COMMIT)  # a check would commit what was rolled back
    async with cluster.transaction_producer(ledger.look_async) as producer, consuming(cluster, topic) as inbox:
        with pytest.raises(ZeroDivisionError):
            async with producer.transaction(rmq.Message(topic, b"failed")) as failed:
                raise ZeroDivisionError
        async with producer.transaction(rmq.Message(topic, b"refused")) as refused:
            refused.decide(ROLLBACK)
        with pytest.raises(ZeroDivisionError):
            async with producer.transaction(rmq.Message(topic, b"done")) as done:
                done.decide(COMMIT)
                raise ZeroDivisionError
        async with producer.transaction(rmq.Message(topic, b"open")) as left_open:
            left_open.decide(UNKNOWN)
        results = [tx.result for tx in (failed, refused, done, left_open)]
        assert [result.state for result in results if result is not None] == [ROLLBACK, ROLLBACK, COMMIT, UNKNOWN]
        # When the last one was asked about, the others would have been, too.
        await inbox.has(2, ASKED)
    assert sorted(inbox.bodies) == [b"done", b"open"]
    assert set(ledger.counts) == {b"open"}


@pytest.mark.feature("C2", "C4")
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_local_transaction_gets_its_argument_and_decides(cluster: Cluster, kind: str) -> None:
    topic = await new_topic(cluster, "local", 1)
    calls: list[tuple[bytes, str, Any]] = []

    def execute(message: rmq.HalfMessage, arg: Any) -> rmq.TransactionState:
        calls.append((message.body, message.transaction_id, arg))
        return COMMIT if arg == "yes" else ROLLBACK

    async def execute_async(message: rmq.HalfMessage, arg: Any) -> rmq.TransactionState:
        return execute(message, arg)

    run = execute_async if kind == "async" else execute
    async with cluster.transaction_producer(Ledger().look) as producer, consuming(cluster, topic) as inbox:
        bad = await producer.send_in_transaction(rmq.Message(topic, b"bad"), run, "no")
        good = await producer.send_in_transaction(rmq.Message(topic, b"good"), run, "yes")
        await inbox.has(1)
    assert (bad.state, good.state) == (ROLLBACK, COMMIT)
    assert calls == [(b"bad", bad.transaction_id, "no"), (b"good", good.transaction_id, "yes")]
    assert inbox.bodies == [b"good"]


@pytest.mark.feature("C2", "C3", "N1")
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_what_is_left_open_is_asked_for(cluster: Cluster, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    topic = await new_topic(cluster, "open", 2)
    ledger = Ledger()
    ledger.states = {b"failed" * 1000: COMMIT, b"unknown": COMMIT, b"nothing": ROLLBACK}

    async def fail(message: rmq.HalfMessage, arg: Any) -> rmq.TransactionState:
        raise LookupError("no such account")

    check = ledger.look_async if kind == "async" else ledger.look
    async with cluster.transaction_producer(check) as producer, consuming(cluster, topic) as inbox:
        failed = await producer.send_in_transaction(rmq.Message(topic, b"failed" * 1000, tag="T", properties={"a": "b"}), fail)
        unknown = await producer.send_in_transaction(rmq.Message(topic, b"unknown"), lambda message, arg: UNKNOWN)
        nothing = await producer.send_in_transaction(rmq.Message(topic, b"nothing"), lambda message, arg: None)  # type: ignore[arg-type, return-value]
        assert [each.state for each in (failed, unknown, nothing)] == [UNKNOWN] * 3
        assert isinstance(failed.error, LookupError)
        assert (unknown.error, nothing.error) == (None, None)
        await inbox.has(2, ASKED)
        await eventually(lambda: len(ledger.counts) == 3, ASKED)
    assert sorted(inbox.bodies) == [b"failed" * 1000, b"unknown"]
    asked = next(message for message in ledger.asked if message.tag == "T")
    assert (asked.topic, asked.body, asked.properties["a"]) == (topic, b"failed" * 1000, "b")
    assert asked.transaction_id == asked.message_id == failed.transaction_id
    assert asked.queue.queue_id in (0, 1)
    assert asked.properties["TRANSACTION_CHECK_TIMES"] == "1"
    assert "no such account" in caplog.text
    assert "returned None, which is no TransactionState" in caplog.text


@pytest.mark.feature("C3", "C7")
async def test_broker_asks_again_until_it_is_told(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    topic = await new_topic(cluster, "again", 1)
    ledger = Ledger()

    async def check(message: rmq.ReceivedMessage) -> rmq.TransactionState:
        ledger.look(message)
        if len(ledger.asked) == 1:
            raise ConnectionError("the database is away")
        if len(ledger.asked) == 2:
            return True  # type: ignore[return-value]
        return COMMIT

    async with cluster.transaction_producer(check) as producer, consuming(cluster, topic) as inbox:
        await producer.send_in_transaction(rmq.Message(topic, b"late"), lambda message, arg: UNKNOWN)
        await inbox.has(1, ASKED)
    assert [message.properties["TRANSACTION_CHECK_TIMES"] for message in ledger.asked] == ["1", "2", "3"]
    assert "the database is away" in caplog.text
    assert "returned True, which is no TransactionState" in caplog.text


@pytest.mark.feature("C7")
async def test_nobody_is_asked_within_the_immunity_time(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "immune", 1)
    ledger = Ledger(COMMIT)
    async with cluster.transaction_producer(ledger.look_async) as producer, consuming(cluster, topic) as inbox:
        immune = await producer.send_in_transaction(rmq.Message(topic, b"immune"), lambda *_: UNKNOWN, check_immunity_time=7.2)
        await producer.send_in_transaction(rmq.Message(topic, b"usual"), lambda *_: UNKNOWN)
        await inbox.has(2, ASKED)
    assert inbox.bodies == [b"usual", b"immune"]
    asked = [(message, when) for message, when in zip(ledger.asked, ledger.times, strict=True) if message.body == b"immune"]
    assert asked[0][0].properties["CHECK_IMMUNITY_TIME_IN_SECONDS"] == "8"
    assert asked[0][1] - asked[0][0].born_timestamp / 1000 > 8.0
    assert asked[0][0].transaction_id == immune.transaction_id


@pytest.mark.feature("C7")
async def test_what_nobody_decides_is_given_up(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "undecided", 1)
    ledger = Ledger(UNKNOWN)
    body = cluster.unique("body").encode()
    async with cluster.transaction_producer(ledger.look_async) as producer:
        await producer.send_in_transaction(rmq.Message(topic, body), lambda *_: UNKNOWN)
        found: list[rmq.ReceivedMessage] = []

        async def given_up() -> bool:
            if len(ledger.asked) < 15:
                return False
            found[:] = [message for message in await read_topic(cluster, "TRANS_CHECK_MAX_TIME_TOPIC") if message.body == body]
            return bool(found)

        await eventually(given_up, 90)
        assert len(ledger.asked) == 15
    assert found[0].properties["REAL_TOPIC"] == topic
    assert await read_topic(cluster, topic) == []


@pytest.mark.feature("C5")
async def test_burst_of_checks_waits_for_its_turn(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "burst", 1)
    running, most = 0, 0
    ledger = Ledger(COMMIT)

    async def check(message: rmq.ReceivedMessage) -> rmq.TransactionState:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        return ledger.look(message)

    bodies = [b"%d" % number for number in range(60)]
    producer = cluster.transaction_producer(check, check_concurrency=3, check_request_hold_max=10)
    async with producer, consuming(cluster, topic) as inbox:
        await asyncio.gather(*[producer.send_in_transaction(rmq.Message(topic, body), lambda *_: UNKNOWN) for body in bodies])
        await eventually(lambda: set(inbox.bodies) == set(bodies), ASKED)
    assert 1 < most <= 3


@pytest.mark.feature("C6")
async def test_plain_functions_run_on_the_given_executor(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "pool", 1)
    ledger = Ledger(COMMIT)
    executed: list[str] = []

    def execute(message: rmq.HalfMessage, arg: Any) -> rmq.TransactionState:
        executed.append(threading.current_thread().name)
        return UNKNOWN

    with ThreadPoolExecutor(1, thread_name_prefix="my-pool") as pool:
        async with cluster.transaction_producer(ledger.look, executor=pool) as producer, consuming(cluster, topic) as inbox:
            await producer.send_in_transaction(rmq.Message(topic, b"x"), execute)
            await inbox.has(1, ASKED)
    assert ledger.threads == set(executed) == {"my-pool_0"}


@pytest.mark.feature("C3", "C4")
async def test_check_of_a_transaction_under_way_waits_for_it(cluster: Cluster) -> None:
    """A `check` that looks while the local transaction runs would find nothing, and roll back what is committed a moment later."""
    topic = await new_topic(cluster, "slow", 1)
    ledger = Ledger(ROLLBACK)
    seen = Seen()
    producer = cluster.transaction_producer(ledger.look_async)
    producer.register_end_transaction_hook(seen)
    async with producer, consuming(cluster, topic) as inbox:
        async with producer.transaction(rmq.Message(topic, b"slow")) as tx:
            await eventually(lambda: len(seen.contexts) >= 2, ASKED)
        await inbox.has(1, ASKED)
        # The broker may ask once more about a copy of the half message that it made for its question.
        await eventually(
            lambda: any(context.from_transaction_check and context.state is COMMIT for context in seen.contexts) or not cluster.is_real,
            ASKED,
        )
    assert {(context.from_transaction_check, context.state) for context in seen.contexts} >= {(True, UNKNOWN), (False, COMMIT)}
    assert set(inbox.bodies) == {b"slow"}
    assert {message.transaction_id for message in inbox.messages} == {tx.transaction_id}
    assert ledger.asked == []
    if not cluster.is_real:
        assert len(inbox) == 1


@pytest.mark.feature("C8")
async def test_what_cannot_be_sent_in_a_transaction_is_refused_at_once(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "refused", 1)
    message = rmq.Message(topic, b"x")
    async with cluster.transaction_producer(Ledger().look) as producer:
        for bad, said in (
            (message.replace(delay_level=1), "with a delay"),
            (message.replace(delay=5.0), "with a delay"),
            (message.replace(deliver_at=time.time() + 5), "with a delay"),
            (message.replace(priority=1), "with a priority cannot"),
            (message.replace(light_queues=["a"]), "for light queues cannot"),
            ([message, message], "a batch cannot"),
            (message.replace(topic="%RETRY%group"), "retries or dead letters"),
            (message.replace(topic="RMQ_SYS_TRANS_HALF_TOPIC"), "reserved for the broker"),
            (b"x", "not a Message"),
        ):
            with pytest.raises((rmq.InvalidMessageError, rmq.InvalidNameError), match=said):
                await producer.send_in_transaction(bad, lambda *_: COMMIT)  # type: ignore[arg-type]
            with pytest.raises((rmq.InvalidMessageError, rmq.InvalidNameError), match=said):
                async with producer.transaction(bad):  # type: ignore[arg-type]
                    pass
        with pytest.raises(rmq.UsageError, match="cannot be called"):
            await producer.send_in_transaction(message, COMMIT)  # type: ignore[arg-type]
        with pytest.raises(rmq.ConfigError, match="check_immunity_time"):
            await producer.send_in_transaction(message, lambda *_: COMMIT, check_immunity_time=0.5)
        assert await read_topic(cluster, topic) == []


@pytest.mark.feature("C9", "E3")
async def test_hook_sees_every_decision(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    topic = await new_topic(cluster, "hook", 1)

    class Broken:
        def end_transaction(self, context: rmq.EndTransactionContext) -> None:
            raise RuntimeError("broken hook")

    seen = Seen()
    ledger = Ledger(COMMIT)
    producer = cluster.transaction_producer(ledger.look_async)
    producer.register_end_transaction_hook(Broken())
    producer.register_end_transaction_hook(seen)
    async with producer, consuming(cluster, topic) as inbox:
        commit = await producer.send_in_transaction(rmq.Message(topic, b"1"), lambda *_: COMMIT)
        rollback = await producer.send_in_transaction(rmq.Message(topic, b"2"), lambda *_: ROLLBACK)
        unknown = await producer.send_in_transaction(rmq.Message(topic, b"3"), lambda *_: UNKNOWN)
        await inbox.has(2, ASKED)
    told = [(context.transaction_id, context.state, context.from_transaction_check) for context in seen.contexts]
    assert told == [
        (commit.transaction_id, COMMIT, False),
        (rollback.transaction_id, ROLLBACK, False),
        (unknown.transaction_id, UNKNOWN, False),
        (unknown.transaction_id, COMMIT, True),
    ]
    assert {(context.group, context.broker_address) for context in seen.contexts} == {(producer.group, cluster.broker_address)}
    assert [context.message.body for context in seen.contexts] == [b"1", b"2", b"3", b"3"]
    assert "broken hook" in caplog.text


@pytest.mark.feature("C11", "C3")
async def test_producer_that_leaves_is_not_asked_and_another_one_is(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "leave", 1), cluster.unique("producer")
    first, second = Ledger(COMMIT), Ledger(COMMIT)
    async with consuming(cluster, topic) as inbox:
        async with cluster.transaction_producer(first.look_async, group=group, instance_name="first") as leaving:
            await leaving.send_in_transaction(rmq.Message(topic, b"x"), lambda *_: UNKNOWN)
            assert await producers_of(cluster, group) == 1
        assert await producers_of(cluster, group) == 0
        # It sends nothing, and knows no topic: the broker has to hear of it all the same.
        async with cluster.transaction_producer(second.look_async, group=group, instance_name="second"):
            await inbox.has(1, ASKED)
    assert first.asked == []
    assert [message.body for message in second.asked] == [b"x"]


async def producers_of(cluster: Cluster, group: str) -> int:
    """How many producers of a group the broker knows."""
    client = RemotingClient(ClientConfig(name_servers=cluster.name_servers))
    await client.start()
    try:
        request = RemotingCommand.request(RequestCode.GET_PRODUCER_CONNECTION_LIST, {"producerGroup": group})
        answer = await client.invoke(cluster.broker_address, request, 10.0)
        return answer.body.count(b'"clientAddr"') if answer.code == 0 else 0
    finally:
        await client.close()


@pytest.mark.feature("C1", "C4")
async def test_queue_and_sharding_key_of_the_half_message_are_kept(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "where", 4)
    async with cluster.transaction_producer(Ledger().look_async) as producer, consuming(cluster, topic) as inbox:
        queues = await producer.fetch_publish_message_queues(topic)
        await producer.send_in_transaction(rmq.Message(topic, b"queue"), lambda *_: COMMIT, queue=queues[2])
        plain = await producer.send(rmq.Message(topic, b"plain"), sharding_key="order-17")
        half = await producer.send_in_transaction(rmq.Message(topic, b"key"), lambda *_: COMMIT, sharding_key="order-17")
        await inbox.has(3)
    where = {message.body: message.queue.queue_id for message in inbox.messages}
    assert where == {b"queue": 2, b"plain": plain.queue.queue_id, b"key": plain.queue.queue_id}
    assert half.half.queue == plain.queue


@pytest.mark.feature("C1", "C2", "C3", "C4")
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_blocking_transactions(cluster: Cluster, kind: str) -> None:
    topic = await new_topic(cluster, "blocking", 1)
    ledger = Ledger(COMMIT)
    ran: list[str] = []

    def execute(message: rmq.HalfMessage, arg: Any) -> rmq.TransactionState:
        ran.append(threading.current_thread().name)
        return arg  # type: ignore[no-any-return]

    async def execute_async(message: rmq.HalfMessage, arg: Any) -> rmq.TransactionState:
        return execute(message, arg)

    run = execute_async if kind == "async" else execute
    check = ledger.look_async if kind == "async" else ledger.look

    def work() -> list[rmq.TransactionState]:
        producer = aiorocketmq.sync.TransactionProducer(cluster.name_servers, group=cluster.unique("producer"), check=check)
        with producer:
            with producer.transaction(rmq.Message(topic, b"with")) as tx:
                assert tx.transaction_id
            with pytest.raises(ZeroDivisionError), producer.transaction(rmq.Message(topic, b"failed")) as failed:
                raise ZeroDivisionError
            results = [tx.result, failed.result]
            results += [producer.send_in_transaction(rmq.Message(topic, b"run"), run, state) for state in (COMMIT, ROLLBACK, UNKNOWN)]
            error = producer.send_in_transaction(rmq.Message(topic, b"error"), lambda message, arg: 1 // 0)  # type: ignore[arg-type, return-value]
            assert isinstance(error.error, ZeroDivisionError)
            deadline = time.monotonic() + ASKED
            while len(inbox) < 4 and time.monotonic() < deadline:
                time.sleep(0.02)
        return [result.state for result in results if result is not None]

    async with consuming(cluster, topic) as inbox:
        states = await asyncio.to_thread(work)
        await inbox.has(4)
    assert states == [COMMIT, ROLLBACK, COMMIT, ROLLBACK, UNKNOWN]
    assert inbox.counts == {b"with": 1, b"run": 2, b"error": 1}
    assert ledger.counts == {b"run": 1, b"error": 1}
    here = {name.startswith("asyncio_") for name in ran}  # the thread of `to_thread()` above, which is where it was called
    assert here == ({True} if kind == "plain" else {False})
