"""Rules of the source tree that no other tool checks."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import hatch_build

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "aiorocketmq"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_MODULE_LINES = 600
MAX_CLASS_LINES = 350
MAX_FUNCTION_LINES = 80  # about 60 is meant; what comes near it wants to be split
# What is above these limits and may not grow; each has to leave the list when it has been mended.
TOO_LARGE_YET: dict[str, int] = {}
CIRCLES_YET: set[frozenset[str]] = set()
GENERATED = {"sync/producer.py", "sync/consumer.py", "sync/admin.py", "sync/cluster.py"}


def place(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_every_module_says_what_it_owns(path: Path) -> None:
    text = ast.get_docstring(parse(path))
    assert text, f"{place(path)} has no docstring"
    assert len(text.split()) >= 5, f"{place(path)} says next to nothing"


Sized = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(node: Sized) -> int:
    """Lines of a class or function without its docstrings: documentation is no reason to split."""
    lines = (node.end_lineno or 0) - node.lineno + 1
    for inner in ast.walk(node):
        if isinstance(inner, Sized) and ast.get_docstring(inner):
            text = inner.body[0]
            lines -= (text.end_lineno or 0) - text.lineno + 1
    return lines


def sizes(path: Path) -> Iterator[tuple[str, int, int]]:
    """The file, its classes and its functions, each with its lines and the most it may have."""
    yield place(path), len(path.read_text(encoding="utf-8").splitlines()), MAX_MODULE_LINES
    for node in ast.walk(parse(path)):
        if isinstance(node, Sized):
            most = MAX_CLASS_LINES if isinstance(node, ast.ClassDef) else MAX_FUNCTION_LINES
            yield f"{place(path)}: {node.name}", code_lines(node), most


def test_files_classes_and_functions_stay_small() -> None:
    measured = [each for path in MODULES if place(path) not in GENERATED for each in sizes(path)]
    large = {what: lines for what, lines, most in measured if lines > max(most, TOO_LARGE_YET.get(what, 0))}
    assert large == {}, "split these by family"
    small = {what for what, lines, most in measured if lines <= most}
    assert not small & TOO_LARGE_YET.keys(), "these are small enough now: take them from TOO_LARGE_YET"
    assert TOO_LARGE_YET.keys() <= {what for what, _, _ in measured}, "these are gone: take them from TOO_LARGE_YET"


NAMES = {".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path for path in MODULES}


def imported(path: Path) -> set[str]:
    """Modules of the package that a module names in any import: also those for type checkers, and those inside of functions."""
    found: set[str] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in NAMES else node.module for alias in node.names}
    return found & NAMES.keys()


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Groups of modules each of which leads to all others of its group."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for following in graph[todo.pop()] - seen:
                seen.add(following)
                todo.append(following)
        reach[start] = seen
    return {frozenset(other for other in reach[name] if name in reach[other]) for name in graph if name in reach[name]}


def test_circles_are_found() -> None:
    graph: dict[str, set[str]] = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a", "e"}}
    assert circles(graph) == {frozenset("bc"), frozenset("e")}


def test_no_modules_import_each_other() -> None:
    """Import-linter passes over the imports for type checkers; a reader cannot."""
    graph = {name: imported(path) - {name} for name, path in NAMES.items()}
    found = {frozenset(name.removeprefix("aiorocketmq.") for name in circle) for circle in circles(graph)}
    assert found - CIRCLES_YET == set(), "no module may need one that needs it"
    assert found >= CIRCLES_YET, "this circle is gone: take it from CIRCLES_YET"


def test_no_module_imports_the_root_package() -> None:
    guilty = [
        place(path)
        for path in MODULES
        for node in ast.walk(parse(path))
        if path != PACKAGE / "__init__.py"
        and (
            (isinstance(node, ast.Import) and any(alias.name == "aiorocketmq" for alias in node.names))
            or (isinstance(node, ast.ImportFrom) and node.module == "aiorocketmq")
        )
    ]
    assert guilty == []


def calls(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            yield name, node.lineno


TASK_MAKERS = {"create_task", "ensure_future"}
MAY_MAKE_TASKS = {
    "client/scheduler.py": "the scheduler itself",
    "remoting/tasks.py": "the supervisor of the transport layer",
    "remoting/transport.py": "several addresses of one name at once, waited for in the same function",
    "sync/portal.py": "calls from other threads",
}


def test_tasks_are_made_in_few_places() -> None:
    """A task that nobody owns is lost when it fails; commands of the CLI own theirs by their structure."""
    guilty = [
        f"{place(path)}:{line}"
        for path in MODULES
        if place(path) not in MAY_MAKE_TASKS and not place(path).startswith(("cli/", "server/"))
        for name, line in calls(parse(path))
        if name in TASK_MAKERS
    ]
    assert guilty == []


def test_loggers_are_named_after_layers() -> None:
    allowed = {f"aiorocketmq.{path.name}" for path in PACKAGE.iterdir() if path.is_dir()}
    guilty = [
        f"{place(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "getLogger"
        and not (node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value in allowed)
    ]
    assert guilty == []


def test_errors_name_no_builtin() -> None:
    import builtins

    from aiorocketmq import errors

    assert [name for name in errors.__all__ if hasattr(builtins, name)] == []


def test_no_error_leaves_with_a_chain_of_tracebacks() -> None:
    """A cause goes along as `cause=` and in the text; besides, compiled code loses that of `raise ... from error` (decision 10)."""
    guilty = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Raise) and node.cause is not None and ast.unparse(node.cause) != "None")
        or (isinstance(node, ast.Attribute) and node.attr == "__cause__" and isinstance(node.ctx, ast.Store))
    ]
    assert guilty == [], "say the reason in the text, give the error cause=, and raise it from None"


# Written in pieces, so that this file does not hold what it forbids.
FORBIDDEN_TEXT = {
    "unfinished work": re.compile("|".join(["TO" + "DO", "FIX" + "ME", "X" * 3 + r"\b(?!X)", "raise NotImplemented" + "Error"])),
    "a path of one machine": re.compile("|".join([r"(?<![\w.])/" + "home/", "/" + r"work/(?:main|shared)", "/" + "root/"])),
}
TEXT_SUFFIXES = {".py", ".md", ".toml", ".java", ".xml", ".cfg", ".yml", ".yaml", ".sh", ""}
ALLOWED = {
    "unfinished work": {"SCHEDULE_TOPIC_XXXX", "TRANS_CHECK"},
}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = listed.stdout.splitlines() if listed.returncode == 0 else []
    paths = [ROOT / name for name in names] or [
        path for path in ROOT.rglob("*") if not set(path.parts) & {".git", ".venv", "build", ".cache"}
    ]
    return [path for path in paths if path.is_file() and path.suffix in TEXT_SUFFIXES and path != Path(__file__)]


@pytest.mark.parametrize("what", FORBIDDEN_TEXT)
def test_the_tree_holds_no(what: str) -> None:
    pattern = FORBIDDEN_TEXT[what]
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line) and not any(word in line for word in ALLOWED.get(what, ())):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


@pytest.mark.parametrize("name", hatch_build.modules())
def test_compiled_coroutines_do_not_await_in_a_finally(name: str) -> None:
    """mypyc 2.4 makes the next call of such a coroutine raise the error in which the last one has ended."""
    blocks = [block for node in ast.walk(parse(PACKAGE.parent / name)) if isinstance(node, ast.Try) for block in node.finalbody]
    found = [node.lineno for block in blocks for node in ast.walk(block) if isinstance(node, ast.Await | ast.AsyncWith | ast.AsyncFor)]
    assert not found, f"{name}: wait behind the `try`, or in a module that is not compiled"
