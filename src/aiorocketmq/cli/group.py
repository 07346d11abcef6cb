"""`aiorocketmq group`: how consumer groups are doing (Java: `mqadmin consumerProgress`)."""

from __future__ import annotations

from cyclopts import App

from aiorocketmq.admin import AdminClient, ConsumeProgress
from aiorocketmq.cli.options import Cluster, run_async
from aiorocketmq.cli.output import show
from aiorocketmq.errors import ConsumerNotOnlineError

app = App(name="group", help="Look at consumer groups.")


@app.command(
    help_epilogue="""\
Examples:
  aiorocketmq group lag workers
  aiorocketmq group lag workers --topic orders -o json"""
)
def lag(group: str, /, *, topic: str | None = None, cluster: Cluster | None = None) -> None:
    """Show how many messages wait for a group, queue by queue.

    Parameters
    ----------
    group:
        Consumer group.
    topic:
        This topic alone; without it every topic that the group subscribes, or has offsets of.
    """
    cluster = cluster or Cluster()
    cluster.set_up_logging()

    async def work() -> tuple[ConsumeProgress, int]:
        async with AdminClient(config=cluster.config()) as admin:
            progress = await admin.groups.lag(group, topic=topic)
            try:
                members = len((await admin.groups.clients(group)).clients)
            except ConsumerNotOnlineError:
                members = 0
            return progress, members

    progress, members = run_async(work())
    rows = [
        {
            "topic": queue.topic,
            "broker": queue.broker_name,
            "queue_id": queue.queue_id,
            "broker_offset": state.broker_offset,
            "consumer_offset": state.consumer_offset,
            "lag": state.lag,
            "in_flight": state.in_flight,
            "consumed_at": state.consumed_at,
        }
        for queue, state in sorted(progress.queues.items())
    ]
    show(
        cluster.output,
        rows,
        ["topic", "broker", "queue_id", "broker_offset", "consumer_offset", "lag", "in_flight", "consumed_at"],
        title=f"{group}: lag {progress.lag}, {members} members online, {progress.tps:.1f} messages/s",
    )
