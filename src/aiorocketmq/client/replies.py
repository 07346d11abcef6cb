"""Replies to requests: who waits for one, how it arrives, and what one is made of (Java: `RequestFutureHolder`, `MessageUtil`, part of
`ClientRemotingProcessor`). Features D4, D5, D7, D8, N7.

A request is a message with three properties more: what its reply is to be called, who waits for it, and for how long. The reply is a
message for the reply topic of the cluster, which the broker stores and hands to the client that waits, by the connection that its
heartbeats come from.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from aiorocketmq.client.inner_producer import InnerProducer
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.core.clock import epoch_ms
from aiorocketmq.errors import InvalidMessageError, ReplyTimeoutError
from aiorocketmq.model import properties as props
from aiorocketmq.model.message import Message
from aiorocketmq.model.parsing import address_or_none, number_or_none
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import SendResult
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.compression import DEFAULT_THRESHOLD, ZLIB_FLAGS, compress, inflater
from aiorocketmq.protocol.headers_client import ReplyMessageRequestHeader
from aiorocketmq.wording import shown

REPLY: Final = "reply"
"""Value of `MSG_TYPE` by which brokers and clients know a reply."""

logger = logging.getLogger("aiorocketmq.client")


class ReplyTable:
    """The requests of one instance that wait for their replies.

    Args:
        max_body: Bytes that a compressed reply may take at most once it is decompressed.
    """

    def __init__(self, max_body: int) -> None:
        self._inflate = inflater(max_body)
        self._waiting: dict[str, asyncio.Future[ReceivedMessage]] = {}
        self._log = StateLog(logger)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def expect(self, correlation_id: str, reply: asyncio.Future[ReceivedMessage]) -> None:
        """Have the reply of this id given to a future; until `forget()`."""
        self._waiting[correlation_id] = reply

    def forget(self, correlation_id: str) -> None:
        """Expect it no more."""
        self._waiting.pop(correlation_id, None)

    def take(self, request: RemotingCommand, address: str) -> None:
        """A broker hands a reply over.

        Raises:
            ProtocolError: Its header cannot be read.
        """
        header = ReplyMessageRequestHeader.from_ext(request.ext_fields)
        reply = _message(header, request.body, self._inflate)
        correlation_id = reply.properties.get(props.CORRELATION_ID, "")
        waiting = self._waiting.pop(correlation_id, None)
        if waiting is None or waiting.done():
            text = "a reply from %s to the request %s came too late, or twice: nobody waits for it, it is dropped"
            self._log.note(logging.WARNING, "late reply", text, address, correlation_id)
            return
        waiting.set_result(reply)


def _message(header: ReplyMessageRequestHeader, body: bytes, inflate: Callable[[bytes, int], bytes]) -> ReceivedMessage:
    properties = props.decode_properties(header.properties or "")
    properties[props.ARRIVE_TIME] = str(epoch_ms(time.time))
    broker = properties.get(props.CLUSTER, "")
    return ReceivedMessage(
        header.topic,
        body,
        props.encode_properties(properties).encode("utf-8", "surrogateescape"),
        MessageQueue(header.topic, broker, header.queue_id),
        0,
        0,
        header.flag,
        header.sys_flag,
        header.born_timestamp,
        *_host(header.born_host),
        header.store_timestamp,
        *_host(header.store_host),
        header.reconsume_times or 0,
        0,
        len(body),
        0,
        inflate,
    )


@lru_cache(maxsize=256)
def _host(text: str | None) -> tuple[bytes, int]:
    """IP address and port of a host as brokers write it, `ip:port` with or without a slash before it; zeros for anything else.

    Every reply names two of a few: who has asked or answered, and a broker.
    """
    address = address_or_none((text or "").rpartition("/")[2])
    try:
        return (ip_address(address.host).packed, address.port) if address is not None else (bytes(4), 0)
    except ValueError:
        return bytes(4), address.port if address is not None else 0


def request_properties(correlation_id: str, client_id: str, ttl_ms: int) -> str:
    """The three properties of a request, as text of the wire."""
    return f"{props.CORRELATION_ID}\x01{correlation_id}\x02{props.REPLY_TO_CLIENT}\x01{client_id}\x02{props.TTL}\x01{ttl_ms}\x02"


def reply_topic(cluster: str) -> str:
    """Topic of the replies in a cluster."""
    return f"{cluster}_REPLY_TOPIC"


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as it goes to the broker.

    Attributes:
        topic: The reply topic of the cluster where the request is stored.
        body: Its body, compressed when `sys_flag` says so.
        properties: All its properties.
        flag: The sender's number.
        sys_flag: Bits of the wire.
    """

    topic: str
    body: bytes
    properties: dict[str, str]
    flag: int
    sys_flag: int


