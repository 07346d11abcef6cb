"""The consumers: they join groups, own queues, pull messages and bring them to listeners, or to whoever asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiorocketmq.consumer.lite_pull import LitePullConsumer
    from aiorocketmq.consumer.offset_store import LocalFileOffsetStore, OffsetStore, ReadOffset, RemoteBrokerOffsetStore
    from aiorocketmq.consumer.pop import PopConsumer
    from aiorocketmq.consumer.pull import PullConsumer
    from aiorocketmq.consumer.push import PushConsumer

__all__ = [
    "LitePullConsumer",
    "LocalFileOffsetStore",
    "OffsetStore",
    "PopConsumer",
    "PullConsumer",
    "PushConsumer",
    "ReadOffset",
    "RemoteBrokerOffsetStore",
]

if not TYPE_CHECKING:  # a checker takes the imports above

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from aiorocketmq.names import find  # each kind of consumer is imported when it is asked for

        home = {"LitePullConsumer": "lite_pull", "PopConsumer": "pop", "PullConsumer": "pull", "PushConsumer": "push"}.get(
            name, "offset_store"
        )
        value = globals()[name] = find(__name__, name, f"consumer.{home}")
        return value
