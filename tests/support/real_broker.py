"""One broker of a real cluster: a process with a port and a folder of its own, which can be killed, frozen and started again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support import raw_remoting
from tests.support.processes import Child, StartError, free_port
from tests.support.waiting import eventually_sync

READY = "boot success"
START_TIMEOUT = 120.0

AROUND = (-2, 0, 1)
"""A broker listens on its port, on port - 2 (VIP channel) and on port + 1 (replication)."""


class RealBroker:
    """A broker of a `RealCluster`. Blocking; safe to use from several threads.

    Args:
        name: Name of the broker; a slave has its master's.
        broker_id: 0 is a master, everything above a slave. Under a controller the id that it gets is another one.
        folder: Its own folder, not there yet.
        config: What broker.conf says besides name, id, port and store.
        spawn: Starts a process: of a main class, with a configuration file, and with a log file.
        name_server: Asked whether the broker is registered.

    Attributes:
        port: The port, the same in all lives.
    """

    def __init__(
        self,
        name: str,
        broker_id: int,
        *,
        folder: Path,
        config: Mapping[str, str],
        spawn: Callable[[Path, Path], Child],
        name_server: str,
    ) -> None:
        self.name = name
        self.broker_id = broker_id
        self.port = free_port(around=AROUND)
        self._folder = folder
        self._spawn = spawn
        self._name_server = name_server
        self._child: Child | None = None
        self._lock = threading.RLock()
        folder.mkdir()
        own = {
            "brokerName": name,
            "brokerId": str(broker_id),
            "listenPort": str(self.port),
            "storePathRootDir": str(folder / "store"),
            "storePathCommitLog": str(folder / "store" / "commitlog"),
        }
        if broker_id:
            # It hears who its master is when it registers, by default every 30 s.
            own |= {"brokerRole": "SLAVE", "slaveReadEnable": "true", "registerNameServerPeriod": "10000"}
        self._conf = folder / "broker.conf"
        self._conf.write_text("".join(f"{key}={value}\n" for key, value in {**config, **own}.items()))

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        """True while its process runs."""
        return self._child is not None and self._child.alive

    @property
    def pid(self) -> int:
        """Process id of its process group."""
        assert self._child is not None
        return self._child.pid

    def start(self, *, wait: bool = True) -> None:
        """Start it, on the same port and store every time; with `wait`, until it serves and is registered. Does nothing while it runs.

        Raises:
            StartError: It did not become ready; carries the end of its log.
        """
        with self._lock:
            if not self.alive:
                self._child = self._spawn(self._conf, self._folder / "broker.out")
            if wait:
                self.await_ready()

    def await_ready(self) -> None:
        """Wait until it serves and the name server names its address.

        Raises:
            StartError: It did not become ready; carries the end of its log.
        """
        if self._child is None:
            raise StartError(f"broker {self.name} was not started")
        self._child.wait_for_log(READY, START_TIMEOUT)
        eventually_sync(self.registered, 60.0, interval=0.05, message=f"broker {self.name} at {self.address} is registered")

    def registered(self) -> bool:
        """True when the name server names its address."""
        return self.address in raw_remoting.addresses(self._name_server, "TBW102").get(self.name, {}).values()

    def kill(self) -> None:
        """SIGKILL, as a crash would; the name server notices the lost connection by itself."""
        with self._lock:
            if self._child is not None:
                self._child.kill()

    def terminate(self) -> None:
        """SIGTERM, as an orderly restart would: it tells the name server that it goes."""
        with self._lock:
            if self._child is not None:
                self._child.terminate(20.0)

    def freeze(self) -> None:
        """SIGSTOP: its connections stay, and it does nothing."""
        assert self._child is not None
        self._child.signal_group(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._child is not None
        self._child.signal_group(signal.SIGCONT)
