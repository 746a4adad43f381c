"""One entry of a fleet, whatever the format of the file: from a plain object to an :class:`Entry` or its problems."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (free-form JSON until it has been checked)
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from zego_aigc.errors import Problem
from zego_aigc.provisioning.entry import Entry
from zego_aigc.schema.actions import ACTIONS, Action, Repeat
from zego_aigc.schema.codegen import compiled_check
from zego_aigc.schema.fields import fields_of
from zego_aigc.schema.lifecycle import LIFECYCLES
from zego_aigc.schema.naming import did_you_mean
from zego_aigc.schema.validation import validate

__all__ = ["FIELDS", "Located", "locate", "located_problem", "problems_of_action"]

FIELDS = ("Action", "Key", "After", "Body")


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
    """The key of an entry that is invalid, where it can be determined."""


def located_problem(place: str, path: str, rule: str, message: str) -> Located:
    """A place where nothing but a problem is found."""
    return Located(place, None, (Problem(path, rule, message),))


def locate(place: str, raw: Mapping[str, Any], problems: Iterable[Problem] = (), *, fields: Sequence[str] = FIELDS) -> Located:
    """Check an entry.

    Args:
        place: where it stands.
        raw: its fields, placeholders filled in.
        problems: what was found wrong with it already.
        fields: what may stand in an entry of this kind of file.
    """
    found = list(problems)
    found.extend(Problem(key, "unknown", _unknown_field(key, raw.get("Action"), fields)) for key in raw if key not in FIELDS)
    cls, trouble = _action_class(raw.get("Action"))
    if trouble is not None:
        found.append(trouble)
    key, after, body = raw.get("Key"), raw.get("After"), raw.get("Body")
    after = () if after is None else after
    body = {} if body is None else body
    if key is not None and (not isinstance(key, str) or not key):
        found.append(Problem("Key", "type", "must be a string that is not empty"))
    if not isinstance(after, list | tuple) or not all(isinstance(item, str) for item in after):
        found.append(Problem("After", "type", "must be a list of keys"))
    advice: list[str] = []
    if not isinstance(body, Mapping):
        found.append(Problem("Body", "type", "must be an object"))
    elif cls is not None and not found and (action := _valid(cls, body)) is not None:
        return Located(place, Entry(action, key, tuple(after)))
    elif cls is not None and trouble is None:
        wrong, advice = validate(cls, body, extra_is_known=False)
        found.extend(problem.at(f"Body.{problem.path}".rstrip(".")) for problem in wrong)
    if found:
        return Located(place, None, tuple(found), key=_likely_key(raw))
    assert cls is not None
    return Located(place, Entry(msgspec.convert(body, cls), key, tuple(after)), (), tuple(advice))


def _unknown_field(key: str, action: object, fields: Sequence[str]) -> str:
    """What is wrong with a field, and where it belongs if it is one of the request."""
    cls = ACTIONS.get(action) if isinstance(action, str) else None
    if cls is not None and any(spec.wire == key for spec in fields_of(cls)):
        return f"is a field of {cls.__name__}, not of the entry: put it into Body"
    return f"is not a field of an entry{did_you_mean(key, fields)}"


def _action_class(name: object) -> tuple[type[Action[Any]] | None, Problem | None]:
    if name is None:
        return None, Problem("Action", "required", "is required")
    if not isinstance(name, str):
        return None, Problem("Action", "type", "must be a string")
    cls = ACTIONS.get(name)
    if cls is None:
        return None, Problem("Action", "unknown", f"{name!r} is not an Action{did_you_mean(name, ACTIONS)}")
    return cls, problems_of_action(cls)


def _likely_key(raw: Mapping[str, Any]) -> str | None:
    """The key of an entry that is invalid: its own, or what it would be named after."""
    name, key, body = raw.get("Action"), raw.get("Key"), raw.get("Body")
    if isinstance(key, str) and key:
        return key
    if not isinstance(name, str) or not isinstance(body, Mapping):
        return None
    named = LIFECYCLES[name].name_in_wire(body) if name in LIFECYCLES else None
    return f"{name}:{named}" if isinstance(named, str) else None


def _valid(cls: type[Action[Any]], body: Mapping[str, Any]) -> Action[Any] | None:
    """The request, if a short look finds it valid; None if it takes a longer one to tell."""
    try:
        action = msgspec.convert(body, cls)
        known = msgspec.to_builtins(action) == body  # else something was not known, or was null
    except (msgspec.ValidationError, TypeError, RecursionError):
        return None
    return action if known and compiled_check(cls)(action) else None


def problems_of_action(cls: type[Action[Any]]) -> Problem | None:
    """Why an Action cannot be an entry of a fleet: it asks, or it ends something."""
    if cls.repeat in (Repeat.READS, Repeat.ENDS):
        what = "only reads" if cls.repeat is Repeat.READS else "ends something"
        return Problem("Action", "choice", f"{cls.__name__} {what}: a fleet is made of what should exist or be done")
    return None
