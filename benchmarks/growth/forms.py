"""The forms of the client that every row is measured in: with the `[fast]` extra (uvloop, orjson) and without it.

The event loop has a switch of its own, the JSON library has none. So a process without the extra finds, before the installed packages, a
folder whose `orjson` and `uvloop` cannot be imported.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, Final

FAST: Final = "fast"
PLAIN: Final = "plain"
FORMS: Final = {FAST: "with [fast]", PLAIN: "without"}
"""Name → what the report calls it."""
EXTRA: Final = ("uvloop", "orjson")
ROOT: Final = Path(__file__).resolve().parents[2]

_STUB = 'raise ImportError("hidden: this process measures the client without the [fast] extra")\n'


def available() -> tuple[str, ...]:
    """The forms that can be measured here; the fast one needs both packages."""
    return tuple(FORMS) if all(importlib.util.find_spec(name) is not None for name in EXTRA) else (PLAIN,)


def environment(form: str, folder: Path) -> dict[str, str]:
    """The environment of a process in a form.

    Args:
        form: One of `FORMS`.
        folder: An existing folder for the stubs.
    """
    env = {**os.environ, "PYTHONHASHSEED": "0"}
    env.pop("AIOROCKETMQ_NO_UVLOOP", None)
    path = [str(ROOT)]
    if form == PLAIN:
        stubs = folder / "without-fast"
        stubs.mkdir(exist_ok=True)
        for name in EXTRA:
            (stubs / f"{name}.py").write_text(_STUB)
        env["AIOROCKETMQ_NO_UVLOOP"] = "1"
        path.insert(0, str(stubs))
    env["PYTHONPATH"] = os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH")])])
    return env


def describe(loop: object) -> dict[str, Any]:
    """What this process really uses: its loop, its JSON library, and whether the hot modules are compiled."""
    from aiorocketmq.protocol import connection, jsoncodec

    kind = type(loop)
    uvloop = sys.modules.get("uvloop")
    return {
        "loop": "uvloop" if uvloop is not None and isinstance(loop, uvloop.Loop) else f"{kind.__module__}.{kind.__name__}",
        "json": "orjson" if jsoncodec.HAVE_ORJSON else "json",
        "compiled": not str(connection.__file__).endswith(".py"),
    }


def check(form: str, described: dict[str, Any]) -> None:
    """Refuse figures of a process that was not in the form it was meant to be in.

    Raises:
        RuntimeError: It was not.
    """
    is_fast = described["loop"] == "uvloop", described["json"] == "orjson"
    if is_fast != ((form == FAST),) * 2:
        raise RuntimeError(f"a process that was to run {FORMS[form]} used {described['loop']} and {described['json']}")
