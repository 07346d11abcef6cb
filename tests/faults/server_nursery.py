"""A process that brings forth servers, for tests that kill them: `python server_nursery.py SETTINGS-AS-JSON [--forgetful]`.

It has imported everything and runs no event loop and no thread, so each line `start` on its standard input gives, by a plain fork, a
server process within milliseconds. Each server prints `ready PID NAME_SERVER BROKER`. With `--forgetful` the servers acknowledge without
storing: the test that uses them must fail then.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from aiorocketmq.server import LocalCluster, run_server
from aiorocketmq.server.store.store import Store


def _announce(cluster: LocalCluster) -> None:
    print("ready", os.getpid(), cluster.name_servers, cluster.brokers[0].address, flush=True)


def main() -> None:
    settings = json.loads(sys.argv[1])
    if "--forgetful" in sys.argv:
        Store._transact = lambda self, database, changes, placed: None  # type: ignore[method-assign]
    for line in sys.stdin:
        if line.strip() != "start":
            break
        pid = os.fork()
        if pid == 0:
            asyncio.run(run_server(ready=_announce, **settings))
            os._exit(0)
        os.waitpid(pid, 0)
        print("gone", pid, flush=True)


if __name__ == "__main__":
    main()
