"""What clients ask brokers, typed (Java: `MQClientAPIImpl`, its broker half, without what belongs to administration).

Every method raises `BrokerError` for an error code, `RemotingError` when no answer came, `ProtocolError` for a damaged answer; a time-out
of None means `mq_client_api_timeout`. Cancelling one forgets the request; the broker may have carried it out. Sends and pulls of messages
have their own hot paths (`producer.send`, `client.pull`); the send here is for the few messages that the client itself writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from aiorocketmq.client.calls import RemoteCalls
from aiorocketmq.core.route_table import is_logical
from aiorocketmq.errors import BrokerError, OffsetNotFoundError, QueryNotFoundError
from aiorocketmq.model.enums import MessageRequestMode
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.names import LMQ_PREFIX, TOOLS_CONSUMER_GROUP
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.bodies_client import (
    CheckClientRequestBody,
    GetConsumerListByGroupResponseBody,
    HeartbeatData,
    LockBatchRequestBody,
    LockBatchResponseBody,
    QueryAssignmentRequestBody,
    QueryAssignmentResponseBody,
    UnlockBatchRequestBody,
)
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import RpcHeader
from aiorocketmq.protocol.headers_client import (
    ConsumerSendMsgBackRequestHeader,
    GetConsumerListByGroupRequestHeader,
    GetEarliestMsgStoretimeRequestHeader,
    GetEarliestMsgStoretimeResponseHeader,
    GetMaxOffsetRequestHeader,
    GetMaxOffsetResponseHeader,
    GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader,
    HeartbeatResponseHeader,
    PullMessageRequestHeader,
    PullMessageResponseHeader,
    QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader,
    SearchOffsetRequestHeader,
    SearchOffsetResponseHeader,
    SendMessageRequestHeaderV2,
    UnregisterClientRequestHeader,
    UpdateConsumerOffsetRequestHeader,
)
from aiorocketmq.protocol.sysflag import PullSysFlag

LOCK_CALL_TIMEOUT: Final = 1.0
OFFSET_CALL_TIMEOUT: Final = 5.0
SEND_BACK_TIMEOUT: Final = 5.0

STORED_CODES: Final = frozenset(
    {
        int(ResponseCode.SUCCESS),
        int(ResponseCode.FLUSH_DISK_TIMEOUT),
        int(ResponseCode.SLAVE_NOT_AVAILABLE),
        int(ResponseCode.FLUSH_SLAVE_TIMEOUT),
    }
)
"""Answers to a send that say: the message is stored, if not everywhere."""
PULL_CODES: Final = frozenset(
    {
        int(ResponseCode.SUCCESS),
        int(ResponseCode.PULL_NOT_FOUND),
        int(ResponseCode.PULL_RETRY_IMMEDIATELY),
        int(ResponseCode.PULL_OFFSET_MOVED),
    }
)
"""Answers to a pull that say what it has met."""


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """What a broker answers to a heartbeat.

    Attributes:
        version: The broker's version number.
        supports_v2: It understands short heartbeats.
        subscription_changed: It knew another fingerprint of the group: the next heartbeat must be a full one.
    """

    version: int
    supports_v2: bool
    subscription_changed: bool


class BrokerApi(RemoteCalls):
    """Typed requests to brokers; `address` is always `host:port`."""

    # --- registration and groups ---------------------------------------------------------------------------------------------------

    async def heartbeat(self, address: str, data: HeartbeatData, *, timeout: float | None = None) -> HeartbeatReply:
        """Tell the broker which groups live on this client (34)."""
        response = await self.call(address, RequestCode.HEART_BEAT, RpcHeader(), data.encode(), timeout=timeout)
        header = HeartbeatResponseHeader.from_ext(response.ext_fields)
        return HeartbeatReply(response.version, bool(header.supports_v2), bool(header.subscription_changed))

    async def unregister_client(
        self,
        address: str,
        client_id: str,
        *,
        producer_group: str | None = None,
        consumer_group: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Say goodbye for a group, so that the broker does not wait for the heartbeat to stay away (35)."""
        header = UnregisterClientRequestHeader(client_id, producer_group, consumer_group)
        await self.call(address, RequestCode.UNREGISTER_CLIENT, header, timeout=timeout)

    async def check_client_config(
        self, address: str, client_id: str, group: str, subscription: SubscriptionData, *, timeout: float | None = None
    ) -> int:
        """Ask whether the broker can evaluate a subscription that is no tag expression (46); answers the broker's version.

        Raises:
            SubscriptionError: The expression does not compile.
            BrokerError: Code 1: filters of this type are switched off on the broker.
        """
        names = self.namespace
        body = CheckClientRequestBody(client_id, names.wrap(group), names.wrap_subscription(subscription))
        answer = await self.call(address, RequestCode.CHECK_CLIENT_CONFIG, body=body.encode(), timeout=timeout, topic=subscription.topic)
        return answer.version

    async def consumer_list(self, address: str, group: str, *, timeout: float | None = None) -> tuple[str, ...]:
        """Client ids of the group's members, in no order (38).

        Raises:
            BrokerError: Code 1 when the broker knows no member, not even the caller: heartbeat first.
        """
        header = GetConsumerListByGroupRequestHeader(group)
        response = await self.call(address, RequestCode.GET_CONSUMER_LIST_BY_GROUP, header, timeout=timeout)
        return tuple(GetConsumerListByGroupResponseBody.decode(response.body).consumer_id_list)

    async def query_assignment(
        self, address: str, topic: str, group: str, client_id: str, strategy: str, *, timeout: float | None = None
    ) -> dict[MessageQueue, MessageRequestMode] | None:
        """The queues of a topic that fall to a client, and how it gets their messages (400). Id -1: all queues of the broker.

        Returns:
            None when the broker cannot tell: it does not know the topic, the group or the strategy.

        Raises:
            BrokerError: Code 3: a broker before 5.0.
        """
        names = self.namespace
        body = QueryAssignmentRequestBody(names.wrap(topic), names.wrap(group), client_id, strategy)
        response = await self.call(address, RequestCode.QUERY_ASSIGNMENT, body=body.encode(), timeout=timeout, topic=topic)
        told = QueryAssignmentResponseBody.decode(response.body).message_queue_assignments
        if told is None:
            return None
        return {
            names.unwrap_queue(each.message_queue): each.mode or MessageRequestMode.PULL for each in told if each.message_queue is not None
        }

    # --- queue locks ---------------------------------------------------------------------------------------------------------------

    async def lock_batch(
        self, address: str, group: str, client_id: str, queues: Iterable[MessageQueue], *, timeout: float | None = LOCK_CALL_TIMEOUT
    ) -> frozenset[MessageQueue]:
        """Lock queues for ordered consuming, or renew the locks (41).

        Returns:
            The queues that are locked for this client now.
        """
        names = self.namespace
        body = LockBatchRequestBody(names.wrap(group), client_id, [names.wrap_queue(queue) for queue in queues])
        response = await self.call(address, RequestCode.LOCK_BATCH_MQ, RpcHeader(), body.encode(), timeout=timeout)
        return frozenset(names.unwrap_queue(queue) for queue in LockBatchResponseBody.decode(response.body).lock_ok_mq_set)

    async def unlock_batch(
        self,
        address: str,
        group: str,
        client_id: str,
        queues: Iterable[MessageQueue],
        *,
        oneway: bool = True,
        timeout: float | None = LOCK_CALL_TIMEOUT,
    ) -> None:
        """Give locks back (42).

        Args:
            address: The broker.
            group: Consumer group.
            client_id: The owner.
            queues: Queues to unlock.
            oneway: False waits for the broker's answer.
            timeout: Seconds.
        """
        names = self.namespace
        body = UnlockBatchRequestBody(names.wrap(group), client_id, [names.wrap_queue(queue) for queue in queues]).encode()
        if oneway:
            await self.tell(address, RequestCode.UNLOCK_BATCH_MQ, RpcHeader(), body, timeout=timeout)
        else:
            await self.call(address, RequestCode.UNLOCK_BATCH_MQ, RpcHeader(), body, timeout=timeout)

    # --- offsets -------------------------------------------------------------------------------------------------------------------

    async def query_consumer_offset(
        self,
        address: str,
        group: str,
        queue: MessageQueue,
        *,
        set_zero_if_not_found: bool | None = None,
        timeout: float | None = OFFSET_CALL_TIMEOUT,
    ) -> int:
        """The committed offset of a group (14).

        Raises:
            OffsetNotFoundError: The group has none on this queue.
        """
        header = QueryConsumerOffsetRequestHeader(group, queue.topic, queue.queue_id, set_zero_if_not_found, bname=queue.broker_name)
        try:
            response = await self.call(
                address, RequestCode.QUERY_CONSUMER_OFFSET, header, timeout=timeout, topic=queue.topic, broker=queue.broker_name
            )
        except QueryNotFoundError as error:
            raise OffsetNotFoundError(error.remark, broker=queue.broker_name, topic=queue.topic, cause=error) from None
        return QueryConsumerOffsetResponseHeader.from_ext(response.ext_fields).offset

    async def update_consumer_offset(
        self,
        address: str,
        group: str,
        queue: MessageQueue,
        offset: int,
        *,
        oneway: bool = False,
        timeout: float | None = OFFSET_CALL_TIMEOUT,
    ) -> None:
        """Commit the offset of a group (15).

        Args:
            address: The broker.
            group: Consumer group.
            queue: The queue.
            offset: Next offset to consume.
            oneway: True sends it without waiting for the broker's answer.
            timeout: Seconds.
        """
        header = UpdateConsumerOffsetRequestHeader(group, queue.topic, queue.queue_id, offset, bname=queue.broker_name)
        if oneway:
            await self.tell(address, RequestCode.UPDATE_CONSUMER_OFFSET, header, timeout=timeout)
        else:
            await self.call(
                address, RequestCode.UPDATE_CONSUMER_OFFSET, header, timeout=timeout, topic=queue.topic, broker=queue.broker_name
            )

    async def max_offset(self, address: str, queue: MessageQueue, *, timeout: float | None = None) -> int:
        """The offset that the next message will get (30)."""
        header = GetMaxOffsetRequestHeader(queue.topic, queue.queue_id, bname=queue.broker_name)
        response = await self._ask(address, RequestCode.GET_MAX_OFFSET, header, queue, timeout)
        return GetMaxOffsetResponseHeader.from_ext(response.ext_fields).offset

    async def min_offset(self, address: str, queue: MessageQueue, *, timeout: float | None = None) -> int:
        """The smallest offset that is still stored (31)."""
        header = GetMinOffsetRequestHeader(queue.topic, queue.queue_id, bname=queue.broker_name)
        response = await self._ask(address, RequestCode.GET_MIN_OFFSET, header, queue, timeout)
        return GetMinOffsetResponseHeader.from_ext(response.ext_fields).offset

    async def search_offset(
        self, address: str, queue: MessageQueue, timestamp: int, *, upper: bool = False, timeout: float | None = None
    ) -> int:
        """The offset by store time (29): of the first message stored then or later, the queue's maximum when nothing is that new.

        The store times of the messages around the broker's own answer decide: 4.x brokers tell the nearest message, and never the maximum.

        Args:
            address: The broker.
            queue: The queue.
            timestamp: Milliseconds since the epoch.
            upper: Of several messages stored at that time take the last instead of the first, as the broker tells it.
            timeout: Seconds for each request.
        """
        header = SearchOffsetRequestHeader(
            queue.topic, queue.queue_id, timestamp, boundary_type="UPPER" if upper else "LOWER", bname=queue.broker_name
        )
        response = await self._ask(address, RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, header, queue, timeout)
        offset = SearchOffsetResponseHeader.from_ext(response.ext_fields).offset
        if upper or is_logical(queue):  # the offsets of a logical queue have gaps where it has moved
            return offset
        try:
            return await self._first_since(address, queue, timestamp, offset, timeout)
        except BrokerError:
            return offset  # it does not give its messages out

    async def _first_since(self, address: str, queue: MessageQueue, wanted: int, guess: int, timeout: float | None) -> int:
        """The offset of the first message stored at `wanted` or later, from a guess on: two messages are read where it is right."""
        stored, low, high = await self._stored_at(address, queue, max(guess - 1, 0), 2, timeout)  # it is one of the two, or between
        for offset, at in stored:
            if at >= wanted:
                high = offset
                break
            low = offset + 1
        probe = guess  # 4.x brokers are wrong by one, where they are
        while low < high:
            probe = min(max(probe, low), high - 1)
            stored, _, _ = await self._stored_at(address, queue, probe, 1, timeout)
            if stored and stored[0][1] < wanted:
                low = stored[0][0] + 1
            else:  # nothing stored from there on is older, or nothing is
                high = probe
            probe = (low + high) // 2
        return low

    async def _stored_at(
        self, address: str, queue: MessageQueue, offset: int, count: int, timeout: float | None
    ) -> tuple[list[tuple[int, int]], int, int]:
        """Offsets and store times (milliseconds since the epoch) of some messages, and the lowest and the next offset of their queue."""
        from aiorocketmq.protocol.message_codec import decode_messages

        header = PullMessageRequestHeader(
            TOOLS_CONSUMER_GROUP, queue.topic, queue.queue_id, offset, count,
            PullSysFlag.SUBSCRIPTION, 0, 0, 0, "*", "TAG", bname=queue.broker_name
        )  # fmt: skip
        response = await self.call(
            address,
            RequestCode.PULL_MESSAGE,
            header,
            timeout=timeout,
            topic=queue.topic,
            broker=queue.broker_name,
            accept=PULL_CODES,
        )
        limits = PullMessageResponseHeader.from_ext(response.ext_fields)
        messages = decode_messages(response.body, broker_name=queue.broker_name, max_body=0, queue=queue, read_body=False)
        if queue.topic.startswith(LMQ_PREFIX):
            for message in messages:
                message.place_in(queue.topic)
        return [(message.queue_offset, message.store_timestamp) for message in messages], limits.min_offset, limits.max_offset

    async def earliest_store_time(self, address: str, queue: MessageQueue, *, timeout: float | None = None) -> int:
        """Store time of the oldest message, milliseconds since the epoch; -1 for an empty queue (32)."""
        header = GetEarliestMsgStoretimeRequestHeader(queue.topic, queue.queue_id, bname=queue.broker_name)
        response = await self._ask(address, RequestCode.GET_EARLIEST_MSG_STORETIME, header, queue, timeout)
        return GetEarliestMsgStoretimeResponseHeader.from_ext(response.ext_fields).timestamp

    # --- messages ------------------------------------------------------------------------------------------------------------------

    async def send_message(
        self, address: str, header: SendMessageRequestHeaderV2, body: bytes, *, reply: bool = False, timeout: float | None = None
    ) -> RemotingCommand:
        """Store one message (310), or hand a reply to the client that waits for it (325); the answer's code is one of `STORED_CODES`."""
        return await self.call(
            address,
            RequestCode.SEND_REPLY_MESSAGE_V2 if reply else RequestCode.SEND_MESSAGE_V2,
            header,
            body,
            timeout=timeout,
            topic=header.topic,
            broker=header.broker_name or "",
            accept=STORED_CODES,
        )

    async def consumer_send_back(
        self,
        address: str,
        group: str,
        *,
        commit_log_offset: int,
        delay_level: int,
        origin_topic: str,
        origin_message_id: str,
        max_reconsume_times: int,
        broker_name: str,
        unit_mode: bool = False,
        timeout: float | None = SEND_BACK_TIMEOUT,
    ) -> None:
        """Give a message back for a retry (36).

        Args:
            address: The broker that holds it.
            group: Consumer group.
            commit_log_offset: Where the broker holds it.
            delay_level: 0 lets the broker choose, -1 sends it to the dead-letter topic.
            origin_topic: Its topic.
            origin_message_id: Its offset message id.
            max_reconsume_times: Retries before the dead-letter topic.
            broker_name: Name of the broker.
            unit_mode: The consumer's unit mode.
            timeout: Seconds.
        """
        header = ConsumerSendMsgBackRequestHeader(
            commit_log_offset,
            group,
            delay_level,
            origin_msg_id=origin_message_id,
            origin_topic=origin_topic,
            unit_mode=unit_mode,
            max_reconsume_times=max_reconsume_times,
            bname=broker_name,
        )
        await self.call(address, RequestCode.CONSUMER_SEND_MSG_BACK, header, timeout=timeout, topic=origin_topic, broker=broker_name)

    async def _ask(self, address: str, code: RequestCode, header: RpcHeader, queue: MessageQueue, timeout: float | None) -> RemotingCommand:
        return await self.call(address, code, header, timeout=timeout, topic=queue.topic, broker=queue.broker_name)
