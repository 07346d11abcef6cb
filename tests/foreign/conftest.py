"""The Java client on a string, and mqadmin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support import java
from tests.support.clusters import unavailable_reason
from tests.support.line_program import LineProgram

SOURCES = Path(__file__).with_name("java")

MqAdmin = Callable[..., Awaitable[str]]


def need_java() -> None:
    reason = unavailable_reason(java.NEWEST)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def peer_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineProgram]:
    """One JVM for all tests."""
    need_java()
    classpath: list[Path | str] = [f"{java.jars(java.NEWEST)}/*", java.compiled(SOURCES)]
    program = java.java_program("Peer", classpath=classpath, home=tmp_path_factory.mktemp("peer")).start()
    yield program
    program.stop()


@pytest.fixture
async def peer(peer_program: LineProgram) -> AsyncIterator[LineProgram]:
    """`Peer.java` running on the Java client 5.5.0; see there for its commands. Its clients are gone after the test."""
    yield peer_program
    await peer_program.call("stop_all")


@pytest.fixture
def mqadmin(tmp_path: Path) -> MqAdmin:
    """Runs an mqadmin command and answers its output; fails when it fails. `version` is the release of mqadmin, 5.5.0 by default;
    `may_name_exceptions` is for an output in which the word means nothing bad."""
    need_java()
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "logback_tools.xml").write_text("<configuration/>")  # 4.x refuses to start without it

    async def run(command: str, *arguments: str, version: str = java.NEWEST, may_name_exceptions: bool = False) -> str:
        code, output = await java.run_java(
            "org.apache.rocketmq.tools.command.MQAdminStartup",
            command,
            *arguments,
            classpath=[f"{java.jars(version)}/*"],
            options=(*java.log_options(tmp_path), "-Xmx256m", "-XX:TieredStopAtLevel=1"),
            env={"ROCKETMQ_HOME": str(tmp_path)},
        )
        # mqadmin tells of errors on its output and ends with code 0 all the same.
        assert code == 0 and (may_name_exceptions or "Exception" not in output), output
        return "\n".join(line for line in output.splitlines() if " |-" not in line)

    return run
