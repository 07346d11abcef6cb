"""What users do with the Java client 5.5.0, and with the Java client 4.9.7, works on the embedded server.

The scenarios are in `suite/java`, and look at their results themselves; one JVM of each release runs all that were chosen, several at a
time, while the tests ask for the outcomes.
"""

from __future__ import annotations

import asyncio
import contextlib
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

SOURCES = Path(__file__).parent / "suite" / "java"

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


def scenarios_of(version: str) -> list[str]:
    return [scenario for scenario in SCENARIOS if version == java.NEWEST or scenario not in ONLY_IN_5]


CASES = [
    pytest.param(version, scenario, marks=pytest.mark.feature(*SCENARIOS[scenario]) if SCENARIOS[scenario] else ())
    for version in java.VERSIONS
    for scenario in scenarios_of(version)
]


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, LineProgram]]:
    """Both JVMs, which begin at once."""
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
            classpath: list[Path | str] = [f"{java.jars(version)}/*", java.compiled(SOURCES, version)]
            arguments = (*name_servers, suffix(version), ",".join(scenarios_of(version)))
            program = java.java_program("Suite", *arguments, classpath=classpath, home=tmp_path_factory.mktemp("suite"))
            programs[version] = program.start()
            stack.callback(program.stop)
        yield programs


def suffix(version: str) -> str:
    return version.replace(".", "_")


async def prepare(server: EmbeddedTestCluster, guarded: dict[str, rmq.AdminClient]) -> None:
    """Topics, and the group that pops."""
    async with contextlib.AsyncExitStack() as stack:
        plain = await stack.enter_async_context(server.admin())
        for admin in guarded.values():
            await stack.enter_async_context(admin)
        for version in java.VERSIONS:
            for scenario in scenarios_of(version):
                topic = f"foreign_{scenario}_{suffix(version)}"
                if scenario in guarded:
                    await guarded[scenario].topics.create(f"{ALLOWED}_{topic}")
                else:
                    await plain.topics.create(topic, queues=4)
            # The first heartbeat of a group makes its retry topic; the Java client would share that out only 20 s later.
            await server.create_topic(f"%RETRY%foreign_group_push_{suffix(version)}", queues=1)
    pops = suffix(java.NEWEST)
    await switch(server, f"foreign_pop_{pops}", f"foreign_group_pop_{pops}", MessageRequestMode.POP)


@pytest.mark.parametrize(("version", "scenario"), CASES)
@pytest.mark.timeout(180)
async def test_the_java_client(suites: dict[str, LineProgram], version: str, scenario: str) -> None:
    await suites[version].call(scenario, timeout=150.0)
