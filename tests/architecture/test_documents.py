"""Examples and documentation are programs: all of them run, on the embedded server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiorocketmq.sync import LocalCluster, Message, Producer

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DEFAULT_ADDRESS = "127.0.0.1:9876"
ARGUMENTS = {"consume.py": ["9"]}


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """A server for each program: none sees the messages of another."""
    with LocalCluster() as running:
        yield running


def run(program: list[str], cluster: LocalCluster, folder: Path) -> str:
    environment = {**os.environ, "NAMESRV_ADDR": cluster.name_servers, "HOME": str(folder), "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, *program], env=environment, cwd=folder, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_runs(path: Path, cluster: LocalCluster, tmp_path: Path) -> None:
    if path.name == "consume.py":
        with Producer(cluster.name_servers, group="feeds_the_example") as producer:
            for number in range(4):
                producer.send(Message("example_jobs", str(number).encode(), tag="urgent" if number == 0 else "normal"))
                producer.send(Message("example_jobs", b"nobody wants this", tag="other"))
            for number in range(5):
                producer.send(Message("example_bulk", str(number).encode()))
    output = run([str(path), *ARGUMENTS.get(path.name, [])], cluster, tmp_path)
    assert output.strip(), "an example shows what it does"
    assert "nobody wants this" not in output


SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets() -> list[tuple[str, str]]:
    return [
        (f"{path.relative_to(ROOT)}-{number}", text)
        for path in DOCUMENTS
        if path.exists()
        for number, text in enumerate(SNIPPET.findall(path.read_text(encoding="utf-8")), 1)
    ]


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in snippets()])
def test_every_python_snippet_runs(text: str, cluster: LocalCluster, tmp_path: Path) -> None:
    """A snippet is a whole program; it ends by itself, and names the address that a new server has."""
    run(["-c", text.replace(DEFAULT_ADDRESS, cluster.name_servers)], cluster, tmp_path)


def links() -> Iterator[tuple[Path, str]]:
    for path in [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]:
        if path.exists():
            for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
                if not target.startswith(("http://", "https://", "#", "mailto:")):
                    yield path, target.partition("#")[0]


def test_every_link_inside_the_repository_leads_somewhere() -> None:
    broken = [f"{path.relative_to(ROOT)}: {target}" for path, target in links() if not (path.parent / target).exists()]
    assert broken == []


def test_modules_named_in_the_documents_exist() -> None:
    """Paths in backquotes such as `client/route.py` are those of the package."""
    missing = []
    for path in DOCUMENTS:
        if not path.exists():
            continue
        missing += [
            f"{path.relative_to(ROOT)}: {name}"
            for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", path.read_text(encoding="utf-8"))
            if not any((base / name).exists() for base in (ROOT, ROOT / "src" / "aiorocketmq"))
        ]
    assert missing == []


def test_every_command_named_in_the_documents_exists() -> None:
    from aiorocketmq.cli.app import app

    commands = set(app)
    unknown = []
    for path in [path for path in DOCUMENTS if path.exists()]:
        words = re.findall(r"^\s*(?:\$ )?(?:aiorocketmq|armq) ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        unknown += [f"{path.relative_to(ROOT)}: {word}" for word in words if word not in commands]
    assert unknown == []
