"""The thousand requests that Java has signed: made by a seed, so that only the signatures have to be kept."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from typing import NamedTuple

from aiorocketmq.config import Credentials
from aiorocketmq.protocol.command import RemotingCommand

COUNT = 1000
_NAMES = (
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "ns", "nsd", "ReqT", "bname", "topic", "consumerGroup", "queueId",
    "queueOffset", "maxMsgNums", "sysFlag", "commitOffset", "suspendTimeoutMillis", "subscription", "subVersion", "expressionType",
    "group", "offset", "originTopic", "UNIQ_KEY", "zone", "__ZONE_NAME", "Accesskey", "AccessKeys", "SecurityTokens", "signature", "_",
    "Größe", "订单", "\U0001f680", "\uffee", "A-b", "a.b", "1", "~",
)  # fmt: skip
_TEXTS = (
    "", "0", "-1", "true", "false", "TBW102", "%RETRY%group", "100%", "%s%d", "KEYS\x01k\x02TAGS\x01t\x02", "中文主题", "žluťoučký",
    "\U0001f600 ok", '"\\/', "a b", "\u2028",
)  # fmt: skip


class Signable(NamedTuple):
    """One request before it is signed."""

    code: int
    fields: dict[str, str]
    body: bytes
    credentials: Credentials

    def command(self) -> RemotingCommand:
        """The request."""
        return RemotingCommand.request(self.code, self.fields, self.body)

    def line(self) -> str:
        """The request for the Java program: fields of Base64 texts, divided by tabs."""
        keys = self.credentials
        parts = [keys.access_key, keys.secret_key, *([keys.token] if keys.token is not None else [])]
        texts = [name for field in self.fields.items() for name in field]
        groups = [str(self.code), _listed(parts), _base64(self.body), _listed(texts)]
        return "\t".join(groups)


def requests() -> Iterator[Signable]:
    """All of them, the same at every call."""
    chance = random.Random(20_240_817)
    for _ in range(COUNT):
        names = chance.sample(_NAMES, chance.randint(0, 16))
        fields = {name: _text(chance) for name in names}
        body = chance.randbytes(chance.choice((0, 0, 1, 17, 64, 65, 1024)))
        secret = "".join(chance.choices("ABCXYZabcxyz0189+/=_-é密", k=chance.choice((1, 8, 20, 63, 64, 65, 100))))
        token = "".join(chance.choices("ABCxyz019+/=", k=40)) if chance.random() < 0.3 else None
        access = "".join(chance.choices("LTAIabc0123", k=chance.randint(1, 24)))
        yield Signable(chance.choice((10, 11, 34, 310, 320, 3001)), fields, body, Credentials(access, secret, token))


def _text(chance: random.Random) -> str:
    if chance.random() < 0.6:
        return chance.choice(_TEXTS)
    return "".join(chr(chance.choice((chance.randint(32, 126), chance.randint(0xA0, 0xD7FF)))) for _ in range(chance.randint(1, 30)))


def _listed(texts: list[str]) -> str:
    return ",".join(_base64(text.encode()) for text in texts)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode() or "-"
