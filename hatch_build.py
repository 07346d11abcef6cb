"""Compiles the hot modules with mypyc when that is asked for (no Java twin); see docs/decisions/0010-compiled-modules.md.

As a build hook it makes a wheel with extension modules when the environment has AIOROCKETMQ_COMPILE=1; without it nothing happens here,
and the wheel is pure. As a function, `compile_package()`, it also serves `python -m tools.compile`, which compiles a copy of a checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE: Final = "AIOROCKETMQ_COMPILE"
PACKAGE: Final = "aiorocketmq"
_LIBRARY: Final = f"{PACKAGE}.native"
"""The shared library that holds the code of all compiled modules; each of these has a small extension module that points into it."""
_ROOT: Final = Path(__file__).resolve().parent
_SUFFIXES: Final = (".so", ".pyd")


def wanted() -> bool:
    """True when the environment asks for compiled modules."""
    return os.environ.get(VARIABLE, "0").lower() not in ("", "0", "false", "no")


def modules() -> list[str]:
    """The modules to compile, as paths below `src`; pyproject.toml lists them."""
    listed = _settings()["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]
    return [f"{PACKAGE}/{name}.py" for name in listed]


def requirements() -> list[str]:
    """What compiling needs: the dependency group `compile` of pyproject.toml."""
    return list(_settings()["dependency-groups"]["compile"])


def _settings() -> dict[str, Any]:
    return tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def compile_package(destination: Path, *, opt_level: str = "2") -> list[Path]:
    """Copy the package and put extension modules beside the sources of the copy.

    Args:
        destination: Folder that gets the copy; what is there is replaced.
        opt_level: Optimisation of the C compiler, "0" to "3".

    Returns:
        The extension modules.

    Raises:
        subprocess.CalledProcessError: mypyc refused the sources, or the C compiler failed; their messages are on standard error.
    """
    shutil.rmtree(destination, ignore_errors=True)
    shutil.copytree(_ROOT / "src" / PACKAGE, destination / PACKAGE, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.pyd"))
    # A process of its own: mypyc names modules after the working directory and changes setuptools.
    subprocess.run([sys.executable, str(_ROOT / "hatch_build.py"), opt_level], cwd=destination, check=True)
    return sorted(path for path in (destination / PACKAGE).rglob("*") if path.suffix in _SUFFIXES)


def _build_here(opt_level: str) -> None:
    """Compile the copy in the working directory."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    with tempfile.TemporaryDirectory() as scratch:
        # Not the strict settings of the project: what they find depends on which extras are installed.
        flags = ["--config-file=", "--ignore-missing-imports", f"--cache-dir={scratch}/mypy"]
        extensions = mypycify([*flags, *modules()], opt_level=opt_level, debug_level="0", target_dir=f"{scratch}/c", group_name=_LIBRARY)
        command = build_ext(Distribution({"name": PACKAGE, "ext_modules": extensions}))
        command.inplace = True
        command.build_lib = f"{scratch}/lib"
        command.build_temp = f"{scratch}/objects"
        command.ensure_finalized()
        command.run()


class CompileHook(BuildHookInterface[Any]):
    """Adds extension modules and a platform tag to the wheel, when that is asked for."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the build needs more than its back end."""
        return requirements() if wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; an editable installation always runs the sources."""
        if not wanted() or version == "editable":
            return
        self._folder = Path(tempfile.mkdtemp(prefix=f"{PACKAGE}-"))
        try:
            compiled = compile_package(self._folder)
        except subprocess.CalledProcessError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise RuntimeError(f"{VARIABLE} is set, which needs a C compiler, but nothing compiles; a wheel without it is pure") from error
        for path in compiled:
            build_data["force_include"][str(path)] = path.relative_to(self._folder).as_posix()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what `initialize` made."""
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder, ignore_errors=True)


if __name__ == "__main__":
    _build_here(sys.argv[1])
