"""Fixtures of the protocol tests."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from aiorocketmq.protocol import jsoncodec

# A busy machine must not fail a test; the codec fixture is the same for all examples of a test.
settings.register_profile(
    "protocol", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("protocol")


@pytest.fixture(params=["std", "orjson"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the test with each JSON codec."""
    if request.param == "orjson" and not jsoncodec.HAVE_ORJSON:
        pytest.skip("orjson is not installed")
    for name in ("loads", "dumps", "quote"):  # restored after the test
        monkeypatch.setattr(jsoncodec, name, getattr(jsoncodec, name))
    jsoncodec.use_orjson(request.param == "orjson")
    return str(request.param)
