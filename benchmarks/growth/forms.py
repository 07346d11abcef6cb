"""The forms of the client that every row is measured in: compiled, and in pure Python with the `[fast]` extra (uvloop, orjson) and without.

The event loop has a switch of its own, the JSON library has none. So a process without the extra finds, before the installed packages, a
folder whose `orjson` and `uvloop` cannot be imported. The others find the compiled copy, or the sources of this checkout.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any, Final

from aiorocketmq.remoting.event_loop import NO_UVLOOP_ENV
from benchmarks.ours import form as ours
from tools import compile as compiling

COMPILED: Final = "compiled"
FAST: Final = "fast"
PLAIN: Final = "plain"
FORMS: Final = {COMPILED: "compiled, with [fast]", FAST: "with [fast]", PLAIN: "without [fast]"}
"""Name → what the report calls it; the fastest first."""
EXTRA: Final = ("uvloop", "orjson")
ROOT: Final = Path(__file__).resolve().parents[2]

_STUB = 'raise ImportError("hidden: this process measures the client without the [fast] extra")\n'


def missing(form: str) -> str:
    """What this machine lacks to measure a form, "" when nothing."""
    if form == PLAIN:
        return ""
    if lack := [name for name in EXTRA if importlib.util.find_spec(name) is None]:
        return f"{' and '.join(lack)} not installed"
    return compiling.missing() if form == COMPILED else ""


def usual() -> list[str]:
    """The forms that are measured when none is named: what can be measured here; compiled modules only when there are some."""
    named = [form for form in FORMS if form != COMPILED or compiling.DESTINATION.exists()]
    return [form for form in named if not missing(form)]


def environment(form: str, folder: Path) -> dict[str, str]:
    """The environment of a process in a form.

    Args:
        form: One of `FORMS`; the compiled copy is there.
        folder: An existing folder for the stubs.
    """
    env = {**os.environ, "PYTHONHASHSEED": "0", ours.COMPILED_ENV: "", ours.PLAIN_ENV: ""}
    env.pop(NO_UVLOOP_ENV, None)
    path = [str(ROOT), str(ROOT / "src")]
    if form == COMPILED:
        env[ours.COMPILED_ENV] = str(compiling.DESTINATION)
    if form == PLAIN:
        stubs = folder / "without-fast"
        stubs.mkdir(exist_ok=True)
        for name in EXTRA:
            (stubs / f"{name}.py").write_text(_STUB)
        env[NO_UVLOOP_ENV] = "1"
        path.insert(0, str(stubs))
    env["PYTHONPATH"] = os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH")])])
    return ours.environment(env)


def check(form: str, described: dict[str, Any]) -> None:
    """Refuse figures of a process that was not in the form it was meant to be in.

    Raises:
        RuntimeError: It was not.
    """
    seen = described["loop"] == "uvloop", described["json"] == "orjson", described["compiled"]
    if seen != (form != PLAIN, form != PLAIN, form == COMPILED):
        modules = "compiled modules" if described["compiled"] else "pure Python"
        raise RuntimeError(f"a process that was to run {FORMS[form]} used {described['loop']}, {described['json']} and {modules}")
