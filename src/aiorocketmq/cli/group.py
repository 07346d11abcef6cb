"""`aiorocketmq group`: list, create, update, delete, lag, clients (Java: `mqadmin updateSubGroup`, `consumerProgress`, ...)."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from aiorocketmq.cli.kernel import Context, by_server, command
from aiorocketmq.cli.render import Rows
from aiorocketmq.errors import ConsumerNotOnlineError, GroupNotExistError

app = App(name="group", help="Look at consumer groups, create, change and delete them.")

Flag = Annotated[bool | None, Parameter()]


@command(app, name="list", examples=["group list", "group list --cluster DefaultCluster -o json"], mqadmin="consumerProgress")
async def list_groups(context: Context, /, *, target: Annotated[str | None, Parameter(name="--cluster")] = None) -> Rows:
    """List the consumer groups that brokers have.

    Parameters
    ----------
    target:
        Of this cluster alone.
    """
    return Rows([{"group": name} for name in await context.admin.groups.list(cluster=target)], ["group"])


@command(app, examples=["group create workers", "group create workers --retry-max-times 3"], mqadmin="updateSubGroup")
async def create(
    context: Context,
    group: str,
    /,
    *,
    retry_queues: int = 1,
    retry_max_times: int = 16,
    ordered: bool = False,
    target: Annotated[str | None, Parameter(name="--cluster")] = None,
    broker: str | None = None,
) -> Rows | None:
    """Create a consumer group; one that is there is left as it is, and that is an error.

    Parameters
    ----------
    group:
        Name: letters, digits, '_', '-', '%' and '|'.
    retry_queues:
        Queues of its retry topic.
    retry_max_times:
        Times that a message is tried again before it is a dead letter; -1 has no end.
    ordered:
        Its messages are consumed in order.
    target:
        Cluster on whose masters it is created; may be left out when there is only one.
    broker:
        Broker name or address: create it there alone.
    """
    if context.planned(f"create group {group} on {broker or target or 'every master of the cluster'}"):
        return None
    brokers = await context.admin.groups.create(
        group, retry_queues=retry_queues, retry_max_times=retry_max_times, ordered=ordered, cluster=target, broker=broker
    )
    return Rows([{"group": group, "broker": name} for name in brokers])


@command(app, examples=["group update workers --no-consume", "group update workers --retry-max-times 3"], mqadmin="updateSubGroup")
async def update(
    context: Context,
    group: str,
    /,
    *,
    consume: Flag = None,
    broadcast: Flag = None,
    ordered: Flag = None,
    retry_queues: int | None = None,
    retry_max_times: int | None = None,
    broker: str | None = None,
) -> Rows | None:
    """Change what is given of a consumer group, and nothing else, on every broker that has it.

    Parameters
    ----------
    group:
        Consumer group.
    consume:
        Whether it may consume at all.
    broadcast:
        Whether members may consume as broadcast.
    ordered:
        Its messages are consumed in order.
    retry_queues:
        Queues of its retry topic.
    retry_max_times:
        Times that a message is tried again before it is a dead letter; -1 has no end.
    broker:
        Broker name or address: change it there alone.
    """
    if context.planned(f"change group {group} on {broker or 'every broker that has it'}"):
        return None
    found = await context.admin.groups.update(
        group,
        consume=consume,
        broadcast=broadcast,
        ordered=ordered,
        retry_queues=retry_queues,
        retry_max_times=retry_max_times,
        broker=broker,
    )
    return by_server(found, _row)


@command(app, examples=["group settings workers"], mqadmin="getConsumerConfig")
async def settings(context: Context, group: str, /) -> Rows:
    """Show what a group is on each broker that has it.

    Parameters
    ----------
    group:
        Consumer group.
    """
    found = await context.admin.groups.settings(group)
    if not found.answers and found.ok:
        raise GroupNotExistError(f"no broker has group {group!r}", hint="check the name")
    return by_server(found, _row)


@command(app, examples=["group delete workers", "group delete workers --yes"], mqadmin="deleteSubGroup")
async def delete(
    context: Context,
    group: str,
    /,
    *,
    offsets: bool = True,
    target: Annotated[str | None, Parameter(name="--cluster")] = None,
) -> Rows | None:
    """Delete a consumer group on every broker that has it.

    Parameters
    ----------
    group:
        Consumer group.
    offsets:
        Its offsets go, too.
    target:
        In this cluster alone.
    """
    if context.planned(f"delete group {group}{' with its offsets' if offsets else ''}"):
        return None
    context.confirm(f"deletes group {group}{' with its offsets' if offsets else ''}", group)
    brokers = await context.admin.groups.delete(group, offsets=offsets, cluster=target)
    if not brokers:
        raise GroupNotExistError(f"no broker had group {group!r}", hint="check the name")
    return Rows([{"group": group, "broker": name} for name in brokers])


@command(app, examples=["group lag workers", "group lag workers --topic orders -o json"], mqadmin="consumerProgress")
async def lag(context: Context, group: str, /, *, topic: str | None = None) -> Rows:
    """Show how many messages wait for a group, queue by queue.

    Parameters
    ----------
    group:
        Consumer group.
    topic:
        This topic alone; without it every topic that the group subscribes, or has offsets of.
    """
    progress = await context.admin.groups.lag(group, topic=topic)
    try:
        members = len((await context.admin.groups.clients(group)).clients)
    except ConsumerNotOnlineError:
        members = 0
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
    return Rows(rows, title=f"{group}: lag {progress.lag}, {members} members online, {progress.tps:.1f} messages/s")


@command(app, examples=["group clients workers"], mqadmin="consumerConnection")
async def clients(context: Context, group: str, /) -> Rows:
    """Show who is connected in a consumer group.

    Parameters
    ----------
    group:
        Consumer group.
    """
    found = await context.admin.groups.clients(group)
    rows = [
        {"client_id": client.client_id, "address": client.address, "language": client.language, "version": client.version}
        for client in found.clients
    ]
    topics = ", ".join(f"{each.topic} {each.expression}" for each in found.subscriptions)
    return Rows(rows, title=f"{group}: {len(rows)} members, subscribed to {topics}")


def _row(broker: str, now: object) -> dict[str, object]:
    from dataclasses import asdict

    return {"broker": broker, **asdict(now)}  # type: ignore[call-overload]
