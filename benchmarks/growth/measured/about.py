"""What form a measured process really has. It imports nothing that the client does not: memory is measured here."""

from __future__ import annotations

import sys
from typing import Any

import aiorocketmq


def describe(loop: object) -> dict[str, Any]:
    """What this process really uses: its loop, its JSON library, and whether the hot modules are compiled."""
    from aiorocketmq.protocol import jsoncodec

    kind = type(loop)
    uvloop = sys.modules.get("uvloop")
    return {
        "loop": "uvloop" if uvloop is not None and isinstance(loop, uvloop.Loop) else f"{kind.__module__}.{kind.__name__}",
        "json": "orjson" if jsoncodec.HAVE_ORJSON else "json",
        "compiled": aiorocketmq.compiled,
    }
