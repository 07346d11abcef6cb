"""What POP consumers ask brokers, typed (Java: `popMessageAsync`, `ackMessageAsync`, `changePopInvisibleTimeAsync` of `MQClientAPIImpl`).

Every method raises `BrokerError` for an error code, `RemotingError` when no answer came, `ProtocolError` for a damaged answer. Cancelling
one forgets the request; the broker may have carried it out. Features H1-H5.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from aiorocketmq.core.clock import epoch_ms
from aiorocketmq.errors import NotSupportedByBrokerError, broker_not_found
from aiorocketmq.protocol.bodies_client import HeartbeatData
from aiorocketmq.protocol.codes import RequestCode, ResponseCode, version_name
from aiorocketmq.protocol.header import RpcHeader
from aiorocketmq.protocol.headers_pop import (
    AckMessageRequestHeader,
    BatchAckMessageRequestBody,
    ChangeInvisibleTimeRequestHeader,
    ChangeInvisibleTimeResponseHeader,
    NotificationRequestHeader,
    NotificationResponseHeader,
    PopMessageRequestHeader,
    PopMessageResponseHeader,
)
from aiorocketmq.protocol.message_codec import decode_messages
from aiorocketmq.protocol.pop import batch_acks, give_receipts

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.model.filters import SubscriptionData
    from aiorocketmq.model.receipt import Receipt
    from aiorocketmq.model.received import ReceivedMessage

FIRST_WITH_POP: Final = 413
"""V5_0_0: the first version of brokers from which messages are popped."""
ANSWER_TIME: Final = 10.0
"""Seconds that a broker has for its answer, beyond the time for which it may hold the request."""
ACK_TIMEOUT: Final = 3.0
MAX_POP: Final = 32
"""Messages that brokers give at once."""

_POPPED: Final = frozenset(
    {
        int(ResponseCode.SUCCESS), int(ResponseCode.PULL_NOT_FOUND), int(ResponseCode.POLLING_FULL), int(ResponseCode.POLLING_TIMEOUT),
    }
)  # fmt: skip


class PopApi:
    """Asks brokers on behalf of one group.

    Args:
        instance: Finds brokers and carries the requests.
        group: The consumer group.
    """

    def __init__(self, instance: ClientInstance, group: str) -> None:
        self._instance = instance
        self._calls = instance.broker_api
        self._names = instance.config.names
        self._group = group
        self._mark = f"ORIGIN_GROUP\x01{self._names.wrap(group)}\x02"

    @property
    def wrapped_group(self) -> str:
        """The group as it goes over the wire."""
        return self._names.wrap(self._group)

    async def master(self, broker_name: str, topic: str = "") -> str:
        """The address of a broker that knows POP.

        Raises:
            BrokerNotFoundError: No route has its master.
            NotSupportedByBrokerError: It is older than 5.0.
            RemotingError: Which version it has could not be asked.
        """
        brokers = self._instance.routes.broker_addrs
        found = self._instance.find_broker_address_in_subscribe(broker_name, 0, only_this=True)
        if found is None:
            raise broker_not_found(broker_name, topic=topic)
        version = found.version
        if not version:
            # A heartbeat that names no group registers nobody: an old broker hears of nothing that it does not know.
            version = (await self._calls.heartbeat(found.address, HeartbeatData(client_id=self._instance.client_id))).version
            brokers.put_version(broker_name, found.address, version)
        if version < FIRST_WITH_POP:
            name = version_name(version)
            raise NotSupportedByBrokerError(
                f"broker {broker_name!r} has version {name}: it has no POP",
                feature="POP",
                broker=broker_name,
                broker_version=name,
                hint="use a PushConsumer or a LitePullConsumer, or a broker of version 5.0 or newer",
            )
        return found.address

    async def pop(
        self, subscription: SubscriptionData, broker_name: str, *, max_messages: int, invisible: float, wait: float = 0.0,
        from_newest: bool = False, ordered: bool = False, attempt: str | None = None, queue_id: int = -1,
    ) -> list[ReceivedMessage]:  # fmt: skip
        """Take messages of one broker (200050); they have their receipts and the topic that was popped.

        Args:
            subscription: Topic and filter.
            broker_name: The broker.
            max_messages: 1 to `MAX_POP`.
            invisible: Seconds for which nobody else gets them.
            wait: Seconds for which the broker holds the request while there is nothing.
            from_newest: Where a group without an offset begins: at the newest message instead of the oldest.
            ordered: Only of queues of which nobody has messages.
            attempt: A request that repeats it gets the same messages again; for ordered ones.
            queue_id: The queue, -1 for any.
        """
        address = await self.master(broker_name, subscription.topic)
        header = PopMessageRequestHeader(
            self._group, subscription.topic, queue_id, max_messages, round(invisible * 1000), round(wait * 1000), epoch_ms(time.time),
            int(from_newest), subscription.expression_type, subscription.expression, ordered, attempt, bname=broker_name,
        )  # fmt: skip
        response = await self._calls.call(
            address, RequestCode.POP_MESSAGE, header, timeout=wait + ANSWER_TIME, topic=subscription.topic, broker=broker_name,
            accept=_POPPED,
        )  # fmt: skip
        if response.code != ResponseCode.SUCCESS:
            return []
        config = self._instance.config
        messages = decode_messages(
            response.body, broker_name=broker_name, max_body=config.max_decompressed_length,
            read_body=config.decode_read_body, decompress=config.decode_decompress_body,
        )  # fmt: skip
        told = PopMessageResponseHeader.from_ext(response.ext_fields)
        give_receipts(messages, told, broker_name=broker_name, popped=self._names.wrap(subscription.topic), more=self._mark)
        if self._names:
            self._names.unwrap_messages(messages)
            for message in messages:
                message.queue = self._names.unwrap_queue(message.queue)
        return messages

    async def notification(
        self, subscription: SubscriptionData, broker_name: str, *, wait: float, ordered: bool = False, queue_id: int = -1
    ) -> NotificationResponseHeader:
        """Ask a broker to tell when there is something to pop (200054); it holds the request for `wait` seconds."""
        address = await self.master(broker_name, subscription.topic)
        header = NotificationRequestHeader(
            self._group, subscription.topic, queue_id, round(wait * 1000), epoch_ms(time.time), ordered,
            exp_type=subscription.expression_type, exp=subscription.expression, bname=broker_name,
        )  # fmt: skip
        response = await self._calls.call(
            address, RequestCode.NOTIFICATION, header, timeout=wait + ANSWER_TIME, topic=subscription.topic, broker=broker_name
        )
        return NotificationResponseHeader.from_ext(response.ext_fields)

    def _holder(self, topic: str, receipt: Receipt) -> str:
        """The topic that holds a message, as it goes over the wire."""
        return receipt.topic_of(self._names.wrap(topic), self._names.wrap(self._group))

    async def ack(self, topic: str, receipt: Receipt) -> None:
        """A message is done (200051)."""
        address = await self.master(receipt.broker_name, topic)
        header = AckMessageRequestHeader(
            self._group, self._holder(topic, receipt), receipt.queue_id, receipt.encode(), receipt.offset, bname=receipt.broker_name
        )
        await self._calls.call(
            address, RequestCode.ACK_MESSAGE, header, timeout=ACK_TIMEOUT, topic=topic, broker=receipt.broker_name
        )  # fmt: skip

    async def ack_all(self, broker_name: str, receipts: Sequence[tuple[str, Receipt]]) -> None:
        """Messages of one broker are done, of any topics (200151); it does not say which of the receipts it does not know."""
        address = await self.master(broker_name)
        acks = batch_acks([(self._names.wrap(topic), receipt) for topic, receipt in receipts], self.wrapped_group)
        body = BatchAckMessageRequestBody(broker_name, acks).encode()
        await self._calls.call(address, RequestCode.BATCH_ACK_MESSAGE, RpcHeader(), body, timeout=ACK_TIMEOUT, broker=broker_name)

    async def change_invisible(self, topic: str, receipt: Receipt, invisible: float) -> Receipt:
        """Let a message be invisible for so many seconds from now on (200053); answers the receipt that counts from now on."""
        address = await self.master(receipt.broker_name, topic)
        header = ChangeInvisibleTimeRequestHeader(
            self._group, self._holder(topic, receipt), receipt.queue_id, receipt.encode(), receipt.offset, round(invisible * 1000),
            bname=receipt.broker_name,
        )  # fmt: skip
        response = await self._calls.call(
            address, RequestCode.CHANGE_MESSAGE_INVISIBLETIME, header, timeout=ACK_TIMEOUT, topic=topic, broker=receipt.broker_name
        )
        told = ChangeInvisibleTimeResponseHeader.from_ext(response.ext_fields)
        return receipt.changed(told.pop_time, told.invisible_time, told.revive_qid)
