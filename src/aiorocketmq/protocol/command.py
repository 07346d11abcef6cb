"""One request or response (Java: `RemotingCommand`)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Final

from aiorocketmq.model.enums import SerializeType
from aiorocketmq.protocol.codes import CURRENT_VERSION, LanguageCode
from aiorocketmq.protocol.header import Header

RESPONSE_FLAG: Final = 1
ONEWAY_FLAG: Final = 2

_PYTHON: Final = int(LanguageCode.PYTHON)
_opaques = itertools.count()


def next_opaque() -> int:
    """A correlation id: process-wide, 0 to 2^31 - 1, starts again at 0. One C call, so safe from any thread."""
    return next(_opaques) & 0x7FFFFFFF


def _ext_of(header: Header | Mapping[str, str] | None) -> dict[str, str]:
    if header is None:
        return {}
    return header.to_ext() if isinstance(header, Header) else dict(header)


class RemotingCommand:
    """One request or response. Mutable and slotted, because one is made for every frame.

    Attributes:
        code: Request code or response code.
        language: Language of the sender, see `LanguageCode`.
        version: Version of the sender, see `codes.version_name`.
        opaque: Correlation id; a response repeats the one of its request. Each end of a connection counts its own.
        flag: Bit 0 set: a response. Bit 1 set: one-way, never answered.
        remark: Error text or remark, or None.
        ext_fields: The custom header as strings.
        body: The body, b"" for none.
        serialize_type: Encoding of the header.
    """

    __slots__ = ("body", "code", "ext_fields", "flag", "language", "opaque", "remark", "serialize_type", "version")

    def __init__(
        self,
        code: int,
        language: int = _PYTHON,
        version: int = CURRENT_VERSION,
        opaque: int = 0,
        flag: int = 0,
        remark: str | None = None,
        ext_fields: dict[str, str] | None = None,
        body: bytes = b"",
        serialize_type: SerializeType = SerializeType.JSON,
    ) -> None:
        self.code = code
        self.language = language
        self.version = version
        self.opaque = opaque
        self.flag = flag
        self.remark = remark
        self.ext_fields: dict[str, str] = {} if ext_fields is None else ext_fields
        self.body = body
        self.serialize_type = serialize_type

    @classmethod
    def request(
        cls,
        code: int,
        header: Header | Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        oneway: bool = False,
        serialize_type: SerializeType = SerializeType.JSON,
    ) -> RemotingCommand:
        """Make a request with a fresh opaque.

        Args:
            code: Request code.
            header: Custom header, or its string map (copied), or None.
            body: Body, b"" for none.
            oneway: True when no answer is wanted.
            serialize_type: Encoding of the header.
        """
        flag = ONEWAY_FLAG if oneway else 0
        return cls(code, opaque=next_opaque(), flag=flag, ext_fields=_ext_of(header), body=body, serialize_type=serialize_type)

    @classmethod
    def response(
        cls,
        request: RemotingCommand,
        code: int = 0,
        remark: str | None = None,
        header: Header | Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> RemotingCommand:
        """Make the answer to a request: same opaque, same header encoding.

        Args:
            request: The request that is answered.
            code: Response code, 0 for success.
            remark: Error text, or None.
            header: Custom header, or its string map (copied), or None.
            body: Body, b"" for none.
        """
        return cls(
            code,
            opaque=request.opaque,
            flag=RESPONSE_FLAG,
            remark=remark,
            ext_fields=_ext_of(header),
            body=body,
            serialize_type=request.serialize_type,
        )

    @property
    def is_response(self) -> bool:
        return bool(self.flag & RESPONSE_FLAG)

    @property
    def is_oneway(self) -> bool:
        return bool(self.flag & ONEWAY_FLAG)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RemotingCommand):
            return NotImplemented
        return self._values() == other._values()

    def _values(self) -> tuple[object, ...]:
        # In the order of the constructor's arguments.
        return (
            self.code, self.language, self.version, self.opaque, self.flag, self.remark, self.ext_fields, self.body, self.serialize_type,
        )  # fmt: skip

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self._values()  # copying and pickling do not find the fields of the compiled form by themselves

    def __repr__(self) -> str:
        # Values of ext_fields may hold signatures and bodies of users: only the names are shown.
        return (
            f"RemotingCommand(code={self.code}, opaque={self.opaque}, flag={self.flag}, remark={self.remark!r}, "
            f"ext_fields={sorted(self.ext_fields)}, body=<{len(self.body)} bytes>, version={self.version}, language={self.language})"
        )
