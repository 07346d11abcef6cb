"""The lane `compiled` of `tools/run_tests.py` runs what it says: compiled modules, all of them."""

from __future__ import annotations

import importlib
import os

import pytest

import aiorocketmq
import hatch_build
from tools.compile import FORM_ENV

pytestmark = pytest.mark.skipif(os.environ.get(FORM_ENV) != "compiled", reason="only the lane `compiled` runs compiled modules")
MODULES = [path.removesuffix(".py").replace("/", ".") for path in hatch_build.modules()]


@pytest.mark.parametrize("name", MODULES)
def test_the_module_is_machine_code(name: str) -> None:
    assert str(importlib.import_module(name).__file__).endswith((".so", ".pyd"))


def test_the_package_says_so() -> None:
    assert aiorocketmq.compiled
