"""The suite's own guard: a test that leaves something behind fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

SAMPLES = """
import asyncio, socket, threading
import pytest
from aiorocketmq.config import ClientConfig
from aiorocketmq.client import manager
from aiorocketmq.remoting.watch import LazyTimer

KEPT = []

async def test_good():
    task = asyncio.create_task(asyncio.sleep(30))
    await asyncio.sleep(0)
    task.cancel()

async def test_lost_exception():
    async def fail():
        raise ValueError("lost")
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

@pytest.mark.untidy("lost", why="an example")
async def test_excused():
    await test_lost_exception()

@pytest.mark.untidy("lost", why="an example")
def test_excused_for_nothing():
    pass

async def test_task():
    KEPT.append(asyncio.create_task(asyncio.sleep(30)))
    await asyncio.sleep(0)

async def test_callback_that_raises():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)

def test_socket():
    first = socket.socket()
    cycle = [first]
    cycle.append(cycle)

def test_raises_in_the_destructor():
    class Bad:
        def __del__(self):
            raise KeyError("nobody sees this")
    one = Bad()
    one.me = one

def test_coroutine():
    async def never():
        pass
    never()

def test_thread():
    threading.Thread(target=threading.Event().wait, args=(8,), daemon=True).start()

async def test_timer():
    timer = LazyTimer(lambda now: now + 1, lambda now, late: None)
    timer.arm(asyncio.get_running_loop().time() + 100)
    KEPT.append(timer)

async def test_instance_not_released():
    manager.acquire(ClientConfig(name_servers="127.0.0.1:1"))

"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of the samples."""
    folder = tmp_path_factory.mktemp("samples")
    (folder / "test_samples.py").write_text(SAMPLES)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.support.quiet", "-o", "addopts=-rAE"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [*command, "-c", str(ROOT / "pyproject.toml"), f"--rootdir={folder}", str(folder / "test_samples.py")],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


LEFT = {
    "lost_exception": "Task exception was never retrieved",
    "task": "a task is alive at the end",
    "callback_that_raises": "division by zero",
    "socket": "unclosed <socket",
    "raises_in_the_destructor": "nobody sees this",
    "coroutine": "was never awaited",
    "thread": "a thread is alive at the end",
    "timer": "remoting.watch.LazyTimer._handle: a timer is set",
    "instance_not_released": "client.manager._LoopTable.shares: not empty",
    "excused_for_nothing": "take the mark away",
}


@pytest.mark.parametrize("name", LEFT)
def test_what_a_test_leaves_behind_fails_it(outcome: str, name: str) -> None:
    assert re.search(rf"^(ERROR|FAILED) .*::test_{name}\b", outcome, re.MULTILINE), outcome
    assert LEFT[name] in outcome


@pytest.mark.parametrize("name", ["good", "excused"])
def test_what_ends_well_passes(outcome: str, name: str) -> None:
    assert re.search(rf"^PASSED .*::test_{name}$", outcome, re.MULTILINE), outcome
    assert not re.search(rf"^(ERROR|FAILED) .*::test_{name}\b( |$)", outcome, re.MULTILINE), outcome
