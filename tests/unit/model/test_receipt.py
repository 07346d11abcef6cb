"""Receipts of POP messages (protocol.md 6.11)."""

from __future__ import annotations

import pytest

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.receipt import ORDERED, Receipt, kind_of, real_topic
from aiorocketmq.protocol.headers_pop import BatchAck, BatchAckMessageRequestBody, PopMessageRequestHeader

pytestmark = pytest.mark.feature("H1")

TEXT = "0 1700000000000 60000 3 0 broker-a 1 7"


def test_a_receipt_is_eight_words() -> None:
    receipt = Receipt.decode(TEXT)
    assert receipt == (0, 1_700_000_000_000, 60_000, 3, "0", "broker-a", 1, 7)
    assert receipt.encode() == TEXT
    assert not receipt.ordered and receipt._replace(revive_queue=ORDERED).ordered
    assert Receipt.decode(f"{TEXT} 4711") == receipt, "a proxy adds a word"


@pytest.mark.parametrize("text", ["", TEXT.removesuffix(" 7"), TEXT.replace("60000", "²"), TEXT.replace(" 0 broker", " 3 broker"), None, 7])
def test_what_is_no_receipt_is_refused_with_what_to_do(text: object) -> None:
    with pytest.raises(ConfigError, match="is none") as caught:
        Receipt.decode(text)
    assert caught.value.hint


@pytest.mark.parametrize(("kind", "topic"), [("0", "t"), ("1", "%RETRY%g_t"), ("2", "%RETRY%g+t")])
def test_the_kind_tells_the_topic(kind: str, topic: str) -> None:
    assert real_topic(kind, "t", "g") == topic
    assert kind_of(topic) == kind
    assert Receipt.decode(TEXT)._replace(kind=kind).topic_of("t", "g") == topic


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown"):
        real_topic("3", "t", "g")


def test_the_body_of_many_acknowledgements_has_the_names_that_java_gives_them() -> None:
    one = BatchAck("g", "t", "0", 5, 1, 3, 1_700_000_000_000, 60_000, "AQI=")
    body = BatchAckMessageRequestBody("broker-a", [one])
    assert body.encode() == (
        b'{"brokerName":"broker-a","acks":[{"c":"g","t":"t","r":"0","so":5,"q":1,"rq":3,"pt":1700000000000,"it":60000,"b":"AQI="}]}'
    )
    assert BatchAckMessageRequestBody.decode(body.encode()) == body


def test_the_header_of_a_pop_has_the_names_that_java_gives_them() -> None:
    header = PopMessageRequestHeader("g", "t", -1, 32, 60_000, 15_000, 1, 0, "TAG", "*", order=True, attempt_id="a")
    assert header.to_ext() == {
        "consumerGroup": "g", "topic": "t", "queueId": "-1", "maxMsgNums": "32", "invisibleTime": "60000", "pollTime": "15000",
        "bornTime": "1", "initMode": "0", "expType": "TAG", "exp": "*", "order": "true", "attemptId": "a",
    }  # fmt: skip
