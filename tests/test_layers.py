"""Imports point downwards only, and nothing in the pure core touches a socket, a clock or an event loop.

The tree itself is read: every import counts, also one inside a function or under ``TYPE_CHECKING``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "zego_aigc"

LAYERS = [
    "_version errors",
    "schema",
    "aiagent digitalhuman",
    "limits storage",
    "transport tokens environment",
    "calls callbacks llm redis",
    "_client_handles client handles otel",
    "sandbox provisioning",
    "pytest_plugin cli",
    "__main__",
]
"""From the bottom. A module may import from its own layer and those below. Packages stand as one."""

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}

PURE = """
    errors schema aiagent digitalhuman
    limits/sliding_window limits/capacity limits/retry_budget
    transport/signing transport/envelope calls/retry calls/interpret
"""
"""What takes values and returns values."""

FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    return ".".join(("zego_aigc", *path.with_suffix("").parts)).removesuffix(".__init__")


MODULES = {dotted(path): path for path in FILES}


def imported(path: Path) -> set[str]:
    """The modules that a file imports anywhere in it, as dotted names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                names.update(alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                # What is imported from a package may be a module of it or a name that it defines.
                names.update(full if (full := f"{module}.{alias.name}") in MODULES else module for alias in node.names)
            case ast.ImportFrom():
                raise AssertionError(f"{path}: a relative import, at line {node.lineno}")
            case _:
                pass
    return names


IMPORTS = {module: imported(path) - {module} for module, path in MODULES.items()}


def unit(module: str) -> str:
    """What stands at the top of the package for a module: a file or a package."""
    return [*module.split("."), "__init__"][1]


def reached(module: str) -> set[str]:
    """All that a module imports, directly or not. The top of the package stands for what it hands on, so it is left out."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        for name in IMPORTS[todo.pop()] & MODULES.keys() - {"zego_aigc"}:
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return seen


def test_every_module_has_its_place_in_the_layers() -> None:
    assert {unit(module) for module in MODULES} - {"__init__"} == set(RANK)


def test_the_drawing_in_the_documentation_is_of_these_layers() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    nodes = re.findall(r'^  \w+\["(.*)"\]$', page.partition("flowchart TB\n")[2].partition("```")[0], re.MULTILINE)
    drawn = [
        {name for part in re.findall(r"<b>(.*?)</b>", node) for name in re.findall(r"(\w+)(?:/|\.py)", part)} for node in nodes
    ]
    layers = [set(names.split()) - {"_version"} for names in LAYERS if names != "__main__"]
    assert drawn == layers[::-1]


def test_at_the_top_stand_only_what_a_user_imports_and_a_dozen_packages() -> None:
    assert [path.name for path in FILES if len(path.parts) == 1 and path.name.startswith("_")] == [
        "__init__.py",
        "__main__.py",
        "_client_handles.py",  # a part of client.py, which would be too long
        "_version.py",
    ]
    assert len({path.parts[0] for path in FILES if len(path.parts) > 1}) <= 13


@pytest.mark.parametrize("module", [module for module in MODULES if module != "zego_aigc"])
def test_imports_point_downwards(module: str) -> None:
    ours = {name for name in IMPORTS[module] if name.partition(".")[0] == "zego_aigc" and name != "zego_aigc"}
    assert {name for name in ours if unit(name) not in RANK} == set()
    upwards = {(module, name) for name in ours if RANK[unit(name)] > RANK[unit(module)]}
    assert upwards == set()


@pytest.mark.parametrize("module", [module for module in MODULES if module != "zego_aigc"])
def test_nothing_reads_the_names_that_the_package_hands_to_users(module: str) -> None:
    assert "zego_aigc" not in IMPORTS[module]


def test_no_modules_import_each_other() -> None:
    reach = {module: reached(module) for module in MODULES if module != "zego_aigc"}
    circles = {
        frozenset(other for other in reach[module] if module in reach[other]) for module in reach if module in reach[module]
    }
    assert circles == set()


def is_pure(path: Path) -> bool:
    name = path.with_suffix("").as_posix()
    return any(name == pure or name.startswith(f"{pure}/") for pure in PURE.split())


@pytest.mark.parametrize("path", [path for path in FILES if is_pure(path)], ids=str)
def test_the_pure_core_knows_no_io(path: Path) -> None:
    assert {name.partition(".")[0] for name in imported(path)} & {
        "aiohttp",
        "anyio",
        "asyncio",
        "random",
        "socket",
        "sqlite3",
        "threading",
        "time",
    } == set()
