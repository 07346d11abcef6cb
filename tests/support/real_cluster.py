"""One name server and one broker of real Apache RocketMQ on free loopback ports, in a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import java, raw_remoting
from tests.support.processes import Child, free_port
from tests.support.waiting import eventually_sync

READY = "boot success"
START_TIMEOUT = 120.0

_LOGBACK = """<configuration><appender name="file" class="ch.qos.logback.core.FileAppender"><file>{log}</file>
<encoder><pattern>%d %p %t - %m%n</pattern></encoder></appender><root level="INFO"><appender-ref ref="file"/></root></configuration>
"""

# Tests want a quick start on few cores, not peak speed.
QUICK_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
SERVER_JVM = ("-XX:+UseG1GC",)


class RealCluster:
    """A running name server and broker of one release.

    Blocking; safe to use from several threads. `kill_broker()` and `start_broker()` keep the port and the store.

    Args:
        version: Release, for example "5.5.0".
        broker_options: Additions to broker.conf.
        jvm: JVM options of both servers; `QUICK_JVM` for tests, `SERVER_JVM` for measurements.
        broker_heap: Heap of the broker.
        classes: Folders of Java classes that the broker finds besides its own.
        files: More files, by their path below the servers' home folder.
    """

    broker_name = "broker-a"
    cluster_name = "DefaultCluster"

    def __init__(
        self,
        version: str,
        *,
        broker_options: Mapping[str, str] | None = None,
        jvm: tuple[str, ...] = QUICK_JVM,
        broker_heap: str = "512m",
        classes: Sequence[Path] = (),
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.version = version
        self._files = dict(files or {})
        self._broker_options = dict(broker_options or {})
        self._jvm = jvm
        self._broker_heap = broker_heap
        self._classes = tuple(classes)
        self._lock = threading.RLock()
        self._home: Path | None = None
        self._name_server: Child | None = None
        self._broker: Child | None = None
        self.name_server_port = 0
        self.broker_port = 0

    @property
    def name_servers(self) -> str:
        """`host:port` of the name server."""
        return f"127.0.0.1:{self.name_server_port}"

    @property
    def broker_address(self) -> str:
        """`host:port` of the broker."""
        return f"127.0.0.1:{self.broker_port}"

    @property
    def home(self) -> Path:
        """The temporary folder of this cluster."""
        assert self._home is not None, "the cluster was not started"
        return self._home

    @property
    def classpath(self) -> str:
        """The jars of the release, as a class path."""
        return f"{java.jars(self.version)}/*"

    @property
    def broker_alive(self) -> bool:
        """True while the broker's process runs."""
        return self._broker is not None and self._broker.alive

    @property
    def broker_pid(self) -> int:
        """Process id of the broker's process group."""
        assert self._broker is not None
        return self._broker.pid

    def start(self) -> None:
        """Start both servers and wait until both are ready and the broker is registered.

        Raises:
            JavaMissingError: Java or Maven is missing.
            StartError: A server did not become ready; carries the end of its log.
        """
        with self._lock:
            java.require_tools()
            java.jars(self.version)
            self._home = Path(tempfile.mkdtemp(prefix=f"rocketmq-{self.version}-"))
            try:
                self._write_logback()
                for name, text in self._files.items():
                    (self._home / name).write_text(text)
                self.name_server_port = free_port()
                # The broker also listens on port - 2 (VIP channel) and port + 1 (replication).
                self.broker_port = free_port(around=(-2, 0, 1))
                self._name_server = self._spawn_name_server()
                self._broker = self._spawn_broker()
                self._name_server.wait_for_log(READY, START_TIMEOUT)
                self._await_broker()
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Kill both servers and remove the folder."""
        with self._lock:
            for child in (self._broker, self._name_server):
                if child is not None:
                    child.kill()
            self._broker = self._name_server = None
            if self._home is not None:
                shutil.rmtree(self._home, ignore_errors=True)
                self._home = None

    def kill_broker(self) -> None:
        """SIGKILL the broker, as a crash would; the name server notices the lost connection by itself."""
        with self._lock:
            if self._broker is not None:
                self._broker.kill()

    def start_broker(self, *, wait: bool = True) -> None:
        """Start the broker again on the same port and store; with `wait`, until it serves and is registered."""
        with self._lock:
            if not self.broker_alive:
                self._broker = self._spawn_broker()
            if wait:
                self._await_broker()

    def add_broker(self, name: str) -> tuple[Child, str]:
        """Start another master of this cluster, and wait until it is registered; answers its process, to be killed by the caller, and its
        address."""
        port = free_port(around=(-2, 0, 1))
        store = self.home / f"store-{name}"
        own = {"brokerName": name, "listenPort": str(port), "storePathRootDir": str(store), "storePathCommitLog": str(store / "commitlog")}
        child = self._spawn("broker.BrokerStartup", self._broker_config() | own, self._broker_memory(), log=name)
        child.wait_for_log(READY, START_TIMEOUT)
        return child, f"127.0.0.1:{port}"

    def ensure_running(self) -> None:
        """Bring back a broker that a test left dead."""
        if not self.broker_alive:
            self.start_broker()

    def create_topic(self, topic: str, *, queues: int = 4, perm: int = 6, order: bool = False) -> None:
        """Create a topic on the broker and wait until the name server's route has its queues."""
        raw_remoting.create_topic(self.broker_address, topic, queues=queues, perm=perm, order=order)
        eventually_sync(lambda: self._route_has(topic, queues), 30.0, interval=0.05, message=f"route of {topic} with {queues} queues")

    def _route_has(self, topic: str, queues: int) -> bool:
        found = raw_remoting.route(self.name_servers, topic)
        return found is not None and any(
            data["brokerName"] == self.broker_name and data["writeQueueNums"] == queues for data in found["queueDatas"]
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _await_broker(self) -> None:
        assert self._broker is not None
        self._broker.wait_for_log(READY, START_TIMEOUT)
        eventually_sync(lambda: raw_remoting.route(self.name_servers, "TBW102"), 30.0, interval=0.05, message="the broker is registered")

    def _spawn_name_server(self) -> Child:
        config = {"listenPort": str(self.name_server_port)}
        if self._is_5:
            config["bindAddress"] = "127.0.0.1"
        return self._spawn("namesrv.NamesrvStartup", config, ("-Xms128m", "-Xmx256m"))

    def _spawn_broker(self) -> Child:
        return self._spawn("broker.BrokerStartup", self._broker_config(), self._broker_memory())

    def _broker_memory(self) -> tuple[str, ...]:
        return (f"-Xms{self._broker_heap}", f"-Xmx{self._broker_heap}", "-XX:MaxDirectMemorySize=512m")

    def _broker_config(self) -> dict[str, str]:
        config = {
            "brokerClusterName": self.cluster_name,
            "brokerName": self.broker_name,
            "brokerId": "0",
            "brokerIP1": "127.0.0.1",
            "namesrvAddr": self.name_servers,
            "listenPort": str(self.broker_port),
            "storePathRootDir": str(self.home / "store"),
            "storePathCommitLog": str(self.home / "store" / "commitlog"),
            "mapedFileSizeCommitLog": "67108864",
            "autoCreateTopicEnable": "true",
            "enablePropertyFilter": "true",
            "flushDiskType": "ASYNC_FLUSH",
            # By default a send that waited 0.2 s for a thread is refused: on a busy machine that tests the machine.
            "waitTimeMillsInSendQueue": "5000",
        }
        if self._is_5:
            # By default an idle broker writes its whole timer wheel, 37 MB, every second: a third of a core.
            config |= {"bindAddress": "127.0.0.1", "timerWheelEnable": "true", "timerFlushIntervalMs": "30000"}
            config["recallMessageEnable"] = "true"
        return config | self._broker_options

    def _spawn(self, main: str, config: Mapping[str, str], heap: tuple[str, ...], *, log: str = "") -> Child:
        name = log or main.partition(".")[0]
        file = self.home / f"{name}.conf"
        file.write_text("".join(f"{key}={value}\n" for key, value in config.items()))
        command = java.java_command(
            f"org.apache.rocketmq.{main}",
            "-c",
            str(file),
            classpath=[self.classpath, *self._classes],
            options=(*heap, *self._jvm, f"-Duser.home={self.home}"),
        )
        return Child(command, log=self.home / f"{name}.out", env={"ROCKETMQ_HOME": str(self.home)}, cwd=self.home)

    def _write_logback(self) -> None:
        folder = self.home / "conf"
        folder.mkdir()
        for name in ("namesrv", "broker"):  # 4.x refuses to start without them
            (folder / f"logback_{name}.xml").write_text(_LOGBACK.format(log=self.home / f"{name}.log"))

    @property
    def _is_5(self) -> bool:
        return self.version.startswith("5.")
