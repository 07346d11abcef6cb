"""Signals and forks at random moments: a share of the runs that `storm.py` can make."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.sync.scripted import Site

ROOT = Path(__file__).resolve().parents[3]
SIGNALS = int(os.environ.get("STORM_SIGNALS", "120"))
FORKS = int(os.environ.get("STORM_FORKS", "40"))

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither")


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


def storm(kind: str, site: Site, seed: int, count: int, **environ: str) -> int:
    """Run it; the process that may send."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.unit.sync.storm", kind, site.name_server.address, str(seed), str(count)]
    # Into files: a child that hangs would keep a pipe open.
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        subprocess.Popen(command, stdout=out, stderr=err, cwd=ROOT, env=os.environ | environ) as process,
    ):
        try:
            status: int | None = process.wait(timeout=60 + count)
        except subprocess.TimeoutExpired:
            status = None
            process.kill()
        out.seek(0)
        err.seek(0)
        assert (status, out.read()) == (0, "through\n"), err.read()[-8000:]
    return process.pid


@pytest.mark.feature("B26")
@pytest.mark.parametrize(("seed", "environ"), [(1, {}), (2, {"AIOROCKETMQ_NO_UVLOOP": "1"})], ids=["uvloop", "asyncio"])
def test_signals_at_random_moments_leave_nothing_hanging(site: Site, seed: int, environ: dict[str, str]) -> None:
    storm("signals", site, seed, SIGNALS, **environ)


@pytest.mark.feature("B26")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.parametrize("seed", [1])
def test_forks_at_random_moments_leave_nothing_hanging_and_the_parents_connections_alone(site: Site, seed: int) -> None:
    pid = storm("forks", site, seed, FORKS)
    senders = {body.partition(b":")[0] for body in site.broker.stored}
    assert senders <= {str(pid).encode(), b"fresh"}
