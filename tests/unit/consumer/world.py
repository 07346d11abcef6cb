"""A consumer in a scripted world: one broker that keeps a log per queue and parks pulls, on an in-memory network and virtual time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.consumer.listener import Listener
from aiorocketmq.consumer.runtime import PushRuntime
from aiorocketmq.consumer.settings import PushSettings
from aiorocketmq.consumer.subscriptions import Subscriptions
from aiorocketmq.model.enums import StartFrom
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol import fastjson
from aiorocketmq.protocol.bodies import GetConsumerListByGroupResponseBody, LockBatchRequestBody, LockBatchResponseBody
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.message_codec import encode_stored_message
from tests.support.memory_transport import PeerConnection, ScriptedPeer
from tests.support.virtual_loop import virtual_time
from tests.wire.world import CLIENT_ID, World, route

__all__ = ["GROUP", "QUEUE", "RETRY", "TOPIC", "ScriptedBroker", "consuming", "record", "virtual_time"]

TOPIC, GROUP = "orders", "workers"
RETRY = f"%RETRY%{GROUP}"
QUEUE = MessageQueue(TOPIC, "broker-a", 0)


def record(topic: str, offset: int, body: bytes, properties: bytes = b"", *, reconsume_times: int = 0, stored_at: int = 1) -> bytes:
    """A stored message."""
    return encode_stored_message(
        topic, body, properties, queue_id=0, queue_offset=offset, commit_log_offset=offset * 1000, born_timestamp=1, born_port=1,
        born_ip=b"\x7f\0\0\1", store_timestamp=stored_at, store_ip=b"\x7f\0\0\1", store_port=10911, flag=0, sys_flag=0,
        reconsume_times=reconsume_times, prepared_transaction_offset=0,
    )  # fmt: skip


class ScriptedBroker:
    """What a broker does for a consumer; every part of it can be replaced by a test.

    Attributes:
        logs: Topic → records of its only queue.
        offsets: Topic → committed offset.
        members: The group's client ids.
        lock_owner: Who has all locks; None grants them to everybody.
        pull_codes: Response codes for the next pulls of `TOPIC`, before anything else is looked at.
        batch: Messages per answer.
    """

    def __init__(self) -> None:
        self.world = World()
        self.world.routes[TOPIC] = self.world.routes[RETRY] = route(1)
        self.peer: ScriptedPeer = self.world.master
        self.logs: dict[str, list[bytes]] = defaultdict(list)
        self.min_offset = 0
        self.offsets: dict[str, int] = {}
        self.members = [CLIENT_ID]
        self.lock_owner: str | None = None
        self.pull_codes: list[int] = []
        self.batch = 32
        self.locks: list[tuple[float, list[MessageQueue]]] = []
        self._parked: dict[str, list[tuple[RemotingCommand, PeerConnection]]] = defaultdict(list)
        on = self.peer.on
        on(RequestCode.PULL_MESSAGE, self._pull)
        on(RequestCode.LITE_PULL_MESSAGE, self._pull)
        on(RequestCode.QUERY_CONSUMER_OFFSET, self._query_offset)
        on(RequestCode.UPDATE_CONSUMER_OFFSET, self._update_offset)
        on(RequestCode.GET_CONSUMER_LIST_BY_GROUP, self._consumer_list)
        on(RequestCode.LOCK_BATCH_MQ, self._lock)
        on(
            RequestCode.GET_MAX_OFFSET,
            lambda request, _: self._answer(request, {"offset": str(len(self.logs[request.ext_fields["topic"]]))}),
        )
        on(RequestCode.GET_MIN_OFFSET, lambda request, _: self._answer(request, {"offset": str(self.min_offset)}))
        self.peer.answer(RequestCode.UNLOCK_BATCH_MQ)
        self.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK)

    def append(self, *bodies: bytes, topic: str = TOPIC, properties: bytes = b"", reconsume_times: int = 0, stored_at: int = 1) -> None:
        """Store messages and answer the pulls that wait for them."""
        for body in bodies:
            offset = len(self.logs[topic])
            self.logs[topic].append(record(topic, offset, body, properties, reconsume_times=reconsume_times, stored_at=stored_at))
        parked, self._parked[topic] = self._parked[topic], []
        for request, connection in parked:
            answer = self._read(request)
            if answer is not None:
                connection.send(answer)

    def parked(self, topic: str = TOPIC) -> list[tuple[RemotingCommand, PeerConnection]]:
        """The pulls that wait for messages, those that the client has given up among them."""
        return list(self._parked[topic])

    @property
    def pulls(self) -> list[RemotingCommand]:
        """The pulls of `TOPIC` so far."""
        return [request.command for request in self.peer.of(RequestCode.PULL_MESSAGE) if request.command.ext_fields["topic"] == TOPIC]

    @property
    def pull_times(self) -> list[float]:
        """When they came."""
        return [request.at for request in self.peer.of(RequestCode.PULL_MESSAGE) if request.command.ext_fields["topic"] == TOPIC]

    @staticmethod
    def _answer(request: RemotingCommand, header: dict[str, str], body: bytes = b"", code: int = 0) -> RemotingCommand:
        return RemotingCommand.response(request, code, header=header, body=body)

    def pull_answer(self, request: RemotingCommand, code: int, next_offset: int, body: bytes = b"", broker_id: int = 0) -> RemotingCommand:
        """The answer to a pull."""
        header = {
            "suggestWhichBrokerId": str(broker_id),
            "nextBeginOffset": str(next_offset),
            "minOffset": str(self.min_offset),
            "maxOffset": str(len(self.logs[request.ext_fields["topic"]])),
        }
        return self._answer(request, header, body, code)

    def _pull(self, request: RemotingCommand, connection: PeerConnection) -> RemotingCommand | None:
        fields = request.ext_fields
        if int(fields["sysFlag"]) & 1:
            self.offsets[fields["topic"]] = int(fields["commitOffset"])
        if fields["topic"] == TOPIC and self.pull_codes:
            return RemotingCommand.response(request, self.pull_codes.pop(0), "scripted")
        return self._read(request) or self._park(request, connection)

    def _read(self, request: RemotingCommand) -> RemotingCommand | None:
        log, offset = self.logs[request.ext_fields["topic"]], int(request.ext_fields["queueOffset"])
        if offset < self.min_offset:
            return self.pull_answer(request, ResponseCode.PULL_OFFSET_MOVED, self.min_offset)
        if offset > len(log):
            return self.pull_answer(request, ResponseCode.PULL_OFFSET_MOVED, len(log))
        end = min(len(log), offset + min(self.batch, int(request.ext_fields["maxMsgNums"])))
        if end == offset:
            return None
        return self.pull_answer(request, ResponseCode.SUCCESS, end, b"".join(log[offset:end]))

    def _park(self, request: RemotingCommand, connection: PeerConnection) -> None:
        entry = (request, connection)
        parked = self._parked[request.ext_fields["topic"]]
        parked.append(entry)

        def give_up() -> None:
            if entry in self._parked[request.ext_fields["topic"]]:
                self._parked[request.ext_fields["topic"]].remove(entry)
                offset = int(request.ext_fields["queueOffset"])
                connection.send(self.pull_answer(request, ResponseCode.PULL_NOT_FOUND, offset))

        asyncio.get_running_loop().call_later(int(request.ext_fields["suspendTimeoutMillis"]) / 1000, give_up)

    def _query_offset(self, request: RemotingCommand, _: PeerConnection) -> RemotingCommand:
        offset = self.offsets.get(request.ext_fields["topic"])
        if offset is None:
            return RemotingCommand.response(request, ResponseCode.QUERY_NOT_FOUND, "no offset")
        return self._answer(request, {"offset": str(offset)})

    def _update_offset(self, request: RemotingCommand, _: PeerConnection) -> RemotingCommand:
        self.offsets[request.ext_fields["topic"]] = int(request.ext_fields["commitOffset"])
        return RemotingCommand.response(request)

    def _consumer_list(self, request: RemotingCommand, _: PeerConnection) -> RemotingCommand:
        return RemotingCommand.response(request, body=GetConsumerListByGroupResponseBody(list(self.members)).encode())

    def _lock(self, request: RemotingCommand, _: PeerConnection) -> RemotingCommand:
        body = LockBatchRequestBody.decode(request.body)
        granted = body.mq_set if self.lock_owner in (None, body.client_id) else []
        self.locks.append((asyncio.get_running_loop().time(), list(granted)))
        return RemotingCommand.response(request, body=LockBatchResponseBody(list(granted)).encode())

    @asynccontextmanager
    async def instance(self, **fields: Any) -> AsyncIterator[ClientInstance]:
        """A started client instance in this world."""
        instance = self.world.instance(**fields)
        await instance.start()
        try:
            yield instance
        finally:
            await instance.stop()


@asynccontextmanager
async def consuming(
    broker: ScriptedBroker, listener: Callable[[Any], Any], *, batch: int = 1, expression: str = "*", client: Any = None, **settings: Any
) -> AsyncIterator[PushRuntime]:
    """A running consumer of `TOPIC`."""
    settings.setdefault("start_from", StartFrom.FIRST)
    async with broker.instance(**(client or {})) as instance:
        subscriptions = Subscriptions(GROUP, with_retry_topic=True)
        subscriptions.add(Listener(TOPIC, listener, batch), expression, 1)
        runtime = PushRuntime(instance, PushSettings(group=GROUP, **settings), subscriptions, made_at=1_700_000_000.0)
        await runtime.start()
        try:
            yield runtime
        finally:
            await runtime.stop(asyncio.Event())


def saved_queues(data: bytes) -> dict[MessageQueue, int]:
    """The content of a local offset file."""
    table: dict[MessageQueue, int] = fastjson.loads(data)["offsetTable"]
    return table
