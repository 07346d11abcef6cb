"""Clients that are used or stopped on another event loop than that on which they were started.

Each in a process of its own: what a loop leaves behind that was closed too early, nobody can clear away.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.sync.scripted import Site

ROOT = Path(__file__).resolve().parents[3]
PRELUDE = """
    import asyncio, logging, os, sys, threading
    import aiorocketmq as rmq

    logging.basicConfig(level=logging.WARNING)
    servers, kind = sys.argv[1:]

    async def listener(message): ...

    def sockets():
        links = [os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{each}")]
        return sum(link.startswith("socket:") for link in links)

    if kind == "producer":
        client = rmq.Producer(servers, group="senders", topics=["orders"])
    elif kind == "admin":
        client = rmq.AdminClient(servers)
    else:
        client = rmq.PushConsumer(servers, group="workers")
        client.listen("orders")(listener)

    async def use():
        await client.start()
        if kind == "producer":
            await client.send(rmq.Message("orders", b"x"))
        elif kind == "admin":
            await client.topics.route("orders")
"""
CLOSED = """
    asyncio.run(use())
    left = sockets()
    try:
        asyncio.run(client.stop())
    except rmq.ClientStateError as error:
        print("before its event loop was closed" in str(error))
    print(client.state.name, left > 0, sockets())
    asyncio.run(client.stop())
    os._exit(0)
"""
BESIDE = """
    started, go = threading.Event(), threading.Event()

    async def work():
        await use()
        started.set()
        while not go.is_set():
            await asyncio.sleep(0.005)
        await client.stop()

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    started.wait(20)
    try:
        asyncio.run(client.stop())
    except rmq.ClientStateError as error:
        print("belongs to another event loop" in str(error))
    print(client.state.name)
    go.set()
    thread.join(20)
    print(client.state.name)
"""


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


def run(site: Site, script: str, kind: str) -> list[str]:
    command = [sys.executable, "-c", textwrap.dedent(PRELUDE) + textwrap.dedent(script), site.name_server.address, kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open sockets are counted by /proc")
@pytest.mark.parametrize("kind", ["producer", "admin", "consumer"])
def test_after_its_loop_was_closed_the_sockets_are_closed_and_one_error_tells(site: Site, kind: str) -> None:
    assert run(site, CLOSED, kind) == ["True", "SHUTDOWN_ALREADY", "True", "0"]


@pytest.mark.parametrize("kind", ["producer", "admin", "consumer"])
def test_on_another_loop_beside_its_own_a_stop_is_refused_and_does_nothing(site: Site, kind: str) -> None:
    assert run(site, BESIDE, kind) == ["True", "RUNNING", "SHUTDOWN_ALREADY"]


USED = """
    async def again():
        async with asyncio.timeout(20):
            if kind == "producer":
                await client.send(rmq.Message("orders", b"x"))
            else:
                await client.topics.route("orders")

    loop = asyncio.new_event_loop()
    loop.run_until_complete(use())
    for closed in (False, True):
        if closed:
            loop.close()
        try:
            asyncio.run(again())
        except rmq.ClientStateError as error:
            told = "belongs to another event loop", "before its event loop was closed"
            print(any(text in str(error) for text in told[: 1 + closed]))
    os._exit(0)
"""


@pytest.mark.parametrize("kind", ["producer", "admin"])
def test_on_another_loop_a_call_is_refused_and_does_not_wait(site: Site, kind: str) -> None:
    assert run(site, USED, kind) == ["True", "True"]
