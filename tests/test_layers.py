"""Imports point downwards only, and nothing in the pure core touches a socket, a clock or an event loop."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "zego_aigc"

LAYERS = [
    "_version errors _naming _constraints",
    "_schema _secrets actions _codes _decoding",
    "_checking aiagent digitalhuman signing _describe",
    "_window _places _retry _envelope",
    "_waiting _outlasting _alarm limiter quota _clock tokens callbacks redis",
    "_outgoing _judging _transport pool",
    "_telling _response _route _calling _creating _ending _observing _reconcile _lists _audio handles client otel",
    "sandbox provisioning",
    "pytest_plugin cli __main__",
]
"""From the bottom. A module may import from its own layer and those below; packages stand as one."""

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}

PURE = (
    "errors _naming _constraints _schema _secrets actions _codes _decoding _checking aiagent digitalhuman signing "
    "_window _places _retry _envelope _judging"
)
"""What takes values and returns values."""

MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """What a module imports when it is loaded, as dotted names."""
    names: set[str] = set()

    def visit(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            match node:
                case ast.Import():
                    names.update(alias.name for alias in node.names)
                case ast.ImportFrom(module="zego_aigc"):
                    names.update(f"zego_aigc.{alias.name}" for alias in node.names)
                case ast.ImportFrom(module=str(module)):
                    names.add(module)
                case ast.If() if "TYPE_CHECKING" in ast.unparse(node.test):
                    pass
                case ast.If() | ast.Try():
                    visit(node.body)
                case _:
                    pass

    visit(ast.parse((PACKAGE / path).read_text(encoding="utf-8")).body)
    return names


def unit(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def test_every_module_has_its_place_in_the_layers() -> None:
    assert {unit(path) for path in MODULES} - {"__init__"} == set(RANK)


@pytest.mark.parametrize("path", [path for path in MODULES if unit(path) != "__init__"], ids=str)
def test_imports_point_downwards(path: Path) -> None:
    upwards = {
        name for name in imported(path) if name.startswith("zego_aigc.") and RANK.get(name.split(".")[1], 0) > RANK[unit(path)]
    }
    assert upwards == set()


@pytest.mark.parametrize("path", [path for path in MODULES if unit(path) in PURE.split()], ids=str)
def test_the_pure_core_knows_no_io(path: Path) -> None:
    assert {name.partition(".")[0] for name in imported(path)} & {
        "aiohttp", "anyio", "asyncio", "random", "socket", "sqlite3", "threading", "time",
    } == set()  # fmt: skip