def is_request(message: ReceivedMessage) -> bool:
    """True when the sender of a message waits for a reply."""
    return props.CORRELATION_ID in message.properties and props.REPLY_TO_CLIENT in message.properties


def expired(request: ReceivedMessage, now_ms: int) -> bool:
    """True when the sender of a request waits no more, as far as the clocks of both machines agree."""
    ttl = number_or_none(request.properties.get(props.TTL, ""), 0)
    return ttl is not None and now_ms > request.born_timestamp + ttl


def reply_to(request: ReceivedMessage, answer: bytes | Message) -> Reply:
    """Make the reply to a request.

    Args:
        request: The request, as a consumer got it.
        answer: Its body; or a message, whose topic does not matter.

    Raises:
        InvalidMessageError: The message is no request, or does not say in which cluster it is stored; or the answer cannot be sent.
    """
    if not isinstance(request, ReceivedMessage):
        raise InvalidMessageError(f"{shown(request)} is no ReceivedMessage", hint="reply to the request that the consumer gave you")
    known = request.properties
    if not is_request(request):
        raise InvalidMessageError(
            f"message {request.message_id!r} of topic {request.topic!r} is no request: nobody waits for a reply",
            hint="reply to messages that were sent by request()",
        )
    cluster = known.get(props.CLUSTER)
    if not cluster:
        raise InvalidMessageError(
            f"request {request.message_id!r} of topic {request.topic!r} has no property {props.CLUSTER}, which brokers add to each",
            hint="reply to the message that the consumer gave you, unchanged; brokers before 4.6 have no requests",
        )
    topic = reply_topic(cluster)
    message = answer.replace(topic=topic) if isinstance(answer, Message) else Message(topic, answer)
    if message.delayed:
        raise InvalidMessageError("a reply with a delay makes no sense: whoever waits would not get it", hint="leave the delay out")
    properties = message.wire_properties()
    for name in (props.CORRELATION_ID, props.REPLY_TO_CLIENT, props.TTL):
        if name in known:
            properties[name] = known[name]
    properties[props.MSG_TYPE] = REPLY
    body, sys_flag = message.body, 0
    if len(body) >= DEFAULT_THRESHOLD and len(packed := compress(body)) < len(body):
        body, sys_flag = packed, int(ZLIB_FLAGS)
    return Reply(topic, body, properties, message.flag, sys_flag)


async def send_reply(producer: InnerProducer, request: ReceivedMessage, answer: bytes | Message, timeout: float) -> SendResult:
    """Hand a reply to the client that waits for it.

    Args:
        producer: Sends it.
        request: The request, as a consumer got it.
        answer: As of `reply_to()`.
        timeout: Seconds for all tries.

    Raises:
        InvalidMessageError: As of `reply_to()`.
        RouteError, SendError: It could not be handed over.
    """
    reply = reply_to(request, answer)
    return await producer.send(
        reply.topic, reply.body, reply.properties, flag=reply.flag, sys_flag=reply.sys_flag, reply=True, timeout=timeout
    )


def no_reply(topic: str, correlation_id: str, seconds: float, message_id: str, where: str) -> ReplyTimeoutError:
    """The error of a request that nobody has replied to.

    Args:
        topic: Topic of the request.
        correlation_id: Its id.
        seconds: How long it waited.
        message_id: Id of its message.
        where: Where the message is stored.
    """
    return ReplyTimeoutError(
        f"no reply to the request {correlation_id} for topic {topic!r} within {seconds:.3f} s; {where}",
        topic=topic,
        correlation_id=correlation_id,
        message_id=message_id,
        hint="check that a consumer of the topic replies, and in time; it may have carried the request out, or may do so yet",
    )
