"""Log records of the loop: they wait for no lock of a caller, and a handler that sends with our clients never gets its own."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiorocketmq.sync import courier
from tests.support.waiting import eventually_sync
from tests.unit.sync.scripted import Site

ROOT = Path(__file__).resolve().parents[3]
HANDLER = """
    import faulthandler, logging, logging.config, sys
    import aiorocketmq.sync as rmq
    from tests.unit.sync.scripted import TOPIC

    faulthandler.dump_traceback_later(30, exit=True)
    servers, level, nowait = sys.argv[1:]
    refused = []

    class Sending(logging.Handler):
        def __init__(self):
            super().__init__()
            self.producer = rmq.Producer(servers, group="logs").start()

        def emit(self, record):
            message = rmq.Message(TOPIC, f"{record.name} {record.getMessage()}".encode())
            try:
                if nowait == "nowait":
                    self.producer.send_nowait(message)
                else:
                    self.producer.send(message)
            except rmq.ClientClosedError:
                pass  # it was closed meanwhile
            except rmq.ClientStateError as error:
                refused.append(str(error))

        def close(self):
            self.producer.stop()
            super().close()

    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"sending": {"()": Sending, "level": level}},
        "root": {"handlers": ["sending"], "level": level},
    }
    for number in range(2):
        logging.config.dictConfig(config)
        for _ in range(20):
            logging.getLogger("app").warning("hello %d", number)
        # On the loop's thread, while this one holds the locks of the handler and of logging.
        portal = rmq.Producer(servers, group="other").start()._portal
        with logging._lock:
            logging.root.handlers[0].acquire()
            portal.call_plain(logging.getLogger("aiorocketmq.sync").warning, "made on the loop")
            logging.root.handlers[0].release()
    logging.shutdown()
    print(len(refused), flush=True)
"""


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.mark.parametrize("how", ["", "nowait"])
@pytest.mark.parametrize("level", ["WARNING", "DEBUG"])
@pytest.mark.parametrize("no_uvloop", ["", "1"], ids=["uvloop", "asyncio"])
def test_a_producer_in_a_log_handler_returns_and_goes_round_in_no_circle(site: Site, how: str, level: str, no_uvloop: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(HANDLER), site.name_server.address, level, how]
    environ = os.environ | {"AIOROCKETMQ_NO_UVLOOP": no_uvloop}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, env=environ)
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout) <= 2 + 2, "each handler is told once, and each turn may meet the next record already on its way"
    stored = site.broker.stored
    assert [body for body in stored if body.startswith(b"app")] == [b"app hello 0"] * 20 + [b"app hello 1"] * 20
    assert not [body for body in stored if b"made on the loop" in body]


def test_records_of_the_loop_come_to_other_handlers(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("aiorocketmq.sync")

    def on_loop() -> None:
        courier.begin_loop()
        try:
            logger.warning("from %s", "the loop")
            logger.debug("not wanted")
        finally:
            courier.end_loop()

    with caplog.at_level(logging.INFO):
        thread = threading.Thread(target=on_loop)
        thread.start()
        thread.join()
        eventually_sync(lambda: caplog.messages == ["from the loop"], 10)
    assert caplog.records[0].threadName == thread.name


def test_flush_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "_courier", courier._Courier())
    courier.flush(60.0)  # nothing was ever posted
    gate = threading.Event()
    courier.post(gate.wait)
    courier.flush(0.01)
    gate.set()
    courier.flush(10.0)


def test_a_thread_that_could_not_be_started_is_started_by_the_next_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    made, delivered = courier._Courier(), list[str]()

    def refuse(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(courier._thread, "start_new_thread", refuse)
        made.post(lambda: delivered.append("first"))
    assert delivered == []
    made.post(lambda: delivered.append("second"))
    eventually_sync(lambda: delivered == ["first", "second"], 5)
