"""Hooks around sends and listeners: they see what happens, may forbid and drop, and lose nothing when they fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from tests.support.clusters import Cluster
from tests.support.waiting import eventually, eventually_sync


class Notes:
    """A send hook that writes down what it sees."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, object]] = []
        self.contexts: list[rmq.SendContext] = []

    def before_send(self, context: rmq.SendContext) -> None:
        context.notes["began"] = True
        self.seen.append(("before", context.message.body))

    def after_send(self, context: rmq.SendContext) -> None:
        assert context.notes == {"began": True}
        self.seen.append(("after", context.error if context.result is None else context.result.status))
        self.contexts.append(context)


@pytest.mark.feature("E1")
async def test_a_hook_sees_each_send_with_its_result(cluster: Cluster) -> None:
    topic, notes = await cluster.create_topic(cluster.unique("hooked")), Notes()
    async with cluster.producer(hooks=[notes]) as producer:
        sent = await producer.send(rmq.Message(topic, b"1"))
        later = await producer.send_nowait(rmq.Message(topic, b"2"))
        await producer.send_oneway(rmq.Message(topic, b"3"))
        batch = await producer.send_batch([rmq.Message(topic, b"4"), rmq.Message(topic, b"5")])
    ok = ("after", rmq.SendStatus.SEND_OK)
    assert notes.seen == [("before", b"1"), ok, ("before", b"2"), ok, ("before", b"3"), ("after", None), ("before", b"4"), ok]
    first, second, oneway, both = notes.contexts
    assert (first.result, second.result, oneway.result, both.result) == (sent, later, None, batch)
    assert first.message_ids == (sent.message_id,)
    assert ",".join(both.message_ids) == batch.message_id
    assert oneway.oneway and not first.oneway
    assert [message.body for message in both.messages] == [b"4", b"5"]
    assert first.broker_address == cluster.broker_address
    assert first.seconds >= 0.0 and first.error is None


@pytest.mark.feature("E1")
async def test_a_hook_sees_the_error_that_the_sender_gets(embedded_cluster: Cluster) -> None:
    topic, notes = await embedded_cluster.create_topic(embedded_cluster.unique("hooked")), Notes()
    nowhere = rmq.MessageQueue(topic, "nowhere", 0)
    async with embedded_cluster.producer(hooks=[notes]) as producer:
        with pytest.raises(rmq.RocketMQError) as caught:
            await producer.send(rmq.Message(topic, b"1"), queue=nowhere, timeout=0.2)
        with pytest.raises(rmq.InvalidMessageError):
            await producer.send(rmq.Message(topic, b"2"), queue=nowhere, sharding_key="x")
    assert notes.seen == [("before", b"1"), ("after", caught.value)]


@pytest.mark.feature("E1")
async def test_a_hook_sees_sends_that_are_gathered_each_by_itself(embedded_cluster: Cluster) -> None:
    topic, notes = await embedded_cluster.create_topic(embedded_cluster.unique("hooked")), Notes()
    async with embedded_cluster.producer(hooks=[notes], auto_batch=True, topics=[topic]) as producer:
        results = await asyncio.gather(*[producer.send(rmq.Message(topic, b"%d" % number)) for number in range(8)])
    assert len({result.message_id for result in results}) == 8
    assert [context.result for context in notes.contexts] == results
    assert [context.message_ids for context in notes.contexts] == [(result.message_id,) for result in results]
    assert {context.broker_address for context in notes.contexts} == {embedded_cluster.broker_address}


