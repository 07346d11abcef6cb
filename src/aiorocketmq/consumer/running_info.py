"""What `mqadmin consumerStatus` shows of a consumer (Java: `DefaultMQPushConsumerImpl.consumerRunningInfo`). Features F40, N5."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback

from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.settings import MIB, ConsumerSettings, PushSettings
from aiorocketmq.protocol.bodies_client import ProcessQueueInfo


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
        "pullThresholdForQueue": str(settings.pull_threshold_for_queue),
        "pullThresholdSizeForQueue": str(max(1, settings.pull_threshold_size_for_queue // MIB)),
        "PROP_CONSUMER_START_TIMESTAMP": str(int(made_at * 1000)),
    }


def properties_of(settings: PushSettings, *, workers: int, made_at: float) -> dict[str, str]:
    """The settings of a push consumer under the names that Java's tools know.

    Args:
        settings: The consumer's settings.
        workers: Workers now.
        made_at: When the consumer was made, seconds since the epoch.
    """
    low, high = settings.workers
    return common_properties(settings, made_at=made_at) | {
        "consumeThreadMin": str(low),
        "consumeThreadMax": str(high),
        "pullInterval": str(round(settings.pull_interval * 1000)),
        "consumeConcurrentlyMaxSpan": str(settings.consume_concurrently_max_span),
        "maxReconsumeTimes": str(settings.max_reconsume_times),
        "consumeTimeout": str(round(settings.consume_timeout / 60)),
        "postSubscriptionWhenPull": str(settings.post_subscription_when_pull).lower(),
        "suspendCurrentQueueTimeMillis": str(round(settings.suspend_current_queue_time * 1000)),
        "PROP_CONSUMEORDERLY": str(settings.ordered).lower(),
        "PROP_THREADPOOL_CORE_SIZE": str(workers),
    }


def queue_info(assigned: AssignedQueue, *, ordered: bool) -> ProcessQueueInfo:
    """The state of one owned queue."""
    messages = assigned.messages
    return ProcessQueueInfo(
        commit_offset=messages.commit_offset if messages.commit_offset >= 0 else messages.next_offset,
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
    """The stacks of all threads and tasks of the process."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = [f"{names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}" for ident, frame in sys._current_frames().items()]
    for task in asyncio.all_tasks():
        frames = [(frame, frame.f_lineno) for frame in task.get_stack(limit=16)]
        parts += [f"task {task.get_name()}\n{''.join(traceback.StackSummary.extract(iter(frames)).format())}"]
    return "\n\n".join(parts)


def _wall_ms(loop_time: float) -> int:
    """A time of the event loop's clock as milliseconds since the epoch; 0 stays 0."""
    if not loop_time:
        return 0
    return int((time.time() - (asyncio.get_running_loop().time() - loop_time)) * 1000)
