"""What a producer tells of itself when it is asked how it is. Feature U2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiorocketmq.client.examine import FAILED_WITHIN, Own

if TYPE_CHECKING:
    from aiorocketmq.producer.dispatcher import SendDispatcher


def own_health(dispatcher: SendDispatcher) -> Own:
    """See `Watched._own_health`."""
    past_the_loop = list(dispatcher.beside)
    avoidance = dispatcher.avoidance
    return Own(
        topics=tuple(dispatcher.publish_topics()),
        avoided=avoidance.avoided() if avoidance is not None else (),
        records=avoidance.records if avoidance is not None else (),
        sends_failed=dispatcher.failures.count(FAILED_WITHIN),
        send_failed_at=dispatcher.failures.last_at,
        send_error=dispatcher.failures.last,
        in_flight=dispatcher.window.messages + len(past_the_loop),
        in_flight_bytes=dispatcher.window.bytes + sum(operation.size for operation in past_the_loop),
    )
