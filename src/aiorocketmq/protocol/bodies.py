"""All bodies in one place: `bodies_client` (routes, heartbeats, locks, consumers) and `bodies_admin` (administration)."""

from __future__ import annotations

from aiorocketmq.protocol.bodies_admin import *  # noqa: F403
from aiorocketmq.protocol.bodies_client import *  # noqa: F403
