"""Fleets as TOML: entries with defaults, many at a time by Count or Rows."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (free-form until it has been checked)
from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zego_aigc.errors import Problem
from zego_aigc.provisioning.fleet.entries import FIELDS, Located, locate, located_problem
from zego_aigc.provisioning.fleet.formats import Format, format_of, refusal
from zego_aigc.provisioning.fleet.placeholders import Placeholders
from zego_aigc.provisioning.fleet.rows import RowsInvalid, read_rows
from zego_aigc.provisioning.fleet.shape import NestedTooDeeply, value_problems
from zego_aigc.schema.actions import ACTIONS
from zego_aigc.schema.naming import did_you_mean

__all__ = ["read_toml"]

MAX_COUNT = 10_000_000


class _Source(NamedTuple):
    """What a file's entries are read with."""

    name: str
    folder: Path
    """Where tables of rows are looked for."""
    environ: Mapping[str, str]
    defaults: Mapping[str, Any]


def read_toml(data: bytes, name: str, folder: Path, environ: Mapping[str, str]) -> Iterator[Located]:
    """The entries of a file.

    Args:
        data: the file's content.
        name: what to call it.
        folder: where the paths in ``Rows`` begin.
        environ: environment variables.
    """
    try:
        text = data.decode("utf-8-sig")
        whole = tomllib.loads(text)
    except UnicodeDecodeError:
        yield located_problem(name, "", "encoding", "is not UTF-8")
        return
    except RecursionError:
        yield located_problem(name, "", "depth", str(NestedTooDeeply()))
        return
    except tomllib.TOMLDecodeError as error:
        found = format_of("", data)
        if found in {Format.TOML, Format.JSON_LINES} and not data.lstrip().startswith(b"{"):
            yield located_problem(_place(name, error), "", "syntax", f"is not TOML: {error}")
        else:
            what = "is JSON Lines, as its suffix does not say: rename it" if found is Format.JSON_LINES else refusal(found)
            yield located_problem(name, "", "syntax", what)
        return
    problems = list(_table_problems(whole))
    if problems:
        yield Located(name, None, tuple(problems))
    tables = whole.get("fleet")
    if not isinstance(tables, list):
        return
    defaults = whole.get("defaults")
    source = _Source(name, folder, environ, defaults if isinstance(defaults, dict) else {})
    lines = _header_lines(text)
    for index, table in enumerate(tables):
        line = f":{lines[index]}" if len(lines) == len(tables) else ""
        yield from _entries(source, f"{name}{line}", index + 1, table)


def _entries(source: _Source, place: str, number: int, table: Any) -> Iterator[Located]:
    """What one ``[[fleet]]`` table stands for: one entry, or as many as its Count or Rows say."""
    here = f"{place} (entry {number})"
    if not isinstance(table, dict):
        yield located_problem(here, "", "type", "must be a table: [[fleet]]")
        return
    raw = dict(table)
    count, rows = raw.pop("Count", None), raw.pop("Rows", None)
    if isinstance(raw.get("Action"), str) and isinstance(raw.get("Body", {}), Mapping):
        shared = source.defaults.get(raw["Action"])
        if isinstance(shared, Mapping):
            raw["Body"] = _merged(shared, raw.get("Body", {}))
    if wrong := tuple(value_problems(raw, "")):
        yield Located(here, None, wrong)
        return
    if count is not None and rows is not None:
        yield located_problem(here, "Rows", "choice", "cannot stand beside Count: a table has as many rows as it has")
    elif rows is not None:
        yield from _by_rows(source, place, number, raw, rows)
    elif count is not None:
        yield from _by_count(source, place, number, raw, count)
    else:
        yield _filled(here, raw, Placeholders(source.environ, {}))


def _by_count(source: _Source, place: str, number: int, raw: Mapping[str, Any], count: Any) -> Iterator[Located]:
    here = f"{place} (entry {number})"
    if isinstance(count, str) and "${" in count:
        environment = Placeholders(source.environ)
        filled = str(environment.fill_value(count, "Count"))
        if environment.problems:
            yield Located(here, None, tuple(environment.problems))
            return
        count = int(filled) if re.fullmatch(r"\d{1,9}", filled) else filled
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_COUNT:
        yield located_problem(here, "Count", "range", f"must be an integer from 0 (none) to {MAX_COUNT}")
        return
    for n in range(1, count + 1):
        yield _filled(f"{place} (entry {number}, n={n})", raw, Placeholders(source.environ, {"n": n}, "Count"))


def _by_rows(source: _Source, place: str, number: int, raw: Mapping[str, Any], rows: Any) -> Iterator[Located]:
    here = f"{place} (entry {number})"
    environment = Placeholders(source.environ)
    path = environment.fill_value(rows, "Rows")
    if environment.problems:
        yield Located(here, None, tuple(environment.problems))
        return
    if not isinstance(path, str) or not path:
        yield located_problem(here, "Rows", "type", 'must be the path of a CSV file, such as "agents.csv"')
        return
    name = Path(path).name
    try:
        for n, row in enumerate(read_rows(source.folder / path, name), 1):
            values: dict[str, str | int] = {"n": n, **row.cells}
            yield _filled(f"{place} (entry {number}, {name}:{row.line})", raw, Placeholders(source.environ, values, name))
    except RowsInvalid as error:
        yield located_problem(here, "Rows", "table", str(error))


def _filled(place: str, raw: Mapping[str, Any], placeholders: Placeholders) -> Located:
    filled = placeholders.fill(raw)
    return locate(place, filled, placeholders.problems, fields=(*FIELDS, "Count", "Rows"))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, table by table; a list or a value replaces the one below as a whole."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged


_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*fleet[ \t]*\]\]", re.MULTILINE)


def _header_lines(text: str) -> list[int]:
    """The lines of the ``[[fleet]]`` headers. Text inside a long string may look like one: then the counts differ."""
    lines: list[int] = []
    line, at = 1, 0
    for match in _HEADER.finditer(text):
        line += text.count("\n", at, match.start())
        at = match.start()
        lines.append(line)
    return lines


def _place(name: str, error: Exception) -> str:
    match = re.search(r"at line (\d+)", str(error))
    return f"{name}:{match[1]}" if match else name


def _table_problems(whole: Mapping[str, Any]) -> Iterator[Problem]:
    for key in whole:
        if key not in ("defaults", "fleet"):
            yield Problem(key, "unknown", f"is not a table of a fleet file{did_you_mean(key, ('defaults', 'fleet'))}")
    if not isinstance(whole.get("fleet", []), list):
        yield Problem("fleet", "type", "must be a list of tables: write [[fleet]], with two brackets")
    defaults = whole.get("defaults", {})
    if not isinstance(defaults, Mapping):
        yield Problem("defaults", "type", "must be tables: [defaults.ACTION]")
        return
    for name, table in defaults.items():
        if name not in ACTIONS:
            yield Problem(f"defaults.{name}", "unknown", f"is not an Action{did_you_mean(name, ACTIONS)}")
        elif not isinstance(table, Mapping):
            yield Problem(f"defaults.{name}", "type", "must be a table")
