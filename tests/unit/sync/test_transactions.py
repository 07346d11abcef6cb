"""Local transactions of blocking producers that end in an unusual way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import aiorocketmq.sync as rmq
from tests.unit.sync.scripted import TOPIC, Site

pytestmark = pytest.mark.feature("C1")
COMMIT = rmq.TransactionState.COMMIT


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


def test_a_local_transaction_that_is_interrupted_is_left_to_check(site: Site) -> None:
    ids: list[str] = []
    with rmq.TransactionProducer(site.name_server.address, group="pay", check=lambda message: COMMIT, topics=[TOPIC]) as producer:
        known = producer._async._decisions.known

        def execute(message: rmq.HalfMessage, arg: object) -> rmq.TransactionState:
            ids.append(message.transaction_id)
            assert known(message.transaction_id) is rmq.TransactionState.UNKNOWN, "it is under way"
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            producer.send_in_transaction(rmq.Message(TOPIC, b"x"), execute)
        assert [known(each) for each in ids] == [None], "now the user has to tell"


def test_a_local_transaction_is_not_run_when_its_half_message_is_not_safe(site: Site) -> None:
    run: list[object] = []

    def execute(message: rmq.HalfMessage, arg: object) -> rmq.TransactionState:
        run.append(message)
        return COMMIT

    with rmq.TransactionProducer(site.name_server.address, group="pay", check=lambda message: COMMIT, topics=[TOPIC]) as producer:
        site.broker.answers = [10]
        result = producer.send_in_transaction(rmq.Message(TOPIC, b"x"), execute)
        assert (result.half.status, result.state) == (rmq.SendStatus.FLUSH_DISK_TIMEOUT, rmq.TransactionState.ROLLBACK)
        assert run == []
        assert producer.send_in_transaction(rmq.Message(TOPIC, b"x"), execute).state is COMMIT
    assert len(run) == 1
