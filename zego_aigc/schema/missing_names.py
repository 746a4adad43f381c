"""Names that are not there: what is said of an import from the wrong module, and of a method that there is not.

Only a mistake comes here, so that it may take time.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from types import FrameType

from zego_aigc.schema.naming import did_you_mean

__all__ = ["MODULES", "missing_export", "missing_member"]

MODULES = (
    "aiagent",
    "digitalhuman",
    "errors",
    "callbacks",
    "handles",
    "llm",
    "otel",
    "provisioning",
    "redis",
    "sandbox",
    "tokens",
)
"""Modules that users import from, beside the package itself, in the order in which a name is looked for."""

_PACKAGE = __name__.partition(".")[0]


def missing_export(module: str, name: str) -> AttributeError | ImportError:
    """The error that the ``__getattr__`` of a module raises for a name that it does not have.

    Where an import asks, that is an ImportError: Python would put words of its own in the place of an AttributeError's. To all
    others, ``hasattr()`` among them, it is an AttributeError.

    Args:
        module: the module's full name.
        name: what was asked for.
    """
    asking = sys._getframe(2)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - documented, for CPython
    if name.startswith("_") or asking.f_globals.get("__name__") == "importlib._bootstrap":  # which looks for a submodule
        return AttributeError(f"module {module!r} has no attribute {name!r}", name=name, obj=sys.modules[module])
    homes = [home for home in (_PACKAGE, *(f"{_PACKAGE}.{each}" for each in MODULES)) if name in _exports(home)]
    if homes:
        itself = f"{module} itself" if module == _PACKAGE else module
        text = f"{name} is not in {itself}: from {homes[0]} import {name}"
    else:
        text = f"{module} has no {name}{did_you_mean(name, _exports(module))}"
    return ImportError(text, name=module) if _imports(asking) else AttributeError(text)


def missing_member(kind: type, name: str, *, actions: Iterable[str] = ()) -> AttributeError:
    """The error that the ``__getattr__`` of a class raises: what was meant, or else what there is.

    Args:
        kind: the class.
        name: what was asked for.
        actions: names of Actions for which somebody may take a method to be.
    """
    if name.startswith("_"):
        return AttributeError(f"{kind.__name__!r} object has no attribute {name!r}")
    there = [each for each in dir(kind) if not each.startswith("_")]
    plain = name.lower().replace("_", "")
    for action in actions:
        if action.lower() == plain:
            return AttributeError(f"{kind.__name__} has no {name}: write client.call({action}(...)), as for every Action")
    meant = did_you_mean(name, there) or f"; there are {', '.join(there)}"
    return AttributeError(f"{kind.__name__} has no {name}{meant}")


def _imports(frame: FrameType) -> bool:
    """Whether a frame is at ``from ... import name``."""
    from opcode import opmap

    return frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == opmap["IMPORT_FROM"]


def _exports(module: str) -> list[str]:
    """What a module hands on, read from its text: importing it might take what is not installed."""
    from importlib.util import find_spec

    spec = find_spec(module)
    try:
        with open(spec.origin if spec is not None and spec.origin else "", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow to import
            source = file.read()
    except OSError:  # in an archive, say
        return []
    listed = re.search(r"^__all__ = \[(.*?)\]", source, re.DOTALL | re.MULTILINE)
    return re.findall(r'"(\w+)"', listed[1]) if listed else []
