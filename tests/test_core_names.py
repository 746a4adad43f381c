"""One public name, one thing: whoever reads ``StreamTask`` need not ask which."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import zego_aigc

INSIDE = {"calls", "transport", "limits", "schema", "cli"}
"""Packages whose names a user never types."""


def public_modules() -> list[str]:
    """What stands at the top of the package: modules, and what packages hand on."""
    found = (module.name for module in pkgutil.iter_modules(zego_aigc.__path__))
    return [f"zego_aigc.{name}" for name in found if not name.startswith("_") and name not in INSIDE]


def homes() -> dict[str, dict[int, str]]:
    """Where each public name stands, by the identity of what it stands for there."""
    homes: dict[str, dict[int, str]] = {}
    for name in ["zego_aigc", *public_modules()]:
        module = importlib.import_module(name)
        for exported in getattr(module, "__all__", ()):
            homes.setdefault(exported, {}).setdefault(id(getattr(module, exported)), name)
    return homes


@pytest.mark.parametrize("name", sorted(homes()))
def test_a_public_name_stands_for_one_thing(name: str) -> None:
    assert len(homes()[name]) == 1, homes()[name]
