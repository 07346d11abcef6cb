"""Templates give what the slow path gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.enums import SerializeType
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import ONEWAY_FLAG, RemotingCommand
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.frame import encode
from aiorocketmq.protocol.headers_client import PullMessageRequestHeader, SendMessageRequestHeaderV2
from aiorocketmq.protocol.templates import PullTemplate, SendTemplate

queues = st.integers(0, 65534)
int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
names = st.text('abc%_-|中"\\{}', min_size=1, max_size=20)
texts = st.text(max_size=60)
serialize_types = pytest.mark.parametrize("kind", list(SerializeType))


def _through_the_slow_path(command: RemotingCommand) -> RemotingCommand:
    (read,) = FrameReceiver().feed(encode(command))
    return read


@serialize_types
@given(
    group=names, topic=names, broker=st.none() | names, opaque=st.integers(0, 2**31 - 1), queue_id=int32, sys_flag=int32, born=int64,
    flag=int32, properties=st.text(st.characters(exclude_categories=["Cs"])), body=st.binary(max_size=50), batch=st.booleans(),
    oneway=st.booleans(), unit_mode=st.booleans(),
)  # fmt: skip
def test_send(
    codec: str, kind: SerializeType, group: str, topic: str, broker: str | None, opaque: int, queue_id: int, sys_flag: int, born: int,
    flag: int, properties: str, body: bytes, batch: bool, oneway: bool, unit_mode: bool,
) -> None:  # fmt: skip
    template = SendTemplate(group, topic, "TBW102", 4, broker, unit_mode=unit_mode, oneway=oneway, serialize_type=kind)
    (fast,) = FrameReceiver().feed(template.frame(opaque, queue_id, sys_flag, born, flag, properties, body, batch))
    header = SendMessageRequestHeaderV2(
        group, topic, "TBW102", 4, queue_id, sys_flag, born, flag, properties, 0, unit_mode, None, batch, broker
    )  # fmt: skip
    code = RequestCode.SEND_BATCH_MESSAGE if batch else RequestCode.SEND_MESSAGE_V2
    slow = RemotingCommand(
        code, opaque=opaque, flag=ONEWAY_FLAG if oneway else 0, ext_fields=header.to_ext(), body=body, serialize_type=kind
    )
    assert fast == _through_the_slow_path(slow)


@serialize_types
@given(
    group=names, topic=names, broker=st.none() | names, opaque=st.integers(0, 2**31 - 1), queue_id=queues, offset=int64, sys_flag=int32,
    commit=int64, subscription=st.none() | names, lite=st.booleans(),
)  # fmt: skip
def test_pull(
    codec: str, kind: SerializeType, group: str, topic: str, broker: str | None, opaque: int, queue_id: int, offset: int, sys_flag: int,
    commit: int, subscription: str | None, lite: bool,
) -> None:  # fmt: skip
    template = PullTemplate(
        group, topic, queue_id, broker, max_msg_nums=32, max_msg_bytes=262144, suspend_timeout_millis=15000, sub_version=5,
        subscription=subscription, expression_type="TAG", lite=lite, extra={"ns": "space", "nsd": "true"}, serialize_type=kind,
    )  # fmt: skip
    (fast,) = FrameReceiver().feed(template.frame(opaque, offset, sys_flag, commit))
    header = PullMessageRequestHeader(
        group, topic, queue_id, offset, 32, sys_flag, commit, 15000, 5, subscription, "TAG", 262144, bname=broker, ns="space", nsd=True
    )  # fmt: skip
    code = RequestCode.LITE_PULL_MESSAGE if lite else RequestCode.PULL_MESSAGE
    slow = RemotingCommand(code, opaque=opaque, ext_fields=header.to_ext(), serialize_type=kind)
    assert fast == _through_the_slow_path(slow)


def test_lone_surrogates_in_properties_do_not_crash(codec: str) -> None:
    template = SendTemplate("g", "t", "TBW102", 4, "b")
    (command,) = FrameReceiver().feed(template.frame(1, 0, 0, 0, 0, "a\x01\ud800\x02", b"x"))
    assert command.ext_fields["i"] == "a\x01\ud800\x02"


@serialize_types
def test_properties_too_long_for_a_frame(codec: str, kind: SerializeType) -> None:
    template = SendTemplate("g", "t", "TBW102", 4, "b", serialize_type=kind)
    with pytest.raises(ProtocolError, match="limit is 16777215"):
        template.frame(1, 0, 0, 0, 0, "x" * (1 << 24), b"x")
