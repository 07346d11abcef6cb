"""The other versions of Python that the package claims, as far as this machine has them, each with an environment for the tests.

Interpreters are looked for among pyenv's versions and on PATH. An environment holds what the tests need and not the package itself: that is
taken from `src`. It lies in `.cache/pythons` and is made anew when its requirements change.

    python -m tools.pythons          say what there is, and make the environments
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".cache" / "pythons"
OTHERS = ("3.12", "3.13")
"""The versions beside the one that runs everything."""


def requirements() -> list[str]:
    """What a test run needs: the dependency group `test`, and the package's extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    return [*project["dependency-groups"]["test"], *extras["fast"], *extras["cli"]]


def find(version: str) -> Path | None:
    """An interpreter of this version that starts, or None."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True)
    if on_path := shutil.which(f"python{version}"):
        candidates.append(Path(on_path))
    for path in candidates:
        question = [str(path), "-c", "import sys, venv, ssl, sqlite3; print('%d.%d' % sys.version_info[:2])"]
        answer = subprocess.run(question, capture_output=True, text=True, timeout=60, check=False)
        if answer.returncode == 0 and answer.stdout.strip() == version:
            return path
    return None


def environment(version: str) -> tuple[Path | None, str]:
    """The Python of a ready environment, or None and the reason why there is none."""
    interpreter = find(version)
    if interpreter is None:
        return None, f"there is no Python {version} among pyenv's versions or on PATH"
    wanted = requirements()
    digest = hashlib.sha256("\n".join([str(interpreter), *wanted]).encode()).hexdigest()[:12]
    folder = FOLDER / f"{version}-{digest}"
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    ready = folder / "ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        for command in (
            [str(interpreter), "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                lines = (done.stderr or done.stdout).strip().splitlines()
                return None, f"no environment for Python {version} could be made: {lines[-1] if lines else done.returncode}"
        ready.touch()
    return python, ""


def main() -> int:
    """Print what there is."""
    for version in OTHERS:
        python, reason = environment(version)
        print(f"{version}: {python or reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
