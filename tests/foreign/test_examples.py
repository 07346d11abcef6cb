"""The examples that Apache ships for the Java client 5.5.0 run against the embedded server, unchanged."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aiorocketmq.server import LocalCluster
from tests.foreign.conftest import need_java
from tests.support import java
from tests.support.line_program import LineProgram
from tests.support.waiting import eventually

FOLDER = Path(__file__).with_name("examples")
FIXED_PORT = 9876
"""Some examples name their name server: 127.0.0.1 with this port."""

MESSAGE_ID = re.compile(r"msgId=(\w+)")
ANY_ID = re.compile(r"[0-9A-F]{32,}")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineProgram]:
    need_java()
    library = java.jars(java.NEWEST, name="example", pom=FOLDER / "pom.xml")
    classpath = [java.compiled(FOLDER), *sorted(library.glob("*.jar")), *sorted(java.jars(java.NEWEST).glob("*.jar"))]
    running = java.java_program("Examples", classpath=classpath, home=tmp_path_factory.mktemp("examples")).start()
    yield running
    running.stop()


class Examples:
    """Examples that run, by the names of their classes without `org.apache.rocketmq.example`."""

    def __init__(self, program: LineProgram, cluster: LocalCluster) -> None:
        self._program = program
        self._cluster = cluster

    async def run(self, *mains: str) -> None:
        for main in mains:
            await self._program.call("run", id=main, main=main, name_servers=self._cluster.name_servers)

    async def output(self, main: str) -> str:
        told = await self._program.call("output", id=main)
        assert told.get("failure") is None, told
        assert isinstance(told["output"], str)
        return told["output"]

    async def prints(self, main: str, fits: Callable[[str], bool], within: float = 120.0) -> str:
        async def seen() -> bool:
            return fits(await self.output(main))

        await eventually(seen, within, interval=0.1)
        return await self.output(main)


def ids(output: str) -> set[str]:
    """Unique ids of the messages that an output tells of."""
    return set(MESSAGE_ID.findall(output))


@dataclass(frozen=True)
class Family:
    """Examples that belong together.

    Attributes:
        producer: Its examples, run one after the other; each tells of all that it has sent.
        sent: Sent messages that they tell of.
        consumers: Its examples; each gets all of them where nothing else is said.
        topics: Topics that exist before.
        fits: Consumer → what its output has to show.
        consumers_first: Their pulls wait before anything is sent; else they run after all was sent.
        told: What the producer prints for each message.
        asks: The topic that consumers pull, and how many queues of it, where that is not the first of `topics`.
    """

    producer: str
    sent: int
    consumers: tuple[str, ...] = ()
    topics: tuple[str, ...] = ("TopicTest",)
    fits: Mapping[str, Callable[[str], bool]] = field(default_factory=dict)
    consumers_first: bool = True
    told: str = "sendStatus=SEND_OK"
    asks: tuple[str, int] | None = None


def lines(text: str, count: int) -> Callable[[str], bool]:
    """So many times the text."""
    return lambda output: output.count(text) == count


def messages(count: int) -> Callable[[str], bool]:
    """So many different messages."""
    return lambda output: len(ids(output)) == count


FAMILIES = (
    Family("quickstart.Producer", 1000, ("quickstart.Consumer",)),
    Family(
        "simple.Producer",
        128,
        ("simple.PushConsumer", "simple.LitePullConsumerSubscribe", "broadcast.PushConsumer", "simple.PullScheduleService"),
        fits={"simple.PullScheduleService": lines("pullStatus=FOUND, nextBeginOffset=32", 4)},
        consumers_first=False,
    ),
    Family("simple.AsyncProducer", 100, topics=("Jodie_topic_1023",), told=" OK "),
    Family("ordermessage.Producer", 100, topics=("TopicTestjjj",)),
    Family("batch.SimpleBatchProducer", 1, topics=("BatchTest",)),
    Family("transaction.TransactionProducer", 10, topics=("TopicTest1234",)),
    Family("filter.TagFilterProducer", 60, ("filter.TagFilterConsumer",), ("TagFilterTest",), {"filter.TagFilterConsumer": messages(40)}),
    Family("filter.SqlFilterProducer", 10, ("filter.SqlFilterConsumer",), ("SqlFilterTest",), {"filter.SqlFilterConsumer": messages(3)}),
    Family("schedule.TimerMessageProducer", 10, ("schedule.TimerMessageConsumer",), ("TimerTopic",)),
    Family("tracemessage.TraceProducer", 128, ("tracemessage.TracePushConsumer",)),
)

WITH_FIXED_PORT = (
    Family(
        "namespace.ProducerWithNamespace",
        100,
        ("namespace.PullConsumerWithNamespace", "namespace.PushConsumerWithNamespace"),
        (),
        {"namespace.PullConsumerWithNamespace": lines("msgId is:", 100), "namespace.PushConsumerWithNamespace": bool},
        consumers_first=False,
        told="send success",
    ),
    Family(
        "lmq.LMQProducer",
        128,
        ("lmq.LMQPullConsumer",),
        ("TopicLMQParent",),
        {"lmq.LMQPullConsumer": messages(1)},
        asks=("%LMQ%123", 1),
    ),
    Family(
        "rpc.RequestProducer",
        1,
        ("rpc.ResponseConsumer",),
        ("RequestTopic",),
        {"rpc.ResponseConsumer": lines("reply to ", 1)},
        told="replyMessage: MessageExt",
    ),
    Family("simple.OnewayProducer", 0, told="never"),
)


async def check(program: LineProgram, cluster: LocalCluster, family: Family) -> None:
    """Run a family, until all is sent and consumed."""
    examples = Examples(program, cluster)
    for topic in family.topics:
        await cluster.create_topic(topic, exist_ok=True)
    if family.consumers_first and family.consumers:
        await examples.run(*family.consumers)
        polling, (topic, queues) = cluster.brokers[0].state.polling, family.asks or (family.topics[0], 4)
        # Some of them begin at the end of their queues.
        await eventually(lambda: all(polling.waiting(topic, queue) for queue in range(queues)), 60.0)
    await examples.run(family.producer)
    sent = await examples.prints(family.producer, lines(family.told, family.sent))
    if not family.consumers_first:
        await examples.run(*family.consumers)
    for consumer in family.consumers:
        await examples.prints(consumer, family.fits.get(consumer, lambda output: ids(sent) <= set(ANY_ID.findall(output))))


async def check_on_its_own(program: LineProgram, family: Family) -> None:
    async with LocalCluster() as cluster:
        await check(program, cluster, family)


def free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.timeout(240)
async def test_the_examples_of_the_java_client_run_unchanged(program: LineProgram) -> None:
    """Some at a time, the families on clusters of their own: most of the time they wait, but each loads all classes of the client."""
    places = asyncio.Semaphore(3)
    works = [check_on_its_own(program, family) for family in FAMILIES]
    async with contextlib.AsyncExitStack() as stack:
        if free(FIXED_PORT):
            fixed = await stack.enter_async_context(LocalCluster(port=FIXED_PORT))
            works += [check(program, fixed, family) for family in WITH_FIXED_PORT]
        else:
            warnings.warn(f"port {FIXED_PORT} is in use: examples that want it did not run", stacklevel=1)

        async def in_turn(work: Awaitable[None]) -> None:
            async with places:
                await work

        outcomes = await asyncio.gather(*map(in_turn, works), return_exceptions=True)
    names = [family.producer for family in (*FAMILIES, *WITH_FIXED_PORT)]
    assert {name: outcome for name, outcome in zip(names, outcomes, strict=False) if outcome is not None} == {}
