"""The blocking classes are the asyncio classes without `await`: same names, same arguments, same values."""

from __future__ import annotations

import inspect
import re
from functools import cached_property

import pytest

import aiorocketmq
import aiorocketmq.sync
from aiorocketmq.server import LocalCluster
from tools import generate_sync

TWINS = {
    "Producer": aiorocketmq.Producer,
    "PushConsumer": aiorocketmq.PushConsumer,
    "LitePullConsumer": aiorocketmq.LitePullConsumer,
    "PullConsumer": aiorocketmq.PullConsumer,
    "PopConsumer": aiorocketmq.PopConsumer,
    "TransactionProducer": aiorocketmq.TransactionProducer,
    "AdminClient": aiorocketmq.AdminClient,
    "LocalCluster": LocalCluster,
}
NOT_TWINNED = {
    "PushConsumer": {"instance"},
    "LitePullConsumer": {"instance"},
    "PullConsumer": {"instance"},
    "PopConsumer": {"instance"},
    "LocalCluster": {"name_server"},
}
"""What gives asyncio objects of the inside, useless to other threads."""


def public(kind: type) -> dict[str, object]:
    return {
        name: value
        for name, value in inspect.getmembers(kind)
        if not name.startswith("_") and (callable(value) or isinstance(value, property))
    }


def test_the_generated_files_are_current() -> None:
    for path, text in generate_sync.generate().items():
        assert path.read_text(encoding="utf-8") == text, "run  python -m tools.generate_sync"


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_every_public_name(name: str) -> None:
    ours, theirs = public(getattr(aiorocketmq.sync, name)), public(TWINS[name])
    assert set(ours) == set(theirs) - NOT_TWINNED.get(name, set())
    assert {word for word, value in ours.items() if isinstance(value, property)} == {
        word for word, value in theirs.items() if isinstance(value, property) and word in ours
    }


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_takes_the_same_arguments(name: str) -> None:
    ours, theirs = public(getattr(aiorocketmq.sync, name)), public(TWINS[name])
    different = []
    for word in [*ours, "__init__"]:
        mine = getattr(getattr(aiorocketmq.sync, name), word)
        twin = getattr(TWINS[name], word)
        if isinstance(mine, property):
            continue
        if inspect.signature(mine).parameters != inspect.signature(twin).parameters:
            different.append(f"{word}: {inspect.signature(mine)} and {inspect.signature(twin)}")
    assert different == []
    assert set(theirs) >= set(ours)


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_never_speaks_of_await(name: str) -> None:
    guilty = []
    for word, value in public(getattr(aiorocketmq.sync, name)).items():
        if re.search(r"\bawait [a-z_.]+\(|\basync with\b|^Cancelling", inspect.getdoc(value) or "", re.MULTILINE):
            guilty.append(word)
    assert guilty == []
    assert "await " not in (getattr(aiorocketmq.sync, name).__doc__ or "").replace("may await", "")


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_gives_no_coroutine(name: str) -> None:
    kind = getattr(aiorocketmq.sync, name)
    assert [word for word, value in public(kind).items() if inspect.iscoroutinefunction(value)] == []


def families(client: object) -> dict[str, object]:
    """The families of an admin client and those within them, by their path."""
    found: dict[str, object] = {}
    for word, value in vars(type(client)).items():
        if isinstance(value, cached_property):
            family = found[word] = getattr(client, word)
            found.update({f"{word}.{inner}": each for inner, each in families(family).items()})
    return found


def test_the_families_of_the_admin_client_are_the_same_in_both() -> None:
    ours, theirs = families(aiorocketmq.sync.AdminClient("a:1")), families(aiorocketmq.AdminClient("a:1"))
    assert list(ours) == list(theirs) and "acl.users" in ours
    for path, family in ours.items():
        mine, twin = public(type(family)), public(type(theirs[path]))
        assert set(mine) == set(twin), path
        for word, value in mine.items():
            assert inspect.signature(value) == inspect.signature(twin[word]), f"{path}.{word}"  # type: ignore[arg-type]
            assert not inspect.iscoroutinefunction(value) and inspect.iscoroutinefunction(twin[word]), f"{path}.{word}"
            assert "Cancelling" not in (inspect.getdoc(value) or ""), f"{path}.{word}"


def test_a_twin_inherits_from_the_twin_of_what_its_class_inherits_from() -> None:
    assert issubclass(aiorocketmq.sync.TransactionProducer, aiorocketmq.sync.Producer)
    assert aiorocketmq.sync.TransactionProducer.send is aiorocketmq.sync.Producer.send


def test_a_transaction_has_the_same_names_in_both() -> None:
    assert {*public(aiorocketmq.sync.Transaction), "message", "result"} == {*public(aiorocketmq.Transaction), "message", "result"}


def test_the_blocking_package_has_all_values_enums_and_errors_of_the_root() -> None:
    own = {"admin", "client", "consumer", "producer", "server", "sync", "compiled"}
    assert set(aiorocketmq.sync.__all__) == set(aiorocketmq.__all__) - own | {"LocalCluster"}
    for name in set(aiorocketmq.sync.__all__) - set(TWINS) - {"Transaction"}:
        assert getattr(aiorocketmq.sync, name) is getattr(aiorocketmq, name)
