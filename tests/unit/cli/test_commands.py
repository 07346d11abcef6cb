"""The command line without a server: help, usage errors, exit codes, and what needs which package."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap

import pytest

from aiorocketmq.cli import main
from aiorocketmq.cli.app import app

COMMANDS = [
    ["demo"],
    ["server"],
    ["produce"],
    ["consume"],
    ["tail"],
    ["topic", "list"],
    ["topic", "create"],
    ["topic", "update"],
    ["topic", "delete"],
    ["topic", "settings"],
    ["topic", "route"],
    ["topic", "stats"],
    *(["group", word] for word in ("list", "create", "update", "settings", "delete", "lag", "clients")),
    ["cluster", "list"],
    *(["broker", word] for word in ("status", "drain", "undrain")),
    *(["broker", "config", word] for word in ("get", "set")),
    *(["namesrv", "config", word] for word in ("get", "set")),
    *(["namesrv", "kv", word] for word in ("get", "list", "put", "delete")),
    ["bench", "compare"],
]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAMESRV_ADDR", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_shows_examples_that_parse(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: aiorocketmq {' '.join(words)}" in text
    examples = [line.strip() for line in text.partition("Examples:")[2].splitlines() if line.strip().startswith("aiorocketmq ")]
    assert examples, "the help has no example"
    assert all(example.startswith(f"aiorocketmq {' '.join(words)}") for example in examples)
    for example in examples:
        words_of_it = shlex.split(re.split(r" \| |  +", example)[0])[1:]  # without what follows in a pipe, and without a remark
        command, _, ignored = app.parse_args(words_of_it, exit_on_error=False, print_error=False)
        assert callable(command) and not ignored, example


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f" {name} " in text for name in ("demo", "server", "produce", "consume", "tail", "topic", "group"))
    assert "130" in text


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    import aiorocketmq

    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == aiorocketmq.__version__


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nonsense"], "Unknown command"),
        (["topic", "list", "--output", "xml"], "xml"),
        (["topic", "stats"], "requires an argument"),
        (["produce", "t", "--nmae-servers", "x"], "--name-servers"),
        (["produce", "t", "--body", "x", "--count", "0", "-n", "127.0.0.1:1"], "count 0 is out of range"),
        (["produce", "t", "--count", "2", "-n", "127.0.0.1:1"], "--count needs --body"),
        (["produce", "t", "--body", "x", "--property", "novalue", "-n", "127.0.0.1:1"], "NAME=VALUE"),
        (["consume", "t", "-n", "127.0.0.1:1"], "group"),
        (["consume", "t", "-g", "g", "--idle", "0", "-n", "127.0.0.1:1"], "idle 0"),
        (["tail", "t", "--from", "yesterday", "-n", "127.0.0.1:1"], "'yesterday' is no start"),
        (["tail", "t", "--from", "-" + "9" * 5000, "-n", "127.0.0.1:1"], "is no start"),
        (["tail", "t", "--from", "-" + "9" * 400 + "d", "-n", "127.0.0.1:1"], "is no start"),
        (["topic", "create", "t", "--permission", "x", "-n", "127.0.0.1:1"], "for --permission. Choose from"),
        (["topic", "list", "-n", "no-port"], "host:port"),
        (["topic", "list", "-n", "127.0.0.1:1", "--tls-ca-file", "no-such-file.pem"], "no-such-file.pem"),
        (["server", "--brokers", "0"], "brokers 0 is out of range"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("aiorocketmq: ")
    assert output.err.count("\n") == 1
    assert part in output.err


@pytest.mark.parametrize("words", [["topic", "list"], ["tail", "t"], ["produce", "t", "--body", "x"], ["group", "lag", "g"]], ids=" ".join)
def test_no_name_server_is_an_error_with_the_cure(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 4
    assert "--name-servers host:port, or set NAMESRV_ADDR" in capsys.readouterr().err


def test_a_name_server_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topic", "list", "-n", "127.0.0.1:1"]) == 4
    output = capsys.readouterr().err
    assert "127.0.0.1:1" in output
    assert output.count("\n") == 1


def test_every_command_is_reached_by_the_tree() -> None:
    names = {name for name in app if not name.startswith("-")}
    assert names == {words[0] for words in COMMANDS}


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False)


def test_without_the_extra_the_message_names_it() -> None:
    done = python("""
        import importlib.machinery, sys

        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("cyclopts", "rich"):
                    raise ModuleNotFoundError(name)
                return None

        real = importlib.machinery.PathFinder.find_spec
        importlib.machinery.PathFinder.find_spec = classmethod(
            lambda cls, name, path=None, target=None: None if name.partition(".")[0] in ("cyclopts", "rich") else real(name, path, target)
        )
        from aiorocketmq.cli import main
        sys.exit(main(["topic", "list"]))
    """)
    assert done.returncode == 2
    assert done.stderr == "aiorocketmq: the command line needs cyclopts and rich: run  pip install 'aiorocketmq[cli]'\n"


def test_json_output_does_not_load_the_table_library() -> None:
    done = python("""
        import sys
        from aiorocketmq.cli import kernel, output
        from aiorocketmq.cli.render import Rows, json_line, render

        render("json", Rows([{"a": 1, "b": b"x"}], ["a"]))
        json_line({"c": "ü"})
        print(sorted(name for name in sys.modules if name.startswith("rich.table") or name.startswith("rich.console")))
    """)
    lines = done.stdout.splitlines()
    assert json.loads("".join(lines[:-2])) == [{"a": 1, "b": "x"}], done.stderr
    assert json.loads(lines[-2]) == {"c": "ü"}
    assert lines[-1] == "[]"


INTERRUPTED = """
import os, signal, sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "aiorocketmq.cli.app":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from aiorocketmq.cli import main
sys.exit(main(["--version"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a single process")
def test_ctrl_c_while_modules_are_read_shows_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a single process")
def test_a_handler_of_the_program_s_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def interrupted(arguments: object) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return 0

    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        monkeypatch.setattr("aiorocketmq.cli.app.run", interrupted)
        assert main(["--version"]) == 0
        assert seen == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


CLOSES = """
import os, sys
for number in sys.argv.pop(1):
    os.close(int(number))
os.execv(sys.executable, [sys.executable, "-m", "aiorocketmq", *sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no exec")
@pytest.mark.parametrize(
    ("closed", "words", "code", "told"),
    [
        ("1", ["--version"], 1, "aiorocketmq: [Errno 9] Bad file descriptor\n"),
        ("1", ["topic", "list", "-n", "127.0.0.1:1"], 4, "127.0.0.1:1 refused the connection"),
        ("2", ["topic", "list", "-n", "127.0.0.1:1"], 4, ""),
        ("012", ["topic", "list", "-n", "127.0.0.1:1"], 4, ""),
        ("0", ["produce", "orders", "-n", "127.0.0.1:1"], 0, "standard input held no line"),
    ],
)
def test_closed_standard_streams_end_no_command_hard(closed: str, words: list[str], code: int, told: str) -> None:
    done = subprocess.run([sys.executable, "-c", CLOSES, closed, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code and told in done.stderr and len(done.stderr.splitlines()) <= 1, done.stderr


def test_what_nobody_foresaw_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(words: object) -> int:
        raise ZeroDivisionError("no such luck")

    monkeypatch.setattr("aiorocketmq.cli.app.app", broken)
    assert main(["topic", "list"]) == 1
    assert capsys.readouterr().err == "aiorocketmq: ZeroDivisionError: no such luck (-v shows where)\n"
