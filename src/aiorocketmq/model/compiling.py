"""What compiled classes are told, where the package of the compiler is not installed: nothing (no Java twin). See decision 10."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def mypyc_attr(*_names: str, **_options: object) -> Callable[[T], T]:
    """Stands in for `mypy_extensions.mypyc_attr`, which only the compiler reads."""
    return lambda decorated: decorated
