"""`aiorocketmq topic`: list, create, update, route, stats (Java: `mqadmin topicList | updateTopic | topicRoute | topicStatus`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from cyclopts import App, Parameter

from aiorocketmq.admin import AdminClient, TopicSettings
from aiorocketmq.cli.options import Cluster, run_async
from aiorocketmq.cli.output import show
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.enums import Permission
from aiorocketmq.model.names import is_dlq_topic, is_retry_topic, is_system_topic

app = App(name="topic", help="Look at topics and create them.")

_PERMISSIONS = {"rw": Permission.READ | Permission.WRITE, "r": Permission.READ, "w": Permission.WRITE}


def kind_of(topic: str) -> str:
    """What a topic is for, by its name."""
    if is_retry_topic(topic):
        return "retry"
    if is_dlq_topic(topic):
        return "dead-letter"
    return "system" if is_system_topic(topic) else "user"


@app.command(
    name="list",
    help_epilogue="""\
Examples:
  aiorocketmq topic list
  aiorocketmq topic list --all -o json""",
)
def list_topics(*, all_kinds: Annotated[bool, Parameter(name="--all", negative=())] = False, cluster: Cluster | None = None) -> None:
    """List the topics of a cluster.

    Parameters
    ----------
    all_kinds:
        Also retry, dead-letter and system topics.
    """
    cluster = cluster or Cluster()
    cluster.set_up_logging()

    async def work() -> tuple[list[str], set[str]]:
        async with AdminClient(config=cluster.config()) as admin:
            # The name server lists clusters and brokers as topics, because brokers register topics of these names.
            brokers = await admin.clusters.brokers()
            clusters = {broker.cluster for broker in brokers}
            owned = {broker.name for broker in brokers} | clusters | {f"{cluster}_REPLY_TOPIC" for cluster in clusters}
            return list(await admin.topics.list()), owned

    names, owned = run_async(work())
    rows = [{"topic": name, "kind": "system" if name in owned else kind_of(name)} for name in names]
    show(cluster.output, [row for row in rows if all_kinds or row["kind"] == "user"], ["topic", "kind"])


@app.command(
    help_epilogue="""\
Examples:
  aiorocketmq topic create orders
  aiorocketmq topic create orders --queues 16 --cluster DefaultCluster"""
)
def create(
    topic: str,
    /,
    *,
    queues: int = 4,
    permission: Annotated[str, Parameter(name="--permission")] = "rw",
    target: Annotated[str | None, Parameter(name="--cluster")] = None,
    broker: str | None = None,
    cluster: Cluster | None = None,
) -> None:
    """Create a topic; one that is there is left as it is, and that is an error.

    Parameters
    ----------
    topic:
        Name: letters, digits, '_', '-', '%' and '|'.
    queues:
        Queues on each broker.
    permission:
        rw, r or w.
    target:
        Cluster on whose masters it is created; may be left out when there is only one.
    broker:
        Broker name or address: create it there alone.
    """
    cluster = cluster or Cluster()
    cluster.set_up_logging()
    if permission not in _PERMISSIONS:
        raise ConfigError(f"permission {permission!r} is unknown", hint="use rw, r or w")

    async def work() -> tuple[str, ...]:
        async with AdminClient(config=cluster.config()) as admin:
            return await admin.topics.create(topic, queues=queues, permission=_PERMISSIONS[permission], cluster=target, broker=broker)

    brokers = run_async(work())
    rows = [{"topic": topic, "broker": name, "queues": queues, "permission": permission} for name in brokers]
    show(cluster.output, rows, ["topic", "broker", "queues", "permission"])


@app.command(
    help_epilogue="""\
Examples:
  aiorocketmq topic update orders --queues 16
  aiorocketmq topic update orders --permission r"""
)
def update(
    topic: str,
    /,
    *,
    queues: int | None = None,
    permission: Annotated[str | None, Parameter(name="--permission")] = None,
    broker: str | None = None,
    cluster: Cluster | None = None,
) -> None:
    """Change what is given of a topic, and nothing else, on every broker that has it.

    Parameters
    ----------
    topic:
        Topic name.
    queues:
        Queues on each broker.
    permission:
        rw, r or w.
    broker:
        Broker name or address: change it there alone.
    """
    cluster = cluster or Cluster()
    cluster.set_up_logging()
    if permission is not None and permission not in _PERMISSIONS:
        raise ConfigError(f"permission {permission!r} is unknown", hint="use rw, r or w")

    async def work() -> Mapping[str, TopicSettings]:
        async with AdminClient(config=cluster.config()) as admin:
            wanted = None if permission is None else _PERMISSIONS[permission]
            return (await admin.topics.update(topic, queues=queues, permission=wanted, broker=broker)).require()

    words = {int(each): word for word, each in _PERMISSIONS.items()}
    rows = [
        {"topic": topic, "broker": name, "queues": now.write_queues, "permission": words.get(int(now.permission), str(int(now.permission)))}
        for name, now in run_async(work()).items()
    ]
    show(cluster.output, rows, ["topic", "broker", "queues", "permission"])


@app.command(
    help_epilogue="""\
Examples:
  aiorocketmq topic route orders"""
)
def route(topic: str, /, *, cluster: Cluster | None = None) -> None:
    """Show which brokers hold a topic.

    Parameters
    ----------
    topic:
        Topic name.
    """
    cluster = cluster or Cluster()
    cluster.set_up_logging()

    async def work() -> list[dict[str, object]]:
        async with AdminClient(config=cluster.config()) as admin:
            found = await admin.topics.route(topic)
        brokers = {data.broker_name: data for data in found.broker_datas}
        return [
            {
                "cluster": brokers[queues.broker_name].cluster if queues.broker_name in brokers else None,
                "broker": queues.broker_name,
                "read_queues": queues.read_queue_nums,
                "write_queues": queues.write_queue_nums,
                "permission": ("r" if queues.readable else "") + ("w" if queues.writable else ""),
                "addresses": [f"{identity}={address}" for identity, address in sorted(brokers[queues.broker_name].broker_addrs.items())]
                if queues.broker_name in brokers
                else [],
            }
            for queues in found.queue_datas
        ]

    show(cluster.output, run_async(work()), ["cluster", "broker", "addresses", "read_queues", "write_queues", "permission"])


@app.command(
    help_epilogue="""\
Examples:
  aiorocketmq topic stats orders
  aiorocketmq topic stats orders -o json"""
)
def stats(topic: str, /, *, cluster: Cluster | None = None) -> None:
    """Show the offsets of every queue of a topic.

    Parameters
    ----------
    topic:
        Topic name.
    """
    cluster = cluster or Cluster()
    cluster.set_up_logging()

    async def work() -> list[dict[str, object]]:
        async with AdminClient(config=cluster.config()) as admin:
            found = await admin.topics.stats(topic)
        return [
            {
                "broker": queue.broker_name,
                "queue_id": queue.queue_id,
                "min_offset": state.min_offset,
                "max_offset": state.max_offset,
                "messages": state.messages,
                "updated_at": state.updated_at,
            }
            for queue, state in sorted(found.queues.items())
        ]

    rows = run_async(work())
    total = sum(int(str(row["messages"])) for row in rows)
    show(
        cluster.output,
        rows,
        ["broker", "queue_id", "min_offset", "max_offset", "messages", "updated_at"],
        title=f"{topic}: {total} messages in {len(rows)} queues",
    )
