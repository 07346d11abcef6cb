"""What a program does while the interpreter ends, when no thread can be started any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