@pytest.mark.feature("E1")
async def test_a_hook_hears_of_sends_that_are_given_up_or_find_no_room(embedded_cluster: Cluster) -> None:
    topic, notes = await embedded_cluster.create_topic(embedded_cluster.unique("hooked")), Notes()
    async with embedded_cluster.producer(hooks=[notes], max_in_flight=1) as producer:
        await producer.send(rmq.Message(topic, b"0"))
        waiting = asyncio.create_task(producer.send(rmq.Message(topic, b"1")))
        await asyncio.sleep(0)
        with pytest.raises(rmq.WindowFullError) as full:
            producer.send_nowait(rmq.Message(topic, b"2"))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert [what for what, _ in notes.seen] == ["before", "after", "before", "before", "after", "after"]
    assert notes.contexts[1].error is full.value
    assert isinstance(notes.contexts[2].error, asyncio.CancelledError)


RAISED = pytest.mark.parametrize("raised", [ValueError, asyncio.CancelledError, GeneratorExit])
"""The others come from what hooks call: the result of a future that was cancelled, for example."""


@RAISED
@pytest.mark.feature("E1")
async def test_what_a_send_hook_raises_is_told_and_changes_nothing(
    embedded_cluster: Cluster, caplog: pytest.LogCaptureFixture, raised: type[BaseException]
) -> None:
    class Broken:
        def before_send(self, context: rmq.SendContext) -> None:
            raise raised("before")

        def after_send(self, context: rmq.SendContext) -> None:
            raise raised("after")

    topic, notes = await embedded_cluster.create_topic(embedded_cluster.unique("hooked")), Notes()
    async with embedded_cluster.producer(hooks=[Broken(), notes]) as producer:
        async with asyncio.timeout(30.0):
            assert (await producer.send(rmq.Message(topic, b"1"))).ok
    assert notes.seen == [("before", b"1"), ("after", rmq.SendStatus.SEND_OK)]
    told = [record for record in caplog.records if "a hook failed" in record.getMessage()]
    assert [str(record.exc_info[1]) for record in told if record.exc_info] == ["before", "after"]


@pytest.mark.feature("E1", "E7")
@pytest.mark.parametrize("settings", [{}, {"enable_trace": True}], ids=["hook", "trace"])
async def test_the_list_of_a_batch_is_free_once_it_was_given(embedded_cluster: Cluster, settings: dict[str, Any]) -> None:
    topic, notes = await embedded_cluster.create_topic(embedded_cluster.unique("hooked")), Notes()
    async with embedded_cluster.producer(hooks=[notes], **settings) as producer:
        messages = [rmq.Message(topic, b"1"), rmq.Message(topic, b"2")]
        sending = asyncio.create_task(producer.send_batch(messages))
        await asyncio.sleep(0)
        assert notes.seen == [("before", b"1")]
        messages.clear()
        async with asyncio.timeout(30.0):
            assert (await sending).ok
    assert [message.body for message in notes.contexts[0].messages] == [b"1", b"2"]


@pytest.mark.feature("E1", "D1")
async def test_a_hook_sees_requests_and_those_that_cannot_be_sent(embedded_cluster: Cluster) -> None:
    cluster = embedded_cluster
    topic, notes = await cluster.create_topic(cluster.unique("hooked")), Notes()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("hooked"), start_from=rmq.StartFrom.FIRST)

    @consumer.respond(topic)
    async def answer(request: rmq.ReceivedMessage) -> bytes:
        return b"pong"

    async with consumer, cluster.producer(hooks=[notes]) as producer:
        assert (await producer.request(rmq.Message(topic, b"ping"), timeout=20.0)).body == b"pong"
        assert notes.seen == [("before", b"ping"), ("after", rmq.SendStatus.SEND_OK)]
        with pytest.raises(rmq.InvalidMessageError) as caught:
            await producer.request(rmq.Message(topic, b"late", delay=60.0))
        assert notes.seen[2:] == [("before", b"late"), ("after", caught.value)]
        hurried = asyncio.create_task(producer.request(rmq.Message(topic, b"hurried")))
        await asyncio.sleep(0)
        hurried.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hurried
    assert [what for what, _ in notes.seen[4:]] == ["before", "after"]


