"""Who is measured. A new peer (another client, or another face of ours) is a function here and an entry in `PEERS`."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ours import form
from tests.support import java
from tests.support.line_program import LineProgram
from tests.support.real_cluster import RealCluster

ROOT = Path(__file__).resolve().parents[1]
JAVA_SOURCES = ROOT / "benchmarks" / "java"
GO_SOURCES = ROOT / "benchmarks" / "go"
GO_PROGRAM = ROOT / ".cache" / "bench" / "go-peer"

Starter = Callable[[RealCluster], AbstractAsyncContextManager[LineProgram]]


class PeerMissingError(Exception):
    """A peer cannot run on this machine; the message says why."""


def java_client(cluster: RealCluster) -> LineProgram:
    """The Java client of the cluster's release; one JVM for all rounds."""
    classes = java.compiled(JAVA_SOURCES, cluster.version)
    return java.java_program(
        "BenchPeer", cluster.name_servers, classpath=[cluster.classpath, classes], home=cluster.home, options=("-Xms512m", "-Xmx1g")
    )


def go_client(cluster: RealCluster) -> LineProgram:
    """The Go client, built from the sources beside this file.

    Raises:
        PeerMissingError: Go is not installed, or the build failed; carries the end of its output.
    """
    if shutil.which("go") is None:
        raise PeerMissingError("Go is not installed")
    if not (GO_SOURCES / "go.mod").exists():
        raise PeerMissingError("this checkout has no Go peer")
    GO_PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    command = ["go", "build", "-C", str(GO_SOURCES), "-o", str(GO_PROGRAM), "."]
    built = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if built.returncode:
        raise PeerMissingError(f"the Go peer cannot be built:\n{built.stderr[-2000:]}")
    return LineProgram("go-peer", [str(GO_PROGRAM), cluster.name_servers], errors=cluster.home / "go.stderr", cwd=cluster.home)


def asyncio_client(cluster: RealCluster) -> LineProgram:
    """Our asyncio classes, on uvloop where it is installed and not switched off."""
    return _ours("benchmarks.ours", cluster)


def sync_client(cluster: RealCluster) -> LineProgram:
    """Our blocking classes."""
    return _ours("benchmarks.ours_sync", cluster)


def bare_sockets(cluster: RealCluster) -> LineProgram:
    """No client: blocking sockets and prepared frames."""
    return _ours("benchmarks.wire", cluster)


def _ours(module: str, cluster: RealCluster) -> LineProgram:
    command = [sys.executable, "-m", module, cluster.name_servers]
    return LineProgram(module, command, errors=cluster.home / f"{module}.stderr", cwd=ROOT, env=form.environment())


def grpc_client(cluster: RealCluster) -> AbstractAsyncContextManager[LineProgram]:
    """The official Python client, which speaks gRPC, with the proxy that it needs.

    Raises:
        PeerMissingError: The client or the proxy cannot run here.
    """
    try:
        module = importlib.import_module("benchmarks.grpc")
    except ImportError as error:
        raise PeerMissingError(f"this checkout has no gRPC peer: {error}") from error
    started: AbstractAsyncContextManager[LineProgram] = module.grpc_client(cluster)
    return started


@dataclass(frozen=True, slots=True)
class Peer:
    """A program to measure.

    Attributes:
        title: Name in tables.
        start: Makes the program; it runs while its context is open.
        on_request: Runs only when named.
        part: Part of the messages of a round that it gets, for clients that would take minutes.
    """

    title: str
    start: Starter
    on_request: bool = False
    part: float = 1.0


REFERENCE = "java"
LOWER_BOUND = "wire"
"""No client, and has no floors: what the broker itself takes, shown beside the clients in the workloads that it can run."""
PEERS: dict[str, Peer] = {
    REFERENCE: Peer("Java", java_client),
    "go": Peer("Go", go_client),
    "asyncio": Peer("aiorocketmq", asyncio_client),
    "sync": Peer("aiorocketmq.sync", sync_client),
    "grpc": Peer("Python gRPC", grpc_client, on_request=True, part=0.1),
    LOWER_BOUND: Peer("bare sockets", bare_sockets),
}
DEFAULT_PEERS = tuple(name for name, peer in PEERS.items() if not peer.on_request)
