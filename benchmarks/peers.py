"""Who is measured. A new peer (another client, or another face of ours) is a function here and an entry in `PEERS`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.support import java
from tests.support.line_program import LineProgram
from tests.support.real_cluster import RealCluster

ROOT = Path(__file__).resolve().parents[1]
JAVA_SOURCES = ROOT / "benchmarks" / "java"


def java_client(cluster: RealCluster) -> LineProgram:
    """The Java client of the cluster's release; one JVM for all rounds."""
    classes = java.compiled(JAVA_SOURCES, cluster.version)
    return java.java_program(
        "BenchPeer", cluster.name_servers, classpath=[cluster.classpath, classes], home=cluster.home, options=("-Xms512m", "-Xmx1g")
    )


def asyncio_client(cluster: RealCluster) -> LineProgram:
    """Our client, on uvloop where it is installed."""
    command = [sys.executable, "-m", "benchmarks.ours", cluster.name_servers]
    return LineProgram("benchmarks.ours", command, errors=cluster.home / "ours.stderr", cwd=ROOT)


REFERENCE = "java"
PEERS: dict[str, Callable[[RealCluster], LineProgram]] = {REFERENCE: java_client, "asyncio": asyncio_client}
