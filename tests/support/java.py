"""Java for the tests: is it there, the jars of one Apache RocketMQ release, and compiled test programs."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.line_program import LineProgram

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
POM = Path(__file__).with_name("pom.xml")

NEWEST = "5.5.0"
LAST_OF_4 = "4.9.7"
VERSIONS = (NEWEST, LAST_OF_4)

# RocketMQ maps and unmaps files through JDK internals that Java 17 closes by default.
JVM_OPENS = (
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
)


class JavaMissingError(Exception):
    """Java or Maven is not on this machine; the message names what is missing."""


def missing_tools() -> str:
    """The tools that the real-cluster tests need and this machine lacks, or ""."""
    return ", ".join(tool for tool in ("java", "javac", "mvn") if shutil.which(tool) is None)


def require_tools() -> None:
    """Raise when something is missing.

    Raises:
        JavaMissingError: Names the missing tools.
    """
    missing = missing_tools()
    if missing:
        raise JavaMissingError(f"{missing} not found: install Java 17 (JDK) and Maven to run against real Apache RocketMQ")


def jars(version: str, *, name: str = "broker", pom: Path = POM, timeout: float = 600.0) -> Path:
    """The folder with the jars of a release, or of one part of it by a pom of its own.

    The first call fetches them through Maven, in seconds when Maven has them already. Safe to call from several processes at once;
    a folder that exists is whole.

    Raises:
        JavaMissingError: Java or Maven is missing.
        RuntimeError: Maven failed; carries the end of its output.
    """
    folder = CACHE / "rocketmq" / (version if pom is POM else f"{name}-{version}")
    if folder.is_dir():
        return folder
    require_tools()
    with _locked(folder.parent / f"{folder.name}.lock"):
        if folder.is_dir():
            return folder
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as work:
            fetched = Path(work, "lib")
            output = _copy_dependencies(version, pom, fetched, timeout)
            if not any(fetched.glob(f"rocketmq-{name}-{version}.jar")):
                raise RuntimeError(f"Maven fetched no {name} {version}:\n{output[-3000:]}")
            fetched.rename(folder)
    return folder


def _copy_dependencies(version: str, source: Path, target: Path, timeout: float) -> str:
    # The pom is copied beside the target: Maven resolves relative folders and writes state next to the pom it is given.
    pom = target.parent / "pom.xml"
    pom.write_text(source.read_text())
    command = ["mvn", "-q", "-B", "-f", str(pom), f"-Drocketmq.version={version}"]
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={target}"]
    for extra in (["-o"], []):  # what is in the local Maven cache needs no network
        done = subprocess.run([*command, *extra, *goal], capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode == 0:
            return done.stdout
        shutil.rmtree(target, ignore_errors=True)
    raise RuntimeError(
        f"Maven cannot fetch Apache RocketMQ {version} (exit code {done.returncode}):\n{(done.stdout + done.stderr)[-3000:]}"
    )


def compiled(source_folder: Path, version: str = NEWEST, *, timeout: float = 180.0) -> Path:
    """Compile a folder of Java sources against the jars of a release, once per content; answer the folder with the classes."""
    library = jars(version)
    sources = sorted(source_folder.rglob("*.java"))
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    folder = CACHE / "classes" / f"{source_folder.parent.name}-{version}-{digest}"
    if folder.is_dir():
        return folder
    with _locked(folder.with_suffix(".lock")):
        if folder.is_dir():
            return folder
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            made = Path(work, "classes")
            command = ["javac", "-nowarn", "-encoding", "UTF-8", "-cp", f"{library}/*", "-d", str(made), *map(str, sources)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
            if done.returncode:
                raise RuntimeError(f"javac failed:\n{done.stderr[-4000:]}")
            made.rename(folder)
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def java_command(main: str, *arguments: str, classpath: Sequence[Path | str], options: Sequence[str] = ()) -> list[str]:
    """The command line that runs a Java class; a folder of jars is given as `folder/*`."""
    return ["java", *JVM_OPENS, *options, "-cp", os.pathsep.join(map(str, classpath)), main, *arguments]


# The broker's own log set-up is among the jars and would be found first: slow, and loud on standard error.
_CLIENT_LOG = """<configuration>
<appender name="file" class="org.apache.rocketmq.logging.ch.qos.logback.core.FileAppender"><file>{log}</file>
<encoder class="org.apache.rocketmq.logging.ch.qos.logback.classic.encoder.PatternLayoutEncoder">
<pattern>%d %p %t - %m%n</pattern></encoder></appender><root level="{level}"><appender-ref ref="file"/></root></configuration>
"""


def log_options(home: Path, *, level: str = "WARN") -> tuple[str, ...]:
    """JVM options that make the RocketMQ libraries log to `home/client.log` and nowhere else."""
    config = home / "client-logback.xml"
    config.write_text(_CLIENT_LOG.format(log=home / "client.log", level=level))
    return (f"-Drmq.logback.configurationFile={config}", f"-Duser.home={home}")


def java_program(
    main: str, *arguments: str, classpath: Sequence[Path | str], home: Path, options: Sequence[str] = ("-Xmx512m",)
) -> LineProgram:
    """A Java test program that answers JSON lines; the Java client's logs and offset files go below `home`."""
    home_options = (*log_options(home), f"-Drocketmq.client.localOffsetStoreDir={home}", *options)
    command = java_command(main, *arguments, classpath=classpath, options=home_options)
    return LineProgram(main, command, errors=home / f"{main}-{uuid.uuid4().hex[:8]}.stderr")


async def run_java(
    main: str,
    *arguments: str,
    classpath: Sequence[Path | str],
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> tuple[int, str]:
    """Run a Java class to its end; answer its exit code and output."""
    command = java_command(main, *arguments, classpath=classpath, options=options)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(env or {})},
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output.decode(errors="replace")
