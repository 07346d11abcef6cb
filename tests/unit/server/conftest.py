"""Broker benches for the tests of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.server.harness import BrokerBench, MakeBench


@pytest.fixture
async def make_bench() -> AsyncIterator[MakeBench]:
    """Makes brokers without sockets; the arguments are those of `BrokerBench`."""
    made: list[BrokerBench] = []

    def make(**settings: Any) -> BrokerBench:
        made.append(BrokerBench(**settings))
        return made[-1]

    yield make
    for bench in made:
        await bench.close()


@pytest.fixture
async def bench(make_bench: MakeBench) -> BrokerBench:
    """A broker in memory, without sockets."""
    return make_bench()
