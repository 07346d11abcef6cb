"""Requests and answers as lines of JSON, for the programs of ours that block; the asyncio program reads its lines beside its loop."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from aiorocketmq.errors import RocketMQError
from benchmarks.ours.meter import Answer

Subject = TypeVar("Subject")
FAILURES: tuple[type[Exception], ...] = (RocketMQError, ValueError)
"""What a workload through the client may raise."""


def answered(
    commands: Mapping[str, Callable[[Subject, dict[str, Any]], Answer]],
    subject: Subject,
    request: dict[str, Any],
    *,
    failures: tuple[type[Exception], ...] = FAILURES,
) -> Answer:
    """Carry out one request; a failure becomes an answer too.

    Args:
        commands: The workload of each `cmd` that is supported.
        subject: What a workload works with: a producer, or an address.
        request: The request; its `cmd` names the workload.
        failures: Errors that become an answer; others are defects, and end the program.
    """
    workload = commands.get(request["cmd"])
    if workload is None:
        return {"error": "unsupported"}
    try:
        return workload(subject, request)
    except failures as error:
        return {"error": f"{type(error).__name__}: {error}"}


def serve(answer: Callable[[dict[str, Any]], Answer]) -> None:
    """Answer the requests on standard input until its end."""
    for line in sys.stdin.buffer:
        print(json.dumps(answer(json.loads(line))), flush=True)
