"""A consumer in a world where anything happens at any moment, on virtual time: what has to hold whatever it is.

`AIOROCKETMQ_LIVES=20000 pytest tests/unit/consumer/test_random_life.py` tries more of them.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import Counter, defaultdict
from typing import Any

import pytest

from aiorocketmq.consumer.runtime import PushRuntime
from aiorocketmq.model.enums import ConsumeResult
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import Retry, Suspend
from aiorocketmq.protocol.bodies import LockBatchRequestBody, LockBatchResponseBody, UnlockBatchRequestBody
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from tests.support.memory_transport import Handler, PeerConnection
from tests.support.virtual_loop import run_virtual
from tests.unit.consumer.world import GROUP, QUEUE, TOPIC, ScriptedBroker, consuming
from tests.wire.world import CLIENT_ID, other_tasks, route

LIVES = int(os.environ.get("AIOROCKETMQ_LIVES", "40"))
QUEUES = 3
CODES = (
    RequestCode.PULL_MESSAGE,
    RequestCode.QUERY_CONSUMER_OFFSET,
    RequestCode.UPDATE_CONSUMER_OFFSET,
    RequestCode.GET_CONSUMER_LIST_BY_GROUP,
    RequestCode.LOCK_BATCH_MQ,
    RequestCode.UNLOCK_BATCH_MQ,
    RequestCode.CONSUMER_SEND_MSG_BACK,
    RequestCode.HEART_BEAT,
)
GROUPS = ([CLIENT_ID], [CLIENT_ID, "zz"], ["0@first", CLIENT_ID], ["0@first", CLIENT_ID, "zz"], ["0@first"])


class Life:
    """One seed: the world, the events, and what was seen."""

    def __init__(self, seed: int, ordered: bool) -> None:
        self.random = random.Random(seed)
        self.ordered = ordered
        self.broker = ScriptedBroker()
        self.broker.world.routes[TOPIC] = route(QUEUES)
        self.modes: dict[int, str] = {}
        self.locks: dict[MessageQueue, tuple[str, float]] = {}
        self.running: Counter[MessageQueue] = Counter()
        self.done: dict[MessageQueue, set[int]] = defaultdict(set)
        self.committed: Counter[tuple[str, int]] = Counter()
        self.faults: list[str] = []
        self.calm = False
        self._install()

    # --- the broker: one log for all queues of the topic, offsets and locks by queue ----------------------------------------------

    def _install(self) -> None:
        handlers: dict[int, Handler] = {
            RequestCode.PULL_MESSAGE: self._pull,
            RequestCode.QUERY_CONSUMER_OFFSET: self._query,
            RequestCode.UPDATE_CONSUMER_OFFSET: self._update,
            RequestCode.GET_CONSUMER_LIST_BY_GROUP: self.broker._consumer_list,
            RequestCode.LOCK_BATCH_MQ: self._lock,
            RequestCode.UNLOCK_BATCH_MQ: self._unlock,
            RequestCode.CONSUMER_SEND_MSG_BACK: self._send_back,
            RequestCode.HEART_BEAT: self.broker.peer._handlers[RequestCode.HEART_BEAT],
        }
        for code, handler in handlers.items():
            self.broker.peer.on(code, self._moody(code, handler))

    def _moody(self, code: int, handler: Handler) -> Handler:
        def answer(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand | None:
            mode = self.modes.get(code, "fine")
            if mode == "silent":
                return None
            if mode == "refuses":
                return RemotingCommand.response(request, ResponseCode.SYSTEM_ERROR, "scripted")
            response = handler(request, connection)
            if mode == "late" and response is not None:
                asyncio.get_running_loop().call_later(self.random.uniform(0.1, 8.0), connection.send, response)
                return None
            return response

        return answer

    def _queue(self, request: RemotingCommand) -> tuple[str, int]:
        return request.ext_fields["topic"], int(request.ext_fields["queueId"])

    def _pull(self, request: RemotingCommand, connection: PeerConnection) -> RemotingCommand | None:
        if int(request.ext_fields["sysFlag"]) & 1:
            self._commit(self._queue(request), int(request.ext_fields["commitOffset"]))
        return self.broker._read(request) or self.broker._park(request, connection)

    def _query(self, request: RemotingCommand, _: PeerConnection) -> RemotingCommand:
        key = self._queue(request)
        if key not in self.committed:
            return RemotingCommand.response(request, ResponseCode.QUERY_NOT_FOUND, "no offset")
        return RemotingCommand.response(request, header={"offset": str(self.committed[key])})

    def _update(self, request: RemotingCommand, _: PeerConnection) -> RemotingCommand:
        self._commit(self._queue(request), int(request.ext_fields["commitOffset"]))
        return RemotingCommand.response(request)

    def _commit(self, key: tuple[str, int], offset: int) -> None:
        if key[0] != TOPIC:
            return
        if offset < self.committed[key]:
            self.faults.append(f"offset of {key} went back from {self.committed[key]} to {offset}")
        missing = set(range(offset)) - self.done[QUEUE._replace(queue_id=key[1])]
        if missing:
            self.faults.append(f"offset {offset} of {key} was committed, {sorted(missing)[:5]} are not consumed")
        self.committed[key] = offset

    def _lock(self, request: RemotingCommand, _: PeerConnection) -> RemotingCommand:
        now, body = asyncio.get_running_loop().time(), LockBatchRequestBody.decode(request.body)
        granted = [queue for queue in body.mq_set if self._owner(queue, now) in (None, body.client_id)]
        self.locks.update(dict.fromkeys(granted, (body.client_id, now + 60)))
        return RemotingCommand.response(request, body=LockBatchResponseBody(granted).encode())

    def _owner(self, queue: MessageQueue, now: float) -> str | None:
        owner, until = self.locks.get(queue, (None, 0.0))
        return owner if now < until else None

    def _unlock(self, request: RemotingCommand, _: PeerConnection) -> RemotingCommand:
        for queue in UnlockBatchRequestBody.decode(request.body).mq_set:
            if self.running[queue]:
                self.faults.append(f"{queue} was unlocked while its listener ran")
            self.locks.pop(queue, None)
        return RemotingCommand.response(request)

    def _send_back(self, request: RemotingCommand, _: PeerConnection) -> RemotingCommand:
        return RemotingCommand.response(request)

    # --- the listener --------------------------------------------------------------------------------------------------------------

    async def listen(self, message: ReceivedMessage) -> Any:
        queue, now = message.queue, asyncio.get_running_loop().time()
        self.running[queue] += 1
        try:
            if self.ordered:
                if self.running[queue] > 1:
                    self.faults.append(f"two calls at once for {queue}")
                if self._owner(queue, now) != CLIENT_ID:
                    self.faults.append(f"{queue} was consumed at {now:.1f} without its lock: {self.locks.get(queue)}")
            return await self._answer(message)
        finally:
            self.running[queue] -= 1

    async def _answer(self, message: ReceivedMessage) -> Any:
        choice = self.random.random() if not self.calm else 1.0
        await asyncio.sleep(self.random.choice((0, 0, 0, 0.01, 0.3, 3.0)) if not self.calm else 0)
        if choice < 0.04:
            await asyncio.sleep(self.random.uniform(5, 70))
        elif choice < 0.08:
            self._failed(message)
            raise ValueError("scripted")
        elif choice < 0.10:
            self._failed(message)
            sys.exit(1)
        elif choice < 0.12:
            self._failed(message)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)
        elif choice < 0.16:
            self._failed(message)
            return Suspend(0.05) if self.ordered else Retry(1)
        self.done[message.queue].add(message.queue_offset)
        return ConsumeResult.SUCCESS

    def _failed(self, message: ReceivedMessage) -> None:
        if not self.ordered:
            # It goes back to the broker, which is as good as consumed; the client has to see to it that it does.
            self.done[message.queue].add(message.queue_offset)

    # --- what happens -----------------------------------------------------------------------------------------------------------------

    async def happen(self, runtime: PushRuntime) -> None:
        choose, broker = self.random, self.broker
        event = choose.randrange(9)
        if event <= 1:
            broker.append(*[b"x"] * choose.randrange(1, 6))
        elif event == 2:
            broker.members = list(choose.choice(GROUPS))
            broker.peer.push_oneway(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, {"consumerGroup": GROUP})
        elif event == 3:
            now = asyncio.get_running_loop().time()
            for number in range(QUEUES):
                queue = QUEUE._replace(queue_id=number)
                owner = self._owner(queue, now)
                if owner == "other":
                    del self.locks[queue]
                elif owner is None:
                    self.locks[queue] = "other", now + choose.uniform(1, 60)
        elif event == 4:
            self.modes[choose.choice(CODES)] = choose.choice(("fine", "silent", "refuses", "late"))
        elif event == 5:
            self.modes.clear()
        elif event == 6:
            runtime.suspend() if choose.random() < 0.5 else runtime.resume()
        elif event == 7:
            broker.peer.drop()
        else:
            await self._resubscribe(runtime)
        await asyncio.sleep(choose.choice((0, 0.02, 0.3, 1.5, 6.0, 25.0)))

    async def _resubscribe(self, runtime: PushRuntime) -> None:
        table = runtime.subscriptions_table
        listener = table.listener(TOPIC)
        assert listener is not None
        table.remove(TOPIC)
        changing = asyncio.ensure_future(runtime.subscription_changed(TOPIC))
        await asyncio.wait([changing], timeout=self.random.choice((0, 0.1, 2.0)))
        if not changing.done():
            changing.cancel()
            await asyncio.wait([changing])
        table.add(listener, "*", 99)
        again = asyncio.ensure_future(runtime.subscription_changed(TOPIC))
        await asyncio.wait([again], timeout=5.0)
        again.cancel()
        await asyncio.wait([again])

    async def live(self) -> None:
        settings: dict[str, Any] = {
            "ordered": self.ordered,
            "suspend_current_queue_time": 0.2,
            "concurrency": self.random.choice((1, 2, 20)),
        }
        settings |= {"consume_timeout": 1000.0, "await_termination_when_shutdown": self.random.choice((0.1, 5.0))}
        self.broker.append(*[b"x"] * self.random.randrange(8))
        async with consuming(self.broker, self.listen, **settings) as runtime:
            for _ in range(self.random.randrange(4, 25)):
                await self.happen(runtime)
                assert not self.faults, self.faults
            if self.random.random() < 0.6:
                await self._settle(runtime)
        assert not self.faults, self.faults
        assert runtime.queues.assigned == runtime.queues.releasing == runtime.queues.waiting == {}
        assert other_tasks() == set()

    async def _settle(self, runtime: PushRuntime) -> None:
        """When everybody is well again and we are alone, everything is consumed."""
        self.calm = True
        self.modes.clear()
        self.broker.members = [CLIENT_ID]
        self.locks = {queue: lock for queue, lock in self.locks.items() if lock[0] != "other"}
        runtime.resume()
        await asyncio.sleep(200)
        count = len(self.broker.logs[TOPIC])
        owned = {queue.queue_id for queue in runtime.queues.assigned if queue.topic == TOPIC}
        assert owned == set(range(QUEUES)), f"owned: {owned}, waiting: {runtime.queues.waiting}, releasing: {runtime.queues.releasing}"
        for number in range(QUEUES):
            queue = QUEUE._replace(queue_id=number)
            assert self.done[queue] >= set(range(count)), f"{queue}: {sorted(set(range(count)) - self.done[queue])} are not consumed"
            assert not count or self.committed[TOPIC, number] == count, f"{queue}: {self.committed} of {count} are committed"


@pytest.mark.feature("G1", "G2", "G10", "F30", "F32", "F44")
@pytest.mark.parametrize("ordered", [False, True])
def test_whatever_happens_order_offsets_and_ends_are_right(ordered: bool) -> None:
    for seed in range(LIVES):
        try:
            run_virtual(Life(seed, ordered).live())
        except BaseException as error:
            error.add_note(f"seed {seed}, ordered={ordered}")
            raise
