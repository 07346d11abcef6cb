"""Brokers for random lives of consumers: members, locks, offsets, logs, retries and dead letters as real brokers keep them, and faults.

Unlike a real broker this one remembers who did what and when, so that a test can hold every answer that it gave against what it promised.
Every fault is one of: a request that never arrives, an answer that never leaves, a late answer, a refusal, a broken connection.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.config import ClientConfig
from aiorocketmq.model.properties import decode_properties
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, QueueData, TopicRouteData
from aiorocketmq.protocol.bodies import (
    GetConsumerListByGroupResponseBody,
    HeartbeatData,
    LockBatchRequestBody,
    LockBatchResponseBody,
    UnlockBatchRequestBody,
)
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.message_codec import encode_stored_message
from aiorocketmq.remoting.client import RemotingClient
from tests.support.memory_transport import PeerConnection, ScriptedPeer
from tests.wire.world import World, heartbeat_answer

GROUP: Final = "workers"
RETRY: Final = f"%RETRY%{GROUP}"
DEAD: Final = f"%DLQ%{GROUP}"
BROKERS: Final = ("broker-a", "broker-b")
LOCK_TIME: Final = 60.0
RETRY_DELAY: Final = 10.0
SILENT_MEMBER: Final = 120.0

LOST_REQUEST, LOST_ANSWER, LATE, REFUSED = "lost request", "lost answer", "late", "refused"
FAULTS: Final = (LOST_REQUEST, LOST_ANSWER, LATE, REFUSED)
CODES: Final = (
    RequestCode.PULL_MESSAGE,
    RequestCode.QUERY_CONSUMER_OFFSET,
    RequestCode.UPDATE_CONSUMER_OFFSET,
    RequestCode.HEART_BEAT,
    RequestCode.UNREGISTER_CLIENT,
    RequestCode.CONSUMER_SEND_MSG_BACK,
    RequestCode.SEND_MESSAGE_V2,
    RequestCode.GET_CONSUMER_LIST_BY_GROUP,
    RequestCode.LOCK_BATCH_MQ,
    RequestCode.UNLOCK_BATCH_MQ,
    RequestCode.GET_MAX_OFFSET,
    RequestCode.GET_MIN_OFFSET,
)


@dataclass(slots=True)
class Stored:
    """One message of a log: which message it is a copy of, and what became of this copy."""

    origin: str
    topic: str
    tries: int
    body: bytes
    properties: bytes
    finished: bool = False


@dataclass(slots=True)
class Lock:
    """Who holds a queue, and since when."""

    owner: str
    at: float


@dataclass(slots=True)
class Fault:
    """What happens to requests of a code until a time."""

    kind: str
    until: float


def _now() -> float:
    return asyncio.get_running_loop().time()


class GroupBroker:
    """One broker of the group's world.

    Attributes:
        queues: Topic → queues of it here.
        logs: Queue → messages.
        committed: Queue → offset.
        locks: Queue → lock.
        members: Client id → its connection and the time of its last heartbeat.
        faults: Request code → fault.
        first: Queue → offset of its first message; those before were deleted.
        unlocks_lost: An unlocking may not have arrived; nobody waits for its answer.
    """

    def __init__(self, world: GroupWorld, name: str, address: str) -> None:
        self.world = world
        self.name = name
        self.address = address
        self.peer = ScriptedPeer(world.network, address)
        self.queues: dict[str, int] = {}
        self.logs: dict[MessageQueue, list[Stored]] = defaultdict(list)
        self.committed: dict[MessageQueue, int] = {}
        self.locks: dict[MessageQueue, Lock] = {}
        self.members: dict[str, tuple[PeerConnection, float]] = {}
        self.faults: dict[int, Fault] = {}
        self.unlocks_lost = False
        self.first: dict[MessageQueue, int] = defaultdict(int)
        self._epochs: dict[tuple[str, MessageQueue], int] = {}
        self._parked: dict[MessageQueue, list[tuple[RemotingCommand, PeerConnection]]] = defaultdict(list)
        self.timers: set[asyncio.TimerHandle] = set()
        handlers: dict[int, Callable[[RemotingCommand, PeerConnection], RemotingCommand | None]] = {
            RequestCode.PULL_MESSAGE: self._pull,
            RequestCode.QUERY_CONSUMER_OFFSET: self._query_offset,
            RequestCode.UPDATE_CONSUMER_OFFSET: self._update_offset,
            RequestCode.HEART_BEAT: self._heartbeat,
            RequestCode.UNREGISTER_CLIENT: self._unregister,
            RequestCode.CONSUMER_SEND_MSG_BACK: self._send_back,
            RequestCode.SEND_MESSAGE_V2: self._send,
            RequestCode.GET_CONSUMER_LIST_BY_GROUP: self._consumer_list,
            RequestCode.LOCK_BATCH_MQ: self._lock,
            RequestCode.UNLOCK_BATCH_MQ: self._unlock,
            RequestCode.GET_MAX_OFFSET: lambda request, _: self._offset(request, len(self.logs[self._queue_of(request)])),
            RequestCode.GET_MIN_OFFSET: lambda request, _: self._offset(request, self.first[self._queue_of(request)]),
        }
        for code, handler in handlers.items():
            self.peer.on(code, self._with_faults(code, handler))

    # --- faults -----------------------------------------------------------------------------------------------------------------

    def _with_faults(self, code: int, handler: Callable[[RemotingCommand, PeerConnection], RemotingCommand | None]) -> Any:
        def handle(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand | None:
            fault = self.faults.get(code)
            if fault is None or _now() >= fault.until:
                return handler(request, connection)
            self.world.calm = False
            if fault.kind == LOST_REQUEST:
                return None
            if fault.kind == REFUSED:
                return RemotingCommand.response(request, ResponseCode.SYSTEM_ERROR, "scripted refusal")
            answer = handler(request, connection)
            if answer is not None and fault.kind == LATE and not request.is_oneway:
                self.later(2.0, lambda: connection.send(answer))
            return None

        return handle

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something later; what waits is known, so that a test can tell its timers from the client's."""

        def run() -> None:
            self.timers.discard(handle)
            call()

        handle = asyncio.get_running_loop().call_later(seconds, run)
        self.timers.add(handle)

    # --- messages ---------------------------------------------------------------------------------------------------------------

    def trim(self, queue: MessageQueue) -> None:
        """A queue gets a message, and all that it has is deleted before anybody reads it: who asks has to go on behind it."""
        self.logs[queue].append(Stored("gone", queue.topic, 0, b"m0", b""))
        self.first[queue] = len(self.logs[queue])
        for message in self.logs[queue]:
            message.finished = True
        self._answer_parked(queue)

    def append(self, queue: MessageQueue, message: Stored) -> None:
        """Store a message and answer the pulls that wait for it."""
        self.logs[queue].append(message)
        self._answer_parked(queue)

    def _answer_parked(self, queue: MessageQueue) -> None:
        parked, self._parked[queue] = self._parked[queue], []
        for request, connection in parked:
            answer = self._read(request)
            if answer is not None:
                connection.send(answer)

    def _queue_of(self, request: RemotingCommand) -> MessageQueue:
        return MessageQueue(request.ext_fields["topic"], self.name, int(request.ext_fields["queueId"]))

    def _pull(self, request: RemotingCommand, connection: PeerConnection) -> RemotingCommand | None:
        fields, queue = request.ext_fields, self._queue_of(request)
        if int(fields["sysFlag"]) & 1:
            self._commit(queue, int(fields["commitOffset"]), connection)
        answer = self._read(request)
        if answer is None:
            self._park(queue, request, connection)
        return answer

    def _read(self, request: RemotingCommand) -> RemotingCommand | None:
        queue, offset = self._queue_of(request), int(request.ext_fields["queueOffset"])
        log = self.logs[queue]
        if offset > len(log):
            return self._pulled(request, ResponseCode.PULL_OFFSET_MOVED, len(log))
        if offset < self.first[queue]:
            return self._pulled(request, ResponseCode.PULL_OFFSET_MOVED, self.first[queue])
        end = min(len(log), offset + 4)
        if end == offset:
            return None
        records = b"".join(self._record(queue, place, log[place]) for place in range(offset, end))
        return self._pulled(request, ResponseCode.SUCCESS, end, records)

    def _record(self, queue: MessageQueue, offset: int, message: Stored) -> bytes:
        return encode_stored_message(
            queue.topic, message.body, message.properties, queue_id=queue.queue_id, queue_offset=offset,
            commit_log_offset=self.world.physical(queue, offset), born_timestamp=1, born_ip=b"\x7f\0\0\1", born_port=1, store_timestamp=1,
            store_ip=b"\x7f\0\0\1", store_port=10911, flag=0, sys_flag=0, reconsume_times=message.tries, prepared_transaction_offset=0,
        )  # fmt: skip

    def _pulled(self, request: RemotingCommand, code: int, next_offset: int, body: bytes = b"") -> RemotingCommand:
        header = {
            "suggestWhichBrokerId": "0",
            "nextBeginOffset": str(next_offset),
            "minOffset": str(self.first[self._queue_of(request)]),
            "maxOffset": str(len(self.logs[self._queue_of(request)])),
        }
        return RemotingCommand.response(request, code, header=header, body=body)

    def _park(self, queue: MessageQueue, request: RemotingCommand, connection: PeerConnection) -> None:
        entry = (request, connection)
        self._parked[queue].append(entry)

        def give_up() -> None:
            if entry in self._parked[queue]:
                self._parked[queue].remove(entry)
                connection.send(self._pulled(request, ResponseCode.PULL_NOT_FOUND, int(request.ext_fields["queueOffset"])))

        self.later(int(request.ext_fields["suspendTimeoutMillis"]) / 1000, give_up)

    # --- offsets ----------------------------------------------------------------------------------------------------------------

    def _query_offset(self, request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        queue = self._queue_of(request)
        client = self.world.client_of(connection)
        self._epochs[client, queue] = -1  # it begins anew from what it reads here
        offset = self.committed.get(queue)
        if offset is None:
            return RemotingCommand.response(request, ResponseCode.QUERY_NOT_FOUND, "no offset")
        return self._offset(request, offset)

    @staticmethod
    def _offset(request: RemotingCommand, offset: int) -> RemotingCommand:
        return RemotingCommand.response(request, header={"offset": str(offset)})

    def _update_offset(self, request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        self._commit(self._queue_of(request), int(request.ext_fields["commitOffset"]), connection)
        return RemotingCommand.response(request)

    def _commit(self, queue: MessageQueue, offset: int, connection: PeerConnection) -> None:
        client = self.world.client_of(connection)
        last = self._epochs.get((client, queue), -1)
        if offset < last:
            self.world.broke(f"{client} commits {offset} of {queue} after {last}")
        self._epochs[client, queue] = offset
        for place, message in enumerate(self.logs[queue][:offset]):
            if not message.finished:
                self.world.broke(f"{client} commits {offset} of {queue}, but {message.origin} at {place} is not finished")
        if self.world.calm and offset < self.committed.get(queue, 0):
            self.world.broke(f"{client} commits {offset} of {queue} after others had committed {self.committed[queue]}, in calm times")
        self.committed[queue] = offset

    # --- members ----------------------------------------------------------------------------------------------------------------

    def _heartbeat(self, request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        data = HeartbeatData.decode(request.body)
        self.world.clients[connection] = data.client_id
        if any(consumer.group_name == GROUP for consumer in data.consumer_data_set):
            new = data.client_id not in self.members
            self.members[data.client_id] = (connection, _now())
            if new:
                self._notify()
        return heartbeat_answer(request, connection)

    def _unregister(self, request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        if request.ext_fields.get("consumerGroup") == GROUP and self.members.pop(request.ext_fields["clientID"], None) is not None:
            self._notify()
        return RemotingCommand.response(request)

    def forget_lost(self) -> None:
        """Members whose connection is gone, or that were silent too long, are none any more."""
        gone = [name for name, (connection, at) in self.members.items() if not connection.open or _now() - at > SILENT_MEMBER]
        for name in gone:
            del self.members[name]
        if gone:
            self._notify()

    def _notify(self) -> None:
        for connection, _ in list(self.members.values()):
            connection.send(RemotingCommand.request(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, {"consumerGroup": GROUP}, oneway=True))

    def _consumer_list(self, request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        self.forget_lost()
        if not self.members:
            return RemotingCommand.response(request, ResponseCode.SYSTEM_ERROR, "no consumer for this group")
        return RemotingCommand.response(request, body=GetConsumerListByGroupResponseBody(sorted(self.members)).encode())

    # --- locks ------------------------------------------------------------------------------------------------------------------

    def holder(self, queue: MessageQueue) -> str | None:
        """Who holds a queue now."""
        lock = self.locks.get(queue)
        return lock.owner if lock is not None and _now() - lock.at <= LOCK_TIME else None

    def _lock(self, request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        body = LockBatchRequestBody.decode(request.body)
        granted = []
        for queue in body.mq_set:
            if self.holder(queue) in (None, body.client_id):
                self.locks[queue] = Lock(body.client_id, _now())
                granted.append(queue)
        return RemotingCommand.response(request, body=LockBatchResponseBody(granted).encode())

    def _unlock(self, request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        body = UnlockBatchRequestBody.decode(request.body)
        for queue in body.mq_set:
            if self.holder(queue) == body.client_id:
                running = self.world.running.get(queue)
                if running == body.client_id:
                    self.world.broke(f"{body.client_id} unlocks {queue} while its listener runs")
                del self.locks[queue]
        return RemotingCommand.response(request)

    # --- failed messages --------------------------------------------------------------------------------------------------------

    def _send_back(self, request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        fields = request.ext_fields
        queue, place = self.world.at(int(fields["offset"]))
        message = self.logs[queue][place]
        self._fail(message, int(fields["maxReconsumeTimes"]))
        return RemotingCommand.response(request)

    def _fail(self, message: Stored, most: int) -> None:
        """This copy is done with; the next one comes later, or lies among the dead letters."""
        message.finished = True
        copy = Stored(message.origin, message.topic, message.tries + 1, message.body, message.properties)
        if message.tries >= most:
            self.world.dead[message.origin] += 1
            return
        copy.properties = b"RETRY_TOPIC\x01%s\x02" % message.topic.encode() + message.properties
        self.world.coming_back += 1

        def come_back() -> None:
            self.world.coming_back -= 1
            self.append(MessageQueue(RETRY, self.name, 0), copy)

        self.later(RETRY_DELAY, come_back)

    def _send(self, request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        """The other way back: as a normal message to the retry topic."""
        fields = request.ext_fields
        properties = decode_properties(fields["i"].encode())
        message = self.world.by_body(request.body)
        tries = int(fields.get("j") or properties.get("RECONSUME_TIME") or 0)
        most = int(fields.get("l") or properties.get("MAX_RECONSUME_TIMES") or 16)
        self.world.finish_all(request.body, tries)
        if tries > most:
            self.world.dead[message.origin] += 1
        else:
            text = b"".join(b"%s\x01%s\x02" % (key.encode(), value.encode()) for key, value in properties.items() if key != "DELAY")
            copy = Stored(message.origin, message.topic, tries, message.body, text)
            self.world.coming_back += 1

            def come_back() -> None:
                self.world.coming_back -= 1
                self.append(MessageQueue(RETRY, self.name, 0), copy)

            self.later(RETRY_DELAY, come_back)
        header = {"msgId": "00" * 16, "queueId": "0", "queueOffset": "0"}
        return RemotingCommand.response(request, header=header)


@dataclass(slots=True)
class Call:
    """One call of a listener."""

    client: str
    queue: MessageQueue
    origins: list[str]
    began: float
    ended: float = -1.0


class GroupWorld(World):
    """Name server, brokers, and what the group did.

    Attributes:
        calm: False since something was broken on purpose.
        running: Ordered queue → the member whose listener runs with it.
        calls: Every call of a listener.
        dead: Message → how often it was dead-lettered.
        coming_back: Messages on their way to the retry topic.
        sent: All messages, by their text.
        broken: Promises that were broken, in words.
    """

    def __init__(self, topics: Iterable[str]) -> None:
        super().__init__()
        self.calm = True
        self.clients: dict[PeerConnection, str] = {}
        self.running: dict[MessageQueue, str] = {}
        self.calls: list[Call] = []
        self.dead: dict[str, int] = defaultdict(int)
        self.coming_back = 0
        self.sent: list[str] = []
        self.broken: list[str] = []
        self.successes: dict[tuple[MessageQueue, int], int] = defaultdict(int)
        self._places: list[tuple[MessageQueue, int]] = []
        self._numbers: dict[tuple[MessageQueue, int], int] = {}
        self.brokers = {name: GroupBroker(self, name, f"{name}:10911") for name in BROKERS}
        for topic in topics:
            for broker in self.brokers.values():
                broker.queues[topic] = 2
        for broker in self.brokers.values():
            broker.queues[RETRY] = 1
        self.publish()

    def publish(self) -> None:
        """Let the name server know the queues."""
        topics = {topic for broker in self.brokers.values() for topic in broker.queues}
        for topic in topics:
            having = [broker for broker in self.brokers.values() if broker.queues.get(topic)]
            self.routes[topic] = TopicRouteData(
                tuple(QueueData(broker.name, broker.queues[topic], broker.queues[topic], 6) for broker in having),
                tuple(BrokerData("DefaultCluster", broker.name, {0: broker.address}) for broker in having),
            )

    def queues(self, topic: str) -> set[MessageQueue]:
        """All queues of a topic now."""
        return {
            MessageQueue(topic, broker.name, number) for broker in self.brokers.values() for number in range(broker.queues.get(topic, 0))
        }

    def send(self, topic: str, broker: str, queue_id: int) -> None:
        """Store a new message."""
        origin = f"m{len(self.sent)}"
        self.sent.append(origin)
        owner = self.brokers[broker]
        queue = MessageQueue(topic, broker, queue_id % max(1, owner.queues[topic]))
        properties = f"UNIQ_KEY\x01{origin}\x02".encode()
        owner.append(queue, Stored(origin, topic, 0, origin.encode(), properties))

    def physical(self, queue: MessageQueue, offset: int) -> int:
        """The physical offset of a message: its number in the order of its first pull, by which it is found when it is sent back."""
        key = (queue, offset)
        if key not in self._numbers:
            self._numbers[key] = len(self._places)
            self._places.append(key)
        return self._numbers[key]

    def at(self, physical: int) -> tuple[MessageQueue, int]:
        """The queue and offset of a physical offset."""
        return self._places[physical]

    def by_body(self, body: bytes) -> Stored:
        """Any copy of a message."""
        return next(message for broker in self.brokers.values() for log in broker.logs.values() for message in log if message.body == body)

    def finish_all(self, body: bytes, tries: int) -> None:
        """Every copy of a message up to a number of tries is done with."""
        for broker in self.brokers.values():
            for log in broker.logs.values():
                for message in log:
                    if message.body == body and message.tries <= tries:
                        message.finished = True

    def client_of(self, connection: PeerConnection) -> str:
        """The client of a connection; its first heartbeat tells."""
        return self.clients.get(connection, "nobody yet")

    def make_instance(self, config: ClientConfig, client_id: str, *, index: int) -> ClientInstance:
        """An `InstanceFactory` on this network."""
        return ClientInstance(config, client_id, index=index, remoting=RemotingClient(config, connector=self.network.connector))

    # --- what listeners tell ----------------------------------------------------------------------------------------------------

    def broke(self, what: str) -> None:
        """A consumer did what it must never do."""
        self.broken.append(f"{_now():.3f}: {what}")

    def begin(self, client: str, queue: MessageQueue, origins: list[str], *, ordered: bool) -> Call:
        """A listener begins; an ordered one must be alone with its queue, and under the lock."""
        call = Call(client, queue, origins, _now())
        self.calls.append(call)
        if ordered:
            if queue in self.running:
                self.broke(f"{client} is called with {queue} while {self.running[queue]} still has it")
            holder = self.brokers[queue.broker_name].holder(queue)
            if holder != client:
                self.broke(f"{client} is called with {queue}, which is locked by {holder}")
            self.running[queue] = client
        return call

    def end(self, call: Call, *, ordered: bool) -> None:
        """A listener has ended, whatever way."""
        call.ended = _now()
        if ordered:
            self.running.pop(call.queue, None)

    def handled(self, queue: MessageQueue, offsets: Iterable[int]) -> None:
        """A listener says that these messages are consumed."""
        log = self.brokers[queue.broker_name].logs[queue]
        for offset in offsets:
            self.successes[queue, offset] += 1
            if self.calm and self.successes[queue, offset] > 1:
                self.broke(f"{log[offset].origin} at {offset} of {queue} is handled again, in calm times")
            log[offset].finished = True

    def unfinished(self, topics: Iterable[str]) -> list[str]:
        """Messages of these topics that were neither handled nor dead-lettered, nor are coming back."""
        wanted = {*topics, RETRY}
        return [
            f"{message.origin} at {offset} of {queue}"
            for broker in self.brokers.values()
            for queue, log in broker.logs.items()
            if queue.topic in wanted and queue.queue_id < broker.queues[queue.topic]
            for offset, message in enumerate(log)
            if not message.finished and (queue.topic != RETRY or message.topic in wanted)
        ]

    def heal(self) -> None:
        """End all faults."""
        for broker in self.brokers.values():
            broker.faults.clear()
            broker.peer.silent = broker.peer.refuse = False
