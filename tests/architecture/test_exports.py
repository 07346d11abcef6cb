"""The public names: complete, importable, documented, and cheap to import."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
import textwrap
from types import ModuleType

import pytest

import aiorocketmq
import aiorocketmq.sync

PUBLIC_PACKAGES = (
    "aiorocketmq",
    "aiorocketmq.sync",
    "aiorocketmq.admin",
    "aiorocketmq.producer",
    "aiorocketmq.consumer",
    "aiorocketmq.server",
)


@pytest.mark.parametrize("name", PUBLIC_PACKAGES)
def test_every_exported_name_exists_once_and_is_documented(name: str) -> None:
    module = importlib.import_module(name)
    exported = module.__all__
    assert len(exported) == len(set(exported))
    undocumented = []
    for word in exported:
        value = getattr(module, word)
        if (inspect.isclass(value) or inspect.isfunction(value)) and not (value.__doc__ or "").strip():
            undocumented.append(word)
    assert undocumented == []


@pytest.mark.parametrize("name", PUBLIC_PACKAGES)
def test_nothing_public_is_left_out_of_all(name: str) -> None:
    module = importlib.import_module(name)
    stray = [
        word
        for word, value in vars(module).items()
        if not word.startswith("_")
        and not isinstance(value, ModuleType)
        and word not in module.__all__
        and word not in ("annotations", "TYPE_CHECKING", "Any", "import_module")
    ]
    assert stray == []


@pytest.mark.parametrize("name", ["aiorocketmq", "aiorocketmq.sync"])
def test_dir_shows_the_public_names_alone(name: str) -> None:
    module = importlib.import_module(name)
    assert [word for word in dir(module) if not word.startswith("__")] == sorted(word for word in module.__all__)


def test_the_root_names_every_error() -> None:
    from aiorocketmq import errors

    classes = {word for word in errors.__all__ if inspect.isclass(getattr(errors, word))}
    assert classes <= set(aiorocketmq.__all__)
    assert all(issubclass(getattr(errors, word), errors.RocketMQError) for word in classes)


def test_the_root_names_the_whole_public_surface() -> None:
    """The names that the design promises to keep."""
    promised = {
        "AdminClient", "ClientConfig", "Message", "MessageQueue", "Producer", "PushConsumer", "ReceivedMessage", "Retry", "RocketMQError",
        "SQL", "SendResult", "SendStatus", "StartFrom", "TLS",
    }  # fmt: skip
    assert promised <= set(aiorocketmq.__all__)


def test_every_package_can_be_imported_first() -> None:
    """A cycle shows only when its modules are imported in the wrong order (import-linter looks at the single modules)."""
    names = [info.name for info in pkgutil.iter_modules(aiorocketmq.__path__, "aiorocketmq.") if not info.name.endswith("__main__")]
    script = """
        import importlib, sys
        for name in sys.argv[1:]:
            for loaded in [key for key in sys.modules if key.partition(".")[0] == "aiorocketmq"]:
                del sys.modules[loaded]
            importlib.import_module(name)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


SIDE_EFFECTS = """
    import logging, os, sys, threading
    opened = []
    sys.addaudithook(lambda event, arguments: opened.append((event, arguments)) if event in WATCHED else None)
    WATCHED = {"socket.__new__", "socket.bind", "socket.connect", "os.mkdir", "subprocess.Popen", "os.putenv", "os.fork"}
    handlers = list(logging.getLogger().handlers)
    before = set(logging.Logger.manager.loggerDict)
    import aiorocketmq
    assert threading.active_count() == 1, threading.enumerate()
    assert not opened, opened
    assert logging.getLogger().handlers == handlers
    for name in set(logging.Logger.manager.loggerDict) - before:
        logger = logging.getLogger(name)
        assert logger.level == logging.NOTSET and logger.propagate, name
        assert all(isinstance(handler, logging.NullHandler) for handler in logger.handlers), name
    for heavy in ("asyncio", "sqlite3", "ssl", "cyclopts", "rich", "uvloop"):
        if heavy in sys.modules and heavy not in ("ssl",):
            print(heavy)
"""


def test_importing_has_no_side_effect() -> None:
    """No file, socket, thread or logging configuration; not even asyncio, which is a third of the time of an import."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(SIDE_EFFECTS)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_library_needs_no_other_package() -> None:
    """Every module of the library itself (the command line needs its extra) imports with third-party packages out of reach."""
    names = [
        info.name
        for info in pkgutil.walk_packages(aiorocketmq.__path__, "aiorocketmq.")
        if ".cli" not in info.name and not info.name.endswith("__main__")
    ]
    script = """
        import importlib, sys

        class Fence:
            def find_spec(self, name, path=None, target=None):
                top = name.partition(".")[0]
                if top != "aiorocketmq" and top not in sys.stdlib_module_names:
                    raise ModuleNotFoundError(f"{name} is not there", name=name)

        sys.meta_path.insert(0, Fence())
        for name in sys.argv[1:]:
            importlib.import_module(name)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
