"""How a blocking client is, from any thread and in any state: in a forked child, in callbacks on the loop, and while the loop is blocked.

No Java twin. Feature U2.
"""

from __future__ import annotations

import dataclasses
from typing import Final, Protocol

from aiorocketmq.client.health import Health, HealthStatus
from aiorocketmq.errors import ClientStateError
from aiorocketmq.sync.portal import Portal

PATIENCE: Final = 2.0
"""Seconds that the event loop gets to come to the question; then it is answered without."""
_READS: Final = 3
"""A table that changes while another thread reads it makes that fail: how often it is read."""


class Healthy(Protocol):
    """An asyncio client that tells how it is."""

    def health(self) -> Health: ...


def health_of(portal: Portal | None, client: Healthy) -> Health:
    """The health of a client on a portal, None when it is on none; never raises for the state that anything is in."""
    if portal is None or portal.on_loop_thread:
        return client.health()
    told: list[Health] = []

    async def ask() -> None:
        told.append(client.health())

    try:
        answered = portal.call_within(PATIENCE, ask)
    except ClientStateError:  # a forked child, a portal that has come to its end just then, a log handler, which must not wait for it
        return _read(client)
    if answered:
        return told[0]
    health = _read(client)
    text = f"the event loop of aiorocketmq.sync has not come to this question within {PATIENCE:g} s: async def code blocks it"
    status = HealthStatus.DOWN if health.status is HealthStatus.DOWN else HealthStatus.DEGRADED
    return dataclasses.replace(health, status=status, reasons=(f"{text}, or the machine is overloaded", *health.reasons))


def _read(client: Healthy) -> Health:
    """The health as it can be read from this thread."""
    for _ in range(_READS - 1):
        try:
            return client.health()
        except RuntimeError:  # a table has changed meanwhile
            continue
    return client.health()
