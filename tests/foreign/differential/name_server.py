"""What a name server is told by brokers and asked by clients."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.foreign.differential.command import Command, Plan
from tests.foreign.differential.line import Ask
from tests.foreign.differential.peer import Peer, Seen, json_body
from tests.foreign.differential.sending import hash_of

PUT_VALUE, GET_VALUE, DELETE_VALUE, REGISTER, UNREGISTER, ROUTE, CLUSTERS = 100, 101, 102, 103, 104, 105, 106
WIPE, ADD, ALL_TOPICS, DELETE_TOPIC, REGISTER_TOPIC, VALUES, TOPICS_OF_CLUSTER, SYSTEM_TOPICS = 205, 327, 206, 216, 217, 219, 224, 304
DATA_VERSION, MEMBER_GROUP, HEARTBEAT = 322, 901, 904
_TOPICS = ("t0", "t1", "t2")
_ORDER = "ORDER_TOPIC_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfBroker(Command):
    """A request that names a broker."""

    broker: str
    id: int = 0
    cluster: str = "c0"

    def fields(self, peer: Peer) -> dict[str, object]:
        """What names it."""
        return {
            "brokerName": peer.name(self.broker), "brokerAddr": self.address(peer), "clusterName": peer.name(self.cluster),
            "brokerId": self.id,
        }  # fmt: skip

    def address(self, peer: Peer) -> str:
        """Where it says that it is: nowhere else in any sequence."""
        number = hash_of(peer.scope)
        return f"10.{number % 251}.{number // 251 % 251}.{16 * int(self.broker[1:]) + self.id}:{10_000 + number // 63_001 % 50_000}"

    @property
    def connection(self) -> str:
        """The connection of its own."""
        return f"{self.broker}-{self.id}"

    def is_known(self, peer: Peer) -> bool:
        """Whether the name server names its address."""
        return self.address(peer).encode() in peer.raw(Ask(MEMBER_GROUP, {"clusterName": "c", "brokerName": peer.name(self.broker)})).body


def _broker(plan: Plan) -> dict[str, Any]:
    broker = plan.one("b0", "b0", "b1", "b2")
    return {
        "number": plan.number, "broker": broker, "id": plan.mostly(0, 1, 2, chance=0.35), "cluster": "c1" if broker == "b2" else "c0",
    }  # fmt: skip


def _version(counter: int) -> dict[str, int]:
    return {"counter": counter, "stateVersion": 0, "timestamp": 1_000_000}


def _own(peer: Peer, seen: Seen) -> Seen:
    """An answer with the values of this sequence alone, where it has a table of all."""
    if isinstance(seen["body"], dict) and "table" in seen["body"]:
        own = {key: value for key, value in seen["body"]["table"].items() if f"{peer.scope}_" in key}
        seen["body"] = {"table": own} if own else None
    return seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Register(_OfBroker):
    """A broker registers, with its topics."""

    weight: ClassVar[int] = 20

    topics: tuple[tuple[str, int, int, int, int], ...] = ()
    counter: int = 1
    acting: bool = False
    good: bool = True

    @classmethod
    def draw(cls, plan: Plan) -> Register:
        names = plan.random.sample(_TOPICS, plan.one(0, 2, 3))  # a first registration with one is refused
        topics = tuple(
            (name, plan.one(1, 4), plan.one(1, 4), plan.mostly(6, 2, 4, 7, chance=0.3), plan.mostly(0, 1, 2, chance=0.2)) for name in names
        )
        return cls(
            **_broker(plan), topics=topics, counter=plan.one(1, 2, 3), acting=plan.random.random() < 0.2, good=plan.random.random() < 0.95
        )  # fmt: skip

    def play(self, peer: Peer) -> Seen:
        table = {
            peer.name(name): {
                "topicName": peer.name(name), "readQueueNums": read, "writeQueueNums": write, "perm": perm, "topicFilterType": "SINGLE_TAG",
                "topicSysFlag": flag, "order": False, "attributes": {},
            }
            for name, read, write, perm, flag in self.topics
        }  # fmt: skip
        wrapper = {"topicConfigTable": table, "dataVersion": _version(self.counter), "topicQueueMappingInfoMap": {}}
        body = json.dumps({"topicConfigSerializeWrapper": wrapper, "filterServerList": []}).encode()
        fields = self.fields(peer) | {
            "haServerAddr": f"10.0.9.{self.id}:10912", "compressed": False, "enableActingMaster": self.acting,
            "bodyCrc32": (zlib.crc32(body) & 0x7FFFFFFF) + (not self.good),
        }  # fmt: skip
        return _own(peer, peer.ask(Ask(REGISTER, fields, body), json_body, line=self.connection))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unregister(_OfBroker):
    """A broker goes, with a word or without."""

    weight: ClassVar[int] = 6

    silent: bool = False

    @classmethod
    def draw(cls, plan: Plan) -> Unregister:
        return cls(**_broker(plan), silent=plan.random.random() < 0.4)

    def play(self, peer: Peer) -> list[Seen]:
        seen = []
        if self.silent:
            peer.hang_up(self.connection)
        else:
            seen.append(peer.ask(Ask(UNREGISTER, self.fields(peer)), line=self.connection))
        peer.hope(lambda: not self.is_known(peer), 8.0)
        return seen


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOfBroker(_OfBroker):
    """A broker's further requests, and those about it."""

    weight: ClassVar[int] = 14

    code: int
    counter: int = 1

    @classmethod
    def draw(cls, plan: Plan) -> AskOfBroker:
        return cls(**_broker(plan), code=plan.one(DATA_VERSION, HEARTBEAT, MEMBER_GROUP, WIPE, ADD), counter=plan.one(1, 2, 3))

    def play(self, peer: Peer) -> Seen:
        body = json.dumps(_version(self.counter)).encode() if self.code == DATA_VERSION else b""
        return peer.ask(Ask(self.code, self.fields(peer), body), json_body, line=self.connection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Command):
    """A client asks for a route."""

    weight: ClassVar[int] = 25

    topic: str
    strict: bool | None = True

    @classmethod
    def draw(cls, plan: Plan) -> Route:
        return cls(
            number=plan.number, topic=plan.mostly(plan.one(*_TOPICS), "nowhere", "=", chance=0.1), strict=plan.mostly(True, None, False)
        )

    def play(self, peer: Peer) -> Seen:
        seen = peer.ask(Ask(ROUTE, {"topic": peer.name(self.topic), "acceptStandardJsonOnly": self.strict}), json_body)
        if isinstance(seen["body"], dict):
            for name in ("brokerDatas", "queueDatas"):
                seen["body"][name].sort(key=lambda each: each["brokerName"])
        return seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists(Command):
    """Clusters and topics: what this sequence has of them."""

    weight: ClassVar[int] = 12

    code: int
    cluster: str = "c0"

    @classmethod
    def draw(cls, plan: Plan) -> Lists:
        code = plan.one(CLUSTERS, ALL_TOPICS, TOPICS_OF_CLUSTER, SYSTEM_TOPICS)
        return cls(number=plan.number, code=code, cluster=plan.mostly(plan.one("c0", "c1"), "c9", chance=0.1))

    def play(self, peer: Peer) -> Seen:
        seen = peer.ask(Ask(self.code, {"cluster": peer.name(self.cluster)}), json_body)
        body = seen["body"]
        if isinstance(body, dict):
            for name, found in body.items():
                if isinstance(found, dict):
                    own = {key: value for key, value in found.items() if f"{peer.scope}_" in key}
                    body[name] = {key: sorted(value) if isinstance(value, list) else value for key, value in own.items()}
                elif isinstance(found, list):
                    body[name] = sorted(each for each in found if f"{peer.scope}_" in each)
            if self.code == SYSTEM_TOPICS and body.get("brokerAddr"):
                body["brokerAddr"] = "<one of all>"
        return seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic(Command):
    """A topic is registered for brokers, or deleted everywhere or in a cluster."""

    weight: ClassVar[int] = 8

    topic: str
    broker: str | None = None
    cluster: str | None = None

    @classmethod
    def draw(cls, plan: Plan) -> Topic:
        if plan.random.random() < 0.5:
            return cls(number=plan.number, topic=plan.one(*_TOPICS), broker=plan.one("b0", "b1", "b9"))
        return cls(number=plan.number, topic=plan.one(*_TOPICS, "nowhere"), cluster=plan.one(None, "c0", "c1", "c9"))

    def play(self, peer: Peer) -> Seen:
        if self.broker is None:
            cluster = peer.name(self.cluster) if self.cluster else None
            return peer.ask(Ask(DELETE_TOPIC, {"topic": peer.name(self.topic), "clusterName": cluster}))
        queues = [{"brokerName": peer.name(self.broker), "readQueueNums": 2, "writeQueueNums": 2, "perm": 6, "topicSysFlag": 0}]
        body = json.dumps({"queueDatas": queues, "brokerDatas": [], "filterServerTable": {}}).encode()
        return peer.ask(Ask(REGISTER_TOPIC, {"topic": peer.name(self.topic)}, body))


@dataclass(frozen=True, slots=True, kw_only=True)
class Values(Command):
    """Settings by namespace and key."""

    weight: ClassVar[int] = 15

    code: int
    namespace: str
    key: str
    value: str = ""

    @classmethod
    def draw(cls, plan: Plan) -> Values:
        return cls(
            number=plan.number,
            code=plan.one(PUT_VALUE, PUT_VALUE, GET_VALUE, DELETE_VALUE, VALUES),
            namespace=plan.mostly(plan.one("n0", "n1"), f"={_ORDER}", chance=0.3),
            key=plan.one(*_TOPICS),
            value=plan.one("b0:4", "b0:1;b1:2", "", "Ä"),
        )

    def play(self, peer: Peer) -> Seen:
        fields = {
            "namespace": peer.name(self.namespace), "key": peer.name(self.key), "value": self.value if self.code == PUT_VALUE else None,
        }  # fmt: skip
        return _own(peer, peer.ask(Ask(self.code, fields), json_body))


COMMANDS: tuple[type[Command], ...] = (Register, Unregister, AskOfBroker, Route, Lists, Topic, Values)
