"""The scenes of the demo: each sends, waits for what must come, and says afterwards whether it was right."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from aiorocketmq.admin import AdminClient
from aiorocketmq.cli.demo_report import Check, Teller
from aiorocketmq.config import ClientConfig
from aiorocketmq.consumer import PushConsumer
from aiorocketmq.errors import TopicNotFoundError
from aiorocketmq.model.enums import MessageModel, StartFrom
from aiorocketmq.model.message import Message
from aiorocketmq.model.names import dlq_topic
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import Retry, SendResult
from aiorocketmq.producer import Producer

DELAY_LEVEL_1: Final = 1.0
"""Seconds of delay level 1, on every broker that keeps the usual levels."""


@dataclass
class Stage:
    """What the scenes share.

    Attributes:
        config: Settings of every client.
        admin: Creates topics and looks into the dead-letter topic.
        producer: Sends.
        teller: Tells the user.
        run: Makes the names of this run unique.
        limit: Seconds that a scene waits for its messages.
        folder: Where broadcast consumers keep their offsets.
    """

    config: ClientConfig
    admin: AdminClient
    producer: Producer
    teller: Teller
    run: str
    limit: float
    folder: str

    def name(self, what: str) -> str:
        """A topic or group name of this run."""
        return f"demo_{what}_{self.run}"


@dataclass
class Inbox:
    """What one consumer got, in the order in which it came."""

    messages: list[ReceivedMessage] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, message: ReceivedMessage) -> None:
        self.times.append(time.time())
        self.messages.append(message)
        self.changed.set()

    @property
    def words(self) -> list[str]:
        """The bodies."""
        return [message.body.decode() for message in self.messages]

    async def until(self, enough: Callable[[], bool], limit: float) -> bool:
        """Wait for a condition that depends on what came; False when it took longer than `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                while not enough():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            return False
        return True

    async def until_has(self, words: Sequence[str], limit: float) -> bool:
        """Wait until every one of these bodies came."""
        return await self.until(lambda: set(words) <= set(self.words), limit)


class Scene(ABC):
    """One part of the demo. `prepare()` makes topics and consumers, `play()` sends and waits, `checks()` judges at the very end."""

    name: str
    what: str

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.topic = stage.name(self.name.replace(" ", "_"))
        self.inbox = Inbox()
        self.sent_at: dict[str, float] = {}
        self.consumers: list[PushConsumer] = []

    def consumer(self, group: str, take: Callable[[ReceivedMessage], Any], expression: str = "*", **options: Any) -> None:
        """Add a consumer with one listener to the scene."""
        consumer = PushConsumer(
            config=options.pop("config", self.stage.config), group=self.stage.name(group), start_from=StartFrom.FIRST, **options
        )

        @consumer.listen(self.topic, expression)
        async def listen(message: ReceivedMessage) -> Any:
            return take(message)

        self.consumers.append(consumer)

    def prepare(self) -> None:
        """Make the consumers."""
        self.consumer(self.name, self.inbox.take)

    @abstractmethod
    async def play(self) -> None:
        """Send, wait, tell."""

    @abstractmethod
    def checks(self) -> list[Check]:
        """The verdicts, once everything has happened."""

    async def send(self, word: str, **fields: Any) -> SendResult:
        """Send one message whose body is a word, and note when."""
        sharding_key = fields.get("sharding_key")
        message = Message(self.topic, word.encode(), **fields)
        self.sent_at[word] = time.time()
        if sharding_key:
            return await self.stage.producer.send(message, sharding_key=sharding_key)
        return await self.stage.producer.send(message)

    def tell_came(self, inbox: Inbox | None = None, who: str = "") -> None:
        """Tell what came, with latencies."""
        inbox = inbox or self.inbox
        took = [at - self.sent_at[word] for word, at in zip(inbox.words, inbox.times, strict=True) if word in self.sent_at]
        self.stage.teller.came(inbox.words, took, who)

    def check(self, what: str, seen: str, ok: bool) -> Check:
        """One verdict of this scene."""
        return Check(self.name, what, seen, ok)

    def check_all_came(self, words: Sequence[str], inbox: Inbox | None = None, who: str = "") -> Check:
        """Every word came, and no other."""
        got = Counter((inbox or self.inbox).words)
        twice = sum(count - 1 for count in got.values())
        missing, strange = set(words) - set(got), set(got) - set(words)
        seen = f"{len(words) - len(missing)} came"
        seen += f", missing {sorted(missing)[:3]}" if missing else ""
        seen += f", unexpected {sorted(strange)[:3]}" if strange else ""
        seen += f", {twice} more than once" if twice else ""
        return self.check(f"{who + ' gets ' if who else ''}these {len(words)} messages", seen, not missing and not strange)


class Plain(Scene):
    """Messages without anything special."""

    name = "plain"
    what = "ten messages, one concurrent consumer"
    words = tuple(f"plain-{number}" for number in range(10))

    async def play(self) -> None:
        for word in self.words:
            await self.send(word)
        self.stage.teller.sent(self.words)
        await self.inbox.until_has(self.words, self.stage.limit)
        self.tell_came()

    def checks(self) -> list[Check]:
        return [self.check_all_came(self.words)]


class Tagged(Scene):
    """A tag filter."""

    name = "tagged"
    what = "six messages with three tags; the consumer wants 'red || blue'"
    tags = ("red", "green", "blue", "red", "green", "blue")

    def prepare(self) -> None:
        self.consumer(self.name, self.inbox.take, "red || blue")

    @property
    def wanted(self) -> list[str]:
        return [f"{tag}-{number}" for number, tag in enumerate(self.tags) if tag != "green"]

    async def play(self) -> None:
        for number, tag in enumerate(self.tags):
            await self.send(f"{tag}-{number}", tag=tag)
        self.stage.teller.sent([f"{tag}-{number}" for number, tag in enumerate(self.tags)])
        await self.inbox.until_has(self.wanted, self.stage.limit)
        self.tell_came()

    def checks(self) -> list[Check]:
        return [self.check_all_came(self.wanted)]


class Keyed(Scene):
    """Keys and properties."""

    name = "keyed"
    what = "keys and user properties travel with the message"
    keys = ("order-17", "customer-4")
    properties: Mapping[str, str] = MappingProxyType({"region": "eu", "greeting": "grüß dich, 你好"})

    async def play(self) -> None:
        await self.send("keyed", keys=self.keys, properties=self.properties, tag="paid")
        self.stage.teller.sent(["keyed"], f"keys={','.join(self.keys)} properties={dict(self.properties)}")
        await self.inbox.until_has(["keyed"], self.stage.limit)
        self.tell_came()

    def checks(self) -> list[Check]:
        if not self.inbox.messages:
            return [self.check_all_came(["keyed"])]
        message = self.inbox.messages[0]
        same = (message.keys, message.user_properties, message.tag) == (self.keys, dict(self.properties), "paid")
        return [self.check("the same keys, tag and properties", f"keys={','.join(message.keys)} {message.user_properties}", same)]


class Batched(Scene):
    """One request for many messages."""

    name = "batched"
    what = "twenty messages in one request; the listener takes up to eight at a time"
    words = tuple(f"batch-{number}" for number in range(20))

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.sizes: list[int] = []

    def prepare(self) -> None:
        consumer = PushConsumer(config=self.stage.config, group=self.stage.name(self.name), start_from=StartFrom.FIRST)

        @consumer.listen(self.topic, batch=8)
        async def listen(messages: list[ReceivedMessage]) -> None:
            self.sizes.append(len(messages))
            for message in messages:
                self.inbox.take(message)

        self.consumers.append(consumer)

    async def play(self) -> None:
        now = time.time()
        self.sent_at = dict.fromkeys(self.words, now)
        result = await self.stage.producer.send_batch([Message(self.topic, word.encode()) for word in self.words])
        self.stage.teller.sent(self.words, f"in one request to queue {result.queue.queue_id}")
        await self.inbox.until_has(self.words, self.stage.limit)
        self.tell_came()
        self.stage.teller.say(f"             in calls of {self.sizes}")

    def checks(self) -> list[Check]:
        offsets = sorted({(message.queue.queue_id, message.queue_offset) for message in self.inbox.messages})
        together = bool(offsets) and offsets[-1] == (offsets[0][0], offsets[0][1] + len(self.words) - 1)
        return [
            self.check_all_came(self.words),
            self.check("one queue, one after the other", f"{len({queue for queue, _ in offsets})} queue", together),
            self.check("calls of at most 8", f"largest {max(self.sizes, default=0)}", bool(self.sizes) and max(self.sizes) <= 8),
        ]


class Ordered(Scene):
    """Order by sharding key."""

    name = "ordered"
    what = "ten steps each of five orders, mixed; an ordered consumer sees each order's steps in turn"
    orders = tuple(f"order{number}" for number in range(5))
    steps = 10

    @property
    def words(self) -> list[str]:
        return [f"{order}/{step}" for step in range(self.steps) for order in self.orders]

    def prepare(self) -> None:
        self.consumer(self.name, self.inbox.take, ordered=True)

    async def play(self) -> None:
        for word in self.words:
            await self.send(word, sharding_key=word.partition("/")[0])
        self.stage.teller.sent(self.words)
        await self.inbox.until_has(self.words, self.stage.limit)
        self.tell_came()

    def checks(self) -> list[Check]:
        steps: dict[str, list[int]] = {order: [] for order in self.orders}
        for word in dict.fromkeys(self.inbox.words):
            order, _, step = word.partition("/")
            steps.setdefault(order, []).append(int(step))
        in_turn = sum(seen == list(range(self.steps)) for seen in steps.values())
        return [
            self.check_all_came(self.words),
            self.check("each order's steps in turn", f"{in_turn} of {len(self.orders)} orders", in_turn == len(self.orders)),
        ]


class Delayed(Scene):
    """A delay level."""

    name = "delayed"
    what = "a message of delay level 1 comes a second later"

    async def play(self) -> None:
        await self.send("later", delay_level=1)
        self.stage.teller.sent(["later"], "delay level 1 = 1 s")
        await self.inbox.until_has(["later"], self.stage.limit)
        self.tell_came()

    def checks(self) -> list[Check]:
        if not self.inbox.messages:
            return [self.check_all_came(["later"])]
        took = self.inbox.times[0] - self.sent_at["later"]
        # Brokers keep time in milliseconds and may cut them off.
        return [self.check("not before 1 s", f"after {took:.3f} s", took >= DELAY_LEVEL_1 - 0.01)]


class Broadcast(Scene):
    """Every member gets everything."""

    name = "broadcast"
    what = "two members of a broadcast group; both get all five messages"
    words = tuple(f"news-{number}" for number in range(5))

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.members = {"first": Inbox(), "second": Inbox()}

    def prepare(self) -> None:
        for name, inbox in self.members.items():
            # Two members in one process need two client ids, and therefore two instance names.
            self.consumer(
                self.name,
                inbox.take,
                config=self.stage.config.replace(instance_name=f"{name}-{self.stage.run}"),
                message_model=MessageModel.BROADCASTING,
                local_offset_store_dir=self.stage.folder,
            )

    async def play(self) -> None:
        for word in self.words:
            await self.send(word)
        self.stage.teller.sent(self.words)
        for name, inbox in self.members.items():
            await inbox.until_has(self.words, self.stage.limit)
            self.tell_came(inbox, name)

    def checks(self) -> list[Check]:
        return [self.check_all_came(self.words, inbox, f"{name} member") for name, inbox in self.members.items()]


class Retried(Scene):
    """A failure, and a second try."""

    name = "retried"
    what = "the listener fails once; the message comes back after a second"

    def prepare(self) -> None:
        def fail_once(message: ReceivedMessage) -> Retry | None:
            self.inbox.take(message)
            return Retry(delay_level=1) if message.reconsume_times == 0 else None

        self.consumer(self.name, fail_once)

    async def play(self) -> None:
        await self.send("try me")
        self.stage.teller.sent(["try me"])
        await self.inbox.until(lambda: len(self.inbox.messages) >= 2, self.stage.limit)
        for message, at in zip(self.inbox.messages, self.inbox.times, strict=True):
            outcome = "fails" if message.reconsume_times == 0 else "is consumed"
            self.stage.teller.say(f"  came      try {message.reconsume_times + 1} after {at - self.sent_at['try me']:.2f} s {outcome}")

    def checks(self) -> list[Check]:
        tries = [message.reconsume_times for message in self.inbox.messages]
        same = {(message.body, message.topic) for message in self.inbox.messages} == {(b"try me", self.topic)}
        return [self.check("the same message, tries 1 and 2", f"tries {[number + 1 for number in tries]}", tries == [0, 1] and same)]


class DeadLetter(Scene):
    """Too many failures."""

    name = "dead letter"
    what = "the listener always fails; after one retry the message ends in the dead-letter topic"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.dead: list[ReceivedMessage] = []

    @property
    def group(self) -> str:
        return "dead_letter"

    def prepare(self) -> None:
        def fail(message: ReceivedMessage) -> Retry:
            self.inbox.take(message)
            return Retry(delay_level=1)

        self.consumer(self.group, fail, max_reconsume_times=1)

    async def play(self) -> None:
        await self.send("hopeless")
        self.stage.teller.sent(["hopeless"])
        await self.inbox.until(lambda: len(self.inbox.messages) >= 2, self.stage.limit)
        topic = dlq_topic(self.stage.name(self.group))
        try:
            async with asyncio.timeout(self.stage.limit):
                # Brokers register the new topic with the name server within moments.
                while not (found := await read_all(self.stage.admin, topic)):  # noqa: ASYNC110 - nothing tells when
                    await asyncio.sleep(0.1)
                self.dead = found
        except TimeoutError:
            self.stage.teller.say(f"  nothing came to {topic} within {self.stage.limit:g} s")
        for message in self.inbox.messages:
            self.stage.teller.say(f"  came      try {message.reconsume_times + 1} fails")
        for message in self.dead:
            self.stage.teller.say(f"  dead      {message.body.decode()} in {message.topic}")

    def checks(self) -> list[Check]:
        tries = [message.reconsume_times for message in self.inbox.messages]
        return [
            self.check("two tries, no more", f"tries {[number + 1 for number in tries]}", tries == [0, 1]),
            self.check(
                "one message in the dead-letter topic",
                ", ".join(message.body.decode() for message in self.dead) or "nothing",
                [message.body for message in self.dead] == [b"hopeless"],
            ),
        ]


async def read_all(admin: AdminClient, topic: str) -> list[ReceivedMessage]:
    """Everything in a small topic; empty while the topic does not exist."""
    try:
        stats = await admin.topics.stats(topic)
    except TopicNotFoundError:
        return []
    found: list[ReceivedMessage] = []
    for queue, state in stats.queues.items():
        if state.messages:
            found += (await admin.messages.read(queue, state.min_offset)).messages
    return found


SCENES: Final = (Plain, Tagged, Keyed, Batched, Ordered, Delayed, Broadcast, Retried, DeadLetter)
