"""Every command on every cluster, as a user runs it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.cli import main
from tests.support.clusters import Cluster

PROGRAM = [sys.executable, "-m", "aiorocketmq"]


class Shell:
    """Runs commands against one cluster inside this process."""

    def __init__(self, cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
        self.cluster = cluster
        self._capsys = capsys

    def run(self, *words: str, code: int = 0) -> str:
        """Run a command and give its standard output."""
        self._capsys.readouterr()
        found = main([*words, "--name-servers", self.cluster.name_servers])
        output = self._capsys.readouterr()
        assert found == code, output.err
        self.errors = output.err
        return output.out

    def json(self, *words: str) -> Any:
        """Run a command with JSON output."""
        return json.loads(self.run(*words, "--output", "json"))

    def json_lines(self, *words: str) -> list[dict[str, Any]]:
        """Run a command that gives one JSON object a line."""
        return [json.loads(line) for line in self.run(*words, "--output", "json").splitlines()]


@pytest.fixture
def shell(cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.delenv("NAMESRV_ADDR", raising=False)
    return Shell(cluster, capsys)


@pytest.fixture
def topic(shell: Shell) -> str:
    name = shell.cluster.unique("cli")
    shell.run("topic", "create", name, "--queues", "2")
    return name


def test_topics_are_created_listed_and_described(shell: Shell, topic: str) -> None:
    assert {"topic": topic, "kind": "user"} in shell.json("topic", "list")
    assert all(row["kind"] == "user" for row in shell.json("topic", "list"))
    assert {"topic": "TBW102", "kind": "system"} in shell.json("topic", "list", "--all")
    (row,) = shell.json("topic", "route", topic)
    assert (row["broker"], row["read_queues"], row["permission"]) == (shell.cluster.broker_name, 2, "rw")
    assert row["addresses"] == [f"0={shell.cluster.broker_address}"]
    assert [row["messages"] for row in shell.json("topic", "stats", topic)] == [0, 0]
    assert topic in shell.run("topic", "list")
    shell.run("topic", "create", topic, "--queues", "4", code=5)
    expected = {"topic": topic, "broker": shell.cluster.broker_name, "queues": 2, "permission": "r"}
    assert shell.json("topic", "update", topic, "--permission", "r") == [expected]
    assert shell.json("topic", "update", topic, "--queues", "3", "--permission", "rw") == [expected | {"queues": 3, "permission": "rw"}]


def test_what_is_produced_is_seen_by_tail_and_consume(shell: Shell, topic: str) -> None:
    properties = ("--tag", "paid", "--key", "k1", "--key", "k2", "--property", "region=eu")
    (sent,) = shell.json_lines("produce", topic, "--body", "grüße", *properties)
    assert (sent["status"], sent["topic"]) == ("SEND_OK", topic)
    assert "sent 40 messages" in shell.run("produce", topic, "--body", "many", "--count", "40")
    seen = shell.json_lines("tail", topic, "--from", "begin", "--count", "41")
    assert len(seen) == 41
    first = next(message for message in seen if message["body"] == "grüße")
    assert (first["tag"], first["keys"], first["properties"]) == ("paid", ["k1", "k2"], {"region": "eu"})
    assert first["message_id"] == sent["message_id"]
    group = shell.cluster.unique("cli_group")
    got = shell.json_lines("consume", topic, "--group", group, "--from", "first", "--count", "41")
    assert {message["message_id"] for message in got} == {message["message_id"] for message in seen}
    rows = [row for row in shell.json("group", "lag", group, "--topic", topic) if row["topic"] == topic]
    assert sum(row["broker_offset"] for row in rows) == 41
    assert sum(row["lag"] for row in rows) == 0
    assert "lag 0" in shell.run("group", "lag", group, "--topic", topic)


def test_tail_begins_where_it_is_told_and_moves_no_offset(shell: Shell, topic: str) -> None:
    for number in range(6):
        shell.run("produce", topic, "--body", f"n{number}", "--tag", "even" if number % 2 == 0 else "odd")

    def bodies(*words: str) -> list[str]:
        return [message["body"] for message in shell.json_lines("tail", topic, "--no-follow", *words)]

    assert bodies("--from", "begin") == [f"n{number}" for number in range(6)], "sorted by store time"
    assert bodies("--from", "-2") == ["n4", "n5"]
    assert bodies("--from", "-5m", "--filter", "odd") == ["n1", "n3", "n5"]
    assert bodies("--from", "end") == []
    assert "try=" not in shell.run("tail", topic, "--from", "begin", "--no-follow")
    assert {row["consumer_offset"] for row in shell.json("group", "lag", "TOOLS_CONSUMER", "--topic", topic)} == {0}


def test_produce_reads_lines(shell: Shell, topic: str) -> None:
    command = [*PROGRAM, "produce", topic, "-o", "json", "--sharding-key", "one", "-n", shell.cluster.name_servers]
    done = subprocess.run(command, input="first\r\n\nsecond\nthird", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({result["queue_id"] for result in results}) == 1
    assert [message["body"] for message in shell.json_lines("tail", topic, "--from", "begin", "--no-follow")] == [
        "first",
        "second",
        "third",
    ]


def test_failures_are_one_line_with_a_hint(shell: Shell) -> None:
    missing = shell.cluster.unique("missing")
    shell.run("topic", "stats", missing, code=3)
    assert shell.errors.count("\n") == 1
    assert missing in shell.errors
    assert "create the topic" in shell.errors
    shell.run("topic", "create", "white space", code=2)
    assert "contains ' '" in shell.errors
    shell.run("group", "lag", shell.cluster.unique("nobody"), code=3)
    assert "has consumed" in shell.errors


def test_the_demo_comes_out_right(shell: Shell) -> None:
    verdict = shell.json("demo")
    wrong = [check for check in verdict["checks"] if not check["ok"]]
    assert wrong == []
    assert verdict["ok"]
    assert {check["scene"] for check in verdict["checks"]} == {
        "plain", "tagged", "keyed", "batched", "ordered", "delayed", "broadcast", "retried", "dead letter",
    }  # fmt: skip


def started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = started("server", "--port", "0", "--data-dir", str(tmp_path), "--topic", "made", "-o", "json")
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())["name_servers"]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for child processes")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_the_server_keeps_its_data_and_stops_cleanly(
    own_server: tuple[subprocess.Popen[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int, code: int
) -> None:
    process, address = own_server
    assert main(["produce", "made", "--body", "kept", "-n", address]) == 0
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (code, "", "")
    again = started("server", "--port", "0", "--data-dir", str(tmp_path), "-o", "json")
    try:
        assert again.stdout is not None
        address = json.loads(again.stdout.readline())["name_servers"]
        capsys.readouterr()
        assert main(["tail", "made", "--from", "begin", "--no-follow", "-n", address, "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["body"] == "kept"
    finally:
        again.terminate()
        again.communicate(timeout=30)


def test_a_port_in_use_is_said_so(own_server: tuple[subprocess.Popen[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    port = own_server[1].rpartition(":")[2]
    assert main(["server", "--port", port]) == 2
    assert f"port {port} of 127.0.0.1 is in use" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for child processes")
def test_ctrl_c_ends_long_commands_cleanly(own_server: tuple[subprocess.Popen[str], str]) -> None:
    address = own_server[1]
    commands = {
        "tail": started("tail", "made", "-n", address, "-o", "json", "--from", "begin"),
        "consume": started("consume", "made", "--group", "ctrl_c", "-n", address, "-o", "json", "--from", "first"),
    }
    assert main(["produce", "made", "--body", "seen", "-n", address]) == 0
    for name, process in commands.items():
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["body"] == "seen", name
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, output) == (130, ""), (name, errors)
        assert "Traceback" not in errors, name
        assert time.monotonic() - began < 20, name


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for child processes")
def test_ctrl_c_ends_produce_while_standard_input_is_silent(own_server: tuple[subprocess.Popen[str], str]) -> None:
    words = [*PROGRAM, "produce", "made", "-o", "json", "-n", own_server[1]]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write("a line\n" * 300)
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["status"] == "SEND_OK", "what fills the window is settled while more may come"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert process.stderr.read() == ""
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


def test_produce_tells_the_result_of_one_line_while_standard_input_stays_open(own_server: tuple[subprocess.Popen[str], str]) -> None:
    words = [*PROGRAM, "produce", "made", "-o", "json", "-n", own_server[1]]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("a line\n")
        process.stdin.flush()
        try:
            told, _, _ = select.select([process.stdout], [], [], 5.0)
            assert told
            assert json.loads(process.stdout.readline())["status"] == "SEND_OK"
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
@pytest.mark.parametrize("command", ["tail", "consume"])
def test_a_reader_that_goes_away_ends_the_command_quietly(own_server: tuple[subprocess.Popen[str], str], command: str) -> None:
    address = own_server[1]
    assert main(["produce", "made", "--body", "x" * 2000, "--count", "300", "-n", address]) == 0
    words = {"tail": ["--from", "begin"], "consume": ["--group", "no_reader", "--from", "first"]}[command]
    with started(command, "made", *words, "-n", address) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            process.stdout.readline()
            process.stdout.close()
            assert process.wait(timeout=10) == 1
            assert process.stderr.read() == ""
        finally:
            process.kill()


def test_the_name_server_comes_from_the_environment(own_server: tuple[subprocess.Popen[str], str]) -> None:
    environment = {**os.environ, "NAMESRV_ADDR": own_server[1]}
    done = subprocess.run(
        [*PROGRAM, "topic", "list", "-o", "json"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert {"topic": "made", "kind": "user"} in json.loads(done.stdout), done.stderr


@pytest.mark.feature("Q40", "Q41")
def test_groups_and_topics_are_made_changed_and_deleted(shell: Shell, topic: str) -> None:
    group, broker = shell.cluster.unique("cli_group"), shell.cluster.broker_name
    assert shell.run("group", "create", group, "--dry-run") == "" and f"would create group {group}" in shell.errors
    assert shell.json("group", "create", group) == [{"group": group, "broker": broker}]
    shell.run("group", "create", group, code=5)
    assert {"group": group} in shell.json("group", "list")
    (row,) = shell.json("group", "update", group, "--retry-max-times", "3", "--no-consume")
    assert (row["broker"], row["retry_max_times"], row["consume"]) == (broker, 3, False)
    assert shell.json("group", "settings", group) == [row]
    shell.run("group", "delete", group, code=2)
    assert "--yes" in shell.errors, "nobody can be asked here"
    assert shell.json("group", "delete", group, "--yes") == [{"group": group, "broker": broker}]
    shell.run("group", "delete", group, "--yes", code=3)
    shell.run("topic", "delete", topic, "--dry-run")
    assert f"would delete topic {topic} with 0 messages in 2 queues" in shell.errors
    assert shell.json("topic", "delete", topic, "-y") == [{"topic": topic, "broker": broker}]
    shell.run("topic", "stats", topic, code=3)


@pytest.mark.feature("Q44", "Q45")
def test_brokers_and_name_servers_are_looked_at_and_changed(shell: Shell) -> None:
    broker = shell.cluster.broker_name
    assert broker in {row["broker"] for row in shell.json("cluster", "list")}
    settings = {row["name"]: row["value"] for row in shell.json("broker", "config", "get", "--broker", broker)}
    assert settings["brokerName"] == broker
    permission = settings["brokerPermission"]
    assert shell.json("broker", "config", "set", f"brokerPermission={permission}", "--broker", broker)[0]["broker"] == broker
    shell.run("broker", "config", "set", "nonsense", "--broker", broker, code=2)
    shell.run("broker", "drain", broker, "--dry-run")
    assert shell.json("broker", "undrain", broker)[0]["topics"] >= 0
    assert shell.json("namesrv", "config", "get")
    key = shell.cluster.unique("key")
    shell.run("namesrv", "kv", "get", "SPACE", key, code=3)
    shell.run("namesrv", "kv", "put", "SPACE", key, "value")
    assert shell.json("namesrv", "kv", "get", "SPACE", key) == [{"key": key, "value": "value"}]
    assert {"key": key, "value": "value"} in shell.json("namesrv", "kv", "list", "SPACE")
    shell.run("namesrv", "kv", "delete", "SPACE", key, "--yes")
    assert key not in shell.run("namesrv", "kv", "list", "SPACE", "-o", "csv")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM for child processes")
def test_sigterm_ends_produce_after_what_was_on_its_way(own_server: tuple[subprocess.Popen[str], str]) -> None:
    words = [*PROGRAM, "produce", "made", "-o", "json", "-n", own_server[1]]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write("a line\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["status"] == "SEND_OK"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 130
        assert process.stderr.read() == ""


def test_produce_tells_an_error_while_standard_input_stays_open() -> None:
    words = [*PROGRAM, "produce", "made", "--timeout", "1", "-n", "127.0.0.1:1"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write("a line\nanother\n")
        process.stdin.flush()
        assert process.wait(timeout=30) == 4
        (line,) = process.stderr.read().splitlines()
        assert line.startswith("aiorocketmq: ") and "127.0.0.1:1" in line


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is full")
@pytest.mark.parametrize(
    "words", [["consume", "made", "-g", "full", "--from", "first"], ["tail", "made", "--from", "begin"], ["topic", "list"]]
)
def test_a_full_disk_is_one_line(own_server: tuple[subprocess.Popen[str], str], words: list[str]) -> None:
    assert main(["produce", "made", "--body", "-x", "-n", own_server[1]]) == 0
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*PROGRAM, *words, "-n", own_server[1]], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (1, "aiorocketmq: standard output: No space left on device\n")


def test_consume_of_a_topic_that_is_not_there_says_what_it_waits_for(own_server: tuple[subprocess.Popen[str], str]) -> None:
    with started("consume", "not_there", "-g", "g", "-n", own_server[1]) as process:
        assert process.stderr is not None
        try:
            assert process.stderr.readline().startswith("waiting for topic not_there: no name server knows it yet")
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_help_needs_no_reader_to_its_end() -> None:
    with started("--help") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert (process.wait(timeout=30), process.stderr.read()) == (0, "")