@pytest.mark.feature("E1", "E3")
async def test_a_hook_sees_half_messages_and_those_that_are_too_large(embedded_cluster: Cluster) -> None:
    cluster = embedded_cluster
    topic, notes = await cluster.create_topic(cluster.unique("hooked")), Notes()
    producer = rmq.TransactionProducer(
        cluster.name_servers, group=cluster.unique("hooked"), check=lambda _: rmq.TransactionState.UNKNOWN, hooks=[notes]
    )  # fmt: skip
    async with producer:
        async with producer.transaction(rmq.Message(topic, b"1")):
            pass
        large = rmq.Message(topic, b"2", properties={"much": "x" * 32_200})
        with pytest.raises(rmq.InvalidMessageError):
            await producer.send_in_transaction(large, lambda *_: rmq.TransactionState.COMMIT)
    assert [what for what, _ in notes.seen] == ["before", "after", "before", "after"]
    assert [context.half for context in notes.contexts] == [True, False]
    assert isinstance(notes.contexts[1].error, rmq.InvalidMessageError)


class ForbiddenError(Exception):
    pass


class Gate:
    """Forbids messages with some body."""

    def check_forbidden(self, context: rmq.SendContext) -> None:
        if any(message.body == b"secret" for message in context.messages):
            raise ForbiddenError(context.message.topic)


@pytest.mark.feature("E2")
async def test_a_veto_reaches_the_sender_and_nothing_is_sent(cluster: Cluster) -> None:
    topic, notes = await cluster.create_topic(cluster.unique("guarded"), queues=1), Notes()
    async with cluster.producer(hooks=[Gate(), notes]) as producer:
        bad, good = rmq.Message(topic, b"secret"), rmq.Message(topic, b"open")
        with pytest.raises(ForbiddenError):
            await producer.send(bad)
        with pytest.raises(ForbiddenError):
            producer.send_nowait(bad)
        with pytest.raises(ForbiddenError):
            await producer.send_oneway(bad)
        with pytest.raises(ForbiddenError):
            await producer.send_batch([good, bad])
        assert (await producer.send(good)).queue_offset == 0
    assert notes.seen == [("before", b"open"), ("after", rmq.SendStatus.SEND_OK)]


class Watcher:
    """A consume hook that writes down what it sees."""

    def __init__(self) -> None:
        self.contexts: list[rmq.ConsumeContext] = []

    def before_consume(self, context: rmq.ConsumeContext) -> None:
        assert context.status is None
        context.notes["began"] = True

    def after_consume(self, context: rmq.ConsumeContext) -> None:
        assert context.notes == {"began": True}
        self.contexts.append(context)

    @property
    def statuses(self) -> dict[bytes, rmq.ConsumeReturnType | None]:
        return {message.body: context.status for context in self.contexts for message in context.messages}


def answer_of(body: bytes) -> Any:
    """What the listeners of the tests do."""
    if body == b"raise":
        raise ValueError("as asked")
    return {b"later": rmq.Retry(), b"odd": 7, b"success": rmq.ConsumeResult.SUCCESS}.get(body)


KINDS = rmq.ConsumeReturnType
EXPECTED = {b"raise": KINDS.EXCEPTION, b"later": KINDS.FAILED, b"odd": KINDS.SUCCESS, b"success": KINDS.SUCCESS, b"none": KINDS.SUCCESS}


