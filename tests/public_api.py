"""The public API as lines of text: what a release promises. ``python tests/public_api.py --write`` stores it.

A line is a name, a parameter (``=`` where it may be left out), an attribute, a command or an option. Lines that are stored may
not go away; new ones are free until they are stored, which a release does.
"""

from __future__ import annotations

import argparse
import enum
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import msgspec

import zego_aigc
from zego_aigc import pytest_plugin
from zego_aigc.cli._parser import parser as command_line
from zego_aigc.schema.actions import Wire

STORED = Path(__file__).parent / "data" / "public_api.txt"

INTERNAL = {"calls", "cli", "client", "environment", "limits", "schema", "storage", "transport", "pytest_plugin"}
"""What is found elsewhere: `Client`, say, is a name of the package."""

REQUIRED = re.compile(r"\((\*, )?\w+\)$")
KINDS = {"KEYWORD_ONLY": "*, ", "VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}


def modules() -> Iterator[ModuleType]:
    """The package and what users import from it."""
    yield zego_aigc
    for found in pkgutil.iter_modules(zego_aigc.__path__):
        if not found.name.startswith("_") and found.name not in INTERNAL:
            yield importlib.import_module(f"zego_aigc.{found.name}")


def public_api() -> list[str]:
    """All lines, sorted."""
    found = {line for module in modules() for name in module.__all__ for line in of(module, name)}
    return sorted(found | {*fixtures(), *commands()})


def of(module: ModuleType, name: str) -> Iterator[str]:
    """The lines of a public name."""
    value = getattr(module, name)
    path = f"{module.__name__}.{name}"
    yield path
    if inspect.isclass(value):
        yield from members(path, value)
    elif callable(value):
        yield from parameters(path, value)


def members(path: str, cls: type[Any]) -> Iterator[str]:
    """What may be said of a class and its instances: the constructor's parameters, methods, and attributes."""
    made_by_library = issubclass(cls, msgspec.Struct | BaseException) or cls.__module__ == "zego_aigc.handles"
    # How an enumeration is called is Python's, and differs from version to version.
    if (issubclass(cls, Wire) or not made_by_library) and not issubclass(cls, enum.Enum):
        yield from parameters(path, cls)
    ours = [base for base in cls.__mro__ if base.__module__.startswith("zego_aigc")]
    for name in sorted({name for base in ours for name in (*vars(base), *base.__annotations__)}):
        value = inspect.getattr_static(cls, name, None)
        if name.startswith("_"):
            continue
        if isinstance(value, (FunctionType, classmethod, staticmethod)):
            yield f"{path}.{name}()"
            yield from parameters(f"{path}.{name}", getattr(cls, name), bound=isinstance(value, FunctionType))
        else:
            yield f"{path}.{name}"


def parameters(path: str, function: Callable[..., Any], *, bound: bool = False) -> Iterator[str]:
    """The parameters of a callable, without the instance that a method is bound to."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # an alias of types, for example
        return
    for parameter in list(signature.parameters.values())[bound:]:
        kind = KINDS.get(parameter.kind.name, "")
        optional = "=" if parameter.default is not parameter.empty else ""
        yield f"{path}({kind}{parameter.name}{optional})"


def fixtures() -> Iterator[str]:
    """Of pytest."""
    yield from (f"pytest fixture {name}" for name in vars(pytest_plugin) if name.startswith("zego_"))


def commands() -> Iterator[str]:
    """Of the command line, with their options."""

    def options(parser: argparse.ArgumentParser) -> Iterator[str]:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, command in action.choices.items():
                    yield f"{parser.prog} {name}"
                    yield from options(command)
            else:
                yield from (f"{parser.prog} {name}" for name in action.option_strings or [action.dest.upper()])

    yield from options(command_line())


def removed(stored: list[str], now: list[str]) -> list[str]:
    """What breaks those who rely on what is stored: lines that are gone, and parameters that now have to be given."""
    callables = {line.partition("(")[0] for line in stored}
    new = [line for line in now if line not in stored and line.partition("(")[0] in callables]
    return [line for line in stored if line not in now] + [line for line in new if REQUIRED.search(line)]


def stored() -> list[str]:
    """The lines of the last release, or of whoever wrote them since."""
    return STORED.read_text(encoding="utf-8").splitlines()


def main() -> int:
    """Compare, or write."""
    parser = argparse.ArgumentParser(description="Compare the public API with what is stored, or store it.")
    parser.add_argument("--write", action="store_true", help="store it as it is now")
    if parser.parse_args().write:
        STORED.write_text("".join(f"{line}\n" for line in public_api()), encoding="utf-8")
        return 0
    now, then = public_api(), stored()
    changes = [*(f"- {line}" for line in then if line not in now), *(f"+ {line}" for line in now if line not in then)]
    print("\n".join(changes) or "as stored")
    return 1 if changes else 0


if __name__ == "__main__":
    sys.exit(main())
