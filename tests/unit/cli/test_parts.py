"""The pieces of the command line: starts, lines, tables, verdicts."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import time
from datetime import UTC, datetime

import pytest

from aiorocketmq.cli import main, output
from aiorocketmq.cli.demo_report import Check, Teller, latencies, shorten
from aiorocketmq.cli.options import Cluster, run_async
from aiorocketmq.cli.produce import Fields
from aiorocketmq.cli.render import Form, Rows, render
from aiorocketmq.cli.stdin import lines
from aiorocketmq.cli.tail import Start
from aiorocketmq.cli.topic import kind_of
from aiorocketmq.config import TLS
from aiorocketmq.errors import ConfigError, RouteError
from aiorocketmq.protocol.message_codec import decode_messages
from aiorocketmq.sync import LocalCluster
from tests.unit.consumer.world import record

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("begin", Start(begin=True)),
        ("first", Start(begin=True)),
        ("end", Start()),
        ("last", Start()),
        ("-20", Start(last=20)),
        ("-5s", Start(at=NOW - 5)),
        ("-5m", Start(at=NOW - 300)),
        ("-2h", Start(at=NOW - 7200)),
        ("-1d", Start(at=NOW - 86400)),
        ("1700000000000", Start(at=1_700_000_000.0)),
        ("2026-01-31T12:00:00+00:00", Start(at=datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp())),
    ],
)
def test_starts_are_read(text: str, start: Start) -> None:
    assert Start.parse(text, NOW) == start


@pytest.mark.parametrize("text", ["", "yesterday", "-5w", "--5", "20", "2026-13-01"])
def test_other_starts_are_refused_with_the_cure(text: str) -> None:
    with pytest.raises(ConfigError, match="use begin, end"):
        Start.parse(text, NOW)


def collect(data: list[bytes]) -> list[bytes]:
    reading, writing = os.pipe()

    async def read() -> list[bytes]:
        return [line async for line in lines(reading)]

    async def feed_and_read() -> list[bytes]:
        reader = asyncio.ensure_future(read())
        for piece in data:
            os.write(writing, piece)
            await asyncio.sleep(0)
        os.close(writing)
        return await reader

    try:
        return asyncio.run(feed_and_read())
    finally:
        os.close(reading)


def test_the_options_say_how_the_cluster_is_reached() -> None:
    config = Cluster(name_servers="a:1", tls_ca_file="ca.pem", timeout=2.0).config()
    assert (config.name_servers, config.tls, config.mq_client_api_timeout) == (("a:1",), TLS(ca_file="ca.pem"), 2.0)
    assert Cluster(name_servers="a:1", tls=True, tls_ca_file="ca.pem").config().tls == TLS(ca_file="ca.pem")
    assert Cluster(name_servers="a:1", tls=True).config().tls == TLS()
    assert Cluster(name_servers="a:1").config().tls is None


def test_lines_are_cut_whatever_the_pieces_are() -> None:
    assert collect([b"one\ntw", b"o\r\n\nthr", b"ee"]) == [b"one", b"two", b"three"]
    assert collect([]) == []
    assert collect([b"\n\n"]) == []
    long = b"x" * 60_000
    assert collect([long, b"\nend\n"]) == [long, b"end"]


def test_properties_are_name_and_value() -> None:
    assert Fields(property=["a=1", "b=x=y"]).properties() == {"a": "1", "b": "x=y"}
    for wrong in ("a", "=1", "a="):
        with pytest.raises(ConfigError, match="NAME=VALUE"):
            Fields(property=[wrong]).properties()


def test_topics_are_told_apart_by_name() -> None:
    kinds = {name: kind_of(name) for name in ("orders", "%RETRY%g", "%DLQ%g", "TBW102", "rmq_sys_wheel_timer")}
    assert list(kinds.values()) == ["user", "retry", "dead-letter", "system", "system"]


def test_topics_of_brokers_are_not_listed_among_the_user_s(capsys: pytest.CaptureFixture[str]) -> None:
    with LocalCluster(cluster_name="Mine", brokers=2) as cluster:
        cluster.create_topic("orders")
        words = ["topic", "list", "-o", "json", "-n", cluster.name_servers]
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out) == [{"topic": "orders", "kind": "user"}]
        assert main([*words, "--all"]) == 0
        kinds = {row["topic"]: row["kind"] for row in json.loads(capsys.readouterr().out)}
    assert {kinds[name] for name in ("Mine", "broker-a", "broker-b", "Mine_REPLY_TOPIC", "TBW102")} == {"system"}


def test_a_table_shows_every_cell_whole(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "[bold]x" * 12, "count": 1234, "at": None, "many": ["a", "b"]}]
    render("table", Rows(rows, ["name", "count", "at", "many"], "heading"))
    text = capsys.readouterr().out
    assert "[bold]x" * 12 in text, "markup in data must be shown as it is"
    assert "heading" in text
    assert "1234" in text
    assert "a, b" in text


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="Windows cannot change the time zone of a process")
def test_times_are_shown_as_the_clock_on_the_wall_tells_them(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    at = datetime(2026, 1, 31, 20, 15, 30, 123_000, tzinfo=UTC)
    (message,) = decode_messages(record("orders", 7, b"x", stored_at=round(at.timestamp() * 1000)), broker_name="b", max_body=10)
    try:
        for zone, row, line in (("UTC", "2026-01-31 20:15:30.123", "20:15:30.123"), ("XYZ-9", "2026-02-01 05:15:30.123", "05:15:30.123")):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            render("table", Rows([{"at": at}]))
            assert row in capsys.readouterr().out
            output.print_message("table", message)
            assert capsys.readouterr().out.startswith(f"{line} orders:b:0@7")
            output.print_message("json", message)
            assert '"stored_at": "2026-01-31T20:15:30.123000+00:00"' in capsys.readouterr().out, "for programs it is the same everywhere"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_message_that_comes_again_shows_which_try_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    for tries, shown in ((0, ""), (1, "try=2"), (15, "try=16")):
        (message,) = decode_messages(record("orders", 7, b"x", reconsume_times=tries), broker_name="b", max_body=10)
        output.print_message("table", message)
        assert [word for word in capsys.readouterr().out.split() if word.startswith("try=")] == ([shown] if shown else [])


def test_bodies_that_are_no_text_are_shown_as_escapes() -> None:
    assert output.body_text("grüße".encode()) == "grüße"
    assert output.body_text(b"\xff\x00a") == "\\xff\x00a"


def test_an_error_from_several_tasks_is_told_as_one() -> None:
    async def fail() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(refuse())
            group.create_task(asyncio.sleep(60))

    async def refuse() -> None:
        raise RouteError("no way")

    with pytest.raises(RouteError, match="no way"):
        run_async(fail())


def test_latencies_and_long_lists_are_summed_up() -> None:
    assert latencies([]) == "-"
    assert latencies([0.001]) == "p50 1.0 ms, p99 1.0 ms"
    assert latencies([number / 1000 for number in range(1, 101)]) == "p50 51.0 ms, p99 99.0 ms"
    assert shorten(["a", "b"]) == "a b"
    assert shorten([str(number) for number in range(20)], 4) == "0 1 … 16 more … 18 19"


def test_the_demo_tells_what_went_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    teller = Teller("table")
    teller.verdicts([Check("plain", "ten messages", "9 came", False), Check("tagged", "four", "four", True)], 1.5, "a server")
    text = capsys.readouterr().out
    assert "WRONG" in text
    assert "9 came" in text
    assert "1 of 2 as expected, on a server" in text


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_message_is_in_the_pipe_as_soon_as_it_is_printed(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(pipe), encoding="utf-8"))  # type: ignore[type-var]
    stored = record("orders", 7, b"hello")
    (message,) = decode_messages(stored, broker_name="broker-a", max_body=100)
    output.print_message(form, message)
    assert b"hello" in pipe.getvalue(), "whoever reads a followed topic waits for it"


def test_what_is_given_for_the_messages_is_in_them() -> None:
    made = Fields(tag="t", key=["k"], property=["a=b"], sharding_key="s", delay=7.0).message("topic", b"x")
    assert (made.tag, list(made.keys), made.properties["a"], made.sharding_key, made.delay) == ("t", ["k"], "b", "s", 7.0)
    assert Fields(delay_level=3).message("topic", b"x").delay_level == 3
