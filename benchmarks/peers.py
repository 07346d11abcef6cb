"""Who is measured. A new peer (another client, or another face of ours) is an entry in `PEERS`.

Our own peers may name a form and a commit: `asyncio:pure` is the asyncio classes in pure Python, `sync@HEAD~1` the blocking ones as
they were one commit before, `asyncio:plain@v0.1` both.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial

from benchmarks import forms
from benchmarks.forms import ROOT
from benchmarks.servers import Server
from tests.support import java
from tests.support.line_program import LineProgram
from tests.support.real_cluster import RealCluster

JAVA_SOURCES = ROOT / "benchmarks" / "java"
GO_SOURCES = ROOT / "benchmarks" / "go"
GO_PROGRAM = ROOT / ".cache" / "bench" / "go-peer"

Starter = Callable[[Server], AbstractAsyncContextManager[LineProgram]]


class PeerMissingError(Exception):
    """A peer cannot run on this machine; the message says why."""


def _cluster(server: Server) -> RealCluster:
    if server.cluster is None:
        raise PeerMissingError("it is measured on a real broker only")
    return server.cluster


def java_client(server: Server) -> LineProgram:
    """The Java client of the cluster's release; one JVM for all rounds."""
    cluster = _cluster(server)
    classes = java.compiled(JAVA_SOURCES, cluster.version)
    return java.java_program(
        "BenchPeer", cluster.name_servers, classpath=[cluster.classpath, classes], home=cluster.home, options=("-Xms512m", "-Xmx1g")
    )


def go_client(server: Server) -> LineProgram:
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
    return LineProgram("go-peer", [str(GO_PROGRAM), server.name_servers], errors=server.home / "go.stderr", cwd=server.home)


def ours(server: Server, module: str, form: str = "", revision: str = "") -> LineProgram:
    """A program of ours in a form, of a commit."""
    try:
        environment = forms.environment(form or server.form, revision)
    except forms.FormError as error:
        raise PeerMissingError(str(error)) from error
    errors = server.home / f"{module}{form}{revision.replace('/', '_')}.stderr"
    return LineProgram(module, [sys.executable, "-m", module, server.name_servers], errors=errors, cwd=ROOT, env=environment)


def grpc_client(server: Server) -> AbstractAsyncContextManager[LineProgram]:
    """The official Python client, which speaks gRPC, with the proxy that it needs.

    Raises:
        PeerMissingError: The client or the proxy cannot run here.
    """
    cluster = _cluster(server)
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
OURS = {"asyncio": "benchmarks.ours", "sync": "benchmarks.ours_sync"}
PEERS: dict[str, Peer] = {
    REFERENCE: Peer("Java", java_client),
    "go": Peer("Go", go_client),
    "asyncio": Peer("aiorocketmq", partial(ours, module=OURS["asyncio"])),
    "sync": Peer("aiorocketmq.sync", partial(ours, module=OURS["sync"])),
    "grpc": Peer("Python gRPC", grpc_client, on_request=True, part=0.1),
}
DEFAULT_PEERS = tuple(name for name, peer in PEERS.items() if not peer.on_request)


def base(name: str) -> str:
    """The peer of `PEERS` that a name with a form or a commit stands for."""
    return name.partition("@")[0].partition(":")[0]


def known(name: str) -> bool:
    """Whether a name, with its form, is one of a peer."""
    kind, _, form = name.partition("@")[0].partition(":")
    return kind in PEERS if name == kind else kind in OURS and form in ("", *forms.FORMS)


def peer(name: str) -> Peer:
    """The peer of a name, which is `known()`."""
    if name in PEERS:
        return PEERS[name]
    before, _, revision = name.partition("@")
    kind, _, form = before.partition(":")
    words = [*filter(None, (forms.FORMS.get(form), revision))]
    start = partial(ours, module=OURS[kind], form=form, revision=revision)
    return replace(PEERS[kind], title=f"{PEERS[kind].title} ({', '.join(words)})", start=start)
