"""A name server and brokers of real Apache RocketMQ on free loopback ports, in a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import java, raw_remoting
from tests.support.processes import Child, free_port
from tests.support.real_broker import READY, START_TIMEOUT, RealBroker
from tests.support.waiting import eventually_sync

_LOGBACK = """<configuration><appender name="file" class="ch.qos.logback.core.FileAppender"><file>{log}</file>
<encoder><pattern>%d %p %t - %m%n</pattern></encoder></appender><root level="INFO"><appender-ref ref="file"/></root></configuration>
"""

# Tests want a quick start on few cores, not peak speed.
QUICK_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
SERVER_JVM = ("-XX:+UseG1GC",)
ADDED_HEAP = "320m"
"""Heap of a broker beside the first one."""


class RealCluster:
    """A running name server and its brokers, all of one release: one broker from the start, and those that are added.

    Blocking; safe to use from several threads. A broker that was killed keeps its port and its store.

    Args:
        version: Release, for example "5.5.0".
        broker_options: Additions to broker.conf of all brokers.
        jvm: JVM options of all servers; `QUICK_JVM` for tests, `SERVER_JVM` for measurements.
        broker_heap: Heap of the first broker.
        classes: Folders of Java classes that the brokers find besides their own.
        files: More files, by their path below the servers' home folder.
        controller: Run a controller inside the name server (5.x): it makes brokers of one name a master and slaves, and changes that when
            the master is gone.
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
        controller: bool = False,
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
        self._brokers: list[RealBroker] = []
        self._with_controller = controller
        self.name_server_port = 0
        self.controller_port = 0

    @property
    def name_servers(self) -> str:
        """`host:port` of the name server."""
        return f"127.0.0.1:{self.name_server_port}"

    @property
    def broker(self) -> RealBroker:
        """The first broker."""
        return self._brokers[0]

    @property
    def brokers(self) -> tuple[RealBroker, ...]:
        """All brokers, dead ones too."""
        return tuple(self._brokers)

    @property
    def broker_address(self) -> str:
        """`host:port` of the first broker."""
        return self.broker.address

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
        """True while the first broker's process runs."""
        return bool(self._brokers) and self.broker.alive

    @property
    def broker_pid(self) -> int:
        """Process id of the first broker's process group."""
        return self.broker.pid

    def start(self) -> None:
        """Start the name server and the first broker, and wait until both are ready and the broker is registered.

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
                self.controller_port = free_port() if self._with_controller else 0
                self._name_server = self._spawn_name_server()
                broker = self._new_broker(self.broker_name, 0, {}, self._broker_heap)
                if self._with_controller:  # a broker that knows no controller at its start ends
                    self._name_server.wait_for_log(READY, START_TIMEOUT)
                broker.start(wait=False)
                self._name_server.wait_for_log(READY, START_TIMEOUT)
                broker.await_ready()
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Kill all servers and remove the folder."""
        with self._lock:
            for broker in self._brokers:
                broker.kill()
            self._brokers.clear()
            if self._name_server is not None:
                self._name_server.kill()
                self._name_server = None
            if self._home is not None:
                shutil.rmtree(self._home, ignore_errors=True)
                self._home = None

    def kill_broker(self) -> None:
        """SIGKILL the first broker, as a crash would; the name server notices the lost connection by itself."""
        if self._brokers:
            self.broker.kill()

    def start_broker(self, *, wait: bool = True) -> None:
        """Start the first broker again on the same port and store; with `wait`, until it serves and is registered."""
        self.broker.start(wait=wait)

    def add_broker(
        self, name: str, broker_id: int = 0, *, options: Mapping[str, str] | None = None, heap: str = ADDED_HEAP, wait: bool = True
    ) -> RealBroker:
        """Start another broker of this cluster: a master, or with an id above 0 a slave of the master of that name.

        Args:
            name: Name of the broker.
            broker_id: 0 for a master. Under a controller ids come from there.
            options: More of its broker.conf.
            heap: Its heap.
            wait: Return when it serves and is registered, which takes about 6 s; else at once.

        Raises:
            StartError: It did not become ready; carries the end of its log.
        """
        with self._lock:
            broker = self._new_broker(name, broker_id, options or {}, heap)
        broker.start(wait=wait)
        return broker

    def remove_broker(self, broker: RealBroker) -> None:
        """Kill a broker that was added, and forget it."""
        broker.kill()
        with self._lock:
            if broker in self._brokers:
                self._brokers.remove(broker)

    def ensure_running(self) -> None:
        """Bring back the first broker when a test left it dead."""
        if not self.broker_alive:
            self.start_broker()

    def create_topic(
        self, topic: str, *, queues: int = 4, perm: int = 6, order: bool = False, brokers: Iterable[RealBroker] | None = None
    ) -> None:
        """Create or change a topic on some masters, the first broker by default, and wait until the name server's route has its queues."""
        for broker in [self.broker] if brokers is None else brokers:
            raw_remoting.create_topic(broker.address, topic, queues=queues, perm=perm, order=order)
            has = partial(self._route_has, topic, broker.name, queues, perm)
            eventually_sync(has, 30.0, interval=0.05, message=f"route of {topic} with {queues} queues on {broker.name}")

    def _route_has(self, topic: str, broker_name: str, queues: int, perm: int) -> bool:
        found = raw_remoting.route(self.name_servers, topic)
        return found is not None and any(
            (data["brokerName"], data["writeQueueNums"], data["perm"]) == (broker_name, queues, perm) for data in found["queueDatas"]
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _spawn_name_server(self) -> Child:
        config = {"listenPort": str(self.name_server_port)}
        if self._is_5:
            config["bindAddress"] = "127.0.0.1"
        if self._with_controller:
            config |= {
                "enableControllerInNamesrv": "true",
                "controllerDLegerGroup": "controllers",
                "controllerDLegerPeers": f"n0-127.0.0.1:{self.controller_port}",
                "controllerDLegerSelfId": "n0",
                "controllerStorePath": str(self.home / "controller"),
                "mappedFileSize": "1048576",
            }
        conf = self.home / "namesrv.conf"
        conf.write_text("".join(f"{key}={value}\n" for key, value in config.items()))
        return self._spawn("namesrv.NamesrvStartup", ("-Xms128m", "-Xmx256m"), conf, self.home / "namesrv.out")

    def _new_broker(self, name: str, broker_id: int, options: Mapping[str, str], heap: str) -> RealBroker:
        memory = (f"-Xms{heap}", f"-Xmx{heap}", "-XX:MaxDirectMemorySize=512m")
        broker = RealBroker(
            name,
            broker_id,
            folder=self.home / f"{name}-{len(self._brokers)}",
            config=self._broker_config() | dict(options),
            spawn=partial(self._spawn, "broker.BrokerStartup", memory),
            name_server=self.name_servers,
        )
        self._brokers.append(broker)
        return broker

    def _broker_config(self) -> dict[str, str]:
        config = {
            "brokerClusterName": self.cluster_name,
            "brokerIP1": "127.0.0.1",
            "brokerIP2": "127.0.0.1",  # where slaves follow
            "namesrvAddr": self.name_servers,
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
        if self._with_controller:
            config |= {"enableControllerMode": "true", "controllerAddr": f"127.0.0.1:{self.controller_port}"}
        return config | self._broker_options

    def _spawn(self, main: str, memory: tuple[str, ...], conf: Path, log: Path) -> Child:
        command = java.java_command(
            f"org.apache.rocketmq.{main}",
            "-c",
            str(conf),
            classpath=[self.classpath, *self._classes],
            options=(*memory, *self._jvm, f"-Duser.home={conf.parent}"),
        )
        return Child(command, log=log, env={"ROCKETMQ_HOME": str(self.home)}, cwd=conf.parent)

    def _write_logback(self) -> None:
        folder = self.home / "conf"
        folder.mkdir()
        for name in ("namesrv", "broker"):  # 4.x refuses to start without them
            (folder / f"logback_{name}.xml").write_text(_LOGBACK.format(log=self.home / f"{name}.log"))

    @property
    def _is_5(self) -> bool:
        return self.version.startswith("5.")
