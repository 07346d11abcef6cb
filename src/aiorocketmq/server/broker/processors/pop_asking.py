"""What all requests about pops have in common: who may, which queues, where to begin, how long to wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from aiorocketmq.errors import BrokerError, ConfigError, ProtocolError, broker_error
from aiorocketmq.model import names
from aiorocketmq.model.enums import ExpressionType, Permission
from aiorocketmq.model.sql92 import Condition
from aiorocketmq.protocol.bodies import TopicConfig
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_pop import (
    NotificationRequestHeader,
    PeekMessageRequestHeader,
    PollingInfoRequestHeader,
    PopMessageRequestHeader,
    PopMessageResponseHeader,
)
from aiorocketmq.server.broker.long_polling import ParkedPull
from aiorocketmq.server.broker.metadata import missing_group
from aiorocketmq.server.broker.pop_waiting import PopWaiting
from aiorocketmq.server.broker.reading import subscription_of
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Plain

MAX_MESSAGES: Final = 32
MOST_BYTES: Final = 4 * 1024 * 1024
"""Bytes of messages from several queues beyond which one request gets no more; each queue gives 256 KiB at most, or one larger message."""
NOTHING_TAKEN: Final = PopMessageResponseHeader(0, 0, 0, 0).to_ext()
"""Fields of a failure: those of the answer, without values."""
_MANY_QUEUES: Final = 1024
"""Queues that one request looks at, at most."""
_EARLY_MS: Final = 50
"""So long before its client stops waiting a request is answered."""
_READ: Final = int(Permission.READ)

Popped = Plain[PopMessageRequestHeader]
Watched = Plain[NotificationRequestHeader]
Asked = Popped | Watched | Plain[PeekMessageRequestHeader] | Plain[PollingInfoRequestHeader]
Waits = PopMessageRequestHeader | NotificationRequestHeader


def check_readable(state: BrokerState, what: str) -> None:
    """Do nothing when the broker may be read.

    Raises:
        BrokerError: Code 16.
    """
    if not state.readable:
        raise broker_error(ResponseCode.NO_PERMISSION, f"the broker[{state.ip}] {what} is forbidden")


def checked_topic(state: BrokerState, request: Asked) -> TopicConfig:
    """The topic, when the group may read it; the checks are in a real broker's order.

    Raises:
        BrokerError: The topic, the queue or the group does not exist, or may not be read.
    """
    header = request.header
    topic = state.topics.require_standing(header.topic)
    if not topic.perm & _READ:
        raise broker_error(ResponseCode.NO_PERMISSION, f"the topic[{header.topic}] peeking message is forbidden", topic=header.topic)
    if header.queue_id >= topic.read_queue_nums:
        raise broker_error(
            ResponseCode.INVALID_PARAMETER,
            f"queueId[{header.queue_id}] is illegal, topic:[{header.topic}] topicConfig.readQueueNums:[{topic.read_queue_nums}] "
            f"consumer:[/{request.session.address}]",
            topic=header.topic,
        )
    group = state.groups.find(header.consumer_group)
    if group is None:
        raise missing_group(header.consumer_group)
    if not group.consume_enable:
        raise broker_error(ResponseCode.NO_PERMISSION, f"subscription group no permission, {header.consumer_group}")
    return topic


def filter_in(state: BrokerState, header: Waits) -> tuple[frozenset[int], Condition | None]:
    """The filter that a request brings: hash codes of tags, and what properties have to fulfil.

    Raises:
        BrokerError: Code 23, it cannot be read.
    """
    if not header.exp:
        return frozenset(), None
    try:
        subscription = subscription_of(header.topic, header.exp, header.exp_type or ExpressionType.TAG)
        return subscription.codes, state.filters.condition(subscription)
    except ConfigError as error:
        wrong = error.message
    except BrokerError as error:
        wrong = error.remark
    text = f"parse the consumer's subscription failed: {wrong}"
    raise broker_error(ResponseCode.SUBSCRIPTION_PARSE_FAILED, text, topic=header.topic)


def queues(
    state: BrokerState, topic: TopicConfig, group: str, queue_id: int, choose: Callable[[int], int], *, ordered: bool = False
) -> Iterator[tuple[str, int]]:
    """The queues to look at, in their order: the group's retry topic for this one before it now and then, else after it."""
    config = state.config
    chance = choose(100)
    asked = topic.topic_name
    # With the newer form the older one is emptied besides.
    retry = names.pop_retry_topic(group, asked, v2=config.pop_retry_v2 and chance % 2 == 1)
    first = chance < config.pop_retry_first
    if first and not ordered:
        yield from _all_of(state, _standing(state, retry), chance, choose)
    if queue_id < 0:
        yield from _all_of(state, topic, chance, choose)
    else:
        yield asked, queue_id
    if not first and not ordered:
        yield from _all_of(state, _standing(state, retry), chance, choose)


def _standing(state: BrokerState, topic: str) -> TopicConfig | None:
    """A topic that is there, and not just being deleted: what was taken out of it then would be left behind."""
    return state.topics.standing(topic) if topic in state.topics else None


def _all_of(state: BrokerState, topic: TopicConfig | None, chance: int, choose: Callable[[int], int]) -> Iterator[tuple[str, int]]:
    count = topic.read_queue_nums if topic is not None else 0
    if topic is None or not count:
        return
    name, left = topic.topic_name, _MANY_QUEUES
    start = chance if count <= _MANY_QUEUES else choose(count)
    for number in range(count):
        queue_id = (start + number) % count
        if count > _MANY_QUEUES and state.store.queue(name, queue_id) is None:
            continue  # of so many queues those are passed over in which nothing was ever stored
        yield name, queue_id
        left -= 1
        if not left:
            return


def next_offset(state: BrokerState, topic: str, group: str, queue_id: int) -> int:
    """Where the group goes on in a queue; -1 when it has never been there."""
    following = state.taken.following((topic, group, queue_id))
    return state.offsets.query(group, topic, queue_id) if following is None else following


def go_on_at(state: BrokerState, topic: str, group: str, queue_id: int, offset: int) -> None:
    """The group goes on at an offset, with the commit of this tick; a reset that is pending wins."""
    if state.offsets.commit(group, topic, queue_id, offset):
        state.taken.leave_at((topic, group, queue_id), offset)


def time_left(header: Waits, now: int) -> float | None:
    """Seconds that a request may wait; None when it may not, or not any more."""
    left = header.born_time + header.poll_time - _EARLY_MS - now
    return min(left, header.poll_time) / 1000 if header.poll_time > 0 and left >= 0 else None


def park(waiting: PopWaiting, request: Popped | Watched, parked: ParkedPull) -> bool:
    """Let a request wait; False when too many do."""
    header = request.header
    return waiting.park(header.topic, header.consumer_group, header.queue_id, parked)


def answer_again(state: BrokerState, request: Popped | Watched, answer: Callable[[], RemotingCommand | None]) -> None:
    """A request that waited is handled once more, as one unit of work."""
    store = state.store
    if store.closed:
        return
    store.begin()
    try:
        response = answer()
    except (BrokerError, ProtocolError) as error:
        store.revoke()
        response = request.failure(error)
    finally:
        store.end()
    if response is not None:
        request.reply(response)
