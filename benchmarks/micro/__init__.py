"""Micro-benchmarks of the hot paths, without sockets: `python -m benchmarks.micro`.

`cases` says what a benchmark is, `codec` and `client` are the benchmarks, `counting` counts Python's work, `measure` runs them, `limits`
compares with the counts in `limits.json`. The counts guard against regressions: for one
Python version they are the same on every machine, while times move with its load.
"""

from benchmarks.micro import client, codec  # each registers its benchmarks
from benchmarks.micro.cases import CASES

__all__ = ["CASES", "client", "codec"]