@pytest.mark.feature("E4")
@pytest.mark.parametrize("how", ["async", "def", "batch", "ordered"])
async def test_a_consume_hook_sees_each_call_and_what_became_of_it(cluster: Cluster, how: str) -> None:
    topic, watcher = await cluster.create_topic(cluster.unique("watched"), queues=1 if how == "ordered" else 4), Watcher()
    group = cluster.unique("watched")
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=group, start_from=rmq.StartFrom.FIRST, hooks=[watcher], ordered=how == "ordered",
        max_reconsume_times=0,
    )  # fmt: skip

    async def handle(message: rmq.ReceivedMessage) -> Any:
        return answer_of(message.body)

    def handle_in_thread(message: rmq.ReceivedMessage) -> Any:
        return answer_of(message.body)

    async def handle_many(messages: list[rmq.ReceivedMessage]) -> Any:
        return answer_of(messages[0].body)

    if how == "batch":
        consumer.listen(topic, batch=2)(handle_many)
    else:
        consumer.listen(topic)(handle_in_thread if how == "def" else handle)
    async with cluster.producer() as producer:
        for body in EXPECTED:
            await producer.send(rmq.Message(topic, body), sharding_key=body.decode())
    async with consumer:
        await eventually(lambda: watcher.statuses.keys() >= EXPECTED.keys(), 60.0)
    if how != "batch":  # where messages come together, that is up to the broker
        assert watcher.statuses == EXPECTED
    assert {context.group for context in watcher.contexts} == {group}
    assert {context.queue.topic for context in watcher.contexts} == {topic}
    failed = [context for context in watcher.contexts if context.status is KINDS.EXCEPTION]
    assert [str(context.error) for context in failed] == ["as asked"]
    assert not any(context.success for context in failed)


@pytest.mark.feature("E5")
@pytest.mark.parametrize("ordered", [False, True])
async def test_a_filter_hook_drops_messages_before_listeners_and_they_count_as_consumed(cluster: Cluster, ordered: bool) -> None:
    class Even:
        def keep(self, message: rmq.ReceivedMessage) -> bool:
            if message.body == b"8":
                raise ValueError("a broken filter")
            return int(message.body) % 2 == 0

    topic, group = await cluster.create_topic(cluster.unique("filtered"), queues=2), cluster.unique("filtered")
    received: list[int] = []
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=group, start_from=rmq.StartFrom.FIRST, hooks=[Even()], ordered=ordered
    )  # fmt: skip

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        received.append(int(message.body))

    async with cluster.producer() as producer:
        ends: dict[rmq.MessageQueue, int] = {}
        for number in range(10):
            sent = await producer.send(rmq.Message(topic, b"%d" % number))
            ends[sent.queue] = sent.queue_offset + 1
        async with consumer:
            await eventually(lambda: sorted(received) == [0, 2, 4, 6, 8], 30.0)
            await eventually(lambda: consumer.offsets(topic) == ends, 30.0)


@RAISED
@pytest.mark.feature("E4", "E5")
async def test_what_hooks_of_a_consumer_raise_changes_nothing(embedded_cluster: Cluster, raised: type[BaseException]) -> None:
    class Broken:
        def keep(self, message: rmq.ReceivedMessage) -> bool:
            raise raised("keep")

        def before_consume(self, context: rmq.ConsumeContext) -> None:
            raise raised("before")

        def after_consume(self, context: rmq.ConsumeContext) -> None:
            raise raised("after")

    cluster, received = embedded_cluster, list[bytes]()
    topic, group, watcher = await cluster.create_topic(cluster.unique("broken")), cluster.unique("broken"), Watcher()
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=rmq.StartFrom.FIRST, hooks=[Broken(), watcher])

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        received.append(message.body)

    async with cluster.producer() as producer:
        sent = await producer.send(rmq.Message(topic, b"1"))
        async with consumer:
            await eventually(lambda: consumer.offsets(topic).get(sent.queue) == sent.queue_offset + 1, 30.0)
    assert received == [b"1"] and watcher.statuses == {b"1": KINDS.SUCCESS}


