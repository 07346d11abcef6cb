"""Fixtures of the whole suite: the clusters.

`cluster` runs a test on the embedded server and on both real releases. `newest_cluster` and `embedded_cluster` tie it to one.
"""

from __future__ import annotations

import signal

import pytest

from tests.support.clusters import EMBEDDED, KINDS, NO_CLUSTER, Cluster, ClusterPool, RealTestCluster, cluster_of, unavailable_reason
from tests.support.java import NEWEST

pytest_plugins = ["tests.support.feature_report", "tests.support.quiet"]

_POOL = pytest.StashKey[ClusterPool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    kinds = [NO_CLUSTER, *KINDS]
    parser.addoption("--cluster", action="append", choices=kinds, help="run only tests on this cluster; may be repeated")


def pytest_configure() -> None:
    # A shell without job control starts background commands with SIGINT ignored, and every program under test would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("--cluster")
    if wanted:
        config.hook.pytest_deselected(items=[item for item in items if cluster_of(item) not in wanted])
        items[:] = [item for item in items if cluster_of(item) in wanted]
    # A broker 5.5.0 keeps a whole processor busy from its first transaction on (apache/rocketmq#10966): these come last.
    items.sort(key=lambda item: cluster_of(item) == NEWEST and "transaction" in item.nodeid)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Real servers take seconds to boot: begin while other tests run."""
    if session.config.option.collectonly:
        return
    pool = session.config.stash[_POOL] = ClusterPool()
    for kind in KINDS:
        if kind != EMBEDDED and not unavailable_reason(kind) and any(cluster_of(item) == kind for item in session.items):
            pool.prepare(kind)


@pytest.fixture(scope="session")
def cluster_pool(request: pytest.FixtureRequest) -> ClusterPool:
    """All clusters of the session."""
    return request.config.stash[_POOL]


def pytest_sessionfinish(session: pytest.Session) -> None:
    pool = session.config.stash.get(_POOL, None)
    if pool is not None:
        pool.stop()


def _running(pool: ClusterPool, kind: str) -> Cluster:
    reason = unavailable_reason(kind)
    if reason:
        pytest.skip(reason)
    running = pool.get(kind)
    running.ensure_running()
    return running


@pytest.fixture(scope="session", params=KINDS)
def session_cluster(request: pytest.FixtureRequest) -> str:
    """Groups the tests by cluster: a session-scoped parameter is changed as rarely as possible."""
    return str(request.param)


@pytest.fixture
def cluster(session_cluster: str, cluster_pool: ClusterPool) -> Cluster:
    """The embedded server, 5.5.0 and 4.9.7 in turn; its broker is up."""
    return _running(cluster_pool, session_cluster)


@pytest.fixture
def embedded_cluster(cluster_pool: ClusterPool) -> Cluster:
    """The embedded server alone."""
    return _running(cluster_pool, EMBEDDED)


@pytest.fixture
def newest_cluster(cluster_pool: ClusterPool) -> RealTestCluster:
    """Real Apache RocketMQ 5.5.0 alone."""
    running = _running(cluster_pool, NEWEST)
    assert isinstance(running, RealTestCluster)
    return running
