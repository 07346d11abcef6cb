"""The signature of a request (Java: `AclUtils`, `AclSigner`, `AclClientRPCHook`). Feature M1.

Base64 of HMAC-SHA1 over the values of all header fields in the order of their names, one behind the other, and the body. ACL 1.0 and 2.0
are the same here. Request code, number and time are not signed, and nothing marks where one value ends: what keeps a signed request from
being sent again, or cut differently, is TLS.
"""

from __future__ import annotations

import hmac
from binascii import b2a_base64
from collections.abc import Mapping
from hashlib import sha1
from typing import Final

from aiorocketmq.config.credentials import Credentials
from aiorocketmq.protocol.command import RemotingCommand

ACCESS_KEY: Final = "AccessKey"
SECURITY_TOKEN: Final = "SecurityToken"
SIGNATURE: Final = "Signature"
_BLOCK: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


class SigningKey:
    """Credentials made ready to sign; of the secret only what the algorithm needs is kept, and it is never shown.

    Attributes:
        access_key: Whose signatures these are.
        fields: The fields that every request carries besides its signature.
    """

    __slots__ = ("_inner", "_outer", "access_key", "fields")

    def __init__(self, credentials: Credentials) -> None:
        self.access_key = credentials.access_key
        self.fields = {ACCESS_KEY: credentials.access_key}
        if credentials.token is not None:
            self.fields[SECURITY_TOKEN] = credentials.token
        secret = credentials.secret_key.encode("utf-8", "replace")
        if len(secret) > _BLOCK:
            secret = sha1(secret, usedforsecurity=False).digest()
        padded = secret.ljust(_BLOCK, b"\0")
        # HMAC (RFC 2104) with its two first blocks hashed beforehand: that is faster than `hmac.digest()`, and copies no body.
        self._inner = sha1(padded.translate(_INNER), usedforsecurity=False)
        self._outer = sha1(padded.translate(_OUTER), usedforsecurity=False)

    def __repr__(self) -> str:
        return f"<SigningKey of {self.access_key}>"

    def signature(self, content: bytes, body: bytes = b"") -> bytes:
        """The signature of some content and a body behind it, in Base64. For any thread."""
        inner = self._inner.copy()
        inner.update(content)
        inner.update(body)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return b2a_base64(outer.digest(), newline=False)

    def sign(self, command: RemotingCommand) -> None:
        """Sign a request, which must not change afterwards but for its number. One that was signed before is signed anew."""
        fields = command.ext_fields
        fields.pop(SECURITY_TOKEN, None)
        fields.update(self.fields)
        fields[SIGNATURE] = self.signature(signed_content(fields, command.body)).decode("ascii")

    def verify(self, content: bytes, signature: str) -> bool:
        """Whether a signature is the one of this content; takes the same time for every wrong one."""
        return hmac.compare_digest(self.signature(content), signature.encode("utf-8", "replace"))


def signed_content(fields: Mapping[str, str], body: bytes, *, without: str = SIGNATURE) -> bytes:
    """What is signed of a request.

    Args:
        fields: Its header fields.
        body: Its body.
        without: Name of one more field that is not signed.
    """
    names = sorted_names(fields)
    text = "".join([fields[name] for name in names if name not in (SIGNATURE, without)])
    # Java writes lone surrogates as question marks.
    return text.encode("utf-8", "replace") + body


def sorted_names(fields: Mapping[str, str]) -> list[str]:
    """The names in Java's order of strings: by UTF-16 code units."""
    names = sorted(fields)
    return names if all(map(str.isascii, names)) else sorted(names, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
