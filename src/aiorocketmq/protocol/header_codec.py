"""The two encodings of a frame's header, JSON and binary (Java: `RemotingSerializable`, `RocketMQSerializable`).

Decoding never raises anything but `ProtocolError`, whatever the bytes are.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.enums import SerializeType
from aiorocketmq.protocol import jsoncodec
from aiorocketmq.protocol.codes import LanguageCode
from aiorocketmq.protocol.command import RemotingCommand

MAX_BINARY_CODE: Final = 0x7FFF
"""The binary header holds the code in 16 bits; POP codes do not fit and must travel in JSON."""
MIN_JSON_HEADER: Final = 2
MIN_BINARY_HEADER: Final = 21

_LANGUAGE_NAMES: Final = {int(code): code.name for code in LanguageCode}
_LANGUAGE_CODES: Final = {code.name: int(code) for code in LanguageCode}
_OTHER: Final = int(LanguageCode.OTHER)

# Python 3.11 takes 0.1 microseconds to find the member of an enum.
_JSON: Final = SerializeType.JSON
_ROCKETMQ: Final = SerializeType.ROCKETMQ

_NUMBERS: Final = struct.Struct(">iiii")
_FIXED: Final = struct.Struct(">hBhiii")
_INT: Final = struct.Struct(">i")
_SHORT: Final = struct.Struct(">h")


def encode_text(text: str) -> bytes:
    """UTF-8; surrogate escapes become their byte again, other lone surrogates a question mark, as Java writes them."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def decode_text(data: bytes) -> str:
    """UTF-8; bytes that are not UTF-8 become surrogate escapes."""
    return data.decode("utf-8", "surrogateescape")


def encode_header(command: RemotingCommand) -> bytes:
    """Encode the header in the command's own encoding, or in JSON when the code does not fit in the binary one."""
    if command.serialize_type is _ROCKETMQ and command.code <= MAX_BINARY_CODE:
        return encode_binary(command)
    return encode_json(command)


def encode_json(command: RemotingCommand) -> bytes:
    """Encode a JSON header."""
    header: dict[str, Any] = {
        "code": int(command.code),
        "flag": command.flag,
        "language": _LANGUAGE_NAMES.get(command.language, "OTHER"),
        "opaque": command.opaque,
        "version": command.version,
    }
    if command.remark is not None:
        header["remark"] = command.remark
    if command.ext_fields:
        header["extFields"] = command.ext_fields
    return jsoncodec.dumps(header)


def encode_binary(command: RemotingCommand) -> bytes:
    """Encode a binary header.

    Raises:
        ProtocolError: A number or a name does not fit in its field.
    """
    entries = []
    for name, value in command.ext_fields.items():
        key, data = encode_text(name), encode_text(value)
        if len(key) > MAX_BINARY_CODE:
            raise ProtocolError(f"header field {name[:40]!r}... has a name of {len(key)} bytes, the limit is {MAX_BINARY_CODE}")
        entries.append(b"".join((_SHORT.pack(len(key)), key, _INT.pack(len(data)), data)))
    ext = b"".join(entries)
    remark = encode_text(command.remark) if command.remark else b""
    try:
        fixed = _FIXED.pack(command.code, command.language, command.version, command.opaque, command.flag, len(remark))
    except struct.error as error:
        raise ProtocolError(f"command {command!r} does not fit in a binary header: {error}") from None
    return b"".join((fixed, remark, _INT.pack(len(ext)), ext))


def decode_header(kind: int, data: bytes, body: bytes) -> RemotingCommand:
    """Decode a header.

    Args:
        kind: Number of the encoding: 0 JSON, 1 binary.
        data: The header's bytes.
        body: The body, stored in the command as it is.

    Raises:
        ProtocolError: The bytes are not a legal header.
    """
    if kind == 0:
        return decode_json(data, body)
    if kind == 1:
        return decode_binary(data, body)
    raise ProtocolError(f"header encoding {kind} is unknown; 0 is JSON, 1 is ROCKETMQ")


def decode_json(data: bytes, body: bytes = b"") -> RemotingCommand:
    """Decode a JSON header; raises `ProtocolError`. Hot: what is unusual in any way is left to the careful twin below."""
    try:
        header: dict[str, Any] = jsoncodec.loads(data)
        ext: dict[str, str] = header["extFields"]
        for value in ext.values():
            if type(value) is not str:
                return _decode_json_carefully(data, body)
        code, opaque, flag, version = header["code"], header.get("opaque", 0), header.get("flag", 0), header.get("version", 0)
        _NUMBERS.pack(code, opaque, flag, version)  # one C call says whether all are integers of 32 bits
        remark = header.get("remark")
        if remark is None or type(remark) is str:
            return RemotingCommand(code, _LANGUAGE_CODES[header["language"]], version, opaque, flag, remark, ext, body, _JSON)
    except (ValueError, KeyError, AttributeError, TypeError, struct.error):
        pass
    return _decode_json_carefully(data, body)


