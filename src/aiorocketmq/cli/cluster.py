"""`aiorocketmq cluster`: clusters and their brokers (Java: `mqadmin clusterList`)."""

from __future__ import annotations

from cyclopts import App

from aiorocketmq.cli.kernel import Context, command
from aiorocketmq.cli.render import Rows

app = App(name="cluster", help="Look at clusters.")


@command(app, name="list", examples=["cluster list", "cluster list -o json"], mqadmin="clusterList")
async def list_clusters(context: Context, /) -> Rows:
    """List the brokers of all clusters, with their addresses."""
    rows = [
        {"cluster": broker.cluster, "broker": broker.name, "broker_id": broker_id, "address": address}
        for broker in await context.admin.clusters.brokers()
        for broker_id, address in broker.addresses.items()
    ]
    return Rows(rows, ["cluster", "broker", "broker_id", "address"])
