"""Custom headers and bodies of POP consumption: pop, acknowledge, change the invisible time, look (5.x).

Java: the classes of the same names in `org.apache.rocketmq.remoting.protocol.{header,body}`. The codes of these requests do not fit into
binary headers: they travel as JSON always.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from aiorocketmq.protocol.beans import Bean, field, wire
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import Header, TopicHeader
from aiorocketmq.protocol.limits import (
    AnyQueueId,
    Duration,
    Expression,
    Int32,
    Int64,
    Items,
    Name,
    Offset,
    OptionalName,
    QueueId,
    Word,
)


class PopMessageRequestHeader(TopicHeader):
    """Take messages, which are invisible to others until they are acknowledged or their time is over (200050).

    Attributes:
        queue_id: Queue to take from; -1 for all of the topic's.
        max_msg_nums: Messages at most, up to 32.
        invisible_time: Milliseconds for which others do not get them.
        poll_time: Milliseconds to wait while there are none.
        born_time: When the request was made, in milliseconds since the epoch; 0 for now.
        init_mode: Where a group without an offset begins: 0 at the smallest one, 1 at the last message.
        exp_type, exp: Filter; none takes all.
        order: Take in order: a queue is blocked while messages of it are out.
        attempt_id: Names this attempt: asking again with the same one is not blocked by what the first has taken.
    """

    CODE: ClassVar[int | None] = RequestCode.POP_MESSAGE

    consumer_group: Name
    topic: Name
    queue_id: AnyQueueId
    max_msg_nums: Int32
    invisible_time: Int64
    poll_time: Int64
    born_time: Int64
    init_mode: Int32
    exp_type: OptionalName | None = None
    exp: Expression | None = None
    order: bool | None = False
    attempt_id: Word | None = None


class PopMessageResponseHeader(Header):
    """Answer to 200050: the parts of receipts that all messages share, and what tells the messages' own parts.

    Attributes:
        revive_qid: Queue of the broker's own in which the check point is; 999 for messages taken in order.
        rest_num: Messages that are left.
        start_offset_info: `kind queue start`, joined by `;`; kind is 0 for the topic, 1 and 2 for retry topics of either form.
        msg_offset_info: `kind queue offset,offset,...`, joined by `;`.
        order_count_info: `kind queue count` and `kind qo<queue>%<offset> count`, joined by `;`.
    """

    pop_time: int
    invisible_time: int
    revive_qid: int
    rest_num: int
    start_offset_info: str | None = None
    msg_offset_info: str | None = None
    order_count_info: str | None = None


class AckMessageRequestHeader(TopicHeader):
    """A message was consumed (200051); `topic` is the one that it was taken from, `extra_info` its receipt."""

    CODE: ClassVar[int | None] = RequestCode.ACK_MESSAGE

    consumer_group: Name
    topic: Name
    queue_id: Int32
    extra_info: Word
    offset: Int64
    lite_topic: OptionalName | None = None


class ChangeInvisibleTimeRequestHeader(TopicHeader):
    """Let a message be invisible for `invisible_time` milliseconds from now (200053).

    With `suspend` (5.5) it comes back without having counted as tried.
    """

    CODE: ClassVar[int | None] = RequestCode.CHANGE_MESSAGE_INVISIBLETIME

    consumer_group: Name
    topic: Name
    queue_id: Int32
    extra_info: Word
    offset: Int64
    invisible_time: Int64
    lite_topic: OptionalName | None = None
    suspend: bool | None = None


class ChangeInvisibleTimeResponseHeader(Header):
    """Answer to 200053: the parts of the message's new receipt; absent where nothing was changed."""

    pop_time: int = 0
    invisible_time: int = 0
    revive_qid: int = 0


class PeekMessageRequestHeader(TopicHeader):
    """Read what a pop would give, without taking it (200052)."""

    CODE: ClassVar[int | None] = RequestCode.PEEK_MESSAGE

    topic: Name
    queue_id: AnyQueueId
    max_msg_nums: Int32
    consumer_group: Name


class NotificationRequestHeader(TopicHeader):
    """Be told when there is something to take (200054); the fields are those of a pop."""

    CODE: ClassVar[int | None] = RequestCode.NOTIFICATION

    consumer_group: Name
    topic: Name
    queue_id: AnyQueueId
    poll_time: Int64
    born_time: Int64
    order: bool | None = False
    attempt_id: Word | None = None
    exp_type: OptionalName | None = None
    exp: Expression | None = None


class NotificationResponseHeader(Header):
    """Answer to 200054; `polling_full`: too many wait already."""

    has_msg: bool = False
    polling_full: bool = False


class PollingInfoRequestHeader(TopicHeader):
    """Ask how many pops of a group wait (200055)."""

    CODE: ClassVar[int | None] = RequestCode.POLLING_INFO

    consumer_group: Name
    topic: Name
    queue_id: AnyQueueId


class PollingInfoResponseHeader(Header):
    """Answer to 200055."""

    polling_num: int


class BatchAck(Bean):
    """Messages of one check point.

    Attributes:
        topic: The one that was asked for, also for messages of its retry topics; `retry` tells these apart: `0`, `1` or `2`.
        bit_set: Base64 of the bits, lowest first, of `start_offset`, the offset after it, and so on.
    """

    consumer_group: Name = wire("c")
    topic: Name = wire("t")
    retry: OptionalName = wire("r")
    start_offset: Offset = wire("so")
    queue_id: QueueId = wire("q")
    revive_queue_id: Int32 = wire("rq")
    pop_time: Int64 = wire("pt")
    invisible_time: Duration = wire("it")
    bit_set: Word = wire("b")


class BatchAckMessageRequestBody(Bean):
    """Messages of several check points were consumed (200151)."""

    broker_name: OptionalName = ""
    acks: Annotated[list[BatchAck], Items(4096)] = field(default_factory=list)
