"""The forms of the client, and other commits of it: what a program of ours finds on its path and in its environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.ours.form import COMPILED_ENV, PLAIN_ENV
from tools import compile as compiling

ROOT: Final = Path(__file__).resolve().parents[1]
REVISIONS: Final = ROOT / "build" / "revisions"
FORMS: Final = {"compiled": "compiled", "pure": "pure Python", "plain": "without [fast]"}
"""Name → what tables call it. The first two have the extra `[fast]`; the last one is pure Python without uvloop and orjson."""


class FormError(Exception):
    """A form or a commit cannot run here; the message says why."""


def usual() -> str:
    """The fastest form that this machine can make."""
    return "pure" if compiling.missing() else "compiled"


def environment(form: str, revision: str = "") -> dict[str, str]:
    """The environment of a program in a form; what it needs is made now where it is missing or out of date.

    Args:
        form: One of `FORMS`.
        revision: A commit of this repository; "" is the working tree.

    Raises:
        FormError: The form or the commit cannot be made here.
    """
    path = _tree(form, revision)
    found = {**os.environ, PLAIN_ENV: "1" if form == "plain" else "", COMPILED_ENV: str(path) if form == "compiled" else ""}
    found.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has byte code: without it each start compiles every module
    found["PYTHONPATH"] = os.pathsep.join([str(path), *filter(None, [os.environ.get("PYTHONPATH")])])
    return found


def _tree(form: str, revision: str) -> Path:
    if form == "compiled" and (lack := compiling.missing()):
        raise FormError(f"the modules cannot be compiled: {lack}")
    if revision:
        return _revision(form, revision)
    if form != "compiled":
        return ROOT / "src"
    if compiling.main([]):
        raise FormError("the modules do not compile")
    return compiling.DESTINATION


def _revision(form: str, revision: str) -> Path:
    """The sources of a commit, or their compiled copy; exported and compiled once."""
    found = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise FormError(f"{revision!r} is no commit of this repository")
    folder = REVISIONS / found.stdout.strip()[:12]
    if not (folder / "src").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with subprocess.Popen(
            ["git", "-C", str(ROOT), "archive", found.stdout.strip(), "src", "hatch_build.py", "pyproject.toml"], stdout=subprocess.PIPE
        ) as archive:
            subprocess.run(["tar", "-x", "-C", str(folder)], stdin=archive.stdout, check=True)
    if form != "compiled":
        return folder / "src"
    compiled = folder / "compiled"
    if not (compiled / "whole").exists():
        program = "import pathlib, hatch_build; hatch_build.compile_package(pathlib.Path('compiled').resolve())"
        if subprocess.run([sys.executable, "-c", program], cwd=folder, stdout=sys.stderr, check=False).returncode:
            raise FormError(f"the modules of {revision} do not compile")
        (compiled / "whole").touch()
    return compiled
