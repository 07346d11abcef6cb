"""What a program does while the interpreter ends, when no thread can be started any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.sync.scripted import Site

ROOT = Path(__file__).resolve().parents[3]

SENDS_AT_EXIT = """
import atexit

from aiorocketmq import sync as rmq

cluster = rmq.LocalCluster()
cluster.start()
host, _, port = cluster.name_servers.rpartition(":")
producer = rmq.Producer(HOST + ":" + port, group="g")
if WARM:
    producer.start()
    producer.send(rmq.Message("orders", b"first"))


def last() -> None:
    if not WARM:
        producer.start()
    for size in (1000, 300_000):  # a body of the second size is compressed in a thread
        print(size, producer.send(rmq.Message("orders", b"x" * size), timeout=10).ok, flush=True)


atexit.register(last)
"""


@pytest.mark.feature("A10")
@pytest.mark.parametrize(("host", "warm"), [("127.0.0.1", True), ("localhost", False)], ids=["compressed", "looked up"])
def test_a_send_at_exit_needs_no_new_thread(host: str, warm: bool) -> None:
    program = f"HOST, WARM = {host!r}, {warm!r}\n{SENDS_AT_EXIT}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert done.stdout.split() == ["1000", "True", "300000", "True"], done.stderr


FROM_A_FINALIZER = """
import atexit, sys


def start_late() -> None:  # runs after what the import below registers: nobody stops this one
    if LATE:
        producer.start()
        producer.send(rmq.Message("orders", b"x"))


atexit.register(start_late)

from aiorocketmq import sync as rmq
from aiorocketmq.sync import ClientClosedError, RocketMQError  # nothing can be imported any more when they are needed

producer = rmq.Producer(ADDRESS, group="g")
if not LATE:
    producer.start()
    producer.send(rmq.Message("orders", b"x"))
message = rmq.Message("orders", b"x", delay_level=1)


class Last:
    def __del__(self) -> None:
        for call in CALLS:
            try:
                call()
            except RocketMQError as error:
                print(isinstance(error, ClientClosedError), flush=True)
            else:
                print("no error", flush=True)


CALLS = [
    lambda: producer.send(message),
    lambda: producer.send_nowait(message).result(),
    lambda: producer.send_batch([message]),
    producer.stop,
    lambda: producer.send(message),
    rmq.Producer(ADDRESS, group="new").start,
    rmq.AdminClient(ADDRESS).topics.list,
]
sys.modules["last"] = Last()  # goes when the modules are cleared: no other thread runs any more
"""


@pytest.mark.feature("A10")
@pytest.mark.parametrize("late", [False, True], ids=["stopped", "still running"])
def test_a_finalizer_at_the_very_end_is_refused_and_does_not_hang(late: bool) -> None:
    site = Site()
    try:
        program = f"ADDRESS, LATE = {site.name_server.address!r}, {late!r}\n{FROM_A_FINALIZER}"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    finally:
        site.close()
    assert done.stdout.splitlines() == ["True"] * 3 + ["no error"] + ["True"] * 3, done.stderr
