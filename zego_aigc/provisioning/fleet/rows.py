"""Tables of rows beside a fleet file, as spreadsheets save them: ``Rows = "agents.csv"``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["Row", "RowsInvalid", "read_rows"]


class RowsInvalid(Exception):
    """A table cannot be read. The message names the file, and the line where there is one."""


class Row(NamedTuple):
    """A row of a table."""

    line: int
    """Where it ends, in lines of the file: a quoted cell may hold several."""
    cells: Mapping[str, str]


def read_rows(path: Path, name: str) -> Iterator[Row]:
    """The rows of a table, as a stream. The first line names the columns.

    Commas, semicolons and tabs separate cells, and a line ``sep=;`` says which: Excel writes any of them, with a byte order
    mark or as UTF-16. Quotes are those of RFC 4180. Lines without any text are skipped.

    Args:
        path: the file.
        name: what to call it in messages.

    Raises:
        RowsInvalid: it cannot be opened, is not text, or is no table.
    """
    try:
        with path.open("rb") as file:
            head = file.read(2)
        encoding = "utf-16" if head in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        with path.open(encoding=encoding, newline="") as text:
            yield from _rows(text, name)
    except OSError as error:
        raise RowsInvalid(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeError:
        raise RowsInvalid(f"{name} is not UTF-8: save it as CSV UTF-8") from None


def _rows(text: io.TextIOWrapper, name: str) -> Iterator[Row]:
    first = text.readline()
    skipped = 0
    if first.lower().startswith("sep="):
        separator = first[4:5]
        skipped = 1
    else:
        separator = _separator(first)
        text.seek(0)
    reader = csv.reader(text, delimiter=separator, strict=True)
    columns: list[str] | None = None
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise RowsInvalid(f"{name}:{reader.line_num + skipped}: {error}") from None
        if cells is None:
            break
        if not any(cell.strip() for cell in cells):
            continue
        if columns is None:
            columns = _columns(cells, name)
            continue
        line = reader.line_num + skipped
        if len(cells) > len(columns) and not any(cells[len(columns) :]):
            cells = cells[: len(columns)]
        if len(cells) != len(columns):
            raise RowsInvalid(f"{name}:{line}: has {_cells(len(cells))}, but the first line names {len(columns)} columns")
        yield Row(line, {column: cell.strip() for column, cell in zip(columns, cells, strict=True) if column})
    if columns is None:
        raise RowsInvalid(f"{name} is empty: its first line names the columns")


def _columns(cells: list[str], name: str) -> list[str]:
    columns = [cell.strip() for cell in cells]
    while columns and not columns[-1]:
        columns.pop()
    for column in columns:
        if column and columns.count(column) > 1:
            raise RowsInvalid(f"{name} has two columns {column!r}")
        if any(brace in column for brace in "{}:"):
            raise RowsInvalid(f"{name}: a column's name cannot hold braces or colons: {column!r}")
    return columns


def _separator(line: str) -> str:
    """What separates cells: what is most frequent outside quotes in the first line."""
    outside = "".join(line.split('"')[::2])
    return max(",;\t", key=outside.count)


def _cells(count: int) -> str:
    return f"{count} cell{'s' if count != 1 else ''}"
