"""Micro-benchmarks of the hot paths, without sockets: `python -m benchmarks.micro`. Counts are the same on every machine, times are not."""

from benchmarks.micro import client, codec  # each registers its benchmarks
from benchmarks.micro.cases import CASES

__all__ = ["CASES", "client", "codec"]
