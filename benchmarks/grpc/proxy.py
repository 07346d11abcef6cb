"""One proxy of real Apache RocketMQ in cluster mode, beside a running cluster: it speaks gRPC to clients and remoting to the broker."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.support import java
from tests.support.processes import Child, free_port
from tests.support.real_broker import START_TIMEOUT
from tests.support.real_cluster import SERVER_JVM, RealCluster

POM = Path(__file__).with_name("pom.xml")
READY = "rocketmq-proxy startup successfully"


class Proxy:
    """A running proxy; its files lie below the cluster's folder and go with it.

    Blocking. Stop it before the cluster. The proxy of 5.x cannot be told to listen on the loopback interface only.

    Args:
        cluster: A started cluster of a 5.x release; the proxy is of the same one.
        heap: Heap of the proxy.
    """

    def __init__(self, cluster: RealCluster, *, heap: str = "512m") -> None:
        self._cluster = cluster
        self._heap = heap
        self._process: Child | None = None
        self.grpc_port = 0

    @property
    def address(self) -> str:
        """`host:port` for gRPC clients."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def remoting_address(self) -> str:
        """`host:port` for remoting clients: name server and broker in one."""
        return f"127.0.0.1:{self.grpc_port + 1}"

    def start(self) -> None:
        """Start the proxy and wait until it serves.

        Raises:
            JavaMissingError: Java or Maven is missing.
            RuntimeError: The jars cannot be fetched.
            StartError: The proxy did not become ready; carries the end of its log.
        """
        library = java.jars(self._cluster.version, name="proxy", pom=POM)
        home = Path(tempfile.mkdtemp(prefix="proxy-", dir=self._cluster.home))
        command = java.java_command(
            "org.apache.rocketmq.proxy.ProxyStartup",
            "-pc",
            str(self._write_config(home)),
            classpath=[f"{library}/*"],
            options=(f"-Xms{self._heap}", f"-Xmx{self._heap}", *SERVER_JVM, *java.log_options(home)),
        )
        self._process = Child(command, log=home / "proxy.out", env={"ROCKETMQ_HOME": str(home)}, cwd=home)
        try:
            self._process.wait_for_log(READY, START_TIMEOUT)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill the proxy."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _write_config(self, home: Path) -> Path:
        self.grpc_port = free_port(around=(0, 1))
        file = home / "rmq-proxy.json"
        config = {
            "proxyMode": "cluster",
            "rocketMQClusterName": self._cluster.cluster_name,
            "namesrvAddr": self._cluster.name_servers,
            "localServeAddr": "127.0.0.1",
            "grpcServerPort": self.grpc_port,
            "remotingListenPort": self.grpc_port + 1,  # 8080 otherwise
        }
        file.write_text(json.dumps(config))
        return file
