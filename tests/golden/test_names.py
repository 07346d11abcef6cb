"""Names in namespaces and endpoints are those of Java."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import aiorocketmq as rmq
from aiorocketmq.model.namespace import Namespace

LINES = [
    json.loads(line) | {"version": version}
    for version in ("5.5.0", "4.9.7")
    for line in Path(__file__).with_name(f"names-{version}.jsonl").read_text("utf-8").splitlines()
]


@pytest.mark.feature("L11")
@pytest.mark.parametrize("item", [item for item in LINES if "name" in item], ids=lambda item: "-".join(map(str, item.values())))
def test_names_are_wrapped_and_unwrapped_as_in_java(item: dict[str, str]) -> None:
    names = Namespace(item["namespace"])
    assert (names.wrap(item["name"]), names.unwrap(item["name"])) == (item["wrapped"], item["unwrapped"])


@pytest.mark.feature("L5")
@pytest.mark.parametrize("item", [item for item in LINES if "endpoint" in item], ids=lambda item: item["endpoint"])
def test_endpoints_are_read_as_in_java(item: dict[str, str]) -> None:
    config = rmq.ClientConfig(name_servers=item["endpoint"])
    assert (config.name_servers, config.names.name) == ((item["address"],), item["instance"])
