"""A program that is interrupted, or forked, at random moments, and has to go on: `python -m tests.unit.sync.storm KIND SERVERS SEED COUNT`.

It ends with 0 when all went well, and with the stacks of all threads when something did not come to its end.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import faulthandler
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import aiorocketmq.sync as rmq
from tests.unit.sync.scripted import TOPIC

PATIENCE = 30.0
"""Seconds after which a step counts as hung: a hundred times what it takes."""


class Left(BaseException):
    """What a handler may end the interrupted code with, as SystemExit would."""


def message(what: str) -> rmq.Message:
    return rmq.Message(TOPIC, f"{os.getpid()}:{what}".encode())


def producer(servers: str, **fields: Any) -> rmq.Producer:
    return rmq.Producer(servers, group=f"g{random.getrandbits(40)}", topics=[TOPIC], send_msg_timeout=2.0, **fields)


class Actions:
    """What the main thread is at when it is interrupted."""

    def __init__(self, servers: str, dice: random.Random, waits: bool) -> None:
        self.over = self.inside = False
        self.waits = waits
        self.servers = servers
        self.dice = dice
        self.current = producer(servers)

    def run(self) -> None:
        """One of all, over and over, until something ends it, or it is over."""
        choice = [self.live, self.live, self.send, self.send_by_loop, self.send_nowait, *([self.wait] if self.waits else [])]
        action: Callable[[], None] = self.dice.choice(choice)
        self.current = producer(self.servers, max_in_flight=8)
        if action != self.live:
            self.current.start()
        try:
            self.inside = True
            while not self.over:
                action()
        finally:
            self.inside = False

    def live(self) -> None:
        with self.current:
            self.current.send(message("live"))
        self.current = producer(self.servers)

    def send(self) -> None:
        for _ in range(20):
            self.current.send(message("send"))

    def send_by_loop(self) -> None:
        self.current.send(message("selected"), selector=lambda queues, _: queues[0])

    def send_nowait(self) -> None:
        futures = [self.current.send_nowait(message("nowait")) for _ in range(12)]
        self.dice.choice(futures).result()

    def wait(self) -> None:
        futures = [self.current.send_nowait(message("wait")) for _ in range(12)]
        if self.dice.random() < 0.5:
            concurrent.futures.wait(futures)
        else:
            for future in concurrent.futures.as_completed(futures):
                future.result()


def signals(servers: str, seed: int, count: int) -> None:
    """Real signals at random moments into a main thread that uses a producer; a second one must go on as if nothing had happened."""
    dice = random.Random(seed)
    actions = Actions(servers, dice, waits=True)
    steady = producer(servers).start()
    main = threading.get_ident()

    def on_term(number: int, frame: object) -> None:
        what = dice.randrange(6)
        with contextlib.suppress(rmq.RocketMQError):
            if what == 0:
                actions.current.send(message("from a handler"), timeout=1.0)
            elif what == 1:
                actions.current.send_nowait(message("from a handler"))
            elif what == 2:
                actions.current.start()
            else:
                actions.current.stop()
        if what in (3, 4) and actions.inside:
            raise Left

    def on_int(number: int, frame: object) -> None:
        if actions.inside:
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGINT, on_int)

    def shoot() -> None:
        time.sleep(delay)
        for number in kinds:
            signal.pthread_kill(main, number)
            time.sleep(gap)
        actions.over = True

    sent = 0
    while sent < count:
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        kinds = [dice.choice([signal.SIGINT, signal.SIGTERM]) for _ in range(dice.choice([1, 1, 2]))]
        delay, gap = dice.uniform(0.0, 0.02), dice.choice([0.0, 0.001])
        sent += len(kinds)
        actions.over = False
        helper = threading.Thread(target=shoot)
        helper.start()
        while not actions.over:  # until then a signal may come at any moment, in this loop as well
            try:
                actions.run()
            except (KeyboardInterrupt, Left, rmq.RocketMQError):
                continue
            except RuntimeError as error:
                if "release unlocked lock" not in str(error):  # an Event of the standard library is not safe from interrupts
                    raise
        helper.join()
        with contextlib.suppress(rmq.RocketMQError):
            actions.current.stop()
        assert steady.send(message("steady"), timeout=20.0).ok
        assert steady.send_nowait(message("steady"), timeout=20.0).result(20.0).ok
    steady.stop()


def forks(servers: str, seed: int, count: int) -> None:
    """Forks at random moments, by a signal handler; the child must get its errors at once, and leave the parent's connections alone."""
    dice = random.Random(seed)
    # Not in `concurrent.futures.wait()`: another thread of the parent may hold its locks, which is nothing of ours.
    actions = Actions(servers, dice, waits=False)
    steady = producer(servers, max_in_flight=4).start()
    parent = os.getpid()
    stop = threading.Event()

    def beside() -> None:
        while not stop.is_set():
            steady.send(message("beside"), timeout=20.0)
            steady.send_nowait(message("beside"), timeout=20.0)

    others = [threading.Thread(target=beside, daemon=True) for _ in range(2)]
    for other in others:
        other.start()

    def on_alarm(number: int, frame: object) -> None:
        child = os.fork()
        if child == 0:
            # Tells where it hangs and ends it; the watchdog of the parent has no thread here, and could not even be called off.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            faulthandler.register(signal.SIGALRM, all_threads=False, chain=True)
            signal.setitimer(signal.ITIMER_REAL, PATIENCE / 2)
            status = 9
            try:
                status = in_child()
            finally:
                if status or dice.random() < 0.7:
                    os._exit(status)
            actions.over = True
            return  # into the call that was interrupted, which is the parent's
        children.append(child)
        actions.over = True  # where Python lets no exception out (a finalizer, a callback of a weak reference), the next one is lost
        raise Left

    def in_child() -> int:
        for use in (
            lambda: steady.send(message("child")),
            lambda: steady.send_nowait(message("child")),
            lambda: steady.send_nowait(message("child")).result(),
            lambda: steady.start(),
            lambda: steady.fetch_publish_message_queues(TOPIC),
        ):
            try:
                use()
            except rmq.ForkedClientError:
                continue
            return 3
        steady.stop()
        actions.current.stop()
        if dice.random() < 0.3:
            with producer(servers) as own:
                if not own.send(rmq.Message(TOPIC, b"fresh"), timeout=20.0).ok:
                    return 4
        return 0

    signal.signal(signal.SIGALRM, on_alarm)
    for _ in range(count):
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        children: list[int] = []
        actions.over = False
        try:
            signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.0005, 0.02))
            actions.run()
        except Left:
            pass
        except rmq.ForkedClientError:
            os._exit(0 if os.getpid() != parent else 5)
        if os.getpid() != parent:
            os._exit(0)
        [child] = children
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status == 0, f"the child ended with {status}"
        actions.current.stop()
        assert steady.send(message("steady"), timeout=20.0).ok
    stop.set()
    for other in others:
        other.join()
    steady.stop()


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    kind, servers, seed, count = sys.argv[1:]
    {"signals": signals, "forks": forks}[kind](servers, int(seed), int(count))
    print("through", flush=True)
