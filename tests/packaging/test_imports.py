"""What the first use of a public name imports: its own family, and of the standard library what it needs at once.

Times differ from machine to machine, numbers of modules do not: a program's start costs about a third of a millisecond for each.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROBE = """
import json, sys

class Absent:  # the extras, which bring modules of their own
    def find_spec(self, name, path=None, target=None):
        if name in ("orjson", "uvloop"):
            raise ModuleNotFoundError(f"{name} is not there", name=name)

sys.meta_path.insert(0, Absent())
import asyncio
before = set(sys.modules)
import aiorocketmq, aiorocketmq.sync
EXPRESSION
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def imported(expression: str) -> list[str]:
    """The modules that an expression imports, beyond those of asyncio."""
    script = PROBE.replace("EXPRESSION", expression)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    names: list[str] = json.loads(done.stdout)
    return names


def ours(names: list[str]) -> list[str]:
    return [name for name in names if name.partition(".")[0] == "aiorocketmq"]


FAMILIES = ("admin", "cli", "consumer", "producer", "server", "sync")
CASES = [
    ("aiorocketmq", 3, {"sync"}),
    ("aiorocketmq.Message", 17, {"sync"}),
    ("aiorocketmq.RocketMQError", 6, {"sync"}),
    ("aiorocketmq.Producer", 116, {"sync", "producer"}),
    ("aiorocketmq.PushConsumer", 128, {"sync", "consumer"}),
    ("aiorocketmq.AdminClient", 105, {"sync", "admin"}),
    ("aiorocketmq.sync.Producer", 126, {"sync", "producer"}),
    ("aiorocketmq.sync.PushConsumer", 163, {"sync", "consumer", "producer"}),
    ("aiorocketmq.sync.AdminClient", 141, {"sync", "admin", "producer"}),
]


@pytest.mark.parametrize(("expression", "most", "families"), CASES, ids=[case[0] for case in CASES])
def test_a_name_brings_its_own_family_and_not_more_modules_than_that_takes(expression: str, most: int, families: set[str]) -> None:
    names = ours(imported(expression))
    assert {name.split(".")[1] for name in names if name.count(".")} & set(FAMILIES) <= families
    assert len(names) <= most, names


LATE = {
    "cProfile", "difflib", "email", "ftplib", "gzip", "http", "multiprocessing", "pathlib", "sqlite3", "tempfile", "unittest",
    "urllib", "uuid", "xml", "zipfile",
}  # fmt: skip
"""What few programs need, and those later."""


@pytest.mark.parametrize("name", ["Producer", "PushConsumer", "AdminClient"])
def test_what_few_need_is_imported_late(name: str) -> None:
    assert LATE & {module.partition(".")[0] for module in imported(f"aiorocketmq.{name}")} == set()
