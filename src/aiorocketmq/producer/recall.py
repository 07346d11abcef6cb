"""Takes back a message whose time has not come yet (Java: `DefaultMQProducerImpl.recallMessage`). Feature A19."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.life import ClientLife
from aiorocketmq.client.watched import Watched
from aiorocketmq.errors import (
    BrokerError,
    ConfigError,
    NoPermissionError,
    NotSupportedByBrokerError,
    RemotingError,
    RouteError,
    UnsupportedRequestError,
    broker_not_found,
)
from aiorocketmq.model.checks import duration
from aiorocketmq.model.names import check_topic, is_dlq_topic, is_retry_topic
from aiorocketmq.producer.settings import ProducerSettings
from aiorocketmq.protocol.codes import RequestCode, ResponseCode, version_name
from aiorocketmq.protocol.headers_client import RecallMessageRequestHeader, RecallMessageResponseHeader

FIRST_WITH_RECALL: Final = 477
"""V5_3_2: the first version of brokers that take messages back."""
_HINTS: Final = {
    int(ResponseCode.NO_PERMISSION): "set recallMessageEnable=true on the broker; it is false by default",
    int(ResponseCode.ILLEGAL_OPERATION): "it was delivered already, is about to be, or the handle belongs to another topic or broker",
}


class Recalls(Watched):
    """The part of a producer that takes messages back."""

    _life: ClientLife
    _settings: ProducerSettings

    async def recall(self, topic: str, handle: str, *, timeout: float | timedelta | None = None) -> str:
        """Take a message back that was sent with `delay=` or `deliver_at=`, before it is delivered.

        Args:
            topic: Its topic.
            handle: `SendResult.recall_handle` of its send.
            timeout: Seconds for the answer; None takes `send_msg_timeout`.

        Returns:
            The message's id. The broker answers so for a message that was taken back already, too.

        Raises:
            ConfigError: The handle is none, or belongs to another topic; nothing was asked.
            InvalidNameError: The topic is not legal.
            NotSupportedByBrokerError: The broker is older than 5.3.2; nothing was asked.
            BrokerError: It is too late (code 604).
            NoPermissionError: The broker does not take messages back: `recallMessageEnable` is false there by default.
            RouteError, RemotingError: The broker cannot be reached, or does not answer.
            ClientStateError: The producer is not running.

        Cancelling it leaves open whether the message is taken back.
        """
        instance = self._life.running()
        patience = self._settings.send_msg_timeout if timeout is None else duration("timeout", timeout)
        try:
            message_id = await _recall(instance, self._settings.group, topic, handle, patience)
        except (BrokerError, RemotingError, RouteError):
            self._recalled(topic, handle, success=False)
            raise
        self._recalled(topic, handle, success=True)
        return message_id

    def _recalled(self, topic: str, handle: str, *, success: bool) -> None:
        """A broker was asked."""


async def _recall(instance: ClientInstance, group: str, topic: str, handle: str, timeout: float) -> str:
    check_topic(topic)
    if is_retry_topic(topic) or is_dlq_topic(topic):
        raise ConfigError(
            f"messages of topic {topic!r} cannot be taken back", hint="only messages that producers have sent for later can be"
        )
    from aiorocketmq.model.recall import RecallHandle  # few programs need it

    known = RecallHandle.decode(handle)
    holder = instance.config.names.unwrap(known.topic)
    if holder != instance.config.names.unwrap(topic):
        raise ConfigError(f"the recall handle belongs to topic {holder!r}, not to {topic!r}", hint="give the topic of the send")
    name = known.broker_name
    address = instance.find_broker_address_in_publish(name)
    if address is None:
        await instance.routes.update(topic)
        address = instance.find_broker_address_in_publish(name)
    if address is None:
        raise broker_not_found(name, topic=topic, master=True)
    version = await instance.heartbeat.learn_version(name, address)
    if 0 < version < FIRST_WITH_RECALL:
        raise _unsupported(name, version_name(version))
    header = RecallMessageRequestHeader(topic=topic, recall_handle=handle, producer_group=group, bname=name)
    try:
        answer = await instance.broker_api.call(address, RequestCode.RECALL_MESSAGE, header, timeout=timeout, topic=topic, broker=name)
    except UnsupportedRequestError:
        raise _unsupported(name, version_name(version)) from None
    except BrokerError as error:
        if (hint := _HINTS.get(error.code)) is None:
            raise
        made = NoPermissionError if isinstance(error, NoPermissionError) else BrokerError
        raise made(error.remark, code=error.code, broker=name, topic=topic, hint=hint) from None
    return RecallMessageResponseHeader.from_ext(answer.ext_fields).msg_id


def _unsupported(name: str, version: str) -> NotSupportedByBrokerError:
    return NotSupportedByBrokerError(
        f"broker {name!r} has version {version} and does not take messages back",
        feature="recall of messages for later",
        broker=name,
        broker_version=version,
        hint="use a broker of version 5.3.2 or newer, with recallMessageEnable=true",
    )
