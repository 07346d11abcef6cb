"""Answers what brokers ask of this client (Java: `ClientRemotingProcessor`). Features C3, F37, F39, F41, N1-N7.

Codes without a processor are answered by the remoting layer with code 3.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiorocketmq.client.ports import ConsumerPort, TakeCheck, TransactionCheck
from aiorocketmq.client.rebalance import RebalanceService
from aiorocketmq.client.replies import ReplyTable
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.config import ClientConfig
from aiorocketmq.model import properties as props
from aiorocketmq.model.namespace import Namespace
from aiorocketmq.protocol.bodies_client import ConsumerRunningInfo, GetConsumerStatusBody, ResetOffsetBody
from aiorocketmq.protocol.codes import CURRENT_VERSION, RequestCode, ResponseCode, version_name
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import (
    CheckTransactionStateRequestHeader,
    ConsumeMessageDirectlyResultRequestHeader,
    GetConsumerRunningInfoRequestHeader,
    GetConsumerStatusRequestHeader,
    NotifyConsumerIdsChangedRequestHeader,
    ResetOffsetRequestHeader,
)
from aiorocketmq.protocol.message_codec import decode_message
from aiorocketmq.remoting.client import RemotingClient

if TYPE_CHECKING:
    from aiorocketmq.remoting.channel import Channel

logger = logging.getLogger("aiorocketmq.client")


class ClientProcessor:
    """The answers of one instance.

    Args:
        remoting: Hands the requests over.
        rebalance: Woken when the members of a group change.
        find_consumer: The registered consumer of a group, or None.
        replies: Who waits for replies.
        find_checks: What takes the checks of a producer group's transactions, or None.
        config: Bytes of the largest body accepted after decompression; the namespace.
    """

    def __init__(
        self,
        remoting: RemotingClient,
        rebalance: RebalanceService,
        find_consumer: Callable[[str], ConsumerPort | None],
        replies: ReplyTable,
        find_checks: Callable[[str], TakeCheck | None],
        config: ClientConfig,
    ) -> None:
        self._remoting = remoting
        self._rebalance = rebalance
        self._find_consumer = find_consumer
        self._replies = replies
        self._find_checks = find_checks
        self._max_body = config.max_decompressed_length
        self._names = config.names
        self._log = StateLog(logger)

    def register(self) -> None:
        """Hand the answers to the remoting client."""
        self._remoting.register_processor(RequestCode.CHECK_TRANSACTION_STATE, self.check_transaction_state)
        self._remoting.register_processor(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, self.notify_consumer_ids_changed)
        self._remoting.register_processor(RequestCode.RESET_CONSUMER_CLIENT_OFFSET, self.reset_offsets)
        self._remoting.register_processor(RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT, self.consumer_status)
        self._remoting.register_processor(RequestCode.CONSUME_MESSAGE_DIRECTLY, self.consume_directly)
        self._remoting.register_processor(RequestCode.GET_CONSUMER_RUNNING_INFO, self.consumer_running_info)
        self._remoting.register_processor(RequestCode.PUSH_REPLY_MESSAGE_TO_CLIENT, self.reply_message)

    def check_transaction_state(self, request: RemotingCommand, channel: Channel) -> None:
        """39: a broker asks how a transaction has ended. One-way: the answer is a request of its own (37)."""
        header = CheckTransactionStateRequestHeader.from_ext(request.ext_fields)
        message = decode_message(request.body, broker_name=header.bname or "", max_body=self._max_body)
        self._names.unwrap_messages((message,))
        group = self._names.unwrap(message.properties.get(props.PRODUCER_GROUP, ""))
        take = self._find_checks(group)
        if take is None:
            text = "broker %s asks about a transaction of group %s, which has no transaction producer on this client"
            self._log.note(logging.WARNING, f"check {group}", text, channel.address, group)
            return
        take(TransactionCheck(channel.address, header, message))

    def notify_consumer_ids_changed(self, request: RemotingCommand, channel: Channel) -> None:
        """40: the members of a group changed; rebalance at once. One-way."""
        header = NotifyConsumerIdsChangedRequestHeader.from_ext(request.ext_fields)
        text = "broker %s says that the members of group %s changed: rebalancing"
        group = self._names.unwrap(header.consumer_group)
        self._log.note(logging.INFO, group, text, channel.address, group)
        self._rebalance.wake()

    def reset_offsets(self, request: RemotingCommand, channel: Channel) -> None:
        """220: an operator wants the group to go on elsewhere with the queues of a topic. One-way."""
        header = ResetOffsetRequestHeader.from_ext(request.ext_fields)
        group, topic = self._names.unwrap(header.group), self._names.unwrap(header.topic)
        table = ResetOffsetBody.decode(request.body).offset_table if request.body else {}
        offsets = {self._names.unwrap_queue(queue): offset for queue, offset in table.items() if offset >= 0}
        offsets = {queue: offset for queue, offset in offsets.items() if queue.topic == topic}
        consumer = self._find_consumer(group)
        if consumer is None:
            logger.warning("broker %s resets offsets of group %s, which is not on this client", channel.address, group)
            return
        logger.info("broker %s resets the offsets of group %s for %d queues of topic %s", channel.address, group, len(offsets), topic)
        consumer.reset_offsets(offsets)

    def consumer_running_info(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        """307: the inner state of a consumer, for `mqadmin consumerStatus`."""
        header = GetConsumerRunningInfoRequestHeader.from_ext(request.ext_fields)
        consumer = self._find_consumer(self._names.unwrap(header.consumer_group))
        if consumer is None:
            return self._not_here(request, header.consumer_group)
        info = consumer.running_info(bool(header.jstack_enable))
        info.properties["PROP_NAMESERVER_ADDR"] = "".join(f"{address};" for address in sorted(self._remoting.name_servers))
        info.properties["PROP_CONSUME_TYPE"] = consumer.consume_type.value
        info.properties["PROP_CLIENT_VERSION"] = version_name(CURRENT_VERSION)
        return RemotingCommand.response(request, body=_as_brokers_know_it(info, self._names).encode())

    def consumer_status(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        """221: what a consumer has consumed of a topic, for `mqadmin getConsumerStatus`; nothing where the group is not here."""
        header = GetConsumerStatusRequestHeader.from_ext(request.ext_fields)
        consumer = self._find_consumer(self._names.unwrap(header.group))
        offsets = consumer.offsets(self._names.unwrap(header.topic)) if consumer is not None else {}
        body = GetConsumerStatusBody({self._names.wrap_queue(queue): offset for queue, offset in offsets.items()})
        return RemotingCommand.response(request, body=body.encode())

    async def consume_directly(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        """309: an operator hands one stored message to a listener, and gets to know what became of it."""
        header = ConsumeMessageDirectlyResultRequestHeader.from_ext(request.ext_fields)
        consumer = self._find_consumer(self._names.unwrap(header.consumer_group))
        if consumer is None:
            return self._not_here(request, header.consumer_group)
        message = decode_message(request.body, broker_name=header.broker_name or "", max_body=self._max_body)
        self._names.unwrap_messages((message,))
        text = "broker %s hands %r to group %s"
        logger.info(text, channel.address, message, consumer.group)
        consumed = consumer.consume_directly(message)
        if consumed is None:
            text = f"consumer group {header.consumer_group} has no listeners on this client: it asks for its messages"
            return RemotingCommand.response(request, ResponseCode.SYSTEM_ERROR, text)
        return RemotingCommand.response(request, body=(await consumed).encode())

    @staticmethod
    def _not_here(request: RemotingCommand, group: str) -> RemotingCommand:
        return RemotingCommand.response(request, ResponseCode.SYSTEM_ERROR, f"consumer group {group} is not on this client")

    def reply_message(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        """326: the reply to a request of this client. One that nobody waits for any more is told to the log, and taken all the same."""
        self._replies.take(request, channel.address)
        return RemotingCommand.response(request)


def _as_brokers_know_it(info: ConsumerRunningInfo, names: Namespace) -> ConsumerRunningInfo:
    """The inner state of a consumer with the wire's names, by which tools ask for it."""
    if not names:
        return info
    properties = info.properties | {"consumerGroup": names.wrap(info.properties["consumerGroup"])}
    return info.replace(
        properties=properties,
        subscription_set=[names.wrap_subscription(subscription) for subscription in info.subscription_set],
        mq_table={names.wrap_queue(queue): state for queue, state in info.mq_table.items()},
        status_table={names.wrap(topic): status for topic, status in info.status_table.items()},
    )
