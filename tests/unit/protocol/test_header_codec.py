from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.enums import SerializeType
from aiorocketmq.protocol.codes import LanguageCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header_codec import (
    decode_binary,
    decode_header,
    decode_json,
    decode_text,
    encode_binary,
    encode_header,
    encode_json,
    encode_text,
)

int32 = st.integers(-(2**31), 2**31 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
commands = st.builds(
    RemotingCommand,
    code=st.integers(-(2**15), 2**15 - 1),
    language=st.sampled_from([int(code) for code in LanguageCode]),
    version=st.integers(-(2**15), 2**15 - 1),
    opaque=int32,
    flag=int32,
    remark=st.none() | texts.filter(bool),
    ext_fields=st.dictionaries(texts.filter(bool), texts.filter(bool), max_size=6),
    serialize_type=st.sampled_from(SerializeType),
)


@pytest.mark.feature("O2", "O3")
@given(commands)
def test_round_trip(codec: str, command: RemotingCommand) -> None:
    data = encode_header(command)
    assert decode_header(command.serialize_type.value, data, b"") == command


@pytest.mark.feature("O2", "O3")
@given(st.binary(max_size=80))
def test_any_bytes_give_a_command_or_a_protocol_error(codec: str, data: bytes) -> None:
    for kind in (0, 1, 2):
        try:
            assert isinstance(decode_header(kind, data, b""), RemotingCommand)
        except ProtocolError:
            continue


@given(commands, st.data())
def test_a_damaged_binary_header_never_crashes(codec: str, command: RemotingCommand, data: st.DataObject) -> None:
    good = bytearray(encode_binary(command))
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_binary(bytes(good[: data.draw(st.integers(0, len(good)))]))
    except ProtocolError as error:
        assert "binary header" in str(error)


@pytest.mark.feature("O3")
def test_codes_that_do_not_fit_go_in_json(codec: str) -> None:
    command = RemotingCommand(200050, serialize_type=SerializeType.ROCKETMQ)
    assert decode_json(encode_header(command)).code == 200050


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"{", "does not parse"),
        (b"[1]", "list, not an object"),
        (b"{}", "code is 'None'"),
        (b'{"code":"7"}', "code is '7'"),
        (b'{"code":1.5}', "code is '1.5'"),
        (b'{"code":2147483648}', "code is '2147483648'"),
        (b'{"code":1,"opaque":null}', "opaque is 'None'"),
        (b'{"code":1,"opaque":99999999999999999999999}', "opaque is"),
        (b'{"code":1,"flag":[]}', "flag is '\\[\\]'"),
        (b'{"code":1,"version":"x"}', "version is 'x'"),
        (b'{"code":1,"remark":5}', "remark is a int"),
        (b'{"code":1,"extFields":[]}', "extFields is a list"),
        (b'{"code":1,"extFields":{"a":{}}}', "field 'a' is a dict"),
        (b"[" * 100_000, "does not parse"),
    ],
)
def test_bad_json_headers_are_named(codec: str, data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        decode_json(data)


@pytest.mark.feature("O2")
def test_what_other_clients_send_is_accepted(codec: str) -> None:
    command = decode_json(
        b'{"code":11,"language":7,"extFields":{"a":1,"b":true,"c":null,"d":"x","e":1.5},"more":{"x":1},"suspended":false}'
    )
    assert command.ext_fields == {"a": "1", "b": "true", "d": "x", "e": "1.5"}
    assert (command.language, command.version, command.opaque, command.flag) == (LanguageCode.OTHER, 0, 0, 0)
    assert decode_json(b'{"code":1}').language == LanguageCode.JAVA
    assert decode_json(b'{"code":1,"language":"COBOL","extFields":null,"remark":null}').language == LanguageCode.OTHER
    assert decode_json(b'{"code":1,"language":"GO"}').language == LanguageCode.GO


def test_an_unknown_language_number_is_written_as_other(codec: str) -> None:
    assert decode_json(encode_json(RemotingCommand(1, language=99))).language == LanguageCode.OTHER


def _binary(remark_length: int, ext_length: int, ext: bytes = b"") -> bytes:
    return struct.pack(">hBhiiiI", 1, 3, 479, 7, 0, remark_length, ext_length & 0xFFFFFFFF) + ext


@pytest.mark.feature("O3")
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\0" * 20, "20 bytes, at least 21"),
        (_binary(-1, 0), "remark length -1"),
        (_binary(1, 0), "remark length 1 "),
        (_binary(2**31 - 1, 0), "remark length 2147483647"),
        (_binary(0, 1), "map length 1 "),
        (_binary(0, -5), "map length -5"),
        (_binary(0, 1, b"\0"), "ends inside an entry"),
        (_binary(0, 2, b"\0\5"), "name of 5 bytes"),
        (_binary(0, 2, b"\xff\xff"), "name of 65535 bytes"),
        (_binary(0, 7, b"\0\1a\0\0\0\1"), "value of 1 bytes"),
        (_binary(0, 7, b"\0\1a\xff\xff\xff\xff"), "value of -1 bytes"),
        (_binary(0, 5, b"\0\1a\0\0"), "name of 1 bytes"),
    ],
)
def test_bad_binary_headers_are_named(data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        decode_binary(data)


def test_empty_values_are_nulls_as_in_java() -> None:
    command = RemotingCommand(1, ext_fields={"a": "", "b": "x"}, remark="")
    again = decode_binary(encode_binary(command))
    assert again.ext_fields == {"b": "x"}
    assert again.remark is None


def test_duplicate_names_last_wins() -> None:
    entries = b"\0\1a\0\0\0\1x" + b"\0\1a\0\0\0\1y"
    assert decode_binary(_binary(0, len(entries), entries)).ext_fields == {"a": "y"}


def test_what_does_not_fit_in_a_binary_header_is_refused() -> None:
    with pytest.raises(ProtocolError, match="does not fit"):
        encode_binary(RemotingCommand(40000))
    with pytest.raises(ProtocolError, match="32768 bytes"):
        encode_binary(RemotingCommand(1, ext_fields={"n" * 32768: "v"}))


@pytest.mark.parametrize("text", ["plain", "中文 🚀", "\udcff\udc80", "\x00\x01"])
def test_text_round_trip(text: str) -> None:
    assert decode_text(encode_text(text)) == text


def test_lone_surrogates_become_question_marks_as_in_java() -> None:
    assert encode_text("a\ud800b") == b"a?b"


def test_json_and_binary_carry_the_same(codec: str) -> None:
    fields: dict[str, Any] = {"ext_fields": {"i": "KEYS\x01k\x02中\x01🚀\x02"}, "remark": "é", "opaque": -1, "flag": 1, "code": 17}
    one = decode_json(encode_json(RemotingCommand(**fields)))
    two = decode_binary(encode_binary(RemotingCommand(**fields)))
    two.serialize_type = SerializeType.JSON
    assert one == two
