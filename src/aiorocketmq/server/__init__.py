"""The embedded server: a wire-compatible name server and broker in Python, for development and tests.

It binds to the loopback unless told otherwise, and has no access control: do not open it to a network that you do not trust.
"""

from __future__ import annotations

from aiorocketmq.server.broker.broker import Broker
from aiorocketmq.server.local_cluster import LocalCluster, run_server

__all__ = ["Broker", "LocalCluster", "run_server"]
