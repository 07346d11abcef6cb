"""Clusters that are stopped on another event loop than that on which they were started, as fixtures of tests do by mistake.

Each in a process of its own: what a loop leaves behind that was closed too early, nobody can clear away.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PRELUDE = """
    import asyncio, os, sys, threading
    import aiorocketmq as rmq
    from aiorocketmq.server import LocalCluster

    folder, uvloop = sys.argv[1] or None, sys.argv[2]
    if uvloop:
        import uvloop
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    cluster = LocalCluster(brokers=2, data_dir=folder)

    def sockets():
        links = [os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{each}")]
        return sum(link.startswith("socket:") for link in links)

    async def use():
        await cluster.start()
        async with rmq.Producer(cluster.name_servers, group="senders") as producer:
            await producer.send(rmq.Message("orders", b"x"))
        assert sockets() > 0

    def refused(change):
        try:
            asyncio.run(change)
        except rmq.ClientStateError as error:
            return str(error)
        return "not refused"
"""
CLOSED = """
    asyncio.run(use())
    print("was not stopped before its event loop was closed" in refused(cluster.stop()))
    print(cluster.brokers, sockets())
    asyncio.run(cluster.stop())

    async def again():
        async with cluster:
            assert cluster.broker("broker-a").running
            stored = sum(queue.next_offset for broker in cluster.brokers for queue in broker.state.store.queues())
            await cluster.create_topic("more")
        return stored

    print(asyncio.run(again()))
    os._exit(0)
"""
BESIDE = """
    started, go = threading.Event(), threading.Event()

    async def work():
        await use()
        started.set()
        while not go.is_set():
            await asyncio.sleep(0.005)
        await cluster.stop()

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    started.wait(20)
    changes = [
        cluster.start(), cluster.stop(), cluster.kill_broker("broker-a"), cluster.start_broker("broker-a"),
        cluster.pause_broker("broker-a"), cluster.resume_broker("broker-a"), cluster.create_topic("t"), cluster.update_topic("t", perm=4),
    ]
    print(all("belongs to another event loop" in refused(change) for change in changes))
    print(all(broker.running for broker in cluster.brokers))
    go.set()
    thread.join(20)
    print(cluster.brokers)
"""


def run(script: str, folder: Path | None, loop: str = "") -> list[str]:
    command = [sys.executable, "-c", textwrap.dedent(PRELUDE) + textwrap.dedent(script), str(folder or ""), loop]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open sockets are counted by /proc")
@pytest.mark.parametrize("loop", ["", "uvloop"])
@pytest.mark.parametrize("durable", [False, True])
def test_after_its_loop_was_closed_all_is_closed_and_one_error_tells(tmp_path: Path, durable: bool, loop: str) -> None:
    if loop:
        pytest.importorskip("uvloop")
    assert run(CLOSED, tmp_path if durable else None, loop) == ["True", "()", "0", "1" if durable else "0"]


def test_on_another_loop_beside_its_own_everything_is_refused_and_nothing_happens() -> None:
    assert run(BESIDE, None) == ["True", "True", "()"]
