"""Fleets as JSON Lines: an entry a line."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# (free-form JSON until it has been checked)
from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from zego_aigc.provisioning.fleet.entries import Located, locate, located_problem
from zego_aigc.provisioning.fleet.placeholders import Placeholders
from zego_aigc.provisioning.fleet.shape import NestedTooDeeply, count_keys, doubled_keys

__all__ = ["read_json_lines"]


def read_json_lines(lines: Iterable[bytes], name: str, environ: Mapping[str, str]) -> Iterator[Located]:
    """The entries of a file, blank lines left out."""
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if text.strip():
            yield _entry(f"{name}:{number}", text, environ)


def _entry(place: str, line: bytes, environ: Mapping[str, str]) -> Located:
    try:
        raw = msgspec.json.decode(line)
        doubled = doubled_keys(line, count_keys(raw))
    except UnicodeDecodeError:
        return located_problem(place, "", "encoding", "is not UTF-8")
    except (RecursionError, NestedTooDeeply):
        return located_problem(place, "", "depth", str(NestedTooDeeply()))
    except msgspec.DecodeError as error:
        return located_problem(place, "", "syntax", f"is not JSON: {_reason(error, line)}")
    if not isinstance(raw, dict):
        return located_problem(place, "", "type", 'must be an object: {"Action": ..., "Body": {...}}')
    if doubled:
        return located_problem(place, "", "syntax", f"has {_quoted(doubled)} twice in one object")
    if b"${" not in line:
        return locate(place, raw)
    placeholders = Placeholders(environ)
    filled = placeholders.fill(raw)
    return locate(place, filled, placeholders.problems)


_NO_NUMBER = re.compile(rb"(?<![\w\"])-?(NaN|Infinity)\b")


def _reason(error: Exception, line: bytes) -> str:
    if (found := _NO_NUMBER.search(line)) is not None:
        return f"{found[0].decode()} is no number that JSON can carry"
    if _half_pair(line):
        return "it holds half a surrogate pair, which UTF-8 cannot carry"
    return str(error).removeprefix("JSON is malformed: ")


def _half_pair(line: bytes) -> bool:
    """Whether a text in it cannot be encoded; Python's own parser lets that pass."""
    try:
        json.dumps(json.loads(line), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        pass
    return False


def _quoted(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more keys" if len(names) > 3 else "")
