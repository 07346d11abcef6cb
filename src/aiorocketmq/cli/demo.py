"""`aiorocketmq demo`: what the client can do, in view of the user, on the embedded server or a real cluster; and whether it was right."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
import time

from cyclopts import App

from aiorocketmq.admin import AdminClient
from aiorocketmq.cli.demo_report import Check, Teller
from aiorocketmq.cli.demo_scenes import SCENES, Scene, Stage
from aiorocketmq.cli.options import Cluster, run_async
from aiorocketmq.config import ClientConfig
from aiorocketmq.consumer import PushConsumer
from aiorocketmq.producer import Producer
from aiorocketmq.server import LocalCluster

demo = App(
    name="demo",
    help="Show messages of every kind being sent and received, and check each of them.",
    help_epilogue="""\
Examples:
  aiorocketmq demo                                  on an embedded server that lives as long as the demo
  aiorocketmq demo --name-servers 127.0.0.1:9876    on a real cluster; creates topics named demo_*
  aiorocketmq demo -o json                          the verdicts alone

Exit code 0 says that everything came out right, 1 that something did not.""",
)

_LIMIT_EMBEDDED = 15.0
_LIMIT_REAL = 45.0
"""Seconds that a scene waits: a real broker's new retry topic may take a while to be routed."""


@demo.default
def run(*, cluster: Cluster | None = None) -> int:
    """Show messages of every kind being sent and received, and check each of them."""
    cluster = cluster or Cluster()
    cluster.set_up_logging()
    return run_async(_demo(cluster))


async def _demo(cluster: Cluster) -> int:
    teller = Teller(cluster.output)
    started = time.perf_counter()
    async with contextlib.AsyncExitStack() as stack:
        # NAMESRV_ADDR is not looked at: the demo writes to a real cluster only when the command line names it.
        if cluster.name_servers is None:
            server = await stack.enter_async_context(LocalCluster())
            config = ClientConfig(name_servers=server.name_servers)
            where, limit = "the embedded server", _LIMIT_EMBEDDED
            teller.say(f"embedded server at {server.name_servers}, started in {(time.perf_counter() - started) * 1000:.0f} ms")
        else:
            config = cluster.config()
            where, limit = f"the cluster at {cluster.name_servers}", _LIMIT_REAL
            teller.say(f"cluster at {cluster.name_servers}")
        # A group's retry topic comes to life with its first heartbeat: look for it more often than every 30 s.
        config = config.replace(poll_name_server_interval=1.0, rebalance_interval=2.0)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="aiorocketmq-demo-"))
        admin = await stack.enter_async_context(AdminClient(config=config))
        producer = await stack.enter_async_context(Producer(config=config, group="demo_producer"))
        stage = Stage(config, admin, producer, teller, secrets.token_hex(3), limit, folder)
        checks = await _play(stage, [scene(stage) for scene in SCENES])
    teller.verdicts(checks, time.perf_counter() - started, where)
    return 0 if all(check.ok for check in checks) else 1


async def _play(stage: Stage, scenes: list[Scene]) -> list[Check]:
    async with asyncio.TaskGroup() as group:
        for scene in scenes:
            group.create_task(stage.admin.topics.create(scene.topic, exist_ok=True))
    for scene in scenes:
        scene.prepare()
    stage.teller.say(f"{len(scenes)} topics created")
    async with contextlib.AsyncExitStack() as stack:
        for consumer in [consumer for scene in scenes for consumer in scene.consumers]:
            await stack.enter_async_context(consumer)
        consumers = [consumer for scene in scenes for consumer in scene.consumers]
        await _until_assigned(consumers, stage.limit)
        stage.teller.say(f"{len(consumers)} consumers started")
        for scene in scenes:
            stage.teller.scene(scene.name, scene.what)
            await scene.play()
    # Judged when all is over: what came too often or too late is seen as well.
    return [check for scene in scenes for check in scene.checks()]


async def _until_assigned(consumers: list[PushConsumer], limit: float) -> None:
    """Wait until every consumer owns queues: what is sent before that waits for them, and its latency says nothing."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit):
            while not all(consumer.assigned for consumer in consumers):  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.02)
