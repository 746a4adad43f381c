"""Reading fleet files: JSON Lines, one entry a line, or TOML for people.

A file is read as a stream and never stops at its first mistake: every entry comes with its place, and either with the
:class:`Entry` or with what is wrong with it.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (free-form JSON until it has been checked)
from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from zego_aigc.errors import Problem, ZegoError
from zego_aigc.provisioning.entry import Entry
from zego_aigc.schema.actions import ACTIONS, Action, Repeat
from zego_aigc.schema.validation import examine, quick_check

__all__ = ["Fleet", "FleetUnreadable", "Located", "did_you_mean", "problems_of_action"]

MAX_COUNT = 10_000_000


class FleetUnreadable(ZegoError, OSError):
    """The fleet file cannot be opened or is not text."""


class Located(NamedTuple):
    """An entry of a fleet with its place."""

    place: str
    """``fleet.jsonl:3``, or ``fleet.toml:12 (entry 2, n=7)``."""
    entry: Entry | None
    """None when it is invalid."""
    problems: tuple[Problem, ...] = ()
    advice: tuple[str, ...] = ()
    """What the vendor advises against, though the request is allowed."""
    key: str | None = None
    """The key of an entry that is invalid, where it can be told."""


class Fleet:
    """A fleet file, which may be iterated over any number of times.

    Placeholders in string values are filled in: ``${NAME}`` and ``${NAME:-default}`` from the environment, so that
    credentials need not stand in the file, and in TOML, under ``Count``, ``{n}`` and forms such as ``{n:03}`` with the numbers
    from 1. ``$${`` stands for a literal ``${``.

    Args:
        path: a ``.toml`` file, or one of JSON Lines under any other suffix.
        environ: where placeholders are looked up; the process's environment unless given.
    """

    def __init__(self, path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> None:
        self.path: Path = Path(path)
        self._environ = os.environ if environ is None else environ

    def __iter__(self) -> Iterator[Located]:
        """The entries in file order.

        Raises:
            FleetUnreadable: there is no such file, or it may not be read.
        """
        try:
            yield from self._toml() if self.path.suffix.lower() == ".toml" else self._json_lines()
        except OSError as error:
            raise FleetUnreadable(f"cannot read {self.path}: {error.strerror or error}") from error

    # --- JSON Lines

    def _json_lines(self) -> Iterator[Located]:
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    yield self._json_line(f"{self.path}:{number}", text)

    def _json_line(self, place: str, line: bytes) -> Located:
        try:
            raw = msgspec.json.decode(line)
        except UnicodeDecodeError:
            return Located(place, None, (Problem("", "encoding", "is not UTF-8"),))
        except (msgspec.DecodeError, RecursionError) as error:
            return Located(place, None, (Problem("", "syntax", f"is not JSON: {_json_error(error)}"),))
        if not isinstance(raw, dict):
            return Located(place, None, (Problem("", "type", 'must be an object: {"Action": ..., "Body": {...}}'),))
        if b"${" in line:
            return self._filled(place, raw, None)
        return _entry(place, raw, [])

    # --- TOML

    def _toml(self) -> Iterator[Located]:
        import tomllib

        data = self.path.read_bytes()
        try:
            text = data.decode("utf-8-sig")
            whole = tomllib.loads(text)
        except UnicodeDecodeError:
            yield Located(str(self.path), None, (Problem("", "encoding", "is not UTF-8"),))
            return
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            yield Located(_toml_place(self.path, error), None, (Problem("", "syntax", f"is not TOML: {error}"),))
            return
        problems = list(_toml_problems(whole))
        if problems:
            yield Located(str(self.path), None, tuple(problems))
        defaults = whole.get("defaults")
        tables = whole.get("fleet")
        if not isinstance(tables, list):
            return
        lines = _header_lines(text)
        for index, table in enumerate(tables):
            line = f":{lines[index]}" if len(lines) == len(tables) else ""
            yield from self._table(f"{self.path}{line}", index + 1, table, defaults if isinstance(defaults, dict) else {})

    def _table(self, place: str, number: int, table: Any, defaults: Mapping[str, Any]) -> Iterator[Located]:
        here = f"{place} (entry {number})"
        if not isinstance(table, dict):
            yield Located(here, None, (Problem("", "type", "must be a table: [[fleet]]"),))
            return
        raw = dict(table)
        count = raw.pop("Count", None)
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_COUNT):
            yield Located(here, None, (Problem("Count", "range", f"must be an integer from 1 to {MAX_COUNT}"),))
            return
        shared = defaults.get(raw["Action"]) if isinstance(raw.get("Action"), str) else None
        if isinstance(shared, Mapping) and isinstance(raw.get("Body", {}), Mapping):
            raw["Body"] = _merged(shared, raw.get("Body", {}))
        if count is None:
            yield self._filled(here, raw, None)
            return
        # What is wrong with the first of many is wrong with all: say it once.
        said: set[tuple[str, str]] = set()
        for n in range(1, count + 1):
            found = self._filled(f"{place} (entry {number}, n={n})", raw, n)
            if found.entry is None:
                fresh = tuple(problem for problem in found.problems if (problem.path, problem.rule) not in said)
                said.update((problem.path, problem.rule) for problem in fresh)
                found = found._replace(problems=fresh)
            yield found

    def _filled(self, place: str, raw: Mapping[str, Any], n: int | None) -> Located:
        problems: list[Problem] = []
        filled = _Placeholders(self._environ, n, problems).fill(raw, "")
        return _entry(place, filled, problems)

    def __repr__(self) -> str:
        return f"Fleet({str(self.path)!r})"


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


def _toml_place(path: Path, error: Exception) -> str:
    match = re.search(r"at line (\d+)", str(error))
    return f"{path}:{match[1]}" if match else str(path)


def _json_error(error: Exception) -> str:
    text = str(error)
    return text.removeprefix("JSON is malformed: ") if text else "nested too deeply"


def _toml_problems(whole: Mapping[str, Any]) -> Iterator[Problem]:
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
        if name not in _actions():
            yield Problem(f"defaults.{name}", "unknown", f"is not an Action{did_you_mean(name, _actions())}")
        elif not isinstance(table, Mapping):
            yield Problem(f"defaults.{name}", "type", "must be a table")


# --- one entry, whatever the format ------------------------------------------------------------------------------

_FIELDS = ("Action", "Key", "After", "Body")


def _entry(place: str, raw: Mapping[str, Any], problems: list[Problem]) -> Located:
    problems.extend(
        Problem(key, "unknown", f"is not a field of an entry{did_you_mean(key, _FIELDS)}") for key in raw if key not in _FIELDS
    )
    name = raw.get("Action")
    actions = _actions()
    cls = actions.get(name) if isinstance(name, str) else None
    trouble = None if cls is None else problems_of_action(cls)
    if name is None:
        problems.append(Problem("Action", "required", "is required"))
    elif not isinstance(name, str):
        problems.append(Problem("Action", "type", "must be a string"))
    elif cls is None:
        problems.append(Problem("Action", "unknown", f"{name!r} is not an Action{did_you_mean(name, actions)}"))
    elif trouble is not None:
        problems.append(trouble)
    key, after, body = raw.get("Key"), raw.get("After"), raw.get("Body")
    after = () if after is None else after
    body = {} if body is None else body
    if key is not None and (not isinstance(key, str) or not key):
        problems.append(Problem("Key", "type", "must be a string that is not empty"))
    if not isinstance(after, list | tuple) or not all(isinstance(item, str) for item in after):
        problems.append(Problem("After", "type", "must be a list of keys"))
    advice: list[str] = []
    if not isinstance(body, Mapping):
        problems.append(Problem("Body", "type", "must be an object"))
    elif cls is not None and not problems and (action := _valid(cls, body)) is not None:
        return Located(place, Entry(action, key, tuple(after)))
    elif cls is not None and trouble is None:
        wrong, advice = examine(cls, body, extra_is_known=False)
        problems.extend(problem.at(f"Body.{problem.path}".rstrip(".")) for problem in wrong)
    if problems:
        return Located(place, None, tuple(problems), key=_likely_key(raw))
    assert cls is not None
    return Located(place, Entry(msgspec.convert(body, cls), key, tuple(after)), (), tuple(advice))


def _likely_key(raw: Mapping[str, Any]) -> str | None:
    """The key of an entry that is invalid: its own, or what it would be named after."""
    name, key, body = raw.get("Action"), raw.get("Key"), raw.get("Body")
    if isinstance(key, str) and key:
        return key
    if not isinstance(name, str) or not isinstance(body, Mapping):
        return None
    named = body.get("AgentId")
    if name != "RegisterAgent":
        rtc = body.get("RTC") or body.get("RTCConfig")
        named = (rtc.get("AgentStreamId") or rtc.get("StreamId")) if isinstance(rtc, Mapping) else None
    return f"{name}:{named}" if isinstance(named, str) else None


def _valid(cls: type[Action[Any]], body: Mapping[str, Any]) -> Action[Any] | None:
    """The request, if a short look finds it sound; None if it takes a longer one to tell."""
    try:
        action = msgspec.convert(body, cls)
        known = msgspec.to_builtins(action) == body  # else something was not known, or was null
    except (msgspec.ValidationError, TypeError, RecursionError):
        return None
    return action if known and quick_check(cls)(action) else None


def problems_of_action(cls: type[Action[Any]]) -> Problem | None:
    """Why an Action cannot be an entry of a fleet: it asks, or it ends something."""
    if cls.repeat in (Repeat.READS, Repeat.ENDS):
        what = "only reads" if cls.repeat is Repeat.READS else "ends something"
        return Problem("Action", "choice", f"{cls.__name__} {what}: a fleet is made of what should exist or be done")
    return None


def _actions() -> Mapping[str, type[Action[Any]]]:
    return ACTIONS


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean X?"`` with the one that is spelt much the same, or nothing."""
    import difflib

    folded = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.7)
    return f"; did you mean {folded[close[0]]}?" if close else ""


class _Placeholders:
    """Fills ``${NAME}`` and ``{n}`` into the strings of an entry, and notes what it cannot fill."""

    _PATTERN = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\{n(?::(0?\d{1,2}))?\}")

    def __init__(self, environ: Mapping[str, str], n: int | None, problems: list[Problem]) -> None:
        self._environ = environ
        self._n = n
        self._problems = problems

    def fill(self, value: Any, path: str) -> Any:
        if isinstance(value, str):
            return self._PATTERN.sub(lambda match: self._one(match, path), value) if "{" in value else value
        if isinstance(value, Mapping):
            return {sys.intern(key): self.fill(inner, f"{path}.{key}" if path else key) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(inner, f"{path}[{index}]") for index, inner in enumerate(value)]
        return value

    def _one(self, match: re.Match[str], path: str) -> str:
        whole = match[0]
        if whole == "$${":
            return "${"
        if whole.startswith("{"):
            return whole if self._n is None else format(self._n, match[3] or "")
        name, default = match[1], match[2]
        value = self._environ.get(name) or default
        if value is None:
            self._problems.append(
                Problem(path, "environment", f"the environment variable {name} is not set, and ${{{name}}} has no default")
            )
            return "unset"  # passes most rules: what is missing was said, and what else is wrong is still found
        return value
