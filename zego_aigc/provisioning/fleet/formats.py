"""Which format a fleet file has: what is taken is named to those who give something else."""

from __future__ import annotations

import enum
import re
from pathlib import Path

from zego_aigc.errors import ZegoError

__all__ = ["FleetUnreadable", "Format", "format_of", "refusal"]

HEAD = 65_536
"""Bytes from which a format is recognised."""

TAKEN = (
    "a fleet is TOML with [[fleet]] entries, in a .toml file, or under any other suffix JSON Lines: one "
    '{"Action": ..., "Body": {...}} a line'
)


class FleetUnreadable(ZegoError, OSError):
    """The fleet file cannot be opened or is not text."""


class Format(enum.Enum):
    """What a file holds; only the first two are taken."""

    JSON_LINES = "JSON Lines"
    TOML = "TOML"
    JSON_ARRAY = "a JSON array"
    JSON_OBJECT = "JSON over several lines"
    YAML = "YAML"
    TABLE = "a table (CSV)"
    UTF_16 = "UTF-16 text"
    SPREADSHEET = "a spreadsheet"


_HINTS = {
    Format.TOML: "its suffix must be .toml",
    Format.JSON_ARRAY: "jq -c '.[]' makes JSON Lines of an array",
    Format.JSON_OBJECT: "jq -c . puts each object on one line",
    Format.TABLE: 'a table goes beside a TOML fleet, as Rows = "table.csv" in an entry',
    Format.UTF_16: "save it as UTF-8",
    Format.SPREADSHEET: 'save it as CSV, and name that as Rows = "table.csv" in an entry of a TOML fleet',
}


def refusal(found: Format) -> str:
    """The one line for a file of another format than its name says, or of none that is taken."""
    hint = _HINTS.get(found)
    return f"is {found.value}: {TAKEN}" + (f"; {hint}" if hint else "")


def format_of(name: str, head: bytes) -> Format:
    """The format of a file, by its suffix and by how it begins.

    Args:
        name: the file's name.
        head: its first bytes.
    """
    suffix = Path(name).suffix.lower()
    if suffix in {".yaml", ".yml"}:
        return Format.YAML
    if suffix in {".csv", ".tsv"}:
        return Format.TABLE
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return Format.UTF_16
    if head.startswith(b"PK\x03\x04"):
        return Format.SPREADSHEET
    lines = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").splitlines()
    telling = [line for line in map(str.strip, lines) if line and not line.startswith("#")]
    return _by_first_lines(telling[0], telling[1] if len(telling) > 1 else "") if telling else Format.JSON_LINES


_TOML_LINE = re.compile(r"\[\[?\s*[A-Za-z][\w.\"'-]*\s*\]\]?\s*(#.*)?$|[\w.\"'-]+\s*=")
_YAML_LINE = re.compile(r"-\s|---|[A-Za-z]\w*:(\s|$)")
_TABLE_LINE = re.compile(r"\"?(Action|Key)\"?\s*[,;\t]", re.IGNORECASE)


def _by_first_lines(line: str, second: str) -> Format:
    if line.startswith("[") and not _TOML_LINE.match(line):
        return Format.JSON_ARRAY
    if line.startswith("{"):
        spread = line.endswith(("{", "[", ",", ":")) and second and not second.startswith("{")
        return Format.JSON_OBJECT if spread else Format.JSON_LINES
    for pattern, found in ((_TABLE_LINE, Format.TABLE), (_TOML_LINE, Format.TOML), (_YAML_LINE, Format.YAML)):
        if pattern.match(line):
            return found
    return Format.JSON_LINES
