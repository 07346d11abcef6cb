"""What `mqadmin consumerStatus` shows of a consumer (Java: `DefaultMQPushConsumerImpl.consumerRunningInfo`). Features F40, F43, N5."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, Final

from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.listener import name_of
from aiorocketmq.consumer.settings import MIB, ConsumerSettings, LitePullSettings, PopSettings, PushSettings
from aiorocketmq.protocol.bodies_client import ConsumerRunningInfo, ProcessQueueInfo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.config import ClientConfig
    from aiorocketmq.consumer.subscriptions import Subscriptions
    from aiorocketmq.model.queue import MessageQueue


LONGEST_STACKS: Final = 2_000_000
"""Characters of stacks that are told."""
DEEPEST_STACK: Final = 64
NAMED: Final = 8
"""Tasks that are named of those that wait at the same place."""
_FRAMES: Final = ("cr_frame", "gi_frame", "ag_frame")
_AWAITS: Final = ("cr_await", "gi_yieldfrom", "ag_await")


def info_of(
    instance: ClientInstance,
    settings: ConsumerSettings,
    subscriptions: Subscriptions,
    owned: Mapping[MessageQueue, AssignedQueue],
    properties: dict[str, str],
    *,
    made_at: float,
    jstack: bool,
) -> ConsumerRunningInfo:
    """The inner state of a running consumer.

    Args:
        instance: What it runs on.
        settings: Its settings.
        subscriptions: Its subscriptions.
        owned: Its queues.
        properties: What its kind has to say besides what all have.
        made_at: When it was made, seconds since the epoch.
        jstack: Add the stacks of the process.
    """
    stats, group = instance.stats, settings.group
    return ConsumerRunningInfo(
        properties=client_properties(instance.config) | common_properties(settings, made_at=made_at) | properties,
        subscription_set=list(subscriptions.all),
        mq_table={queue: queue_info(assigned, ordered=settings.ordered) for queue, assigned in owned.items()},
        status_table={topic: stats.consume_status(group, topic) for topic in subscriptions.topics},
        user_consumer_info={str(name): str(value) for name, value in settings.user_info.copy().items()},
        jstack=stacks() if jstack else None,
    )


def client_properties(config: ClientConfig) -> dict[str, str]:
    """The settings of the client that a consumer runs on, under the names that Java's tools know; no secrets."""
    return {
        "language": "PYTHON",
        "instanceName": config.instance_name,
        "unitMode": _flag(config.unit_mode),
        "useTLS": _flag(config.tls is not None),
        "vipChannelEnabled": _flag(config.vip_channel_enabled),
        "accessChannel": config.access_channel.name,
        "decodeReadBody": _flag(config.decode_read_body),
        "decodeDecompressBody": _flag(config.decode_decompress_body),
        "pollNameServerInterval": _ms(config.poll_name_server_interval),
        "heartbeatBrokerInterval": _ms(config.heartbeat_broker_interval),
        "persistConsumerOffsetInterval": _ms(config.persist_consumer_offset_interval),
        "pullTimeDelayMillsWhenException": _ms(config.pull_time_delay_when_exception),
        "mqClientApiTimeout": _ms(config.mq_client_api_timeout),
    }


