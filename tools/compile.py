"""Compiles the hot modules of a checkout, so that both forms can be tested and measured side by side.

The compiled form is a copy of the package in `build/compiled`; `src` stays as it is, and goes on to be what runs without the path below.
Nothing is built again while nothing has changed.

    python -m tools.compile
    PYTHONPATH=build/compiled python -m pytest tests/unit/core tests/wire
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import hatch_build

ROOT = Path(__file__).resolve().parents[1]
DESTINATION = ROOT / "build" / "compiled"
FORM_ENV = "AIOROCKETMQ_FORM"
"""Set to `compiled` for tests that are to run on compiled modules: they fail when they do not."""
NOT_POSSIBLE = 3
"""Exit code when mypyc or a C compiler is missing."""


def missing() -> str:
    """What this machine lacks to compile, "" when nothing."""
    if any(importlib.util.find_spec(module) is None for module in ("mypyc", "setuptools")):
        return f"mypyc is not installed: pip install {shlex.join(hatch_build.requirements())}"
    if os.name == "posix":
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
        if shutil.which(compiler) is None:
            return f"there is no C compiler {compiler!r}"
    return ""


def fingerprint(opt_level: str) -> str:
    """Changes whenever the result would: sources, list of modules, interpreter, versions of the tools."""
    tools = f"{sys.version} {sysconfig.get_platform()} {importlib.metadata.version('mypy')} {opt_level}"
    digest = hashlib.sha256(tools.encode())
    for path in [ROOT / "hatch_build.py", ROOT / "pyproject.toml", *sorted((ROOT / "src").rglob("*.py"))]:
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def main(arguments: list[str] | None = None) -> int:
    """Compile; 0 when the compiled form is there, 1 when it cannot be made, 3 when this machine cannot compile."""
    parser = argparse.ArgumentParser(prog="python -m tools.compile", description="Compile the hot modules into build/compiled.")
    parser.add_argument("--opt", choices="0123", default="2", help="optimisation of the C compiler (default: 2)")
    parser.add_argument("--force", action="store_true", help="also when nothing has changed")
    options = parser.parse_args(arguments)
    if lack := missing():
        print(f"not compiled: {lack}", file=sys.stderr)
        return NOT_POSSIBLE
    stamp = DESTINATION / "fingerprint"
    current = fingerprint(options.opt)
    if not options.force and stamp.exists() and stamp.read_text() == current:
        print(f"{_shown(DESTINATION)} is up to date")
        return 0
    print(f"compiling {len(hatch_build.modules())} modules into {_shown(DESTINATION)}, which takes a minute or more ...", flush=True)
    started = time.monotonic()
    try:
        hatch_build.compile_package(DESTINATION, opt_level=options.opt)
    except subprocess.CalledProcessError as error:
        print(f"not compiled: {error}", file=sys.stderr)
        return 1
    stamp.write_text(current)
    print(f"done in {time.monotonic() - started:.0f} s; they run with PYTHONPATH={_shown(DESTINATION)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
