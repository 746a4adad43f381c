"""Every entry of a journal with what a front end or a person needs of it, as a table, CSV or JSON lines."""

from __future__ import annotations

import csv
import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from zego_aigc.cli._output import print_json, print_line, print_text, terminal_width

if TYPE_CHECKING:
    from zego_aigc.provisioning.journal_file import Row

__all__ = ["Entry", "entry_of", "print_csv", "print_json_lines", "print_table"]

SAMPLE = 1000
"""Entries by which the columns of a table are made as wide as they need to be."""

GAP = 2
"""Columns between two cells."""

MAX_CONFIG = 12
"""Characters of a DigitalHumanConfig that a table shows."""


class Entry(NamedTuple):
    """An entry, in the order of the columns."""

    key: str
    action: str
    status: str
    since: str
    id: str
    room_id: str
    stream_id: str
    agent_id: str
    agent_user_id: str
    digital_human_config: str
    error: str


HEADER = (
    "Key",
    "Action",
    "Status",
    "Since",
    "Id",
    "RoomId",
    "StreamId",
    "AgentId",
    "AgentUserId",
    "DigitalHumanConfig",
    "Error",
)


def entry_of(row: Row, status: str) -> Entry:
    """A row of the journal as it is listed."""
    result: dict[str, Any] = {} if row.result is None else msgspec.json.decode(row.result)
    error: dict[str, Any] = {} if row.error is None else msgspec.json.decode(row.error)
    since = row.recorded or row.last_sent
    return Entry(
        key=row.key,
        action=row.action,
        status=status,
        since="" if since is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since)),
        id=row.made_id or "",
        room_id=row.room_id or "",
        stream_id=row.stream_id or "",
        agent_id=row.agent_id or "",
        agent_user_id=row.agent_user_id or "",
        digital_human_config=str(result.get("DigitalHumanConfig") or ""),
        error=" ".join(str(error.get("message") or "").split()),
    )


def print_json_lines(entries: Iterable[Entry]) -> None:
    """A JSON object for each entry; what it does not have is left out."""
    for entry in entries:
        print_json({"event": "entry"} | {name: value for name, value in entry._asdict().items() if value})


def print_csv(entries: Iterable[Entry]) -> None:
    """A table for spreadsheets and programs."""
    writer = csv.writer(_Lines(), lineterminator="")
    writer.writerow(HEADER)
    for entry in entries:
        writer.writerow([_plain(cell) for cell in entry])


def _plain(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: what names an entry may come from anywhere."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


class _Lines:
    """What a CSV writer writes to."""

    def write(self, text: str) -> int:
        print_line(text)
        return len(text)


def print_table(entries: Iterable[Entry]) -> None:
    """A table for people, in which nothing is cut but a DigitalHumanConfig; columns that hold nothing are left out.

    On a terminal that is too narrow for it, each entry has a few lines.
    """
    rest = iter(entries)
    sample = [_shown(entry) for entry in itertools.islice(rest, SAMPLE)]
    header = [name.upper() for name in HEADER]
    widths = [max(map(len, column)) for column in zip(header, *sample, strict=True)]
    used = [any(cells[index] for cells in sample) or index < 4 for index in range(len(header))]
    room = terminal_width(sys.stdout)
    if room is not None and sum(width + GAP for width, is_used in zip(widths, used, strict=True) if is_used) - GAP > room:
        for cells in itertools.chain(sample, map(_shown, rest)):
            _print_block(Entry(*cells), room)
        return
    for cells in itertools.chain([header], sample, map(_shown, rest)):
        print_line((" " * GAP).join(_padded(cells, widths, used)).rstrip())


def _print_block(entry: Entry, width: int) -> None:
    """An entry by its key, and under it what else is known, in which no name is parted from its value."""
    print_line(entry.key)
    since = f" since {entry.since}" if entry.since else ""
    line = f"  {entry.status}{since}"
    named = zip(HEADER[4:-1], entry[4:-1], strict=True)
    for part in [entry.action, *(f"{name} {value}" for name, value in named if value)]:
        if len(line) + GAP + len(part) > width:
            print_line(line)
            line = f"  {part}"
        else:
            line += f"{' ' * GAP}{part}"
    print_line(line)
    if entry.error:
        print_text(f"  {entry.error}")


def _padded(cells: Sequence[str], widths: Sequence[int], used: Sequence[bool]) -> Iterator[str]:
    for cell, width, is_used in zip(cells, widths, used, strict=True):
        if is_used:
            yield cell.ljust(width)


def _shown(entry: Entry) -> list[str]:
    config = entry.digital_human_config
    short = f"{config[:MAX_CONFIG]}..." if len(config) > MAX_CONFIG + 3 else config
    return list(entry._replace(digital_human_config=short))
