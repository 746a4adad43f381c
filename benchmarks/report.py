"""What was measured, for people and for machines."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

PACKAGES = (
    "zego_aigc",
    "aiohttp",
    "msgspec",
    "anyio",
    "httpx",
    "pydantic",
    "openai",
    "livekit-api",
    "agora-agents",
    "aiolimiter",
    "pyrate-limiter",
    "throttled-py",
    "limits",
    "orjson",
    "uvloop",
)


class Target(NamedTuple):
    """What a figure should be at most."""

    what: str
    found: float
    most: float

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.found <= self.most


class Table(msgspec.Struct, omit_defaults=True):
    """One part's figures: a row for each contender."""

    part: str
    """The name by which the part is run: ``calls``, ``codec``..."""
    title: str
    """What was measured, in a line."""
    columns: Sequence[str]
    """The first names the contenders."""
    rows: list[list[str | float | None]]
    targets: list[Target] = []
    """What the figures should be at most."""
    skipped: list[str] = []
    """Which contenders are left out, and why."""
    picture: str = ""
    """An SVG, if there is something to be seen."""


def machine() -> dict[str, Any]:
    """Where this was measured, and with what."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def as_json(tables: Sequence[Table]) -> str:
    """Everything, for machines."""
    return msgspec.json.format(msgspec.json.encode({"machine": machine(), "tables": tables})).decode()


def as_text(table: Table) -> str:
    """One table, for people."""
    cells = [list(table.columns), *([_shown(value) for value in row] for row in table.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.columns))]
    lines = [f"\n{table.title}"]
    for row in cells:
        first, *others = row
        lines.append(
            "  "
            + "  ".join([first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(others, widths[1:], strict=True))])
        )
    lines.insert(2, "  " + "  ".join("-" * width for width in widths))
    for what, found, most in table.targets:
        lines.append(f"  {'met' if found <= most else 'MISSED'}: {what}: {_shown(found)}, at most {_shown(most)}")
    lines += [f"  skipped: {text}" for text in table.skipped]
    return "\n".join(lines)


FIGURES = ("<!-- figures: written by python -m benchmarks --docs -->", "<!-- end of figures -->")


def into_docs(page: str, tables: Sequence[Table], picture: str) -> str:
    """A page with the figures between its two marks replaced.

    Args:
        page: Markdown with both of :data:`FIGURES` in it.
        tables: the figures.
        picture: path of the picture of the calls, from the page.
    """
    before, _, rest = page.partition(FIGURES[0])
    _, _, after = rest.partition(FIGURES[1])
    about = machine()
    versions = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    parts = [FIGURES[0], f"{about['processor']}, {about['system']}, Python {about['python']}. {versions}."]
    for table in tables:
        if table.part == "calls" and picture not in "".join(parts):
            parts.append(f"![CPU time of a call, relative to aiohttp]({picture})")
        if table.picture:
            parts.append(f"![{table.title.partition(':')[0]}]({table.part}.svg)")
        parts.append(_as_markdown(table))
    return before + "\n\n".join([*parts, FIGURES[1]]) + after


def _as_markdown(table: Table) -> str:
    lines = [
        f"**{table.title}**",
        "",
        "|" + "|".join([*table.columns]) + "|",
        "|" + "|".join(["-", *["-:"] * (len(table.columns) - 1)]) + "|",
    ]
    lines += ["|" + "|".join(_shown(value) for value in row) + "|" for row in table.rows]
    if table.targets:
        lines.append("")
        lines += [
            f"- {what}: {_shown(found)}, at most {_shown(most)} was wanted{'' if found <= most else ': **missed**'}"
            for what, found, most in table.targets
        ]
    return "\n".join(lines)


def _shown(value: str | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if abs(value) < 20 else f"{value:,.0f}"
