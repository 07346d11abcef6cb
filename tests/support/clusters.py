"""The clusters that the behaviour suite runs on: the embedded server and two real releases, each started once and on demand.

Every method of a cluster may be called from any event loop: the embedded server lives on a loop and thread of its own, the real one
in processes of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import aiorocketmq.sync
from tests.support import java, raw_remoting
from tests.support.real_cluster import RealCluster

if TYPE_CHECKING:
    import pytest

    from aiorocketmq.server import LocalCluster

T = TypeVar("T")

EMBEDDED = "embedded"
KINDS = (EMBEDDED, *java.VERSIONS)
NO_CLUSTER = "unit"

# Clients of tests outlast a broker that is silent or busy for some seconds, as on a machine whose processors or disk are
# taken away: speed and the default time-outs are not what a behaviour test is about.
PATIENT: dict[str, Any] = {"send_msg_timeout": 20.0, "retry_times_when_send_failed": 10, "retry_times_when_send_async_failed": 10}
PATIENT_ADMIN: dict[str, Any] = {"mq_client_api_timeout": 20.0}

# Brokers ask about open transactions after 6 s, and then every 30 s (4.x: 60 s); that would be long for a test. 5.x notes decisions only
# every 3 s, and asks again as long as they are not noted.
EARLY_CHECKS = {"transactionTimeOut": "3000", "transactionCheckInterval": "1000", "transactionOpBatchInterval": "50"}

# Fixtures of tests/conftest.py that tie a test to one cluster without the parameter of `cluster`.
CLUSTER_OF_FIXTURE = {"newest_cluster": java.NEWEST, "embedded_cluster": EMBEDDED}


class Cluster(ABC):
    """What a behaviour test sees of a cluster.

    Attributes:
        kind: "embedded" or the release.
    """

    kind: str

    def __init__(self) -> None:
        self._run = uuid.uuid4().hex[:6]
        self._numbers = itertools.count(1)

    @property
    def is_real(self) -> bool:
        """True for Apache RocketMQ itself."""
        return self.kind != EMBEDDED

    @property
    @abstractmethod
    def name_servers(self) -> str:
        """What a client is given."""

    @property
    @abstractmethod
    def broker_name(self) -> str:
        """Name of the only broker."""

    @property
    @abstractmethod
    def broker_address(self) -> str:
        """`host:port` of the only broker."""

    def unique(self, prefix: str) -> str:
        """A topic or group name that no other test uses, on this cluster or any other."""
        return f"{prefix}_{self._run}_{next(self._numbers)}"

    def producer(self, **settings: Any) -> aiorocketmq.Producer:
        """A patient producer in a group of its own, not started yet."""
        return aiorocketmq.Producer(self.name_servers, group=self.unique("producer"), **{**PATIENT, **settings})

    def sync_producer(self, **settings: Any) -> aiorocketmq.sync.Producer:
        """The same with blocking calls."""
        return aiorocketmq.sync.Producer(self.name_servers, group=self.unique("producer"), **{**PATIENT, **settings})

    def transaction_producer(self, check: Any, **settings: Any) -> aiorocketmq.TransactionProducer:
        """A patient transaction producer, in a group of its own unless it is given one, not started yet."""
        settings = {"group": self.unique("producer"), **PATIENT, **settings}
        return aiorocketmq.TransactionProducer(self.name_servers, check=check, **settings)

    def admin(self, **settings: Any) -> aiorocketmq.AdminClient:
        """A patient admin client, not started yet."""
        return aiorocketmq.AdminClient(self.name_servers, **{**PATIENT_ADMIN, **settings})

    def sync_admin(self, **settings: Any) -> aiorocketmq.sync.AdminClient:
        """The same with blocking calls."""
        return aiorocketmq.sync.AdminClient(self.name_servers, **{**PATIENT_ADMIN, **settings})

    @abstractmethod
    async def create_topic(self, topic: str, queues: int = 4, *, perm: int = 6, order: bool = False) -> str:
        """Create a topic, wait until the name server's route shows it, and answer its name."""

    @abstractmethod
    async def kill_broker(self) -> None:
        """End the broker as a crash would."""

    @abstractmethod
    async def start_broker(self) -> None:
        """Start the broker again on the same port and store, and wait until it is registered."""

    @abstractmethod
    def ensure_running(self) -> None:
        """Bring back a broker that a test left dead."""

    @abstractmethod
    def stop(self) -> None:
        """Stop everything."""


