"""A pytest plugin that records which capability was seen to work on which cluster.

Tests carry `@pytest.mark.feature("K1", ...)`. With `--feature-results FILE` the outcome of every such test is written as JSON; the
table in docs/compatibility.md is made from it by `tools/compatibility.py`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from tests.support.clusters import cluster_of


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--feature-results", metavar="FILE", help="write feature x cluster x outcome as JSON")


def pytest_configure(config: pytest.Config) -> None:
    target = config.getoption("--feature-results")
    if target:
        config.pluginmanager.register(FeatureRecorder(Path(target)), "feature-recorder")


class FeatureRecorder:
    """Collects outcomes; one test may prove several features."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._features: dict[str, tuple[str, list[str]]] = {}
        self._outcomes: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            ids = [str(name) for mark in item.iter_markers("feature") for name in mark.args]
            if ids:
                self._features[item.nodeid] = (cluster_of(item), ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # The worst of set-up, call and tear-down counts.
        if report.failed:
            self._outcomes[report.nodeid] = "failed"
        elif report.skipped:
            self._outcomes.setdefault(report.nodeid, "skipped")
        elif report.when == "call":
            self._outcomes.setdefault(report.nodeid, "passed")

    def pytest_sessionfinish(self) -> None:
        results: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
        for nodeid, (cluster, ids) in self._features.items():
            for name in ids:
                # A test that was chosen and has no outcome was never reached.
                results[name][cluster][self._outcomes.get(nodeid, "skipped")] += 1
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._target.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
