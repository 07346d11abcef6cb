"""The families of `AdminClient`: declared once, and imported when they are used."""

from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys
from functools import cached_property
from importlib import import_module

import pytest

import aiorocketmq.admin
from aiorocketmq.admin import AdminClient
from aiorocketmq.admin.operation import Operation
from aiorocketmq.admin.partial import Partial
from aiorocketmq.errors import BrokerBusyError, PartialError
from aiorocketmq.protocol.codes import RequestCode
from tools.generate_sync import FAMILIES


def test_every_declared_operation_has_a_code_and_is_used() -> None:
    for module in (each.name for each in pkgutil.iter_modules(aiorocketmq.admin.__path__)):
        family = import_module(f"aiorocketmq.admin.{module}")
        source = inspect.getsource(family)
        declared = {name: each for name, each in vars(family).items() if isinstance(each, Operation)}
        for name, operation in declared.items():
            assert operation.code in set(RequestCode), f"{module}.{name}"
            assert operation.name.strip() == operation.name != "", f"{module}.{name}"
            assert source.count(name) > 1, f"{module}.{name} is declared and never carried out"


def test_every_family_is_known_to_the_generator() -> None:
    held = {
        type(getattr(AdminClient("a:1"), name)).__name__ for name, value in vars(AdminClient).items() if isinstance(value, cached_property)
    }
    assert held <= {name for _, *names in FAMILIES for name in names}


def test_no_family_is_imported_before_it_is_used() -> None:
    families = [f"aiorocketmq.admin.{module}" for module, *_ in FAMILIES]
    code = f"""
import sys
import aiorocketmq.admin
admin = aiorocketmq.admin.AdminClient("a:1")
assert not [name for name in {families} if name in sys.modules], "before"
admin.topics
assert [name for name in {families} if name in sys.modules] == ["aiorocketmq.admin.topics"], "after"
assert "aiorocketmq.admin.results.groups" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_partial_answers_say_so() -> None:
    busy = BrokerBusyError("busy", broker="b")
    whole, part = Partial("do it", {"a": 1, "c": 2}, {}), Partial("do it", {"a": 1}, {"b": busy})
    assert whole.ok and whole.require() == {"a": 1, "c": 2} and whole.joined(lambda answers: sum(answers.values())) == 3
    assert not part.ok and part.map(str) == Partial("do it", {"a": "1"}, {"b": busy})
    with pytest.raises(PartialError, match="do it: 1 of 2 servers failed: b: ") as caught:
        part.joined(lambda answers: sum(answers.values()))
    assert (caught.value.result, caught.value.errors, caught.value.cause) == (1, {"b": busy}, busy)
    with pytest.raises(BrokerBusyError):
        Partial("do it", {}, {"b": busy}).require()
