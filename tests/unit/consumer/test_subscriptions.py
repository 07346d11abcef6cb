"""What a consumer listens to."""

from __future__ import annotations

import pytest

from aiorocketmq.consumer.listener import Listener
from aiorocketmq.consumer.subscriptions import Subscriptions
from aiorocketmq.errors import ListenerError


def listener(topic: str) -> Listener:
    return Listener(topic, lambda message: None)


@pytest.mark.feature("F21")
def test_another_form_of_a_subscription_is_newer_even_within_one_millisecond() -> None:
    it = Subscriptions("g", with_retry_topic=True)
    first = it.add(listener("t"), "*", 7)
    second = it.add(listener("t"), "A", 7)
    assert second.version > first.version


@pytest.mark.feature("F21")
def test_retry_topic_can_neither_be_added_nor_removed() -> None:
    it = Subscriptions("g", with_retry_topic=True)
    it.add(listener("t"), "*", 7)
    with pytest.raises(ListenerError, match="by itself"):
        it.add(listener("%RETRY%g"), "*", 7)
    with pytest.raises(ListenerError, match="by itself"):
        it.remove("%RETRY%g")
    assert set(it.topics) == {"t", "%RETRY%g"}
