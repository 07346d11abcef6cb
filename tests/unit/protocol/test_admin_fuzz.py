"""Bodies of administration on arbitrary input: a record or a `ProtocolError` that names it, in time that grows with the input only."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import ProtocolError
from aiorocketmq.protocol import admin_access, admin_brokers, admin_ha, admin_lite, admin_queues, admin_topics, bodies_access, bodies_admin
from aiorocketmq.protocol.beans import Bean
from aiorocketmq.protocol.record import fields_of

MODULES = (bodies_admin, bodies_access, admin_access, admin_brokers, admin_ha, admin_lite, admin_queues, admin_topics)
BEANS: list[Any] = sorted(
    {
        item
        for module in MODULES
        for item in (getattr(module, name) for name in module.__all__)
        if isinstance(item, type) and issubclass(item, Bean)
    },
    key=lambda item: str(item.__name__),
)
scalars = st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=6)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=8
)


@pytest.mark.parametrize("kind", BEANS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_any_values_in_the_fields(kind: Any, data: st.DataObject) -> None:
    body = {each.name: data.draw(values) for each in fields_of(kind)}
    try:
        read = kind.decode(json.dumps(body).encode("utf-8", "replace"))
    except ProtocolError as error:
        assert kind.__name__ in str(error)
        return
    assert kind.decode(read.encode()) == read or "nan" in repr(read)
    repr(read)


@given(st.sampled_from(BEANS), st.binary(max_size=60) | st.text('{}[]":,$ref.0a\\', max_size=60).map(str.encode))
def test_any_bytes(kind: Any, data: bytes) -> None:
    try:
        kind.decode(data)
    except ProtocolError as error:
        assert kind.__name__ in str(error)


def test_a_few_bytes_do_not_stand_for_many_over_and_over() -> None:
    """Of 160 KB that name one list 4000 times, eight million entries were made."""
    large = ",".join(['"t"'] * 2000)
    body = '{"groupTopicMap":{"large":[%s],%s}}'
    few, many = (",".join(f'"g{number}":{{"$ref":"$.groupTopicMap.large"}}' for number in range(count)) for count in (40, 4000))
    read = bodies_admin.ConsumerOffsetWrapper.decode((body % (large, few)).encode())
    assert read.group_topic_map is not None
    assert {len(topics) for topics in read.group_topic_map.values()} == {2000}
    with pytest.raises(ProtocolError, match=r"ConsumerOffsetWrapper: the references of the JSON body stand for more than 1000000 parts"):
        bodies_admin.ConsumerOffsetWrapper.decode((body % (large, many)).encode())


@pytest.mark.parametrize("kind", [admin_topics.TopicQueueMappingDetail, bodies_admin.ConsumeStatsList, admin_ha.BrokerReplicasInfo])
@pytest.mark.parametrize(
    "data",
    [
        b'{"a":' + b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"hostedQueues":{{"$ref":"$"}:{"$ref":"$"}},"consumeStatsList":[{"$ref":"$"},{"$ref":"$.consumeStatsList"}]}',
        b'{"x":{"$ref":"$.x"},"consumeStatsList":[' + b'{"g":{"$ref":"$.consumeStatsList[0]"}},' * 10_000 + b"]}",
        b'{"hostedQueues":{' + b",".join(b'%d:[{"$ref":"$.hostedQueues.0"}]' % number for number in range(20_000)) + b"}}",
    ],
    ids=["lists", "objects", "circle", "references", "references-of-references"],
)
def test_hostile_bodies_end_soon(kind: Any, data: bytes) -> None:
    begun = time.process_time()
    try:
        kind.decode(data)
    except ProtocolError as error:
        assert len(str(error)) < 500
    assert time.process_time() - begun < 5