def common_properties(settings: ConsumerSettings, *, made_at: float) -> dict[str, str]:
    """The settings of every consumer that pulls queues, under the names that Java's tools know.

    Args:
        settings: The consumer's settings.
        made_at: When the consumer was made, seconds since the epoch.
    """
    return {
        "consumerGroup": settings.group,
        "messageModel": settings.message_model.value,
        "consumeFromWhere": settings.start_from.value,
        "allocateMessageQueueStrategy": settings.allocate.name,
        "pullBatchSize": str(settings.pull_batch_size),
        "pullBatchSizeInBytes": str(settings.pull_batch_size_in_bytes),
        "pullInterval": _ms(settings.pull_interval),
        "pullThresholdForQueue": str(settings.pull_threshold_for_queue),
        "pullThresholdSizeForQueue": str(max(1, settings.pull_threshold_size_for_queue // MIB)),
        "pullThresholdForTopic": str(settings.pull_threshold_for_topic),
        "pullThresholdSizeForTopic": str(_mib(settings.pull_threshold_size_for_topic)),
        "postSubscriptionWhenPull": _flag(settings.post_subscription_when_pull),
        "offsetStore": _kind(settings.offset_store),
        "messageQueueListener": name_of(settings.message_queue_listener) if settings.message_queue_listener is not None else "",
        "PROP_CONSUMER_START_TIMESTAMP": str(int(made_at * 1000)),
    }


def push_properties(settings: PushSettings, *, workers: int, batch: int) -> dict[str, str]:
    """The settings of a push consumer under the names that Java's tools know.

    Args:
        settings: The consumer's settings.
        workers: Workers now.
        batch: Messages of the largest list that a listener gets.
    """
    low, high = settings.workers
    return {
        "consumeThreadMin": str(low),
        "consumeThreadMax": str(high),
        "consumeMessageBatchMaxSize": str(batch),
        "consumeConcurrentlyMaxSpan": str(settings.consume_concurrently_max_span),
        "maxReconsumeTimes": str(settings.max_reconsume_times),
        "consumeTimeout": str(round(settings.consume_timeout / 60)),
        "suspendCurrentQueueTimeMillis": _ms(settings.suspend_current_queue_time),
        "awaitTerminationMillisWhenShutdown": _ms(settings.await_termination_when_shutdown),
        "enableTrace": _flag(settings.enable_trace),
        "clientRebalance": _flag(settings.client_rebalance),
        "PROP_CONSUMEORDERLY": _flag(settings.ordered),
        "PROP_THREADPOOL_CORE_SIZE": str(workers),
    }


def lite_properties(settings: LitePullSettings) -> dict[str, str]:
    """The settings of a lite pull consumer under the names that Java's tools know."""
    return {
        "autoCommit": _flag(settings.auto_commit),
        "autoCommitIntervalMillis": _ms(settings.auto_commit_interval),
        "pollTimeoutMillis": _ms(settings.poll_timeout),
        "pullThresholdForAll": str(settings.pull_threshold_for_all),
        "consumeMaxSpan": str(settings.consume_max_span),
    }


def pop_properties(settings: PopSettings) -> dict[str, str]:
    """The settings of a POP consumer under the names that Java's tools know."""
    return {"popInvisibleTime": _ms(settings.invisible), "PROP_CONSUMEORDERLY": _flag(settings.ordered)}


def _kind(value: object) -> str:
    return type(value).__name__ if value is not None else ""


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))


def _mib(size: int) -> int:
    return max(1, size // MIB) if size > 0 else size


def queue_info(assigned: AssignedQueue, *, ordered: bool) -> ProcessQueueInfo:
    """The state of one owned queue."""
    messages = assigned.messages
    return ProcessQueueInfo(
        commit_offset=messages.commit_offset if messages.commit_offset >= 0 else messages.consumed,
        cached_msg_min_offset=max(messages.min_offset, 0),
        cached_msg_max_offset=max(messages.max_offset, 0),
        cached_msg_count=messages.count,
        cached_msg_size_in_mib=messages.size // MIB,
        transaction_msg_count=messages.taken,
        locked=ordered and assigned.locked_until > asyncio.get_running_loop().time(),
        last_lock_timestamp=_wall_ms(assigned.locked_at),
        dropped=messages.dropped,
        last_pull_timestamp=_wall_ms(assigned.puller.pulled_at),
        last_consume_timestamp=_wall_ms(assigned.consumed_at),
    )


def stacks() -> str:
    """The stacks of all threads of the process, and of all tasks of this event loop: what each awaits, down to the last one."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = [
        f"thread {names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}" for ident, frame in sys._current_frames().items()
    ]
    alike: dict[str, list[str]] = {}
    for task in asyncio.all_tasks():
        alike.setdefault(_stack_of(task), []).append(task.get_name())
    for stack, tasks in alike.items():
        others = f" and {len(tasks) - NAMED} more" if len(tasks) > NAMED else ""
        parts.append(f"task {', '.join(tasks[:NAMED])}{others}\n{stack}")
    text = "\n\n".join(parts)
    return text if len(text) <= LONGEST_STACKS else f"{text[:LONGEST_STACKS]}\n... {len(text) - LONGEST_STACKS} characters more"


def _stack_of(task: asyncio.Task[Any]) -> str:
    frames: list[tuple[FrameType, int]] = []
    at: Any = task.get_coro()
    while at is not None and len(frames) < DEEPEST_STACK:
        frame = next((frame for name in _FRAMES if (frame := getattr(at, name, None)) is not None), None)
        if frame is None:
            break  # a future, or a coroutine of compiled code
        frames.append((frame, frame.f_lineno))
        at = next((inner for name in _AWAITS if (inner := getattr(at, name, None)) is not None), None)
    return "".join(traceback.StackSummary.extract(iter(frames)).format())


def _wall_ms(loop_time: float) -> int:
    """A time of the event loop's clock as milliseconds since the epoch; 0 stays 0."""
    if not loop_time:
        return 0
    return int((time.time() - (asyncio.get_running_loop().time() - loop_time)) * 1000)
