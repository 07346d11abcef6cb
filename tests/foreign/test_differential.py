"""Generated sequences of commands on the embedded server and on a real one: both answer alike, but for the differences that are listed.

`AIOROCKETMQ_SEQUENCES=1000 AIOROCKETMQ_SEED=7` plays more, and others. A failure shows the shortest sequence that differs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.foreign.differential.command import Command
from tests.foreign.differential.known import RULES, explain
from tests.foreign.differential.later import SendBack
from tests.foreign.differential.play import SETUP, Stage, generate, generate_for_name_server, report
from tests.foreign.differential.sending import Send
from tests.foreign.differential.watching import ALL_TOPICS, Everything
from tests.support.clusters import EmbeddedTestCluster, RealTestCluster

SEQUENCES = int(os.environ.get("AIOROCKETMQ_SEQUENCES", "60"))
SEED = int(os.environ.get("AIOROCKETMQ_SEED", "1"))
LENGTH = 40
_SIDE_BY_SIDE = 6
_PAGE = Path(__file__).parents[2] / "docs" / "embedded-differences.md"


@pytest.fixture
def embedded() -> Iterator[EmbeddedTestCluster]:
    """An embedded server of its own: what other tests have stored there is in nobody's way."""
    server = EmbeddedTestCluster()
    yield server
    server.stop()


def test_each_difference_is_told() -> None:
    told = re.findall(r"^\| \*\*(.+?)\*\* \|", _PAGE.read_text(), re.MULTILINE)
    assert sorted(told) == sorted(rule.name for rule in RULES)


def test_what_a_refused_send_back_leaves_on_a_real_broker_is_on_both(
    newest_cluster: RealTestCluster, embedded: EmbeddedTestCluster
) -> None:
    stage = Stage(embedded.broker_address, newest_cluster.broker_address, newest_cluster.unique("d"), explain)
    for group in ("g0", "g1"):
        refused = SendBack(number=2, sent=1, group=group, shift=1 << 40)
        commands: list[Command] = [*SETUP, Send(number=1, topic="t0"), refused, Everything(number=3, code=ALL_TOPICS)]
        played = stage.play(commands)
        assert not played.unexplained, report(group, commands, played.unexplained)
        assert played.commands == len(commands)


@pytest.mark.timeout(600 + SEQUENCES * 5)
@pytest.mark.parametrize("transactions", [False, True], ids=["", "with transactions"])
def test_the_embedded_broker_answers_as_a_real_one(
    newest_cluster: RealTestCluster, embedded: EmbeddedTestCluster, transactions: bool
) -> None:
    seeds = range(SEED, SEED + (SEQUENCES if not transactions else max(1, SEQUENCES // 4)))

    def commands_of(seed: int) -> list[Command]:
        return generate(seed, LENGTH, transactions=transactions)

    _compare(embedded.broker_address, newest_cluster.broker_address, newest_cluster, seeds, commands_of)


@pytest.mark.timeout(600 + SEQUENCES * 5)
def test_the_embedded_name_server_answers_as_a_real_one(newest_cluster: RealTestCluster, embedded: EmbeddedTestCluster) -> None:
    def commands_of(seed: int) -> list[Command]:
        return generate_for_name_server(seed, LENGTH)

    _compare(embedded.name_servers, newest_cluster.name_servers, newest_cluster, range(SEED, SEED + SEQUENCES), commands_of)


def _compare(ours: str, theirs: str, cluster: RealTestCluster, seeds: range, commands_of: Callable[[int], list[Command]]) -> None:
    def play(seed: int) -> str:
        stage = Stage(ours, theirs, cluster.unique("d"), explain)
        commands = commands_of(seed)
        played = stage.play(commands)
        if not played.unexplained:
            return ""
        short = stage.shorten(commands[: played.commands], played.unexplained[0])
        return report(seed, short, stage.play(short).unexplained or played.unexplained)

    with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="sequence") as players:
        for found in players.map(play, seeds):
            assert not found, found