class RealTestCluster(Cluster):
    """A real release."""

    def __init__(self, version: str) -> None:
        super().__init__()
        self.kind = version
        self.server = RealCluster(version, broker_options=EARLY_CHECKS)
        self.server.start()

    @property
    def name_servers(self) -> str:
        return self.server.name_servers

    @property
    def broker_name(self) -> str:
        return self.server.broker_name

    @property
    def broker_address(self) -> str:
        return self.server.broker_address

    async def create_topic(self, topic: str, queues: int = 4, *, perm: int = 6, order: bool = False) -> str:
        await asyncio.to_thread(self.server.create_topic, topic, queues=queues, perm=perm, order=order)
        return topic

    async def kill_broker(self) -> None:
        await asyncio.to_thread(self.server.kill_broker)

    async def start_broker(self) -> None:
        await asyncio.to_thread(self.server.start_broker)

    def ensure_running(self) -> None:
        self.server.ensure_running()

    def stop(self) -> None:
        self.server.stop()


class EmbeddedTestCluster(Cluster):
    """The embedded server on a loop and thread of its own; `settings` are arguments of `LocalCluster`."""

    kind = EMBEDDED

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="embedded-cluster", daemon=True)
        self._thread.start()
        try:
            self._server = self._call(self._start())
        except BaseException:
            self._end_loop()
            raise

    async def _start(self) -> LocalCluster:
        from aiorocketmq.server import LocalCluster

        server = LocalCluster(**{"transaction_timeout": 3.0, "transaction_check_interval": 1.0, **self._settings})
        await server.start()
        return server

    @property
    def name_servers(self) -> str:
        return self._server.name_servers

    @property
    def broker_name(self) -> str:
        return self._server.brokers[0].name

    @property
    def broker_address(self) -> str:
        return self._server.brokers[0].address

    async def create_topic(self, topic: str, queues: int = 4, *, perm: int = 6, order: bool = False) -> str:
        # Over the wire, as on the real clusters: the suite proves nothing with a back door.
        await asyncio.to_thread(raw_remoting.create_topic, self.broker_address, topic, queues=queues, perm=perm, order=order)
        return topic

    async def kill_broker(self) -> None:
        await self._await(self._server.kill_broker(self.broker_name))

    async def start_broker(self) -> None:
        await self._await(self._server.start_broker(self.broker_name))

    async def advance(self, seconds: float) -> None:
        """Move the brokers' clock ahead."""
        await self._await(self._server.advance(seconds))

    def ensure_running(self) -> None:
        try:
            raw_remoting.route(self.broker_address, "TBW102")
        except ConnectionRefusedError:
            self._call(self._server.start_broker(self.broker_name))
        except (raw_remoting.RawAnswerError, OSError):
            return  # it answered, or it is busy: it lives

    def stop(self) -> None:
        self._call(self._server.stop())
        self._end_loop()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30.0)

    async def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()


class ClusterPool:
    """The clusters of one test session, each started at its first use (or ahead of it) and stopped at the end."""

    def __init__(self) -> None:
        self._starter = ThreadPoolExecutor(len(KINDS), thread_name_prefix="cluster-start")
        self._clusters: dict[str, Future[Cluster]] = {}
        self._lock = threading.Lock()

    def prepare(self, kind: str) -> None:
        """Begin to start a cluster, without waiting."""
        with self._lock:
            if kind not in self._clusters:
                self._clusters[kind] = self._starter.submit(_start, kind)

    def get(self, kind: str) -> Cluster:
        """The running cluster; waits for its start."""
        self.prepare(kind)
        return self._clusters[kind].result()

    def stop(self) -> None:
        """Stop what was started."""
        self._starter.shutdown(wait=True)
        for started in self._clusters.values():
            if started.exception() is None:
                started.result().stop()


def _start(kind: str) -> Cluster:
    return EmbeddedTestCluster() if kind == EMBEDDED else RealTestCluster(kind)


def unavailable_reason(kind: str) -> str:
    """Why a cluster cannot run here, or "". In CI (CI=true) every cluster is mandatory: nothing is ever a reason."""
    missing = java.missing_tools()
    if kind == EMBEDDED or not missing or os.environ.get("CI") == "true":
        return ""
    return f"real Apache RocketMQ {kind} needs {missing}"


def cluster_of(item: pytest.Item) -> str:
    """The cluster a test runs on, or "unit"."""
    call = getattr(item, "callspec", None)
    if call is not None and "session_cluster" in call.params:
        return str(call.params["session_cluster"])
    for fixture in getattr(item, "fixturenames", ()):
        if fixture in CLUSTER_OF_FIXTURE:
            return CLUSTER_OF_FIXTURE[fixture]
    return NO_CLUSTER
