"""Starts what the gRPC peer needs: a proxy beside the cluster, an environment with the client, and the peer program in it."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import subprocess
import venv
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.grpc.proxy import Proxy
from tests.support import java
from tests.support.line_program import LineProgram
from tests.support.real_cluster import RealCluster

FOLDER = Path(__file__).parent
REQUIREMENTS = FOLDER / "requirements.txt"
ENVIRONMENT = java.CACHE / "bench" / "grpc-venv"


@contextlib.asynccontextmanager
async def grpc_client(cluster: RealCluster) -> AsyncIterator[LineProgram]:
    """The official Python gRPC client, one process for all rounds, through a proxy of the cluster's release; both end with the context.

    The first use fetches the proxy's jars and makes the client's environment, which takes a minute and needs the network.
    The proxy is a JVM that gets warm slowly: its CPU time per message still falls over the first 20,000 messages.

    Raises:
        JavaMissingError: Java or Maven is missing.
        RuntimeError: The proxy's jars or the client cannot be fetched.
        StartError: The proxy did not become ready.
    """
    python = await asyncio.to_thread(environment)
    proxy = Proxy(cluster)
    await asyncio.to_thread(proxy.start)
    try:
        # The client writes its log below the home folder of the user.
        command = ["env", f"HOME={cluster.home}", str(python), str(FOLDER / "peer.py"), proxy.address]
        async with LineProgram("benchmarks.grpc.peer", command, errors=cluster.home / "grpc.stderr") as peer:
            yield peer
    finally:
        await asyncio.to_thread(proxy.stop)


def environment(*, timeout: float = 600.0) -> Path:
    """The Python of an environment that holds the pinned client; made when it is missing or was made for another pin or Python.

    It is apart from the project's own: the client brings gRPC, protobuf and OpenTelemetry along.

    Raises:
        RuntimeError: pip failed; carries the end of its output.
    """
    python = ENVIRONMENT / "bin" / "python"
    whole = ENVIRONMENT / "whole"  # written last
    wanted = f"Python {platform.python_version()}\n{REQUIREMENTS.read_text()}"
    with java._locked(ENVIRONMENT.with_suffix(".lock")):
        if not whole.is_file() or whole.read_text() != wanted:
            venv.create(ENVIRONMENT, clear=True, with_pip=True)
            command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
            if done.returncode:
                raise RuntimeError(f"pip cannot install the gRPC client (exit code {done.returncode}):\n{done.stderr[-3000:]}")
            whole.write_text(wanted)
    return python
