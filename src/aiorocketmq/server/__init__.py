"""The embedded server: a wire-compatible name server and broker in Python, for development and tests.

It binds to the loopback unless told otherwise. Access control and TLS are off unless `acl=` and `tls=` turn them on.
"""

from __future__ import annotations

from aiorocketmq.config import ServerTLS
from aiorocketmq.server.broker.broker import Broker
from aiorocketmq.server.local_cluster import LocalCluster, run_server

__all__ = ["Broker", "LocalCluster", "ServerTLS", "run_server"]
