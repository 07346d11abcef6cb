"""A thousand requests are signed as Java's own hook signs them, as commands and in prepared frames."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aiorocketmq.config import Credentials
from aiorocketmq.model.enums import SerializeType
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.signing import SigningKey, signed_content
from aiorocketmq.protocol.templates import SendTemplate, SignedSendTemplate
from tests.golden.signatures import COUNT, requests


@pytest.mark.feature("M1")
@pytest.mark.parametrize("version", ["5.5.0", "4.9.7"])
def test_signatures_are_those_of_java(version: str) -> None:
    lines = (Path(__file__).parent / f"signatures-{version}.jsonl").read_text().splitlines()
    expected = [json.loads(line)["signature"] for line in lines]
    assert len(expected) == COUNT
    made = []
    for request in requests():
        command = request.command()
        SigningKey(request.credentials).sign(command)
        made.append(command.ext_fields["Signature"])
        assert command.ext_fields.get("SecurityToken") == request.credentials.token
    assert made == expected


@pytest.mark.feature("M1")
@pytest.mark.parametrize("form", list(SerializeType))
@pytest.mark.parametrize("token", [None, "token+/="])
@pytest.mark.parametrize("batch", [False, True])
def test_prepared_frames_are_signed_like_commands(form: SerializeType, token: str | None, batch: bool) -> None:
    key = SigningKey(Credentials("100%access", "secret", token))
    extra = {"ns": "space", "nsd": "true", "ReqT": "0", "\U0001f680": "%d", "\uffee": "100 %"}
    plain = SendTemplate("%RETRY%group", "topic", "TBW102", 4, "broker-a", extra=extra, serialize_type=form)
    template = SignedSendTemplate(plain, lambda: key)
    frame = template.frame(7, 3, 1, 1_700_000_000_000, -5, "KEYS\x01größe 中文 %s\x02", b"body\xff", batch)
    (command,) = FrameReceiver(1 << 20).feed(frame)
    assert command.code == (320 if batch else 310)
    signature = command.ext_fields["Signature"]
    assert key.verify(signed_content(command.ext_fields, command.body), signature)
    unsigned = FrameReceiver(1 << 20).feed(plain.frame(7, 3, 1, 1_700_000_000_000, -5, "KEYS\x01größe 中文 %s\x02", b"body\xff", batch))[0]
    assert command.ext_fields == {**unsigned.ext_fields, **key.fields, "Signature": signature}
    assert (command.body, command.opaque, command.flag) == (unsigned.body, unsigned.opaque, unsigned.flag)


@pytest.mark.feature("M1")
def test_prepared_frames_follow_a_new_key() -> None:
    keys = [SigningKey(Credentials("first", "secret1", "token")), SigningKey(Credentials("second", "secret2"))]
    now = [keys[0]]
    template = SignedSendTemplate(SendTemplate("g", "t", "TBW102", 4, "b"), lambda: now[0])
    for key in (keys[0], keys[1], keys[0]):
        now[0] = key
        (command,) = FrameReceiver(1 << 20).feed(template.frame(1, 0, 0, 1, 0, "", b"x"))
        assert command.ext_fields["AccessKey"] == key.access_key
        assert ("SecurityToken" in command.ext_fields) is (key is keys[0])
        assert key.verify(signed_content(command.ext_fields, command.body), command.ext_fields["Signature"])


@pytest.mark.feature("M1")
def test_a_request_that_goes_to_another_server_is_signed_anew() -> None:
    (request, *_) = requests()
    command = request.command()
    SigningKey(Credentials("old", "secret", "token")).sign(command)
    SigningKey(Credentials("new", "other")).sign(command)
    fresh = request.command()
    SigningKey(Credentials("new", "other")).sign(fresh)
    assert command.ext_fields == fresh.ext_fields


@pytest.mark.feature("M1")
def test_every_changed_bit_of_what_is_signed_is_noticed() -> None:
    key = SigningKey(Credentials("user", "secret"))
    (request, *_) = (found for found in requests() if found.body and found.fields)
    command = request.command()
    key.sign(command)
    content = signed_content(command.ext_fields, command.body)
    signature = command.ext_fields["Signature"]
    assert key.verify(content, signature)
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            assert not key.verify(bytes(changed), signature)
    assert not key.verify(content, signature[:-1])
    assert not key.verify(content, "é" + signature)
