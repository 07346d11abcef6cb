"""The producer that the instance itself owns, group CLIENT_INNER_PRODUCER (Java: `MQClientInstance.defaultMQProducer`). Feature K16.

Consumers send messages back through it when the broker cannot take them back itself, and replies to requests leave by it. It is
registered like any producer, so brokers know the group; it has no hot path, because it writes few messages.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from aiorocketmq.client.broker_api import BrokerApi
from aiorocketmq.client.route import DEFAULT_TOPIC_QUEUE_NUMS, RouteService
from aiorocketmq.core.clock import WallClock, epoch_ms
from aiorocketmq.core.route_table import TopicPublishInfo
from aiorocketmq.errors import BrokerError, RemotingError, RocketMQError, RouteError, SendError, broker_not_found
from aiorocketmq.model import properties as props
from aiorocketmq.model.enums import SendStatus
from aiorocketmq.model.names import AUTO_CREATE_TOPIC_KEY, CLIENT_INNER_PRODUCER_GROUP, is_retry_topic
from aiorocketmq.model.parsing import INT32_MAX, number_or_none
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import SendMessageRequestHeaderV2, SendMessageResponseHeader

TRIES: Final = 3
SEND_TIMEOUT: Final = 3.0
FIRST_PATIENT: Final = 412
"""V5_0_0_SNAPSHOT: brokers before it bury a retried message that comes with as many tries as allowed, later ones with more than these."""


class InnerProducer:
    """Sends a message that is already complete: its properties are taken as they are.

    Args:
        api: Sends it.
        routes: Finds the queues.
        unit_mode: The configuration's unit mode.
        wall_clock: Tells the born time.
        group: The group that brokers know it by.
    """

    def __init__(
        self,
        api: BrokerApi,
        routes: RouteService,
        *,
        unit_mode: bool = False,
        wall_clock: WallClock = time.time,
        group: str = CLIENT_INNER_PRODUCER_GROUP,
    ) -> None:
        self.group: Final = group
        self._api = api
        self._routes = routes
        self._unit_mode = unit_mode
        self._clock = wall_clock
        self._topics: set[str] = set()

    def publish_topics(self) -> frozenset[str]:
        """The topics sent to so far."""
        return frozenset(self._topics)

    def on_route_changed(self, topic: str, publish: TopicPublishInfo) -> None:
        """Nothing to do: the route is looked up at each send."""

    async def send(
        self,
        topic: str,
        body: bytes,
        properties: Mapping[str, str],
        *,
        flag: int = 0,
        sys_flag: int = 0,
        reply: bool = False,
        timeout: float = SEND_TIMEOUT,
    ) -> SendResult:
        """Send one message; a failed try goes on with another broker, three tries within one deadline.

        Args:
            topic: Topic name.
            body: The stored form of the body; compressed when `sys_flag` says so.
            properties: All properties, reserved ones included.
            flag: The sender's own number.
            sys_flag: Bits of the wire.
            reply: It is the reply to a request, which the broker hands to the client that waits for it.
            timeout: Seconds for all tries.

        Raises:
            RouteError: The topic has no route.
            SendError: No try worked; `maybe_stored` tells whether the message may have been stored.

        Cancelling it leaves open whether the message is stored.
        """
        self._topics.add(topic)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        attempts: list[str] = []
        maybe_stored = False
        last_broker: str | None = None
        error: RocketMQError | None = None
        while len(attempts) < TRIES and (remaining := deadline - loop.time()) > 0:
            publish = await self._routes.publish_info_or_fetch(topic, timeout=remaining)
            queue = publish.select(last_broker)
            last_broker = queue.broker_name
            started = loop.time()
            try:
                address = self._address(queue)
                header = self._header(queue, address, properties, flag, sys_flag)
                response = await self._api.send_message(address, header, body, reply=reply, timeout=deadline - loop.time())
                return _result(queue, properties, response)
            except (RemotingError, BrokerError, RouteError) as failure:
                error = failure
                maybe_stored = maybe_stored or (isinstance(failure, RemotingError) and failure.maybe_sent)
                attempts.append(f"{queue.broker_name}: {failure} ({loop.time() - started:.3f} s)")
                self._routes.refresh_soon(topic)
        raise SendError(
            f"the message was not sent to topic {topic!r} in {len(attempts)} tries: {attempts[-1] if attempts else 'no time left'}",
            topic=topic,
            attempts=tuple(attempts),
            maybe_stored=maybe_stored,
            code=error.code if isinstance(error, BrokerError) else None,
            broker=last_broker or "",
            cause=error,
        ) from None

    def _address(self, queue: MessageQueue) -> str:
        address = self._routes.broker_addrs.master(queue.broker_name)
        if address is None:
            raise broker_not_found(queue.broker_name, topic=queue.topic, master=True)
        return address

    def _header(
        self, queue: MessageQueue, address: str, properties: Mapping[str, str], flag: int, sys_flag: int
    ) -> SendMessageRequestHeaderV2:
        kept = dict(properties)
        reconsume_times = max_reconsume_times = None
        if is_retry_topic(queue.topic):
            # Brokers read the two counts of a retried message from the header, and store its properties as they come.
            reconsume_times = _number(kept.pop(props.RECONSUME_TIME, None)) or 0
            max_reconsume_times = _number(kept.pop(props.MAX_RECONSUME_TIMES, None))
            if max_reconsume_times is not None and 0 < self._routes.broker_addrs.version(queue.broker_name, address) < FIRST_PATIENT:
                max_reconsume_times = min(max_reconsume_times + 1, INT32_MAX)
        return SendMessageRequestHeaderV2(
            producer_group=self.group,
            topic=queue.topic,
            default_topic=AUTO_CREATE_TOPIC_KEY,
            default_topic_queue_nums=DEFAULT_TOPIC_QUEUE_NUMS,
            queue_id=queue.queue_id,
            sys_flag=sys_flag,
            born_timestamp=epoch_ms(self._clock),
            flag=flag,
            properties=props.encode_properties(kept),
            reconsume_times=reconsume_times or 0,
            unit_mode=self._unit_mode,
            max_reconsume_times=max_reconsume_times,
            batch=False,
            broker_name=queue.broker_name,
        )


def _number(text: str | None) -> int | None:
    return number_or_none(text, 0, INT32_MAX) if text is not None else None


def _result(queue: MessageQueue, properties: Mapping[str, str], response: RemotingCommand) -> SendResult:
    header = SendMessageResponseHeader.from_ext(response.ext_fields)
    return SendResult(
        status=SendStatus(response.code),
        message_id=properties.get(props.UNIQ_KEY, header.msg_id),
        offset_message_id=header.msg_id,
        queue=MessageQueue(queue.topic, queue.broker_name, header.queue_id),
        queue_offset=header.queue_offset,
        transaction_id=header.transaction_id,
        region_id=header.region_id,
    )
