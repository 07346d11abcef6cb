"""What users do with the Java clients 5.5.0 and 4.9.7 and with the Go client 2.1.2 works on the embedded server.

The scenarios are in `suite/java` and `suite/go`, and look at their results themselves; one process of each client runs all of its own,
several at a time, while the tests ask for the outcomes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import aiorocketmq as rmq
from aiorocketmq.model.enums import MessageRequestMode
from tests.behaviour.test_push_pop import switch
from tests.foreign.conftest import need_java
from tests.support import java
from tests.support.certificates import Authority
from tests.support.clusters import EmbeddedTestCluster
from tests.support.guarded import ADMIN, ALLOWED, GuardedEmbeddedCluster
from tests.support.line_program import LineProgram

SOURCES = Path(__file__).parent / "suite"
GO = "go"
CLIENTS = (*java.VERSIONS, GO)

SCENARIOS = {
    "plain": ("A1", "A4", "B1", "F1"),
    "async": ("B1",),
    "oneway": ("B3",),
    "batch": ("A15",),
    "auto_batch": ("B18",),
    "large": ("A12",),
    "delay_level": ("A17",),
    "timer": ("A18",),
    "recall": ("A19",),
    "transaction": ("C2", "C3", "C4"),
    "request_reply": ("D1", "D5"),
    "queries": (),
    "trace": ("E7", "E9", "F47"),
    "push": ("F24",),
    "ordered": ("F2", "F29", "G10"),
    "broadcast": ("F4",),
    "tags": ("F17",),
    "sql92": ("F18",),
    "pop": ("H1", "H2", "H6"),
    "lite_pull": ("I1",),
    "lite_pull_assigned": ("I2",),
    "pull": ("J1",),
    "acl": ("M1", "M8"),
    "tls": ("M4",),
}
ONLY_IN_5 = {"auto_batch", "timer", "recall", "pop"}
NOT_IN_GO = ONLY_IN_5 | {"queries", "trace", "lite_pull", "lite_pull_assigned", "tls"}


def scenarios_of(client: str) -> list[str]:
    missing = {java.LAST_OF_4: ONLY_IN_5, GO: NOT_IN_GO}.get(client, set())
    return [scenario for scenario in SCENARIOS if scenario not in missing]


CASES = [
    pytest.param(client, scenario, marks=pytest.mark.feature(*SCENARIOS[scenario]) if SCENARIOS[scenario] else ())
    for client in CLIENTS
    for scenario in scenarios_of(client)
]


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, LineProgram]]:
    """All clients, which begin at once."""
    need_java()
    authority = Authority(tmp_path_factory.mktemp("authority"))
    with contextlib.ExitStack() as stack:
        server = EmbeddedTestCluster()
        stack.callback(server.stop)
        guarded = {"acl": GuardedEmbeddedCluster(), "tls": GuardedEmbeddedCluster(tls=rmq.server.ServerTLS(*authority.issue("127.0.0.1")))}
        for each in guarded.values():
            stack.callback(each.stop)
        trust = {"acl": None, "tls": rmq.TLS(ca_file=authority.file)}
        admins = {
            name: rmq.AdminClient(each.name_servers, credentials=ADMIN, tls=trust[name], mq_client_api_timeout=20.0)
            for name, each in guarded.items()
        }
        asyncio.run(prepare(server, admins))
        name_servers = (server.name_servers, *(each.name_servers for each in guarded.values()))
        programs = {}
        for version in java.VERSIONS:
            classpath: list[Path | str] = [f"{java.jars(version)}/*", java.compiled(SOURCES / "java", version)]
            arguments = (*name_servers, suffix(version), ",".join(scenarios_of(version)))
            program = java.java_program("Suite", *arguments, classpath=classpath, home=tmp_path_factory.mktemp("suite"))
            programs[version] = program.start()
            stack.callback(program.stop)
        if shutil.which("go") is not None:
            home = tmp_path_factory.mktemp("suite")
            arguments = (name_servers[0], name_servers[1], suffix(GO), ",".join(scenarios_of(GO)))
            environment = {**os.environ, "rocketmq.client.localOffsetStoreDir": str(home), "ROCKETMQ_GO_LOG_LEVEL": "error"}
            program = LineProgram("Suite", [str(go_program()), *arguments], errors=home / "go.stderr", env=environment)
            programs[GO] = program.start()
            stack.callback(program.stop)
        yield programs


def go_program() -> Path:
    """The Go client's scenarios, built; the Go tool knows by itself what has to be built anew."""
    program = java.CACHE / "go" / "suite"
    program.parent.mkdir(parents=True, exist_ok=True)
    command = ["go", "build", "-C", str(SOURCES / "go"), "-o", str(program), "."]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stderr
    return program


def suffix(version: str) -> str:
    return version.replace(".", "_")


async def prepare(server: EmbeddedTestCluster, guarded: dict[str, rmq.AdminClient]) -> None:
    """Topics, and the group that pops."""
    async with contextlib.AsyncExitStack() as stack:
        plain = await stack.enter_async_context(server.admin())
        for admin in guarded.values():
            await stack.enter_async_context(admin)
        for client in CLIENTS:
            for scenario in scenarios_of(client):
                topic = f"foreign_{scenario}_{suffix(client)}"
                if scenario in guarded:
                    await guarded[scenario].topics.create(f"{ALLOWED}_{topic}")
                else:
                    await plain.topics.create(topic, queues=4)
            # The first heartbeat of a group makes its retry topic; the Java client would share that out only 20 s later.
            await server.create_topic(f"%RETRY%foreign_group_push_{suffix(client)}", queues=1)
    pops = suffix(java.NEWEST)
    await switch(server, f"foreign_pop_{pops}", f"foreign_group_pop_{pops}", MessageRequestMode.POP)


@pytest.mark.parametrize(("client", "scenario"), CASES)
@pytest.mark.timeout(180)
async def test_a_foreign_client(suites: dict[str, LineProgram], client: str, scenario: str) -> None:
    if client not in suites:
        pytest.skip("Go is not installed")
    await suites[client].call(scenario, timeout=150.0)