@pytest.mark.feature("E4", "E5")
async def test_hooks_know_messages_that_come_again_by_their_own_topic(cluster: Cluster) -> None:
    topic, group, watcher = await cluster.create_topic(cluster.unique("again")), cluster.unique("again"), Watcher()
    asked: list[tuple[str, int]] = []

    class Everything:
        def keep(self, message: rmq.ReceivedMessage) -> bool:
            asked.append((message.topic, message.reconsume_times))
            return True

    consumer = rmq.PushConsumer(
        cluster.name_servers, group=group, start_from=rmq.StartFrom.FIRST, hooks=[Everything(), watcher]
    )  # fmt: skip

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        return rmq.Retry(delay_level=1) if message.reconsume_times == 0 else None

    async with cluster.producer() as producer:
        await producer.send(rmq.Message(topic, b"1"))
        async with consumer:
            await eventually(lambda: len(watcher.contexts) == 2, 60.0)
    assert asked == [(topic, 0), (topic, 1)]
    assert [context.status for context in watcher.contexts] == [KINDS.FAILED, KINDS.SUCCESS]
    assert [context.messages[0].topic for context in watcher.contexts] == [topic, topic]


@pytest.mark.feature("E1", "E2", "E4", "E5")
def test_hooks_work_for_blocking_clients() -> None:
    with aiorocketmq.sync.LocalCluster() as cluster:
        see_blocking_clients(cluster.name_servers)


def see_blocking_clients(name_servers: str) -> None:
    notes, watcher, topic = Notes(), Watcher(), "hooked"
    with aiorocketmq.sync.AdminClient(name_servers) as admin:
        admin.topics.create(topic)
    consumer = aiorocketmq.sync.PushConsumer(name_servers, group="readers", start_from=rmq.StartFrom.FIRST, hooks=[watcher])
    consumer.listen(topic)(lambda message: None)
    with aiorocketmq.sync.Producer(name_servers, group="writers", hooks=[Gate(), notes]) as producer, consumer:
        for _ in range(20):  # beyond the sends that warm the way past the loop up
            producer.send(rmq.Message(topic, b"1"))
        producer.send_nowait(rmq.Message(topic, b"2")).result(10.0)
        with pytest.raises(ForbiddenError):
            producer.send(rmq.Message(topic, b"secret"))
        eventually_sync(lambda: len(watcher.contexts) == 21, 30.0)
    assert len(notes.contexts) == 21
    assert {context.status for context in watcher.contexts} == {KINDS.SUCCESS}


@pytest.mark.feature("E1", "E2", "E4", "E5", "Q60")
@pytest.mark.parametrize(
    ("client", "fields", "words"),
    [
        ("Producer", {"hooks": 5}, "hooks 5 is not a list"),
        ("Producer", {"hooks": "abc"}, "is not a list"),
        ("Producer", {"hooks": [object()]}, "has none of the methods check_forbidden, before_send, after_send"),
        ("Producer", {"hooks": [Notes]}, "has none of the methods"),
        ("PushConsumer", {"hooks": [Notes()]}, "has none of the methods before_consume, after_consume, keep"),
        ("Producer", {"enable_trace": 1}, "enable_trace"),
        ("Producer", {"trace_topic": "traces"}, "trace_topic is given without enable_trace=True"),
        ("Producer", {"trace_recalls": True}, "trace_recalls is given without enable_trace=True"),
        ("Producer", {"trace_topic": "a b", "enable_trace": True}, "a b"),
        ("PushConsumer", {"trace_topic": "traces"}, "trace_topic is given without enable_trace=True"),
        ("PushConsumer", {"enable_trace": None}, "enable_trace"),
    ],
)
def test_hooks_and_traces_that_cannot_work_are_refused_at_once(client: str, fields: dict[str, Any], words: str) -> None:
    for module in (rmq, aiorocketmq.sync):
        with pytest.raises((rmq.ConfigError, rmq.InvalidNameError), match=words):
            getattr(module, client)("127.0.0.1:9876", group="hooks", **fields)


@pytest.mark.feature("E1")
def test_a_hook_that_nobody_would_await_is_refused() -> None:
    class Async:
        async def before_send(self, context: rmq.SendContext) -> None: ...

    with pytest.raises(rmq.ConfigError, match=r"before_send\(\) of hook .* is an async def"):
        rmq.Producer("127.0.0.1:9876", hooks=[Async()])  # type: ignore[list-item]