def _decode_json_carefully(data: bytes, body: bytes) -> RemotingCommand:
    """The same for any header: takes everything that is legal, and says what is wrong with the rest."""
    try:
        header = jsoncodec.loads(data)
    except ValueError as error:
        raise ProtocolError(f"the JSON header does not parse: {error}") from None
    if type(header) is not dict:
        raise ProtocolError(f"the JSON header is a {type(header).__name__}, not an object")
    get = header.get
    ext = get("extFields")
    if ext is None:
        ext = {}
    elif type(ext) is not dict:
        raise ProtocolError(f"the JSON header's extFields is a {type(ext).__name__}, not an object")
    else:
        ext = _stringify(ext)
    remark = get("remark")
    if remark is not None and type(remark) is not str:
        raise ProtocolError(f"the JSON header's remark is a {type(remark).__name__}, not a string")
    code: Any = get("code")
    opaque, flag, version = get("opaque", 0), get("flag", 0), get("version", 0)
    try:
        _NUMBERS.pack(code, opaque, flag, version)
    except struct.error:
        raise _wrong_number(header) from None
    language = get("language", "JAVA")
    # Any language is legal: other clients send names that are not in the list, and some send the number.
    language_code = _LANGUAGE_CODES.get(language, _OTHER) if type(language) is str else _OTHER
    return RemotingCommand(code, language_code, version, opaque, flag, remark, ext, body, SerializeType.JSON)


def _wrong_number(header: dict[str, Any]) -> ProtocolError:
    for name in ("code", "opaque", "flag", "version"):
        value = header.get(name, None if name == "code" else 0)
        if not isinstance(value, int) or not -0x80000000 <= value <= 0x7FFFFFFF:
            break
    return ProtocolError(f"the JSON header's {name} is {str(value)[:40]!r}, not an integer of 32 bits")


def _stringify(ext: dict[str, Any]) -> dict[str, str]:
    out: dict[str, str] = {}
    for name, value in ext.items():
        if type(value) is str:
            out[name] = value
        elif isinstance(value, bool):
            out[name] = "true" if value else "false"
        elif isinstance(value, int | float):
            out[name] = str(value)
        elif value is not None:
            raise ProtocolError(f"the JSON header's field {name[:40]!r} is a {type(value).__name__}, not a string")
    return out


def decode_binary(data: bytes, body: bytes = b"") -> RemotingCommand:
    """Decode a binary header; raises `ProtocolError`."""
    size = len(data)
    if size < MIN_BINARY_HEADER:
        raise ProtocolError(f"the binary header has {size} bytes, at least {MIN_BINARY_HEADER} are needed")
    code, language, version, opaque, flag, remark_length = _FIXED.unpack_from(data)
    position = _FIXED.size + remark_length
    if remark_length < 0 or position + 4 > size:
        raise ProtocolError(f"the binary header's remark length {remark_length} is out of range")
    remark = decode_text(data[_FIXED.size : position]) if remark_length else None
    (ext_length,) = _INT.unpack_from(data, position)
    position += 4
    end = position + ext_length
    if ext_length < 0 or end > size:
        raise ProtocolError(f"the binary header's map length {ext_length} is out of range")
    ext: dict[str, str] = {}
    while position < end:
        name_at = position + 2
        if name_at > end:
            raise ProtocolError("the binary header's map ends inside an entry")
        name_end = name_at + (data[position] << 8 | data[position + 1])
        value_at = name_end + 4
        if value_at > end:
            raise ProtocolError(f"the binary header's map has a name of {name_end - name_at} bytes, which is out of range")
        (value_length,) = _INT.unpack_from(data, name_end)
        position = value_at + value_length
        if value_length < 0 or position > end:
            raise ProtocolError(f"the binary header's map has a value of {value_length} bytes, which is out of range")
        if name_end > name_at and value_length:  # Java reads an empty name or value as null, and nobody can ask for a null
            ext[data[name_at:name_end].decode("utf-8", "surrogateescape")] = data[value_at:position].decode("utf-8", "surrogateescape")
    return RemotingCommand(code, language, version, opaque, flag, remark, ext, body, _ROCKETMQ)
